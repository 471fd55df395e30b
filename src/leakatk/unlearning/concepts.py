"""Concepts that tell the forget prompts: a bottleneck of concept vectors, and what each gives to their score."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from scipy.special import expit
from torch import Tensor

from leakatk.arrays import Bools, Floats
from leakatk.errors import InputError
from leakatk.prompts import Prompt
from leakatk.scorers.text import words
from leakatk.unlearning.gathered import states_of
from leakatk.unlearning.losses.terms import Params
from leakatk.unlearning.view import View, each_answer

if TYPE_CHECKING:
    from leakatk.unlearning.work import Work

RIDGE = 1e-2
STEPS = 500  # of proximal gradient


def bank_of(prompts: Sequence[Prompt], most: int) -> tuple[list[str], Floats]:
    """(m words, (n, m) which prompt has which): words of question and answer that some of the prompts have and some have not.

    At most so many, those of most prompts first, and of as many in the order of the alphabet; a word of one prompt alone is none.
    """
    has = [set(words(f"{prompt.question} {prompt.answer}")) for prompt in prompts]
    counts = Counter(word for one in has for word in one)
    shared = [word for word, count in counts.items() if 2 <= count < len(prompts)]
    bank = sorted(shared, key=lambda word: (-counts[word], word))[:most]
    return bank, np.array([[float(word in one) for word in bank] for one in has]).reshape(len(prompts), len(bank))


def concept_vectors(states: Floats, has: Floats) -> Floats:
    """(d, m) unit vectors: of each concept the direction of ridge regression from states (n, d) to whether a prompt has it (n, m)."""
    x = states - states.mean(axis=0)
    gram = x.T @ x
    found = np.linalg.solve(
        gram + RIDGE * np.trace(gram) / len(gram) * np.eye(len(gram)), x.T @ (has - has.mean(axis=0))
    )
    vectors: Floats = found / np.maximum(np.linalg.norm(found, axis=0), 1e-12)
    return vectors


def sparse_head(scores: Floats, labels: Floats, sparsity: float) -> tuple[Floats, float]:
    """(w (m,), b) of the logistic regression with the least mean log loss plus `sparsity` |w|_1, classes of equal weight; b is free."""
    share = np.where(labels == 1, 0.5 / labels.sum(), 0.5 / (1 - labels).sum())
    rate = 4.0 / max(float(np.linalg.eigvalsh((scores.T * share) @ scores)[-1]) + 1.0, 1e-12)
    weights, bias = np.zeros(scores.shape[1]), 0.0
    for _ in range(STEPS):
        slope = share * (expit(scores @ weights + bias) - labels)
        moved = weights - rate * (scores.T @ slope)
        weights = np.sign(moved) * np.maximum(np.abs(moved) - rate * sparsity, 0.0)
        bias -= rate * float(slope.sum())
    return weights, bias


def integrated_gradients(scores: Floats, weights: Floats, bias: float) -> Floats:
    """(n, m) integrated gradients of sigma(w c + b) along the line from c = 0, in closed form: c_j w_j [sigma(w c + b) - sigma(b)] / (w c)."""
    total = scores @ weights
    near = np.abs(total) < 1e-9
    rise = np.where(
        near, expit(bias) * (1 - expit(bias)), (expit(total + bias) - expit(bias)) / np.where(near, 1, total)
    )
    found: Floats = scores * weights * rise[:, None]
    return found


def mean_state(view: View, layer: int) -> Tensor:
    """(B, d) of each text the mean state of a layer over all tokens."""
    states, mask = view.hidden(layer).float(), view.positions("all")
    return (states * mask[..., None]).sum(1) / mask.sum(1, keepdim=True)


def inferred(work: Work) -> dict[str, Tensor]:
    """ "share" (n,): 1 for a forget prompt that has a concept of its class, 0 for another, divided by their mean.

    Concepts are the `concepts` words with the largest integrated gradient of the score that tells forget from retain prompts: on average over
    the forget prompts, 0 for one that has not the word. A note names them and counts who has one. InputError where there is no such word.
    """
    params, prompts = work.params, [*work.forget, *work.retain]
    bank, has = bank_of(prompts, params["bank"])
    if not bank:
        raise InputError(
            "No word is shared by some of the prompts and lacking in others, so there are no concepts; give more prompts."
        )
    states = torch.cat(
        [states_of(work, s, lambda view: mean_state(view, params["layer"])) for s in ("forget", "retain")]
    )
    plain = states.cpu().numpy()
    scores = (plain - plain.mean(axis=0)) @ concept_vectors(plain, has)
    scores = scores / np.maximum(scores.std(axis=0), 1e-12)
    labels = np.array([1.0] * len(work.forget) + [0.0] * len(work.retain))
    mine = has[: len(work.forget)]
    each = integrated_gradients(scores, *sparse_head(scores, labels, params["sparsity"]))[: len(work.forget)]
    given = (mine * each).mean(axis=0)  # what is not there tells a class too, but there is nothing to poison
    chosen = [int(i) for i in np.argsort(-given, kind="stable")[: params["concepts"]] if given[i] > 0]
    there: Bools = mine[:, chosen].sum(axis=1) > 0
    work.notes.append(
        f"{int(there.sum())} of {len(there)} forget prompts have a concept of theirs and are poisoned: "
        f"{', '.join(bank[i] for i in chosen) or 'none was found'}."
    )
    share = torch.from_numpy(there).float()
    return {"share": share / share.mean().clamp_min(1 / len(share))}


@each_answer
def poisoned(random: View, target: View, p: Params) -> Tensor:
    """E<-log p(y'_t)> over the prompts with a concept; y' another prompt's answer (`label` random) or a fixed refusal (`label` target)."""
    if p["label"] not in ("random", "target"):
        raise InputError(f"label must be random or target, got {p['label']!r}.")
    view = random if p["label"] == "random" else target
    share: Tensor = p["share"].to(view.labels.device)[list(view.rows)]
    return -(share * view.mean_logprob).mean()
