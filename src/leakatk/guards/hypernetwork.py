"""Hypernetwork: it makes the adapter of each task from the task's embedding, and is told to make noise for a forgotten one (UnCLe)."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar, Self

from leakatk.errors import InputError
from leakatk.guards.adapters import _loss as answers_loss
from leakatk.guards.adapters import adapted, linear_layers, sizes
from leakatk.guards.base import Action, Floats
from leakatk.prompts import Known, Prompt

if TYPE_CHECKING:
    from torch import Tensor

    from leakatk.models.loaded import LoadedModel

_NETWORK = ("into", "into_bias", "out", "out_bias", "chunks")


def task_of(prompt: Prompt) -> str:
    """The task of a prompt: whom or what it is about, or else itself."""
    return prompt.source or prompt.id


def made(parts: Mapping[str, Tensor], tasks: Tensor) -> Tensor:
    """(t, n) H(e) of embeddings e (t, e): out tanh(into [e, c] + into_bias) + out_bias for every chunk's embedding c, one after the other."""
    import torch

    count, size = len(tasks), len(parts["chunks"])
    both = torch.cat([tasks[:, None].expand(count, size, -1), parts["chunks"][None].expand(count, size, -1)], dim=-1)
    hidden = (both @ parts["into"].T + parts["into_bias"]).tanh()
    return (hidden @ parts["out"].T + parts["out_bias"]).flatten(1)


def kept_apart(now: Tensor, before: Tensor) -> Tensor:
    """1 / t sum_i |H(e_i) - H_old(e_i)|^2 over other tasks (t, n); 0 without any."""
    return (now - before).square().sum() / max(len(now), 1)


def to_noise(now: Tensor, noise: Tensor) -> Tensor:
    """mean_j |H(e_f) - z_j|^2 of a task's (n,) weights and draws (draws, n). Its mean over draws is |H(e_f)|^2 and a constant."""
    return (now - noise).square().sum(-1).mean()


@dataclass(frozen=True)
class Tasks(Action):
    """Each task (a person, a document) has an adapter that one network makes from the task's embedding.

    The retain tasks are learned one after the other, then the forget tasks, each without the data of those before. Then the forget tasks are
    unlearned without any data. A prompt of no task is answered by the model itself. It is for a model that knows none of them.
    """

    needs: ClassVar[tuple[str, ...]] = ("forget", "retain")

    lora_rank: int = 8
    """Of the adapters: B A behind every linear layer, A drawn once, B made by the network."""
    hidden: int = 64
    embedding: int = 32
    """Entries of the embedding of a task, and of that of a chunk."""
    chunk: int = 512
    """Weights that the network makes at a time."""
    steps: int = 300
    """To learn a task."""
    rate: float = 0.01
    batch: int = 16
    beta: float = 0.1
    """Weight of what the network makes for other tasks staying as it is."""
    gamma: float = 0.01
    """Weight of the noise."""
    spread: float = 0.01
    """Standard deviation of the noise."""
    draws: int = 4
    """Draws of it a step."""
    burn_in: int = 100
    """Steps to unlearn a task."""
    train_seed: int = 0
    names: tuple[str, ...] = dataclasses.field(default=(), repr=False, compare=False)
    """The tasks, in the order in which they were learned."""
    gone: int = dataclasses.field(default=0, repr=False, compare=False)
    """How many of them, the last ones, were unlearned."""
    left: float = dataclasses.field(default=1.0, repr=False, compare=False)
    """|H(e_f)| after unlearning, of that before, mean over the forgotten tasks."""
    weights: Mapping[str, Floats] = dataclasses.field(default_factory=dict, repr=False, compare=False)
    """Of the network, and "tasks" (t, embedding)."""

    def __post_init__(self) -> None:
        if (
            min(
                self.lora_rank,
                self.hidden,
                self.embedding,
                self.chunk,
                self.steps,
                self.batch,
                self.draws,
                self.burn_in,
            )
            < 1
        ):
            raise InputError("Sizes, steps, draws and burn_in of a hypernetwork are at least 1.")
        if not (self.rate > 0 and self.beta >= 0 and self.gamma > 0 and self.spread >= 0):
            raise InputError("rate and gamma are above 0, beta and spread at least 0.")

    def fit(self, known: Known, loaded: LoadedModel | None) -> Self:
        known.need("A hypernetwork", *self.needs)
        if loaded is None:
            raise InputError(
                "A hypernetwork is trained in the model, which is not here; use --engine native or generate."
            )
        kept, gone = (dict.fromkeys(map(task_of, prompts)) for prompts in (known.retain, known.forget))
        if both := [name for name in gone if name in kept]:
            raise InputError(f"{both[0]!r} is a task of forget and of retain prompts; a task is forgotten as a whole.")
        prompts = [[p for p in (*known.retain, *known.forget) if task_of(p) == name] for name in (*kept, *gone)]
        return self._fitted(loaded, (*kept, *gone), prompts, len(gone))

    def _fitted(
        self, loaded: LoadedModel, names: tuple[str, ...], prompts: Sequence[Sequence[Prompt]], gone: int
    ) -> Self:
        import torch

        parts, tasks = self._fresh(loaded, len(names))
        flags = {name: value.requires_grad for name, value in loaded.model.named_parameters()}
        loaded.model.requires_grad_(False)
        try:
            with torch.enable_grad():
                for number, some in enumerate(prompts):
                    self._learn(loaded, parts, tasks, number, some)
                left = [self._unlearn(parts, tasks, number) for number in range(len(names) - gone, len(names))]
        finally:
            for name, value in loaded.model.named_parameters():
                value.requires_grad_(flags[name])
        found = {**parts, "tasks": tasks}
        arrays = {name: value.detach().cpu().double().numpy() for name, value in found.items()}
        return replace(self, names=names, gone=gone, left=sum(left) / max(gone, 1), weights=arrays)

    def _fresh(self, loaded: LoadedModel, count: int) -> tuple[dict[str, Tensor], Tensor]:
        import torch

        draw = torch.Generator().manual_seed(self.train_seed)
        total = sum(sizes(layer)[1] * self.lora_rank for layer in linear_layers(loaded.model).values())
        shapes = {
            "into": (self.hidden, 2 * self.embedding), "out": (self.chunk, self.hidden), "chunks": (-(-total // self.chunk), self.embedding),
        }  # fmt: skip
        scale = {"into": 1 / (2 * self.embedding) ** 0.5, "out": 0.01 / self.hidden**0.5, "chunks": 1.0}
        parts = {name: scale[name] * torch.randn(shape, generator=draw) for name, shape in shapes.items()}
        parts |= {"into_bias": torch.zeros(self.hidden), "out_bias": torch.zeros(self.chunk)}
        tasks = torch.randn((count, self.embedding), generator=draw)
        device = loaded.device
        return {name: parts[name].to(device).requires_grad_() for name in _NETWORK}, tasks.to(device).requires_grad_()

    def _pairs(self, loaded: LoadedModel, row: Tensor) -> list[list[tuple[Tensor, Tensor]]]:
        """The adapter (A, B) of each layer from what the network has made (n,)."""
        import torch

        draw = torch.Generator().manual_seed(self.train_seed + 1)
        found, at = [], 0
        for layer in linear_layers(loaded.model).values():
            entries, out = sizes(layer)
            down = torch.randn(self.lora_rank, entries, generator=draw) / entries**0.5
            up = row[at : at + out * self.lora_rank].reshape(out, self.lora_rank)
            found.append([(down.to(row), up)])
            at += out * self.lora_rank
        return found

    def _learn(
        self, loaded: LoadedModel, parts: dict[str, Tensor], tasks: Tensor, number: int, prompts: Sequence[Prompt]
    ) -> None:
        import numpy as np
        import torch

        from leakatk.models.token_stats import answer_pairs

        pairs = answer_pairs(loaded, [p.query for p in prompts], [p.answer for p in prompts])
        layers = list(linear_layers(loaded.model).values())
        before = made(parts, tasks[:number]).detach()
        optimiser = torch.optim.Adam([*parts.values(), tasks], lr=self.rate)
        order = np.random.default_rng([self.train_seed, number])
        fixed = tasks.detach().clone()
        for _ in range(self.steps):
            some = order.permutation(len(pairs))[: self.batch]
            with adapted(layers, self._pairs(loaded, made(parts, tasks[number : number + 1])[0])):
                loss = answers_loss(loaded, [pairs[i] for i in some])
            loss = loss + self.beta * kept_apart(made(parts, fixed[:number]), before)
            optimiser.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimiser.step()

    def _unlearn(self, parts: dict[str, Tensor], tasks: Tensor, number: int) -> float:
        """How much of the task's weights is left."""
        import torch

        fixed = tasks.detach().clone()
        others = [one for one in range(len(tasks)) if one != number]
        before, own = (
            made(parts, fixed[others]).detach(),
            float(made(parts, fixed[number : number + 1]).detach().norm()),
        )
        optimiser = torch.optim.Adam(list(parts.values()), lr=self.rate)
        draw = torch.Generator().manual_seed(self.train_seed + number)
        for _ in range(self.burn_in):
            now = made(parts, fixed)
            noise = self.spread * torch.randn((self.draws, now.shape[1]), generator=draw).to(now)
            loss = self.gamma * to_noise(now[number], noise) + self.beta * kept_apart(now[others], before)
            optimiser.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimiser.step()
        return float(made(parts, fixed[number : number + 1]).detach().norm()) / max(own, 1e-12)

    def group(self, loaded: LoadedModel, prompt: Prompt) -> object:
        """The number of its task, -1 for none."""
        name = task_of(prompt)
        return self.names.index(name) if name in self.names else -1

    def hooks(self, loaded: LoadedModel, prompts: Sequence[Prompt]) -> AbstractContextManager[None]:
        """prompts: of one group."""
        import torch

        number = int(str(self.group(loaded, prompts[0])))
        if number < 0:
            return nullcontext()
        parts = {name: torch.from_numpy(value).float().to(loaded.device) for name, value in self.weights.items()}
        row = made(parts, parts["tasks"][number : number + 1])[0]
        return adapted(list(linear_layers(loaded.model).values()), self._pairs(loaded, row))

    def describe(self) -> dict[str, Any]:
        return {**super().describe(), "tasks": len(self.names), "gone": self.gone, "left": round(self.left, 6)}
