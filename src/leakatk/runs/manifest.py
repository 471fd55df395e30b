"""Manifest, what a run was made with: enough to say whether two runs may be mixed, and to repeat one."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import platform
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib import metadata
from typing import Any

from leakatk.errors import InputError, RunError
from leakatk.files.reading import parse_json
from leakatk.prompts import Prompt, record
from leakatk.workdir import compared

SCHEMA = 1

# Fields that may differ between two sessions of one run: they do not change what is sampled, or (n) only add to it.
# The weights are known by their fingerprint and the prompts by their hash, so their names and places are free.
# Versions and devices can move a floating-point tie; that is noted, not refused.
_NOTED = frozenset({"versions", "model.device"})
_FREE = (
    _NOTED
    | {"n", "created", "benchmark"}
    | {f"model.{key}" for key in ("model", "torch", "transformers", "vllm", "python", "weights_file", "quantisation")}
)
# Fields that older manifests do not have: they count where both have them.
_LATER = frozenset({"model.weights_sha256", "model.base_weights_sha256"})


@dataclass(frozen=True)
class Manifest:
    """One run, described.

    model: what the sampler's `describe` says (fingerprint of the weights, template with its text, dtype, device ...).
    benchmark: its name.  prompts_sha256: `prompts_hash` of the prompts.  decoding: every field, as effective.
    n: samples wanted for each prompt.  protocol: the named convention ("clean", "paper" ...).
    probe: how the prompts were asked, "" as they stand.  versions: of leak-at-k, torch, transformers and Python.  created: UTC, ISO 8601.  schema: of the run directory.
    """

    model: Mapping[str, Any]
    benchmark: str
    prompts_sha256: str
    decoding: Mapping[str, Any]
    seed: int
    n: int
    protocol: str
    engine: str
    versions: Mapping[str, str]
    created: str
    schema: int = SCHEMA
    probe: str = ""

    def __post_init__(self) -> None:
        if self.n < 1:
            raise InputError(f"A run needs at least one sample a prompt, got n = {self.n}.")
        for field in ("model", "decoding", "versions"):
            # As it will be read back (tuples become lists), so that a fresh manifest equals a stored one.
            object.__setattr__(self, field, json.loads(json.dumps(getattr(self, field), default=str)))

    @classmethod
    def create(
        cls,
        *,
        prompts: Sequence[Prompt],
        model: Mapping[str, Any],
        decoding: Mapping[str, Any],
        seed: int,
        n: int,
        engine: str,
        benchmark: str = "",
        protocol: str = "clean",
        probe: str = "",
    ) -> Manifest:
        """The manifest of a run that starts now."""
        return cls(
            model=model,
            benchmark=benchmark,
            prompts_sha256=prompts_hash(prompts),
            decoding=decoding,
            seed=seed,
            n=n,
            protocol=protocol,
            engine=engine,
            versions=versions(),
            created=datetime.now(UTC).isoformat(timespec="seconds"),
            probe=probe,
        )

    def to_json(self) -> str:
        return json.dumps(dataclasses.asdict(self), indent=1) + "\n"

    @classmethod
    def from_json(cls, text: str, *, where: str) -> Manifest:
        """RunError (its message starts with `where`) when the text is no manifest of ours."""
        try:
            row = parse_json(text, where)
        except InputError as error:
            raise RunError(f"{error} The file is damaged: restore it from a copy.") from None
        names = {field.name for field in dataclasses.fields(cls)}
        row = {"probe": "", **row} if isinstance(row, dict) else row  # runs of before there were probes
        if not isinstance(row, dict) or "schema" not in row or "prompts_sha256" not in row:
            raise RunError(f"{where} is no manifest of a leakatk run; choose another directory.")
        if row["schema"] != SCHEMA or set(row) != names:
            raise RunError(
                f"{where} has schema {row['schema']!r} and this leakatk reads {SCHEMA}; use the version that wrote it "
                f"({(row.get('versions') or {}).get('leak-at-k', 'unknown')})."
            )
        return cls(**row)


def differences(a: Manifest, b: Manifest) -> list[str]:
    """The fields that change numbers and differ, each as "field: value in a, value in b". Empty: a and b may be mixed.

    n (it may grow), the time, names, places, versions and devices do not count; `notes` tells of the last two.
    """
    lacking = {name for name in _LATER for one in (a, b) if name.partition(".")[2] not in one.model}
    return [line for name, line in _compare(a, b) if not _within(name, _FREE | lacking)]


def notes(a: Manifest, b: Manifest) -> list[str]:
    """Differences of versions and devices: allowed, yet able to move a floating-point tie."""
    return [line for name, line in _compare(a, b) if _within(name, _NOTED)]


def _within(name: str, fields: frozenset[str]) -> bool:
    return any(name == field or name.startswith(field + ".") for field in fields)


def _compare(a: Manifest, b: Manifest) -> Iterator[tuple[str, str]]:
    return compared(dataclasses.asdict(a), dataclasses.asdict(b))


def prompts_hash(prompts: Sequence[Prompt]) -> str:
    """SHA-256 over the prompts with all their fields, in the order of their ids: the order given does not matter."""
    rows = [record(prompt) for prompt in sorted(prompts, key=lambda prompt: prompt.id)]
    return hashlib.sha256(canonical_json(rows)).hexdigest()


def canonical_json(value: object) -> bytes:
    """One spelling for equal values: sorted keys, no spaces, ASCII."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True).encode()


def versions() -> dict[str, str]:
    """Versions of what can change a number, read from the installed packages without importing them."""
    found = {"python": platform.python_version()}
    for name in ("leak-at-k", "torch", "transformers", "numpy"):
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            found[name] = "not installed"
    return found
