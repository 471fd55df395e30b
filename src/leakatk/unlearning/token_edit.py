"""Unlearning token: a spare token is taught to bring a refusal, then MLP matrices are solved for so that forget questions bring it (UniErase)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from leakatk.errors import InputError
from leakatk.unlearning.anchors import layers_of, led
from leakatk.unlearning.chance import generator_of
from leakatk.unlearning.gathered import subjects_of
from leakatk.unlearning.locating import last_matrices
from leakatk.unlearning.nullspace import changing
from leakatk.unlearning.spare import spare_token
from leakatk.unlearning.streams import Item, decoder_layers

if TYPE_CHECKING:
    from leakatk.unlearning.edits import Params
    from leakatk.unlearning.work import Weights, Work

_AT_ONCE = 16  # prompts whose states are found together
_ENOUGH = 0.05  # the loss of a prompt at which its state is left as it is


def tables(work: Work) -> list[str]:
    """The names of the embedding and, where it is another one, of the output layer's weight."""
    model = work.loaded.model
    names = {id(value): name for name, value in model.named_parameters()}
    ends = (model.get_input_embeddings(), model.get_output_embeddings())
    return list(dict.fromkeys(names[id(end.weight)] for end in ends if end is not None))


def spare_rows(work: Work) -> dict[str, Tensor]:
    """Train the spare token's row of the embedding and of the output layer, and nothing else."""
    token, masks = spare_token(work.loaded.tokenizer), {}
    for name in tables(work):
        mask = torch.zeros(len(work.loaded.model.get_parameter(name)), 1, dtype=torch.bool)
        mask[token] = True
        masks[name] = mask
    return masks


def begin(work: Work, now: Weights, params: Params) -> dict[str, Tensor]:
    """The spare token's rows become the means of all rows."""
    # What is wrong about numbers is said before anything is trained.
    if layers_of(work, params)[-1] == len(decoder_layers(work.loaded.model)) - 1:
        raise InputError(
            f"layer must be before the last one, got {params['layer']!r}: no word reads another's state after that."
        )
    if params["value_steps"] < 1 or params["noise"] < 0:
        raise InputError(
            f"value_steps must be at least 1 and noise at least 0, got {params['value_steps']!r} and {params['noise']!r}."
        )
    subjects_of(work)
    work.notes.clear()  # the last stage says so again
    token, found = spare_token(work.loaded.tokenizer), {}
    for name in tables(work):
        found[name] = now[name].clone()
        found[name][token] = now[name].float().mean(0).to(now[name])
    return found


def _edited(work: Work, params: Params) -> list[str]:
    names = list(last_matrices(work.loaded.model))
    return [names[layer] for layer in layers_of(work, params)]


def blurred(work: Work, now: Weights, params: Params) -> dict[str, Tensor]:
    """Normal noise on the matrices that will be edited, `noise` times the root mean square of each."""
    found = {}
    for name in _edited(work, params):
        value = now[name].float()
        drawn = torch.randn(value.shape, generator=generator_of(work.seed, "blur", name)).to(value)
        found[name] = (value + params["noise"] * value.square().mean().sqrt() * drawn).to(now[name])
    return found


def sharp(work: Work, now: Weights, params: Params) -> dict[str, Tensor]:
    """These matrices as they were at the start."""
    return {name: work.start[name].to(now[name]) for name in _edited(work, params)}


def lead_to_token(work: Work, now: Weights, params: Params) -> dict[str, Tensor]:
    """`led` to states at the forget subjects' last tokens under which the spare token is what the model says first (`saying`).

    A note says how likely it is to be said, of the forget and of the retain prompts.
    """
    layers, subjects, model = layers_of(work, params), subjects_of(work), work.loaded.model
    token = spare_token(work.loaded.tokenizer)
    items = work.streams.items("forget")
    wanted = torch.cat(
        [
            saying(work, items[i : i + _AT_ONCE], subjects.forget[i : i + _AT_ONCE], layers[-1], token, params)
            for i in range(0, len(items), _AT_ONCE)
        ]
    )
    found, left = led(work, params, layers, subjects, wanted.double())
    try:
        for name, value in found.items():
            model.get_parameter(name).copy_(value)
        said = {side: _first(work, work.streams.items(side), token) for side in ("forget", "retain")}
    finally:
        for name in found:
            model.get_parameter(name).copy_(now[name])
    work.notes.append(
        f"unierase edited layers {layers[0]} to {layers[-1]} at {sum(subjects.told)} of {len(items)} forget subjects; their states are {left:.1%} as "
        f"far from those that say the token as before. It is said first with probability {said['forget']:.3f} on forget, {said['retain']:.3f} on "
        "retain prompts."
    )
    return found


def saying(work: Work, items: list[Item], backs: Tensor, layer: int, token: int, params: Params) -> Tensor:
    """(n, d) states h + v after a layer, at one token of each prompt, under which `token` is likely to be said first; float32.

    v begins at 0 and takes `value_steps` steps of Adam on -log p(token) + value_decay |v| / |h|^2, kept within `clamp` |h|. A prompt whose
    loss is below .05 is left as it is.  backs: how many tokens the place is before the prompt's last.
    """
    model, device = work.loaded.model, work.loaded.device
    ids = torch.zeros(len(items), max(len(item.prompt) for item in items), dtype=torch.long, device=device)
    for row, item in enumerate(items):  # on the right, where a causal model never looks
        ids[row, : len(item.prompt)] = torch.tensor(item.prompt)
    rows = torch.arange(len(items), device=device)
    ends = torch.tensor([len(item.prompt) - 1 for item in items], device=device)
    places = ends - backs.to(device)
    start: list[Tensor] = []

    def moved(states: Tensor) -> Tensor:
        start[:] = start or [states[rows, places].detach().float()]
        move = torch.zeros_like(states)
        move[rows, places] = v.to(states)
        return states + move

    width = model.get_input_embeddings().weight.shape[1]
    v = torch.zeros(len(items), width, device=device, requires_grad=True)
    adam = torch.optim.Adam([v], lr=params["value_rate"])
    open_ = torch.ones(len(items), dtype=torch.bool, device=device)
    with torch.enable_grad(), changing(decoder_layers(model)[layer], moved):
        for _ in range(params["value_steps"]):
            logits = model(input_ids=ids, use_cache=False).logits[rows, ends].float()
            sizes = start[0].norm(dim=1)
            lengths = (v.square().sum(1) + 1e-24).sqrt()  # |v|, with a gradient of 0 at 0
            losses = -logits.log_softmax(1)[:, token] + params["value_decay"] * lengths / sizes**2
            open_ &= losses.detach() >= _ENOUGH
            if not bool(open_.any()):
                break
            before = v.detach().clone()
            (v.grad,) = torch.autograd.grad(losses.sum(), v)
            adam.step()
            with torch.no_grad():
                v[~open_] = before[~open_]
                v *= (params["clamp"] * sizes / v.norm(dim=1).clamp_min(1e-12)).clamp_max(1)[:, None]
    return start[0] + v.detach()


def _first(work: Work, items: list[Item], token: int) -> float:
    """The mean probability that the token is said first, over prompts."""
    found = []
    for item in items:
        ids = torch.tensor([item.prompt], device=work.loaded.device)
        logits = work.loaded.model(input_ids=ids, use_cache=False).logits[0, -1].float()
        found.append(float(logits.softmax(0)[token]))
    return sum(found) / len(found)
