"""Triage: which forget prompts say what others have said, how much each matters, and which layers hold them (FIT)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

from leakatk.errors import InputError
from leakatk.unlearning.losses.distill import kls_from
from leakatk.unlearning.losses.preference import npo
from leakatk.unlearning.losses.terms import Params
from leakatk.unlearning.selection import views
from leakatk.unlearning.streams import decoder_layers, part_of
from leakatk.unlearning.view import View, each_answer

if TYPE_CHECKING:
    from leakatk.unlearning.work import Work

DROPPED, LOW, MIDDLE, HIGH = range(4)
_LEVELS: WeakKeyDictionary[Any, list[int]] = WeakKeyDictionary()


def sort_and_select(work: Work) -> list[str]:
    """FIT, before its first step: sort the forget prompts, and choose the attention and MLPs of the `layers` layers that hold them.

    A note says how many prompts are in each class and which layers are trained. InputError for a number of layers that the model lacks.
    """
    count = len(decoder_layers(work.loaded.model))
    if not 1 <= work.params["layers"] <= count:
        raise InputError(f"layers must be between 1 and {count} for this model, got {work.params['layers']!r}.")
    found = _LEVELS[work.streams] = levels(work)
    scores = layer_scores(work)
    chosen = sorted(scores.argsort(descending=True, stable=True)[: work.params["layers"]].tolist())
    sizes = [found.count(level) for level in (DROPPED, LOW, MIDDLE, HIGH)]
    work.notes.append(
        "fit drops {} of the forget prompts as said before; {} matter little, {} more, {} most. Trained layers: {}.".format(
            *sizes, ", ".join(map(str, chosen))
        )
    )
    model, mine = work.loaded.model, set()
    for layer in chosen:
        for part in ("attention", "mlp"):
            mine |= {id(one) for one in part_of(decoder_layers(model)[layer], part)[0].parameters()}
    return [name for name, parameter in model.named_parameters() if id(parameter) in mine]


def levels(work: Work) -> list[int]:
    """DROPPED for a prompt that an earlier one says; else LOW, MIDDLE or HIGH, thirds by `importance`.

    Said: the cosine with one kept before is above `alike`, and its nll changes by at most `tolerance` where that one stands before it.
    """
    states, losses, params = mean_states(work), plain_losses(work, "forget"), work.params
    kept: list[int] = []
    found = [DROPPED] * len(states)
    for row in range(len(states)):
        near = [other for other in kept if float(states[row] @ states[other]) > params["alike"]]
        if not any(abs(_loss_behind(work, row, other) - losses[row]) <= params["tolerance"] for other in near):
            kept.append(row)
    matter = importance(work)
    for rank, row in enumerate(sorted(kept, key=lambda row: (matter[row], row))):
        found[row] = (LOW, MIDDLE, HIGH)[3 * rank // len(kept)]
    return found


def mean_states(work: Work) -> Tensor:
    """(n, d) the mean last state of each forget prompt's question and answer, of length 1."""
    found = []
    with torch.no_grad():
        for view in views(work, "forget"):
            states, mask = view.hidden(-1).float(), view.positions("all")
            found.append((states * mask[..., None]).sum(1) / mask.sum(1, keepdim=True))
    return torch.nn.functional.normalize(torch.cat(found), dim=-1)


def plain_losses(work: Work, stream: str) -> list[float]:
    """The nll of each prompt's answer, a mean over its tokens."""
    with torch.no_grad():
        return [-float(value) for view in views(work, stream) for value in view.mean_logprob]


def _loss_behind(work: Work, row: int, before: int) -> float:
    """The nll of a forget answer where another question and answer stand before its own question."""
    items, device = work.streams.items("forget"), work.loaded.device
    first, item = items[before], items[row]
    ids = torch.tensor([[*first.prompt, *first.answer, *item.prompt, *item.answer]], device=device)
    with torch.no_grad():
        logits = work.loaded.model(input_ids=ids).logits[0, -len(item.answer) - 1 : -1].float()
    return float(torch.nn.functional.cross_entropy(logits, torch.tensor(item.answer, device=device)))


def importance(work: Work) -> list[float]:
    """Of each forget prompt the norm of the gradient of its nll in the embeddings of its tokens."""
    model = work.loaded.model
    flags = {name: value.requires_grad for name, value in model.named_parameters()}
    model.requires_grad_(False).eval()
    found: list[float] = []
    seen: list[Tensor] = []

    def keep(_module: nn.Module, _inputs: object, output: Tensor) -> Tensor:
        seen.append(output.detach().requires_grad_(True))
        return seen[-1]

    handle = model.get_input_embeddings().register_forward_hook(keep)
    try:
        for view in views(work, "forget", batch_size=1):
            seen.clear()
            with torch.enable_grad():
                (slope,) = torch.autograd.grad(-view.mean_logprob.sum(), seen)
            found.append(float(slope.double().norm()))
    finally:
        handle.remove()
    for name, value in model.named_parameters():
        value.requires_grad_(flags[name])
    return found


def layer_scores(work: Work) -> Tensor:
    """(layers,) how much the nll of the forget answers changes where a layer is skipped, on average."""
    whole = torch.tensor(plain_losses(work, "forget"))
    found = []
    for layer in decoder_layers(work.loaded.model):
        with _skipped(layer):
            found.append((torch.tensor(plain_losses(work, "forget")) - whole).abs().mean())
    return torch.stack(found)


@contextmanager
def _skipped(layer: nn.Module) -> Iterator[None]:
    def skip(_module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> Any:
        states = args[0] if args else kwargs["hidden_states"]
        return (states, *output[1:]) if isinstance(output, tuple) else states

    handle = layer.register_forward_hook(skip, with_kwargs=True)
    try:
        yield
    finally:
        handle.remove()


def _share(view: View, *wanted: int) -> Tensor:
    """(B,) 1 for the batch's prompts of these classes; before they are sorted, for all."""
    found = _LEVELS.get(view.step.streams)
    chosen = [1.0 if found is None else float(found[row] in wanted) for row in view.rows]
    return torch.tensor(chosen, device=view.labels.device)


@each_answer
def by_class(forget: View, random: View, p: Params) -> Tensor:
    """FIT's forget loss, of each prompt by its class: LOW the nll of another prompt's answer, MIDDLE and HIGH NPO, DROPPED nothing."""
    away = _share(forget, MIDDLE, HIGH)
    gaps = [npo(one, ref, p["beta"]) for one, ref in zip(forget.logprob, forget.reference.logprob, strict=True)]
    other = _share(random, LOW)
    return (away * torch.stack(gaps) - other * random.mean_logprob).mean()


def kept_by_class(retain: View, forget: View, p: Params) -> Tensor:
    """FIT's retain loss: <KL(p_ref || p)>, times the share of HIGH prompts in the step's forget batch."""
    values = retain.mean(retain.of_tokens(kls_from, retain.reference))
    return _share(forget, HIGH).mean() * values
