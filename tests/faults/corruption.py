"""Bits and digits flipped in the files of runs of every kind, one at a time, and what the library then says.

A try ends "same" (the right numbers: the damage was noticed and mended, or lies where nothing is read), "said" (one
sentence that names the file), "changed" (another number, and not a word) or "crashed" (a traceback).
"""

from __future__ import annotations

import random
import shutil
import string
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from leakatk.errors import LeakAtKError
from leakatk.workdir import HOLDER, LOCK

# Never read back: who holds the lock, what a person may edit, what is shown in a browser.
UNREAD = {LOCK, HOLDER, "config.toml", "report.html"}


@dataclass(frozen=True)
class Kind:
    """make: a run in a new directory.  read: its numbers, from the files alone.  resume: those that the same command ends with."""

    name: str
    make: Callable[[Path], Any]
    read: Callable[[Path], Any] | None = None
    resume: Callable[[Path], Any] | None = None


@dataclass
class Tally:
    ends: Counter[str] = field(default_factory=Counter)
    failures: list[str] = field(default_factory=list)

    def line(self, name: str) -> str:
        counts = ", ".join(f"{self.ends[end]} {end}" for end in ("same", "said", "changed", "crashed"))
        return f"{name}: {sum(self.ends.values())} tries, {counts}"


def damage(path: Path, rng: random.Random) -> str:
    """Change one digit into another, or flip one bit; says what it did."""
    content = bytearray(path.read_bytes())
    digits = [i for i, byte in enumerate(content) if chr(byte) in string.digits]
    if digits and rng.random() < 0.5:
        place = rng.choice(digits)
        content[place] = ord(rng.choice([d for d in string.digits if ord(d) != content[place]]))
        what = f"digit at {place}"
    else:
        bit = rng.randrange(8 * len(content))
        content[bit // 8] ^= 1 << bit % 8
        what = f"bit {bit}"
    path.write_bytes(content)
    return what


def files_of(place: Path) -> list[Path]:
    return sorted(
        path.relative_to(place) for path in place.rglob("*") if path.is_file() and path.name not in UNREAD and path.stat().st_size
    )  # fmt: skip


def attack(whole: Path, use: Callable[[Path], Any], tries: int, seed: int, work: Path, *, mend: bool) -> Tally:
    """Damage one file of a copy and use it, `tries` times, every file in turn. mend: do as the sentence says, and use it again."""
    rng, tally = random.Random(seed), Tally()
    wanted = use(shutil.copytree(whole, work / "untouched"))
    files = files_of(whole)
    rng.shuffle(files)
    for number in range(tries):
        place = shutil.copytree(whole, work / str(number))
        file = files[number % len(files)]
        what = f"{file}, {damage(place / file, rng)}"
        end, said = _outcome(place, use, wanted)
        if end == "said" and not _clear(said, place / file):
            end, said = "crashed", f"an unclear sentence: {said}"
        if end == "said" and mend and "run" in said and ("delete it" in said or "move it away" in said):
            (place / file).unlink()
            again, why = _outcome(place, use, wanted)
            if again != "same":
                end, said = "crashed", f"the advice did not help ({again}: {why}): {said}"
        tally.ends[end] += 1
        if end in ("changed", "crashed"):
            tally.failures.append(f"{what}: {end} {said}")
        shutil.rmtree(place)
    return tally


def _outcome(place: Path, use: Callable[[Path], Any], wanted: Any) -> tuple[str, str]:
    try:
        found = use(place)
    except LeakAtKError as error:
        return "said", str(error)
    except Exception as error:
        return "crashed", f"{type(error).__name__}: {error}"
    return ("same", "") if found == wanted else ("changed", f"{found!r:.300}")


def _clear(said: str, file: Path) -> bool:
    """One sentence that names the file, or the directory it is in, and what to do."""
    named = str(file) in said or str(file.parent) in said
    return (
        named
        and "\n" not in said
        and len(said) < 700
        and any(w in said for w in ("restore", "delete", "again", "copy", "check"))
    )
