"""Run directories as a whole: what lies below a place, of which model, how large, finished or not; and their removal.

A directory is known by the file that its command writes first or last. What this library never puts into a directory of that
kind is foreign: a list goes on below it, and a removal is refused because of it.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from leakatk.errors import InputError, LeakAtKError, RunError
from leakatk.files import checksums
from leakatk.files.reading import parse_json, read_text
from leakatk.files.writing import leftover
from leakatk.workdir import CONFIG, CONFIG_MARK, LOCK, OWN, claim, ours

_MODEL = ("*.safetensors", "*.json", "*.jinja", "*.model", "*.txt", "README.md")  # what save_pretrained writes
_PROMPTS = ("*.json", "*.jsonl", "*.txt")
_SHOWN = (CONFIG, "report.html")  # what any of them may hold besides
_SEVERAL = ("fine-tuned models", "unlearned models")
_DEEPEST = 12  # folders below the place that is listed


@dataclass(frozen=True)
class Kind:
    """One kind of run directory.

    name: in words.  marker: the file that it is known by.  done: files that are all there when it is finished, alternatives
    after a "|".  holds: patterns of the names in it, of folders with a "/" at the end.  unindexed: further ones, where no index
    of checksums says which files are its own.  command: what wrote its config.toml, where there is no marker yet.
    """

    name: str
    marker: str
    done: tuple[str, ...]
    holds: tuple[str, ...]
    unindexed: tuple[str, ...] = ()
    command: str = ""


_RUN = ("manifest.json", "prompts.jsonl", "generations/", "generations.parquet", "scores/", "server.json")
_OTHERS = (
    "greedy/",
    "retain/",
    "probes/",
    "attacks/",
    "retrained/",
    "reference/",
    "expansion-*.parquet",
    "judge-*.jsonl",
)
_AUDIT = (*_RUN, *_OTHERS, "results.json")
_TRAINING = ("checkpoints/", "stages/", "kept/")
KINDS = (
    Kind("demo on a real model", "demo-real.json", ("report.html",),
         ("demo-real.json", "pilot.json", "spent.json", "models/", "runs/", "rounds/")),
    Kind("demo", "demo.json", ("report.html",), ("demo.json", "seconds.json", "seed-*/")),
    Kind("benchmark", "results.parquet", ("results.parquet",), ("results.parquet", "cells/"), command="bench"),
    Kind("audit under attack", "attacks.json", ("attacks.json",), ("attacks.json", "*/"), command="attack"),
    Kind("audit", "results.json", ("results.json",), _AUDIT, command="audit"),
    Kind("samples", "manifest.json", (), _AUDIT),
    Kind("fine-tuned models", "finetune.json", (),
         ("finetune.json", "full/", "retrained/", "recall/"), _PROMPTS, "finetune"),
    Kind("small models", "training.json", ("full/config.json|corrupted/config.json", "retrained/config.json|clean/config.json"),
         ("training.json", "base*/", "full/", "retrained/", "clean/", "corrupted/"), _PROMPTS, "train-small"),
    Kind("model by RULE", "rounds/rule.json", ("rounds/rounds.json", "config.json|adapter_config.json"),
         ("rounds/", "control-rounds/", "control/", "verdict.json"), _MODEL),
    Kind("rounds of RULE", "rule.json", ("rounds.json",), ("rule.json", "rounds.json", "round-*")),
    Kind("unlearned model", "run.json", ("unlearning.json",), ("run.json", "unlearning.json", *_TRAINING), _MODEL),
    Kind("unlearned models", "request-001/run.json", (), ("request-*/",), command="unlearn"),
    Kind("guard", "guard.json", ("guard.safetensors",), ("guard.json", "guard.safetensors")),
)  # fmt: skip


@dataclass(frozen=True)
class RunDirectory:
    """One directory that a command has made.

    path: where it is.  kind: what it holds, in words.  model: which one it is of, "" where nobody knows without loading it.
    created: when it was begun (UTC).  size: bytes of all its files.  files: how many these are.  finished: whether the command came
    to its end.  samples: (there, wanted) of an audit, () elsewhere.  foreign: names in it that this library did not write.
    damaged: what cannot be read in it, "" for nothing.
    """

    path: Path
    kind: str
    model: str
    created: datetime
    size: int
    files: int
    finished: bool
    samples: tuple[int, ...] = ()
    foreign: tuple[str, ...] = ()
    damaged: str = ""

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        there = {"there": self.samples[0], "wanted": self.samples[1]} if self.samples else None
        return {
            "path": str(self.path), "kind": self.kind, "model": self.model, "created": self.created.isoformat(timespec="seconds"),
            "bytes": self.size, "files": self.files, "finished": self.finished, "samples": there,
            "foreign": list(self.foreign), "damaged": self.damaged,
        }  # fmt: skip


def look(path: str | Path) -> RunDirectory | None:
    """What a directory holds; None where no command of this library has made it. Reads what is small, never the samples."""
    path = Path(path)
    kind = _kind_of(path)
    if kind is None:
        return None
    damaged, model, created = "", "", _begun(path)
    samples: tuple[int, ...] = ()
    try:
        model = _model_of(path, kind)
        if kind.name in ("audit", "samples"):
            made = _json(path / "manifest.json")
            created = datetime.fromisoformat(made["created"])
            samples = _samples(path, int(made["n"]))
    except (LeakAtKError, LookupError, TypeError, ValueError, AttributeError, OSError) as error:
        damaged = " ".join(str(error).split()) or type(error).__name__
    size, files = _weight(path)
    whole = not samples or samples[0] >= samples[1]
    finished = not damaged and whole and all(_any(path, names) for names in kind.done)
    if kind.name in _SEVERAL:  # how many there will be is written nowhere: those that were begun are looked at
        finished &= all(one.with_name("unlearning.json").exists() for one in path.glob("*/run.json"))
    return RunDirectory(
        path, kind.name, model, created, size, files, finished, samples, tuple(_foreign(path, kind)), damaged
    )


def below(root: str | Path) -> list[RunDirectory]:
    """The run directories at or below a place, by path. Links are not followed; what is a part of one is not listed by itself."""
    root = Path(root)
    if not root.is_dir():
        raise InputError(f"{root}: no such directory; give one that holds run directories.")
    return list(_walk(root, 0))


def _walk(place: Path, depth: int) -> Iterator[RunDirectory]:
    found = look(place)
    if found is not None:
        yield found
    try:
        inside = sorted(entry.name for entry in os.scandir(place) if entry.is_dir(follow_symlinks=False))
    except OSError:  # another user's
        return
    names = inside if found is None else [name for name in inside if name in found.foreign]
    if depth < _DEEPEST:
        for name in names:
            if name != ".git":
                yield from _walk(place / name, depth + 1)


def check_removable(path: str | Path) -> RunDirectory:
    """The directory, when it may be removed. InputError for a link, a part of a run, what no command of ours has made, and one
    that holds what is not of the run."""
    path = Path(path)
    if path.is_symlink():
        raise InputError(f"{path} is a link; name the directory that it leads to ({path.resolve()}).")
    if not path.is_dir():
        raise InputError(f"{path}: no such directory.")
    whole = path.resolve()
    for upper in whole.parents:
        kind = _kind_of(upper)
        if kind is not None and not _is_foreign(upper / whole.relative_to(upper).parts[0], kind):
            raise InputError(
                f"{path} is a part of {upper} ({kind.name}), which would be damaged; remove that, or nothing."
            )
    found = look(path)
    if found is None:
        raise InputError(
            f"{path} holds nothing that leakatk made, so it is left alone; `leakatk runs list` shows what is."
        )
    if found.foreign:
        raise InputError(
            f"{path} also holds {', '.join(found.foreign[:3])}{' ...' if len(found.foreign) > 3 else ''}, which leakatk did not "
            "write; move that elsewhere first."
        )
    return found


def remove(path: str | Path) -> RunDirectory:
    """Remove a run directory and say what it was. InputError as `check_removable`, RunError while a process writes in it."""
    found = check_removable(path)
    path = found.path.resolve()
    with ExitStack() as held:
        for lock in sorted(path.rglob(LOCK)):
            held.enter_context(claim(lock.parent))
        # First out of the way: a removal that is cut short leaves no half of a run under the name of a whole one.
        aside = path.with_name(f".{path.name}.{os.getpid()}.tmp")
        try:
            path.rename(aside)
        except OSError as error:
            raise RunError(f"Cannot remove {path}: {error.strerror or error}. Nothing was changed.") from error
    try:
        shutil.rmtree(aside)
    except OSError as error:
        raise RunError(f"{path} is not wholly removed: {error.strerror or error}; the rest is in {aside}.") from error
    return found


def _kind_of(path: Path) -> Kind | None:
    """What a directory is, by its marker, else by the options that a command wrote there."""
    command = _command(path)
    for kind in KINDS:
        if kind.marker == "results.json" and not (path / "manifest.json").is_file():
            continue
        if (path / kind.marker).is_file():
            break
    else:
        kind = next((one for one in KINDS if command and one.command == command), None)  # type: ignore[assignment]
        if kind is None:
            return None
    if kind.name == "samples":  # an audit that was stopped before its results
        return next((one for one in KINDS if command and one.command == command), kind)
    return kind


def _command(path: Path) -> str:
    """The command whose resolved options lie there; "" for none."""
    config = path / CONFIG
    try:
        if not ours(config):
            return ""
        with config.open(encoding="utf-8", errors="replace") as file:
            return file.readline(200).removeprefix(CONFIG_MARK).partition(" ")[0]
    except OSError:
        return ""


def _json(path: Path) -> Any:
    return parse_json(read_text(path), path)


def _model_of(path: Path, kind: Kind) -> str:
    if kind.name in ("audit", "samples"):
        return str(_json(path / "manifest.json")["model"]["model"])
    if kind.name == "guard":
        return str(_json(path / "guard.json")["model"]["name"])
    if kind.name in ("unlearned model", "model by RULE", "rounds of RULE"):
        about = _json(path / kind.marker)
        return " by ".join(Path(str(about[key])).name for key in ("model", "method") if about.get(key))
    if kind.name == "audit under attack":
        first = next(iter(sorted(path.glob("*/model/manifest.json"))), None)
        return str(_json(first)["model"]["model"]) if first else ""
    if kind.name == "benchmark" and (path / kind.marker).is_file():
        import pyarrow.parquet

        table = pyarrow.parquet.read_table(path / kind.marker, columns=["model"])
        return ", ".join(sorted({Path(name).name for name in table["model"].to_pylist()}))
    return ""


def _samples(path: Path, n: int) -> tuple[int, int]:
    """(samples there, samples wanted), counted without reading them."""
    import pyarrow.parquet

    with (path / "prompts.jsonl").open("rb") as file:
        wanted = n * sum(1 for line in file if line.strip())
    whole = path / "generations.parquet"
    there = pyarrow.parquet.read_metadata(whole).num_rows if whole.exists() else 0
    for shard in sorted((path / "generations").glob("*.jsonl")):
        with shard.open("rb") as file:
            there += sum(1 for line in file if line.endswith(b"\n"))
    return min(there, wanted), wanted


def _weight(path: Path) -> tuple[int, int]:
    """(bytes, number) of the files below, links not followed."""
    size = files = 0
    for folder, _, names in os.walk(path):
        for name in names:
            try:
                size += (Path(folder) / name).lstat().st_size
            except OSError:  # gone meanwhile
                continue
            files += 1
    return size, files


def _any(path: Path, names: str) -> bool:
    return any((path / name).exists() for name in names.split("|"))


def _foreign(path: Path, kind: Kind) -> list[str]:
    return sorted(entry.name for entry in os.scandir(path) if _is_foreign(path / entry.name, kind))


def _is_foreign(entry: Path, kind: Kind) -> bool:
    """Whether an entry of a run directory is of something else: it has no name that this kind holds, and nobody keeps its
    checksum."""
    name = entry.name
    if name in OWN or leftover(name) or (name.startswith(".") and name.endswith((".saving", ".part"))):
        return False
    if name.startswith("."):
        return True
    whole = name + "/" if entry.is_dir() else name
    if any(fnmatchcase(whole, pattern) for pattern in (*kind.holds, *_SHOWN)):
        return False
    if checksums.indexed(entry.parent):
        return name not in checksums.names(entry.parent)
    return not any(fnmatchcase(whole, pattern) for pattern in kind.unindexed)


def _begun(path: Path) -> datetime:
    """The oldest of its own files: what is written first stays as it was."""
    times = [entry.stat(follow_symlinks=False).st_mtime for entry in os.scandir(path) if not entry.is_dir()]
    return datetime.fromtimestamp(min(times, default=path.stat().st_mtime), UTC)
