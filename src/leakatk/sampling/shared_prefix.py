"""Shared-prefix step for Llama-like models on a CPU: transformers' weights and modules, our own attention and caching.

transformers' step reads every row's copy of its prompt, pads every row to the longest, and masks all of it. Here the
keys and values of a prompt are kept once, and all rows of the prompt attend to them in one matrix product; a row holds
only what it has drawn itself. The two parts of a softmax over prompt and answer are joined by their log-sum-exps:

    out = (1 - w) own + w prompt,    w = sigmoid(lse_prompt - lse_own),

which is the softmax over both up to rounding. Keys are kept once per key head: the queries that share them are query
positions. Norms are the module's own, and linear layers give what the module gives (`layer_products`), so adapters and biases
hold. What `recognised` does not know is left to `kv_cache.ModuleDecoder`.
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
from leakatk.sampling.layer_products import LayerProducts, head_product, packable
from leakatk.sampling.onednn import padded

_FAMILIES = ("llama", "mistral", "qwen2", "qwen3")
_ROTARY = ("default", "linear", "llama3", "yarn")  # angles that depend on the position alone
_GROUP = 64  # rows of one prompt that attend to it together
# Bytes of keys attended to at a time: scores and weights should stay in cache from one operation to the next.
_PIECE = 4 << 20
# Columns by which the rows' part of the cache grows. Rows lie one after the other without a gap, because torch copies
# strided bfloat16 keys before each product; what is copied instead is the cache, each time that it grows.
_WIDEN = 16
_MOVED = 64  # rows moved at a time


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
    """Rows by prompt, W of one prompt side by side, padded with row 0. Group p is the first of prompt p; further ones follow."""

    width: int  # W
    further: Tensor  # (g - prompts,) the prompts of the groups after the first ones
    rows: Tensor  # (g * W,) the row at each place
    place: Tensor  # (R,) the place of each row

    @property
    def prompt(self) -> Tensor:
        """(g,) the prompt of each group."""
        count = len(self.rows) // self.width - len(self.further)
        return torch.cat([torch.arange(count), self.further])

    def places(self, heads: int) -> tuple[Tensor, Tensor]:
        """Of rows of several heads each, flattened, and places as (g, heads, W): which row is at each place, and back."""
        head = torch.arange(heads)
        there = (self.rows.view(-1, 1, self.width) * heads + head[:, None]).flatten()
        group, inside = self.place // self.width, self.place % self.width
        back = ((group[:, None] * heads + head) * self.width + inside[:, None]).flatten()
        return there, back


def group_rows(prompt: Ints) -> Groups:
    """prompt (R,): the prompt of each row. Padding at most doubles the work, however uneven the prompts are."""
    counts = np.bincount(prompt)
    most = int(counts.max())
    width = min(-(-most // -(-most // _GROUP)), max(1, 2 * len(prompt) // len(counts)))
    parts = np.maximum(1, -(-counts // width))
    order = np.argsort(prompt, kind="stable")
    first = np.cumsum(counts) - counts
    nth = np.arange(len(prompt)) - first[prompt[order]]  # of the rows of its prompt
    extra = len(counts) + np.cumsum(parts - 1) - (parts - 1)  # the second group of each prompt
    group = np.where(nth < width, prompt[order], extra[prompt[order]] + nth // width - 1)
    place = np.empty(len(prompt), dtype=np.int64)
    place[order] = group * width + nth % width
    rows = np.zeros(int(parts.sum()) * width, dtype=np.int64)
    rows[place] = np.arange(len(prompt))
    further = np.repeat(np.arange(len(counts)), parts - 1)
    return Groups(width, *(torch.from_numpy(x) for x in (further, rows, place)))


class LeanDecoder(Slots):
    """As `kv_cache.ModuleDecoder`; rows hold their answers only, prompts are kept in the order in which they entered.

    shapes: keys and values of any prefill, for their sizes. Weights are packed on construction, where `packable` says so.
    """

    step = _WIDEN

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
        packed = packable(base) > 0
        self.products = [LayerProducts(layer, packed) for layer in base.model.layers]
        self.head = head_product(base.lm_head, packed)
        self.lengths = np.zeros(0, dtype=np.int64)
        self.heads = like.shape[1]  # of keys
        self.prompt_keys = [like.new_zeros((0, self.heads, 1, self.size)) for _ in shapes]
        self.prompt_values = [like.new_zeros((0, self.heads, 1, self.size)) for _ in shapes]
        self.room = [x.view(-1) for x in (*self.keys, *self.values)]
        self._lay_out(self.step)

    def enter(self, row: int, prefix: Pairs, lengths: Sequence[int]) -> None:
        del row  # a row that enters has drawn nothing yet
        self.lengths = np.concatenate([self.lengths, np.asarray(lengths, dtype=np.int64)])
        width = max(1, int(self.lengths.max()))
        for store, side in ((self.prompt_keys, 0), (self.prompt_values, 1)):
            for layer, pair in enumerate(prefix):
                both = (store[layer], pair[side])
                parts = [F.pad(x[:, :, :width], (0, 0, 0, max(0, width - x.shape[2]))) for x in both]
                store[layer] = torch.cat(parts)

    def leave(self, prompts: Ints) -> None:
        self.lengths = self.lengths[prompts]
        width = max(1, int(self.lengths.max(initial=0)))
        for store in (self.prompt_keys, self.prompt_values):
            store[:] = [x[torch.from_numpy(prompts), :, :width] for x in store]

    def lowest(self, start: Ints, drawn: Ints) -> int:
        return self.cursor - int(drawn.max())

    def _lay_out(self, columns: int) -> None:
        """See the room as rows of so many columns."""
        self.width = columns
        count = self.rows * self.heads * columns * self.size
        views = [x[:count].view(self.rows, self.heads, columns, self.size) for x in self.room]
        self.keys, self.values = views[: len(views) // 2], views[len(views) // 2 :]

    def _widen(self, rows: int) -> None:
        """Make the cursor's column one of `width`, and keep what the first `rows` rows hold."""
        need = -(-(self.cursor + 1 - self.offset) // self.step) * self.step
        if self.cursor == self.begin:
            self._lay_out(need)  # a batch begins: no row holds anything
        elif need > self.width:
            before, old = [*self.keys, *self.values], self.width
            self._lay_out(need)
            for narrow, wide in zip(before, (*self.keys, *self.values), strict=True):
                # Rows move to the right: the last ones first, so that none is overwritten before it has moved.
                for begin in range((rows - 1) // _MOVED * _MOVED, -1, -_MOVED):
                    wide[begin : begin + _MOVED, :, :old] = narrow[begin : begin + _MOVED].clone()

    def features(self, tokens: Tensor, start: Ints, drawn: Ints, prompt: Ints) -> Tensor:
        """(R, hidden size) the normed hidden states; arguments as in `kv_cache.ModuleDecoder.features`."""
        decoder = self.base.model
        rows = len(tokens)
        self.low = self.lowest(start, drawn)
        self._widen(rows)
        groups = group_rows(prompt)
        position = torch.from_numpy(self.cursor - start)
        column = self.offset + np.arange(self.width)
        there, back = groups.places(self.heads)
        lengths = self.lengths[groups.prompt.numpy(), None]
        step = _Step(
            rotation=(self.cos[position], self.sin[position]),
            further=groups.further,
            there=there,
            back=back,
            own_mask=_mask((column >= (self.cursor - drawn)[:, None]) & (column <= self.cursor)),
            prompt_mask=_mask(np.arange(self.prompt_keys[0].shape[2]) < lengths),
        )
        hidden = decoder.embed_tokens(F.pad(tokens, (0, padded(rows) - rows)))
        for index, (layer, products) in enumerate(zip(decoder.layers, self.products, strict=True)):
            attended = self._attend(index, layer.self_attn, layer.input_layernorm(hidden), step)
            hidden = products.add_out(hidden, attended)
            hidden = products.add_mlp(hidden, layer.post_attention_layernorm(hidden))
        normed: Tensor = decoder.norm(hidden[:rows])
        return normed

    def _attend(self, index: int, attention: Any, hidden: Tensor, step: _Step) -> Tensor:
        """(rows of `hidden`, heads of queries * head size): what the first R rows take from their answers and prompts."""
        rows, heads, share = len(step.back) // self.heads, self.heads, self.share
        query, key, value = self.products[index].query_key_value(hidden, rows, self.size)
        if hasattr(attention, "q_norm"):
            query, key = attention.q_norm(query), attention.k_norm(key)
        query, key = _rotate(query, *step.rotation), _rotate(key, *step.rotation)
        now = self.cursor - self.offset
        keys, values = self.keys[index][:rows], self.values[index][:rows]
        keys[:, :, now], values[:, :, now] = key, value
        own, own_mass = _attention(query.view(rows, heads, share, -1), keys, values, step.own_mask, self.scale)
        # All rows of a group are query positions too: (groups, heads, W * share, head size).
        prompts = len(self.prompt_keys[index])
        together = query.view(rows * heads, -1)[step.there].view(prompts + len(step.further), heads, -1, self.size)
        prompt, prompt_mass = _attention(
            together, self.prompt_keys[index], self.prompt_values[index], step.prompt_mask, self.scale, step.further
        )
        prompt = prompt.view(-1, share * self.size)[step.back].view(own.shape)
        prompt_mass = prompt_mass.view(-1, share)[step.back].view(own_mass.shape)
        weight = torch.sigmoid(prompt_mass - own_mass)[..., None].to(own.dtype)
        out = own.new_zeros((len(hidden), *own.shape[1:]))
        torch.lerp(own, prompt, weight, out=out[:rows])
        return out.view(len(hidden), -1)

    def logits(self, features: Tensor) -> Tensor:
        """(R, V) next-token logits of rows of `features`."""
        count = len(features)
        return self.head(F.pad(features, (0, 0, 0, padded(count) - count)))[:count]


@dataclass(frozen=True, slots=True)
class _Step:
    """What all layers of a step share. Masks are added to scores, None where nothing is masked; the others as in `Groups`."""

    rotation: tuple[Tensor, Tensor]
    further: Tensor
    there: Tensor
    back: Tensor
    own_mask: Tensor | None
    prompt_mask: Tensor | None


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


def _attention(
    query: Tensor, keys: Tensor, values: Tensor, mask: Tensor | None, scale: float, further: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Attention of (B, heads, Q, head size) over (B, heads, K, head size), and the log-sum-exp of the scores (B, heads, Q),
    which torch's own attention does not hand out. mask: None or (B, 1, 1, K), added to the scores.

    further: the keys of the last of the B queries by their place among `keys`, which then has only those of the first ones.
    """
    many = max(1, _PIECE // keys[0].nbytes)
    first = len(keys)
    parts = []
    for begin, end in ((0, first), (first, len(query))):
        for at in range(begin, end, many):
            some = slice(at, min(at + many, end))
            where: slice | Tensor = some
            if begin:
                assert further is not None
                where = further[at - begin : some.stop - begin]
            parts.append(
                _attend_to(query[some], keys[where], values[where], None if mask is None else mask[some], scale)
            )
    out, mass = zip(*parts, strict=True)
    return (out[0], mass[0]) if len(parts) == 1 else (torch.cat(out), torch.cat(mass))


def _attend_to(query: Tensor, keys: Tensor, values: Tensor, mask: Tensor | None, scale: float) -> tuple[Tensor, Tensor]:
    """`_attention` in one piece. The softmax is in float32; scores are rounded to the model's type first, as in eager
    attention."""
    scores = torch.matmul(query, keys.transpose(-1, -2)).to(torch.float32).mul_(scale)
    if mask is not None:
        scores += mask
    top = scores.amax(dim=-1, keepdim=True)  # these steps are faster than logsumexp
    weights = scores.sub_(top).exp_()
    total = weights.sum(dim=-1, keepdim=True)
    out = torch.matmul(weights.div_(total).to(values.dtype), values)
    return out, (top + total.log_())[..., 0]
