"""Subspace of a task: what a fresh network learns of it part by part, less what it shares with a similar task (UNLEARN)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from leakatk.errors import InputError
from leakatk.unlearning.streams import decoder_layers

if TYPE_CHECKING:
    from leakatk.unlearning.edits import Params
    from leakatk.unlearning.work import Select, Weights, Work


def layer_matrices(work: Work) -> dict[str, int]:
    """The name of each matrix of the decoder layers -> the number of its layer."""
    layers = decoder_layers(work.loaded.model)
    number = {id(value): i for i, layer in enumerate(layers) for value in layer.parameters() if value.dim() == 2}
    return {name: number[id(value)] for name, value in work.loaded.model.named_parameters() if id(value) in number}


def part_of_depth(part: int, parts: int) -> Select:
    """Train the matrices of one of so many runs of layers, from the input on. InputError for a model with fewer layers."""

    def select(work: Work) -> list[str]:
        count = len(decoder_layers(work.loaded.model))
        if count < parts:
            raise InputError(f"This method goes through the layers in {parts} parts, and the model has {count} layers.")
        return [name for name, layer in layer_matrices(work).items() if layer * parts // count == part]

    return select


def kept_weights(name: str, work: Work) -> dict[str, Tensor]:
    """The weights that a stage kept under a name."""
    return {key: work.kept[name][key].to(value.device) for key, value in work.loaded.model.named_parameters()}


def without_similar(task: Tensor, similar: Tensor, rank: int) -> Tensor:
    """(o, i) sum_i s_i u_i v_i'', over the `rank` largest of the task's singular triples, v_i' = v_i - sum_j <v_i, w_j> w_j, w the right singular
    vectors of the similar task, likewise.
    """
    u, s, v = torch.linalg.svd(task.double(), full_matrices=False)
    _, sizes, w = torch.linalg.svd(similar.double(), full_matrices=False)
    w = w[:rank][sizes[:rank] > 1e-12 * sizes[:1]]
    turned = v[:rank] - (v[:rank] @ w.T) @ w
    found: Tensor = (u[:, :rank] * s[:rank]) @ turned
    return found


def subtract_task(work: Work, now: Weights, params: Params) -> dict[str, Tensor]:
    """UNLEARN (arXiv 2408.04140): of each matrix of the decoder layers W <- W - scale T', W at the start, T' by `without_similar` from what the
    kept networks "task" and "similar" have learnt since "fresh". A negative scale is LEARN, the dual. InputError for a rank below 1.
    """
    if params["rank"] < 1:
        raise InputError(f"rank must be at least 1, got {params['rank']!r}.")
    found = {name: work.start[name].to(value) for name, value in now.items()}
    for name in layer_matrices(work):
        fresh = work.kept["fresh"][name].float()
        task, similar = (work.kept[kept][name].float() - fresh for kept in ("task", "similar"))
        change = without_similar(task, similar, params["rank"]).to(found[name])
        found[name] = found[name] - params["scale"] * change
    return found
