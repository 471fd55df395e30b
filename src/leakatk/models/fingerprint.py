"""Fingerprint of a model, wherever it lies: a hash of its weights, configs and tokenizer. Loads no model library."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path


def fingerprint(path: str | Path) -> str:
    """SHA-256 over the weights, configs and tokenizer files of a model directory (names and contents)."""
    path = Path(path)
    digest = hashlib.sha256()
    for file in _fingerprinted(path):
        digest.update(file.name.encode() + b"\0")
        with file.open("rb") as handle:
            while chunk := handle.read(1 << 22):
                digest.update(chunk)
    return digest.hexdigest()


def model_identity(name: str, revision: str | None = None) -> str:
    """The fingerprint of a local directory; "org/name@commit" of a hub id that was loaded from the hub or its cache."""
    if Path(name).exists():
        return fingerprint(name)
    from huggingface_hub import try_to_load_from_cache

    held = (try_to_load_from_cache(name, file, revision=revision) for file in ("config.json", "adapter_config.json"))
    # In the cache a file lies in snapshots/<commit>/.
    commit = next((Path(path).parent.name for path in held if isinstance(path, str)), None)
    return f"{name}@{commit}"


def _fingerprinted(path: Path) -> Iterable[Path]:
    suffixes = {".safetensors", ".jinja", ".model"}
    names = {"config.json", "generation_config.json", "adapter_config.json", "tokenizer.json", "tokenizer_config.json"}
    return sorted(f for f in path.iterdir() if f.is_file() and (f.suffix in suffixes or f.name in names))
