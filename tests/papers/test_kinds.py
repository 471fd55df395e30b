"""A kind knows where its registry is, loads all of it, and gives the command that runs one."""

import subprocess
import sys

import pytest

from leakatk.papers.kinds import KINDS, Kind
from leakatk.registry import Facts

ROOMS = ("leakatk.guards", "leakatk.attacks", "leakatk.metrics", "leakatk.unlearning", "leakatk.probes", "torch")


@pytest.mark.parametrize("name", KINDS)
def test_a_kind_loads_what_it_shows_and_its_facts(name):
    kind = KINDS[name]
    items = kind.load()
    assert kind.name == name
    assert name == f"{kind.one}s"
    assert [facts.name for facts in kind.facts()] == sorted(items)
    assert not kind.shown or kind.shown in items


def test_a_spread_kind_loads_what_only_modules_of_its_room_register(tmp_path, monkeypatch):
    room = tmp_path / "room_of_lamps"
    room.mkdir()
    (room / "__init__.py").write_text("")
    (room / "base.py").write_text("LAMPS = {}\n")
    (room / "oil.py").write_text("from room_of_lamps.base import LAMPS\n\nLAMPS['oil'] = 1\n")
    monkeypatch.syspath_prepend(tmp_path)
    lamps = ("lamps", "room_of_lamps.base:LAMPS", "the lamps", "light {}")
    try:
        assert Kind(*lamps).load() == {}
        assert Kind(*lamps, spread=True).load() == {"oil": 1}
    finally:
        for module in [name for name in sys.modules if name.partition(".")[0] == "room_of_lamps"]:
            del sys.modules[module]


@pytest.mark.parametrize(
    ("where", "there"),
    [
        ("leakatk.papers.parts:PARTS", True),
        ("leakatk.scorers:SCORERS", True),
        ("leakatk.papers.parts:PART", False),
        ("leakatk.papers.nowhere:PARTS", False),
    ],
)
def test_a_kind_is_there_if_a_module_defines_its_registry(where, there):
    assert Kind("gadgets", where, "gadgets", "").there is there


def test_the_command_is_that_of_the_thing_else_that_of_its_kind():
    kind = Kind("gadgets", "nowhere:NONE", "gadgets", "leakatk gadgets {}")
    assert kind.command(Facts(name="lamp")) == "leakatk gadgets lamp"
    assert kind.command(Facts(name="lamp", example="light lamp")) == "light lamp"


def test_listing_the_kinds_imports_none_of_them():
    code = "import sys; import leakatk.papers.kinds as kinds; assert kinds.KINDS; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert "leakatk.registry" in done.stdout.split()
    assert not set(ROOMS) & set(done.stdout.split())
