"""Boundaries between stages, on disk: the model's weights then, and how far the run was.

Within a stage that trains, checkpoints hold what is trained. What comes before that stage is here, so that a killed run need
not do it again.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import nn

from leakatk.errors import RunError, first_line
from leakatk.files import checksums
from leakatk.files.writing import read_kept
from leakatk.models.saving import building, sync
from leakatk.unlearning.stored import Store, Stored

KEPT = 2  # one may turn out damaged


def save(out: Path, model: nn.Module, position: Mapping[str, Any], store: Store, main: bool) -> None:
    """Write where stage number position["unit"] begins; drop what lies before, checkpoints and kept weights included."""
    if not main:
        return
    folder = out / "stages"
    target = folder / f"unit-{position['unit']:04d}"
    with building(folder / f".{target.name}.{os.getpid()}.tmp", target) as part:
        save_file(
            {name: value.detach().contiguous() for name, value in model.named_parameters()},
            part / "weights.safetensors",
        )
        (part / "progress.json").write_text(json.dumps(position))
        sync(part)
        checksums.begin(part)
        shutil.rmtree(target, ignore_errors=True)
        part.rename(target)
    for other in sorted(folder.glob("unit-*"))[:-KEPT]:
        shutil.rmtree(other, ignore_errors=True)
    shutil.rmtree(out / "checkpoints", ignore_errors=True)
    store.keep_only(_kept(folder))


def _kept(folder: Path) -> set[str]:
    """What the stages on disk need of the store."""
    needed: set[str] = set()
    for place in folder.glob("unit-*"):
        with suppress(RunError, OSError, ValueError):
            needed.update(json.loads((place / "progress.json").read_text())["kept"].values())
    return needed


def load_latest(out: Path, store: Store) -> tuple[dict[str, Any] | None, Mapping[str, Any], list[str]]:
    """The position and the weights of the latest stage that is whole, with all that was kept by then; None without one.

    Gives besides a sentence for each that is damaged and was passed over.
    """
    notes: list[str] = []
    for folder in sorted((out / "stages").glob("unit-*"), reverse=True):
        try:
            for name in ("weights.safetensors", "progress.json"):
                checksums.verify(folder / name)
            position: dict[str, Any] = read_kept(folder / "progress.json")
            for name in position["kept"].values():
                store.read(name)
            return position, Stored(folder / "weights.safetensors"), notes
        except (RunError, OSError, SafetensorError) as error:
            notes.append(f"The stage {folder} is damaged and was passed over: {first_line(error)}.")
    return None, {}, notes
