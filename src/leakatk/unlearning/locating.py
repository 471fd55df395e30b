"""Locating what holds a fact: neurons of MLPs, by what they write or by what they do to an answer's probability.

Neuron j of a layer's MLP is entry j of what goes into its last matrix; what it writes is column j of that matrix.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from leakatk.errors import InputError
from leakatk.unlearning.selection import views
from leakatk.unlearning.streams import decoder_layers, part_of

if TYPE_CHECKING:
    from leakatk.unlearning.work import Weights, Work


def last_matrices(model: nn.Module) -> dict[str, tuple[nn.Module, bool]]:
    """The weight's name of each layer's last MLP matrix -> (its module, whether it keeps (in, out), as GPT-2's does)."""
    names = {id(module): name for name, module in model.named_modules()}
    found = {}
    for layer in decoder_layers(model):
        module, _ = part_of(layer, "mlp_in")
        found[f"{names[id(module)]}.weight"] = (module, not isinstance(module, nn.Linear))
    return found


def _column(shape: torch.Size, turned: bool, chosen: Tensor) -> Tensor:
    """A mask of a matrix that is true in the columns of the chosen neurons (m,)."""
    return (chosen[:, None] if turned else chosen[None, :]).expand(shape)


# -- by what it writes: ConceptVectors


def concept_neuron(work: Work) -> tuple[str, int]:
    """The neuron whose column names the concept: of the `top` tokens that it makes likelier most belong to the forget answers' facts,
    or to the answers where they have none. Of several the one that raises these tokens most. From the weights at the start.

    InputError where no neuron names a token of it.
    """
    model, top = work.loaded.model, work.params["top"]
    words = sorted({fact for prompt in work.forget for fact in prompt.facts or (prompt.answer,)})
    tokenizer = work.loaded.tokenizer
    ids = {
        int(i)
        for word in words
        for text in (word, f" {word}")
        for i in tokenizer(text, add_special_tokens=False)["input_ids"]
    }
    concept = torch.tensor(sorted(ids))
    output = model.get_output_embeddings().weight.detach().float()
    best: tuple[int, float, str, int] | None = None
    for name, (_, turned) in last_matrices(model).items():
        weight = work.start[name].to(output.device).float()
        raised = output @ (weight.T if turned else weight)  # (V, m)
        named = torch.isin(raised.topk(min(top, len(raised)), dim=0).indices, concept.to(output.device)).sum(0)
        mean = raised[concept.to(output.device)].mean(0)
        for j in (named == named.max()).nonzero().flatten().tolist():
            key = (int(named[j]), float(mean[j]), name, j)
            best = key if best is None or key[:2] > best[:2] else best
    if best is None or not best[0]:
        raise InputError(f"No neuron names a token of what is to be forgotten among its {top} likeliest; raise top.")
    return best[2], best[3]


def blur_neuron(work: Work, now: Weights, params: Any) -> dict[str, Tensor]:
    """Needle's first half (arXiv 2406.11614): the concept neuron's column plus `noise` times standard normal draws."""
    name, neuron = concept_neuron(work)
    turned = last_matrices(work.loaded.model)[name][1]
    value = now[name].clone()
    column = value[neuron] if turned else value[:, neuron]
    drawn = torch.randn(column.shape, generator=torch.Generator().manual_seed(work.seed)).to(value)
    column += params["noise"] * drawn
    work.notes.append(f"needle changed neuron {neuron} of {name}.")
    return {name: value}


def that_neuron(work: Work) -> dict[str, Tensor]:
    """Train the concept neuron's column alone."""
    name, neuron = concept_neuron(work)
    turned = last_matrices(work.loaded.model)[name][1]
    shape = work.start[name].shape
    chosen = torch.zeros(shape[0] if turned else shape[1], dtype=torch.bool)
    chosen[neuron] = True
    return {name: _column(shape, turned, chosen)}


# -- by what it does: KLUE


def attributions(work: Work, stream: str) -> dict[str, Tensor]:
    """(m,) for the last MLP matrix of each layer: the sum over tokens of a dP/da, a the activation, P the probability
    exp(mean log p(y_t)); the mean over the stream's prompts.
    """
    model = work.loaded.model
    total: dict[str, Tensor] = {}
    flags = {name: value.requires_grad for name, value in model.named_parameters()}
    model.requires_grad_(True).eval()
    count = 0
    with torch.enable_grad():
        for view in views(work, stream):
            with _inputs(model) as seen:
                torch.autograd.backward(view.mean_logprob.exp().sum())
            model.zero_grad()
            count += len(view.rows)
            for name, values in seen.items():
                for a in values:
                    moved = (a.detach() * a.grad).double().flatten(0, -2).sum(0)  # type: ignore[operator]
                    total[name] = total.get(name, 0) + moved
    for name, value in model.named_parameters():
        value.requires_grad_(flags[name])
    return {name: value / count for name, value in total.items()}


@contextmanager
def _inputs(model: nn.Module) -> Iterator[dict[str, list[Tensor]]]:
    """What goes into each layer's last MLP matrix within the block, a tensor a pass; each keeps its gradient."""
    seen: dict[str, list[Tensor]] = {}

    def hook(name: str) -> Any:
        def keep(module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
            inputs[0].retain_grad()
            seen.setdefault(name, []).append(inputs[0])

        return keep

    handles = [module.register_forward_pre_hook(hook(name)) for name, (module, _) in last_matrices(model).items()]
    try:
        yield seen
    finally:
        for handle in handles:
            handle.remove()


def knowing_neurons(work: Work) -> dict[str, Tensor]:
    """KLUE: train the columns of the `percent` of all neurons that do most for the forget answers, less `superficial` times what they do
    for the same answers to other forget questions.

    InputError for a percentage outside (0, 100].
    """
    params = work.params
    if not 0 < params["percent"] <= 100:
        raise InputError(f"percent must be above 0 and at most 100, got {params['percent']!r}.")
    own, other = attributions(work, "forget"), attributions(work, "misasked")
    scores = {name: value - params["superficial"] * other[name] for name, value in own.items()}
    every = torch.cat([value.cpu() for value in scores.values()])
    least = float(np.sort(every.numpy())[::-1][max(1, round(params["percent"] / 100 * len(every))) - 1])
    matrices, masks = last_matrices(work.loaded.model), {}
    for name, value in scores.items():
        if bool((value >= least).any()):
            masks[name] = _column(work.loaded.model.get_parameter(name).shape, matrices[name][1], value >= least)
    return masks


# -- along a path: SIMU


def integrated_attributions(work: Work, stream: str, parts: int) -> dict[str, Tensor]:
    """(m,) for the last MLP matrix of each layer: a times the mean of dP/da at 1/parts, 2/parts, ... 1 times a, summed over tokens; P
    the sum of the probabilities of an answer's tokens. One layer is scaled at a time, all its neurons together; the mean over prompts.
    """
    model = work.loaded.model
    flags = {name: value.requires_grad for name, value in model.named_parameters()}
    model.requires_grad_(False).eval()
    found: dict[str, Tensor] = {}
    for name, (module, _) in last_matrices(model).items():
        total, count = torch.zeros((), dtype=torch.float64), 0
        for part in range(1, parts + 1):
            for view in views(work, stream):
                with _scaled(module, part / parts) as seen, torch.enable_grad():
                    said = (view.token_logprob.exp() * view.mask).sum()
                    slopes = torch.autograd.grad(said, [scaled for _, scaled in seen])
                for (plain, _), slope in zip(seen, slopes, strict=True):
                    total = total + (plain.double() * slope.double()).flatten(0, -2).sum(0) / parts
                count += len(view.rows) if part == 1 else 0
        found[name] = total / count
    for name, value in model.named_parameters():
        value.requires_grad_(flags[name])
    return found


@contextmanager
def _scaled(module: nn.Module, share: float) -> Iterator[list[tuple[Tensor, Tensor]]]:
    """Within the block a module gets `share` times its input; (the input, what it got) of each pass, the latter with a gradient."""
    seen: list[tuple[Tensor, Tensor]] = []

    def scale(_module: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        plain = inputs[0].detach()
        scaled = (share * plain).requires_grad_(True)
        seen.append((plain, scaled))
        return (scaled, *inputs[1:])

    handle = module.register_forward_pre_hook(scale)
    try:
        yield seen
    finally:
        handle.remove()


def critical_neurons(work: Work) -> dict[str, Tensor]:
    """SIMU: train the columns of each layer's neurons whose attribution is above `threshold` times the layer's largest, and the attention.

    InputError for a threshold outside [0, 1) or no part.
    """
    params = work.params
    if not 0 <= params["threshold"] < 1 or params["parts"] < 1:
        raise InputError(
            f"threshold must be at least 0 and below 1 and parts at least 1, got {params['threshold']!r} and {params['parts']!r}."
        )
    model = work.loaded.model
    matrices, masks = last_matrices(model), {}
    for name, value in integrated_attributions(work, "forget", params["parts"]).items():
        chosen = value > params["threshold"] * value.max()
        if bool(chosen.any()):
            masks[name] = _column(model.get_parameter(name).shape, matrices[name][1], chosen)
    every = torch.ones(1, dtype=torch.bool)
    for layer in decoder_layers(model):
        attention, _ = part_of(layer, "attention")
        mine = {id(parameter) for parameter in attention.parameters()}
        masks |= {name: every for name, parameter in model.named_parameters() if id(parameter) in mine}
    return masks
