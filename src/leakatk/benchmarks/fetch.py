"""Published files of a benchmark: from a directory, or from the Hugging Face hub."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

from leakatk.benchmarks.base import Options
from leakatk.errors import InputError
from leakatk.files.reading import parse_json, read_records, read_text
from leakatk.models.hub import cache_alone

SUFFIXES = (".jsonl", ".json", ".parquet", "-00000-of-00001.parquet")


def fetch(
    repository: str, file: str, *others: str, data: Path | None, revision: str, hub_suffix: str = ".json"
) -> Path:
    """Path of `file` (without its suffix): in the directory `data`, else downloaded from the dataset `repository`.

    others: further names the file goes by, tried in order. InputError names the missing file and the command that helps.
    """
    if data is None:
        for name in (file, *others)[:-1]:
            try:
                return _download(repository, name + hub_suffix, revision)
            except MissingOnHub:
                continue
        return _download(repository, (file, *others)[-1] + hub_suffix, revision)
    if not data.is_dir():
        what = "is a file" if data.exists() else "no such directory"
        raise FetchError(f"{data}: {what}; give --data the directory that holds {file}.jsonl.")
    for name in (file, *others):
        for suffix in SUFFIXES:
            if (path := data / f"{name}{suffix}").exists():
                return path
    found = ", ".join(sorted(p.name for p in data.iterdir())[:8]) or "nothing"
    raise FetchError(
        f"{data} has no {file}.jsonl, .json or .parquet (it holds {found}); get the files with "
        f"`hf download {repository} --repo-type dataset --local-dir {data}`."
    )


def pinned(options: Options, path: Path) -> Options:
    """The options with the hub's commit that `path` came from as their revision, so that all files are of one commit.

    As they are where the files come from a directory.
    """
    parts = path.parts
    if options.data is not None or "snapshots" not in parts:
        return options
    return replace(options, revision=parts[parts.index("snapshots") + 1])


class FetchError(InputError):
    """A file or directory is not there or not let in; the message says how to get it."""


class MissingOnHub(FetchError):
    """The repository is there, the file is not."""


def _download(repository: str, name: str, revision: str) -> Path:
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import (
        EntryNotFoundError,
        GatedRepoError,
        HfHubHTTPError,
        LocalEntryNotFoundError,
        OfflineModeIsEnabled,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    logging.getLogger("huggingface_hub").setLevel(
        logging.ERROR
    )  # one sentence at the end, not a line for every attempt
    offline = (
        "; with a connection elsewhere, run "
        f"`hf download {repository} --repo-type dataset --local-dir DIR` there and give --data DIR."
    )
    try:
        return Path(
            hf_hub_download(repository, name, repo_type="dataset", revision=revision, local_files_only=cache_alone())
        )
    except GatedRepoError:
        raise FetchError(
            f"{repository} is gated: accept its terms on https://huggingface.co/datasets/{repository}, "
            "then run `hf auth login`."
        ) from None
    except RevisionNotFoundError:
        raise FetchError(f"{repository} has no revision {revision!r}; leave --revision out for the newest.") from None
    except RepositoryNotFoundError:
        raise FetchError(
            f"{repository} was not found on the hub; if it is private, run `hf auth login`{offline}"
        ) from None
    except (LocalEntryNotFoundError, OfflineModeIsEnabled):
        raise FetchError(f"Cannot reach the Hugging Face hub for {repository}/{name}{offline}") from None
    except EntryNotFoundError:
        raise MissingOnHub(
            f"{repository} has no file {name} at revision {revision!r}; try another --revision, or give --data DIR with it."
        ) from None
    except (HfHubHTTPError, OSError) as error:
        raise FetchError(f"Cannot download {repository}/{name} ({type(error).__name__}){offline}") from None


def rows(path: Path, *, count: int | None = None, columns: tuple[str, ...] = ()) -> list[dict[str, Any]]:
    """The records of a file, checked: `count` of them, each with these columns. InputError names file and defect."""
    records = []
    for number, row in _records(path):
        missing = [column for column in columns if column not in row]
        if missing:
            raise InputError(f"{path}, line {number}: no column {missing[0]!r}; found {', '.join(row) or 'none'}.")
        records.append(row)
    if count is not None and len(records) != count:
        raise InputError(f"{path} has {len(records)} rows, the published file has {count}.")
    return records


def texts(path: Path) -> tuple[str, ...]:
    """Plain passages: a JSON list of strings, or records with a column `text`."""
    if path.suffix == ".json" and (text := read_text(path)).lstrip().startswith("["):
        items = parse_json(text, path)
        if items and all(isinstance(item, str) for item in items):
            return tuple(items)
    found = [row["text"] for row in rows(path, columns=("text",))]
    if not all(isinstance(item, str) for item in found):
        raise InputError(f"{path}: every text must be a string.")
    return tuple(found)


def _records(path: Path) -> Iterable[tuple[int, dict[str, Any]]]:
    if path.suffix != ".parquet":
        return read_records(path)
    import pyarrow
    import pyarrow.parquet

    try:
        return enumerate(pyarrow.parquet.read_table(path).to_pylist(), start=1)
    except (pyarrow.ArrowException, OSError):
        raise InputError(f"{path}: not a readable Parquet file; it is cut short, or something else.") from None
