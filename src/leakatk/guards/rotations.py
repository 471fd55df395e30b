"""Rotations of requests: one for each, about an axis of its own, by as much as a prompt calls for (RCU)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from leakatk.errors import InputError
from leakatk.guards.adapters import Adapters, linear_layers, sizes

if TYPE_CHECKING:
    from torch import Tensor, nn

_TINY = 1e-12


def attention_layers(model: nn.Module) -> dict[str, nn.Module]:
    """The linear layers of the attention, by name. InputError for a model whose attention is not called so."""
    found = {name: layer for name, layer in linear_layers(model).items() if "att" in name.rpartition(".")[0].lower()}
    if not found:
        raise InputError("RCU turns the attention layers, and no module of this model is called attention or attn.")
    return found


@contextmanager
def turned(layers: Sequence[nn.Module], pairs: Sequence[Sequence[tuple[Tensor, Tensor]]]) -> Iterator[None]:
    """While inside, each layer gives y + sum of y A' B' over its pairs (A (r, out), B (out, r)), y = W x without its bias."""
    with ExitStack() as stack:
        for layer, own in zip(layers, pairs, strict=True):

            def turn(module: Any, _: Any, out: Tensor, own: Sequence[tuple[Tensor, Tensor]] = own) -> Tensor:
                plain = out if getattr(module, "bias", None) is None else out - module.bias
                for down, up in own:
                    out = out + (plain.to(down) @ down.T @ up.T).to(out)
                return out

            stack.callback(layer.register_forward_hook(turn).remove)
        yield


def product(left: tuple[Tensor, Tensor], right: tuple[Tensor, Tensor]) -> Tensor:
    """<B1 A1, B2 A2>, without the (out, out) matrices."""
    (a, b), (c, d) = left, right
    return ((b.T @ d) * (a @ c.T)).sum()


def symmetric(pair: tuple[Tensor, Tensor]) -> Tensor:
    """|C + C'|^2 = 2 |C|^2 + 2 tr(C C), C = B A: 0 for a skew one, which turns and neither stretches nor mirrors."""
    down, up = pair
    inner = down @ up
    return 2 * product(pair, pair) + 2 * (inner * inner.T).sum()


def alignment(pair: tuple[Tensor, Tensor], earlier: tuple[Tensor, Tensor]) -> Tensor:
    """|<C, C_old>| / (|C| |C_old|): 0 for orthogonal axes."""
    length = (product(pair, pair) * product(earlier, earlier)).clamp_min(_TINY).sqrt()
    return product(pair, earlier).abs() / length


@dataclass(frozen=True)
class Rotations(Adapters):
    """Each request has I + w C, C = B A, behind every linear layer of the attention, with the weight w that the detector gives it.

    It is trained on other answers, to be skew, and orthogonal to those of earlier requests, which stay as they are.
    """

    apart: float = 0.1
    """Weight of the penalty on the cosine with earlier rotations, a mean over layers."""
    skew: float = 0.1
    """Weight of the penalty on what of C is symmetric, a mean over layers."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.skew >= 0:
            raise InputError(f"skew must be at least 0, got {self.skew}.")

    def places(self, model: nn.Module) -> dict[str, nn.Module]:
        return attention_layers(model)

    def widths(self, layer: Any) -> tuple[int, int]:
        out = sizes(layer)[1]
        return out, out

    def added(
        self, layers: Sequence[nn.Module], pairs: Sequence[Sequence[tuple[Tensor, Tensor]]]
    ) -> AbstractContextManager[None]:
        return turned(layers, pairs)

    def penalty(
        self, new: Sequence[tuple[Tensor, Tensor]], earlier: Sequence[Sequence[tuple[Tensor, Tensor]]]
    ) -> Tensor | float:
        total: Tensor | float = self.skew * sum(symmetric(pair) for pair in new)
        for pair, olds in zip(new, earlier, strict=True):
            for old in olds:
                total = total + self.apart * alignment(pair, old)
        return total / len(new)
