"""Ranks against sorting all tokens, one place at a time."""

import math

import numpy as np
import pytest
import torch

from leakatk.errors import InputError
from leakatk.metrics import ranks as r
from leakatk.metrics.base import Evidence, evaluate
from leakatk.metrics.pieces import Answer, greedy_answers
from leakatk.models.token_stats import token_ranks
from leakatk.scorers.base import score_texts
from tests.metrics.conftest import WORLD
from tests.metrics.test_contract import WHOLE


@torch.no_grad()
def sorted_ranks(loaded, question, answer):
    """Of every token but the end: its place when all are sorted by probability."""
    seam = loaded.template.pair(loaded.tokenizer, question, answer)
    found = []
    for i, token in enumerate(seam.answer[:-1]):
        logits = loaded.model(input_ids=torch.tensor([[*seam.prompt, *seam.answer[:i]]])).logits[0, -1]
        found.append(1 + logits.argsort(descending=True).tolist().index(token))
    return found


def test_ranks_against_sorting(half_learned):
    prompts = WORLD.forget[:3]
    found = Evidence(half_learned).get(r.Ranks(Answer(p.question, p.answer)) for p in prompts)
    for prompt, mine in zip(prompts, found, strict=True):
        assert mine.tolist() == sorted_ranks(half_learned, prompt.question, prompt.answer)
    assert np.concatenate(found).max() > 1


def test_ties_have_the_mean_of_their_ranks(half_learned):
    """A head of zeros: every token is as likely as every other."""
    head = half_learned.model.lm_head
    kept, head.weight.data = head.weight.data, torch.zeros_like(head.weight)
    try:
        [found] = token_ranks(half_learned, [([1, 5], [6, 7])])
    finally:
        head.weight.data = kept
    assert found.tolist() == [(len(half_learned.tokenizer) + 1) / 2] * 2


def test_means_by_hand():
    assert r.mean_reciprocal_rank([[1, 2, 4], [1]]).tolist() == pytest.approx([(1 + 0.5 + 0.25) / 3, 1])
    assert r.top_hit_ratio([[1, 100, 101], [7]]).tolist() == pytest.approx([2 / 3, 1])
    assert r.top_hit_ratio([[1, 2, 3]], top=2) == pytest.approx(2 / 3)
    assert math.isnan(r.mean_reciprocal_rank([[]])[0])
    with pytest.raises(InputError, match="top must be at least 1"):
        r.top_hit_ratio([[1]], top=0)


def test_the_numbers_are_of_the_right_sets(half_learned):
    evidence = Evidence(half_learned)
    found = evaluate(evidence, WHOLE, metrics=["ranks", "deviation"])
    kept = WHOLE.retain_held
    for part, prompts in (("forget", WHOLE.forget), ("retain", kept)):
        each = [sorted_ranks(half_learned, p.question, p.answer) for p in prompts]
        assert found[f"{part}_mrr"] == pytest.approx(np.mean([np.mean([1 / x for x in row]) for row in each]))
        recall = score_texts("rouge-1", list(prompts), greedy_answers(evidence, prompts)).mean()
        assert found[f"{part}_rouge1"] == pytest.approx(recall)
    by_hand = 100 * math.sqrt(found["forget_rouge1"] ** 2 + (1 - found["retain_rouge1"]) ** 2)
    assert found["deviation"] == pytest.approx(by_hand)
    assert found["forget_mrr"] > found["retain_mrr"], "it learned the forget answers alone"
