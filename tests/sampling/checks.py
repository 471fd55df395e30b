"""What every engine is checked with: prompts, one way to run a sampler, and the distributions samples must follow."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch
from scipy import stats

from leakatk.models.loaded import LoadedModel
from leakatk.prompts import Generation, Prompt
from leakatk.sampling.base import Request, Sampler
from leakatk.sampling.decoding import Decoding
from leakatk.sampling.native import NativeSampler
from leakatk.sampling.random_streams import stream_key, uniforms
from leakatk.sampling.teacher_forcing import token_logprobs
from leakatk.sampling.warp import effective, log_probs
from tests.sampling.models import VOCABULARY

PROMPTS = [
    Prompt(id=f"p{i}", question=" ".join(f"w{(7 * i + 3 * j) % 50}" for j in range(1 + 2 * i)), answer="w1")
    for i in range(6)
]
Samples = dict[tuple[str, int], Generation]


# Each field of a decoding that changes what may be drawn, and how an answer ends.
every_decoding = pytest.mark.parametrize(
    "decoding",
    [
        Decoding(temperature=0.6, max_new_tokens=12),
        Decoding(top_p=0.8, top_k=20, max_new_tokens=12),
        Decoding(min_p=0.05, repetition_penalty=1.3, max_new_tokens=12),
        Decoding(temperature=0, repetition_penalty=1.5, max_new_tokens=12),
        Decoding(stop=("w7", "3 w"), max_new_tokens=12),
    ],
    ids=lambda d: f"{d.label} {d.stop}",
)


def collect(
    sampler: Sampler,
    decoding: Decoding,
    samples: Sequence[int] = range(20),
    *,
    seed: int = 3,
    prompts: Sequence[Prompt] = PROMPTS,
) -> Samples:
    """Every requested generation, each exactly once."""
    found: Samples = {}
    for batch in sampler.sample([Request(prompt, samples) for prompt in prompts], decoding, seed=seed):
        for generation in batch:
            key = (generation.prompt_id, generation.sample)
            assert key not in found
            found[key] = generation
    assert set(found) == {(prompt.id, j) for prompt in prompts for j in samples}
    return found


def answers(samples: Samples) -> dict[tuple[str, int], tuple[object, ...]]:
    return {key: (g.token_ids, g.text, g.finish_reason) for key, g in samples.items()}


def check_same(
    loaded: LoadedModel,
    found: Samples,
    other: Samples,
    decoding: Decoding,
    *,
    seed: int = 3,
    prompts: Sequence[Prompt] = PROMPTS,
) -> None:
    """All found are in `other`, the same but for draws that lie, to float32 rounding, on the boundary between two tokens.

    Another engine or batch adds the same numbers in another order; which of the two tokens such a draw gives is then
    open, and what follows it as well. It happens to very few.
    """
    assert found.keys() <= other.keys()
    by_id = {prompt.id: loaded.template.prompt_ids(loaded.tokenizer, prompt.question) for prompt in prompts}
    mine, theirs = answers(found), answers(other)
    differing = [key for key in mine if mine[key] != theirs[key]]
    assert len(differing) <= max(1, len(mine) // 50)
    for key in differing:
        ours, its = found[key].token_ids, other[key].token_ids
        step = next(t for t, (a, b) in enumerate(zip(ours, its, strict=False)) if a != b)
        mass = distribution(loaded, [*by_id[key[0]], *ours[:step]], decoding).astype(float).cumsum()
        low, high = sorted((ours[step], its[step]))
        start = np.array([step - step % 2])
        uniform = uniforms(stream_key(seed, key[0])[None], np.array([key[1]]), start, 2)[0, step % 2]
        assert np.abs(np.array([mass[low], mass[high - 1]]) - uniform).max() < 1e-6


def forced(loaded: LoadedModel, found: Samples, decoding: Decoding, prompts: Sequence[Prompt] = PROMPTS) -> np.ndarray:
    """Teacher-forced log-probabilities of what was sampled."""
    by_id = {prompt.id: loaded.template.prompt_ids(loaded.tokenizer, prompt.query) for prompt in prompts}
    pairs = [(by_id[g.prompt_id], g.token_ids) for g in found.values()]
    return np.array([steps.sum() for steps in token_logprobs(loaded, pairs, decoding)])


def stored(found: Samples) -> np.ndarray:
    return np.array([g.logprob for g in found.values()])


def distribution(loaded: LoadedModel, ids: Sequence[int], decoding: Decoding | None = None) -> np.ndarray:
    """(V,) probabilities of the next token."""
    with torch.inference_mode():
        history = torch.tensor([list(ids)])
        logits = loaded.model(history).logits[:, -1]
    return log_probs(effective(logits, decoding or Decoding(), history))[0].exp().numpy()


def p_value(tokens: Sequence[int], probability: np.ndarray) -> float:
    """Of a chi-square test; tokens expected fewer than five times are counted together."""
    counts = np.bincount(tokens, minlength=VOCABULARY)
    expected = probability * len(tokens)
    often = expected >= 5
    observed = np.append(counts[often], counts[~often].sum())
    wanted = np.append(expected[often], expected[~often].sum())
    if wanted[-1] < 1:
        observed, wanted = observed[:-1], wanted[:-1]
    return float(stats.chisquare(observed, wanted * observed.sum() / wanted.sum()).pvalue)


def check_first_two_tokens(loaded: LoadedModel, found: Samples, decoding: Decoding | None = None) -> None:
    """Samples of one prompt: first tokens, and second tokens after the most common first, follow the distribution."""
    prompt = next(p for p in PROMPTS if p.id == next(iter(found))[0])
    ids = loaded.template.prompt_ids(loaded.tokenizer, prompt.question)
    first = [g.token_ids[0] for g in found.values()]
    assert p_value(first, distribution(loaded, ids, decoding)) > 1e-4
    common = max((t for t in set(first) if t not in loaded.end_ids), key=first.count)
    second = [g.token_ids[1] for g in found.values() if g.token_ids[0] == common]
    assert len(second) > 300
    assert p_value(second, distribution(loaded, [*ids, common], decoding)) > 1e-4


def native_run(
    loaded: LoadedModel,
    decoding: Decoding,
    samples: Sequence[int] = range(20),
    *,
    max_rows: int = 512,
    tree: bool = True,
    **how: Any,
) -> Samples:
    return collect(NativeSampler(loaded, max_rows=max_rows, tree=tree), decoding, samples, **how)
