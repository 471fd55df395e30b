"""Exposure of a run directory, which holds what was to be forgotten: to other users by its mode, to others by git."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterable
from pathlib import Path

_SECONDS = 10  # that git may take


def exposed(directories: Iterable[str | Path]) -> list[str]:
    """Sentences a person should see of directories, there or not yet: one a work tree, one for those that others may read."""
    trees: dict[Path, list[Path]] = {}
    unsure: dict[Path, list[Path]] = {}
    open_to_others = []
    for one in map(Path, directories):
        place = one.resolve()
        if (tree := work_tree(place)) is not None and (found := ignored(place)) is not True:
            (trees if found is False else unsure).setdefault(tree, []).append(one)
        if os.name == "posix" and place.is_dir() and place.stat().st_mode & 0o077:
            open_to_others.append(one)
    said = [
        f"{_named(places)} in the git work tree {tree}, which does not ignore {_them(places)}: prompts, answers and samples "
        "would be committed with the rest. Add it to .gitignore, or choose another place."
        for tree, places in trees.items()
    ]
    said += [
        f"{_named(places)} in the git work tree {tree}, and git could not be asked whether it ignores {_them(places)}: prompts, "
        "answers and samples may be committed with the rest."
        for tree, places in unsure.items()
    ]
    if open_to_others:
        names = " ".join(map(str, open_to_others[:3])) + (" ..." if len(open_to_others) > 3 else "")
        said.append(f"Other users of this machine may read {names}: chmod 700 keeps {_them(open_to_others)} private.")
    return said


def work_tree(place: Path) -> Path | None:
    """The git work tree that a place lies in, by its `.git`; None for none."""
    return next((upper for upper in (place, *place.parents) if (upper / ".git").exists()), None)


def ignored(place: Path) -> bool | None:
    """Whether git ignores a place, and so all below it; None where git does not say."""
    there = next(upper for upper in place.parents if upper.is_dir())
    try:
        # A pattern such as "runs/" is of folders alone, and this one may not be there yet: the slash says what it will be.
        asked = subprocess.run(
            ["git", "-C", str(there), "check-ignore", "--quiet", "--", str(place) if place.is_file() else f"{place}/"],
            capture_output=True, timeout=_SECONDS, check=False,
        )  # fmt: skip
    except (OSError, subprocess.SubprocessError):
        return None
    return {0: True, 1: False}.get(asked.returncode)


def _named(places: list[Path]) -> str:
    return f"{places[0]} lies" if len(places) == 1 else f"{places[0]} and {len(places) - 1} more lie"


def _them(places: list[Path]) -> str:
    return "it" if len(places) == 1 else "them"
