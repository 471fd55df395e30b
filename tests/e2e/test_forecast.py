"""The forecast of an audit: exact probabilities join the counts, and the truth is inside at any k."""

import numpy as np

import leakatk as lk
from leakatk.benchmarks.smallmodel import SmallConfig, new_model, save_model, train_tokenizer
from leakatk.estimate.exact import leak_from_logprob
from tests.tiny import PROMPTS


def test_the_true_answer_counts_though_it_was_never_sampled(tmp_path):
    texts = [text for prompt in PROMPTS for text in (prompt.text, prompt.answer)]
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
