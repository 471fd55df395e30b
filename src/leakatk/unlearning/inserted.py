"""Inserted modules: put behind those of a model, trained, and folded into its weights at the end of a stage."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from leakatk.errors import InputError, UnknownNameError
from leakatk.unlearning.passes import decoder_layers, part_of
from leakatk.unlearning.work import Work


class Inserted:
    """Modules at work behind their hosts. modules: by the name of the host, each mapping its host's output (..., d) to another
    one. Each must have `fold(host)`, which gives the host weights that do the same; a saved model is a plain one.
    """

    def __init__(self, model: nn.Module, modules: Mapping[str, nn.Module]) -> None:
        """UnknownNameError for a host that the model lacks, InputError for a module that cannot be folded."""
        there = dict(model.named_modules())
        for name, module in modules.items():
            if name not in there:
                raise UnknownNameError("module of the model", name, there)
            if not hasattr(module, "fold"):
                raise InputError(
                    f"{type(module).__name__} cannot be inserted behind {name}: it has no fold(host), without which the "
                    "result would not be a plain model; give it one."
                )
        self._hosts = {name: there[name] for name in modules}
        self._modules = {name: module.to(next(model.parameters()).device) for name, module in modules.items()}
        self._handles = [self._attach(name) for name in modules]

    def _attach(self, name: str) -> Any:
        module = self._modules[name]

        def behind(_host: nn.Module, _inputs: object, output: Any) -> Any:
            return (module(output[0]), *output[1:]) if isinstance(output, tuple) else module(output)

        return self._hosts[name].register_forward_hook(behind)

    def parameters(self) -> dict[str, Tensor]:
        """The modules' parameters, under their hosts' names."""
        return {
            f"inserted.{host}.{name}": value
            for host, module in self._modules.items()
            for name, value in module.named_parameters()
        }

    @torch.no_grad()
    def fold(self) -> None:
        """Take the modules out and give the hosts weights that do the same."""
        for handle in self._handles:
            handle.remove()
        for name, module in self._modules.items():
            module.fold(self._hosts[name])  # type: ignore[operator]


class LowRank(nn.Module):
    """x + B A x behind a linear layer; B (d, rank) begins at 0, so that nothing changes at first."""

    def __init__(self, width: int, rank: int, seed: int = 0) -> None:
        super().__init__()
        draws = torch.randn(rank, width, generator=torch.Generator().manual_seed(seed))
        self.down = nn.Parameter(draws / width**0.5)
        self.up = nn.Parameter(torch.zeros(width, rank))

    def forward(self, states: Tensor) -> Tensor:
        return states + (states @ self.down.T.to(states.dtype)) @ self.up.T.to(states.dtype)

    def fold(self, host: Any) -> None:
        """(I + B A) W and (I + B A) b, of a linear layer or of one that keeps (in, out), as GPT-2's does."""
        weight = host.weight if isinstance(host, nn.Linear) else host.weight.T
        weight.copy_(weight + self.up @ (self.down @ weight))
        if host.bias is not None:
            host.bias.copy_(host.bias + self.up @ (self.down @ host.bias))


def behind_mlps(work: Work) -> dict[str, LowRank]:
    """A `LowRank` of the method's `rank` behind the last matrix of each layer's MLP. InputError for a rank below 1."""
    rank, model = work.params["rank"], work.loaded.model
    if rank < 1:
        raise InputError(f"rank must be at least 1, got {rank!r}.")
    names = {id(module): name for name, module in model.named_modules()}
    found = {}
    for number, layer in enumerate(decoder_layers(model)):
        host: Any = part_of(layer, "mlp_in")[0]
        width = host.weight.shape[0 if isinstance(host, nn.Linear) else 1]
        found[names[id(host)]] = LowRank(width, rank, seed=work.seed + number)
    return found
