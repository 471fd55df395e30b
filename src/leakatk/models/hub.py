"""Hugging Face hub, whether it can be reached: asked once, in a second or three, instead of half a minute of its client's retries."""

from __future__ import annotations

import os
import socket
from functools import lru_cache
from urllib.parse import urlparse
from urllib.request import getproxies

SECONDS = 3.0


def offline() -> bool:
    """HF_HUB_OFFLINE is set: the hub is not to be asked."""
    return os.environ.get("HF_HUB_OFFLINE", "").upper() in {"1", "ON", "YES", "TRUE"}


def host() -> tuple[str, int]:
    """Where the hub is: huggingface.co, or what HF_ENDPOINT says."""
    address = urlparse(os.environ.get("HF_ENDPOINT") or "https://huggingface.co")
    return address.hostname or "", address.port or (80 if address.scheme == "http" else 443)


def unreachable() -> str:
    """Why no connection to the hub comes about; "" where one does."""
    try:
        with socket.create_connection(host(), timeout=SECONDS):
            return ""
    except OSError as error:
        return error.strerror or str(error)


@lru_cache(maxsize=1)
def cache_alone() -> bool:
    """Only what was downloaded before can be had: HF_HUB_OFFLINE is set, or the hub does not answer. Behind a proxy the hub's own
    client has to find out.
    """
    return offline() or (not getproxies().get("https") and bool(unreachable()))
