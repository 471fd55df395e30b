"""What a model says greedily after given tokens, against one forward pass a token."""

import random

import pytest
import torch

from leakatk.errors import InputError
from leakatk.metrics.continuing import greedy_continuations
from tests.metrics.conftest import WORLD
from tests.sampling.models import VOCABULARY, tiny


def test_continuations_do_not_depend_on_the_batch(half_learned):
    asked = [(half_learned.tokenizer(p.question)["input_ids"], 3 + i) for i, p in enumerate(WORLD.forget)]
    together = greedy_continuations(half_learned, asked)
    assert together == [greedy_continuations(half_learned, [one])[0] for one in asked]
    assert all(0 < len(said) <= count for said, (_, count) in zip(together, asked, strict=True))
    assert greedy_continuations(half_learned, [(asked[0][0], 0)]) == [[]]


def one_at_a_time(loaded, ids, count):
    """A whole forward pass for every token, without cache, batch or padding."""
    said = []
    while len(said) < count:
        with torch.inference_mode():
            token = int(loaded.model(torch.tensor([[*ids, *said]])).logits[0, -1].argmax())
        if token in loaded.end_ids:
            break
        said.append(token)
    return said


@pytest.mark.parametrize("family", ["llama", "gpt2", "gemma3", "mistral"])
def test_every_token_is_the_most_likely_one(family):
    """Positions that are learned, windows shorter than the text, and beginnings of every length in one batch."""
    loaded = tiny(family)
    draw = random.Random(0)
    asked = [(draw.choices(range(3, VOCABULARY), k=1 + 3 * i), draw.randrange(1, 9)) for i in range(8)]
    wanted = [one_at_a_time(loaded, ids, count) for ids, count in asked]
    assert greedy_continuations(loaded, asked) == wanted
    assert {len(said) for said in wanted} != {0}


def test_small_batches_and_large_ones_are_the_same(half_learned):
    """More than a batch's tokens are asked for: nothing is lost or mixed up between the batches."""
    ids = half_learned.tokenizer(WORLD.forget[0].question)["input_ids"]
    asked = [((ids * 40)[: 50 + i], 1 + i % 3) for i in range(0, 400, 9)]
    assert sum(len(ids) for ids, _ in asked) > 8192
    found = greedy_continuations(half_learned, asked)
    assert found == [greedy_continuations(half_learned, [one])[0] for one in asked]


def test_nothing_asked_is_nothing_said(half_learned):
    assert greedy_continuations(half_learned, []) == []
    assert greedy_continuations(half_learned, [([5, 6], 0), ([5], 0)]) == [[], []]


def test_learned_positions_end():
    with pytest.raises(InputError, match="A text with its continuation"):
        greedy_continuations(tiny("gpt2"), [([5] * 250, 7)])
