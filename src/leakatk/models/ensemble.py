"""Ensemble, several causal models read as one: their logits are combined, token by token.

Engines, exact probabilities and the answer tree take an `Ensemble` as any other model. Each member keeps keys and values of
its own; they stand one after another in the cache that the reader gives.
"""

from __future__ import annotations

import hashlib
import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor, nn
from transformers import GenerationMixin, PreTrainedModel
from transformers.cache_utils import Cache, DynamicCache

from leakatk.errors import ModelError
from leakatk.models.load import ModelSource
from leakatk.models.loaded import LoadedModel
from leakatk.models.placement import device_of

CombineLogits = Callable[..., Tensor]  # (logits of the first, of the second, ...), each (B, T, V) float32 -> (B, T, V)

Joining = Callable[[LoadedModel], tuple[list[LoadedModel], CombineLogits]]


class Ensemble(PreTrainedModel, GenerationMixin):  # type: ignore[misc]  # transformers is untyped
    """combine(logits of each member) read as the logits of one model. The first member gives configs and end tokens.

    members: causal models on one device. Logits are combined in float32; where members pad their vocabulary to different
    sizes, the tokens that all have are combined.
    combine: a function of as many arrays of logits as there are members.
    """

    main_input_name = "input_ids"
    _supports_sdpa = _supports_flash_attn = _supports_flex_attn = _supports_attention_backend = True

    def __init__(self, members: Sequence[PreTrainedModel], combine: CombineLogits) -> None:
        nn.Module.__init__(self)  # the members are made already: nothing is to be initialised from a config
        self.members, self.combine = nn.ModuleList(members), combine
        self.config = members[0].config
        self.generation_config = members[0].generation_config
        self.keywords = [cache_name(member) for member in members]
        self.depths = [_depth(member, name) for member, name in zip(members, self.keywords, strict=True)]
        self.eval()

    def get_input_embeddings(self) -> nn.Module:
        """Those of the first member."""
        first: Any = self.members[0]
        found: nn.Module = first.get_input_embeddings()
        return found

    def forward(
        self,
        input_ids: Tensor | None = None,
        cache: Cache | None = None,
        past_key_values: Cache | None = None,
        use_cache: bool | None = None,
        **inputs: Any,
    ) -> Any:
        """`.logits` (B, T, V) float32. cache, past_key_values: two names of one thing; the keys and values of all members."""
        held = past_key_values if cache is None else cache
        caches = self._caches(held)
        logits = []
        for member, own, name in zip(self.members, caches, self.keywords, strict=True):
            given = {name: own} if own is not None else {}
            out = member(input_ids=input_ids, use_cache=bool(use_cache and own is not None), **given, **inputs)
            logits.append(out.logits.float())
        if isinstance(held, Cache) and not held.layers:  # an empty one: from now on it holds the layers of all
            held.layers += [layer for own in caches if own is not None for layer in own.layers]
        width = min(part.shape[-1] for part in logits)
        return _Output(logits=self.combine(*(part[..., :width] for part in logits)), past_key_values=held, cache=held)

    def _caches(self, held: Cache | None) -> list[Cache | None]:
        """Each member's own part of what is held."""
        if held is None:
            return [None] * len(self.depths)
        if not held.layers:
            return [DynamicCache() for _ in self.depths]
        if len(held.layers) == sum(self.depths):
            parts: list[Cache | None] = []
            at = 0
            for depth in self.depths:
                parts.append(Cache(layers=held.layers[at : at + depth]))
                at += depth
            return parts
        if len(held.layers) == self.depths[0]:
            # Made by `generate` for the first member alone, which gets it; the others' stand beside it.
            if not hasattr(held, "of_others"):
                others: list[Any] = list(self.members)[1:]
                held.of_others = [DynamicCache(config=member.config.get_text_config()) for member in others]
            return [held, *held.of_others]
        raise ModelError(
            f"A cache of {len(held.layers)} layers is not this ensemble's: its members have {', '.join(map(str, self.depths))}."
        )

    def init_continuous_batching(self, *_: Any, **__: Any) -> Any:
        """Not done: its pages of keys and values are those of one model."""
        raise NotImplementedError("its cache holds one model")

    def _reorder_cache(self, *_: Any) -> None:
        raise ModelError("An ensemble cannot be searched with beams; sample it.")


class _Output(SimpleNamespace):
    """What a forward pass gives, readable as transformers' outputs are."""

    def __getitem__(self, name: str) -> Any:
        return getattr(self, name)

    def __contains__(self, name: str) -> bool:
        return name in vars(self)

    def get(self, name: str, default: Any = None) -> Any:
        return getattr(self, name, default)


def cache_name(member: Any) -> str:
    """The name under which a member takes keys and values: it changed between releases of transformers."""
    base = member.get_base_model() if hasattr(member, "get_base_model") else member
    taken = inspect.signature(base.forward).parameters
    found = next((name for name in ("cache", "past_key_values") if name in taken), None)
    if found is None:
        raise ModelError(
            f"{type(base).__name__} keeps no keys and values that an ensemble could hold; use another model."
        )
    return found


@torch.inference_mode()
def _depth(member: Any, name: str) -> int:
    """How many layers of keys and values a member keeps: fewer than its layers where some share."""
    cache = DynamicCache()
    device = device_of(member)
    member(input_ids=torch.zeros((1, 1), dtype=torch.long, device=device), use_cache=True, **{name: cache})
    return len(cache.layers)


def same_vocabulary(first: Any, other: Any, who: str) -> None:
    """ModelError unless two tokenizers give the same ids the same tokens. who: names the other model in the message."""
    mine, theirs = first.get_vocab(), other.get_vocab()
    if mine != theirs:
        differ = next(iter(sorted(mine.items() ^ theirs.items(), key=lambda pair: (pair[1], pair[0]))))
        raise ModelError(
            f"{who} has another vocabulary ({len(theirs):,} tokens against {len(mine):,}; they differ at token {differ[1]}): "
            "logits can be combined only for the same tokens; use models with one tokenizer."
        )


def ensemble(members: Sequence[LoadedModel], combine: CombineLogits) -> LoadedModel:
    """The members as one loaded model: tokenizer, template and end tokens of the first.

    Its fingerprint holds those of all members and what `combine` shows of itself (its repr): a dataclass with its options as
    fields is known again, a lambda is not. ModelError for a member with another vocabulary.
    """
    first = members[0]
    for other in members[1:]:
        same_vocabulary(first.tokenizer, other.tokenizer, f"{other.name}, to be combined with {first.name},")
    width = min(member.model.get_input_embeddings().weight.shape[0] for member in members)
    if width <= max(first.tokenizer.get_vocab().values()):
        raise ModelError(f"A model combined with {first.name} has only {width:,} logits, fewer than there are tokens.")
    marks = "\n".join([*(member.fingerprint for member in members), repr(combine)])
    return LoadedModel(
        model=Ensemble([member.model for member in members], combine),
        tokenizer=first.tokenizer,
        template=first.template,
        name=" + ".join(member.name for member in members),
        fingerprint=hashlib.sha256(marks.encode()).hexdigest(),
        notes=list(dict.fromkeys(note for member in members for note in member.notes)),
        weights={"weights_sha256": " + ".join(member.weights.get("weights_sha256", "unknown") for member in members)},
    )


@dataclass(frozen=True, slots=True)
class EnsembleSource(ModelSource):
    """Where the members of an ensemble are, in plain values, so that another process can load the same.

    The fields of `ModelSource` are those of the first member; device, dtype and template are used for all.
    """

    others: tuple[str, ...] = ()
    """Directories or hub ids of the other members, in the order of `combine`."""
    combine: CombineLogits | None = None
    """A function that can be pickled, such as a dataclass with `__call__`."""

    joining: Joining | None = None
    """In place of `combine`: gives, for the first member, further ones made from it and what combines all."""

    def load(self) -> LoadedModel:
        if self.combine is None and self.joining is None:
            raise ModelError("An EnsembleSource needs `combine`, a function of the members' logits.")
        first = ModelSource.load(self)
        more, combine = self.joining(first) if self.joining is not None else ([], self.combine)
        assert combine is not None
        return ensemble([first, *(self.member(path).load() for path in self.others), *more], combine)

    def member(self, path: str) -> ModelSource:
        """Another member, loaded as the first is."""
        return ModelSource(
            path,
            device=self.device,
            dtype=self.dtype,
            template=self.template,
            trust_remote_code=self.trust_remote_code,
            device_map=self.device_map,
            load_in=self.load_in,
        )
