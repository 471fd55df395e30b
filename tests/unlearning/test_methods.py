"""Every preset's losses on a model, against its formula written down again on plain numbers, one answer at a time.

Together with test_losses this says that a preset takes the right streams, reference, numbers and direction.
"""

import copy
import math

import numpy as np
import pytest
import torch

from leakatk.unlearning.batches import Streams
from leakatk.unlearning.methods import METHODS
from leakatk.unlearning.schedule import TrainSettings
from leakatk.unlearning.trainer import Trainer
from tests.unlearning.conftest import tiny_model

SETTINGS = TrainSettings(lr=1e-3, steps=1, forget_batch=4, retain_batch=3)


class Answer:
    """One answer under one model: z (T, V) logits, y (T,) tokens, p and log p of each token, and their sum."""

    def __init__(self, model, item):
        ids = torch.tensor([[*item.prompt, *item.answer]])
        with torch.no_grad():
            out = model(input_ids=ids, output_hidden_states=True)
        self.first, self.y = len(item.prompt), np.array(item.answer)
        self.z = out.logits[0, self.first - 1 : -1].double().numpy()
        self.states = out.hidden_states[1][0, self.first :].double().numpy()  # after the first layer
        top = self.z.max(axis=1, keepdims=True)
        self.logs = self.z - top - np.log(np.exp(self.z - top).sum(axis=1, keepdims=True))  # (T, V)
        self.log_y = self.logs[np.arange(len(self.y)), self.y]
        self.total, self.mean = self.log_y.sum(), self.log_y.mean()


class Setting:
    """A batch as plain answers: now(stream) under the model, then(stream) under the reference."""

    def __init__(self, trainer, model, reference):
        self.rows, self.streams = trainer._rows(0, 0), trainer.streams
        self.models = {"now": model, "then": reference}
        self.seed, self.p = trainer.seed, trainer.method.params

    def answers(self, which, stream):
        side = "retain" if stream.startswith("retain") else "forget"
        items = self.streams.items(stream)
        return [Answer(self.models[which], items[row]) for row in self.rows[side]]

    def pairs(self, stream):
        return list(zip(self.answers("now", stream), self.answers("then", stream), strict=True))


def log_sigma(x):
    return -math.log1p(math.exp(-x))


def mean(values):
    return float(np.mean(list(values)))


def nll(s, stream):
    return mean(-a.mean for a in s.answers("now", stream))


def npo(s):
    return -2 / s.p["beta"] * mean(log_sigma(-s.p["beta"] * (a.total - r.total)) for a, r in s.pairs("forget"))


def dpo(s, win):
    pairs = zip(s.pairs(win), s.pairs("forget"), strict=True)
    margins = [(w.total - wr.total) - (a.total - r.total) for (w, wr), (a, r) in pairs]
    return -2 / s.p["beta"] * mean(log_sigma(s.p["beta"] * m) for m in margins)


def weighted(s, weight):
    return mean(np.mean(weight(np.exp(a.log_y)) * a.log_y) for a in s.answers("now", "forget"))


def entropy(s):
    return mean(np.mean(-(np.exp(a.logs) * a.logs).sum(axis=1)) for a in s.answers("now", "forget"))


def undial(s):
    losses = []
    for a, r in s.pairs("forget"):
        target = r.z.copy()
        target[np.arange(len(r.y)), r.y] -= s.p["strength"]
        q = np.exp(target) / np.exp(target).sum(axis=1, keepdims=True)
        losses.append(np.mean(-(q * a.logs).sum(axis=1)))
    return mean(losses)


def ce_u(s):
    losses = []
    for a in s.answers("now", "forget"):
        q = np.exp(a.logs)
        q[np.arange(len(a.y)), a.y] = 0
        q /= q.sum(axis=1, keepdims=True)
        losses.append(np.mean(-(q * a.logs).sum(axis=1)[1:]))  # the first answer token is left out
    return mean(losses)


def hinge(s):
    losses = []
    for a in s.answers("now", "forget"):
        p = np.exp(a.logs)
        others = p.copy()
        others[np.arange(len(a.y)), a.y] = -1
        losses.append(np.mean(1 + np.exp(a.log_y) - others.max(axis=1)))
    return mean(losses)


def uniform_kl(s):
    size = s.answers("now", "forget")[0].z.shape[1]
    return mean(np.mean((1 / size * (np.log(1 / size) - a.logs)).sum(axis=1)) for a in s.answers("now", "forget"))


def rmu_forget(s):
    u = torch.rand(32, generator=torch.Generator().manual_seed(s.seed)).double().numpy()
    target = s.p["coefficient"] * u / np.linalg.norm(u)
    return mean(np.mean((a.states - target) ** 2) for a in s.answers("now", "forget"))


def retain_kl(s):
    return mean(np.mean((np.exp(r.logs) * (r.logs - a.logs)).sum(axis=1)) for a, r in s.pairs("retain"))


def preservation(s):
    pairs = zip(s.answers("now", "retain"), s.answers("now", "retain_refusal"), strict=True)
    return -1 / s.p["beta"] * mean(log_sigma(s.p["beta"] * (a.total - b.total)) for a, b in pairs)


FORGET = {
    "ga": lambda s: -nll(s, "forget"),
    "graddiff": lambda s: -nll(s, "forget"),
    "kl": lambda s: -nll(s, "forget"),
    "ngdiff": lambda s: -nll(s, "forget"),
    "npo": npo,
    "blur-npo": npo,
    "npo-ent": lambda s: npo(s) + s.p["entropy_weight"] * entropy(s),
    "simnpo": lambda s: (
        -2 / s.p["beta"]
        * mean(log_sigma(s.p["beta"] * (-a.mean - s.p["delta"])) for a in s.answers("now", "forget"))
    ),
    "idknll": lambda s: nll(s, "refusal"),
    "idk-ap": lambda s: nll(s, "refusal"),
    "idkdpo": lambda s: dpo(s, "refusal"),
    "altpo": lambda s: dpo(s, "alternate"),
    "rmu": rmu_forget,
    "undial": undial,
    "wga": lambda s: weighted(s, lambda p: p ** s.p["beta"]),
    "satimp": lambda s: weighted(s, lambda p: p ** s.p["beta1"] * (1 - p) ** s.p["beta2"]),
    "ce-u": ce_u,
    "loku": hinge,
    "me": uniform_kl,
    "pdu": lambda s: mean(np.mean((a.z.max(axis=1) - a.z.mean(axis=1)) ** 2) for a in s.answers("now", "forget")),
    "task-vector": lambda s: nll(s, "forget"),
    "retrain": None,
}  # fmt: skip
RETAIN = {
    "ga": None,
    "kl": retain_kl,
    "rmu": lambda s: mean(np.mean((a.states - r.states) ** 2) for a, r in s.pairs("retain")),
    "idk-ap": preservation,
    "pdu": lambda s: s.p["lambda_0"] * nll(s, "retain"),
    "undial": None,
    "task-vector": None,
}


@pytest.mark.parametrize("name", sorted(METHODS))
def test_a_preset_is_its_formula(name, loaded, tokenizer, forget, retain):
    method = METHODS[name]
    method = method.with_params(layer=0) if "layer" in method.params else method
    reference = tiny_model(tokenizer, seed=1)
    streams = Streams(
        forget, retain, tokenizer, loaded.template, seed=3,
        alternates={prompt.id: f"{prompt.id} lives elsewhere." for prompt in forget},
    )  # fmt: skip
    trainer = Trainer(loaded, streams, method, SETTINGS, 3)
    trainer.prepare(reference.state_dict())
    plain = Setting(trainer, copy.deepcopy(loaded.model).eval(), reference)
    losses = trainer._losses(trainer._make_step(0, 0, loaded.model))
    expected = FORGET[name], RETAIN.get(name, lambda s: nll(s, "retain"))
    for loss, formula in zip(losses, expected, strict=True):
        assert (loss is None) == (formula is None)
        if formula is not None:
            assert float(loss.detach()) == pytest.approx(formula(plain), rel=2e-5, abs=2e-5)
