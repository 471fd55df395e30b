"""Small inputs on which an earlier version failed, with their right answers: run where they are at hand (LEAKATK_FAULTS).

The tests beside this one make their own inputs of the same kinds; these are kept as they were found.
"""

import json
import os
from pathlib import Path

import numpy as np
import pytest

from leakatk.models.load import load_model
from leakatk.models.token_stats import answer_pairs, token_stats
from leakatk.prompts import load_prompts


@pytest.fixture(scope="module")
def faults():
    named = os.environ.get("LEAKATK_FAULTS")
    path = Path(named) if named else Path(__file__).resolve().parents[3] / "shared" / "faults"
    if not path.is_dir():
        pytest.skip("no inputs at hand (set LEAKATK_FAULTS)")
    return path


@pytest.fixture
def audit(leakatk, faults, tmp_path, monkeypatch):
    monkeypatch.chdir(faults)

    def run(model, forget, *options):
        out = tmp_path / "run"
        settings = ("--n", "50", "--k", "1,16", "--out", out, "--quiet")
        code, _, err = leakatk("audit", model, "--forget", forget, *settings, *options)
        results = json.loads((out / "results.json").read_text()) if (out / "results.json").exists() else {}
        return code, err, results

    return run


def refused(found, *words):
    code, err, results = found
    assert code == 2
    assert not results
    assert all(word in err for word in words), err
    assert len(err.strip().splitlines()) == 1


def test_renamed_weights(audit):
    forget, gate = "01-renamed-weights/forget.jsonl", ("--fail-above", "16:0.5")
    refused(
        audit("01-renamed-weights/v_orig_mod", forget, *gate), "missing (lm_head.weight", "_orig_mod.lm_head.weight"
    )
    code, _, results = audit("01-renamed-weights/base", forget, *gate)
    assert code == 1
    assert results["gate"]["answer"] == "FAIL"


def test_two_token_pieces(audit, faults):
    path = faults / "04-two-token-pieces"
    code, _, results = audit(path / "llama2_like", path / "forget.jsonl", "--scorer", "verbatim")
    assert code == 0
    exact = np.exp(list(results["exact"]["logp"].values()))
    assert ((exact > 0.91) & (exact < 0.9349)).all()
    assert results["self_check"]["inside"]
    loaded, prompts = load_model(path / "llama2_like", device="cpu"), load_prompts(path / "forget.jsonl")
    stats = token_stats(loaded, answer_pairs(loaded, [p.question for p in prompts], [p.answer for p in prompts]))
    assert np.mean([np.exp(s.logprob.mean()) for s in stats]) == pytest.approx(0.992, abs=5e-4)


def test_question_not_in_prompt(audit):
    path = "06-question-not-in-prompt"
    code, _, results = audit(f"{path}/t_content_list", f"{path}/forget.jsonl", "--scorer", "verbatim")
    assert code == 0
    assert results["scorers"]["verbatim"]["greedy"] == 1.0
    assert results["self_check"]["inside"]


@pytest.mark.parametrize("options", [(), ("--temperature", "0", "--n", "1", "--k", "1")])
def test_nan_model(audit, options):
    refused(audit("09-nan-model/v_nan", "09-nan-model/forget.jsonl", *options), "NaN or infinite")


@pytest.mark.parametrize(("model", "says"), [("lfs", "git lfs pull"), ("trunc", "model.safetensors is cut short")])
def test_what_cannot_be_loaded(audit, model, says):
    refused(audit(f"12-tracebacks-loading/{model}", "12-tracebacks-loading/forget.jsonl"), says)


def test_system_message(audit):
    code, err, results = audit(
        "13-system-message/t_nosystem", "12-tracebacks-loading/forget.jsonl", "--system", "Be brief."
    )
    assert code == 0
    assert "before the first question" in err
    assert any("before the first question" in note for note in results["notes"])


def test_positions(audit):
    path = "14-positions-and-vocabulary"
    code, _, results = audit(f"{path}/gpt2s", f"{path}/long.jsonl", "--max-new-tokens", "20")
    assert code == 0
    assert None in results["exact"]["logp"].values()  # the long answer cannot be said in 20 tokens


def test_adapter_without_tokenizer(audit):
    path = "15-adapter-without-tokenizer"
    code, err, results = audit(f"{path}/lora_notok", f"{path}/forget.jsonl")
    assert code == 0
    assert "that of its base model" in err
    assert any("that of its base model" in note for note in results["notes"])
