"""Requests to forget: one after the other, each from where the last one ended; or each from the same start, and then fused."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from leakatk.errors import InputError
from leakatk.models.loaded import LoadedModel
from leakatk.models.weights import put
from leakatk.prompts import Prompt
from leakatk.runs.tracking import go_on
from leakatk.unlearning.method import Method
from leakatk.unlearning.record import Unlearned
from leakatk.unlearning.settings import OnCheck
from leakatk.unlearning.trainer import unlearn


def in_turn(
    loaded: LoadedModel,
    requests: Sequence[Sequence[Prompt]],
    retain: Sequence[Prompt],
    method: str | Method,
    *,
    out: str | Path | None = None,
    check: Callable[[Sequence[Prompt]], OnCheck | None] = lambda forget: None,
    on_done: Callable[[int, int, str], None] = lambda number, steps, stopped: None,
    **options: Any,
) -> list[Unlearned]:
    """Unlearn one forget set after the other, in place; a record for each.

    theta_t = method(theta_{t-1}, request t): the reference of each run, and other answers drawn from its set, are its own.
    out: a directory in which request t gets request-00t; a killed sequence goes on in the run where it was.
    check: forget set -> what its run is checked by.  on_done: called after each with its number (from 1), its steps and why it stopped.
    options: those of `unlearn`, the same for each.  Errors as there; InputError without a request.

    >>> from leakatk import load_model, load_prompts
    >>> prompts = load_prompts("forget.jsonl")
    >>> settings = TrainSettings(max_steps=1)
    >>> len(in_turn(load_model("models/mine"), [prompts[:2], prompts[2:]], [], "ga", settings=settings, quiet=True))
    2
    """
    done = []
    for number, (forget, place) in enumerate(_placed(requests, out), 1):
        go_on()
        done.append(unlearn(loaded, forget, retain, method, out=place, on_check=check(forget), **options))
        on_done(number, done[-1].steps, done[-1].stopped)
    return done


def split(prompts: Sequence[Prompt], count: int) -> list[list[Prompt]]:
    """So many requests of nearly equal size, in order. InputError for fewer prompts than requests, or no request.

    >>> [len(part) for part in split([Prompt(str(i), "?", "a") for i in range(5)], 2)]
    [3, 2]
    """
    if not 1 <= count <= len(prompts):
        raise InputError(
            f"{len(prompts)} prompts cannot be split into {count} requests; take between 1 and {len(prompts)}."
        )
    size, more = divmod(len(prompts), count)
    starts = [i * size + min(i, more) for i in range(count + 1)]
    return [list(prompts[a:b]) for a, b in pairwise(starts)]


def apart(
    loaded: LoadedModel,
    requests: Sequence[Sequence[Prompt]],
    retain: Sequence[Prompt],
    method: str | Method,
    *,
    ridge: float = 1e-3,
    out: str | Path | None = None,
    **options: Any,
) -> list[Unlearned]:
    """Unlearn each forget set from the same start, and fuse the models in place; a record for each.

    Every linear layer becomes the one that comes nearest to what each model's own does on the inputs of its own request (`regmean`);
    other parameters become the mean.  ridge: what is added to the diagonals of the inputs' products, times their mean.  A copy of the
    weights is held for each request, and a square matrix as wide as its inputs for each linear layer.  Errors as in `in_turn`.
    """
    model = loaded.model
    start = {name: value.detach().clone() for name, value in model.named_parameters()}
    done, weights, grams = [], [], []
    for forget, place in _placed(requests, out):
        put(model, start, partly=True)
        done.append(unlearn(loaded, forget, retain, method, out=place, **options))
        weights.append({name: value.detach().clone() for name, value in model.named_parameters()})
        grams.append(input_products(loaded, forget))
    put(model, fused(weights, grams, ridge), partly=True)
    return done


def _placed(requests: Sequence[Sequence[Prompt]], out: str | Path | None) -> list[tuple[Sequence[Prompt], Path | None]]:
    if not requests:
        raise InputError("There is no request; give at least one set of forget prompts.")
    return [
        (forget, None if out is None else Path(out) / f"request-{number:03d}")
        for number, forget in enumerate(requests, 1)
    ]


@torch.no_grad()
def input_products(loaded: LoadedModel, prompts: Sequence[Prompt]) -> dict[str, Tensor]:
    """X'X of what goes into each linear layer on the questions and answers, by the name of its weight; float64."""
    found: dict[str, Tensor] = {}

    def hook(name: str) -> Any:
        def add(module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
            rows = inputs[0].flatten(0, -2).double()
            found[name] = found.get(name, 0) + rows.T @ rows

        return add

    layers = {name: one for name, one in loaded.model.named_modules() if isinstance(one, nn.Linear)}
    handles = [layer.register_forward_pre_hook(hook(f"{name}.weight")) for name, layer in layers.items()]
    try:
        for prompt in prompts:
            seam = loaded.template.pair(loaded.tokenizer, prompt.question, prompt.answer)
            loaded.model(input_ids=torch.tensor([[*seam.prompt, *seam.answer]], device=loaded.device))
    finally:
        for handle in handles:
            handle.remove()
    return found


def fused(
    weights: Sequence[Mapping[str, Tensor]], grams: Sequence[Mapping[str, Tensor]], ridge: float
) -> dict[str, Tensor]:
    """`regmean` of every parameter that has products, the mean of the others."""
    return {
        name: regmean([one[name] for one in weights], [one[name] for one in grams], ridge)
        if name in grams[0]
        else torch.stack([one[name] for one in weights]).mean(0)
        for name in weights[0]
    }


def regmean(weights: Sequence[Tensor], grams: Sequence[Tensor], ridge: float = 0.0) -> Tensor:
    """RegMean (arXiv 2212.09849): the (o, i) matrix W that minimises sum_i |X_i W' - X_i W_i'|^2, given X_i'X_i.

    W' = (sum_i G_i)^-1 sum_i G_i W_i', with `ridge` times the mean of its diagonal added to that of each G_i.
    """
    eye = torch.eye(grams[0].shape[0], dtype=torch.float64, device=grams[0].device)
    firm = [gram + ridge * gram.diagonal().mean() * eye for gram in grams]
    right = sum(gram @ weight.T.double() for gram, weight in zip(firm, weights, strict=True))
    solved: Tensor = torch.linalg.solve(sum(firm), right)
    return solved.T.to(weights[0])
