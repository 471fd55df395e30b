"""Linear products of one decoder layer: packed and with what follows them where the layer is plain, else module by module."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from leakatk.sampling.onednn import Packed, is_plain, linear, packs

# Bytes of packed weights beyond which a model is not packed: a second copy of a large model is worth more as room for rows.
PACKED_MOST = 600 << 20


def packable(base: Any) -> int:
    """Bytes that the packed copy of a model takes (layers and output head), 0 where it is not packed. base: as `recognised` returns it."""
    weights = [m.weight for m in (*base.model.layers.modules(), base.lm_head) if is_plain(m)]
    need = sum(weight.nbytes for weight in weights)
    types = {weight.dtype for weight in weights}
    return need if need <= PACKED_MOST and len(types) == 1 and packs(types.pop()) else 0


def head_product(head: nn.Module, packed: bool) -> Callable[[Tensor], Tensor]:
    """The output head as a function of (rows, hidden size)."""
    if packed and isinstance(head, nn.Linear) and is_plain(head):
        return Packed([head])
    return lambda x: linear(head, x)


def _packed(modules: list[Any], wanted: bool) -> Packed | None:
    return Packed(modules) if wanted and all(map(is_plain, modules)) else None


class LayerProducts:
    """The products of one layer of the families of `shared_prefix`. packed: pack the weights of what is plain."""

    def __init__(self, layer: Any, packed: bool) -> None:
        self.attention, self.mlp = layer.self_attn, layer.mlp
        attention, mlp = self.attention, self.mlp
        self.inputs = _packed([attention.q_proj, attention.k_proj, attention.v_proj], packed)
        self.out = _packed([attention.o_proj], packed)
        self.called = bool(mlp._forward_hooks or mlp._forward_pre_hooks or "forward" in vars(mlp))
        packed = packed and not self.called and _is_silu(mlp.act_fn)
        self.gate, self.up, self.down = (_packed([m], packed) for m in (mlp.gate_proj, mlp.up_proj, mlp.down_proj))

    def query_key_value(self, x: Tensor, rows: int, size: int) -> tuple[Tensor, Tensor, Tensor]:
        """Of the first rows of x, (rows, heads, size) each."""
        modules = (self.attention.q_proj, self.attention.k_proj, self.attention.v_proj)
        if self.inputs is None:
            query, key, value = (linear(module, x)[:rows].view(rows, -1, size) for module in modules)
        else:
            widths = [module.out_features for module in modules]
            parts = torch.split_with_sizes(self.inputs(x)[:rows], widths, dim=1)
            query, key, value = (part.view(rows, -1, size) for part in parts)
        return query, key, value

    def add_out(self, hidden: Tensor, attended: Tensor) -> Tensor:
        """hidden + o_proj(attended)."""
        if self.out is None:
            return hidden + linear(self.attention.o_proj, attended)
        return self.out.with_other(attended, hidden, "add")

    def add_mlp(self, hidden: Tensor, x: Tensor) -> Tensor:
        """hidden + mlp(x), the gated MLP of these families."""
        mlp = self.mlp
        if self.called:
            called: Tensor = hidden + mlp(x)
            return called
        if self.gate is None:
            gate = mlp.act_fn(linear(mlp.gate_proj, x))
        else:
            gate = self.gate(x, "swish")
        inner = gate.mul_(linear(mlp.up_proj, x)) if self.up is None else self.up.with_other(x, gate, "mul")
        if self.down is None:
            return hidden + linear(mlp.down_proj, inner)
        return self.down.with_other(inner, hidden, "add")


def _is_silu(act: Any) -> bool:
    return isinstance(act, nn.SiLU) or type(act).__name__ == "SiLUActivation"
