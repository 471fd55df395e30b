"""Every preset's losses on a model, against its formula written down again on plain numbers, one answer at a time.

Together with test_losses this says that a preset takes the right streams, reference, numbers and direction.
"""

import numpy as np
import pytest
import torch

from leakatk.errors import InputError
from leakatk.unlearning.methods import METHODS
from leakatk.unlearning.trainer import unlearn
from tests.unlearning.formulas import FORMULAS, MUTANTS
from tests.unlearning.plain import SETTINGS, agrees, log_sigma, log_softmax, mean, nll


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


STAGES = [(name, stage) for name in sorted(METHODS) for stage in range(len(METHODS[name].trains))]


@pytest.mark.parametrize(("name", "stage"), STAGES)
def test_a_preset_is_its_formula(name, stage, loaded, tokenizer, forget, retain):
    if name in FORGET:
        expected = FORGET[name], RETAIN.get(name, lambda s: nll(s, "retain"))
    else:
        expected = FORMULAS[name][stage]
    agrees(METHODS[name], expected, loaded, tokenizer, forget, retain, stage=stage)


@pytest.mark.parametrize(("name", "stage", "change"), [(n, s, c) for (n, s), row in MUTANTS.items() for c in row])
def test_what_is_distinctive_in_a_method_is_what_its_formula_sees(
    name, stage, change, loaded, tokenizer, forget, retain
):
    mutant = MUTANTS[name, stage][change](METHODS[name])
    with pytest.raises(AssertionError):
        agrees(
            mutant,
            FORMULAS[name][stage],
            loaded,
            tokenizer,
            forget,
            retain,
            stage=stage,
            numbers=METHODS[name].params,
        )


def test_every_stage_of_the_methods_has_a_mutant():
    assert set(MUTANTS) == {(name, stage) for name, rows in FORMULAS.items() for stage in range(len(rows))}


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
