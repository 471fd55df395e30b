"""Adapters of requests: a low-rank one for each, orthogonal to those before it, added to the model as far as a prompt calls for it."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np

from leakatk.errors import InputError
from leakatk.guards.base import _DIGITS as SCORE_DIGITS
from leakatk.guards.base import Action, Detector
from leakatk.guards.inliers import Requests
from leakatk.guards.requests import Learned, continued, requests_of
from leakatk.prompts import Known, Prompt

if TYPE_CHECKING:
    from torch import Tensor, nn

    from leakatk.models.loaded import LoadedModel

DIGITS = 2  # of a weight: prompts of equal weights are computed together


def linear_layers(model: nn.Module) -> dict[str, nn.Module]:
    """The linear layers of the blocks, by name; the output head is none of them."""
    from torch import nn
    from transformers.pytorch_utils import Conv1D

    from leakatk.models.layers import decoder_layers

    inside = {id(module) for module in decoder_layers(model).modules()}
    return {
        name: module
        for name, module in model.named_modules()
        if id(module) in inside and isinstance(module, nn.Linear | Conv1D)
    }


def sizes(layer: Any) -> tuple[int, int]:
    """(entries in, entries out) of a linear layer; GPT-2's Conv1D keeps its weight the other way round."""
    rows, columns = layer.weight.shape
    return (rows, columns) if type(layer).__name__ == "Conv1D" else (columns, rows)


@contextmanager
def adapted(layers: Sequence[nn.Module], pairs: Sequence[Sequence[tuple[Tensor, Tensor]]]) -> Iterator[None]:
    """While inside, each layer gives base(x) + sum of x A' B' over its pairs (A (r, in), B (out, r))."""
    with ExitStack() as stack:
        for layer, own in zip(layers, pairs, strict=True):

            def add(_: Any, given: tuple[Any, ...], out: Tensor, own: Sequence[tuple[Tensor, Tensor]] = own) -> Tensor:
                for down, up in own:
                    out = out + (given[0].to(down) @ down.T @ up.T).to(out)
                return out

            handle = layer.register_forward_hook(add)
            stack.callback(handle.remove)
        yield


@dataclass(frozen=True)
class Adapters(Action):
    """Each request has a LoRA adapter that answers its prompts otherwise; it is added with the weight that the detector gives it.

    Requests are learned one after the other. All before stay as they are, and are off while the next one is trained.
    """

    needs: ClassVar[tuple[str, ...]] = ("forget",)

    lora_rank: int = 8
    alpha: float = 16.0
    """The adapter counts alpha / lora_rank times."""
    apart: float = 0.1
    """Weight of the penalty on what an adapter shares with earlier ones."""
    steps: int = 60
    """Training steps for each request."""
    rate: float = 0.003
    batch: int = 16
    """Prompts a step."""
    say: str = ""
    """What prompts are answered with; "" is the answer of another prompt of the request, drawn for each."""
    train_seed: int = 0
    hashes: tuple[str, ...] = dataclasses.field(default=(), repr=False, compare=False)
    """Of the prompts of each request that it knows."""
    learned: tuple[Learned, ...] = dataclasses.field(default=(), repr=False, compare=False)
    """Of each request: A and B of each linear layer in turn, B times alpha / lora_rank."""
    inside: Requests | None = dataclasses.field(default=None, repr=False, compare=False)
    """The detector; set by `beside`."""
    prompts: tuple[Prompt, ...] = dataclasses.field(default=(), repr=False, compare=False)
    """What is to be learned; none once it is."""

    def __post_init__(self) -> None:
        if self.lora_rank < 1 or self.steps < 1 or self.batch < 1 or not (self.rate > 0 and self.apart >= 0):
            raise InputError("lora_rank, steps and batch are at least 1, rate is above 0 and apart at least 0.")

    def fit(self, known: Known, loaded: LoadedModel | None) -> Self:
        """What is learned is learned in `beside`: the detector says which prompts are one request."""
        known.need("An adapter for each request", *self.needs)
        return replace(self, prompts=known.forget)

    def beside(self, detector: Detector) -> Self:
        """InputError for another detector than `Requests`."""
        if not isinstance(detector, Requests):
            raise InputError(
                f"Adapters are switched on by a Requests detector, which knows the requests, not by {type(detector).__name__}."
            )
        made = replace(self, inside=detector, prompts=())
        if not self.prompts:
            return made
        requests = requests_of(self.prompts, detector.requests)
        hashes, learned = continued(self.hashes, self.learned, requests, made._learn)
        return replace(made, hashes=hashes, learned=learned)

    def _learn(self, prompts: Sequence[Prompt], before: Sequence[Learned]) -> Learned:
        """Cross-entropy of other answers + apart / layers sum |A_old A_new'|^2 over earlier adapters and linear layers."""
        import torch

        from leakatk.models.token_stats import answer_pairs

        assert self.inside is not None
        loaded = self.inside._model
        pairs = answer_pairs(loaded, [prompt.query for prompt in prompts], self._answers(prompts))
        layers = self.places(loaded.model)
        draw = torch.Generator().manual_seed(self.train_seed)
        scale = self.alpha / self.lora_rank
        own = []
        for layer in layers.values():
            entries, out = self.widths(layer)
            down = torch.randn(self.lora_rank, entries, generator=draw) / entries**0.5
            own += [down.to(loaded.device), torch.zeros(out, self.lora_rank, device=loaded.device)]
        own = [one.requires_grad_() for one in own]
        downs, ups = own[::2], own[1::2]
        earlier = [
            [(self._there(parts[2 * i], loaded), self._there(parts[2 * i + 1], loaded)) for parts in before]
            for i in range(len(layers))
        ]
        optimiser = torch.optim.AdamW(own, lr=self.rate, weight_decay=0.0)
        flags = {name: value.requires_grad for name, value in loaded.model.named_parameters()}
        loaded.model.requires_grad_(False)
        order = np.random.default_rng(self.train_seed)
        try:
            with torch.enable_grad():
                for _ in range(self.steps):
                    some = order.permutation(len(pairs))[: self.batch]
                    new = [(a, scale * b) for a, b in zip(downs, ups, strict=True)]
                    with self.added(list(layers.values()), [[one] for one in new]):
                        loss = _loss(loaded, [pairs[i] for i in some])
                    loss = loss + self.penalty(new, earlier)
                    optimiser.zero_grad()
                    loss.backward()  # type: ignore[no-untyped-call]
                    optimiser.step()
        finally:
            for name, value in loaded.model.named_parameters():
                value.requires_grad_(flags[name])
        found = [part.detach().cpu().double().numpy() for part in own]
        return tuple(part * (scale if i % 2 else 1.0) for i, part in enumerate(found))

    def places(self, model: nn.Module) -> dict[str, nn.Module]:
        """The layers that have an adapter, by name."""
        return linear_layers(model)

    def widths(self, layer: Any) -> tuple[int, int]:
        """(entries that A reads, entries that B gives) at a layer."""
        return sizes(layer)

    def added(
        self, layers: Sequence[nn.Module], pairs: Sequence[Sequence[tuple[Tensor, Tensor]]]
    ) -> AbstractContextManager[None]:
        """While inside, each layer has its pairs (A, B)."""
        return adapted(layers, pairs)

    def penalty(
        self, new: Sequence[tuple[Tensor, Tensor]], earlier: Sequence[Sequence[tuple[Tensor, Tensor]]]
    ) -> Tensor | float:
        """What is added to the loss of a request: the pair of each layer, and those of earlier requests there."""
        shared = [
            (old @ down.T).square().sum() for (down, _), olds in zip(new, earlier, strict=True) for old, _ in olds
        ]
        return self.apart * sum(shared[1:], shared[0]) / len(new) if shared else 0.0

    def _there(self, part: Any, loaded: LoadedModel) -> Tensor:
        import torch

        return torch.as_tensor(part, dtype=torch.float32, device=loaded.device)

    def _answers(self, prompts: Sequence[Prompt]) -> list[str]:
        from leakatk.unlearning.losses.targets import random_answers, refusals

        if self.say:
            return [self.say] * len(prompts)
        pool = [prompt.answer for prompt in prompts]
        if len(set(pool)) < 2:
            return refusals(prompts, self.train_seed)
        return random_answers(prompts, pool, self.train_seed)

    def group(self, loaded: LoadedModel, prompt: Prompt) -> tuple[float, ...]:
        """The weight of each request's adapter; 0 below the detector's threshold."""
        assert self.inside is not None
        [found] = self.inside.weights([prompt])
        on = np.round(found, SCORE_DIGITS) >= self.inside.limit
        return tuple(float(one) for one in np.where(on, np.round(found, DIGITS), 0.0))

    def hooks(self, loaded: LoadedModel, prompts: Sequence[Prompt]) -> AbstractContextManager[None]:
        """prompts: of one group."""
        weights = self.group(loaded, prompts[0])
        layers = list(self.places(loaded.model).values())
        made: list[list[tuple[Tensor, Tensor]]] = [[] for _ in layers]
        for weight, parts in zip(weights, self.learned, strict=True):
            if weight:
                own = [self._there(part, loaded) for part in parts]
                for i, pairs in enumerate(made):
                    pairs.append((own[2 * i], weight * own[2 * i + 1]))
        return self.added(layers, made)


def _loss(loaded: LoadedModel, pairs: Sequence[tuple[Sequence[int], Sequence[int]]]) -> Tensor:
    """Mean cross-entropy of the answers' tokens."""
    import torch

    width = max(len(asked) + len(answer) for asked, answer in pairs)
    ids = torch.zeros((len(pairs), width), dtype=torch.long)
    mask, wanted = torch.zeros_like(ids), torch.full_like(ids, -100)
    for row, (asked, answer) in enumerate(pairs):
        whole = len(asked) + len(answer)
        ids[row, :whole] = torch.tensor([*asked, *answer])
        mask[row, :whole] = 1
        wanted[row, len(asked) : whole] = ids[row, len(asked) : whole]
    device = loaded.device
    logits = loaded.model(input_ids=ids.to(device), attention_mask=mask.to(device), use_cache=False).logits
    found: Tensor = torch.nn.functional.cross_entropy(
        logits[:, :-1].flatten(0, 1).float(), wanted[:, 1:].flatten().to(device)
    )
    return found
