"""Matching the unseen: the level, its gradient, the targets, and what must stay."""

import copy
from dataclasses import replace

import numpy as np
import pytest
import torch

from leakatk.errors import InputError
from leakatk.metrics.privacy import min_k_plus_plus_scores
from leakatk.models.token_stats import answer_pairs, token_stats
from leakatk.unlearning.losses.level import min_k_plus_plus, quantile_targets
from leakatk.unlearning.losses.preference import mean_logprob
from leakatk.unlearning.rehearsal.asker import KNOWN
from leakatk.unlearning.rehearsal.perturb import garbled
from leakatk.unlearning.rule.calibration import match_unseen
from leakatk.unlearning.rule.likelihood import answer_levels, halves
from leakatk.unlearning.settings import TrainSettings
from leakatk.unlearning.streams import Streams, answer_logits
from leakatk.unlearning.trainer import Trainer, unlearn
from tests.unlearning.conftest import people, tiny_model

SETTINGS = TrainSettings(learning_rate=3e-3, max_steps=40, forget_batch=5, retain_batch=9, weight_decay=0.0)


@pytest.fixture(scope="module")
def unseen():
    return people("Un", 12, 7)


def weights(model):
    return {name: value.clone() for name, value in model.state_dict().items()}


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


def test_the_halves_of_an_answer_leave_out_its_end_token():
    labels = torch.tensor([[5, 6, 7, 8, 2], [5, 6, 7, 2, -100], [5, 2, -100, -100, -100], [2, -100, -100, -100, -100]])
    none = -100
    first, second = halves(labels)
    assert first.tolist() == [
        [5, 6, none, none, none],
        [5, none, none, none, none],
        [5, none, none, none, none],
        [2, none, none, none, none],
    ]
    assert second.tolist() == [
        [none, none, 7, 8, none],
        [none, 6, 7, none, none],
        [5, none, none, none, none],
        [2, none, none, none, none],
    ]


def test_the_halves_log_probabilities_are_those_of_their_tokens(loaded, forget):
    stats = token_stats(loaded, answer_pairs(loaded, [p.question for p in forget], [p.answer for p in forget]))
    assert all(len(s.logprob) > 2 for s in stats)
    levels = answer_levels(loaded, forget)
    assert levels.head == pytest.approx([s.logprob[: (len(s.logprob) - 1) // 2].mean() for s in stats])
    assert levels.tail == pytest.approx([s.logprob[:-1][(len(s.logprob) - 1) // 2 :].mean() for s in stats])
    streams = Streams(forget, [], loaded.tokenizer, loaded.template, seed=0)
    batch = streams.batch("forget", range(len(forget)), loaded.device)
    with torch.no_grad():
        logits = answer_logits(loaded.model, batch)
    for part, expected in zip(halves(batch.labels), (levels.head, levels.tail), strict=True):
        assert mean_logprob(logits, part).numpy() == pytest.approx(expected, rel=1e-4)


def test_the_loss_is_its_formula(loaded, tokenizer, forget, retain, unseen):
    goal = match_unseen(loaded, forget, retain, unseen, own=[])
    now = replace(loaded, model=tiny_model(tokenizer, seed=4))
    method = goal.method(now, forget, params={"logprob_weight": 0.7})
    trainer = Trainer(
        now, Streams(forget, goal.kept, tokenizer, now.template, seed=0), method.trains[0], method.params, SETTINGS, 0
    )
    trainer.prepare({"reference": goal.original})
    step = trainer.make_step(0, 0, now.model)
    rows = step.rows["forget"]
    _, surprise, head, tail = answer_levels(now, forget)

    def huber(x):
        return np.where(np.abs(x) < 1, x**2 / 2, np.abs(x) - 0.5)

    spread = np.subtract(*np.quantile(goal.level.surprise, [0.75, 0.25]))
    likely = sum(
        huber(found - quantile_targets(found, wanted))[rows].mean()
        for found, wanted in ((head, goal.level.head), (tail, goal.level.tail))
    )
    odd = huber((surprise - quantile_targets(surprise, goal.level.surprise)) / spread)[rows].mean()
    forget_loss, retain_loss = trainer.losses(step).values()
    assert forget_loss.item() == pytest.approx(0.7 * likely + odd, rel=1e-4)
    assert retain_loss.item() > 0
    now.model.load_state_dict(goal.original)
    assert trainer.losses(trainer.make_step(0, 0, now.model))["retain"].item() == pytest.approx(0, abs=1e-5)


@pytest.mark.parametrize("known", [True, False])
def test_it_ends_at_the_level_from_both_sides(loaded, forget, retain, unseen, known):
    """A model that knows the answers and one that was driven far below end where unseen answers are."""
    goal = match_unseen(loaded, forget, retain, unseen, own=[])
    settings = replace(SETTINGS, max_steps=30)
    unlearn(loaded, forget, [], "ga", settings=replace(settings, max_steps=8), quiet=True)
    if known:
        loaded.model.load_state_dict(goal.original)
        unlearn(loaded, retain, forget, "retrain", settings=replace(settings, retain_batch=5), quiet=True)
    before = goal.exposures(loaded, forget)[0]
    assert before > 0.95 if known else before < 0.05
    method = goal.method(loaded, forget)
    settings = replace(SETTINGS, max_steps=100, schedule="linear")
    unlearn(loaded, forget, goal.kept, method, settings=settings, reference_weights=goal.original, quiet=True)
    assert goal.exposures(loaded, forget)[0] == pytest.approx(0.5, abs=0.1)
    levels = answer_levels(loaded, forget)
    assert levels.tail.mean() == pytest.approx(goal.level.tail.mean(), abs=0.3)
    assert levels.head.mean() == pytest.approx(goal.level.head.mean(), abs=0.3)


def test_blending_stops_where_the_exposure_is_right(loaded, base_model, forget, retain, unseen):
    goal = match_unseen(loaded, [], retain, unseen, own=[])
    goal = replace(
        goal, level=goal.level._replace(surprise=answer_levels(loaded, forget).surprise + 0.3)
    )  # the original is a little too sure
    assert goal.blend(loaded, forget) == 1.0
    assert all(torch.equal(v, base_model.state_dict()[k]) for k, v in weights(loaded.model).items())
    unlearn(loaded, forget, [], "ga", settings=replace(SETTINGS, max_steps=8), quiet=True)
    far = weights(loaded.model)
    assert goal.exposure(loaded, forget) < 0.1
    share = goal.blend(loaded, forget)
    assert 0 < share < 1
    assert 0.3 <= goal.exposures(loaded, forget)[0] <= 0.5
    for name, value in weights(loaded.model).items():
        assert torch.allclose(value, torch.lerp(goal.original[name], far[name], share))


def test_true_answers_garbled_ones_and_leaks_are_ranked_apart(loaded, tokenizer, forget, retain, unseen):
    goal = match_unseen(loaded, forget, retain, unseen, own=[])
    other = goal.garbled._replace(surprise=goal.garbled.surprise + 1.0)
    goal = replace(goal, garbled=other)
    hard = garbled(forget, seed=0)
    leaks = [replace(p, id=f"{p.id}#0", answer=unseen[i].answer) for i, p in enumerate(forget)]
    items = [*forget, *hard, *leaks]
    method = goal.method(loaded, items, len(forget), params={"logprob_weight": 0.0})
    trainer = Trainer(
        loaded, Streams(items, goal.kept, tokenizer, loaded.template, seed=0),
        method.trains[0], method.params, SETTINGS, 0,
    )  # fmt: skip
    trainer.prepare({"reference": goal.original})
    step = trainer.make_step(0, 0, loaded.model)
    spread = np.subtract(*np.quantile(goal.level.surprise, [0.75, 0.25]))
    gaps = []
    for part, wanted in ((forget, goal.level), (hard, goal.garbled), (leaks, goal.level)):
        values = answer_levels(loaded, part).surprise
        gaps.append((values - quantile_targets(values, wanted.surprise)) / spread)
    drawn = np.concatenate(gaps)[step.rows["forget"]]
    expected = np.where(np.abs(drawn) < 1, drawn**2 / 2, np.abs(drawn) - 0.5).mean()
    assert trainer.losses(step)["forget"].item() == pytest.approx(expected, rel=1e-4)


def test_the_garbled_level_is_that_of_garbled_questions_and_some_of_what_stays_is_garbled(loaded, retain, unseen):
    named = [replace(p, source=" ".join(p.id), question=f"Where does {' '.join(p.id)} live?") for p in unseen]
    goal = match_unseen(loaded, [], retain, named, own=[], seed=3)
    assert goal.garbled.surprise == pytest.approx(answer_levels(loaded, garbled(named, seed=3)).surprise)
    assert goal.garbled.surprise != pytest.approx(goal.level.surprise)
    hard = [p for p in goal.kept if p.id.startswith("garbled/")]
    assert len(hard) == int(0.3 * len(retain))
    assert len({p.id for p in goal.kept}) == len(retain) + len(hard)
    assert not any(p.id.startswith(KNOWN) for p in hard)


def test_fidelity_is_the_share_of_sure_answers_still_said(loaded, forget, retain, unseen):
    from leakatk.unlearning.stop import greedy_texts

    said = greedy_texts(loaded, retain, max_new_tokens=5)
    told = [replace(p, id=f"{KNOWN}{p.id}", answer=t.strip()) for p, t in zip(retain, said, strict=True) if t.strip()]
    wrong = [replace(p, id=f"{p.id}x", answer="something else") for p in told[:2]]
    goal = match_unseen(loaded, forget, retain, unseen, own=[*told, *wrong])
    # Greedy text of five tokens may be cut where the answer with its end token is not: compare what is comparable.
    assert goal.fidelity(loaded) <= len(told) / len([*told, *wrong])
    assert match_unseen(loaded, forget, retain, unseen, own=wrong).fidelity(loaded) == 0
    assert match_unseen(loaded, forget, retain, unseen, own=[]).fidelity(loaded) == 1.0
    goal = replace(goal, margin=0.05, least=0.98)
    assert goal.off(0.54, 0.985) == 0
    assert goal.off(0.6, 0.9) == pytest.approx(0.05 + 0.08)


def test_the_level_is_the_retrained_models_where_it_is_at_hand(loaded, tokenizer, forget, retain, unseen):
    other = replace(loaded, model=tiny_model(tokenizer, seed=9))
    goal = match_unseen(loaded, forget, retain, unseen, retrained=other, own=[])
    assert goal.level.surprise == pytest.approx(answer_levels(other, unseen).surprise)
    assert goal.level.head == pytest.approx(answer_levels(other, unseen).head)
    assert goal.level.tail == pytest.approx(answer_levels(other, unseen).tail)
    assert goal.level.surprise != pytest.approx(answer_levels(loaded, unseen).surprise)
    for name, value in loaded.model.state_dict().items():  # what must stay is the original's all the same
        assert torch.equal(goal.original[name], value)


def test_the_exposure_is_the_worse_of_asked_and_garbled(loaded, forget, retain, unseen):
    goal = match_unseen(loaded, forget, retain, unseen, own=[])
    asked, hard = goal.exposures(loaded, forget)
    far = goal.garbled._replace(surprise=goal.garbled.surprise + 9.0)
    assert replace(goal, garbled=far).exposures(loaded, forget) == (asked, 1.0)
    assert replace(goal, garbled=far).exposure(loaded, forget) == 1.0
    far = goal.level._replace(surprise=goal.level.surprise - 9.0)
    assert replace(goal, level=far).exposures(loaded, forget) == (0.0, hard)
    assert replace(goal, level=far).exposure(loaded, forget) == 0.0


def test_something_unseen_is_needed(loaded, forget, retain):
    with pytest.raises(InputError, match="no model was trained on"):
        match_unseen(loaded, forget, retain, [], own=[])


def test_rule_matches_in_its_rounds_and_goes_on_until_the_exposure_is_right(loaded, base_model, forget, retain, unseen):
    from leakatk.unlearning.rule.rule import rule
    from leakatk.unlearning.rule.settings import RuleSettings
    from tests.unlearning.rule.test_rule import Scripted, leaks

    goal = match_unseen(replace(loaded, model=copy.deepcopy(base_model)), forget, retain, unseen, own=[])
    unlearn(loaded, forget, [], "ga", settings=replace(SETTINGS, max_steps=8), quiet=True)
    far = {
        part: getattr(goal, part)._replace(surprise=getattr(goal, part).surprise + 3.0) for part in ("level", "garbled")
    }
    goal = replace(goal, **far, margin=0.2)
    settings = RuleSettings(rounds=3, n=8, k=8, yardstick=0.0)
    done = rule(
        loaded, forget, retain, "npo", score=leaks, settings=settings, train=SETTINGS, matching=goal,
        sampler=Scripted({"Fa0": ["LEAK a"]}, {}, {}, {}), quiet=True,
    )  # fmt: skip
    assert done.chosen >= 1
    assert abs(goal.exposure(loaded, forget) - 0.5) <= 0.2
    assert done.rounds[-1].exposure == pytest.approx(goal.exposure(loaded, forget))
    assert "yardstick" in done.verdict


def test_the_round_kept_misses_least_of_leak_exposure_and_fidelity_together(
    loaded, forget, retain, unseen, monkeypatch
):
    """A round without a leak that lost a third of the answers loses to one with a leak in one prompt of five."""
    from leakatk.unlearning.rule.calibration import Unseen
    from leakatk.unlearning.rule.rule import rule
    from leakatk.unlearning.rule.settings import RuleSettings
    from tests.unlearning.rule.test_rule import Scripted, leaks

    goal = match_unseen(loaded, forget, retain, unseen, own=[])
    said = iter([0.5, 0.66, 0.98, 0.7])
    monkeypatch.setattr(Unseen, "fidelity", lambda self, loaded: next(said))
    monkeypatch.setattr(Unseen, "exposure", lambda self, loaded, forget: 0.5)
    leak = {"Fa0": ["LEAK a"]}
    done = rule(
        loaded, forget, retain, "npo", score=leaks, settings=RuleSettings(rounds=3, n=8, k=8, yardstick=0.0),
        train=replace(SETTINGS, max_steps=1), matching=goal, sampler=Scripted(leak, {}, leak, leak), quiet=True,
    )  # fmt: skip
    # Missing in all: .2 + .48, .32, .2, .2 + .28.
    assert done.chosen == 2
