"""Engines behind guards: which guard can act in which, and the one over a model and its auxiliary models."""

from __future__ import annotations

import copy
import dataclasses
from pathlib import Path
from typing import Any

from leakatk.errors import InputError
from leakatk.guards.base import Guard, place_of
from leakatk.prompts import Known
from leakatk.sampling.base import Sampler, loaded_of

# Engines whose model is in this process and whose forward passes are known to keep hooks and ensembles right.
IN_PROCESS = ("native", "generate")
_DTYPES = {"float32": "fp32", "bfloat16": "bf16", "float16": "fp16"}


def check_engine(sampler: Sampler, found: Guard) -> None:
    """InputError for an engine that the guard cannot act in."""
    place = place_of(found.action)
    loaded = loaded_of(sampler)
    here = loaded is not None and sampler.name in IN_PROCESS
    if found.detector.reads_model and not here:
        raise InputError(
            f"Guard {found.name} reads the inside of the model, which engine {_kind(sampler)} does not show; use --engine native or generate."
        )
    if place == "hooks" and not here:
        raise InputError(
            f"Guard {found.name} changes the inside of the model, which engine {_kind(sampler)} does not show; use --engine native or generate."
        )
    if place == "combine" and not (here or (_kind(sampler) == "ray" and sampler.name in IN_PROCESS)):
        shown = sampler.name if _kind(sampler) != "ray" else f"ray:inner={sampler.name}"
        raise InputError(
            f"Guard {found.name} combines logits, which engine {shown} does not show; use --engine native, generate or ray."
        )


def _kind(sampler: Sampler) -> str:
    return "ray" if type(sampler).__name__ == "RaySampler" else sampler.name


def combined(sampler: Any, guard: Guard, known: Known) -> Sampler:
    """The engine over the ensemble of the model and the auxiliary ones."""
    from leakatk.models.ensemble import EnsembleSource, ensemble
    from leakatk.models.load import ModelSource

    paths = tuple(known.auxiliary[name] for name in guard.action.models)
    loaded = loaded_of(sampler)
    if loaded is None:  # copies on other machines, which have other working directories
        paths = tuple(str(Path(path).resolve()) if Path(path).exists() else path for path in paths)
        fields = {field.name: getattr(sampler.source, field.name) for field in dataclasses.fields(sampler.source)}
        source = EnsembleSource(**fields, others=paths, joining=guard.action.joining)
        joined: Sampler = type(sampler)(
            source, replicas=sampler.replicas, inner=sampler.inner, cpus=sampler.cpus, gpus=sampler.gpus
        )
        return joined
    dtype = _DTYPES.get(str(next(loaded.model.parameters()).dtype).removeprefix("torch."), "auto")
    device = str(loaded.device)
    others = [
        ModelSource(path, device=device, dtype=dtype, template=loaded.template, load_in=loaded.load_in).load()
        for path in paths
    ]
    joined = copy.copy(sampler)
    more, combine = guard.action.joining(loaded)
    joined.loaded = ensemble([loaded, *others, *more], combine)  # type: ignore[attr-defined]
    return joined
