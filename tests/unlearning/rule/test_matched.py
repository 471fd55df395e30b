"""The loss of a calibrating round: its parts, its formula, and the method made of it."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from leakatk.metrics.privacy import min_k_plus_plus_scores
from leakatk.models.token_stats import answer_pairs, token_stats
from leakatk.unlearning.losses.level import min_k_plus_plus, quantile_targets
from leakatk.unlearning.rule.likelihood import answer_likelihoods
from leakatk.unlearning.rule.matched import DEFAULTS, matched_loss, matched_method
from leakatk.unlearning.settings import TrainSettings
from leakatk.unlearning.streams import Streams, answer_logits
from leakatk.unlearning.trainer import unlearn
from tests.unlearning.conftest import tiny_model

ONE = TrainSettings(learning_rate=1e-3, max_steps=1, forget_batch=5, retain_batch=9)


def huber(x):
    return np.where(np.abs(x) < 1, x**2 / 2, np.abs(x) - 0.5)


@pytest.fixture
def wanted(forget):
    rng = np.random.default_rng(0)
    return {
        name: rng.normal(mean, 2.0, len(forget)) for name, mean in (("head", -5.0), ("tail", -6.0), ("surprise", 1.0))
    }


def tensors(wanted):
    return {name: torch.tensor(values, dtype=torch.float32) for name, values in wanted.items()}


def expected(found, wanted, *, spread, weight):
    likely = sum(huber(getattr(found, name) - wanted[name]).mean() for name in ("head", "tail"))
    return weight * likely + huber((found.surprise - wanted["surprise"]) / spread).mean()


def test_the_loss_is_its_formula(loaded, forget, wanted):
    streams = Streams(forget, [], loaded.tokenizer, loaded.template, seed=0)
    batch = streams.batch("forget", range(len(forget)), loaded.device)
    with torch.no_grad():
        logits = answer_logits(loaded.model, batch)
    found = matched_loss(logits, batch.labels, tensors(wanted), spread=0.4, logprob_weight=0.7)
    assert float(found) == pytest.approx(
        expected(answer_likelihoods(loaded, forget), wanted, spread=0.4, weight=0.7), rel=1e-4
    )
    now = answer_likelihoods(loaded, forget)._asdict()
    reached = tensors({name: now[name] for name in wanted})
    assert float(matched_loss(logits, batch.labels, reached, spread=0.4)) == pytest.approx(0, abs=1e-8)


def test_the_method_draws_each_answer_to_its_own_target(loaded, tokenizer, base_model, forget, retain, wanted):
    """The batch holds every forget answer once, in the trainer's order; the reference is the original."""
    loaded = replace(loaded, model=tiny_model(tokenizer, seed=4))
    original = base_model.state_dict()
    goal = expected(answer_likelihoods(loaded, forget), wanted, spread=0.4, weight=DEFAULTS["logprob_weight"])
    method = matched_method(tensors(wanted), 0.4)
    done = unlearn(loaded, forget, retain, method, settings=ONE, reference_weights=original, quiet=True)
    assert done.log[0]["forget"] == pytest.approx(goal, rel=1e-4)
    assert done.log[0]["retain"] > 0.01
    assert done.params["retain_weight"] == DEFAULTS["retain_weight"]
    swapped = {name: np.roll(values, 1) for name, values in wanted.items()}
    assert expected(answer_likelihoods(loaded, forget), swapped, spread=0.4, weight=1.0) != pytest.approx(
        goal, rel=1e-3
    )


def test_the_retain_term_is_nothing_at_the_original(loaded, base_model, forget, retain, wanted):
    method = matched_method(tensors(wanted), 0.4, {"logprob_weight": 0.0})
    done = unlearn(loaded, forget, retain, method, settings=ONE, reference_weights=base_model.state_dict(), quiet=True)
    assert done.log[0]["retain"] == pytest.approx(0, abs=1e-5)
    assert done.params["logprob_weight"] == 0.0


def test_the_differentiable_score_is_the_attack(loaded, forget):
    streams = Streams(forget, [], loaded.tokenizer, loaded.template, seed=0)
    batch = streams.batch("forget", range(len(forget)), loaded.device)
    with torch.no_grad():
        found = min_k_plus_plus(answer_logits(loaded.model, batch), batch.labels)
    stats = token_stats(loaded, answer_pairs(loaded, [p.question for p in forget], [p.answer for p in forget]))
    attack = min_k_plus_plus_scores([s.logprob for s in stats], [s.mean for s in stats], [s.deviation for s in stats])
    assert found.numpy() == pytest.approx(attack, rel=1e-4)


def test_the_scores_gradient_is_that_of_finite_differences():
    torch.manual_seed(0)
    logits = (3 * torch.randn(3, 6, 9)).requires_grad_()
    labels = torch.randint(0, 9, (3, 6))
    labels[1, 4:] = labels[2, 1:] = -100
    weigh = torch.tensor([1.0, -2.0, 0.5])
    (weigh * min_k_plus_plus(logits, labels)).sum().backward()
    at, step = logits.detach(), 1e-2
    for place in [(0, 0, 0), (0, 5, 3), (1, 2, 8), (1, 3, int(labels[1, 3])), (2, 0, int(labels[2, 0])), (1, 5, 0)]:
        bump = torch.zeros_like(at)
        bump[place] = step
        up, down = ((weigh * min_k_plus_plus(at + b, labels)).sum() for b in (bump, -bump))
        assert float(logits.grad[place]) == pytest.approx(float(up - down) / (2 * step), rel=0.02, abs=2e-3)
    assert float(logits.grad[1, 5].abs().sum()) == 0  # padding


def test_targets_have_the_levels_distribution_and_keep_the_order():
    level = np.array([1.0, 2.0, 3.0, 10.0])
    assert quantile_targets(np.array([5.0, -1.0, 7.0, 6.0]), level) == pytest.approx(
        np.quantile(level, [0.375, 0.125, 0.875, 0.625])
    )
    many = np.random.default_rng(0).gamma(2.0, size=500)
    goal = quantile_targets(np.random.default_rng(1).normal(size=500), many)
    assert np.sort(goal) == pytest.approx(np.quantile(many, (np.arange(500) + 0.5) / 500))
