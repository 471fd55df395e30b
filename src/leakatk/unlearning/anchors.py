"""Anchors: keys of what is to be forgotten made to lead to the states of a harmless subject (ROCR)."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from leakatk.errors import InputError
from leakatk.unlearning.gathered import Subjects, states_of, subjects_of, token_states
from leakatk.unlearning.locating import last_matrices
from leakatk.unlearning.losses.states import state_before
from leakatk.unlearning.nullspace import projector
from leakatk.unlearning.solve import null_space_ridge
from leakatk.unlearning.streams import decoder_layers

if TYPE_CHECKING:
    from leakatk.unlearning.edits import Params
    from leakatk.unlearning.work import Weights, Work


def to_anchors(work: Work, now: Weights, params: Params) -> dict[str, Tensor]:
    """ROCR (arXiv 2506.07795): `led` to z, the state after the last of the layers at an invented subject in the same question.

    The layers are `layers` of them, the last one `layer`. A note says how far the states came. InputError for layers that the model lacks.
    """
    layers, subjects = layers_of(work, params), subjects_of(work)
    wanted = states_of(work, "nobody", partial(state_before, layer=layers[-1], backs=subjects.invented))
    found, left = led(work, params, layers, subjects, wanted)
    work.notes.append(
        f"rocr edited layers {layers[0]} to {layers[-1]} at {sum(subjects.told)} of {len(work.forget)} forget subjects; their states are {left:.1%} "
        "as far from the anchors' as before."
    )
    return found


def led(
    work: Work, params: Params, layers: Sequence[int], subjects: Subjects, wanted: Tensor
) -> tuple[dict[str, Tensor], float]:
    """The last MLP matrices of these layers, solved for one after the other; and how far the states still are, as a share.

    wanted (n, d) z: the state after the last of the layers that each forget subject's last token is to have. Subjects that nothing tells are
    left out. Of layer number i of n, K are what its matrix reads there, and R = (z - h) / (n - i), h the state with the layers before
    already edited. W <- W + D, D by `null_space_ridge`; the null space is that of what the matrix reads in the retain prompts and answers,
    and in the general texts that were given. The model is as before afterwards.
    """
    model, told = work.loaded.model, torch.tensor(subjects.told)
    matrices = list(last_matrices(model).items())

    def own(layer: int, at: str = "block") -> Tensor:
        return states_of(work, "forget", partial(state_before, layer=layer, backs=subjects.forget, at=at))[told]

    wanted, changed = wanted[told], dict[str, Tensor]()
    before = float((wanted - own(layers[-1])).norm())
    kept = ["retain", *(["text"] if work.known.text else [])]
    try:
        for place, layer in enumerate(layers):
            name, (_, turned) = matrices[layer]
            gram = sum((_gram(token_states(work, stream, layer, at="mlp_in")) for stream in kept), torch.zeros(()))
            keep = projector(gram, params["threshold"], relaxed=False)
            keys = own(layer, "mlp_in").T
            left = ((wanted - own(layers[-1])) / (len(layers) - place)).T
            step = null_space_ridge(keys, left, keep, params["penalty"])
            parameter = model.get_parameter(name)
            changed[name] = parameter.detach().clone()
            parameter.add_((step.T if turned else step).to(parameter))
        after = float((wanted - own(layers[-1])).norm())
        found = {name: model.get_parameter(name).detach().clone() for name in changed}
    finally:
        for name, value in changed.items():
            model.get_parameter(name).copy_(value)
    return found, after / before if before else 1.0


def _gram(rows: Tensor) -> Tensor:
    return rows.T @ rows


def layers_of(work: Work, params: Params) -> range:
    """`layers` layers, the last of them `layer`. InputError for layers that the model lacks."""
    count, last = len(decoder_layers(work.loaded.model)), params["layer"]
    if not 0 <= last < count or not 1 <= params["layers"] <= last + 1:
        raise InputError(
            f"layer must be between 0 and {count - 1} for this model, and layers between 1 and layer + 1; got layer={last!r}, "
            f"layers={params['layers']!r}."
        )
    return range(last - params["layers"] + 1, last + 1)
