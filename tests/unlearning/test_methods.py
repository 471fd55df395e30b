"""Every preset's losses on a model, against its formula written down again on plain numbers, one answer at a time.

Together with test_losses this says that a preset takes the right streams, reference, numbers and direction.
"""

import copy
import math

import numpy as np
import pytest
import torch

from leakatk.errors import InputError
from leakatk.unlearning.methods import METHODS
from leakatk.unlearning.settings import TrainSettings
from leakatk.unlearning.streams import Streams
from leakatk.unlearning.trainer import Trainer, unlearn
from tests.unlearning.conftest import tiny_model

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
        self.states = out.hidden_states[1][0, self.first :].double().numpy()  # after the first layer
        self.logs = self.all_logs[self.first - 1 : -1]  # (T, V)
        self.log_y = self.logs[np.arange(len(self.y)), self.y]
        self.total, self.mean = self.log_y.sum(), self.log_y.mean()


class Setting:
    """A batch as plain answers: now(stream) under the model, then(stream) under the reference."""

    def __init__(self, trainer, model, reference):
        self.rows, self.streams = trainer.rows(0, 0), trainer.streams
        self.models = {"now": model, "then": reference}
        self.seed, self.p = trainer.seed, trainer.params

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


def undial(s, *, question=True):
    """Question tokens keep the reference's logits; those of the answer have the true token's lowered."""
    losses = []
    for a, r in s.pairs("forget"):
        target = r.all_z[:-1].copy()  # the last token predicts nothing
        for t in range(r.first, len(r.ids)):
            target[t - 1, r.ids[t]] -= s.p["strength"]
        each = -(np.exp(log_softmax(target)) * a.all_logs[:-1]).sum(axis=1)
        losses.append(np.mean(each if question else each[r.first - 1 :]))
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


def uniform_kl(s, *, question=True):
    losses = []
    for a in s.answers("now", "forget"):
        logs = a.all_logs[:-1] if question else a.logs
        size = logs.shape[1]
        losses.append(np.mean((1 / size * (np.log(1 / size) - logs)).sum(axis=1)))
    return mean(losses)


def flat(s, *, later=1):
    """later=1: after each answer token, the last one included, and not where the first is predicted."""
    losses = []
    for a in s.answers("now", "forget"):
        z = a.all_z[a.first - 1 + later : len(a.ids) - 1 + later]
        assert len(z) == len(a.y)
        losses.append(np.mean((z.max(axis=1) - z.mean(axis=1)) ** 2))
    return mean(losses)


def rmu_forget(s):
    u = torch.rand(32, generator=torch.Generator().manual_seed(s.seed)).double().numpy()
    target = s.p["coefficient"] * u / np.linalg.norm(u)
    return mean(np.mean((a.states - target) ** 2) for a in s.answers("now", "forget"))


def retain_kl(s, *, question=True):
    """After every token, the last one included."""
    losses = []
    for a, r in s.pairs("retain"):
        p, q = (r.all_logs, a.all_logs) if question else (r.logs, a.logs)
        losses.append(np.mean((np.exp(p) * (p - q)).sum(axis=1)))
    return mean(losses)


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
    "pdu": flat,
    "task-vector": lambda s: nll(s, "forget"),
    "retrain": None,
    "ssu": lambda s: nll(s, "forget") + s.p["epsilon"] * mean(nll(s, f"random_{i}") for i in range(1, 6)),
    "sure": npo,
}  # fmt: skip
RETAIN = {
    "ga": None,
    "kl": retain_kl,
    "rmu": lambda s: mean(np.mean((a.states - r.states) ** 2) for a, r in s.pairs("retain")),
    "idk-ap": preservation,
    "pdu": lambda s: s.p["lambda_0"] * nll(s, "retain"),
    "undial": None,
    "ce-u": None,
    "task-vector": None,
    "ssu": None,
}
# With the small presets: the answer's tokens alone, each where it is predicted.
SMALL_FORGET = {
    "undial": lambda s: undial(s, question=False),
    "me": lambda s: uniform_kl(s, question=False),
    "pdu": lambda s: flat(s, later=0),
}
SMALL_RETAIN = {"kl": lambda s: retain_kl(s, question=False), "ce-u": lambda s: nll(s, "retain")}


@pytest.mark.parametrize("name", sorted(name for name in METHODS if METHODS[name].trains))
def test_a_preset_is_its_formula(name, loaded, tokenizer, forget, retain):
    expected = FORGET[name], RETAIN.get(name, lambda s: nll(s, "retain"))
    agrees(METHODS[name], expected, loaded, tokenizer, forget, retain)


@pytest.mark.parametrize("name", sorted({*SMALL_FORGET, *SMALL_RETAIN}))
def test_a_small_preset_is_its_formula(name, loaded, tokenizer, forget, retain):
    expected = (
        SMALL_FORGET.get(name, FORGET[name]),
        SMALL_RETAIN.get(name, RETAIN.get(name, lambda s: nll(s, "retain"))),
    )
    agrees(METHODS[name].for_small_models(), expected, loaded, tokenizer, forget, retain)


@pytest.mark.parametrize("name", [name for name in METHODS if "positions" in METHODS[name].params])
def test_a_position_that_a_method_has_not_is_named(name, loaded, forget, retain):
    method = METHODS[name].for_small_models().with_params(positions="question")
    with pytest.raises(InputError, match=r"positions must be .* or .*, got 'question'"):
        unlearn(loaded, forget, retain, method, settings=SETTINGS, quiet=True)


def agrees(method, expected, loaded, tokenizer, forget, retain):
    method = method.with_params(layer=0) if "layer" in method.params else method
    reference = tiny_model(tokenizer, seed=1)
    streams = Streams(
        forget, retain, tokenizer, loaded.template, seed=3,
        alternates={prompt.id: f"{prompt.id} lives elsewhere." for prompt in forget},
    )  # fmt: skip
    trainer = Trainer(loaded, streams, method.trains[0], method.params, SETTINGS, 3)
    trainer.prepare({"reference": reference.state_dict()})
    plain = Setting(trainer, copy.deepcopy(loaded.model).eval(), reference)
    losses = trainer.losses(trainer.make_step(0, 0, loaded.model))
    assert list(losses) == ["forget", "retain"]
    for loss, formula in zip(losses.values(), expected, strict=True):
        assert (loss is None) == (formula is None)
        if formula is not None:
            assert float(loss.detach()) == pytest.approx(formula(plain), rel=2e-5, abs=2e-5)
