"""Cells of a study on a real model: one small JSON each, kept in the repository, so that a study goes on where it stopped.

A cell holds its settings, the machine, the versions, the SHA-256 of the weights, the seconds of each part and all numbers.
It is written whole when it is done. Weights are not kept in the repository: `--work` is a scratch directory for them, and
what is missing there is made again from the settings and the seed.

    python studies/real_knowledge.py --list
    python studies/real_knowledge.py --dry-run
    python studies/real_knowledge.py --run --work runs/real [--only 'npo*,rule-*'] [--minutes 60]

Several processes may share the work: each claims a cell by a lock in the scratch directory, which ends with the process. A
cell that was made with other settings is never mixed in: `--run` refuses it and names the settings that differ.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import leakatk
from leakatk.errors import InputError, LeakAtKError, RunError
from leakatk.files.strict_json import plain, strict_json
from leakatk.files.writing import write_atomic
from leakatk.workdir import claim, compared

HERE = Path(__file__).resolve().parent
CELLS = HERE / "real" / "cells"
Numbers = dict[str, Any]
WAIT = 20.0  # seconds


@dataclass
class Clock:
    """Seconds of each part of a cell, by the wall clock and of this process's processors."""

    seconds: dict[str, float] = field(default_factory=dict)
    cpu_seconds: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        """Time what is done within; a part that is entered again adds up."""
        wall, cpu = time.perf_counter(), time.process_time()
        try:
            yield
        finally:
            self.seconds[name] = round(self.seconds.get(name, 0.0) + time.perf_counter() - wall, 1)
            self.cpu_seconds[name] = round(self.cpu_seconds.get(name, 0.0) + time.process_time() - cpu, 1)


@dataclass(frozen=True)
class Cell:
    """One cell before it is done."""

    name: str
    """Its file's name without .json."""
    settings: Mapping[str, Any]
    """All that changes its numbers, the seed included: plain values."""
    make: Callable[[Clock], Numbers]
    """Make the numbers. Where a model is measured, "weights" is the SHA-256 of its weights."""
    minutes: float
    """About how long it takes on two cores that multiply bf16 fast."""
    needs: tuple[str, ...] = ()
    """Cells that must be done before."""


class Store:
    """The cells of one study on disk, and the scratch directory of its models."""

    def __init__(self, study: str, *, root: Path = CELLS, work: Path | None = None) -> None:
        self.study, self.root, self.work = study, root / study, work / study if work is not None else None

    def path(self, name: str) -> Path:
        return self.root / f"{name}.json"

    def names(self) -> list[str]:
        """The cells that are done."""
        return sorted(path.stem for path in self.root.glob("*.json"))

    def read(self, name: str) -> Numbers | None:
        """A whole cell, or None where it is not done. InputError for a file that is no cell of this study."""
        path = self.path(name)
        if not path.exists():
            return None
        try:
            found = json.loads(path.read_text(encoding="utf-8"))
        except ValueError as error:
            raise InputError(f"{path} is not JSON ({error}); restore it, or delete it to have it made again.") from None
        if not isinstance(found, dict) or (found.get("study"), found.get("cell")) != (self.study, name):
            raise InputError(f"{path} is not the cell {name} of {self.study}; restore it, or delete it.")
        return found

    def numbers(self, name: str) -> Numbers:
        """The numbers of a cell that must be there."""
        found = self.read(name)
        if found is None:
            raise InputError(f"Cell {name} of {self.study} is not done yet; run it first (--only {name}).")
        numbers: Numbers = found["numbers"]
        return numbers

    def scratch(self, name: str) -> Path:
        """Where a cell's models are. InputError where no scratch directory was given."""
        if self.work is None:
            raise InputError("The models need a place: give --work DIR (about 0.6 GB a model).")
        return self.work / name

    def done(self, cell: Cell) -> bool:
        """Whether the cell is there. RunError where it was made with other settings."""
        found = self.read(cell.name)
        if found is None:
            return False
        differ = [says for _, says in compared(found["settings"], plain(cell.settings))]
        if differ:
            raise RunError(
                f"{self.path(cell.name)} was made with other settings (there, now): {'; '.join(differ)}. Move it away to "
                "have it made again, or use the settings that it was made with. Nothing was changed."
            )
        return True

    def missing(self, cell: Cell) -> list[str]:
        """The cells that it needs and that are not there."""
        return [name for name in cell.needs if not self.path(name).exists()]

    def busy(self, cell: Cell) -> bool:
        """Whether another process makes the cell."""
        try:
            with claim(self.scratch(cell.name)):
                return False
        except RunError:
            return True

    def run(self, cell: Cell) -> bool:
        """Make the cell unless it is there or another process makes it; whether this one did."""
        with claim(self.scratch(cell.name)):
            if self.done(cell):
                return False
            clock = Clock()
            with clock.part("all"):
                numbers = dict(cell.make(clock))
            row = {
                "study": self.study, "cell": cell.name, "settings": plain(cell.settings), "machine": machine(),
                "versions": versions(), "weights": numbers.pop("weights", ""), "seconds": clock.seconds,
                "cpu_seconds": clock.cpu_seconds, "finished": time.strftime("%Y-%m-%d %H:%M", time.gmtime()),
                "numbers": numbers,
            }  # fmt: skip
            self.root.mkdir(parents=True, exist_ok=True)
            write_atomic(self.path(cell.name), folded(row) + "\n")
            return True


def folded(row: Mapping[str, Any]) -> str:
    """JSON with one line a field, and one line a field of the numbers: small, and a change can be read."""
    lines = []
    for key, value in row.items():
        if isinstance(value, Mapping) and value:
            inner = ",\n".join(f"  {json.dumps(str(k))}: {strict_json(v)}" for k, v in value.items())
            lines.append(f"{json.dumps(key)}: {{\n{inner}\n }}")
        else:
            lines.append(f"{json.dumps(key)}: {strict_json(value)}")
    return "{\n " + ",\n ".join(lines) + "\n}"


def machine() -> dict[str, Any]:
    """Processor, cores and instruction set, as far as the system tells."""
    import torch

    info = Path("/proc/cpuinfo").read_text() if Path("/proc/cpuinfo").exists() else ""
    lines = dict(line.split(":", 1) for line in info.splitlines() if ":" in line)
    fields = {key.strip(): value.strip() for key, value in lines.items()}
    flags = set(fields.get("flags", "").split())
    return {
        "processor": fields.get("model name") or platform.processor() or platform.machine(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "instruction_set": torch.backends.cpu.get_cpu_capability(),
        "bf16": [flag for flag in ("amx_bf16", "avx512_bf16") if flag in flags],
    }


def versions() -> dict[str, str]:
    """What computed the cell. code: the commit, "" outside a checkout."""
    import torch
    import transformers

    commit = subprocess.run(["git", "rev-parse", "HEAD"], cwd=HERE, capture_output=True, text=True, check=False)
    return {
        "leakatk": leakatk.__version__, "code": commit.stdout.strip(), "python": platform.python_version(),
        "torch": torch.__version__, "transformers": transformers.__version__,
    }  # fmt: skip


def sha256(weights: Mapping[str, Any]) -> str:
    """SHA-256 over the names and bytes of tensors, in the order of their names."""
    import torch

    digest = hashlib.sha256()
    for name in sorted(weights):
        digest.update(name.encode())
        digest.update(weights[name].detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data)
    return digest.hexdigest()


def say(text: str) -> None:
    print(time.strftime("%H:%M:%S"), text, file=sys.stderr, flush=True)


# -- the command


def options(description: str | None) -> argparse.ArgumentParser:
    """What every study's command takes."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--list", action="store_true", help="the cells: done, not run, or what they wait for")
    what.add_argument("--dry-run", action="store_true", help="what --run would do, with its cost; nothing is loaded")
    what.add_argument("--run", action="store_true", help="make the cells that are missing")
    parser.add_argument("--only", default="", metavar="NAMES", help="cells by name or pattern, comma-separated")
    parser.add_argument("--work", type=Path, metavar="DIR", help="scratch directory for models; may be deleted")
    parser.add_argument("--cells", type=Path, default=CELLS, metavar="DIR", help="where cells are kept")
    parser.add_argument("--minutes", type=float, default=0.0, help="begin no further cell after so many minutes")
    parser.add_argument("--wait", action="store_true", help="wait for cells that other processes make, and go on")
    return parser


def chosen(cells: Sequence[Cell], only: str) -> list[Cell]:
    """The cells named. InputError for a name or pattern that is of none."""
    patterns = [one.strip() for one in only.split(",") if one.strip()]
    for pattern in patterns:
        if not any(fnmatchcase(cell.name, pattern) for cell in cells):
            raise InputError(f"No cell is called {pattern}; there are {', '.join(cell.name for cell in cells)}.")
    return [cell for cell in cells if not patterns or any(fnmatchcase(cell.name, pattern) for pattern in patterns)]


def states(store: Store, cells: Sequence[Cell]) -> list[tuple[str, str]]:
    """(cell, what is of it) in order."""
    rows = []
    for cell in cells:
        try:
            missing = store.missing(cell)
            if store.done(cell):
                state = f"done, {store.read(cell.name)['seconds']['all'] / 60:.1f} min"  # type: ignore[index]
            else:
                state = f"not run, about {cell.minutes:g} min" + (f", after {', '.join(missing)}" if missing else "")
        except LeakAtKError as error:
            state = f"unusable: {error}"
        rows.append((cell.name, state))
    return rows


def run_all(store: Store, cells: Sequence[Cell], *, minutes: float = 0.0, wait: bool = False) -> list[str]:
    """Make the cells in order, again from the first while any could be made; the names of those still missing.

    wait: where nothing can be made, wait for what other processes make.
    """
    begun, made = time.monotonic(), True
    while made:
        made, busy = False, False
        for cell in cells:
            if store.done(cell) or store.missing(cell):
                continue
            if minutes and time.monotonic() - begun > 60 * minutes:
                say(f"{minutes:g} minutes are over; the same command goes on")
                return [one.name for one in cells if not store.done(one)]
            try:
                if store.run(cell):
                    made = True
                    found = store.read(cell.name) or {}
                    say(f"{cell.name}: {found['seconds']}")
                    break  # what it made possible may come before what is next
            except RunError as error:
                if store.path(cell.name).exists():
                    raise
                busy = store.busy(cell)
                say(f"{cell.name} is left to another process: {error}" if busy else f"{cell.name}: {error}")
        if wait and busy and not made:
            time.sleep(WAIT)
            made = True
    return [cell.name for cell in cells if not store.done(cell)]


def command(store: Store, cells: Sequence[Cell], arguments: argparse.Namespace) -> int:
    """Do what the command line asks for; the exit code: 0 all done, 2 bad input, 4 some cells are still missing."""
    try:
        picked = chosen(cells, arguments.only)
        if not arguments.run:
            for name, state in states(store, picked):
                print(f"{name:36} {state}")
            left = [cell for cell in picked if not store.path(cell.name).exists()]
            total = sum(cell.minutes for cell in left)
            print(f"{len(picked) - len(left)} of {len(picked)} done; left: {len(left)} cells, about {total:.0f} min")
            return 0
        left_names = run_all(store, picked, minutes=arguments.minutes, wait=arguments.wait)
    except LeakAtKError as error:
        print(error, file=sys.stderr)
        return 2
    if left_names:
        say(f"still missing: {', '.join(left_names)}")
    return 4 if left_names else 0
