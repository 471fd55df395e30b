"""The `leakatk` command: one file a command, heavy imports inside the command, errors as one sentence.

Exit codes: 0 done (and the gate passed), 1 a gate (`--fail-above` of audit or bench) failed, or doctor misses a package, 2 the input cannot be used,
130 stopped with Ctrl-C (what was done is kept; the same command resumes).
"""

from __future__ import annotations

import atexit
import errno
import gc
import os
import shlex
import sys

import typer

from leakatk import __version__
from leakatk.cli import audit, bench, demo, doctor, names, options, plan, report, score, train_small, unlearn
from leakatk.errors import LeakAtKError, first_line
from leakatk.hush import hushed

app = typer.Typer(
    name="leakatk",
    no_args_is_help=True,
    add_completion=False,  # these two options of typer's own load pydantic, a quarter of a second;
    add_help_option=False,  # ours below do not
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # plain help: it is instant, and examples can be copied
    help="Does an unlearned language model still leak when it is sampled the way people use it?",
    epilog="Start with `leakatk demo` (a minute or two on a laptop CPU). Exit codes: 0 done, 1 gate failed, 2 bad input, 130 interrupted.",
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


for module in (demo, audit, unlearn, score, report, bench, plan, train_small, doctor):
    module.add_to(app)
names.add_to(app)


@hushed()
def main() -> None:
    """Run the command line. Every expected failure ends as one sentence on stderr and exit code 2."""
    if "_LEAKATK_COMPLETE" in os.environ:  # asked by the shell
        from typer.completion import get_completion_inspect_parameters

        get_completion_inspect_parameters()  # makes the shells known
    # With torch loaded, a last look for cycles among half a million objects takes one to four seconds after the last word.
    atexit.register(gc.freeze)
    try:
        app(prog_name="leakatk", standalone_mode=True)
    except LeakAtKError as error:
        _fail(str(error), 2)
    except (KeyboardInterrupt, SystemExit) as stop:
        if isinstance(stop, SystemExit) and stop.code != 130:  # typer turns Ctrl-C into exit code 130
            raise
        again = shlex.join(["leakatk", *sys.argv[1:]])
        _fail(f"Stopped. What was finished is kept; to go on, run the same command again:\n  {again}", 130)
    except BrokenPipeError:  # e.g. `leakatk ... | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except MemoryError as error:
        _fail(
            f"Not enough memory ({first_line(error)}): ask for fewer or shorter answers (--n, --max-new-tokens), then run the "
            "same command again. What was finished is kept.", 2,
        )  # fmt: skip
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EROFS, errno.EPERM):
            raise
        place = f" ({error.filename})" if error.filename else ""
        _fail(f"{error.strerror}{place}: free some space or choose another place, then run the same command again.", 2)


def _fail(message: str, code: int) -> None:
    sys.stdout.flush()
    sys.stderr.write(f"leakatk: {message}\n")
    sys.exit(code)
