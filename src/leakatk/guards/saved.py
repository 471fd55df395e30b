"""Saved guard: a fitted detector and action in a directory, and the model that they were made for.

guard.json holds names, options and what tells whether all is still as it was; guard.safetensors the arrays. What was fitted may
be texts to be forgotten, so both are readable by their owner alone.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from leakatk.errors import InputError, RunError
from leakatk.files import checksums
from leakatk.files.reading import read_bytes
from leakatk.files.writing import read_kept, write_kept
from leakatk.guards import GUARDS
from leakatk.guards.base import Guard, known_hashes
from leakatk.models.fingerprint import model_identity
from leakatk.prompts import Known, Prompt, from_record, record
from leakatk.workdir import compared, refuse_foreign

ABOUT, ARRAYS = "guard.json", "guard.safetensors"
FORMAT = 1
_REMEDY = "fit the guard again"
_PARTS = ("detector", "action")


@dataclass(frozen=True)
class Saved:
    """A fitted guard with what it belongs to.

    model: name, fingerprint ("" of a model that is elsewhere).  hashes: of the prompts that it was fitted on.  auxiliary: name ->
    directory of the models that it combines.
    """

    guard: Guard
    model: Mapping[str, str]
    hashes: Mapping[str, str] = field(default_factory=dict)
    auxiliary: Mapping[str, str] = field(default_factory=dict)

    @property
    def known(self) -> Known:
        """What is left to give: the auxiliary models."""
        return Known(auxiliary=self.auxiliary)


def is_saved(place: str | Path) -> bool:
    """Whether a guard lies there."""
    return (Path(place) / ABOUT).is_file()


def save_guard(guard: Guard, known: Known, model: Mapping[str, str], out: str | Path) -> Path:
    """Write a fitted guard into a directory; returns it. model: its name and fingerprint.

    InputError for a guard that holds what cannot be written (a model, a function). RunError where something else lies.
    """
    out = Path(out)
    refuse_foreign(out, "guard", [ABOUT], begun=[ARRAYS])
    arrays: dict[str, np.ndarray[Any, Any]] = {}
    state = {
        part: {
            name: packed(value, f"{part}.{name}", arrays, guard.name)
            for name, value in _fitted(getattr(guard, part)).items()
        }
        for part in _PARTS
    }
    auxiliary = {
        name: {"path": _place(known.auxiliary[name]), "identity": model_identity(known.auxiliary[name])}
        for name in guard.action.models
    }
    about = {
        "format": FORMAT, "guard": guard.name, "options": guard.options(), "state": state, "model": dict(model),
        "known": known_hashes(guard, known), "auxiliary": auxiliary,
        "is": {part: _plain(getattr(guard, part).describe()) for part in _PARTS},
    }  # fmt: skip
    from safetensors.numpy import save

    from leakatk.files.strict_json import strict_json

    write_kept(out / ARRAYS, save(arrays))
    write_kept(out / ABOUT, strict_json(about, indent=1) + "\n")
    return out


def load_guard(place: str | Path) -> Saved:
    """The guard that `save_guard` wrote.

    InputError where none is, or its encoder or an auxiliary model is another by now, with what differs; RunError for damage.
    """
    place = Path(place)
    if not is_saved(place):
        raise InputError(
            f"{place} holds no guard ({ABOUT} is not there); make one with `leakatk guard fit NAME --out {place}`."
        )
    about = read_kept(place / ABOUT, _REMEDY)
    checksums.verify(place / ARRAYS, _REMEDY)
    try:
        if about["format"] != FORMAT:
            raise RunError(
                f"{place} is a guard of format {about['format']}, and this version reads {FORMAT}: {_REMEDY}."
            )
        from safetensors.numpy import load

        arrays = load(read_bytes(place / ARRAYS, most=1 << 32))
        guard = GUARDS[about["guard"]].with_options(**about["options"])
        parts = {
            part: replace(
                getattr(guard, part),
                **{name: unpacked(value, arrays) for name, value in about["state"][part].items()},
            )
            for part in _PARTS
        }
        made = replace(guard, **parts)
        auxiliary = {name: str(one["path"]) for name, one in about["auxiliary"].items()}
        then = {**about["is"], "auxiliary": {name: one["identity"] for name, one in about["auxiliary"].items()}}
        hashes, model = dict(about["known"]), dict(about["model"])
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        if isinstance(error, InputError):
            raise
        raise RunError(
            f"{place} holds no guard that this version can read ({type(error).__name__}): {_REMEDY}."
        ) from None
    now = {part: _plain(getattr(made, part).describe()) for part in _PARTS}
    now["auxiliary"] = {name: model_identity(path) for name, path in auxiliary.items()}
    _refuse(f"The guard in {place} rests on something that changed", then, now)
    return Saved(made, model, hashes, auxiliary)


def check_model(saved: Saved, place: str | Path, model: Mapping[str, str]) -> None:
    """InputError, with the fields that differ, unless the guard was fitted for this model. model: its name and fingerprint.

    A model that is elsewhere is known by its name alone, the last part of a path.
    """
    if saved.model.get("fingerprint") and model.get("fingerprint"):
        _refuse(
            f"The guard in {place} was fitted for another model",
            {"fingerprint": saved.model["fingerprint"]},
            {"fingerprint": model["fingerprint"]},
        )
        return
    _refuse(
        f"The guard in {place} was fitted for another model",
        {"name": Path(saved.model["name"]).name},
        {"name": Path(model["name"]).name},
    )


def _refuse(what: str, then: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    if differ := [text for _, text in compared(then, now)]:
        raise InputError(f"{what} (when it was fitted, now): {'; '.join(differ)}. Fit a guard for this one.")


def _place(path: str) -> str:
    return str(Path(path).resolve()) if Path(path).exists() else path


def _fitted(part: Any) -> dict[str, Any]:
    """The fields of a detector or action that are no options: what `fit` has set, but for the guarded model itself."""
    names = [one.name for one in dataclasses.fields(part) if one.name not in part.options() and one.name != "inside"]
    return {name: getattr(part, name) for name in names}


def _plain(value: Any) -> Any:
    """As JSON gives it back: what is missing (NaN) is None."""
    if isinstance(value, Mapping):
        return {str(name): _plain(one) for name, one in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_plain(one) for one in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def packed(value: Any, key: str, arrays: dict[str, np.ndarray[Any, Any]], who: str) -> Any:
    """A fitted value as JSON, its kind first; arrays go into `arrays` under `key`."""
    kind = type(value).__name__
    if isinstance(value, np.ndarray):
        arrays[key] = value.copy(order="C")  # ascontiguousarray would give a number a dimension
        return {"array": key}
    if isinstance(value, bool | int | str) or value is None:
        return {"plain": value}
    if isinstance(value, float):
        return {"float": repr(value)}
    if isinstance(value, Prompt):
        return {"prompt": record(value)}
    if isinstance(value, Known):
        named = {one.name: getattr(value, one.name) for one in dataclasses.fields(value)}
        return {"known": {name: packed(one, f"{key}.{name}", arrays, who) for name, one in named.items()}}
    if isinstance(value, tuple | list | frozenset):
        items = sorted(value, key=repr) if isinstance(value, frozenset) else value
        return {kind: [packed(one, f"{key}.{i}", arrays, who) for i, one in enumerate(items)]}
    if isinstance(value, Mapping):
        return {"dict": {str(name): packed(one, f"{key}.{name}", arrays, who) for name, one in value.items()}}
    if kind == "Tensor":  # of a torch that is loaded then
        arrays[key] = value.detach().cpu().float().numpy().copy(order="C")
        return {"tensor": key, "dtype": str(value.dtype).removeprefix("torch.")}
    raise InputError(f"Guard {who} cannot be saved: its {key} is a {kind}; use it with `leakatk audit --guard`.")


_SEQUENCES: dict[str, Any] = {"tuple": tuple, "list": list, "frozenset": frozenset}


def unpacked(row: Any, arrays: Mapping[str, np.ndarray[Any, Any]]) -> Any:
    kind, value = next(iter(row.items()))
    if kind == "array":
        return arrays[value]
    if kind == "plain":
        return value
    if kind == "float":
        return float(value)
    if kind == "prompt":
        return from_record(value)
    if kind == "known":
        return Known(**{name: unpacked(one, arrays) for name, one in value.items()})
    if kind in _SEQUENCES:
        return _SEQUENCES[kind](unpacked(one, arrays) for one in value)
    if kind == "dict":
        return {name: unpacked(one, arrays) for name, one in value.items()}
    if kind == "tensor":
        import torch

        return torch.from_numpy(arrays[value].copy()).to(getattr(torch, row["dtype"]))
    raise ValueError(kind)
