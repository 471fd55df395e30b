"""Which forget prompts are still answered, and that those alone are trained on."""

import numpy as np
import pytest
import torch

from leakatk.unlearning import answered as module
from leakatk.unlearning.answered import answered, answered_nll, none_answered, still_answered
from leakatk.unlearning.selection import views
from leakatk.unlearning.settings import TrainSettings
from leakatk.unlearning.streams import Streams
from leakatk.unlearning.trainer import unlearn
from leakatk.unlearning.work import Work

PARAMS = {"answered_at": 0.5, "answer_tokens": 8, "rounds": 3}


@pytest.fixture
def work(loaded, tokenizer, forget, retain):
    streams = Streams(
        forget,
        retain,
        tokenizer,
        loaded.template,
        seed=0,
        alternates={p.id: f"{p.id} lives elsewhere." for p in forget},
    )
    return Work(loaded, forget, retain, streams, TrainSettings(max_steps=1), PARAMS, 0)


def says(monkeypatch, texts):
    monkeypatch.setattr(module, "greedy_texts", lambda loaded, prompts, tokens: [texts(p) for p in prompts])


def test_what_is_answered_rightly_is_trained_on(work, forget, monkeypatch):
    """Two of five are answered: each counts 5/2, the others 0."""
    right = {forget[1].id, forget[3].id}
    says(monkeypatch, lambda p: p.answer if p.id in right else "Nobody knows.")
    assert answered(work).tolist() == [False, True, False, True, False]
    share = still_answered(work)["share"]
    assert share.tolist() == [0, 2.5, 0, 2.5, 0]
    assert "2 of 5 forget questions" in work.notes[-1]
    [view] = views(work, "alternate", batch_size=5)
    plain = view.mean_logprob.detach().numpy()
    loss = answered_nll(view, {**PARAMS, "share": share})
    assert float(loss.detach()) == pytest.approx(-np.mean([plain[1], plain[3]]), rel=1e-6)
    (slope,) = torch.autograd.grad(loss, [view.token_logprob])
    assert slope.sum(dim=1).tolist() == pytest.approx([0, -0.5, 0, -0.5, 0])


def test_rounds_end_when_nothing_is_answered_or_all_are_done(work, forget, monkeypatch):
    says(monkeypatch, lambda p: p.answer)
    assert not none_answered(work, 1)
    assert none_answered(work, 3)
    says(monkeypatch, lambda p: "Nobody knows.")
    assert none_answered(work, 1)
    assert still_answered(work)["share"].tolist() == [0] * 5


def test_the_method_ends_with_the_first_round_in_which_nothing_is_answered(loaded, forget, retain, monkeypatch):
    """Asked in the rehearsal and before each round and after it: five, then one, then none."""
    said = iter([5, 5, 1, 1, 0])

    def texts(loaded, prompts, tokens):
        count = next(said)
        return [p.answer if i < count else "Nobody knows." for i, p in enumerate(prompts)]

    monkeypatch.setattr(module, "greedy_texts", texts)
    done = unlearn(
        loaded, forget, retain, "unstar", settings=TrainSettings(learning_rate=1e-3, max_steps=2), quiet=True,
        alternates={p.id: f"{p.id} lives elsewhere." for p in forget},
    )  # fmt: skip
    assert done.steps == 4
    assert [note[:6] for note in done.notes] == ["5 of 5", "1 of 5"]
    assert list(said) == []
