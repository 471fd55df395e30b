"""One batch of the native engine against one forward pass a token."""

import random

import numpy as np
import pytest

from leakatk.prompts import Prompt
from leakatk.sampling import native_batch
from leakatk.sampling.base import Request
from leakatk.sampling.decoding import Decoding
from leakatk.sampling.native import NativeSampler
from tests.sampling.checks import PROMPTS, Samples, answers, check_same, forced, native_run
from tests.sampling.models import FAMILIES, tiny


@pytest.mark.parametrize("family", FAMILIES)
def test_log_probabilities_are_teacher_forcing(family: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every family, prompts of several lengths in one batch, windows shorter than the text, rows joining late or not."""
    loaded = tiny(family)
    decoding = Decoding(max_new_tokens=20)
    for tree, rows, refill in ((True, 30, 0.25), (False, 13, 0.25), (True, 30, 1.0)):
        monkeypatch.setattr(native_batch, "REFILL_CPU", refill)
        found = native_run(loaded, decoding, tree=tree, max_rows=rows)
        stored = np.array([g.logprob for g in found.values()])
        assert np.abs(stored - forced(loaded, found, decoding)).max() < 1e-4


def test_invariances(monkeypatch: pytest.MonkeyPatch) -> None:
    """A sample depends on nothing but the model, the decoding, the seed, its prompt and its number."""
    loaded = tiny(scale=6)
    decoding = Decoding(max_new_tokens=16)
    base = native_run(loaded, decoding, range(50))
    shuffled = list(PROMPTS)
    random.Random(0).shuffle(shuffled)
    check_same(loaded, base, native_run(loaded, decoding, range(200)), decoding)
    for rows, tree, refill in ((5, True, 1.0), (64, False, 0.25), (64, True, 0.5), (4096, True, 1.0)):
        monkeypatch.setattr(native_batch, "REFILL_CPU", refill)
        other = native_run(loaded, decoding, range(50), max_rows=rows, tree=tree, prompts=shuffled)
        assert other.keys() == base.keys()
        check_same(loaded, other, base, decoding)
    resumed = native_run(loaded, decoding, range(13)) | native_run(loaded, decoding, range(13, 50))
    assert resumed.keys() == base.keys()
    check_same(loaded, resumed, base, decoding)
    check_same(loaded, native_run(loaded, decoding, [31, 4], prompts=PROMPTS[2:3]), base, decoding)
    elsewhere, here = answers(native_run(loaded, decoding, range(50), seed=4)), answers(base)
    assert sum(elsewhere[key] == here[key] for key in here) < len(here) / 2


def test_the_tree_computes_fewer_rows() -> None:
    loaded = tiny(scale=30)
    prompts = [Request(prompt, range(100)) for prompt in PROMPTS]
    sampler = NativeSampler(loaded, max_rows=200)
    drawn = sum(len(batch) for batch in sampler.sample(prompts, Decoding(max_new_tokens=16), seed=0))
    assert drawn == 600
    assert sampler.rows_computed < sampler.tokens_drawn / 2


def test_prompts_with_a_common_beginning_are_prefilled_after_it(monkeypatch: pytest.MonkeyPatch) -> None:
    loaded, decoding = tiny(), Decoding(max_new_tokens=8)
    common = " ".join(f"w{i}" for i in range(20))
    prompts = [Prompt(id=f"p{i}", question=f"{common} w{i} w3", answer="w1") for i in range(5)]
    computed = []
    real = loaded.model.forward

    def counted(input_ids, **options):  # type: ignore[no-untyped-def]
        computed.append(input_ids.numel())
        return real(input_ids=input_ids, **options)

    alone: Samples = {}
    for prompt in prompts:  # one prompt shares with nobody
        alone |= native_run(loaded, decoding, prompts=[prompt])
    monkeypatch.setattr(loaded.model, "forward", counted)
    together = native_run(loaded, decoding, prompts=prompts, max_rows=100)
    assert computed[:2] == [20, 5]
    monkeypatch.undo()
    assert together.keys() == alone.keys()
    check_same(loaded, together, alone, decoding, prompts=prompts)
