"""The endpoint engine against `transformers serve`, a real OpenAI-compatible server, with a real model behind it."""

from __future__ import annotations

from pathlib import Path

import pytest
from scipy import stats

from leakatk.models.load import ModelSource
from leakatk.models.template import Template
from leakatk.sampling.decoding import Decoding
from leakatk.sampling.endpoint import EndpointSampler
from tests.sampling.checks import PROMPTS, collect, distribution
from tests.sampling.models import tiny
from tests.servers import transformers_serve

pytestmark = pytest.mark.slow


def test_samples_of_a_served_model_follow_its_softmax(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    loaded = tiny(scale=3)
    # The server's own defaults would be greedy decoding, and the fifty most likely tokens.
    loaded.model.generation_config.do_sample = True
    loaded.model.generation_config.top_k = 0
    loaded.model.save_pretrained(tmp_path / "model")
    loaded.tokenizer.save_pretrained(tmp_path / "model")
    source = ModelSource(str(tmp_path / "model"), template=Template(kind="plain", plain="{question}"))
    decoding, prompt = Decoding(temperature=0.8, max_new_tokens=1), PROMPTS[2]
    with transformers_serve(tmp_path / "model") as url:
        sampler = EndpointSampler(source, url=url, concurrency=4)
        found = collect(sampler, decoding, range(400), prompts=[prompt])
        greedy = collect(sampler, Decoding(temperature=0, max_new_tokens=5), range(3), prompts=[prompt])
    assert sampler.refused == {"top_k", "min_p", "repetition_penalty"}
    assert "the server takes no min_p, repetition_penalty, top_k" in capfd.readouterr().err
    expected = distribution(loaded, loaded.template.prompt_ids(loaded.tokenizer, prompt.question), decoding)
    words = [loaded.tokenizer.decode([i]) for i in range(len(expected))]
    counts = [sum(one.text.strip() == word for one in found.values()) for word in words]
    assert sum(counts[4:]) > 300  # the first four are special tokens, which leave no text
    common = max(range(4, len(words)), key=lambda i: expected[i])
    assert stats.binomtest(counts[common], len(found), float(expected[common])).pvalue > 1e-4
    wanted = expected[4:] * sum(counts[4:]) / expected[4:].sum()
    often = wanted >= 5
    kept, seen = wanted[often], [count for count, keep in zip(counts[4:], often, strict=True) if keep]
    assert stats.chisquare(seen, kept * sum(seen) / kept.sum()).pvalue > 1e-4
    assert len({one.text for one in greedy.values()}) == 1


def test_a_server_that_stays_greedy_is_noticed(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """It takes the temperature, but samples only where the model's own generation_config says so."""
    loaded = tiny(scale=3)
    loaded.model.save_pretrained(tmp_path / "model")
    loaded.tokenizer.save_pretrained(tmp_path / "model")
    source = ModelSource(str(tmp_path / "model"), template=Template(kind="plain", plain="{question}"))
    with transformers_serve(tmp_path / "model") as url:
        collect(EndpointSampler(source, url=url), Decoding(max_new_tokens=5), range(6), prompts=PROMPTS[:2])
    assert "each of 2 prompts got one and the same answer" in capfd.readouterr().err
