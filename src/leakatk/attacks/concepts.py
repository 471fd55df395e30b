"""Concept vectors: columns of MLPs that write the tokens of a concept, found in the original and compared with the model's own.

A concept is what prompts of one `source` are about; its tokens are those of their facts. Nothing but the prompts is needed.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from leakatk.attacks.activations import batches, module_at, same_shape, texts
from leakatk.attacks.base import Floats, Read, Reading, at_least, attack, shuffled
from leakatk.attacks.depth import fact_row, mean_logprob
from leakatk.errors import InputError
from leakatk.models.loaded import LoadedModel
from leakatk.prompts import Known, Prompt
from leakatk.unlearning.passes import decoder_layers

CHUNK = 1 << 26  # projections held at once
PLACES = ("Jaccard of top tokens", "cosine", "L2", "nats lost, own", "nats lost, others")


class Vector(NamedTuple):
    """Column `neuron` of the last MLP matrix of `layer`."""

    layer: int
    neuron: int


@attack(
    "concept-vectors",
    summary="MLP columns that write a concept's tokens in the original: are they still the same in the model?",
    paper="Hong et al. 2024 (ConceptVectors), arXiv 2406.11614",
    formula="v = W_down[:, j] is of a concept where most of the top tokens of U v are the concept's, and noise on v hurts this concept and "
    "no other; then cos(v, v'), |v - v'|, and the Jaccard index of their top tokens, v' the model's own column; score: Jaccard",
    source="200 top tokens as published; noise in units of the column, its draws, the least loss and the number of candidates are ours",
    rows=("66",),
    reading="a concept is the prompts of one source, or one prompt; its tokens are those of the facts, else of the answers, less what "
    "most other answers hold; candidates are those with most of these tokens on top; the one kept loses the concept most nats a token "
    "beyond what it loses other prompts, and must lose it `least` more than them under fresh noise; a concept without one has no score",
    access="weights, with those of the original, and the true answers",
    chance=0.0,
    tags=frozenset({"forget"}),
    example="leakatk attack MODEL --benchmark world --attack concept-vectors --original MODEL --out runs/attacked",
)
@dataclass(frozen=True)
class ConceptVectors(Read):
    """top: tokens that a column raises most, at most a tenth of the vocabulary.  tries: candidates of a concept.

    noise: standard deviation, in root mean squares of the column.  draws: of the noise.  least: nats a token that it must take
    from the concept beyond what it takes from others.  others: prompts of other concepts, at most.  seed: of the noise and
    of these prompts.
    """

    top: int = 200
    tries: int = 20
    noise: float = 5.0
    draws: int = 4
    least: float = 0.05
    others: int = 16
    seed: int = 0

    def __post_init__(self) -> None:
        for option in ("top", "tries", "draws", "others"):
            at_least(self, option, 1)
        at_least(self, "least", 0)
        if not 0 < self.noise < np.inf:
            raise InputError(f"Attack option {self.name}:noise must be above 0, got {self.noise}.")

    @property
    def needs(self) -> tuple[str, ...]:
        return ("forget", "original")

    @property
    def uses(self) -> tuple[str, ...]:
        return (*self.needs, "unseen", "retain")

    def check(self, known: Known) -> None:
        super().check(known)
        if len(concepts_of(known.forget)) < 2 and not known.retain:
            raise InputError(
                f"Attack {self.label} needs prompts of another concept, which noise must not hurt; give retain prompts."
            )

    def read(self, loaded: LoadedModel, known: Known) -> Reading:
        """profile: the intrinsic measures, and what noise on the vector takes from the concept and from others."""
        original = same_shape(f"Attack {self.label}", loaded, known.original)
        asked = sorted(known.unseen or known.forget, key=lambda prompt: prompt.id)
        concepts = concepts_of(asked)
        top = max(1, min(self.top, original.model.get_output_embeddings().weight.shape[0] // 10))
        tokens = {name: concept_tokens(original, prompts, asked) for name, prompts in concepts.items()}
        candidates = named_vectors(original, tokens, top, self.tries)
        found = {name: np.full(len(PLACES), np.nan) for name in concepts}
        for name, prompts in concepts.items():
            strangers = [p for p in (*asked, *known.retain) if p not in prompts]
            chosen = set(shuffled([p.id for p in strangers], f"{self.name} {self.seed}")[: self.others])
            strangers = [p for p in strangers if p.id in chosen]
            best = self._tested(original, candidates[name], prompts, strangers)
            if best is not None:
                vector, own, others = best
                found[name][:] = *compared(original, loaded, vector, top), own, others
        rows = {p.id: found[name] for name, prompts in concepts.items() for p in prompts}
        table = np.stack([rows[p.id] for p in known.unseen or known.forget], axis=1)
        kept = sum(not np.isnan(row[0]) for row in found.values())
        notes = [f"{kept} of {len(concepts)} concepts have a vector of their own in the original."]
        if top < self.top:
            notes.append(f"the top {top} tokens are compared, a tenth of the vocabulary, not {self.top}.")
        return Reading(table[0], dict(zip(PLACES, table, strict=True)), notes=tuple(notes))

    def _tested(
        self, original: LoadedModel, candidates: Sequence[Vector], own: Sequence[Prompt], others: Sequence[Prompt]
    ) -> tuple[Vector, float, float] | None:
        """(vector, nats that noise on it takes from its own prompts, from others), the latter two under fresh noise.

        None where no candidate hurts its own more than the others.
        """
        rows = [fact_row(original, prompt) for prompt in (*own, *others)]
        plain = answer_logprobs(original, rows)

        def lost(vector: Vector, first: int) -> tuple[float, float]:
            after = np.mean(
                [self._noisy(original, vector, rows, number) for number in range(first, first + self.draws)],
                axis=0,
            )
            values = plain - after
            return float(values[: len(own)].mean()), float(values[len(own) :].mean())

        first = {vector: np.subtract(*lost(vector, 0)) for vector in candidates}
        if not first:
            return None
        best = max(candidates, key=lambda vector: first[vector])
        mine, theirs = lost(best, self.draws)
        return (best, mine, theirs) if mine - max(theirs, 0) >= self.least else None

    def _noisy(
        self, original: LoadedModel, vector: Vector, rows: Sequence[tuple[list[int], list[int], list[int]]], number: int
    ) -> Floats:
        column = column_of(original, vector)
        draws = torch.Generator().manual_seed(1_000_003 * self.seed + number)
        drawn = torch.randn(len(column), generator=draws, dtype=torch.float64).to(column.device)
        with added(original, vector, self.noise * column.double().square().mean().sqrt() * drawn):
            return answer_logprobs(original, rows)


def concepts_of(prompts: Sequence[Prompt]) -> dict[str, list[Prompt]]:
    """Source -> its prompts; a prompt without a source is a concept of its own."""
    found: dict[str, list[Prompt]] = {}
    for prompt in prompts:
        found.setdefault(prompt.source or f"prompt {prompt.id}", []).append(prompt)
    return found


def concept_tokens(loaded: LoadedModel, own: Sequence[Prompt], every: Sequence[Prompt]) -> set[int]:
    """Tokens of the concept: those of its facts, else of its answers, with and without a space before them.

    What more than half of the other prompts hold too says nothing of it.
    """

    def of(prompt: Prompt) -> set[int]:
        spaced = [text for fact in prompt.facts or (prompt.answer,) for text in (fact, f" {fact}")]
        return {int(i) for text in spaced for i in loaded.tokenizer(text, add_special_tokens=False)["input_ids"]}

    others = [of(prompt) for prompt in every if prompt not in own]
    mine = set().union(*(of(prompt) for prompt in own))
    common = {i for i in mine if others and sum(i in one for one in others) > len(others) / 2}
    return mine - common


def named_vectors(loaded: LoadedModel, tokens: Mapping[str, set[int]], top: int, most: int) -> dict[str, list[Vector]]:
    """Of each concept the columns with most of its tokens among the `top` that they raise most, at most `most`, the best first.

    Of equal ones those that raise its tokens most; columns with none of them are left out.
    """
    output = loaded.model.get_output_embeddings().weight.detach().float()
    ranked: dict[str, list[tuple[int, float, Vector]]] = {name: [] for name in tokens}
    members = {name: torch.tensor(sorted(ids), device=output.device) for name, ids in tokens.items()}
    for layer in range(len(decoder_layers(loaded.model))):
        matrix = matrix_of(loaded, layer).to(output.device)  # (d, m)
        step = max(1, CHUNK // len(output))
        for start in range(0, matrix.shape[1], step):
            raised = output @ matrix[:, start : start + step]
            highest = raised.topk(top, dim=0).indices
            for name, ids in members.items():
                if not len(ids):
                    continue
                count = torch.isin(highest, ids).sum(0)
                mean = raised[ids].mean(0)
                order = sorted(range(len(count)), key=lambda j: (-int(count[j]), -float(mean[j])))[:most]
                ranked[name] += [
                    (int(count[j]), float(mean[j]), Vector(layer, start + j)) for j in order if int(count[j])
                ]
    return {
        name: [one[2] for one in sorted(rows, key=lambda one: (-one[0], -one[1]))[:most]]
        for name, rows in ranked.items()
    }


def matrix_of(loaded: LoadedModel, layer: int) -> Tensor:
    """(d, m) float32: what each neuron of a layer's MLP writes, a column each."""
    module, _ = module_at(loaded.model, (layer, "coefficients"))
    weight = module.weight.detach().float()  # type: ignore[operator]
    turned: Tensor = weight if isinstance(module, torch.nn.Linear) else weight.T
    return turned


def column_of(loaded: LoadedModel, vector: Vector) -> Tensor:
    """(d,) float32: what one neuron writes."""
    module, _ = module_at(loaded.model, (vector.layer, "coefficients"))
    weight = module.weight.detach()  # type: ignore[operator]
    found: Tensor = weight[:, vector.neuron] if isinstance(module, torch.nn.Linear) else weight[vector.neuron]
    return found.float()


def compared(original: LoadedModel, loaded: LoadedModel, vector: Vector, top: int) -> tuple[float, float, float]:
    """(Jaccard index of the top tokens, cosine, L2 distance) of a column of the original and of the model, each by its own
    output layer.
    """
    columns, tokens = [], []
    for one in (original, loaded):
        column = column_of(one, vector)
        output = one.model.get_output_embeddings().weight.detach().float()
        columns.append(column.double().cpu())
        tokens.append(set((output @ column.to(output.device)).topk(top).indices.tolist()))
    first, second = columns
    cosine = float(torch.nn.functional.cosine_similarity(first, second, dim=0))
    jaccard = len(tokens[0] & tokens[1]) / len(tokens[0] | tokens[1])
    return jaccard, cosine, float((columns[0] - columns[1]).norm())


@contextmanager
def added(loaded: LoadedModel, vector: Vector, noise: Tensor) -> Iterator[None]:
    """Within the block the column is v + noise; no weight is touched. noise: (d,)."""
    module, _ = module_at(loaded.model, (vector.layer, "coefficients"))

    def hook(_: torch.nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor:
        return output + inputs[0][..., vector.neuron, None] * noise.to(output)

    handle = module.register_forward_hook(hook)
    try:
        yield
    finally:
        handle.remove()


def answer_logprobs(loaded: LoadedModel, rows: Sequence[tuple[list[int], list[int], list[int]]]) -> Floats:
    """(m,) mean log-probability of the wanted tokens of each row (`fact_row`)."""
    found: list[float] = []
    for part in batches(len(rows)):
        given = texts(loaded, [(rows[i][0], rows[i][1]) for i in part])
        wanted = torch.tensor([token for i in part for token in rows[i][2]], device=given.ids.device)
        found += mean_logprob(loaded, given, wanted).tolist()
    return np.array(found)
