"""The forecast of an audit: exact probabilities join the counts, and the truth is inside at any k."""

import numpy as np
import pytest
import torch

import leakatk as lk
from leakatk.auditing.bounds import expansions
from leakatk.estimate.from_probability import leak_from_logprob
from leakatk.small.architecture import SmallConfig, new_model, save_model, train_tokenizer
from tests.tiny import PROMPTS


def test_the_true_answer_counts_though_it_was_never_sampled(tmp_path):
    texts = [text for prompt in PROMPTS for text in (prompt.question, prompt.answer)]
    tokenizer = train_tokenizer(texts, 400)
    model = new_model(tokenizer, SmallConfig(hidden=32, layers=1, heads=2, mlp=64, vocabulary=400), seed=0)
    save_model(model, tokenizer, tmp_path / "model")
    found = lk.audit(
        tmp_path / "model", PROMPTS, out=tmp_path / "run", n=16, decoding=lk.Decoding(max_new_tokens=12),
        scorers=["fact"], quiet=True,
    )  # fmt: skip
    block = found["scorers"]["fact"]
    assert block["curves"]["samples"]["value"][-1] == 0.0
    forecast = block["forecast"]
    logp = np.array(list(found["exact"]["logp"].values()))
    # Nothing leaked in 48 samples, and yet the true answers' own probability is a floor; a tiny one, and never 0.
    expected = leak_from_logprob(logp, forecast["k"][-1]).mean()
    assert forecast["low"][-1] > 0
    assert np.isclose(forecast["low"][-1], expected, rtol=1e-6)
    assert forecast["low_by"][-1] == "exact"
    assert all(low <= high for low, high in zip(forecast["low"], forecast["high"], strict=True))


def test_bounds_from_sampled_masses_hold_the_enumerated_truth_at_a_million(tmp_path):
    """Answers of two tokens, all of them enumerated: the leak probability is known to the last digit."""
    from leakatk.estimate.from_probability import leak_bounds, leak_from_probability, probability_bounds

    tokenizer = train_tokenizer(["a"], 260)
    config = SmallConfig(hidden=32, layers=1, heads=2, mlp=64, vocabulary=260)
    model = new_model(tokenizer, config, seed=1).eval()
    with torch.no_grad():  # peaked enough that a few hundred samples see most of the mass
        model.get_input_embeddings().weight.mul_(8)
    save_model(model, tokenizer, tmp_path / "model")
    loaded = lk.load_model(tmp_path / "model")
    run = lk.sample(loaded, PROMPTS, n=400, decoding=lk.Decoding(max_new_tokens=2), quiet=True)
    end, size = tokenizer.eos_token_id, len(tokenizer)

    def leaks(tokens):
        return float(tokens[0] % 7 == 0)

    sampled = {prompt.id: [] for prompt in PROMPTS}
    for generation in run.generations():
        sampled[generation.prompt_id].append(generation)
    bounds, truth = [], []
    for prompt in PROMPTS:
        drawn = sampled[prompt.id]
        bounds.append(
            probability_bounds(
                [g.token_ids for g in drawn], [g.logprob for g in drawn], [leaks(g.token_ids) for g in drawn]
            )
        )
        ids = loaded.template.prompt_ids(tokenizer, prompt.question)
        with torch.no_grad():
            first = torch.softmax(loaded.model(torch.tensor([ids])).logits[0, -1].double(), 0)
            prefixes = torch.tensor([[*ids, token] for token in range(size)])
            second = torch.softmax(loaded.model(prefixes).logits[:, -1].double(), -1)
        p = sum(
            float(first[a]) * (1.0 if a == end else float(second[a, b]))
            for a in range(size)
            for b in (range(size) if a != end else [end])
            if leaks((a, b))
        )
        truth.append(p)
        assert bounds[-1].low <= p + 1e-6
        assert p <= bounds[-1].high + 1e-6
        assert bounds[-1].high - bounds[-1].low < 0.9
    low, high = leak_bounds(bounds, [1, 10**6])
    expected = [leak_from_probability(np.array(truth), k).mean() for k in (1, 10**6)]
    assert (low <= np.array(expected) + 1e-6).all()
    assert (np.array(expected) <= high + 1e-6).all()


def test_expansion_narrows_the_certain_bounds_and_is_computed_once(tmp_path):
    from typer.testing import CliRunner

    from leakatk.cli.main import app
    from leakatk.errors import InputError
    from leakatk.sampling.native import NativeSampler

    texts = [text for prompt in PROMPTS for text in (prompt.question, prompt.answer)]
    tokenizer = train_tokenizer(texts, 300)
    model = new_model(tokenizer, SmallConfig(hidden=32, layers=1, heads=2, mlp=64, vocabulary=300), seed=0)
    with torch.no_grad():
        model.get_input_embeddings().weight.mul_(8)
    save_model(model, tokenizer, tmp_path / "model")
    lk.save_prompts(PROMPTS, tmp_path / "forget.jsonl")
    words = ["audit", tmp_path / "model", "--forget", tmp_path / "forget.jsonl", "--n", 8, "--max-new-tokens", 2]
    words += ["--scorer", "fact", "--top-k", 12, "--quiet"]
    found = {}
    for budget in (0, 5, 300):
        out = tmp_path / f"run{budget}"
        done = CliRunner().invoke(app, [str(word) for word in [*words, "--out", out, "--expand", budget]])
        assert done.exit_code == 0, done.output
        found[budget] = lk.Run.open(out).results()
    gaps = [found[budget]["scorers"]["fact"]["bounds"]["unknown"] for budget in (0, 5, 300)]
    assert gaps[0] > gaps[1] > gaps[2]
    assert gaps[2] < 1e-3
    assert "expansion" not in found[0]
    assert found[5]["expansion"]["prefixes"] <= 5 * len(PROMPTS)
    assert "Exact expansion" in (tmp_path / "run300" / "report.html").read_text()
    assert "Exact expansion" not in (tmp_path / "run0" / "report.html").read_text()
    # What the tree says narrows the forecast as well: the upper side comes from it.
    ahead = found[300]["scorers"]["fact"]["forecast"]
    assert ahead["high"][-1] <= found[0]["scorers"]["fact"]["forecast"]["high"][-1]
    # Once computed, it is read again: an engine that holds no model gives the same.
    kept = tmp_path / "run5" / "expansion-5.parquet"
    before = kept.stat().st_mtime_ns
    CliRunner().invoke(app, [str(word) for word in [*words, "--out", tmp_path / "run5", "--expand", 5]])
    assert kept.stat().st_mtime_ns == before
    again = lk.Run.open(tmp_path / "run5").results()["scorers"]["fact"]["bounds"]
    assert again == found[5]["scorers"]["fact"]["bounds"]
    # ... and one that never had it says so.
    sampler = NativeSampler(lk.load_model(tmp_path / "model"))
    del sampler.loaded
    with pytest.raises(InputError, match="--engine native"):
        expansions(sampler, PROMPTS, lk.Decoding(), 5, out=tmp_path)
