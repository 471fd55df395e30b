"""Analytic readout: one matrix on frozen states, solved for; what it learned of some rows is taken out in closed form (ACU)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from leakatk.unlearning.locating import last_matrices
from leakatk.unlearning.selection import views
from leakatk.unlearning.solve import ridge

if TYPE_CHECKING:
    from leakatk.unlearning.edits import Params
    from leakatk.unlearning.work import Weights, Work


def downdate(inverse: Tensor, weight: Tensor, inputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """(R', W') of a ridge regression without some of its rows, from (R, W) of all of them.

    inverse R (i, i): (X'X + lambda I)^-1.  weight W (o, i): (R X'Y)'.  inputs F (n, i) and targets (n, o): the rows to take out.
    R' = R + R F' (I - F R F')^-1 F R and W' = W - (targets - F W')' F R', which are R and W of the other rows, exactly.
    """
    right = inputs @ inverse
    eye = torch.eye(len(inputs), dtype=inverse.dtype, device=inverse.device)
    after = inverse + right.T @ torch.linalg.solve(eye - right @ inputs.T, right)
    return after, weight - (targets - inputs @ weight.T).T @ inputs @ after


def rows_of(work: Work, stream: str) -> Iterator[tuple[Tensor, Tensor]]:
    """(n, i) what the last MLP matrix of the last layer reads where answer tokens are predicted, and (n, d) what it is to give there.

    To give: what is missing from the state before it to the token's own row of the output layer, made as long as that state. float64, a batch of prompts at a time.
    """
    model = work.loaded.model
    layer = len(last_matrices(model)) - 1
    output = model.get_output_embeddings().weight.detach().double()
    output = output / output.norm(dim=1, keepdim=True)
    for view in views(work, stream):
        told = view.positions("answer").roll(-1, dims=1)
        told[:, -1] = False
        states, given = (view.hidden(layer, at=at).detach()[told].double() for at in ("block", "mlp"))
        words = view.batch.input_ids[view.positions("answer")]
        before = states - given  # what stands there without the matrix, so that a target does not depend on it
        yield (
            view.hidden(layer, at="mlp_in").detach()[told].double(),
            before.norm(dim=1, keepdim=True) * output[words] - before,
        )


def _name(work: Work) -> tuple[str, bool]:
    name, (_, turned) = list(last_matrices(work.loaded.model).items())[-1]
    return name, turned


def _sums(work: Work, *streams: str) -> tuple[Tensor, Tensor]:
    gram: Tensor | float = 0.0
    cross: Tensor | float = 0.0
    for stream in streams:
        for inputs, targets in rows_of(work, stream):
            gram, cross = gram + inputs.T @ inputs, cross + targets.T @ inputs
    return torch.as_tensor(gram), torch.as_tensor(cross)


def _penalty(gram: Tensor, params: Params) -> float:
    return float(params["penalty"] * gram.diagonal().mean())


def fit_readout(work: Work, now: Weights, params: Params) -> dict[str, Tensor]:
    """The last MLP matrix of the last layer, solved for from nothing on the answers of both sets: sum |W x - y|^2 + lambda |W|^2.

    lambda is `penalty` times the mean squared input over the retain set, so that what is left afterwards says nothing of the forget set.
    """
    gram, cross = _sums(work, "retain")
    more, other = _sums(work, "forget")
    whole = gram + more
    share = _penalty(gram, params) / float(whole.diagonal().mean()) if params["penalty"] > 0 else params["penalty"]
    name, turned = _name(work)
    found = ridge(whole, cross + other, share)
    return {name: (found.T if turned else found).to(now[name])}


def forget_rows(work: Work, now: Weights, params: Params) -> dict[str, Tensor]:
    """The same matrix as it would be without the forget set, by `downdate` from that of both sets, a batch of prompts at a time.

    A note says how far it is from the one solved for on the retain set, as a share of that.
    """
    gram, cross = _sums(work, "retain")
    more, other = _sums(work, "forget")
    penalty = _penalty(gram, params)
    eye = torch.eye(len(gram), dtype=gram.dtype, device=gram.device)
    inverse = torch.linalg.inv(gram + more + penalty * eye)
    weight = (cross + other) @ inverse
    for inputs, targets in rows_of(work, "forget"):
        inverse, weight = downdate(inverse, weight, inputs, targets)
    name, turned = _name(work)
    retrained = ridge(gram, cross, params["penalty"])
    off = float((weight - retrained).norm() / retrained.norm())
    work.notes.append(
        f"acu took the forget set's rows out of {name}: it is {off:.1e} of its norm from the matrix solved for on the retain set."
    )
    return {name: (weight.T if turned else weight).to(now[name])}
