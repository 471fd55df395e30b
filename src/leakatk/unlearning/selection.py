"""Selection of parameters: which of them, or of their rows, are trained."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from leakatk.errors import InputError, UnknownNameError
from leakatk.unlearning.losses.terms import nll
from leakatk.unlearning.step import Step
from leakatk.unlearning.streams import STREAMS
from leakatk.unlearning.teachers import Teachers
from leakatk.unlearning.view import REFERENCE, View

if TYPE_CHECKING:
    from leakatk.unlearning.work import Select, Work


def trainable(model: nn.Module, pattern: str) -> list[str]:
    """Names of the parameters that match the regular expression ("" = all). InputError when none does."""
    try:
        names = [name for name, _ in model.named_parameters() if re.search(pattern, name)]
    except re.error as error:
        raise InputError(f"parameters={pattern!r} is no valid regular expression ({error}).") from None
    if not names:
        example = next((name for name, _ in model.named_parameters()), "none")
        raise InputError(f"parameters={pattern!r} matches no parameter of the model; a name looks like {example}.")
    return names


def choose(
    model: nn.Module, chosen: str | Sequence[str] | Mapping[str, Tensor], *, adapter: bool = False
) -> dict[str, Tensor]:
    """Switch gradients on for what is chosen and off for the rest; the masks of entries, by parameter.

    chosen: a regular expression ("" = all), names, or for each name a mask (bool, True = trained) that broadcasts to the
    parameter: of shape (rows, 1) it chooses rows.  adapter: the model has one, for which a regular expression alone will do.
    UnknownNameError for a parameter that the model lacks, InputError for a mask that does not fit.
    """
    if adapter and not isinstance(chosen, str):
        raise InputError(
            "A method that chooses parameters by name trains the model itself; take full tuning, not lora."
        )
    names = trainable(model, chosen) if isinstance(chosen, str) else list(chosen)
    there = dict(model.named_parameters())
    for name in names:
        if name not in there:
            raise UnknownNameError("parameter of the model", name, there)
    wanted = set(names)
    for name, parameter in there.items():
        parameter.requires_grad_(name in wanted)
    if not isinstance(chosen, Mapping):
        return {}
    masks = {}
    for name, mask in chosen.items():
        try:
            masks[name] = torch.broadcast_to(mask.to(there[name].device, torch.bool), there[name].shape)
        except RuntimeError:
            raise InputError(
                f"The mask of {name} has shape {tuple(mask.shape)}, which does not fit {tuple(there[name].shape)}."
            ) from None
    if not any(bool(mask.any()) for mask in masks.values()):
        raise InputError("The masks choose no entry of any parameter; nothing would be trained.")
    return masks


def mlp_down(layer: int, width: int = 3) -> str:
    """RMU's choice as a pattern: the MLP output projections of layers layer-width+1 .. layer."""
    layers = "|".join(str(i) for i in range(max(layer - width + 1, 0), layer + 1))
    return rf"\.({layers})\.mlp\.(down_proj|c_proj|fc2)\."


def last_matrices_below(work: Work) -> str:
    """RMU's choice: `mlp_down` of the method's layer."""
    return mlp_down(work.params["layer"])


def gradients(
    work: Work, loss: Callable[[View, Mapping[str, Any]], Tensor] = nll, stream: str = "forget", *, batch_size: int = 16
) -> dict[str, Tensor]:
    """The gradient of a loss at the weights of the moment, over all prompts of a stream; by parameter, on its device.

    loss: a mean over answers, of a view and the method's numbers; `view.reference` is the model at the start, and a kept model has
    its name. One tensor of each parameter's size is held.
    """
    model, count = work.loaded.model, work.streams.size(STREAMS[stream].of)
    flags = {name: value.requires_grad for name, value in model.named_parameters()}
    model.requires_grad_(True).eval()
    model.zero_grad()
    with torch.enable_grad():  # edits are done without
        for view in views(work, stream, loss, batch_size=batch_size):
            torch.autograd.backward(loss(view, work.params) * (len(view.rows) / count))
    found = {
        name: torch.zeros_like(value) if value.grad is None else value.grad.detach().clone()
        for name, value in model.named_parameters()
    }
    model.zero_grad()
    for name, value in model.named_parameters():
        value.requires_grad_(flags[name])
    return found


def views(
    work: Work, stream: str, loss: Callable[[View, Mapping[str, Any]], object] | None = None, *, batch_size: int = 16
) -> Iterator[View]:
    """All prompts of a stream in order, a batch at a time, under the model of the moment.

    loss: what will be asked of the views, where that is more than the model of the moment itself: a reference, a kept model.
    """
    of, model, device = STREAMS[stream].of, work.loaded.model, work.loaded.device
    count = work.streams.size(of)
    teachers = Teachers(work.streams, device, nullcontext)

    def view(start: int) -> View:
        rows = {of: range(start, min(start + batch_size, count))}
        return View(Step(model, work.streams, rows, teachers, device, seed=work.seed), stream)

    if loss is not None:
        ask, weights = loss, {REFERENCE: work.start or None, **work.kept}
        with torch.no_grad():
            teachers.collect(
                model, lambda: ask(view(0), work.params), {of: range(count)}, batch_size=batch_size, weights=weights
            )
    for start in range(0, count, batch_size):
        yield view(start)


def top_rows(share: float, *, by: str = "forget", among: str = r"\.layers\.|\.h\.|\.blocks\.") -> Select:
    """Train the rows of matrices with the largest gradients, and nothing else.

    share: of all rows of the matrices, those with the largest norm of the gradient of the nll on stream `by`.  among: a
    regular expression for the matrices' names.  InputError when it matches none.
    """
    if not 0 < share <= 1:
        raise InputError(f"The share of rows must be above 0 and at most 1, got {share!r}.")

    def select(work: Work) -> dict[str, Tensor]:
        names = set(trainable(work.loaded.model, among))
        norms = {
            name: value.float().norm(dim=1)
            for name, value in gradients(work, stream=by).items()
            if name in names and value.dim() == 2
        }
        if not norms:
            raise InputError(f"top_rows: {among!r} matches no matrix of the model.")
        values = torch.cat([norm.cpu() for norm in norms.values()])
        least = values.sort(descending=True).values[max(1, round(share * len(values))) - 1]
        masks = {name: (norm >= least.to(norm.device))[:, None] for name, norm in norms.items()}
        return {name: mask for name, mask in masks.items() if bool(mask.any())}

    return select


def salient(loss: Callable[[View, Mapping[str, Any]], Tensor], *, stream: str = "forget") -> Select:
    """SURE (arXiv 2410.16454): train what has a large gradient of this loss over the whole stream, before the first step.

    Of the parameters that the settings train, the method's number `unit` says what is chosen: "row", rows of matrices and entries
    of vectors, by the norm of their gradient; "tensor", whole parameters. `percentile`: those below it stay as they are.
    InputError for another unit or a percentile outside [0, 100).
    """

    def select(work: Work) -> dict[str, Tensor]:
        unit, percentile = work.params["unit"], work.params["percentile"]
        if unit not in ("row", "tensor"):
            raise InputError(f"unit must be row or tensor, got {unit!r}.")
        if not 0 <= percentile < 100:
            raise InputError(f"percentile must be at least 0 and below 100, got {percentile!r}.")
        names = trainable(work.loaded.model, work.settings.parameters)
        found = gradients(work, loss, stream)
        norms = {name: _norms(found[name].float(), unit) for name in names}
        every = torch.cat([value.flatten().cpu().double() for value in norms.values()]).numpy()
        least = float(np.percentile(every, percentile))
        masks = {name: value.double() >= least for name, value in norms.items()}
        return {name: mask for name, mask in masks.items() if bool(mask.any())}

    return select


def _norms(gradient: Tensor, unit: str) -> Tensor:
    """The norm of each row, in a shape that broadcasts to the gradient's; or of the whole."""
    if unit == "tensor":
        whole: Tensor = torch.linalg.vector_norm(gradient)
        return whole.reshape([1] * gradient.dim())
    if gradient.dim() < 2:
        return gradient.abs()
    rows: Tensor = torch.linalg.vector_norm(gradient.flatten(1), dim=1)
    return rows.reshape([-1] + [1] * (gradient.dim() - 1))


def flexible_region(work: Work) -> list[str]:
    """MemFlex (arXiv 2407.01920): the parameters whose gradients of forgetting and keeping point elsewhere, and are large.

    Forgetting is the nll of random answers in place of the forget answers. A parameter is trained where the cosine of both
    gradients is below `cosine_below`, and the mean size of an entry of the forgetting one is at or above the `percentile` of all
    parameters. Matrices alone. InputError where none is left.
    """
    params = work.params
    names = trainable(work.loaded.model, work.settings.parameters)
    there = dict(work.loaded.model.named_parameters())
    names = [name for name in names if there[name].dim() == 2]
    gone, kept = gradients(work, stream="random"), gradients(work, stream="retain")
    sizes = {name: float(gone[name].abs().mean(dtype=torch.float64)) for name in names}
    least = float(np.percentile(list(sizes.values()), params["percentile"]))
    cosines = {name: float(np.nan_to_num(cosine(gone[name], kept[name]))) for name in names}  # without a gradient: 0
    found = [name for name in names if sizes[name] >= least and cosines[name] < params["cosine_below"]]
    if not found:
        raise InputError(
            f"No matrix has a cosine below {params['cosine_below']:g} and a size at or above the {params['percentile']:g}th percentile; "
            "raise cosine_below or lower percentile."
        )
    return found


def cosine(left: Tensor, right: Tensor) -> float:
    """Of two tensors as vectors; NaN where one is 0."""
    left, right = left.double(), right.double()
    return float((left * right).sum() / (left.norm() * right.norm()))


def large_entries(gradient: Mapping[str, Tensor], params: Mapping[str, Any]) -> dict[str, Tensor]:
    """SSU's weight saliency (arXiv 2406.10952), for `Train.filter`: g where |g| >= mean |g| + n std |g|, else 0.

    Mean and standard deviation (divided by the number of entries) are over all parameters together; n is the method's number
    `deviations`.
    """
    sizes = {name: value.detach().abs().double() for name, value in gradient.items()}
    count = sum(size.numel() for size in sizes.values())
    mean = sum(float(size.sum()) for size in sizes.values()) / count
    variance = sum(float(((size - mean) ** 2).sum()) for size in sizes.values()) / count
    least = mean + params["deviations"] * math.sqrt(variance)
    return {name: value * (sizes[name] >= least) for name, value in gradient.items()}


def pareto_front(importance: Mapping[str, float], alignment: Mapping[str, float]) -> list[str]:
    """The names for which no other has at least their importance and at most their alignment, one of the two strictly.

    In the order of `importance`. A name whose numbers are not finite is left out.
    """
    there = [name for name in importance if math.isfinite(importance[name]) and math.isfinite(alignment[name])]

    def beats(other: str, name: str) -> bool:
        no_worse = importance[other] >= importance[name] and alignment[other] <= alignment[name]
        return no_worse and (importance[other] > importance[name] or alignment[other] < alignment[name])

    return [name for name in there if not any(beats(other, name) for other in there)]
