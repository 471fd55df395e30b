"""What an unlearning run keeps on disk.

    out/run.json                      which run this is; another run is refused
    out/checkpoints/step-00000020/    weights.safetensors, optimizer.safetensors, progress.json; only the latest
    out/*.safetensors, config, ...    the final model, a plain transformers checkpoint
    out/unlearning.json               method, settings, steps, log: written last, so its presence means finished

Every directory is filled under another name and renamed when whole: a killed process leaves the previous state.
"""

from __future__ import annotations

import json
import math
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from leakatk.data import occupied, read_kept, strict_json, write_atomic
from leakatk.errors import InputError, RunError
from leakatk.models import LoadedModel, building, load_model, save_model, sync
from leakatk.unlearning.sharding import alike, whole


class Accelerated(Protocol):
    """The part of the trainer that `save_final` needs."""

    main: bool


def open_run(out: Path, manifest: Mapping[str, Any], *, resume: bool) -> dict[str, Any] | None:
    """Start or continue the run in `out`; the contents of unlearning.json when it is finished, else None."""
    plain = json.loads(json.dumps(manifest))
    marker = out / "run.json"
    taken = occupied(out)  # asked before the marker is: another process of this run may be writing it
    if taken and not resume:
        raise RunError(f"{out} is not empty and resume is off; choose another directory or delete it.")
    if marker.exists():
        found = read_kept(marker)
        differing = sorted(k for k in {*found, *plain} if found.get(k) != plain.get(k))
        if differing:
            raise RunError(f"{out} holds another run (differing: {', '.join(differing)}); choose another directory.")
        if (out / "unlearning.json").exists():
            finished: dict[str, Any] = read_kept(out / "unlearning.json")
            for name in ("log", "checks"):  # a term that a method lacks was NaN, which JSON has no word for
                finished[name] = [{k: math.nan if v is None else v for k, v in row.items()} for row in finished[name]]
            return finished
        return None
    if taken:
        raise RunError(f"{out} is not empty and holds no unlearning run; choose another directory.")
    write_atomic(marker, json.dumps(plain, indent=1))
    return None


def save(
    out: Path,
    parameters: Mapping[str, Tensor],
    optimizer: torch.optim.Optimizer,
    progress: Mapping[str, Any],
    main: bool,
) -> None:
    """Write the checkpoint of progress["step"] and delete older ones. Every process must call it: shards are gathered."""
    weights = {name: whole(value.detach()).cpu().contiguous() for name, value in parameters.items()}
    moments = _optimizer_tensors(optimizer)
    if not main:
        return
    folder = out / "checkpoints"
    target = folder / f"step-{progress['step']:08d}"
    with building(folder / f".{target.name}.{os.getpid()}", target) as part:
        save_file(weights, part / "weights.safetensors")
        save_file(moments, part / "optimizer.safetensors")
        (part / "progress.json").write_text(json.dumps(progress))
        sync(part)
        part.rename(target)
    for other in folder.iterdir():
        if other != target:
            shutil.rmtree(other, ignore_errors=True)


def load_latest(out: Path, parameters: Mapping[str, Tensor], optimizer: torch.optim.Optimizer) -> dict[str, Any] | None:
    """Put the latest checkpoint into the parameters and the optimiser; its progress record, None without one."""
    folders = sorted((out / "checkpoints").glob("step-*")) if (out / "checkpoints").is_dir() else []
    if not folders:
        return None
    weights = load_file(folders[-1] / "weights.safetensors")
    if set(weights) != set(parameters):
        raise RunError(f"{folders[-1]} holds other parameters than this run trains; delete it to start over.")
    with torch.no_grad():
        for name, value in parameters.items():
            value.copy_(alike(weights[name], value))
    state: dict[int, dict[str, Any]] = {}
    trained = list(parameters.values())
    for key, tensor in load_file(folders[-1] / "optimizer.safetensors").items():
        index, name = key.split(".", 1)
        shard = trained[int(index)]
        # Moments are laid out as their parameters are; the count of steps is a plain number.
        state.setdefault(int(index), {})[name] = alike(tensor, shard) if tensor.shape == shard.shape else tensor
    optimizer.load_state_dict({**optimizer.state_dict(), "state": state})
    progress: dict[str, Any] = read_kept(folders[-1] / "progress.json")
    return progress


def _optimizer_tensors(optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    return {
        f"{index}.{name}": whole(value.detach()).cpu().contiguous()
        for index, values in optimizer.state_dict()["state"].items()
        for name, value in values.items()
        if isinstance(value, Tensor)
    }


def save_final(loaded: LoadedModel, out: Path, record: Mapping[str, Any], trainer: Accelerated) -> None:
    """Write model, tokenizer and, last of all, unlearning.json; then drop the checkpoints."""
    if not trainer.main:
        return
    save_model(loaded, out)
    write_atomic(out / "unlearning.json", strict_json(record, indent=1))
    shutil.rmtree(out / "checkpoints", ignore_errors=True)


def load_final(loaded: LoadedModel, out: Path) -> None:
    """Put the finished model's weights into loaded.model."""
    again = load_model(out, device=str(loaded.device), dtype="fp32", template=loaded.template)
    missing = set(again.model.state_dict()) ^ set(loaded.model.state_dict())
    if missing:
        raise InputError(f"{out} holds another architecture than the model given (differing: {sorted(missing)[0]}).")
    loaded.model.load_state_dict(again.model.state_dict())
