"""Scorers with a model: the label names a local one by its weights, not by where it lies."""

from __future__ import annotations

import hashlib
from abc import ABC
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import ClassVar

from leakatk.errors import InputError
from leakatk.models.fingerprint import fingerprint
from leakatk.scorers.base import Scorer


@dataclass(frozen=True)
class CheckpointScorer(Scorer, ABC):
    """A scorer with the options `batch_size` and `model`, a directory or a hub id.

    A directory is shown as the hash of what is in it: the same model in another place is the same scorer, a changed one
    is another. A hub id is shown as it is.
    """

    needs_model: ClassVar[bool] = True

    model: str = ""
    batch_size: int = 32

    def __post_init__(self) -> None:
        if not self.model.strip():
            raise InputError(f"Scorer option {self.name}:model is empty; give a directory or a hub id.")
        if self.batch_size < 1:
            raise InputError(f"Scorer option {self.name}:batch_size must be at least 1, got {self.batch_size}.")

    def shown(self, option: str) -> str:
        if option == "model" and Path(self.model).is_dir():
            return f"sha256-{directory_hash(self.model)[:16]}"
        return super().shown(option)


@lru_cache
def directory_hash(directory: str) -> str:
    """SHA-256 over a model directory and, in a sentence encoder, its module directories (pooling)."""
    root = Path(directory)
    modules = sorted(path for path in root.iterdir() if path.is_dir()) if (root / "modules.json").exists() else []
    return hashlib.sha256("".join(fingerprint(part) for part in (root, *modules)).encode()).hexdigest()
