"""Learned loss: a small network whose descent on one prompt of a person should forget all of that person (MetaUnlearn)."""

from __future__ import annotations

import math
import random
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.attention import SDPBackend, sdpa_kernel

from leakatk.errors import InputError
from leakatk.prompts import Prompt
from leakatk.unlearning.batches import Item
from leakatk.unlearning.gathered import classes_of
from leakatk.unlearning.losses.targets import invented
from leakatk.unlearning.rehearsal.subjects import Forms
from leakatk.unlearning.streams import Given, Pair, decoder_layers, part_of, stream

if TYPE_CHECKING:
    from leakatk.unlearning.work import Weights, Work

Params = dict[str, Tensor]
Said = tuple[Tensor, Tensor]


@stream("retain_nobody", of="retain")
def made_up_subjects(prompts: Sequence[Prompt], given: Given) -> list[Pair]:
    """(x_r with an invented name in place of its subject, y_r); x_r itself where nothing tells the subject"""
    forms = Forms([prompt.question for prompt in given.retain])
    return [(invented(p, forms.subject(p), given.seed), p.answer) for p in prompts]


class LearnedLoss(nn.Module):
    """softplus(MLP(features of a token)), a mean over an answer's tokens and then over answers."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.network = nn.Sequential(
            nn.Linear(3, width), nn.GELU(), nn.Linear(width, width), nn.GELU(), nn.Linear(width, 1), nn.Softplus()
        )

    def forward(self, answers: Sequence[Said]) -> Tensor:
        return torch.stack([self.network(features(*answer)).mean() for answer in answers]).mean()


def features(labels: Tensor, logs: Tensor) -> Tensor:
    """(T, 3) of each token its log-probability, the largest of another one, and the entropy over that of a uniform draw.

    labels (T, 1) the tokens, logs (T, V) log-probabilities.
    """
    own = logs.gather(1, labels)
    other = logs.scatter(1, labels, -torch.inf).max(1, keepdim=True).values
    entropy = -(logs.exp() * logs).sum(1, keepdim=True) / math.log(logs.shape[1])
    return torch.cat([own, other, entropy], 1)


def said(model: nn.Module, theta: Mapping[str, Tensor], items: Sequence[Item]) -> list[Said]:
    """Of each item its answer's tokens (T, 1) and the log-probabilities there (T, V), under the model with these parameters."""
    device = next(model.parameters()).device
    width = max(len(item) for item in items)
    ids = torch.zeros((len(items), width), dtype=torch.long, device=device)
    mask = torch.zeros_like(ids)
    for row, item in enumerate(items):
        ids[row, : len(item)] = torch.tensor([*item.prompt, *item.answer])
        mask[row, : len(item)] = 1
    logits = functional_call(model, dict(theta), (), {"input_ids": ids, "attention_mask": mask}).logits
    found = []
    for row, item in enumerate(items):
        first, labels = len(item.prompt), torch.tensor(item.answer, device=device)[:, None]
        there = logits[row, first - 1 : first - 1 + len(labels)]
        found.append((labels, torch.log_softmax(there.to(torch.promote_types(there.dtype, torch.float32)), -1)))
    return found


def nll_of(answers: Sequence[Said]) -> Tensor:
    """Mean over answers of the mean -log p of their tokens."""
    return -torch.stack([logs.gather(1, labels).mean() for labels, logs in answers]).mean()


def descended(
    model: nn.Module, loss: LearnedLoss, theta: Params, support: Sequence[Item], steps: int, rate: float, *, graph: bool
) -> Params:
    """theta after so many steps of plain descent on the learned loss of the support. graph: with a gradient in the loss's own parameters."""
    for _ in range(steps):
        value = loss(said(model, theta, support))
        slopes = torch.autograd.grad(value, list(theta.values()), create_graph=graph)
        theta = {name: old - rate * slope for (name, old), slope in zip(theta.items(), slopes, strict=True)}
        if not graph:
            theta = {name: value.detach().requires_grad_(True) for name, value in theta.items()}
    return theta


def outer_loss(
    model: nn.Module, after: Params, gone: Sequence[Item], level: Tensor, kept: Sequence[Item], weight: float
) -> tuple[Tensor, Tensor]:
    """(|NLL(all of a person; after) - level|, that + weight NLL(others; after)). level: the NLL of what the model cannot know."""
    distance = (nll_of(said(model, after, gone)) - level).abs()
    return distance, distance + weight * nll_of(said(model, after, kept))


def by_learned_loss(work: Work, now: Weights, params: Mapping[str, Any]) -> dict[str, Tensor]:
    """Edit: learn the loss on simulated requests from the retain set, then descend on that of the real one.

    A request is a number of people, as many as are to be forgotten or half of those kept; its support `shots` prompts of each (0: all). The level
    is that of the same answers to questions about invented names, before the request. What is moved: the MLPs of the last `layers` layers.
    InputError for fewer than two people to keep, or a number below its least.
    """
    for name, least in (("shots", 0), ("layers", 1), ("meta_steps", 1), ("inner_steps", 1), ("batch", 1), ("width", 1)):
        if params[name] < least:
            raise InputError(f"{name} must be at least {least}, got {params[name]!r}.")
    model = work.loaded.model
    names = _moved(model, params["layers"])
    questions = [prompt.question for prompt in (*work.forget, *work.retain)]
    own, others = _people(classes_of(work.forget, questions)), _people(classes_of(work.retain, questions))
    if len(others) < 2:
        raise InputError(
            "A learned loss needs at least two people, or other sources, among the retain prompts to simulate requests with."
        )
    items = {stream: work.streams.items(stream) for stream in ("forget", "retain", "retain_nobody")}
    many = min(len(own), len(others) // 2)
    with torch.enable_grad(), sdpa_kernel(SDPBackend.MATH), torch.random.fork_rng(devices=[]):
        torch.manual_seed(work.seed)
        loss = LearnedLoss(params["width"]).to(work.loaded.device)
        optimiser = torch.optim.AdamW(loss.parameters(), lr=params["meta_rate"])
        start = {name: now[name].detach() for name in names}
        far: list[float] = []
        for step in range(params["meta_steps"]):
            draw = random.Random(f"{work.seed}/{step}/simulated request")
            people = draw.sample(sorted(others), many)
            rows = [row for person in people for row in others[person]]
            rest = [row for person, mine in others.items() if person not in people for row in mine]
            gone = draw.sample(rows, min(len(rows), params["batch"]))
            kept = draw.sample(rest, min(len(rest), params["batch"]))
            support = [
                items["retain"][row] for person in people for row in _shots(others[person], params["shots"], draw)
            ]
            theta = {name: value.clone().requires_grad_(True) for name, value in start.items()}
            with torch.no_grad():
                level = nll_of(said(model, start, [items["retain_nobody"][row] for row in gone]))
            after = descended(model, loss, theta, support, params["inner_steps"], params["inner_rate"], graph=True)
            distance, whole = outer_loss(
                model, after, [items["retain"][row] for row in gone], level, [items["retain"][row] for row in kept], params["keep_weight"]
            )  # fmt: skip
            optimiser.zero_grad()
            slopes = torch.autograd.grad(whole, list(loss.parameters()))
            for parameter, slope in zip(loss.parameters(), slopes, strict=True):
                parameter.grad = slope
            nn.utils.clip_grad_norm_(loss.parameters(), 1.0)
            optimiser.step()
            far.append(float(distance.detach()))
        draw = random.Random(f"{work.seed}/request")
        support = [items["forget"][row] for mine in own.values() for row in _shots(mine, params["shots"], draw)]
        theta = {name: value.clone().requires_grad_(True) for name, value in start.items()}
        after = descended(model, loss, theta, support, params["inner_steps"], params["inner_rate"], graph=False)
    tenth = max(1, len(far) // 10)
    work.notes.append(
        f"The loss was learned on {len(far)} simulated requests: NLL's distance from that of what cannot be known is "
        f"{sum(far[:tenth]) / tenth:.2f} at first and {sum(far[-tenth:]) / tenth:.2f} at last; {sum(v.numel() for v in start.values()):,} parameters are moved."
    )
    return {name: value.detach() for name, value in after.items()}


def _moved(model: nn.Module, layers: int) -> list[str]:
    there = decoder_layers(model)
    if layers > len(there):
        raise InputError(f"layers must be at most {len(there)} for this model, got {layers!r}.")
    mine = {id(one) for layer in there[len(there) - layers :] for one in part_of(layer, "mlp")[0].parameters()}
    return [name for name, parameter in model.named_parameters() if id(parameter) in mine]


def _people(classes: Sequence[str]) -> dict[str, list[int]]:
    found: dict[str, list[int]] = {}
    for row, name in enumerate(classes):
        found.setdefault(name, []).append(row)
    return found


def _shots(rows: Sequence[int], count: int, draw: random.Random) -> list[int]:
    return list(rows) if count == 0 else draw.sample(list(rows), min(count, len(rows)))
