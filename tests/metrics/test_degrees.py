"""F.D. and R.U. by their formula, from losses computed one answer at a time."""

import math

import numpy as np
import pytest
import torch

from leakatk.metrics import degrees as d
from leakatk.metrics.accuracy import likeliest, says
from leakatk.metrics.base import Evidence, evaluate
from leakatk.scorers.base import get_scorer
from tests.metrics.conftest import WORLD, learned
from tests.metrics.test_contract import WHOLE


@pytest.mark.parametrize(
    ("level", "retrained", "expected"), [(0.4, 0.4, 1), (0.2, 0.4, 0.5), (0.6, 0.4, 0.5), (0.9, 0.4, 0), (0, 0.4, 0)]
)
def test_a_degree_falls_on_both_sides_of_the_retrained_level(level, retrained, expected):
    assert d.degree(level, retrained) == pytest.approx(expected)


def test_against_nothing_it_is_undefined():
    assert math.isnan(d.degree(0.3, 0.0))


@torch.no_grad()
def mean_loss(loaded, question, answer):
    seam = loaded.template.pair(loaded.tokenizer, question, answer)
    logits = loaded.model(input_ids=torch.tensor([[*seam.prompt, *seam.answer]])).logits[0, len(seam.prompt) - 1 : -1]
    return float(torch.nn.functional.cross_entropy(logits, torch.tensor(seam.answer)))


def test_the_level_by_hand(half_learned):
    evidence, prompts = Evidence(half_learned), WORLD.forget[:4]
    probability = np.mean([math.exp(-mean_loss(half_learned, p.question, p.answer)) for p in prompts])
    right = [mean_loss(half_learned, p.question, p.paraphrased_answer) for p in prompts]
    wrong = [[mean_loss(half_learned, p.question, text) for text in p.perturbed_answers] for p in prompts]
    hits = [float(own < min(row)) for own, row in zip(right, wrong, strict=True)]
    assert likeliest(evidence, prompts).tolist() == hits
    from leakatk.metrics.pieces import greedy_answers

    recall = np.mean(get_scorer("rouge-l").score(prompts, greedy_answers(evidence, prompts)))
    expected = (probability * recall * np.mean(hits)) ** (1 / 3)
    assert d.level(evidence, prompts) == pytest.approx(expected, rel=1e-5)
    bare = [type(p)(p.id, p.question, p.answer) for p in prompts]
    assert np.isnan(likeliest(evidence, bare)).all()
    assert math.isnan(d.level(evidence, bare))


def test_a_model_is_at_its_own_level_and_another_is_not(tokenizer):
    """Both sides of the metric: each against the retrained model's number of the same set."""
    kept = [(p.question, p.answer) for p in WHOLE.retain]
    both = kept + [(p.question, p.answer) for p in WHOLE.forget]
    retrained, full = (learned(tokenizer, pairs, steps=40) for pairs in (kept, both))
    same = evaluate(Evidence(full, retrained=Evidence(full)), WHOLE, metrics=["forgetting_degree"])
    assert same["retained_utility"] == pytest.approx(1)
    found = evaluate(Evidence(full, retrained=Evidence(retrained)), WHOLE, metrics=["forgetting_degree"])
    levels = [d.level(Evidence(one), WHOLE.retain) for one in (full, retrained)]
    assert found["retained_utility"] == pytest.approx(d.degree(*levels))
    assert says(Evidence(full), WHOLE.retain).shape == (len(WHOLE.retain),)
