"""Every kind of evidence: what its cost says is what is computed, and its value survives the disk without a change."""

import numpy as np
import pytest

from leakatk.metrics.evidence import Evidence
from leakatk.metrics.pieces import Answer, Continuations, GradientNorm, Greedy, Options, Passage
from leakatk.models.load import load_model
from leakatk.models.token_stats import TokenStats, answer_pairs, token_stats
from leakatk.prompts import Query
from tests.tiny import PROMPTS, save_tiny_model

ONE, TWO = (Answer(p.question, p.answer) for p in PROMPTS[:2])
TEXT = Passage("Cy wrote The Glass Orchard.", max_tokens=5)
PIECES = [
    ONE, TWO, TEXT, Passage("Ada was born."), GradientNorm(ONE, without_end=True), GradientNorm(TEXT, without_end=False),
    Greedy(Query("Who taught Bo?"), tokens=4), Greedy(Query("Ada"), template="{question}", tokens=3),
    Options("Where?", ("A", "In Zorvik")), Continuations(ONE, 2), Continuations(TEXT, 1),
]  # fmt: skip


@pytest.fixture(scope="module")
def loaded(tmp_path_factory):
    return load_model(save_tiny_model(tmp_path_factory.mktemp("m") / "m"), device="cpu")


def plain(value):
    """A value as lists, to be compared."""
    if isinstance(value, TokenStats):
        return [getattr(value, name).tolist() for name in ("logprob", "correct", "mean", "deviation")]
    if isinstance(value, np.ndarray):
        return value.tolist()
    return [plain(one) for one in value] if isinstance(value, tuple | list) else value


@pytest.mark.parametrize("piece", PIECES, ids=lambda p: type(p).__name__)
def test_kept_values_are_the_values(loaded, tmp_path, piece):
    [value] = Evidence(loaded, keep=tmp_path).get([piece])
    kept = Evidence(loaded, keep=tmp_path)
    kept.close()
    assert plain(kept.get([piece])[0]) == plain(value)
    assert type(piece.stand_in()) is type(value)


def test_costs(loaded):
    evidence = Evidence(loaded)
    cost = evidence.passes(PIECES)
    assert len(cost.forward) == 2 + 2 + 2  # answers, texts, options
    assert len(cost.backward) == 2
    lengths = [len(ids) for _, ids in Continuations.pairs(loaded, PIECES[-2:])]
    assert cost.answers == 2 + (lengths[0] - 2) + (lengths[1] - 1)
    found = evidence.get(PIECES)
    assert [len(said) for _, said in found[-2:]] == [lengths[0] - 2, lengths[1] - 1]


def test_answers_are_token_stats(loaded):
    [mine] = Evidence(loaded).get([ONE])
    [theirs] = token_stats(loaded, answer_pairs(loaded, [ONE.question], [ONE.answer]))
    np.testing.assert_array_equal(mine.logprob, theirs.logprob)


def test_a_gradient_norm_without_end_leaves_one_token_out(loaded):
    [(_, whole)] = GradientNorm.pairs(loaded, [GradientNorm(ONE, without_end=False)])
    [(_, short)] = GradientNorm.pairs(loaded, [GradientNorm(ONE, without_end=True)])
    assert list(short) == list(whole)[:-1]


def test_the_text_that_was_scored(loaded):
    (_, cut), (_, whole) = Evidence(loaded).get(PIECES[2:4])
    assert whole == "Ada was born."
    assert TEXT.text.startswith(cut)
    assert len(loaded.tokenizer(cut)["input_ids"]) <= 5
