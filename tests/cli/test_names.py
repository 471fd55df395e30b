"""What there is: every registered thing is listed and described, and doctor says what the machine has."""

import json

import pytest

from leakatk.cli import sources
from leakatk.cli.names import KINDS, described
from leakatk.errors import UnknownNameError
from tests.cli.test_help import parse


@pytest.mark.parametrize("kind", KINDS)
def test_each_is_listed_and_described(leakatk, kind):
    items = KINDS[kind].load()
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
    items = KINDS[kind].load()
    for name in items:
        facts = described(KINDS[kind], name, items[name])
        assert {"summary", "formula", "defaults", "example"} <= set(facts), name
        assert "paper" in facts or (kind == "methods" and facts["summary"]), "a method's summary is its paper"


def test_what_is_said_of_names_is_said_of_names_that_exist():
    assert all(item.formula for name, item in KINDS["methods"].load().items() if name != "rule")
    for kind in ("scorers", "engines", "protocols"):
        assert set(getattr(sources, kind.upper())) == set(KINDS[kind].load())
    assert set(sources.BENCHMARKS) == {name.partition("/")[0] for name in KINDS["benchmarks"].load()}
    assert set(sources.EXAMPLES) <= {name for kind in KINDS.values() for name in kind.load()}


def test_what_somebody_registers_is_described_too():
    from leakatk.benchmarks.base import Entry

    facts = described(
        KINDS["benchmarks"], "capitals", Entry("capitals", "Capitals of the world.", lambda options: None)
    )
    assert (facts["summary"], facts["files"]) == (
        "Capitals of the world.",
        "the hub, --data DIR, or LEAKATK_DATA/capitals",
    )


def test_a_typo_is_answered(leakatk):
    code, _, err = leakatk("protocols", "papr")
    assert code == 2
    assert "paper" in err
    code, _, err = leakatk("unlearn", "m", "--method", "rul", "--out", "o", "--benchmark", "world")
    assert code == 2
    assert "did you mean rule" in err
    with pytest.raises(UnknownNameError):
        KINDS["scorers"].load()["nop"]


def test_doctor(leakatk, monkeypatch, tmp_path):
    (tmp_path / "tofu").mkdir()
    monkeypatch.setenv("LEAKATK_DATA", str(tmp_path))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    code, out, _ = leakatk("doctor", "--json")
    assert code == 0
    rows = json.loads(out)
    assert rows["data"].endswith(": tofu")
    assert "HF_HUB_OFFLINE" in rows["hub"]
    assert {"python", "torch", "transformers", "devices", "memory", "disk here", "extra judge"} <= set(rows)
    monkeypatch.setattr("leakatk.cli.doctor.packages", lambda: ({"leak-at-k": "1", "torch": ""}, {}))
    code, out, _ = leakatk("doctor")
    assert code == 2
    assert "MISSING: pip install torch" in out


def test_doctor_finds_the_hub_or_says_it_does_not(leakatk, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "0")
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")  # nothing listens there
    code, out, _ = leakatk("doctor", "--json")
    assert code == 0
    assert "127.0.0.1 cannot be reached" in json.loads(out)["hub"]


def test_data_is_found_by_the_environment(monkeypatch, tmp_path):
    from leakatk.cli.inputs import data_of

    (tmp_path / "tofu").mkdir()
    monkeypatch.setenv("LEAKATK_DATA", str(tmp_path))
    assert data_of("tofu/forget10", None) == str(tmp_path / "tofu")
    assert data_of("tofu/forget10", "mine") == "mine"
    assert data_of("muse/news", None) is None
    monkeypatch.delenv("LEAKATK_DATA")
    assert data_of("tofu/forget10", None) is None
