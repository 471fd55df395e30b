"""Calibration: the level, what a round draws to it, what must stay, and RULE around it."""

import copy
from dataclasses import replace

import numpy as np
import pytest
import torch

from leakatk.errors import InputError
from leakatk.unlearning.losses.level import quantile_targets
from leakatk.unlearning.methods import resolve
from leakatk.unlearning.rehearsal.asker import KNOWN
from leakatk.unlearning.rehearsal.perturb import perturbed
from leakatk.unlearning.rule.calibration import AGREEING, Calibrate, UnseenTarget, match_unseen
from leakatk.unlearning.rule.detect import Leak, wordings
from leakatk.unlearning.rule.likelihood import answer_likelihoods
from leakatk.unlearning.rule.rule import rule
from leakatk.unlearning.rule.settings import RuleSettings
from leakatk.unlearning.rule.strategy import RoundStart
from leakatk.unlearning.settings import TrainSettings
from leakatk.unlearning.stop import greedy_texts
from leakatk.unlearning.trainer import unlearn
from tests.unlearning.conftest import people, tiny_model
from tests.unlearning.rule.test_rule import Scripted, leaks

SETTINGS = TrainSettings(learning_rate=3e-3, max_steps=40, forget_batch=5, retain_batch=9, weight_decay=0.0)


@pytest.fixture(scope="module")
def unseen():
    return people("Un", 12, 7)


def weights(model):
    return {name: value.clone() for name, value in model.state_dict().items()}


@pytest.mark.parametrize("known", [True, False])
def test_it_ends_at_the_level_from_both_sides(loaded, forget, retain, unseen, known):
    """A model that knows the answers and one that was driven far below end where unseen answers are."""
    goal = match_unseen(loaded, forget, retain, unseen, rehearsal=[])
    settings = replace(SETTINGS, max_steps=30)
    unlearn(loaded, forget, [], "ga", settings=replace(settings, max_steps=8), quiet=True)
    if known:
        loaded.model.load_state_dict(goal.original)
        unlearn(loaded, retain, forget, "retrain", settings=replace(settings, retain_batch=5), quiet=True)
    before = goal.membership_aucs(loaded, forget)[0]
    assert before > 0.95 if known else before < 0.05
    method = goal.method(loaded, forget)
    settings = replace(SETTINGS, max_steps=100, schedule="linear")
    unlearn(loaded, forget, goal.kept, method, settings=settings, reference_weights=goal.original, quiet=True)
    assert goal.membership_aucs(loaded, forget)[0] == pytest.approx(0.5, abs=0.1)
    found = answer_likelihoods(loaded, forget)
    assert found.tail.mean() == pytest.approx(goal.asked.tail.mean(), abs=0.3)
    assert found.head.mean() == pytest.approx(goal.asked.head.mean(), abs=0.3)


def test_blending_stops_where_the_membership_auc_is_right(loaded, base_model, forget, retain, unseen):
    goal = match_unseen(loaded, [], retain, unseen, rehearsal=[])
    goal = replace(
        goal, asked=goal.asked._replace(surprise=answer_likelihoods(loaded, forget).surprise + 0.3)
    )  # the original is a little too sure
    assert goal.blend(loaded, forget) == 1.0
    assert all(torch.equal(v, base_model.state_dict()[k]) for k, v in weights(loaded.model).items())
    unlearn(loaded, forget, [], "ga", settings=replace(SETTINGS, max_steps=8), quiet=True)
    far = weights(loaded.model)
    assert goal.membership_auc(loaded, forget) < 0.1
    share = goal.blend(loaded, forget)
    assert 0 < share < 1
    assert 0.3 <= goal.membership_aucs(loaded, forget)[0] <= 0.5
    for name, value in weights(loaded.model).items():
        assert torch.allclose(value, torch.lerp(goal.original[name], far[name], share))


def test_true_answers_perturbed_ones_and_leaks_are_ranked_apart(loaded, forget, retain, unseen):
    goal = match_unseen(loaded, forget, retain, unseen, rehearsal=[])
    goal = replace(goal, perturbed=goal.perturbed._replace(surprise=goal.perturbed.surprise + 1.0))
    hard = perturbed(forget, seed=0)
    said = [replace(p, id=f"{p.id}#0", answer=unseen[i].answer) for i, p in enumerate(forget)]
    wanted = goal.wanted(loaded, [*forget, *hard, *said], len(forget))
    for name in ("head", "tail", "surprise"):
        expected = [
            quantile_targets(getattr(answer_likelihoods(loaded, part), name), getattr(level, name))
            for part, level in ((forget, goal.asked), (hard, goal.perturbed), (said, goal.asked))
        ]
        assert wanted[name].numpy() == pytest.approx(np.concatenate(expected), rel=1e-5)
    whole = goal.wanted(loaded, forget)["surprise"].numpy()
    assert whole == pytest.approx(
        quantile_targets(answer_likelihoods(loaded, forget).surprise, goal.asked.surprise), rel=1e-5
    )


def test_the_unit_of_surprise_is_the_interquartile_range(loaded, forget, retain, unseen):
    goal = match_unseen(loaded, forget, retain, unseen, rehearsal=[])
    assert goal.spread == pytest.approx(np.subtract(*np.quantile(goal.asked.surprise, [0.75, 0.25])))
    flat = replace(goal, asked=goal.asked._replace(surprise=np.zeros(4)))
    assert flat.spread == 1e-6


def test_a_round_asks_all_wordings_the_same_perturbed_and_the_leaks(loaded, forget, retain, unseen):
    worded = [replace(p, paraphrases=(f"Say where {p.id} lives.",)) for p in forget]
    goal = match_unseen(loaded, worded, retain, unseen, rehearsal=[])
    options = RuleSettings(n=8, k=8, wordings=1, weighting="frequency")
    leak = Leak("Fa0", "Say where Fa0 lives.", "LEAK", 2)

    def start(number):
        return RoundStart(number, loaded, worded, retain, resolve("npo"), [leak], options, 5, None)

    done = Calibrate(goal).training(start(1))
    asked = [p for prompt in worded for p in wordings(prompt, 1)]
    assert done.forget[:10] == asked
    assert done.forget[10:20] == perturbed(asked, seed="5 1", forms=goal.forms)
    assert [(p.id, p.question, p.answer) for p in done.forget[20:]] == [("Fa0#0", "Say where Fa0 lives.", "LEAK")]
    assert done.weights == [1.0] * 20 + [2 / 8]
    assert done.retain == goal.kept
    assert done.reference is goal.original
    assert done.method.name == "match-unseen"
    again = Calibrate(goal).training(start(2)).forget
    assert again[:10] == asked
    assert again[10:20] != done.forget[10:20]  # drawn anew each round


def test_the_strategy_says_what_it_is_and_measures(loaded, forget, retain, unseen):
    goal = match_unseen(loaded, forget, retain, unseen, rehearsal=[])
    strategy = goal.strategy()
    assert strategy == Calibrate(goal)
    assert strategy.mends
    assert strategy.identity() == {"matching": goal.describe()}  # as former versions wrote it
    metrics = strategy.measure(loaded, forget)
    assert metrics == {
        "membership_auc": goal.membership_auc(loaded, forget),
        "replay_accuracy": goal.replay_accuracy(loaded),
    }
    assert strategy.missing(metrics) == goal.missing(**metrics)


def test_the_perturbed_level_is_that_of_perturbed_questions_and_so_is_some_of_what_stays(loaded, retain, unseen):
    named = [replace(p, source=" ".join(p.id), question=f"Where does {' '.join(p.id)} live?") for p in unseen]
    goal = match_unseen(loaded, [], retain, named, rehearsal=[], seed=3)
    assert goal.perturbed.surprise == pytest.approx(answer_likelihoods(loaded, perturbed(named, seed=3)).surprise)
    assert goal.perturbed.surprise != pytest.approx(goal.asked.surprise)
    hard = [p for p in goal.kept if p.id.startswith("garbled/")]
    assert len(hard) == int(0.3 * len(retain))
    assert len({p.id for p in goal.kept}) == len(retain) + len(hard)
    assert not any(p.id.startswith(KNOWN) for p in hard)


def test_replay_accuracy_is_the_share_of_sure_answers_still_said(loaded, forget, retain, unseen):
    said = greedy_texts(loaded, retain, max_new_tokens=5)
    told = [replace(p, id=f"{KNOWN}{p.id}", answer=t.strip()) for p, t in zip(retain, said, strict=True) if t.strip()]
    wrong = [replace(p, id=f"{p.id}x", answer="something else") for p in told[:2]]
    goal = match_unseen(loaded, forget, retain, unseen, rehearsal=[*told, *wrong])
    # Greedy text of five tokens may be cut where the answer with its end token is not: compare what is comparable.
    assert goal.replay_accuracy(loaded) <= len(told) / len([*told, *wrong])
    assert match_unseen(loaded, forget, retain, unseen, rehearsal=wrong).replay_accuracy(loaded) == 0
    assert match_unseen(loaded, forget, retain, unseen, rehearsal=[]).replay_accuracy(loaded) == 1.0
    goal = replace(goal, margin=0.05, least=0.98)
    assert goal.missing(0.54, 0.985) == 0
    assert goal.missing(0.6, 0.9) == pytest.approx(0.05 + 0.08)


def test_where_the_original_is_sure_of_little_tokens_are_compared(loaded, tokenizer, forget, retain, unseen):
    learn = replace(SETTINGS, max_steps=60)
    unlearn(loaded, forget, retain, "retrain", settings=learn, quiet=True)
    answers = greedy_texts(loaded, retain, max_new_tokens=40)
    said = [replace(p, id=f"own/question/{p.id}", answer=t.strip()) for p, t in zip(retain, answers, strict=True)]
    goal = match_unseen(loaded, forget, retain, unseen, rehearsal=said)
    assert not goal.memorised
    # Greedy answers are the most likely tokens of the model that gave them, and not of another one.
    assert goal.replay_accuracy(loaded) > 0.9
    assert goal.replay_accuracy(replace(loaded, model=tiny_model(tokenizer, seed=9))) < 0.5
    assert goal.missing(0.5, AGREEING) == 0
    assert goal.missing(0.5, AGREEING - 0.1) == pytest.approx(0.1)
    assert f"sure of 0 of its {len(said)} answers" in goal.replay_says()
    sure = [replace(p, id=f"{KNOWN}{p.id}") for p in said]
    assert "verbatim" in match_unseen(loaded, forget, retain, unseen, rehearsal=sure).replay_says()
    assert "said nothing by itself" in match_unseen(loaded, forget, retain, unseen, rehearsal=[]).replay_says()


def test_the_level_is_the_retrained_models_where_it_is_at_hand(loaded, tokenizer, forget, retain, unseen):
    other = replace(loaded, model=tiny_model(tokenizer, seed=9))
    goal = match_unseen(loaded, forget, retain, unseen, retrained=other, rehearsal=[])
    assert goal.asked.surprise == pytest.approx(answer_likelihoods(other, unseen).surprise)
    assert goal.asked.head == pytest.approx(answer_likelihoods(other, unseen).head)
    assert goal.asked.tail == pytest.approx(answer_likelihoods(other, unseen).tail)
    assert goal.asked.surprise != pytest.approx(answer_likelihoods(loaded, unseen).surprise)
    for name, value in loaded.model.state_dict().items():  # what must stay is the original's all the same
        assert torch.equal(goal.original[name], value)


def test_the_membership_auc_is_the_worse_of_asked_and_perturbed(loaded, forget, retain, unseen):
    goal = match_unseen(loaded, forget, retain, unseen, rehearsal=[])
    asked, hard = goal.membership_aucs(loaded, forget)
    far = goal.perturbed._replace(surprise=goal.perturbed.surprise + 9.0)
    assert replace(goal, perturbed=far).membership_aucs(loaded, forget) == (asked, 1.0)
    assert replace(goal, perturbed=far).membership_auc(loaded, forget) == 1.0
    far = goal.asked._replace(surprise=goal.asked.surprise - 9.0)
    assert replace(goal, asked=far).membership_aucs(loaded, forget) == (0.0, hard)
    assert replace(goal, asked=far).membership_auc(loaded, forget) == 0.0


def test_something_unseen_is_needed(loaded, forget, retain):
    with pytest.raises(InputError, match="no model was trained on"):
        match_unseen(loaded, forget, retain, [], rehearsal=[])


def test_rule_matches_in_its_rounds_and_goes_on_until_the_membership_auc_is_right(
    loaded, base_model, forget, retain, unseen
):
    goal = match_unseen(replace(loaded, model=copy.deepcopy(base_model)), forget, retain, unseen, rehearsal=[])
    unlearn(loaded, forget, [], "ga", settings=replace(SETTINGS, max_steps=8), quiet=True)
    far = {
        part: getattr(goal, part)._replace(surprise=getattr(goal, part).surprise + 3.0)
        for part in ("asked", "perturbed")
    }
    goal = replace(goal, **far, margin=0.2)
    settings = RuleSettings(rounds=3, n=8, k=8, yardstick=0.0)
    done = rule(
        loaded, forget, retain, "npo", score=leaks, settings=settings, train=SETTINGS, strategy=goal.strategy(),
        sampler=Scripted({"Fa0": ["LEAK a"]}, {}, {}, {}), quiet=True,
    )  # fmt: skip
    assert done.chosen >= 1
    assert abs(goal.membership_auc(loaded, forget) - 0.5) <= 0.2
    assert done.rounds[-1].metrics["membership_auc"] == pytest.approx(goal.membership_auc(loaded, forget))
    assert "yardstick" in done.verdict


def test_the_round_kept_misses_least_of_all_together(loaded, forget, retain, unseen, monkeypatch):
    """A round without a leak that lost a third of the answers loses to one with a leak in one prompt of five."""
    goal = match_unseen(loaded, forget, retain, unseen, rehearsal=[])
    said = iter([0.5, 0.66, 0.98, 0.7])
    monkeypatch.setattr(UnseenTarget, "replay_accuracy", lambda self, loaded: next(said))
    monkeypatch.setattr(UnseenTarget, "membership_auc", lambda self, loaded, forget: 0.5)
    leak = {"Fa0": ["LEAK a"]}
    done = rule(
        loaded, forget, retain, "npo", score=leaks, settings=RuleSettings(rounds=3, n=8, k=8, yardstick=0.0),
        train=replace(SETTINGS, max_steps=1), strategy=goal.strategy(), sampler=Scripted(leak, {}, leak, leak), quiet=True,
    )  # fmt: skip
    # Missing in all: .2 + .48, .32, .2, .2 + .28.
    assert done.chosen == 2
