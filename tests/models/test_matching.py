"""Penalties on forbidden sequences: by a plain walk over what was said, and in every engine as in one pass over the text."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from leakatk.models.ensemble import ensemble
from leakatk.models.load import load_model
from leakatk.models.matching import Forbidden, Matching, penalties, sequences_of
from leakatk.sampling.base import Request
from leakatk.sampling.decoding import Decoding
from leakatk.sampling.generate import GenerateSampler
from leakatk.sampling.native import NativeSampler
from tests.tiny import PROMPTS, save_tiny_model

DECODING = Decoding(max_new_tokens=12)
VOCABULARY = 9
FORBIDDEN = Forbidden(((4, 5, 6), (4, 5, 7), (5,), (6, 6, 2, 6), (4, 4)), partly=3.0, alike=(1, 5), soft=0.7)


def by_hand(said, forbidden, vocabulary):
    """(vocabulary,) penalties after a list of tokens."""
    found = [0.0] * vocabulary
    for sequence in forbidden.sequences:
        for done in range(len(sequence)):
            if done == 0 or tuple(said[-done:]) == sequence[:done]:
                last = done + 1 == len(sequence)
                size = -math.inf if last else -forbidden.partly * (done + 1) / len(sequence)
                found[sequence[done]] = min(found[sequence[done]], size)
    return [size - forbidden.soft * (token in forbidden.alike) for token, size in enumerate(found)]


def test_penalties_by_hand():
    rng = np.random.default_rng(0)
    said = torch.tensor(rng.integers(3, 8, size=(20, 15)))
    said[3, :6] = -1  # tokens that are not there
    found = penalties(said, FORBIDDEN, VOCABULARY)
    assert (found == -math.inf).sum() > 300
    for row, place in np.ndindex(20, 15):
        np.testing.assert_allclose(
            found[row, place], by_hand(said[row, : place + 1].tolist(), FORBIDDEN, VOCABULARY), rtol=1e-6
        )
    assert not penalties(said, Forbidden(), VOCABULARY).any()


@pytest.fixture(scope="module")
def loaded(tmp_path_factory):
    return load_model(save_tiny_model(tmp_path_factory.mktemp("matching") / "model"), device="cpu")


def added(z, penalty):
    return z + penalty


@pytest.mark.parametrize(
    "engine",
    [
        NativeSampler,
        lambda model: NativeSampler(model, tree=False, max_rows=9),
        lambda model: GenerateSampler(model, max_rows=7),
    ],
    ids=["native", "native, a row a sample", "generate"],
)
def test_what_is_drawn_is_what_one_pass_says(loaded, engine):
    """Rows of several lengths, split and padded: the penalties are those of each row's own text."""
    own = [tuple(loaded.tokenizer(text, add_special_tokens=False)["input_ids"]) for text in ("Zorvik", " born", "The")]
    rng = np.random.default_rng(1)
    many = tuple(tuple(rng.integers(4, 300, size=2).tolist()) for _ in range(400))
    forbidden = Forbidden((*own, *many), partly=2.0, alike=(20, 21), soft=1.0)
    member = Matching(loaded.model)
    both = ensemble([loaded, replace(loaded, model=member)], added)
    drawn = []
    with member.holding(forbidden):
        for batch in engine(both).sample([Request(prompt, range(12)) for prompt in PROMPTS], DECODING, seed=0):
            drawn += batch
    assert member.forbidden == Forbidden()
    touched = 0
    for one in drawn:
        prompt = next(prompt for prompt in PROMPTS if prompt.id == one.prompt_id)
        ids = loaded.template.prompt_ids(loaded.tokenizer, prompt.query)
        with torch.inference_mode():
            z = loaded.model(input_ids=torch.tensor([[*ids, *one.token_ids]])).logits[0].double()
        total = 0.0
        for place, token in enumerate(one.token_ids):
            penalty = by_hand([*ids, *one.token_ids[:place]], forbidden, z.shape[1])
            total += float((z[len(ids) - 1 + place] + torch.tensor(penalty)).log_softmax(-1)[token])
            touched += penalty[token] < 0
            assert penalty[token] > -math.inf
        assert one.logprob == pytest.approx(total, abs=1e-3)
    assert touched > 10


def test_phrases_stand_at_the_beginning_and_after_a_space(loaded):
    found = sequences_of(loaded.tokenizer, ["Mira Quell", "Mira Quell"])
    assert len(found) == 2
    assert sorted(loaded.tokenizer.decode(list(ids)) for ids in found) == [" Mira Quell", "Mira Quell"]
