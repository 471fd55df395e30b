"""Losses of a method on a model as plain numbers, one answer at a time, and whether the method's own are the same."""

import copy
import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from leakatk.prompts import Known
from leakatk.unlearning.settings import TrainSettings
from leakatk.unlearning.stages import Keep, flat
from leakatk.unlearning.streams import Streams
from leakatk.unlearning.trainer import Trainer
from leakatk.unlearning.work import Work
from tests.unlearning.conftest import tiny_model

# Numbers that a model of two layers has; states are compared after the first.
TINY = {
    "layer": 0, "layers": 1, "features": 48, "autoencoder_steps": 5,
    "align_steps": 2, "align_layers": 1, "align_width": 16, "align_heads": 2,
    "answer_tokens": 2, "answered_at": -1.0,
    "thresholds": (0.1, -0.2, -0.5),
}  # fmt: skip
SETTINGS = TrainSettings(learning_rate=1e-3, max_steps=1, forget_batch=4, retain_batch=3)


def log_softmax(z):
    top = z.max(axis=1, keepdims=True)
    return z - top - np.log(np.exp(z - top).sum(axis=1, keepdims=True))


class Answer:
    """One answer under one model: z (T, V) logits, y (T,) tokens, p and log p of each token, and their sum."""

    def __init__(self, model, item):
        ids = torch.tensor([[*item.prompt, *item.answer]])
        with torch.no_grad():
            out = model(input_ids=ids, output_hidden_states=True)
        self.first, self.y = len(item.prompt), np.array(item.answer)
        self.ids, self.all_z = ids[0].numpy(), out.logits[0].double().numpy()  # of question and answer, (L, V)
        self.all_logs = log_softmax(self.all_z)
        self.z = self.all_z[self.first - 1 : -1]
        self.all_states = out.hidden_states[1][0].double().numpy()  # after the first layer
        self.states = self.all_states[self.first :]
        self.logs = self.all_logs[self.first - 1 : -1]  # (T, V)
        self.log_y = self.logs[np.arange(len(self.y)), self.y]
        self.total, self.mean = self.log_y.sum(), self.log_y.mean()


class Setting:
    """A batch as plain answers: now(stream) under the model, then(stream) under the reference, others by a kept model's name."""

    def __init__(self, trainer, model, kept):
        self.rows, self.streams = trainer.rows(0, 0), trainer.streams
        self.models = {"now": model, "then": kept["reference"], **kept}
        self.seed, self.p = trainer.seed, trainer.params

    def answers(self, which, stream):
        side = "retain" if stream.startswith("retain") else "forget"
        items = self.streams.items(stream)
        return [Answer(self.models[which], items[row]) for row in self.rows[side]]

    def pairs(self, stream, other="then"):
        return list(zip(self.answers("now", stream), self.answers(other, stream), strict=True))


def log_sigma(x):
    return -math.log1p(math.exp(-x))


def mean(values):
    return float(np.mean(list(values)))


def nll(s, stream):
    return mean(-a.mean for a in s.answers("now", stream))


def given_models(method):
    """The names of the models that a method must be given."""
    return [name.removeprefix("auxiliary ") for name in method.needs if name.startswith("auxiliary ")]


def teachers_of(method):
    """The names of all models that its losses may compare with."""
    return ["reference", *(one.name for one in flat(method.stages) if isinstance(one, Keep)), *given_models(method)]


def predicted(forget, retain):
    """A made-up margin for each prompt."""
    return {prompt.id: -1.0 - i for i, prompt in enumerate([*forget, *retain])}


def agrees(method, expected, loaded, tokenizer, forget, retain, *, stage=0, numbers=None):
    """Fail unless the losses of a stage that trains are (forget, retain), functions of a `Setting`; None for a side without.

    numbers: that the formulas are computed with, where they are not the method's own.
    """
    method = method.with_params(**{key: value for key, value in TINY.items() if key in method.params})
    kept = {name: tiny_model(tokenizer, seed=1 + i) for i, name in enumerate(teachers_of(method))}
    streams = Streams(
        forget, retain, tokenizer, loaded.template, seed=3,
        alternates={prompt.id: f"{prompt.id} lives elsewhere." for prompt in forget},
        known=Known(margins=predicted(forget, retain)),
    )  # fmt: skip
    train = replace(method.trains[stage], insert=None)  # what is inserted changes nothing before the first step
    trainer = Trainer(loaded, streams, train, method.params, SETTINGS, 3)
    work = Work(
        loaded, forget, retain, streams, SETTINGS, method.params, 3, start=dict(kept["reference"].named_parameters())
    )
    gathered = work.gathered(train.gather).params
    trainer.params = {**gathered, "layer": 0} if "layer" in gathered else gathered
    trainer.prepare({name: model.state_dict() for name, model in kept.items()})
    plain = Setting(trainer, copy.deepcopy(loaded.model).eval(), kept)
    plain.p = {**plain.p, **{key: value for key, value in (numbers or {}).items() if key not in TINY}}
    losses = trainer.losses(trainer.make_step(0, 0, loaded.model))
    assert list(losses) == ["forget", "retain"]
    for loss, formula in zip(losses.values(), expected, strict=True):
        assert (loss is None) == (formula is None)
        if formula is not None:
            assert float(loss.detach()) == pytest.approx(formula(plain), rel=2e-5, abs=2e-5)
