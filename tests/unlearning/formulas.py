"""Formulas of methods on plain numbers, stage by stage, and changes to a method that its formula must notice."""

import math
import random
from dataclasses import replace

import numpy as np
import torch

from leakatk.unlearning.answered import answered_nll
from leakatk.unlearning.concepts import poisoned
from leakatk.unlearning.losses import outputs, states, terms
from leakatk.unlearning.losses import transport as transport_loss
from leakatk.unlearning.losses.spans import half_flat as half_flat_loss
from leakatk.unlearning.stages import Repeat, Term
from tests.unlearning.plain import log_sigma, log_softmax, mean, nll


def p_of(a):
    return np.exp(a.log_y)


def over_tokens(s, value, stream="forget"):
    """The mean over answers of the mean over tokens of value(answer) (T,)"""
    return mean(np.mean(value(a)) for a in s.answers("now", stream))


def kl(p, q):
    """(T,) of log-probabilities (T, V)"""
    return (np.exp(p) * (p - q)).sum(axis=1)


def shared(s, stream):
    """(its share in the loss, answer) of each forget row"""
    return list(zip((float(s.p["share"][row]) for row in s.rows["forget"]), s.answers("now", stream), strict=True))


def kl_to(s, teacher, stream):
    return mean(np.mean(kl(t.logs, a.logs)) for a, t in s.pairs(stream, teacher))


def js(p, q):
    """(...) of probabilities (..., V)"""
    m = (p + q) / 2
    with np.errstate(divide="ignore", invalid="ignore"):
        left = np.where(p > 0, p * np.log(p / m), 0).sum(-1)
        right = np.where(q > 0, q * np.log(q / m), 0).sum(-1)
    return (left + right) / 2


# -- likelihood


def llmu_forget(s):
    bad = min(nll(s, "forget"), s.p["max_bad_loss"])
    return -s.p["bad_weight"] * bad + s.p["random_weight"] * mean(nll(s, f"normal_{i}") for i in range(1, 6))


def whole_kl(s):
    return mean(np.mean(kl(r.all_logs, a.all_logs)) for a, r in s.pairs("retain"))


def catnip(s):
    b = s.p["beta"]
    return -2 / b * over_tokens(s, lambda a: [log_sigma(-b * (lp - math.log(1 - math.exp(lp)))) for lp in a.log_y])


def energy(a):
    top = a.z.max(axis=1)
    return -(top + np.log(np.exp(a.z - top[:, None]).sum(axis=1)))


def risen(s, stream, value):
    return mean(np.mean(value(energy(a) - energy(r))) for a, r in s.pairs(stream))


def eua_retain(s):
    low = risen(s, "retain", lambda e: np.maximum(0, e - s.p["slack"]) ** 2)
    return low + s.p["likelihood_weight"] * nll(s, "retain")


def information(s):
    gone, kept = (
        np.concatenate([np.exp(a.logs) for a in s.answers("now", of)]).mean(axis=0) for of in ("forget", "retain")
    )
    return s.p["information_weight"] * js((gone + kept) / 2, kept)


# -- distillation


def to_pattern(s):
    pattern = s.streams.items("no_idea")[0].answer[:-1]
    losses = []
    for a in s.answers("now", "forget"):
        wanted = np.zeros(a.logs.shape)
        wanted[np.arange(len(a.y)), [pattern[t % len(pattern)] for t in range(len(a.y))]] = 1
        losses.append(np.mean(js(wanted, np.exp(a.logs))))
    return mean(losses)


def js_retain(s):
    return mean(np.mean(js(np.exp(r.logs), np.exp(a.logs))) for a, r in s.pairs("retain"))


def from_reinforced(s):
    losses = []
    for (a, r), (_, more) in zip(s.pairs("forget"), s.pairs("forget", "reinforced"), strict=True):
        target = np.exp(log_softmax(r.z - s.p["alpha"] * np.maximum(0, more.z - r.z)))
        losses.append(np.mean(-(target * a.logs).sum(axis=1)))
    return mean(losses)


def from_noise(s):
    drawn = torch.randn(
        s.answers("now", "forget")[0].z.shape[1],
        generator=torch.Generator().manual_seed(random.Random(f"{s.seed}/0").getrandbits(32)),
    )
    noise = log_softmax(s.p["spread"] * drawn.double().numpy()[None])
    return over_tokens(s, lambda a: kl(np.broadcast_to(noise, a.logs.shape), a.logs))


def uniform(s):
    size = s.answers("now", "forget")[0].z.shape[1]
    return over_tokens(s, lambda a: (1 / size * (math.log(1 / size) - a.logs)).sum(axis=1))


def odds(s, win="alternate", lose="forget"):
    found = []
    for w, a in zip(s.answers("now", win), s.answers("now", lose), strict=True):
        better, worse = (math.exp(x.mean) / (1 - math.exp(x.mean)) for x in (w, a))
        found.append(-w.mean - s.p["beta"] * log_sigma(math.log(better / worse)))
    return mean(found)


def both_odds(s):
    """Under the good message the other answer, under the bad one the forget answer."""
    return odds(s, "forbidden_alternate", "forbidden_forget") + odds(s, "wanted_forget", "wanted_alternate")


def first_logits(stream, told):
    def loss(s):
        losses = []
        for a, r in zip(s.answers("now", stream), s.answers("then", told), strict=True):
            top = np.argsort(-r.z[0])[: s.p["top"]]
            gap = np.abs(a.z[0] - r.z[0])[top]
            losses.append(np.where(gap <= s.p["delta"], gap**2 / 2, s.p["delta"] * (gap - s.p["delta"] / 2)).sum())
        return mean(losses)

    return loss


def margin(a):
    return np.mean(a.log_y - np.log(1 - p_of(a)))


def like_retrained(stream):
    return lambda s: mean((margin(a) - margin(r)) ** 2 for a, r in s.pairs(stream, "retrained"))


def like_predicted(stream):
    def loss(s):
        wanted = [s.streams.margin(stream, row) for row in s.rows[stream]]
        return mean((margin(a) - m) ** 2 for a, m in zip(s.answers("now", stream), wanted, strict=True))

    return loss


def eul_forget(s):
    apart = mean(np.mean(np.minimum(kl(r.logs, a.logs), s.p["most"])) for a, r in s.pairs("forget"))
    return -s.p["alpha"] * apart - s.p["ascent_weight"] * nll(s, "forget")


def eul_retain(s):
    return s.p["same_weight"] * kl_to(s, "then", "retain") + s.p["task_weight"] * nll(s, "retain")


def beside(s, stream):
    """(log-probabilities (T, V) of the large model moved by what the small one has changed, the large one's, y) of each answer"""
    found = []
    for (a, r), (_, large) in zip(s.pairs(stream), s.pairs(stream, "large"), strict=True):
        found.append((log_softmax(large.z + s.p["alpha"] * (a.z - r.z)), large.logs, a.y))
    return found


def beside_nll(s, stream):
    return mean(-logs[np.arange(len(y)), y].mean() for logs, _, y in beside(s, stream))


def as_decoded(stream):
    """KL to the distribution that three models have together, of each answer."""

    def loss(s):
        found = []
        for (a, r), (_, clean), (_, dirty) in zip(
            s.pairs(stream), s.pairs(stream, "clean"), s.pairs(stream, "dirty"), strict=True
        ):
            q = log_softmax(r.logs + s.p["alpha"] * (clean.logs - dirty.logs))
            found.append(kl(q, a.logs).mean())
        return mean(found)

    return loss


# -- tokens


def direct(s):
    """Ascent on the half of tokens that the question brings, KL on the others."""
    losses = []
    for (a, r), (_, u) in zip(s.pairs("forget"), s.pairs("unasked"), strict=True):
        assert list(r.y) == list(u.y)
        order = sorted(range(len(a.y)), key=lambda t, gain=r.log_y - u.log_y: -gain[t])
        chosen = order[: max(1, round(s.p["share"] * len(a.y)))]
        others = [t for t in range(len(a.y)) if t not in chosen]
        losses.append(a.log_y[chosen].mean() + s.p["keep_weight"] * kl(r.logs, a.logs)[others].mean())
    return mean(losses)


def parted(s):
    tables = []
    for of in ("forget", "retain"):
        seen = [(*item.prompt, *item.answer) for item in s.streams.items(of)]
        tables.append([ids[i - 2 : i + 1] for ids in seen for i in range(2, len(ids))])
    losses = []
    for a in s.answers("now", "forget"):
        weights, ids = np.zeros(len(a.y)), [int(i) for i in a.ids]
        for t in range(len(a.y)):
            i = a.first + t
            three, two = tuple(ids[i - 2 : i + 1]), tuple(ids[i - 2 : i])
            shares = [table.count(three) / max(1, sum(one[:2] == two for one in table)) for table in tables]
            if abs(shares[0] - shares[1]) > s.p["gap"]:
                weights[max(0, t - s.p["around"]) : t + s.p["around"] + 1] = 1
        weights = weights if weights.any() else np.ones(len(a.y))
        losses.append((weights * a.log_y).sum() / weights.sum())
    return mean(losses)


def mixed(s):
    return nll(s, "refusal") + s.p["mixed_weight"] * (nll(s, "mixed") + nll(s, "mixed_last"))


def half_flat(s, stream, forget_first):
    losses = []
    halves = [s.streams.items(f"{stream}_half")[row].answer for row in s.rows["forget"]]
    for (a, r), half in zip(s.pairs(stream), halves, strict=True):
        ends = 0
        while ends < min(len(a.y), len(half)) and a.y[ends] == half[ends]:
            ends += 1
        assert 0 < ends < len(a.y)
        to_uniform = (np.exp(a.logs) * (a.logs + math.log(a.logs.shape[1]))).sum(axis=1)
        gone = np.arange(len(a.y)) < ends if forget_first else np.arange(len(a.y)) >= ends
        losses.append(np.where(gone, to_uniform, kl(a.logs, r.logs)).mean())
    return mean(losses)


def mp_me(s):
    both = half_flat(s, "mixed_known", True) + half_flat(s, "mixed_known_last", False)
    return uniform(s) + s.p["mixed_weight"] * both


def assisted(s):
    losses = []
    for (a, gone), (_, kept) in zip(s.pairs("forget", "knows-forget"), s.pairs("forget", "knows-retain"), strict=True):
        apart = abs(p_of(gone) - p_of(kept))
        chosen = np.flatnonzero(apart > apart.mean() + s.p["deviations"] * apart.std())
        weights = np.zeros(len(a.y))
        for t in chosen:
            weights[max(0, t - s.p["around"]) : t + s.p["around"] + 1] = 1
        weights = weights if weights.any() else np.ones(len(a.y))
        losses.append((weights * a.log_y).sum() / weights.sum())
    return mean(losses)


def in_context(s):
    kept = mean(np.mean(kl(a.logs, r.logs)) for a, r in s.pairs("in_context"))
    return npo(s) + s.p["context_weight"] * kept


# -- merging


def npo(s, value="total"):
    b = s.p["beta"]
    gaps = (getattr(a, value) - getattr(r, value) for a, r in s.pairs("forget"))
    return -2 / b * mean(log_sigma(-b * gap) for gap in gaps)


def transport(s):
    """Of all parameters, rows as points: sorted projections on random directions, which depend on step and name."""
    total = 0.0
    for (name, now), start in zip(s.models["now"].named_parameters(), s.models["then"].parameters(), strict=True):
        drawn = torch.randn(
            now.shape[-1], s.p["directions"],
            generator=torch.Generator().manual_seed(random.Random(f"{s.seed}/0/{name}").getrandbits(32)),
        ).double().numpy()  # fmt: skip
        ways = drawn / np.linalg.norm(drawn, axis=0)
        a, b = (np.sort(np.atleast_2d(numbers(one)) @ ways, axis=0) for one in (now, start))
        total += ((a - b) ** 2).sum(axis=0).mean()
    return total


def simnpo(s):
    b = s.p["beta"]
    return -2 / b * mean(log_sigma(b * (-a.mean - s.p["delta"])) for a in s.answers("now", "forget"))


def fit(s):
    return npo(s) + nll(s, "random_1")


def side(number):
    return (
        lambda s: s.p[f"npo_{number}"] * npo(s, "mean"),
        lambda s: s.p[f"kl_{number}"] * kl_to(s, "then", "retain") + s.p[f"nll_{number}"] * nll(s, "retain"),
    )


def retain(s):
    return nll(s, "retain")


def told(s):
    """Towards the forget set."""
    return nll(s, "forget")


# -- representation: states after the first layer


def cos(a, b):
    """(...) of vectors (..., d)"""
    return (a * b).sum(-1) / np.linalg.norm(a, axis=-1) / np.linalg.norm(b, axis=-1)


def numbers(tensor):
    return tensor.detach().double().numpy()


def to_random(s, stream):
    u = torch.rand(32, generator=torch.Generator().manual_seed(s.seed)).double().numpy()
    target = s.p["coefficient"] * u / np.linalg.norm(u)
    return mean(np.mean((a.states - target) ** 2) for a in s.answers("now", stream))


def as_before(s, stream, which="states"):
    return mean(np.mean((getattr(a, which) - getattr(r, which)) ** 2) for a, r in s.pairs(stream))


def steered_away(s):
    v = numbers(s.p["direction"])
    margins = ((cos(a.all_states, v) - cos(a.all_states, r.all_states)) for a, r in s.pairs("forget"))
    return mean(np.mean([-log_sigma(x / s.p["temperature"]) for x in margin]) for margin in margins)


def same_way(s):
    return s.p["alpha"] * mean(np.mean(1 - cos(a.all_states, r.all_states)) for a, r in s.pairs("retain"))


def foreseen(number):
    def loss(s):
        losses = []
        for row, a in zip(s.rows["forget"], s.answers("now", "forget"), strict=True):
            states = torch.tensor(a.all_states).float()[None]
            said = numbers(s.p["aligner"](states, torch.ones(states.shape[:2], dtype=torch.bool))[0])
            near = cos(said, numbers(s.p["concepts"][row]))
            losses.append(np.mean(np.maximum(near - s.p["thresholds"][number], 0)))
        return mean(losses)

    return loss


def last(a):
    return a.all_states[a.first - 1]


def far(s, a, stream):
    left = last(a) - numbers(s.p[f"{stream}_mean"])
    return left @ numbers(s.p[f"{stream}_precision"]) @ left / len(left)


def among_the_others(s):
    return mean(far(s, a, "retain") - min(far(s, a, "forget"), s.p["most"]) for a in s.answers("now", "forget"))


def told_apart(s):
    losses = []
    for a, r in s.pairs("retain"):
        same = math.exp(cos(last(a), last(r)) / s.p["temperature"])
        others = [math.exp(cos(last(a), last(f)) / s.p["temperature"]) for f in s.answers("now", "forget")]
        losses.append(-math.log(same / (same + sum(others))))
    return mean(losses)


def to_noise(s):
    noise = s.answers("then", "noise")
    return mean(
        np.mean((a.all_states - n.all_states) ** 2) for a, n in zip(s.answers("now", "forget"), noise, strict=True)
    )


def to_centroid(s):
    rows = zip(s.rows["forget"], s.answers("now", "forget"), strict=True)
    return s.p["lambda_1"] * mean(1 - cos(last(a), numbers(s.p["nearest"][row])) for row, a in rows)


def cool(s):
    losses = [
        -log_softmax(a.z / s.p["temperature"])[np.arange(len(a.y)), a.y].mean() for a in s.answers("now", "retain")
    ]
    return s.p["lambda_2"] * mean(losses)


def turned_away(s):
    return mean(np.mean(np.maximum(cos(a.states, r.states), 0)) for a, r in s.pairs("forget")) / s.p["temperature"]


def towards_unknown(s):
    sparse, losses = s.p["sparse"], []
    encoder, bias, shift = numbers(sparse.encoder), numbers(sparse.encoder_bias), numbers(sparse.bias)
    for row, a in zip(s.rows["forget"], s.answers("now", "forget"), strict=True):
        x = a.all_states[a.first - 1 - int(s.p["backs"][row])]
        z = np.maximum(encoder @ (x - shift) + bias, 0)
        z[np.argsort(-z, kind="stable")[sparse.top :]] = 0
        near, away = (((z - numbers(s.p[name])) ** 2).sum() for name in ("unknown_codes", "known_codes"))
        losses.append(near - s.p["contrast"] * away)
    return mean(losses)


# Method -> (forget, retain) of each stage that trains.
FORMULAS = {
    "llmu": [(llmu_forget, whole_kl)],
    "catnip": [(catnip, None)],
    "scope": [(lambda s: npo(s), lambda s: nll(s, "retain") + s.p["scope_weight"] * nll(s, "retain_scoped"))],
    "icu": [(lambda s: -nll(s, "forget"), lambda s: s.p["learn_weight"] * nll(s, "retain") + s.p["same_weight"] * mean(np.mean(-(np.exp(r.logs) * a.logs).sum(1)) for a, r in s.pairs("retain")))],
    "opt-out": [(lambda s: -2 / s.p["beta"] * log_sigma(s.p["beta"] * (nll(s, "forget") + mean(r.mean for _, r in s.pairs("forget")))), lambda s: nll(s, "retain") + s.p["transport_weight"] * transport(s))],
    "melu": [(lambda s: npo(s), retain)],
    "raslik": [(lambda s: -nll(s, "forget"), retain)],
    "cga": [(lambda s: -nll(s, "forget"), None)],
    "ishumei": [(lambda s: over_tokens(s, lambda a: -np.log(1 - p_of(a))), retain)],
    "eua": [(lambda s: risen(s, "forget", lambda e: np.maximum(0, s.p["margin"] - e) ** 2), eua_retain)],
    "mari": [(information, retain)],
    "jensun": [(to_pattern, js_retain)],
    "whp": [(told, None), (from_reinforced, None)],
    "stochastic-teacher": [
        (lambda s: kl_to(s, "fresh", "forget"), None), (None, lambda s: kl_to(s, "then", "retain")),
    ],
    "sbu": [(from_noise, lambda s: kl_to(s, "then", "retain"))],
    "undo": [
        (uniform, retain),
        (lambda s: kl_to(s, "teacher", "forget"), lambda s: kl_to(s, "teacher", "retain")),
    ],
    "memflex": [(lambda s: -nll(s, "forget"), retain)],
    **{name: [(lambda s: -nll(s, "forget"), retain)] for name in ("ngdiff-auto", "uno", "uno-s", "ofmu", "mudman")},
    **{name: [(npo, retain)] for name in ("npo-sign", "npo-zeroth", "npo-hybrid")},
    "orpo": [(odds, None)],
    "cfg-orpo": [(both_odds, None)],
    "uwc-npo": [(npo, retain)],
    "safe": [(npo, None)],
    "blur-graddiff": [(lambda s: -nll(s, "forget"), retain)],
    "blur-simnpo": [(simnpo, retain)],
    "needle": [(lambda s: -nll(s, "forget"), None)],
    "unierase": [(lambda s: nll(s, "led"), None)] * 2,
    "klue": [(lambda s: -nll(s, "forget"), retain)],
    "reload": [(None, retain)],
    "sugd": [(lambda s: -nll(s, "forget"), retain)],
    "agad": [(lambda s: -nll(s, "forget"), retain)],
    "dto": [(direct, None)],
    "cau-npo": [(in_context, retain)],
    "mp-idk": [(mixed, retain)],
    "su": [(parted, retain)],
    "uipe": [(npo, retain)],
    "negmerge": [(told, None)] * 3,
    "zju-ties": [side(1), side(2)],
    "mp-me": [(mp_me, retain)],
    "su-llm": [(told, None), (None, retain), (assisted, retain)],
    "duet": [(first_logits("forget", "told_to_forget"), first_logits("retain", "retain_told_to_forget"))],
    "oracle-matching": [(like_retrained("forget"), like_retrained("retain"))],
    "dmm": [(like_predicted("forget"), like_predicted("retain"))],
    "eul": [(eul_forget, eul_retain)],
    "delta": [(lambda s: -beside_nll(s, "forget"), lambda s: beside_nll(s, "retain"))],
    "dd-distil": [(as_decoded("forget"), as_decoded("retain"))],
    "simu": [(lambda s: -nll(s, "forget"), retain)],
    "fit": [(fit, lambda s: kl_to(s, "then", "retain"))],
    "r2mu": [(
        lambda s: to_random(s, "forget") + to_random(s, "thought"),
        lambda s: s.p["alpha"] * as_before(s, "retain") + s.p["gamma"] * as_before(s, "retain_thought"),
    )],
    "falcon": [(steered_away, same_way)],
    "align-then-unlearn": [(foreseen(number), None) for number in range(3)],
    "laf": [(among_the_others, told_apart), (None, retain)],
    "i2i": [(to_noise, lambda s: as_before(s, "retain", "all_states"))],
    "duck": [(to_centroid, cool)],
    "kuda": [(turned_away, retain)],
    "mrp": [(lambda s: -nll(s, "forget"), retain)],
    "sae-unknown": [(towards_unknown, retain)],
    "concept-poison": [(lambda s: mean(-w * a.mean for w, a in shared(s, "random_1")), retain)],
    "u2a": [(
        lambda s: -2 / s.p["beta"] * mean(w * log_sigma(-s.p["beta"] * (a.total - r.total)) for (w, a), (_, r) in zip(shared(s, "forget"), s.pairs("forget"), strict=True)),
        retain,
    )],
    "unstar": [(lambda s: nll(s, "alternate"), retain)],
    "meow": [(lambda s: nll(s, "alternate"), None)],
    "unlearn-subspace": [(told, None)] * 2 + [(None, retain)] * 2,
}  # fmt: skip


def params(**changed):
    return lambda method: method.with_params(**changed)


def exchanged(stages, old, new):
    """The stages with one in place of another, also within a Repeat."""
    return tuple(
        replace(one, stages=exchanged(one.stages, old, new)) if isinstance(one, Repeat) else new if one is old else one
        for one in stages
    )


def losses(stage, *parts):
    """Other terms in a stage that trains."""

    def change(method):
        trains = list(method.trains)
        new = replace(trains[stage], terms=tuple(parts))
        return replace(method, stages=exchanged(method.stages, trains[stage], new))

    return change


def other(loss, on="forget", weight=""):
    return Term(loss, on, weight=weight)


def other_values(name, loss):
    """The loss with other values than those that were gathered."""

    def changed(view, p):
        return loss(view, {**p, name: p[name] + 1})

    return changed


KEEP = Term(terms.nll, "retain")


def without_large(method):
    (stage,) = method.trains
    return replace(method, stages=(replace(stage, beside=""),))


# (method, stage) -> what was changed -> the changed method.
MUTANTS = {
    ("llmu", 0): {
        "no random answers": params(random_weight=0.0), "one answer": params(answers=1), "no bound": params(max_bad_loss=0.1),
        "answers' tokens alone": params(positions="answer"),
    },
    ("catnip", 0): {
        "another strength": params(beta=2.0), "ascent": losses(0, other(terms.ascent), KEEP),
    },
    ("ishumei", 0): {"hinge": params(form="hinge"), "inverse": params(form="inverse")},
    ("eua", 0): {"no margin": params(margin=0.0), "slack": params(slack=-5.0)},
    ("mari", 0): {"ascent": losses(0, other(terms.ascent), KEEP), "the retain set twice": losses(0, other(terms.shared_output, ("forget", "forget")), KEEP)},
    ("jensun", 0): {
        "whole refusals": losses(0, other(terms.js_to_pattern, ("forget", "refusal")), other(terms.js_from_reference, "retain")),
        "likelihood kept": losses(0, other(terms.js_to_pattern, ("forget", "no_idea")), KEEP),
    },
    ("whp", 0): {"ascent": losses(0, other(terms.ascent))},
    ("whp", 1): {"the reference alone": params(alpha=0.0)},
    ("stochastic-teacher", 0): {"the reference": losses(0, other(terms.kl_from_reference))},
    ("stochastic-teacher", 1): {"likelihood": losses(1, KEEP)},
    ("sbu", 0): {"uniform": params(spread=0.0)},
    ("undo", 0): {"ascent": losses(0, other(terms.ascent), KEEP)},
    ("undo", 1): {"the reference": losses(1, other(terms.kl_from_reference), other(terms.kl_from_reference, "retain"))},
    ("memflex", 0): {"descent": losses(0, other(terms.nll), KEEP)},
    **{(name, 0): {"descent": losses(0, other(terms.nll), KEEP)} for name in ("ngdiff-auto", "uno", "uno-s", "ofmu", "mudman", "sugd", "agad", "blur-graddiff")},
    ("blur-simnpo", 0): {"ascent": losses(0, other(terms.ascent), KEEP)},
    ("cfg-orpo", 0): {
        "one message": losses(0, other(terms.orpo, ("forbidden_alternate", "forbidden_forget"))),
        "not swapped": losses(0, other(terms.orpo, ("forbidden_alternate", "forbidden_forget")), other(terms.orpo, ("wanted_alternate", "wanted_forget"))),
    },
    ("orpo", 0): {"likelihood alone": params(beta=0.0), "swapped": losses(0, other(terms.orpo, ("forget", "alternate")))},
    ("needle", 0): {"descent": losses(0, other(terms.nll))},
    **{("unierase", i): {"without the token": losses(i, other(terms.nll, "refusal"))} for i in range(2)},
    ("klue", 0): {"descent": losses(0, other(terms.nll), KEEP)},
    ("reload", 0): {"ascent": losses(0, other(terms.ascent, "retain"))},
    ("dto", 0): {"other tokens": params(share=0.8), "nothing kept": params(keep_weight=0.0)},
    ("cau-npo", 0): {"no context": params(context_weight=0.0), "the other KL": losses(0, other(terms.npo), other(terms.kl_from_reference, "in_context"), KEEP)},
    ("mp-idk", 0): {"alone": params(mixed_weight=0.0), "one order": losses(0, other(terms.nll, "refusal"), other(terms.nll, "mixed"), KEEP)},
    ("su", 0): {"all tokens": params(gap=-1.0), "no tokens around": params(around=0)},
    **{(name, 0): {"another strength": params(beta=2.0)} for name in ("uipe", "uwc-npo", "npo-sign", "npo-zeroth", "npo-hybrid")},
    **{("negmerge", i): {"ascent": losses(i, other(terms.ascent))} for i in range(3)},
    ("zju-ties", 0): {"the other side": params(npo_1=0.3, kl_1=0.3, nll_1=0.4), "whole answers": losses(0, other(terms.npo, weight="npo_1"), KEEP)},
    ("mp-me", 0): {"halves swapped": losses(0, other(terms.kl_from_uniform), other(half_flat_loss(False), ("mixed_known", "mixed_known_half"), "mixed_weight"), other(half_flat_loss(True), ("mixed_known_last", "mixed_known_last_half"), "mixed_weight"), KEEP), "alone": params(mixed_weight=0.0)},
    ("su-llm", 0): {"ascent": losses(0, other(terms.ascent))},
    ("su-llm", 1): {"the forget set": losses(1, other(terms.nll))},
    ("su-llm", 2): {"all tokens": params(deviations=-9.0), "no tokens around": params(around=0)},
    ("duet", 0): {"not told": losses(0, other(outputs.first_logits, ("forget", "forget")), other(outputs.first_logits, ("retain", "retain_told_to_forget"))), "one token": params(top=1), "squares": params(delta=100.0)},
    ("oracle-matching", 0): {"ascent": losses(0, other(terms.ascent), KEEP), "what it was": losses(0, other(lambda v, p: ((outputs.mean_margin(v) - outputs.mean_margin(v.reference)) ** 2).mean()), other(outputs.like_retrained, "retain"))},
    ("dmm", 0): {"the retrained model": losses(0, other(lambda v, p: ((outputs.mean_margin(v) - outputs.mean_margin(v.reference)) ** 2).mean()), other(outputs.like_predicted, "retain"))},
    ("eul", 0): {"towards it": params(alpha=-1.0), "no bound": params(most=1e-3), "no ascent": params(ascent_weight=0.0), "no task": params(task_weight=0.0)},
    ("delta", 0): {"the small model alone": without_large, "twice the change": params(alpha=2.0), "npo": params(base="npo")},
    ("dd-distil", 0): {"the reference": params(alpha=0.0), "the other way": params(alpha=-1.5), "ascent": losses(0, other(terms.ascent), other(outputs.as_decoded, "retain"))},
    ("safe", 0): {"another strength of NPO": params(beta=2.0), "ascent": losses(0, other(terms.ascent))},
    ("simu", 0): {"descent": losses(0, other(terms.nll), KEEP)},
    ("fit", 0): {"no random answers": losses(0, other(terms.npo), other(terms.kl_from_reference, "retain")), "another strength": params(beta=2.0)},
    ("zju-ties", 1): {"the other side": params(npo_2=0.4, kl_2=0.4, nll_2=0.2)},
    ("r2mu", 0): {
        "answers alone": losses(0, other(terms.to_random_direction), other(terms.to_reference_states, "retain", "alpha"), other(terms.to_reference_states, "retain_thought", "gamma")),
        "no thought kept": params(gamma=0.0), "another length": params(coefficient=1.0),
    },
    ("scope", 0): {"no scope": params(scope_weight=0.0), "nothing before": losses(0, other(terms.npo), KEEP, other(terms.nll, "retain"))},
    ("icu", 0): {"no likelihood": params(learn_weight=0.0), "not as before": params(same_weight=0.0), "a divergence": losses(0, other(terms.ascent), other(terms.nll, "retain", "learn_weight"), other(terms.kl_from_reference, "retain", "same_weight"))},
    ("opt-out", 0): {"no transport": params(transport_weight=0.0), "each answer's NPO": losses(0, other(terms.npo), KEEP, other(transport_loss.moved, "retain", "transport_weight")), "another strength": params(beta=2.0)},
    ("melu", 0): {"ascent": params(base="ga")},
    ("raslik", 0): {"npo": params(base="npo")},
    ("cga", 0): {"npo": params(base="npo")},
    ("falcon", 0): {"another temperature": params(temperature=0.2), "answers alone": params(positions="answer"), "distances": losses(0, other(states.steered_away), other(terms.to_reference_states, "retain", "alpha"))},
    **{("align-then-unlearn", i): {"another round's": losses(i, other(states.foreseen((i + 1) % 3)))} for i in range(3)},
    ("laf", 0): {"another bound": params(most=0.1), "another temperature": params(temperature=2.0), "ascent": losses(0, other(terms.ascent), other(states.told_apart, ("retain", "forget")))},
    ("laf", 1): {"ascent": losses(1, other(terms.ascent, "retain"))},
    ("i2i", 0): {"its own tokens": losses(0, other(states.to_noise_states, ("forget", "forget")), other(terms.to_reference_states, "retain")), "answers alone": params(positions="answer")},
    ("duck", 0): {"warm": params(temperature=1.0), "another centroid": losses(0, other(other_values("nearest", states.to_nearest_centroid)), other(states.cool_nll, "retain", "lambda_2"))},
    ("kuda", 0): {"another temperature": params(temperature=2.0), "all tokens": params(positions="all"), "the other way": losses(0, other(lambda view, p: -states.other_direction(view, p)), KEEP)},
    ("mrp", 0): {"descent": losses(0, other(terms.nll), KEEP)},
    ("sae-unknown", 0): {"no contrast": params(contrast=0.0), "another place": losses(0, other(other_values("backs", states.towards_unknown)), KEEP)},
    ("unstar", 0): {"the true answer": losses(0, other(answered_nll), KEEP), "random answers": losses(0, other(answered_nll, "random_1"), KEEP)},
    ("concept-poison", 0): {"one label": params(label="target"), "the true answer": losses(0, other(poisoned, ("forget", "forget")), KEEP)},
    ("u2a", 0): {"unweighed": losses(0, other(terms.npo), KEEP), "ascent": params(base="ga"), "another strength": params(beta=0.5)},
    ("meow", 0): {"the true answer": losses(0, other(terms.nll)), "a refusal": losses(0, other(terms.nll, "refusal"))},
    **{("unlearn-subspace", i): {"ascent": losses(i, other(terms.ascent, "forget" if i < 2 else "retain"))} for i in range(4)},
}  # fmt: skip
