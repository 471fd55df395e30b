"""Models that a study makes: kept in its scratch directory, and made again from settings and seed where they are gone."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

from real_cells import Clock, Numbers, sha256

from leakatk.files.strict_json import strict_json
from leakatk.files.writing import write_atomic
from leakatk.models.load import save_model
from leakatk.models.loaded import LoadedModel
from leakatk.models.weights import weights_of
from leakatk.workdir import claim

MODEL = "model"  # directory of the weights below a model's place


def kept_model(
    place: Path, start: Callable[[], LoadedModel], make: Callable[[LoadedModel], Numbers], clock: Clock
) -> tuple[Path, Numbers]:
    """(the model's directory, the record of its making), made unless both are there.

    start: gives the model to begin with, anew.  make: changes it in place and says how.  What was measured of former weights
    (the directories beside) goes with them. RunError where another process makes it.
    """
    weights, record = place / MODEL, place / "made.json"
    if not record.exists():
        with claim(place / "making"):
            with clock.part("unlearning"):
                loaded = start()
                done = {**make(loaded), "weights": sha256(weights_of(loaded.model))}
            for folder in (weights, *measured_of(place)):
                shutil.rmtree(folder, ignore_errors=True)
            save_model(loaded, weights)
            del loaded
            write_atomic(record, strict_json(done))
    return weights, json.loads(record.read_text(encoding="utf-8"))


def measured_of(place: Path) -> list[Path]:
    """The directories of what was measured of a model."""
    return [place / name for name in ("audit", "paraphrased", "evidence")]
