"""A model in memory, with its tokenizer and template."""

from __future__ import annotations

import platform
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
import transformers
from transformers import (
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from leakatk.errors import ModelError
from leakatk.models.placement import device_of
from leakatk.models.template import PINNED_DATE as PINNED_DATE
from leakatk.models.template import Template as Template


@dataclass(frozen=True)
class LoadedModel:
    """A model in memory with all that is needed to ask it something.

    weights: what a manifest keeps of the files that it was loaded from, their SHA-256 before all (`weights_sha256`).
    """

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    template: Template
    name: str
    fingerprint: str
    notes: list[str] = field(default_factory=list)
    weights: Mapping[str, str] = field(default_factory=dict)
    load_in: str = ""
    """"8bit" or "4bit" where it was quantised while it was loaded; its fingerprint is another than that of its files then."""

    def note(self, sentence: str) -> None:
        """Add what a person must know, once."""
        if sentence not in self.notes:
            self.notes.append(sentence)

    def merge_adapter(self) -> None:
        """Put a LoRA adapter into the weights that it belongs to, so that all of them are trained and saved; else nothing."""
        if hasattr(self.model, "merge_and_unload"):
            object.__setattr__(self, "model", self.model.merge_and_unload())

    @property
    def device(self) -> torch.device:
        """Where token ids belong."""
        return device_of(self.model)

    @property
    def end_ids(self) -> frozenset[int]:
        """Every token id that ends an answer: the tokenizer's, the configs' and the chat template's."""
        end = self.template.end_id(self.tokenizer)
        return self.own_end_ids if end is None else self.own_end_ids | {end}

    @property
    def own_end_ids(self) -> frozenset[int]:
        """Those that the tokenizer and the configs name."""
        return end_token_ids(self.tokenizer, getattr(self.model, "generation_config", None), self.model.config)

    def describe(self) -> dict[str, Any]:
        """What a manifest keeps of the model: fingerprint, hash of the weights, template text, dtype, device, versions."""
        parameter = next(self.model.parameters())
        return {
            "model": self.name,
            "fingerprint": self.fingerprint,
            **self.weights,
            "template": self.template.describe(self.tokenizer),
            "dtype": str(parameter.dtype).removeprefix("torch."),
            "device": self.device.type,
            **({"load_in": self.load_in} if self.load_in else {}),
            "torch": torch.__version__,
            "transformers": transformers.__version__,
            "python": platform.python_version(),
        }


def end_token_ids(*holders: Any) -> frozenset[int]:
    """The `eos_token_id`, one or several, of a tokenizer and configs; None is passed over."""
    ids: set[int] = set()
    for value in (getattr(holder, "eos_token_id", None) for holder in holders):
        listed = value if isinstance(value, (list, tuple, set)) else [] if value is None else [value]
        if any(isinstance(i, bool) or not isinstance(i, int) for i in listed):
            raise ModelError(
                f"eos_token_id is {value!r:.60}, which is no token id or list of them; mend generation_config.json."
            )
        ids.update(listed)
    return frozenset(ids)
