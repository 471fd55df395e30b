"""Fingerprint of a model, wherever it lies: a hash of its weights, configs and tokenizer. Loads no model library."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from leakatk.errors import ModelError
from leakatk.models.gguf import gguf_file
from leakatk.models.pretrained import known, located


@dataclass(frozen=True)
class Identity:
    """What a model is known by.

    fingerprint: SHA-256 over weights, configs and tokenizer of a directory; of a .gguf file, which is all of that, its own;
    "org/name@commit" of what was loaded from the hub or its cache.
    weights_sha256: SHA-256 of the weights file, as `sha256sum` prints it; of several, SHA-256 of what it prints for them in the
    order of their names. "unknown" where the files are not on this machine.
    """

    fingerprint: str
    weights_sha256: str


def identity_of(name: str, revision: str | None = None) -> Identity:
    """The identity of a local model, a fetched one by its name, or a hub id; each file is read once.

    ModelError where a fetched model is not what was fetched.
    """
    found = _identity(located(name), revision)
    wanted = known(name)
    if wanted is not None and found.weights_sha256 != wanted.weights_sha256:
        raise ModelError(
            f"{wanted.path} is not the {name} that was fetched (SHA-256 {found.weights_sha256[:16]}, not "
            f"{wanted.weights_sha256[:16]}): move its directory away, and run `leakatk fetch {name}` again."
        )
    return found


def fingerprint(path: str | Path) -> str:
    """SHA-256 over the weights, configs and tokenizer files of a model directory (names and contents)."""
    return _read(Path(path)).fingerprint


def model_identity(name: str, revision: str | None = None) -> str:
    """The fingerprint of a local directory; "org/name@commit" of a hub id that was loaded from the hub or its cache."""
    return identity_of(name, revision).fingerprint


def _identity(name: str, revision: str | None) -> Identity:
    if Path(name).exists():
        return _read(Path(name))
    from huggingface_hub import try_to_load_from_cache

    held = (try_to_load_from_cache(name, file, revision=revision) for file in ("config.json", "adapter_config.json"))
    # In the cache a file lies in snapshots/<commit>/.
    place = next((Path(path).parent for path in held if isinstance(path, str)), None)
    weights = _weights(_read_each(place)) if place is not None else "unknown"
    return Identity(f"{name}@{place.name if place else None}", weights)


def _read(path: Path) -> Identity:
    if (file := gguf_file(path)) is not None:
        with file.open("rb") as handle:
            digest = hashlib.file_digest(handle, "sha256").hexdigest()
        return Identity(digest, digest)
    whole = hashlib.sha256()
    each = _read_each(path, whole)
    return Identity(whole.hexdigest(), _weights(each))


def _read_each(path: Path, whole: hashlib._Hash | None = None) -> dict[str, str]:
    """SHA-256 of each weights file by its name; `whole` takes names and contents of all files."""
    found = {}
    for file in _fingerprinted(path):
        weights = file.suffix == ".safetensors"
        if whole is None and not weights:
            continue
        digest = hashlib.sha256()
        if whole is not None:
            whole.update(file.name.encode() + b"\0")
        with file.open("rb") as handle:
            while chunk := handle.read(1 << 22):
                if whole is not None:
                    whole.update(chunk)
                if weights:
                    digest.update(chunk)
        if weights:
            found[file.name] = digest.hexdigest()
    return found


def _weights(each: dict[str, str]) -> str:
    if len(each) < 2:
        return next(iter(each.values()), "unknown")
    return hashlib.sha256("".join(f"{each[name]}  {name}\n" for name in sorted(each)).encode()).hexdigest()


def _fingerprinted(path: Path) -> Iterable[Path]:
    suffixes = {".safetensors", ".jinja", ".model"}
    names = {"config.json", "generation_config.json", "adapter_config.json", "tokenizer.json", "tokenizer_config.json"}
    return sorted(f for f in path.iterdir() if f.is_file() and (f.suffix in suffixes or f.name in names))
