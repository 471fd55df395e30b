import json
import re

import pytest

from leakatk.prompts import save_prompts
from tests.tiny import PROMPTS, save_tiny_model

FEW = ("--n", 2, "--max-new-tokens", 4, "--quiet")


@pytest.fixture(scope="module")
def retrained(tmp_path_factory):
    return save_tiny_model(tmp_path_factory.mktemp("model") / "retrained", seed=3)


def test_one_row_an_attack(leakatk, model, retrained, forget, tmp_path):
    out = tmp_path / "out"
    command = ("attack", model, "--forget", forget, "--attack", "quantise:bits=8", "--attack", "relearn:steps=1")
    command += ("--retrained", retrained, "--out", out, *FEW)
    code, said, err = leakatk(*command)
    assert code == 0, err
    assert "Leak under attack" in said
    assert all(name in said for name in ("as asked", "quantise:bits=8", "relearn:steps=1", "excess"))
    assert "weights are rounded" in err
    summary = json.loads((out / "attacks.json").read_text())
    assert [rung["name"] for rung in summary["rungs"]] == ["none", "quantise:bits=8", "relearn:steps=1"]
    assert summary["folds"] == 2
    code, again, _ = leakatk(*command, "--json")
    assert code == 0
    assert json.loads(again)["rungs"] == summary["rungs"]
    assert leakatk("attack", "--config", out / "config.toml", "--n", 3)[0] == 0  # grows


def test_without_the_retrained_model_it_says_what_is_missing(leakatk, model, forget, tmp_path):
    code, said, err = leakatk(
        "attack", model, "--forget", forget, "--attack", "quantise", "--out", tmp_path / "o", *FEW
    )
    assert code == 0
    assert "Without --retrained there is no excess" in err
    assert "excess" not in said


def test_a_dry_run_writes_nothing(leakatk, model, retrained, forget, tmp_path):
    out = tmp_path / "out"
    command = (
        "attack",
        model,
        "--forget",
        forget,
        "--retrained",
        retrained,
        "--attack",
        "relearn",
        "--attack",
        "key-tokens",
    )
    command += ("--out", out, *FEW, "--dry-run")
    code, said, err = leakatk(*command)
    assert code == 0, err
    assert not out.exists()
    # 3 prompts, 3 rungs, 2 samples of each of two models and a greedy answer of one
    assert "45 answers" in said
    assert "relearn: alter, 2 folds; assumes fine-tuning" in said
    # 50 steps on two folds of two models
    assert re.search(r"It trains 200 steps x \d+ tokens = [\d,]+ tokens, about \d+s", said)
    assert "key-tokens: ask, all prompts at once; assumes log-probabilities" in said
    assert re.search(r"It runs the model on \d+ texts = \d+ tokens", said)
    code, said, _ = leakatk(*command, "--json")
    assert json.loads(said)["answers"] == 45
    assert json.loads(said)["attacks"]["relearn"]["steps"] == 200
    # 3 prompts and as many to keep, of two models, without the attack and under key-tokens
    code, said, err = leakatk(*command, "--retain", forget)
    assert f"{45 + 2 * 6 * 2} answers" in said, err
    assert "Of these 24 are greedy" in said
    # Two models; of 3 prompts 2 and 1 are seen, so that a step has 3 in all, with 5 candidates, a gradient and the text.
    code, said, _ = leakatk(*command, "--attack", "token-search:steps=4,candidates=5", "--json")
    assert json.loads(said)["attacks"]["token-search:steps=4,candidates=5"]["texts"] == 2 * 4 * 7 * 3


@pytest.mark.parametrize(
    ("options", "match"),
    [
        (("--attack", "quantize"), "did you mean quantise"),
        (("--attack", "quantise:bit=4"), "no option 'bit'"),
        (("--attack", "quantise:bits=3"), "must be 8 or 4"),
        ((), "at least one --attack"),
        (("--attack", "quantise", "--attack", "quantise"), "given twice"),
        (("--attack", "relearn:on=retain"), "needs retain prompts"),
        (("--attack", "relearn:on=text"), "give it with --text FILE"),
        (("--attack", "token-search:on=each"), "give it with --retrained MODEL"),
        (("--attack", "quantise", "--auxiliary", "models/x"), "write NAME=MODEL"),
        (("--attack", "relearn", "--folds", 4), "4 folds, 3 forget prompts"),
        (("--attack", "decoder"), "wrong answers"),
        (("--attack", "quantise", "--k", "64"), "raise --n"),
        (("--attack", "quantise", "--fail-excess-above", "1:0.5"), "needs --retrained"),
        (("--attack", "quantise", "--summary", "s.md"), "give a gate too"),
        (("--attack", "quantise", "--engine", "ray"), "--engine native"),
        (("--attack", "quantise", "--retrained", "./nowhere"), "no such model directory"),
    ],
)
def test_bad_input_is_one_sentence_and_leaves_nothing(leakatk, model, forget, tmp_path, options, match):
    out = tmp_path / "out"
    code, said, err = leakatk("attack", model, "--forget", forget, "--out", out, *FEW, *options)
    assert code == 2
    assert match in err
    assert len(err.strip().splitlines()) == 1
    assert not said
    assert not out.exists()


def test_relearning_on_retain_prompts_needs_no_folds(leakatk, model, forget, tmp_path):
    save_prompts([type(PROMPTS[0])("r0", "Who sings?", "Di sings.")], tmp_path / "retain.jsonl")
    options = ("--retain", tmp_path / "retain.jsonl", "--attack", "relearn:on=retain,steps=1", "--json")
    code, said, _ = leakatk("attack", model, "--forget", forget, "--out", tmp_path / "o", *FEW, *options)
    assert code == 0
    assert json.loads(said)["folds"] == 0


def test_a_gate_has_the_exit_codes_of_an_audit(leakatk, model, forget, tmp_path):
    junit = tmp_path / "gate.xml"
    command = (
        "attack",
        model,
        "--forget",
        forget,
        "--attack",
        "quantise",
        "--out",
        tmp_path / "o",
        *FEW,
        "--junit",
        junit,
        "--fail-above",
    )
    code, _, err = leakatk(*command, "1:1")
    assert code == 0
    assert "Gate: PASS" in err
    assert '<testsuite name="tiny under attack: leak@1" tests="5" failures="0" errors="0">' in junit.read_text()
    code, _, err = leakatk(*command, "1:0.01")
    assert code == 4  # two samples decide nothing
    assert "Gate: CANNOT SAY" in err
    code, _, err = leakatk(*command, "64:0.1")
    assert code == 2


def test_passages_of_a_file(leakatk, model, forget, tmp_path):
    (tmp_path / "text.txt").write_text("The sea\nis calm.\n\nBread keeps well.\n")
    options = ("--text", tmp_path / "text.txt", "--attack", "relearn:on=text,steps=1")
    assert leakatk("attack", model, "--forget", forget, "--out", tmp_path / "o", *FEW, *options)[0] == 0
    (tmp_path / "text.txt").write_text("\n")
    code, _, err = leakatk("attack", model, "--forget", forget, "--out", tmp_path / "p", *FEW, *options)
    assert code == 2
    assert "holds no text" in err
