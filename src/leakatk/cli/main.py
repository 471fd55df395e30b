"""The `leakatk` command: one file a command, heavy imports inside the command, errors as one sentence.

Exit codes: `errors.EXIT_CODES`. 1 is a gate that failed and nothing else. A crash is 3, its traceback in a file. What is
interrupted with Ctrl-C (130) is kept; the same command resumes.
"""

from __future__ import annotations

import atexit
import gc
import os
import shlex
import sys

import typer

from leakatk import __version__
from leakatk.cli import (
    attack,
    audit,
    bench,
    demo,
    doctor,
    exact,
    fetch,
    finetune,
    guard,
    names,
    options,
    papers,
    plan,
    push,
    questions,
    repair,
    report,
    runs,
    score,
    sweep,
    train_small,
    unlearn,
)
from leakatk.cli.crash import ended, say
from leakatk.cli.grouping import group_options
from leakatk.errors import BAD_INPUT, DONE, INTERRUPTED
from leakatk.hush import hushed
from leakatk.output import Printed, printed

app = typer.Typer(
    name="leakatk",
    no_args_is_help=True,
    add_completion=False,  # these two options of typer's own load pydantic, a quarter of a second;
    add_help_option=False,  # ours below do not
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # plain help: it is instant, and examples can be copied
    help="Does an unlearned language model still leak when it is sampled the way people use it?",
    epilog=f"Start with `leakatk demo` (a minute or two on a laptop CPU). {options.EXIT_CODES}",
)


def _version(show: bool) -> None:
    if show:
        typer.echo(f"leakatk {__version__}")
        raise typer.Exit


def _completion(context: typer.Context, parameter: typer.CallbackParam, wanted: bool) -> None:
    if not wanted or context.resilient_parsing:
        return
    from typer import completion

    completion.get_completion_inspect_parameters()  # makes the shells known
    act = completion.install_callback if parameter.name == "install_completion" else completion.show_callback
    act(context, parameter, wanted)


@app.callback()
def _root(
    version: bool = typer.Option(False, "--version", callback=_version, is_eager=True, help="Print the version."),
    install_completion: bool = typer.Option(
        False, "--install-completion", callback=_completion, is_eager=True, help="Complete commands in this shell."
    ),
    show_completion: bool = typer.Option(
        False, "--show-completion", callback=_completion, is_eager=True, help="Print what completes commands here."
    ),
    help_: options.Help = False,
) -> None:
    pass


for module in (
    demo,
    audit,
    attack,
    unlearn,
    guard,
    score,
    report,
    runs,
    push,
    bench,
    sweep,
    plan,
    questions,
    finetune,
    train_small,
    exact,
    repair,
    papers,
    fetch,
    doctor,
):
    module.add_to(app)
names.add_to(app)
group_options(app)


@hushed()
def main() -> None:
    """Run the command line. Every expected failure ends as one sentence on stderr and exit code 2, a crash with 3."""
    if "_LEAKATK_COMPLETE" in os.environ:  # asked by the shell
        from typer.completion import get_completion_inspect_parameters

        get_completion_inspect_parameters()  # makes the shells known
    # With torch loaded, a last look for cycles among half a million objects takes one to four seconds after the last word.
    atexit.register(gc.freeze)
    # The hub's bars move the cursor, which nothing but our own progress may do.
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    with printed():
        try:
            code = _run()
            for stream in (sys.stdout, sys.stderr):
                if stream is not None:
                    stream.flush()
        except BaseException as error:
            if isinstance(error, SystemExit) and error.code in (None, DONE):  # of the shell's completion
                raise
            if isinstance(error, OSError) and isinstance(sys.stdout, Printed):
                sys.stdout.drop()  # a full disk may be under stdout itself
            code = ended(error)
    sys.exit(code)


def _run() -> int:
    """The exit code. Nothing of typer's own is 1: that is a verdict."""
    try:
        code: int = app(prog_name="leakatk", standalone_mode=False) or DONE
        return code if code != INTERRUPTED else _interrupted()  # typer has caught Ctrl-C
    except KeyboardInterrupt:
        return _interrupted()
    except typer.Abort as abort:
        if abort.__cause__ is None or isinstance(abort.__cause__, KeyboardInterrupt):
            return _interrupted()
        raise abort.__cause__ from None  # the end of a file is no wish of the user's
    except Exception as error:
        if not (hasattr(error, "show") and hasattr(error, "exit_code")):
            raise
        error.show()  # how the options were used: typer says it
        return BAD_INPUT


def _interrupted() -> int:
    again = shlex.join(["leakatk", *sys.argv[1:]])
    say(f"Stopped. What was finished is kept; to go on, run the same command again:\n{again}")
    return INTERRUPTED
