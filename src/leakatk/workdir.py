"""Working directory of a command: private, with one writer at a time, and cleared of what killed writers left.

Claiming one takes three steps, the same for whatever is written there: `refuse_foreign` before anything is touched, `claim`
to hold it, and `settle`, which marks a new directory with what it is of and refuses one that is of something else.

The lock is the operating system's, on `run.lock`: it ends with the process, however that ends. `run.holder` names who
has it. Over a network it holds as far as the file system's own locks do (NFS 4, SMB); a file system without locks is
refused.
"""

from __future__ import annotations

import inspect
import json
import os
import platform
import re
import shutil
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

from leakatk.errors import RunError
from leakatk.files.checksums import INDEX
from leakatk.files.writing import leftover, make_private, read_kept, write_kept

if TYPE_CHECKING:
    from filelock import BaseFileLock

LOCK, HOLDER = "run.lock", "run.holder"
OWN = frozenset({LOCK, HOLDER, INDEX})  # what stands beside the content of every working directory


class Claim:
    """A directory that is held for writing; `close` it, or use it as a context manager."""

    def __init__(self, lock: BaseFileLock) -> None:
        self._lock = lock

    def close(self) -> None:
        self._lock.release()

    def __enter__(self) -> Claim:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.close()


def claim(directory: Path, *, wait: float = 0.0) -> Claim:
    """Hold the directory, made if need be, and clear what killed writers left. RunError when another writer has it.

    wait: seconds to wait for that writer.
    """
    make_private(directory)
    import filelock  # a few hundredths of a second, and `--help` needs none

    path = directory / LOCK
    known = inspect.signature(filelock.FileLock).parameters
    # A lock by the mere presence of a file would outlive its process.
    native: dict[str, Any] = {"fallback_to_soft": False} if "fallback_to_soft" in known else {}
    lock = filelock.FileLock(path, timeout=wait, thread_local=False, **native)
    try:
        lock.acquire(poll_interval=0.01)
    except filelock.Timeout:
        raise RunError(
            f"{directory} is being written by {_holder(directory)}; wait for it to end, stop it, or choose another directory."
        ) from None
    except (OSError, NotImplementedError) as error:
        reason = getattr(error, "strerror", None) or error
        raise RunError(
            f"Cannot lock {path}: {reason}; put it where you can write, on a file system that has locks (a local disk)."
        ) from error
    if isinstance(lock, filelock.SoftFileLock):
        lock.release()
        raise RunError(f"Cannot lock {path}: no locks there; put it on a file system that has locks (a local disk).")
    try:
        (directory / HOLDER).write_text(f"process {os.getpid()} on {platform.node()}\n", encoding="utf-8")
        clear(directory)
    except OSError as error:
        lock.release()
        raise RunError(
            f"Cannot write in {directory}: {error.strerror or error}; free some space. Nothing was lost."
        ) from error
    return Claim(lock)


def abandon(directory: Path, *, made: bool) -> None:
    """Take back a claim under which nothing was begun; a directory that was made for it goes too.

    Where another writer has come meanwhile, all stays.
    """
    with suppress(RunError, OSError), claim(directory):
        for name in OWN:
            (directory / name).unlink(missing_ok=True)
        if made:
            directory.rmdir()


def _holder(directory: Path) -> str:
    with suppress(OSError, UnicodeDecodeError):
        return (directory / HOLDER).read_text(encoding="utf-8").strip() or "another process"
    return "another process"


def clear(directory: Path) -> None:
    """Remove what writers that are no more left half-made; only for who holds the directory.

    Models half-saved (`.saving`, `.NAME.part`) are of holders alone. A `.NAME.PID.tmp` may be of a process that works
    without the lock, such as one that adds scores: it goes when no other process of that number runs.
    """
    for path in directory.glob(".*"):
        numbered = re.fullmatch(r"\..+\.(\d+)\.tmp", path.name)
        whole = path.name == ".saving" or path.name.endswith(".part")
        if not (whole or (numbered and not _alive(int(numbered[1])))):
            continue
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
        elif numbered:
            path.unlink(missing_ok=True)


def _alive(pid: int) -> bool:
    """Whether another process of this number runs here; True where the system does not say."""
    if pid == os.getpid():  # a holder begins with nothing half-written: it is of an earlier process of the same number
        return False
    if os.name != "posix":
        return True
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except OSError:  # another user's
        return True
    return True


CONFIG = "config.toml"


CONFIG_MARK = "# leakatk "  # how the file of the resolved options begins


def contents(directory: str | Path) -> set[str]:
    """What a directory holds, but for leftovers, lock and checksums, and the resolved options that a command wrote before
    it began.
    """
    directory = Path(directory)
    there = [path.name for path in directory.iterdir()] if directory.is_dir() else []
    names = {name for name in there if not leftover(name)} - OWN
    if CONFIG in names and ours(directory / CONFIG):
        names.remove(CONFIG)
    return names


def ours(config: Path) -> bool:
    """Whether a command wrote this file of resolved options; a pipe of that name is not even opened."""
    if not config.is_file():
        return False
    with config.open("rb") as file:
        return file.read(len(CONFIG_MARK)) == CONFIG_MARK.encode()


def occupied(directory: str | Path) -> bool:
    """Whether a directory holds anything that counts, so that a new run must not start in it."""
    return bool(contents(directory))


def refuse_foreign(directory: str | Path, what: str, markers: Collection[str], *, begun: Collection[str] = ()) -> None:
    """RunError unless a new run may start in the directory, or one of its kind is there.

    what: what belongs there, in words ("run", "small models").  markers: names any of which says that it is there.
    begun: names that are written before the marker: what a run killed at its very start leaves.
    """
    directory = Path(directory)
    names = contents(directory)
    # The marker is looked for again: another process of the same run may have written it meanwhile.
    if not names or any(name in names or (directory / name).exists() for name in markers):
        return
    strange = sorted(names - set(begun))
    if strange or not any((directory / name).exists() for name in OWN):
        strange = strange or sorted(names)
        raise RunError(
            f"{directory} is not empty and holds no {what} (it holds {', '.join(strange[:3])}"
            f"{' ...' if len(strange) > 3 else ''}); choose another directory. Nothing was changed."
        )


def settle(
    directory: Path,
    marker: str,
    identity: Mapping[str, Any],
    what: str,
    *,
    former: Callable[[dict[str, Any]], dict[str, Any]] | None = None,
    differs: str = "",
) -> bool:
    """Mark a held directory as that of `identity`, in the file `marker`; whether it was marked so already.

    RunError where it is that of something else: the fields that differ are named. former: what another version kept, as
    this one would have.  differs: what is said where the fields are hashes, which tell a person nothing.
    """
    path, plain = directory / marker, json.loads(json.dumps(identity))
    if not path.exists():
        write_kept(path, json.dumps(plain, indent=1))
        return False
    found = read_kept(path, "choose another directory")
    if not isinstance(found, dict):
        raise RunError(f"{path} is damaged: restore it from a copy, or choose another directory.")
    found = former(found) if former is not None else found
    # What a version does not know yet is as if it were off.
    there, now = ({k: v for k, v in row.items() if v is not None} for row in (found, plain))
    if differ := [line for _, line in compared(there, now)]:
        raise made_otherwise(directory, what, differ, differs)
    return True


def made_otherwise(directory: Path, what: str, differ: Collection[str], differs: str = "") -> RunError:
    """The error for a directory that holds the same kind of thing, made with other settings."""
    says = f"({differs})" if differs else f"(there, now): {'; '.join(differ)}"
    return RunError(
        f"{directory} holds {what} made otherwise {says}. "
        "Use the same settings to go on with it, or another directory. Nothing was changed."
    )


def compared(there: Mapping[str, Any], now: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """The fields that differ, nested ones as "model.dtype": (name, "name: value there, value now")."""
    left, right = dict(_flat(there)), dict(_flat(now))
    for name in sorted(left.keys() | right.keys()):
        if name not in left or name not in right or left[name] != right[name]:
            yield name, f"{name}: {_short(left, name)}, {_short(right, name)}"


def _short(row: Mapping[str, Any], name: str) -> str:
    text = repr(row[name]) if name in row else "absent"
    return text if len(text) <= 60 else text[:57] + "..."


def _flat(value: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, item in value.items():
        if isinstance(item, dict):
            yield from _flat(item, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", item
