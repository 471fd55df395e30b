"""Silence of libraries: their warnings, log lines and progress bars stay off the command line's terminal.

It speaks to programmers, of names and versions that the person at the terminal never chose; what concerns that person this
package says itself. LEAKATK_DEBUG=1 shows it all. Nothing here imports a library.
"""

from __future__ import annotations

import logging
import os
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from functools import wraps
from typing import Any

DEBUG = "LEAKATK_DEBUG"

# Read by the libraries when they are first imported, in this process and in those that it starts.
_ENVIRONMENT = {
    "PYTHONWARNINGS": "ignore",
    "TRANSFORMERS_VERBOSITY": "error",
    "TRANSFORMERS_NO_ADVISORY_WARNINGS": "1",
    "HF_HUB_VERBOSITY": "error",
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    "HF_DATASETS_DISABLE_PROGRESS_BARS": "1",
    "TQDM_DISABLE": "1",
    "TORCH_CPP_LOG_LEVEL": "ERROR",
    "VLLM_LOGGING_LEVEL": "ERROR",
}


def _drop(*arguments: Any, **options: Any) -> None:
    """In place of `warnings.showwarning`. The filters stay: a warning that is to be an error is one."""


def silence() -> None:
    """From now on in this process, unless LEAKATK_DEBUG is set: for processes that work for another. Else `hushed`."""
    if os.environ.get(DEBUG):
        return
    for name, value in _ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    logging.disable(logging.ERROR)
    warnings.showwarning = _drop
    # Libraries that are loaded already have read the environment.
    if transformers := sys.modules.get("transformers.utils.logging"):
        transformers.disable_progress_bar()
    if tqdm := sys.modules.get("tqdm.std"):
        _stop(tqdm.tqdm)


@contextmanager
def hushed() -> Iterator[None]:
    """As `silence`, for a while. Also a decorator: `@hushed()`."""
    environment = {name: os.environ.get(name) for name in _ENVIRONMENT}
    level, shown = logging.root.manager.disable, warnings.showwarning
    try:
        silence()
        yield
    finally:
        warnings.showwarning = shown
        logging.disable(level)
        if tqdm := sys.modules.get("tqdm.std"):
            tqdm.tqdm.__init__ = getattr(tqdm.tqdm.__init__, "before", tqdm.tqdm.__init__)
        for name, value in environment.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def _stop(bar: Any) -> None:
    """No bar of this class is drawn, whatever its maker asks for."""
    before = bar.__init__
    if hasattr(before, "before"):
        return

    @wraps(before)
    def init(self: Any, *arguments: Any, **options: Any) -> None:
        before(self, *arguments, **{**options, "disable": True})

    init.before = before  # type: ignore[attr-defined]
    bar.__init__ = init
