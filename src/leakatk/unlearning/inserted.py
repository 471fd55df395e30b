"""Inserted modules: put behind those of a model, trained, and folded into its weights at the end of a stage."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from leakatk.errors import InputError, UnknownNameError
from leakatk.unlearning.gathered import token_states
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


class Projection(nn.Module):
    """x - Q Q' x behind a linear layer, Q (d, rank) an orthonormal basis of the rows of `rows` (rank, d): what lies along them is gone."""

    def __init__(self, rows: Tensor) -> None:
        super().__init__()
        self.rows = nn.Parameter(rows.detach().float().clone())

    def basis(self) -> Tensor:
        """(d, rank) Q"""
        with torch.autocast(self.rows.device.type, enabled=False):
            basis: Tensor = torch.linalg.qr(self.rows.T)[0]
        return basis

    def forward(self, states: Tensor) -> Tensor:
        basis = self.basis().to(states.dtype)
        return states - (states @ basis) @ basis.T

    def fold(self, host: Any) -> None:
        """(I - Q Q') W and (I - Q Q') b, of a linear layer or of one that keeps (in, out), as GPT-2's does."""
        basis = self.basis()
        weight = host.weight if isinstance(host, nn.Linear) else host.weight.T
        weight.copy_(weight - basis @ (basis.T @ weight))
        if host.bias is not None:
            host.bias.copy_(host.bias - basis @ (basis.T @ host.bias))


def forget_directions(forget: Tensor, retain: Tensor, rank: int, spanned: float) -> Tensor:
    """(rank, d) the leading directions, without centring, of forget states (n, d) less what lies in the span of retain states.

    The span: of the fewest leading directions of the retain states (m, d) that hold a share `spanned` of their squares.
    InputError for a rank below 1, or a share outside [0, 1).
    """
    if rank < 1 or not 0 <= spanned < 1:
        raise InputError(f"rank must be at least 1 and spanned at least 0 and below 1, got {rank!r} and {spanned!r}.")
    values, vectors = torch.linalg.eigh(retain.T @ retain)
    shares = values.flip(0).clamp_min(0).cumsum(0) / values.clamp_min(0).sum()
    count = int((shares < spanned).sum()) + 1 if spanned else 0
    span = vectors.flip(1)[:, : min(count, len(values) - rank)]
    left = forget - (forget @ span) @ span.T
    found: Tensor = torch.linalg.eigh(left.T @ left)[1].flip(1)[:, :rank].T
    return found


def projections(work: Work) -> dict[str, Projection]:
    """A `Projection` behind the last MLP matrix of `layers` layers, the last of them `layer`, from what these matrices give at the start.

    InputError for layers that the model lacks.
    """
    params, model = work.params, work.loaded.model
    count, last = len(decoder_layers(model)), params["layer"]
    if not 0 <= last < count or not 1 <= params["layers"] <= last + 1:
        raise InputError(
            f"layer must be between 0 and {count - 1} for this model, and layers between 1 and layer + 1; got layer={last!r}, "
            f"layers={params['layers']!r}."
        )
    names = {id(module): name for name, module in model.named_modules()}
    found = {}
    for layer in range(last - params["layers"] + 1, last + 1):
        forget, retain = (token_states(work, stream, layer, at="mlp") for stream in ("forget", "retain"))
        rows = forget_directions(forget, retain, params["rank"], params["spanned"])
        found[names[id(part_of(decoder_layers(model)[layer], "mlp_in")[0])]] = Projection(rows)
    return found
