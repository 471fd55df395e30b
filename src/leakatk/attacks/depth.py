"""Depth of unlearning: how much of a fact the original can still read from the model's states, layer by layer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from transformers import PreTrainedTokenizerBase

from leakatk.attacks.activations import Texts, batches, logits, put, same_shape, taken, texts
from leakatk.attacks.base import Floats, Read, Reading, attack
from leakatk.errors import InputError
from leakatk.models.loaded import LoadedModel
from leakatk.prompts import Known, Prompt
from leakatk.unlearning.passes import decoder_layers


@attack(
    "depth",
    summary="the model's states put into the original: which share of a fact it can still read, by layer",
    paper="Unlearning Depth Score (Measuring Knowledge Recoverability in Unlearned Language Models via Activation Patching)",
    formula="D_l(S) = mean_t log p_0(y_t) - log p_0(y_t | states of S at layer l);  F = {l : D_l(retrained) > tau};  score = 1 - UDS "
    "= 1 - sum_F D_l(retrained) clip(D_l(S) / D_l(retrained), 0, 1) / sum_F D_l(retrained)",
    source="tau .05 as published",
    reading="y are the tokens of the prompt's facts within the true answer, the whole answer where it has none; the states at the "
    "positions that predict them are copied; 1 is a model whose states tell the original all, 0 one that tells it no more than "
    "the retrained model; a prompt without a layer in F has none",
    access="weights, with those of the original and the retrained model, and the true answers",
    chance=0.0,
    tags=frozenset({"forget", "retrained"}),
    example="leakatk attack MODEL --benchmark world --attack depth --original MODEL --retrained MODEL --out runs/attacked",
)
@dataclass(frozen=True)
class Depth(Read):
    """tau: least loss of log-probability, in nats a token, by which a layer of the retrained model lacks a fact."""

    tau: float = 0.05

    def __post_init__(self) -> None:
        if not 0 <= self.tau < np.inf:
            raise InputError(f"Attack option depth:tau must be at least 0, got {self.tau}.")

    @property
    def needs(self) -> tuple[str, ...]:
        return ("forget", "original", "retrained")

    @property
    def uses(self) -> tuple[str, ...]:
        return (*self.needs, "unseen")

    def read(self, loaded: LoadedModel, known: Known) -> Reading:
        who = f"Attack {self.label}"
        original, retrained = (same_shape(who, loaded, path) for path in (known.original, known.retrained))
        prompts = known.unseen or known.forget
        rows = [fact_row(loaded, prompt) for prompt in prompts]
        lost = np.zeros((2, len(decoder_layers(loaded.model)), len(prompts)))
        for part in batches(len(rows)):
            given = texts(original, [(row[0], row[1]) for row in (rows[i] for i in part)])
            wanted = torch.tensor([token for i in part for token in rows[i][2]], device=given.ids.device)
            for number, source in enumerate((retrained, loaded)):
                lost[number][:, list(part)] = lost_by_layer(source, original, given, wanted)
        scores, kept = kept_share(lost[0], lost[1], self.tau)
        notes = []
        if undefined := int(np.isnan(scores).sum()):
            notes.append(f"{undefined} prompts have no layer at which the retrained model lacks the fact.")
        profile = {f"layer {layer}": kept[layer] for layer in range(len(kept))}
        return Reading(scores, profile, notes=tuple(notes))


def kept_share(without: Floats, mine: Floats, tau: float) -> tuple[Floats, Floats]:
    """(m,) share of the fact that is kept, NaN where no layer lacks it; (layers, m) the share at each layer that lacks it.

    without, mine: (layers, m) nats that the original loses with the states of the retrained model, and with this model's.
    """
    lacks = without > tau
    share = np.clip(mine / np.where(lacks, without, 1), 0, 1)
    weight = np.where(lacks, without, 0)
    total = weight.sum(axis=0)
    gone = (weight * share).sum(axis=0) / np.where(total > 0, total, 1)
    return np.where(lacks.any(axis=0), 1 - gone, np.nan), np.where(lacks, 1 - share, np.nan)


def lost_by_layer(source: LoadedModel, target: LoadedModel, given: Texts, wanted: torch.Tensor) -> Floats:
    """(layers, B) mean log-probability that the target loses at a row's wanted tokens with the source's states at one layer."""
    count = len(decoder_layers(target.model))
    with taken(source.model, [(layer, "state") for layer in range(count)]) as states:
        logits(source, given)
    plain = mean_logprob(target, given, wanted)
    found = []
    for layer in range(count):
        with put(target.model, {(layer, "state"): states[layer, "state"]}, given.wanted):
            found.append(plain - mean_logprob(target, given, wanted))
    return np.stack(found)


def mean_logprob(loaded: LoadedModel, given: Texts, wanted: torch.Tensor) -> Floats:
    """(B,) mean over a row's wanted tokens."""
    logp = logits(loaded, given).double().log_softmax(-1).gather(1, wanted[:, None])[:, 0]
    return np.array([float(part.mean()) for part in torch.split(logp, given.wanted.sum(1).tolist())])


def fact_row(loaded: LoadedModel, prompt: Prompt) -> tuple[list[int], list[int], list[int]]:
    """(ids, positions that predict the fact's tokens, these tokens) of a prompt with its true answer."""
    seam = loaded.template.pair(loaded.tokenizer, prompt.query, prompt.answer, end=False)
    places = fact_places(loaded.tokenizer, seam.answer, prompt.facts)
    ids = [*seam.prompt, *seam.answer]
    positions = [len(seam.prompt) - 1 + place for place in places]
    return ids[:-1], positions, [seam.answer[place] for place in places]


def fact_places(tokenizer: PreTrainedTokenizerBase, answer: Sequence[int], facts: Sequence[str]) -> list[int]:
    """Numbers of the answer's tokens that hold a part of a fact; all of them where none is found."""
    ends = [len(tokenizer.decode(list(answer[: i + 1]))) for i in range(len(answer))]
    text = tokenizer.decode(list(answer))
    chosen: set[int] = set()
    for fact in facts:
        start = text.casefold().find(fact.casefold())
        if fact and start >= 0:
            stop = start + len(fact)
            chosen |= {i for i, end in enumerate(ends) if end > start and (ends[i - 1] if i else 0) < stop}
    return sorted(chosen) or list(range(len(answer)))
