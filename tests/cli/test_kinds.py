"""Every registered thing is listed and described, and a typo is answered."""

import json

import pytest

from leakatk.cli.kinds import KINDS, described, items_of
from leakatk.errors import UnknownNameError
from leakatk.registry import Facts
from tests.cli.test_help import parse


@pytest.mark.parametrize("kind", KINDS)
def test_each_is_listed_and_described(leakatk, kind):
    items = items_of(KINDS[kind])
    code, out, _ = leakatk(kind)
    assert code == 0
    assert [line.split()[0] for line in out.splitlines()] == sorted(items)
    assert all(len(line.split()) > 1 for line in out.splitlines()), "each says what it is"
    for name in items:
        facts = described(KINDS[kind], name, items[name])
        parse(facts["example"])
        assert facts["example"].find(name) > 0
        if kind == "scorers":
            assert items[name].summary == facts["summary"]
    code, out, _ = leakatk(kind, name)
    assert code == 0
    assert out.startswith(f"{name}: ")
    code, out, _ = leakatk(kind, "--json")
    assert set(json.loads(out)) == set(items)


def test_a_method_shows_paper_formula_defaults_and_an_example(leakatk):
    code, out, _ = leakatk("methods", "npo")
    assert code == 0
    for words in ("2404.05868", "F = -(2/beta) E log sigma(", "beta=0.5", "small     beta=0.1", "--method npo"):
        assert words in out


@pytest.mark.parametrize("kind", KINDS)
def test_each_has_a_paper_a_formula_defaults_and_an_example(kind):
    items = items_of(KINDS[kind])
    for name in items:
        facts = described(KINDS[kind], name, items[name])
        assert {"summary", "formula", "defaults", "example"} <= set(facts), name
        assert "paper" in facts or facts["summary"], "without a summary the paper stands in its place"


def test_what_somebody_registers_is_described_too():
    from leakatk.benchmarks.base import Entry

    facts = described(
        KINDS["benchmarks"],
        "capitals",
        Entry(name="capitals", summary="Capitals of the world.", load=lambda options: None),
    )
    assert (facts["summary"], facts["files"]) == (
        "Capitals of the world.",
        "the hub, --data DIR, or LEAKATK_DATA/capitals",
    )


def test_a_class_in_the_old_form_is_described_too():
    """Its name, summary and paper as class variables, and nothing given to the registry."""
    from dataclasses import dataclass

    from leakatk.registry import Registry
    from leakatk.scorers import RougeL

    registry = Registry("scorer")

    @registry.register("mine")
    @dataclass(frozen=True)
    class Mine(RougeL):
        name = "mine"
        summary = "as I like it"
        paper = "mine"

    facts = described(KINDS["scorers"], "mine", registry["mine"])
    assert (facts["summary"], facts["paper"], "formula" in facts) == ("as I like it", "mine", False)
    assert facts["example"] == "leakatk score runs/forgot --scorer mine"
    assert Mine().label == "mine"


def test_a_kind_without_a_form_of_its_own_is_described_by_its_facts():
    from dataclasses import dataclass

    from leakatk.papers.kinds import Kind
    from leakatk.registry import Facts, Registry, Specified

    @dataclass(frozen=True, kw_only=True)
    class GadgetFacts(Facts):
        access: str
        chance: float = float("nan")
        values: tuple[str, ...] = ()
        model: bool = False

    registry = Registry("gadget")

    @registry.register("lamp")
    @dataclass(frozen=True)
    class Lamp(Specified):
        """Gives light. watts: how much."""

        watts: int = 40

    Lamp.facts = GadgetFacts(name="lamp", summary="gives light", access="a socket", values=("lumen", "lux"))
    kind = Kind("gadgets", "nowhere:NONE", "the gadgets", "leakatk gadgets {}")
    assert described(kind, "lamp", registry["lamp"]) == {
        "name": "lamp",
        "summary": "gives light",
        "defaults": "watts=40",
        "options": "Gives light. watts: how much.",
        "access": "a socket",
        "values": "lumen, lux",
        "model": "no",
        "example": "leakatk gadgets lamp",
    }
    plain = GadgetFacts(name="plain", access="none", chance=0.5)
    assert described(kind, "plain", plain)["chance"] == "0.5"


def test_what_is_lacking_and_which_rows_are_served_are_shown(leakatk):
    code, out, _ = leakatk("attacks", "decoder")
    assert code == 0
    assert "rows      83, 30 of the paper index (leakatk papers)" in out
    half = Facts(name="half", rows=("55", "83"), lacks={"55": "the switch"})
    assert described(KINDS["attacks"], "half", half)["lacks"] == "row 55: the switch"


def test_a_typo_is_answered(leakatk):
    code, _, err = leakatk("protocols", "papr")
    assert code == 2
    assert "paper" in err
    code, _, err = leakatk("unlearn", "m", "--method", "rul", "--out", "o", "--benchmark", "world")
    assert code == 2
    assert "did you mean rule" in err
    with pytest.raises(UnknownNameError):
        KINDS["scorers"].load()["nop"]
