"""The `leakatk` command: one file a command, heavy imports inside the command, errors as one sentence.

Exit codes: 0 done (and the gate passed), 1 the gate of `audit --fail-above` failed, 2 the input cannot be used,
130 stopped with Ctrl-C (what was done is kept; the same command resumes).
"""

from __future__ import annotations

import errno
import os
import sys

import typer

from leakatk import __version__
from leakatk.cli import audit, bench, demo, doctor, names, plan, report, score, train_small, unlearn
from leakatk.errors import LeakAtKError

app = typer.Typer(
    name="leakatk",
    no_args_is_help=True,
    add_completion=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
    help="Does an unlearned language model still leak when it is sampled the way people use it?",
    epilog="Start with `leakatk demo` (a minute or two on a laptop CPU). Exit codes: 0 done, 1 gate failed, 2 bad input, 130 interrupted.",
)


def _version(show: bool) -> None:
    if show:
        typer.echo(f"leakatk {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: bool = typer.Option(False, "--version", callback=_version, is_eager=True, help="Print the version."),
) -> None:
    pass


for module in (demo, audit, unlearn, score, report, bench, plan, train_small, doctor):
    module.add_to(app)
names.add_to(app)


def main() -> None:
    """Run the command line. Every expected failure ends as one sentence on stderr and exit code 2."""
    try:
        app(standalone_mode=True)
    except LeakAtKError as error:
        _fail(str(error), 2)
    except (KeyboardInterrupt, SystemExit) as stop:
        if isinstance(stop, SystemExit) and stop.code != 130:  # typer turns Ctrl-C into exit code 130
            raise
        _fail("Stopped. What was finished is kept: run the same command again to go on.", 130)
    except BrokenPipeError:  # e.g. `leakatk ... | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EROFS, errno.EPERM):
            raise
        place = f" ({error.filename})" if error.filename else ""
        _fail(f"{error.strerror}{place}: free some space or choose another place, then run the same command again.", 2)


def _fail(message: str, code: int) -> None:
    sys.stdout.flush()
    sys.stderr.write(f"leakatk: {message}\n")
    sys.exit(code)
