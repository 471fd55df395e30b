"""Help in groups: every option once, the twelve that matter first, and none lost that nobody has placed."""

import re

import pytest
import typer
from typer.main import get_command

from leakatk.cli.grouping import FEW, FIRST, HEADINGS, OTHER, group_options, heading_of
from tests.cli.test_help import COMMANDS

LONG = {
    " ".join(words): one
    for words, one in COMMANDS.items()
    if sum(p.param_type_name == "option" and not p.hidden for p in one.params) > FEW
}


def sections(text):
    """Heading -> the options that begin a line under it."""
    found, head = {}, ""
    for line in text.splitlines():
        if line and not line.startswith(" ") and line.endswith(":"):
            head = line.rstrip(":")
        elif match := re.match(r"  (?:-\w, )?--([\w-]+)", line):
            found.setdefault(head, []).append(match[1])
    return found


@pytest.mark.parametrize("name", LONG)
def test_every_option_stands_once_and_the_first_twelve_first(leakatk, name):
    code, out, _ = leakatk(*name.split(), "--help")
    assert code == 0
    found = sections(out)
    options = [max((word.lstrip("-") for word in p.opts), key=len) for p in LONG[name].params
               if p.param_type_name == "option" and not p.hidden]  # fmt: skip
    listed = [option for under in found.values() for option in under]
    assert sorted(set(options) - set(listed)) == []
    assert len(listed) == len(set(listed))
    if name in FIRST:
        assert next(iter(found)) == "Options"
        assert found.pop("Options") == FIRST[name].split()
        assert len(FIRST[name].split()) == 12
    assert list(found) == [head for head in (*HEADINGS, OTHER) if head in found], "in one order everywhere"


def test_first_options_exist_and_no_name_stands_under_two_headings():
    for name, first in FIRST.items():
        options = {max((word.lstrip("-") for word in p.opts), key=len) for p in COMMANDS[tuple(name.split())].params}
        assert set(first.split()) <= options, name
    placed = [option for names in HEADINGS.values() for option in names.split()]
    assert len(placed) == len(set(placed))


def test_a_short_command_has_no_headings(leakatk):
    _, out, _ = leakatk("plan", "--help")
    assert list(sections(out)) == ["Options"]


def test_an_option_without_a_place_is_shown_last():
    app = typer.Typer(rich_markup_mode=None)
    names = [f"new_{i}" for i in range(FEW + 1)]
    text = f"def run({', '.join(f'{name}: str = str()' for name in [*names, 'lr'])}): pass"
    space = {}
    exec(text, space)
    app.command("many")(space["run"])
    group_options(app)
    command = get_command(app)
    found = sections(command.get_help(typer.Context(command, info_name="many")))
    assert list(found) == ["Training", "Running", OTHER]
    assert found[OTHER][: len(names)] == [name.replace("_", "-") for name in names]
    assert heading_of("unlearn", "n") == "RULE"
    assert heading_of("audit", "n") == ""
