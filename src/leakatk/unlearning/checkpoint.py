"""Checkpoints: what an unlearning run keeps on disk.

    out/run.json                      which run this is; another run is refused
    out/checkpoints/step-00000020/    weights.safetensors, optimizer.safetensors, progress.json; the latest two
    out/stages/unit-0002/             weights.safetensors, progress.json: where a later stage began; the latest two
    out/kept/NAME.safetensors         weights at the start and those that a stage kept (`leakatk.unlearning.stored`)
    out/*.safetensors, config, ...    the final model, a plain transformers checkpoint
    out/unlearning.json               method, settings, steps, log: written last, so its presence means finished

Every directory is filled under another name and renamed when whole: a killed process leaves the previous state. Each keeps
checksums (`leakatk.files.checksums`). A checkpoint with a damaged file is passed over for the one before, or for the start: what
follows is the same bit for bit, so only time is lost.
"""

from __future__ import annotations

import json
import math
import os
import shutil
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any, Protocol

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from leakatk.errors import InputError, RunError, first_line
from leakatk.files import checksums
from leakatk.files.strict_json import strict_json
from leakatk.files.writing import read_kept, write_kept
from leakatk.models.load import attach_adapter, load_model
from leakatk.models.loaded import LoadedModel
from leakatk.models.saving import building, save_model, sync
from leakatk.unlearning.sharding import alike, whole
from leakatk.workdir import claim, clear, contents, refuse_foreign, settle


class Accelerated(Protocol):
    """The part of the trainer that `save_final` needs."""

    main: bool


FOLDERS = ("checkpoints", "stages", "kept")  # what an unfinished run has
KEPT = 2  # checkpoints: one may turn out damaged
ALTERNATES = "alternates-{}.jsonl"  # other answers, which a writer may have put there before the run begins
# Parameters of methods that had none of that name before, and what they did then.
BEFORE = {"positions": "answer"}


def claimed(out: Path | None, *, resume: bool) -> AbstractContextManager[object]:
    """Hold `out` for this run; RunError when another process trains there, or it holds something else.

    Of several processes that train one model, the first holds it for all.
    """
    if out is None or os.environ.get("RANK", "0") != "0":
        return nullcontext()
    _refuse_foreign(out, resume)  # before anything is left there
    held = claim(out)
    for name in FOLDERS:
        clear(out / name)
    return held


def _refuse_foreign(out: Path, resume: bool) -> None:
    written = [path.name for path in out.glob(ALTERNATES.format("*"))]
    if not resume and contents(out) - set(written):
        raise RunError(f"{out} is not empty and resume is off; choose another directory or delete it.")
    refuse_foreign(out, "unlearning run", ("run.json",), begun=written)


def open_run(out: Path, manifest: Mapping[str, Any], *, resume: bool, device: str = "cpu") -> dict[str, Any] | None:
    """Start or continue the run in `out`; the contents of unlearning.json when it is finished, else None.

    A finished run of which somebody deleted weights, being damaged, is not finished.
    """
    _refuse_foreign(out, resume)
    begun = settle(
        out, "run.json", manifest, "an unlearning run", former=lambda found: _as_now(found, manifest, device)
    )
    saved = any((out / name).exists() for name in ("config.json", "adapter_config.json"))
    there = (out / "unlearning.json").exists() and saved
    if not (begun and there and not checksums.lost(out)):
        return None
    finished: dict[str, Any] = read_kept(out / "unlearning.json")
    _drop_unfinished(out)  # killed before it came to that
    for name in ("log", "checks"):  # a term that a method lacks was NaN, which JSON has no word for
        finished[name] = [{k: math.nan if v is None else v for k, v in row.items()} for row in finished[name]]
    return finished


def _as_now(found: dict[str, Any], manifest: Mapping[str, Any], device: str) -> dict[str, Any]:
    """What an earlier version kept, with the parameters that it did not have yet."""
    if not isinstance(found.get("params"), dict):
        return found
    asked = manifest.get("params", {})
    found = {**found, "params": {**{k: v for k, v in BEFORE.items() if k in asked}, **found["params"]}}
    return dtype_as_now(found, manifest, "settings", device)


def dtype_as_now(found: dict[str, Any], manifest: Mapping[str, Any], key: str, device: str) -> dict[str, Any]:
    """What an earlier version kept, whose "auto" meant bf16 on a GPU and fp32 elsewhere, where that is asked for by name now.

    key: of the training settings.
    """
    there, former = found.get(key), _former_precision(device)
    if not isinstance(there, dict) or "precision" in found or manifest[key].get("dtype") != former:
        return found
    return {**found, key: {**there, "dtype": former}} if there.get("dtype") == "auto" else found


def _former_precision(device: str) -> str:
    return "bf16" if device == "cuda" else "fp32"


def precise(dtype: str, precision: str, device: str) -> dict[str, str]:
    """What a manifest says of the precision: nothing where "auto" means what it always meant, bf16 on a GPU and fp32 elsewhere."""
    return {"precision": precision} if dtype == "auto" and precision != _former_precision(device) else {}


def begun_in(path: Path, dtype: str, precision: str, device: str) -> tuple[str, str]:
    """The precision that a run goes on in, which may have begun on another processor, and a sentence where it did; for a new run
    `precision`.

    path: of its manifest.
    """
    if dtype != "auto" or not path.exists():
        return precision, ""
    found = read_kept(path, "choose another directory")
    kept = str(found.get("precision", _former_precision(device))) if isinstance(found, dict) else precision
    if kept == precision:
        return kept, ""
    return kept, f"The run began in {kept} and goes on in it; begun here, it would train in {precision}."


def save(
    out: Path,
    parameters: Mapping[str, Tensor],
    optimizer: torch.optim.Optimizer,
    progress: Mapping[str, Any],
    main: bool,
) -> None:
    """Write the checkpoint of progress["step"], keep the one before, delete older ones.

    Every process must call it: shards are gathered.
    """
    weights = {name: whole(value.detach()).cpu().contiguous() for name, value in parameters.items()}
    moments = _optimizer_tensors(optimizer)
    if not main:
        return
    folder = out / "checkpoints"
    target = folder / f"step-{progress['step']:08d}"
    with building(folder / f".{target.name}.{os.getpid()}.tmp", target) as part:
        save_file(weights, part / "weights.safetensors")
        save_file(moments, part / "optimizer.safetensors")
        (part / "progress.json").write_text(json.dumps(progress))
        sync(part)
        checksums.begin(part)
        shutil.rmtree(target, ignore_errors=True)  # one that was passed over as damaged
        part.rename(target)
    # Later ones were passed over as damaged.
    kept = [other for other in sorted(folder.glob("step-*")) if other.name <= target.name][-KEPT:]
    for other in folder.iterdir():
        if other not in kept:
            shutil.rmtree(other, ignore_errors=True)


def load_latest(
    out: Path, parameters: Mapping[str, Tensor], optimizer: torch.optim.Optimizer, unit: int = 0
) -> tuple[dict[str, Any] | None, list[str]]:
    """Put the latest whole checkpoint of stage number `unit` into the parameters and the optimiser.

    Gives its progress record, None without one, and a sentence for each that is damaged and was passed over.
    """
    folders = sorted((out / "checkpoints").glob("step-*"), reverse=True)
    notes: list[str] = []
    for number, folder in enumerate(folders):
        try:
            weights, moments, progress = _read(folder)
        except (RunError, OSError, SafetensorError) as error:
            instead = f"from {folders[number + 1].name}" if number + 1 < len(folders) else "from the start"
            notes.append(
                f"The checkpoint {folder} is damaged and was passed over, training goes on {instead}: {first_line(error)}."
            )
            continue
        if progress.get("unit", 0) != unit:  # of a stage that is done, or to be done again
            continue
        if note := checksums.note(folder):
            notes.append(note)
        if set(weights) != set(parameters):
            raise RunError(f"{folder} holds other parameters than this run trains; delete it to start over.")
        with torch.no_grad():
            for name, value in parameters.items():
                value.copy_(alike(weights[name], value))
        state: dict[int, dict[str, Any]] = {}
        trained = list(parameters.values())
        for key, tensor in moments.items():
            index, name = key.split(".", 1)
            shard = trained[int(index)]
            # Moments are laid out as their parameters are; the count of steps is a plain number.
            state.setdefault(int(index), {})[name] = alike(tensor, shard) if tensor.shape == shard.shape else tensor
        optimizer.load_state_dict({**optimizer.state_dict(), "state": state})
        return progress, notes
    return None, notes


def _read(folder: Path) -> tuple[dict[str, Tensor], dict[str, Tensor], dict[str, Any]]:
    """Weights, moments and progress, each found whole before any is used."""
    files = [folder / name for name in ("weights.safetensors", "optimizer.safetensors", "progress.json")]
    for file in files:
        checksums.verify(file)
    return load_file(files[0]), load_file(files[1]), read_kept(files[2])


def _optimizer_tensors(optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    return {
        f"{index}.{name}": whole(value.detach()).cpu().contiguous()
        for index, values in optimizer.state_dict()["state"].items()
        for name, value in values.items()
        if isinstance(value, Tensor)
    }


def save_final(loaded: LoadedModel, out: Path, record: Mapping[str, Any], trainer: Accelerated) -> None:
    """Write model, tokenizer and, last of all, unlearning.json; then drop the checkpoints.

    Of a model with an adapter the adapter alone, which names the model that it belongs to.
    """
    if not trainer.main:
        return
    for config in getattr(loaded.model, "peft_config", {}).values():
        base = Path(loaded.name)
        config.base_model_name_or_path = str(base.resolve()) if base.exists() else loaded.name
    save_model(loaded, out)
    write_kept(out / "unlearning.json", strict_json(record, indent=1))
    _drop_unfinished(out)


def _drop_unfinished(out: Path) -> None:
    for name in FOLDERS:
        shutil.rmtree(out / name, ignore_errors=True)


def load_final(loaded: LoadedModel, out: Path) -> None:
    """Put the finished model's weights into loaded.model. RunError when a file is not as it was saved."""
    checksums.verify_model(out, "delete it and run the same command again, which then trains anew")
    if (out / "adapter_config.json").exists():
        attach_adapter(loaded.model, out)  # its layers stand in the place of the model's own
        return
    again = load_model(out, device=str(loaded.device), dtype="fp32", template=loaded.template)
    missing = set(again.model.state_dict()) ^ set(loaded.model.state_dict())
    if missing:
        raise InputError(f"{out} holds another architecture than the model given (differing: {sorted(missing)[0]}).")
    loaded.model.load_state_dict(again.model.state_dict())
