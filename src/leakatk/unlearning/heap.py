"""Memory that the C library keeps for itself: pieces that were freed between pieces in use.

Steps over rows of other lengths leave more of it each time. SmolLM2-135M, taught 8 answers of TOFU a step on a CPU, was at
3.9 GB after 15 steps and at 6.9 GB after 250.
"""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Callable
from functools import cache

EVERY = 8  # steps; giving it back at each step made a step 1.1 times as long, since what it needs is taken anew


def give_back() -> None:
    """Give what was freed back to the system, where the C library can: glibc's, that is on most Linux."""
    if trim := _trim():
        trim(0)


@cache
def _trim() -> Callable[[int], int] | None:
    if not sys.platform.startswith("linux"):
        return None
    found: Callable[[int], int] | None = getattr(ctypes.CDLL(None), "malloc_trim", None)
    return found
