"""Shared-prefix step for Llama-like models on a CPU: transformers' weights and modules, our own attention and caching.

transformers' step reads every row's copy of its prompt, pads every row to the longest, and masks all of it. Here the
keys and values of a prompt are kept once, and all rows of the prompt attend to them in one matrix product; a row holds
only what it has drawn itself. The two parts of a softmax over prompt and answer are joined by their log-sum-exps:

    out = (1 - w) own + w prompt,    w = sigmoid(lse_prompt - lse_own),

which is the softmax over both up to rounding. Norms are the module's own, and linear layers give what the module gives
(`linear`), so adapters and biases hold. What `recognised` does not know is left to `kv.ModuleDecoder`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F
from transformers import PreTrainedModel

from leakatk.arrays import Bools, Ints
from leakatk.models.placement import is_quantised
from leakatk.sampling.kv_cache import Pairs, Slots
from leakatk.sampling.onednn import linear, padded

_FAMILIES = ("llama", "mistral", "qwen2", "qwen3")
_ROTARY = ("default", "linear", "llama3", "yarn")  # angles that depend on the position alone
_GROUP = 64  # rows of one prompt that attend to it together
# Bytes of keys attended to at a time: torch copies strided bfloat16 keys, and the copy should stay in cache.
_PIECE = 4 << 20


def recognised(model: PreTrainedModel) -> Any | None:
    """The causal model (under a LoRA adapter, if there is one) when its step is the one written here, else None."""
    adapters = getattr(model, "peft_config", None) or {}
    if adapters and not all(str(config.peft_type).endswith("LORA") for config in adapters.values()):
        return None
    base = model.get_base_model() if hasattr(model, "get_base_model") else model
    family = getattr(base.config, "model_type", "")
    if family not in _FAMILIES or type(base).__module__ != f"transformers.models.{family}.modeling_{family}":
        return None
    if type(base).__name__.lower() != f"{family}forcausallm" or base.training:
        return None
    decoder = base.model
    layers = list(decoder.layers)
    # The modules whose forward is replaced must be untouched: no hooks (steering, offloading), no patched forward.
    for module in (base, decoder, *layers, *(layer.self_attn for layer in layers)):
        if module._forward_hooks or module._forward_pre_hooks or "forward" in vars(module):
            return None
    parameters = list(base.parameters())
    plain = (
        all(p.device.type == "cpu" for p in parameters)
        and parameters[0].dtype in (torch.float32, torch.bfloat16)
        and not is_quantised(base)
        and base.config._attn_implementation in ("sdpa", "eager")
        and not _slides(base.config)
        and decoder.rotary_emb.rope_type in _ROTARY
        and len(layers) == base.config.num_hidden_layers
    )
    return base if plain else None


def _slides(config: Any) -> bool:
    kinds = getattr(config, "layer_types", None)
    return any(kind != "full_attention" for kind in kinds) if kinds else bool(getattr(config, "sliding_window", None))


@dataclass(frozen=True, slots=True)
class Groups:
    """Rows by prompt, at most W of one prompt side by side, the last group of a prompt padded with row 0."""

    prompt: Tensor  # (g,) the prompt of each group
    rows: Tensor  # (g * W,) the row at each place
    place: Tensor  # (R,) the place of each row


def group_rows(prompt: Ints) -> Groups:
    """prompt (R,): the prompt of each row. Padding at most doubles the work, however uneven the prompts are."""
    counts = np.bincount(prompt)
    present = np.flatnonzero(counts)
    most = int(counts.max())
    width = min(-(-most // -(-most // _GROUP)), max(1, 2 * len(prompt) // len(present)))
    parts = -(-counts // width)
    order = np.argsort(prompt, kind="stable")
    begins, first = np.cumsum(parts) - parts, np.cumsum(counts) - counts
    place = np.empty(len(prompt), dtype=np.int64)
    place[order] = begins[prompt[order]] * width + np.arange(len(prompt)) - first[prompt[order]]
    rows = np.zeros(int(parts.sum()) * width, dtype=np.int64)
    rows[place] = np.arange(len(prompt))
    return Groups(*(torch.from_numpy(x) for x in (np.repeat(np.arange(len(counts)), parts), rows, place)))


class LeanDecoder(Slots):
    """As `kv.ModuleDecoder`; rows hold their answers only, prompts are kept in the order in which they entered.

    shapes: keys and values of any prefill, for their sizes.
    """

    def __init__(self, base: Any, shapes: Pairs, rows: int, slots: int, begin: int) -> None:
        super().__init__(shapes, rows, slots, begin, offset=begin)
        # glibc keeps freed blocks for the next step only up to the largest it has seen freed (at most 32 MB); without
        # this, every large intermediate would be new pages from the system.
        torch.empty(31 << 20, dtype=torch.uint8)
        self.base = base
        self.scale = float(base.model.layers[0].self_attn.scaling)
        self.size = int(base.model.layers[0].self_attn.head_dim)
        self.share = base.config.num_attention_heads // base.config.num_key_value_heads
        like = shapes[0][0]
        cos, sin = base.model.rotary_emb(like, torch.arange(slots)[None])
        self.cos, self.sin = cos[0, :, None], sin[0, :, None]  # (positions, 1, head size)
        self.lengths = np.zeros(0, dtype=np.int64)
        # (prompts, heads of queries, longest, head size): keys repeated for the queries that share them
        heads = like.shape[1] * self.share
        self.prompt_keys = [like.new_zeros((0, heads, 1, self.size)) for _ in shapes]
        self.prompt_values = [like.new_zeros((0, heads, 1, self.size)) for _ in shapes]

    def enter(self, row: int, prefix: Pairs, lengths: Sequence[int]) -> None:
        del row  # a row that enters has drawn nothing yet
        self.lengths = np.concatenate([self.lengths, np.asarray(lengths, dtype=np.int64)])
        width = max(1, int(self.lengths.max()))
        for store, side in ((self.prompt_keys, 0), (self.prompt_values, 1)):
            for layer, pair in enumerate(prefix):
                new = pair[side].repeat_interleave(self.share, dim=1)
                parts = [F.pad(x[:, :, :width], (0, 0, 0, max(0, width - x.shape[2]))) for x in (store[layer], new)]
                store[layer] = torch.cat(parts)

    def leave(self, prompts: Ints) -> None:
        self.lengths = self.lengths[prompts]
        width = max(1, int(self.lengths.max(initial=0)))
        for store in (self.prompt_keys, self.prompt_values):
            store[:] = [x[torch.from_numpy(prompts), :, :width] for x in store]

    def lowest(self, start: Ints, drawn: Ints) -> int:
        return self.cursor - int(drawn.max())

    def features(self, tokens: Tensor, start: Ints, drawn: Ints, prompt: Ints) -> Tensor:
        """(R, hidden size) the normed hidden states; arguments as in `kv.ModuleDecoder.features`."""
        decoder = self.base.model
        self.low = self.lowest(start, drawn)
        groups = group_rows(prompt)
        position = torch.from_numpy(self.cursor - start)
        step = _Step(
            rotation=(self.cos[position], self.sin[position]),
            groups=groups,
            own_mask=_mask(np.arange(self.low, self.cursor + 1) >= (self.cursor - drawn)[:, None]),
            prompt_mask=_mask(np.arange(self.prompt_keys[0].shape[2]) < self.lengths[groups.prompt.numpy(), None]),
        )
        hidden = decoder.embed_tokens(F.pad(tokens, (0, padded(len(tokens)) - len(tokens))))
        for index, layer in enumerate(decoder.layers):
            hidden = hidden + self._attend(index, layer.self_attn, layer.input_layernorm(hidden), step)
            hidden = hidden + _mlp(layer.mlp, layer.post_attention_layernorm(hidden))
        normed: Tensor = decoder.norm(hidden[: len(tokens)])
        return normed

    def _attend(self, index: int, attention: Any, hidden: Tensor, step: _Step) -> Tensor:
        rows, groups = len(step.groups.place), step.groups
        query, key, value = (
            linear(project, hidden)[:rows].view(rows, -1, self.size)
            for project in (attention.q_proj, attention.k_proj, attention.v_proj)
        )
        if hasattr(attention, "q_norm"):
            query, key = attention.q_norm(query), attention.k_norm(key)
        query, key = _rotate(query, *step.rotation), _rotate(key, *step.rotation)
        now, used = self.cursor - self.offset, self.columns(self.low, self.cursor + 1)
        keys, values = self.keys[index][:rows], self.values[index][:rows]
        keys[:, :, now], values[:, :, now] = key, value
        # The queries that share a head's keys are its query positions: (rows, heads of keys, share, head size).
        shared = query.view(rows, -1, self.share, self.size)
        own, own_mass = _attention(shared, keys[:, :, used], values[:, :, used], step.own_mask, self.scale)
        # All rows of a group are the query positions: (groups, heads of queries, W, head size).
        together = query.view(rows, -1)[groups.rows].view(len(groups.prompt), -1, query.shape[1], self.size)
        prompt, prompt_mass = _attention(
            together.transpose(1, 2),
            self.prompt_keys[index][groups.prompt],
            self.prompt_values[index][groups.prompt],
            step.prompt_mask,
            self.scale,
        )
        prompt = prompt.transpose(1, 2).reshape(-1, query.shape[1] * self.size)[groups.place].view(own.shape)
        prompt_mass = prompt_mass.transpose(1, 2).reshape(-1, query.shape[1])[groups.place].view(own_mass.shape)
        weight = torch.sigmoid(prompt_mass - own_mass)[..., None].to(own.dtype)
        out = own.new_zeros((len(hidden), *own.shape[1:]))
        torch.lerp(own, prompt, weight, out=out[:rows])
        return linear(attention.o_proj, out.view(len(hidden), -1))

    def logits(self, features: Tensor) -> Tensor:
        """(R, V) next-token logits of rows of `features`."""
        count = len(features)
        return linear(self.base.lm_head, F.pad(features, (0, 0, 0, padded(count) - count)))[:count]


@dataclass(frozen=True, slots=True)
class _Step:
    """What all layers of a step share. Masks are added to scores, None where nothing is masked."""

    rotation: tuple[Tensor, Tensor]
    groups: Groups
    own_mask: Tensor | None
    prompt_mask: Tensor | None


def _mlp(mlp: Any, x: Tensor) -> Tensor:
    """mlp(x): the gated MLP of these families."""
    if mlp._forward_hooks or mlp._forward_pre_hooks or "forward" in vars(mlp):
        out: Tensor = mlp(x)
        return out
    return linear(mlp.down_proj, mlp.act_fn(linear(mlp.gate_proj, x)).mul_(linear(mlp.up_proj, x)))


def _mask(keep: Bools) -> Tensor | None:
    """(B, K) -> (B, 1, 1, K). Finite: a prompt of no tokens must get no weight, not NaN."""
    if keep.all():
        return None
    return torch.where(torch.from_numpy(keep), 0.0, -1e30).float()[:, None, None]


def _rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Rotary positions: x (R, heads, head size), cos and sin (R, 1, head size)."""
    half = x.shape[-1] // 2
    out = x * cos
    out[..., :half].addcmul_(x[..., half:], sin[..., :half], value=-1)
    out[..., half:].addcmul_(x[..., :half], sin[..., half:])
    return out


def _attention(query: Tensor, keys: Tensor, values: Tensor, mask: Tensor | None, scale: float) -> tuple[Tensor, Tensor]:
    """Attention of (B, heads, Q, head size) over (B, heads, K, head size), and the log-sum-exp of the scores (B, heads, Q),
    which torch's own attention does not hand out. mask: None or (B, 1, 1, K), added to the scores."""
    many = max(1, _PIECE // keys[0].nbytes)
    parts = [
        _attend_to(query[at], keys[at], values[at], None if mask is None else mask[at], scale)
        for at in (slice(begin, begin + many) for begin in range(0, len(query), many))
    ]
    out, mass = zip(*parts, strict=True)
    return (out[0], mass[0]) if len(parts) == 1 else (torch.cat(out), torch.cat(mass))


def _attend_to(query: Tensor, keys: Tensor, values: Tensor, mask: Tensor | None, scale: float) -> tuple[Tensor, Tensor]:
    """`_attention` in one piece. The softmax is in float32; scores are rounded to the model's type first, as in eager
    attention. The product is written keys first: that way round it is up to three times faster."""
    scores = torch.matmul(keys, query.transpose(-1, -2)).transpose(-1, -2)
    scores = scores.to(torch.float32, memory_format=torch.contiguous_format).mul_(scale)
    if mask is not None:
        scores += mask
    top = scores.amax(dim=-1, keepdim=True)  # these steps are faster than logsumexp
    weights = scores.sub_(top).exp_()
    total = weights.sum(dim=-1, keepdim=True)
    out = torch.matmul(weights.div_(total).to(values.dtype), values)
    return out, (top + total.log_())[..., 0]
