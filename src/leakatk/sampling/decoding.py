"""Decoding, how a model is sampled: every field explicit, checked on construction."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

from leakatk.errors import InputError


@dataclass(frozen=True, slots=True)
class Decoding:
    """The decoding distribution. Nothing is inherited from a model's generation_config.

    Order, as in transformers: repetition penalty, temperature, top-k, top-p, min-p, then renormalise.

    >>> Decoding(temperature=0.8, top_p=0.95).label
    'T=0.8 p=0.95'
    """

    temperature: float = 1.0
    """Divides the logits; 0 is greedy."""
    top_p: float = 1.0
    """Most probable tokens up to this mass, in (0, 1]; 1 is off. 0 is read as greedy, as in the paper's grid point (0, 0)."""
    top_k: int = 0
    """Most probable tokens that are kept; 0 is off."""
    min_p: float = 0.0
    """Tokens below this share of the most probable one are dropped, in [0, 1); 0 is off."""
    repetition_penalty: float = 1.0
    """Of tokens in the prompt and in what was generated (CTRL, as in transformers); 1 is off."""
    max_new_tokens: int = 200
    """Longest answer in tokens, at least 1."""
    stop: tuple[str, ...] = ()
    """Strings that end a sample; the text is cut before them."""

    def __post_init__(self) -> None:
        def refuse(field: str, value: object, need: str) -> None:
            raise InputError(f"Decoding.{field} must be {need}, got {value!r}.")

        if not (math.isfinite(self.temperature) and self.temperature >= 0):
            refuse("temperature", self.temperature, "a number >= 0 (0 is greedy)")
        if not 0 <= self.top_p <= 1:
            refuse("top_p", self.top_p, "between 0 and 1 (1 is off)")
        if self.top_k < 0 or int(self.top_k) != self.top_k:
            refuse("top_k", self.top_k, "a whole number >= 0 (0 is off)")
        if not 0 <= self.min_p < 1:
            refuse("min_p", self.min_p, "at least 0 and below 1 (0 is off)")
        if not (math.isfinite(self.repetition_penalty) and self.repetition_penalty > 0):
            refuse("repetition_penalty", self.repetition_penalty, "a number > 0 (1 is off)")
        if self.max_new_tokens < 1:
            refuse("max_new_tokens", self.max_new_tokens, "at least 1")
        if isinstance(self.stop, str):
            refuse("stop", self.stop, "a tuple of strings")
        object.__setattr__(self, "stop", tuple(self.stop))
        if any(not s for s in self.stop):
            refuse("stop", self.stop, "free of empty strings")

    def as_greedy(self) -> Decoding:
        """Greedy answers of the same length, which end at the same strings."""
        return Decoding(temperature=0.0, max_new_tokens=self.max_new_tokens, stop=self.stop)

    @property
    def greedy(self) -> bool:
        """True when one answer per prompt is all there is: every sample is the same."""
        return self.temperature == 0 or self.top_p == 0 or self.top_k == 1

    def as_dict(self) -> dict[str, Any]:
        return {**asdict(self), "stop": list(self.stop)}

    def filters(self) -> dict[str, Any]:
        """temperature, top_p, top_k and min_p for an engine of others: greedy is temperature 0 and the rest off."""
        if self.greedy:
            return {"temperature": 0.0, "top_p": 1.0, "top_k": 0, "min_p": 0.0}
        return {"temperature": self.temperature, "top_p": self.top_p, "top_k": self.top_k, "min_p": self.min_p}

    @property
    def label(self) -> str:
        """Short name for tables: "greedy", "T=1", "T=0.8 p=0.2"."""
        if self.greedy:
            return "greedy"
        parts = [f"T={self.temperature:g}"]
        parts += [f"p={self.top_p:g}"] if self.top_p < 1 else []
        parts += [f"top-k={self.top_k}"] if self.top_k else []
        parts += [f"min-p={self.min_p:g}"] if self.min_p else []
        parts += [f"rep={self.repetition_penalty:g}"] if self.repetition_penalty != 1 else []
        return " ".join(parts)
