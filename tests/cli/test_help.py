"""Help is instant, and every command has examples that its own parser accepts."""

import ast
import shlex
import subprocess
import sys
from importlib import import_module
from inspect import signature

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
    """Parse a command line as the program would, without running it; or a line of Python, whose imports and calls must fit."""
    if line.startswith(("from ", "import ")):
        return parse_python(line)
    words = shlex.split(line, comments=True)
    assert words[0] == "leakatk", line
    context, command, rest = typer.Context(ROOT, info_name="leakatk"), ROOT, words[1:]
    while hasattr(command, "commands"):
        name, command, rest = command.resolve_command(context, rest)
        if hasattr(command, "commands"):
            context = typer.Context(command, info_name=name, parent=context)
    return command.make_context(name, list(rest), parent=context)


def parse_python(line):
    tree, names = ast.parse(line), {}
    for one in ast.walk(tree):
        if isinstance(one, ast.ImportFrom):
            names |= {alias.name: getattr(import_module(one.module), alias.name) for alias in one.names}
    calls = [one for one in ast.walk(tree) if isinstance(one, ast.Call) and isinstance(one.func, ast.Name)]
    assert calls
    for call in calls:
        signature(names[call.func.id]).bind(*call.args, **{word.arg: word.value for word in call.keywords})
    return tree


def test_a_line_of_python_is_parsed_too():
    parse('from leakatk.synthesis import written; written("alternates", prompts, known)')
    with pytest.raises(TypeError, match="nothing"):
        parse('from leakatk.synthesis import written; written("alternates", prompts, nothing=1)')
    with pytest.raises(AttributeError):
        parse("from leakatk.synthesis import writes; writes()")


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
    if words in {
        (name,) for name in ("demo", "audit", "attack", "unlearn", "score", "bench", "train-small", "finetune")
    }:
        assert {"--dry-run", "--quiet", "--config"} <= has


@pytest.mark.parametrize("words", [(), *COMMANDS], ids=" ".join)
def test_help_is_the_commands_own(leakatk, words):
    code, out, _ = leakatk(*words, "--help")
    assert code == 0
    assert out.startswith(" ".join(("Usage: leakatk", *words)))


HEAVY = ("torch", "transformers", "scipy", "numpy", "pyarrow", "pydantic", "rich.console", "jinja2")


@pytest.mark.parametrize("words", [(), *COMMANDS], ids=" ".join)
def test_help_is_instant(words, tmp_path):
    """Of what is imported, not of seconds: those are the machine's, and its load's."""
    code = (
        "import sys\nbefore = set(sys.modules)\n"
        f"sys.argv = ['leakatk', *{list(words)!r}, '--help']\n"
        "from leakatk.cli.main import main\n"
        "try:\n    main()\nfinally:\n    print(*sys.modules.keys() - before, file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path, check=False)
    imported = done.stderr.split()
    assert "leakatk.cli.main" in imported
    assert not set(HEAVY) & set(imported)
    assert len(imported) < 250, "183 in November 2026, of which 43 are ours: 0.2 seconds"


def test_typos_are_answered_with_the_nearest_name(leakatk):
    code, _, err = leakatk("adit")
    assert code == 2
    assert "audit" in err
    code, _, err = leakatk("audit", "m", "--out", "o", "--benchmrk", "world")
    assert code == 2
    assert "--benchmark" in err
