"""Help is instant, and every command has examples that its own parser accepts."""

import shlex
import subprocess
import sys

import pytest
import typer.main

from leakatk.cli.main import app

ROOT = typer.main.get_command(app)


def commands():
    """(words of the command, the command), groups opened."""
    for name, command in ROOT.commands.items():
        inner = getattr(command, "commands", None)
        yield from (((name, sub), one) for sub, one in inner.items()) if inner else [((name,), command)]


COMMANDS = dict(commands())


def parse(line):
    """Parse a command line as the program would, without running it."""
    words = shlex.split(line, comments=True)
    assert words[0] == "leakatk", line
    context, command, rest = typer.Context(ROOT, info_name="leakatk"), ROOT, words[1:]
    while hasattr(command, "commands"):
        name, command, rest = command.resolve_command(context, rest)
        if hasattr(command, "commands"):
            context = typer.Context(command, info_name=name, parent=context)
    return command.make_context(name, list(rest), parent=context)


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_every_command_has_examples_and_exit_codes(words):
    command = COMMANDS[words]
    lines = (command.epilog or "").splitlines()
    examples = [line.strip() for line in lines if line.strip().startswith("leakatk ")]
    assert examples, "no example"
    assert any(example.split()[1 : 1 + len(words)] == list(words) for example in examples)
    for example in examples:
        parse(example)
    assert "Exit codes" in command.epilog
    assert command.get_short_help_str(limit=65).endswith("."), "the list of commands would cut it"


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_every_command_has_the_options_that_all_have(words):
    has = {option for parameter in COMMANDS[words].params for option in parameter.opts}
    assert "--json" in has
    if words in {(name,) for name in ("demo", "audit", "attack", "unlearn", "score", "bench", "train-small")}:
        assert {"--dry-run", "--quiet", "--config"} <= has


@pytest.mark.parametrize("words", [(), *COMMANDS], ids=" ".join)
def test_help_is_the_commands_own(leakatk, words):
    code, out, _ = leakatk(*words, "--help")
    assert code == 0
    assert out.startswith(" ".join(("Usage: leakatk", *words)))


HEAVY = ("torch", "transformers", "scipy", "numpy", "pyarrow", "pydantic", "rich.console", "jinja2")


@pytest.mark.parametrize("words", [(), *COMMANDS], ids=" ".join)
def test_help_is_instant(words, tmp_path):
    code = (
        "import sys, time\nstart = time.process_time()\n"
        f"sys.argv = ['leakatk', *{list(words)!r}, '--help']\n"
        "from leakatk.cli.main import main\n"
        "try:\n    main()\nfinally:\n"
        f"    print([name for name in {HEAVY!r} if name in sys.modules], time.process_time() - start, file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path, check=False)
    heavy, seconds = done.stderr.rsplit(" ", 1)
    assert heavy == "[]"
    assert float(seconds) < 0.3, "CPU seconds after the interpreter's own start"
