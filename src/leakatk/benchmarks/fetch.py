"""Get a benchmark's published files: from a directory, or from the Hugging Face hub."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from leakatk.data import read_records
from leakatk.errors import InputError

SUFFIXES = (".jsonl", ".json")


def fetch(repository: str, file: str, *, data: Path | None, revision: str) -> Path:
    """Path of `file` (without its suffix): DATA/file.jsonl or .json, else downloaded from the dataset `repository`.

    InputError names the missing file and the command that helps.
    """
    if data is None:
        return _download(repository, f"{file}.json", revision)
    if not data.is_dir():
        raise InputError(f"{data}: no such directory; give --data the directory that holds {file}.jsonl.")
    for suffix in SUFFIXES:
        if (path := data / f"{file}{suffix}").exists():
            return path
    found = ", ".join(sorted(p.name for p in data.iterdir())[:8]) or "nothing"
    raise InputError(
        f"{data} has no {file}.jsonl or {file}.json (it holds {found}); get the files with "
        f"`hf download {repository} --repo-type dataset --local-dir {data}`."
    )


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

    offline = (
        "; with a connection elsewhere, run "
        f"`hf download {repository} --repo-type dataset --local-dir DIR` there and give --data DIR."
    )
    try:
        return Path(hf_hub_download(repository, name, repo_type="dataset", revision=revision))
    except GatedRepoError:
        raise InputError(
            f"{repository} is gated: accept its terms on https://huggingface.co/datasets/{repository}, "
            "then run `hf auth login`."
        ) from None
    except RevisionNotFoundError:
        raise InputError(f"{repository} has no revision {revision!r}; leave --revision out for the newest.") from None
    except RepositoryNotFoundError:
        raise InputError(
            f"{repository} was not found on the hub; if it is private, run `hf auth login`{offline}"
        ) from None
    except (LocalEntryNotFoundError, OfflineModeIsEnabled):
        raise InputError(f"Cannot reach the Hugging Face hub for {repository}/{name}{offline}") from None
    except EntryNotFoundError:
        raise InputError(f"{repository} has no file {name} at revision {revision!r}; try another --revision.") from None
    except (HfHubHTTPError, OSError) as error:
        raise InputError(f"Cannot download {repository}/{name} ({type(error).__name__}){offline}") from None


def rows(path: Path, *, count: int | None = None, columns: tuple[str, ...] = ()) -> list[dict[str, Any]]:
    """The records of a file, checked: `count` of them, each with these columns. InputError names file and defect."""
    records = []
    for number, row in read_records(path):
        missing = [column for column in columns if column not in row]
        if missing:
            raise InputError(
                f"{path}, line {number}: no column {missing[0]!r}; found {', '.join(row) or 'none'}. Is it the published file?"
            )
        records.append(row)
    if count is not None and len(records) != count:
        raise InputError(f"{path} has {len(records)} rows, the published file has {count}; is the copy complete?")
    return records
