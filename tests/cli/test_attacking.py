"""`leakatk audit --attack`: the ladder above an audit, and its gate over all rungs."""

import json

import pytest

from leakatk.runs.store import Run
from tests.tiny import save_tiny_model

FEW = ("--n", 2, "--max-new-tokens", 4, "--quiet")


@pytest.fixture(scope="module")
def retrained(tmp_path_factory):
    return save_tiny_model(tmp_path_factory.mktemp("model") / "retrained", seed=3)


@pytest.fixture
def command(model, retrained, forget, tmp_path):
    return (
        "audit", model, "--forget", forget, "--retrained", retrained, "--probe", "filler", "--attack", "quantise:bits=8",
        "--attack", "relearn:steps=1", "--out", tmp_path / "out", *FEW,
    )  # fmt: skip


def test_the_ladder_has_a_row_for_each_probe_and_attack_and_the_worst_case(leakatk, command, tmp_path):
    code, said, err = leakatk(*command)
    assert code == 0, err
    for words in (
        "probe filler",
        "quantise:bits=8",
        "relearn:steps=1",
        "any of 4 rungs",
        "relearn:steps=1: fine-tuning",
    ):
        assert words in said, words
    assert "found still stored" in said
    out = tmp_path / "out"
    summary = json.loads((out / "attacks" / "attacks.json").read_text())
    assert [(rung["name"], rung["kind"]) for rung in summary["rungs"]] == [
        ("none", "none"), ("filler", "probe"), ("quantise:bits=8", "alter"), ("relearn:steps=1", "alter"),
    ]  # fmt: skip
    assert summary["each_level"] == pytest.approx(1 - 0.05 / 5)
    assert not (out / "attacks" / "none").exists()  # the audit's own samples stand there
    page = (out / "report.html").read_text()
    assert 'id="ladder"' in page
    assert "any of 4 rungs" in page
    assert leakatk("report", out)[0] == 0  # made again from what is on disk
    assert 'id="ladder"' in page
    code, again, err = leakatk(*command, "--json")
    assert code == 0, err
    assert json.loads(again)["ladder"]["rungs"] == summary["rungs"]


def test_the_gate_is_over_every_rung_and_stands_in_the_results(leakatk, command, tmp_path):
    gate = ("--fail-above", "2:1.0")
    code, _, err = leakatk(*command, *gate)
    verdict = Run.open(tmp_path / "out").results()["gate"]
    names = " ".join(one["name"] for one in verdict["settings"])
    assert all(f"{rung}: " in names for rung in ("without an attack", "filler", "quantise:bits=8", "relearn:steps=1"))
    assert f"Gate: {verdict['answer']}" in err
    assert code == {"PASS": 0, "CANNOT SAY": 4}[verdict["answer"]]
    leakatk(*command, *gate, "--worst-case")
    verdict = Run.open(tmp_path / "out").results()["gate"]
    assert verdict["settings"][0]["name"].startswith("worst case over 4 rungs")


def test_a_dry_run_says_what_the_attacks_take(leakatk, command, tmp_path):
    code, said, err = leakatk(*command, "--dry-run")
    assert code == 0, err
    # 3 prompts, 2 attacks, 2 samples of each of two models and a greedy answer of one
    assert "Would then draw 30 answers under 2 attacks" in said
    assert "relearn:steps=1: alter, 2 folds; assumes fine-tuning" in said
    assert not (tmp_path / "out").exists()
    _, said, _ = leakatk(*command, "--dry-run", "--json")
    found = json.loads(said)
    assert found["answers_under_attack"] == 30
    assert found["attacks"]["relearn:steps=1"]["steps"] == 4  # two folds of two models


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (("--attack", "quantize"), "did you mean quantise"),
        (("--attack", "quantise", "--guard", "curate"), "audit one at a time"),
        (("--attack", "quantise", "--url", "http://localhost:1"), "in this process"),
        (("--attack", "quantise", "--sequential", "--fail-above", "2:0.5"), "leave out one of the two"),
        (("--attack", "quantise", "--attack", "quantise"), "given twice"),
        (("--attack", "relearn:on=text"), "give it with --text FILE"),
        (("--original", "models/original"), "give --attack NAME too"),
        (("--worst-case", "--fail-above", "2:0.5"), "--probe or --attack"),
    ],
)
def test_bad_input_is_one_sentence_before_anything_is_asked(leakatk, model, forget, tmp_path, more, words):
    out = tmp_path / "out"
    code, _, err = leakatk("audit", model, "--forget", forget, "--out", out, *FEW, *more)
    assert code == 2
    assert words in err
    assert not out.exists()


def test_attacks_are_given_the_retrained_model_and_the_original(leakatk, model, retrained, forget, tmp_path):
    command = (
        "audit",
        model,
        "--forget",
        forget,
        "--original",
        model,
        "--out",
        tmp_path / "o",
        "--attack",
        "depth",
        *FEW,
    )
    code, _, err = leakatk(*command)
    assert code == 2
    assert "--retrained" in err
    code, said, err = leakatk(*command, "--retrained", retrained)
    assert code == 0, err
    assert "What is read without samples" in said


def test_a_run_of_the_retrained_model_cannot_be_attacked(leakatk, model, retrained, forget, tmp_path):
    run = tmp_path / "run"
    assert leakatk("audit", retrained, "--forget", forget, "--out", run, *FEW)[0] == 0
    code, _, err = leakatk(
        "audit", model, "--forget", forget, "--out", tmp_path / "o", "--attack", "quantise", "--retrained", run, *FEW
    )
    assert code == 2
    assert "give --retrained that model" in err


def test_a_gate_on_the_excess_compares_each_rung_with_the_retrained_model_under_it(leakatk, command, tmp_path):
    junit = ("--junit", tmp_path / "gate.xml")
    code, printed, err = leakatk(
        *command, "--fail-excess-above", "2:1", "--fail-above", "2:1", "--cut", "ignore", *junit
    )
    results = Run.open(tmp_path / "out").results()
    gate, verdict = results["excess_gate"], results["verdict"]
    names = [one["name"] for one in gate["settings"]]
    assert [name.split(": ")[0] for name in names] == [
        "without an attack", "filler", "quantise:bits=8", "relearn:steps=1",
    ]  # fmt: skip
    assert (code, verdict["answer"], gate["answer"]) == (0, "PASS", "PASS"), err
    assert gate["each_level"] == pytest.approx(1 - 0.05 / 8), "four rungs of each gate"
    assert "without an attack: greedy: not compared, the retrained model lacks it" in gate["not_measured"]
    assert (
        "Gate on the excess: PASS: leak@2 may be at most 100 percentage points above that of the retrained model" in err
    )
    assert printed.startswith("PASS: ")
    assert 'failures="0" errors="0"' in junit[1].read_text()
    code, _, err = leakatk(*command, "--fail-if-worse-than", tmp_path / "out")
    assert (code, "leave out --attack" in err) == (2, True)
