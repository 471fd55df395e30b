"""Header of a .gguf file, read in bounded time and memory: what it holds, before another library builds anything of it.

Our own few lines beside the `gguf` package, which reads a cut or a hostile file as far as it goes, and slowly.
"""

from __future__ import annotations

import struct
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

from leakatk.errors import ModelError

MAGIC = b"GGUF"
_VERSIONS = (2, 3)
_SCALARS = {0: "<B", 1: "<b", 2: "<H", 3: "<h", 4: "<I", 5: "<i", 6: "<f", 7: "<?", 10: "<Q", 11: "<q", 12: "<d"}
_STRING, _ARRAY = 8, 9
_MOST_HEADER = 1 << 28  # bytes: vocabulary, merges and chat template of the largest models take some 20 MB
_MOST_ENTRIES, _MOST_DIMENSIONS, _MOST_KEPT = 1 << 20, 8, 1 << 20


@dataclass(frozen=True)
class Header:
    """What a .gguf file says of itself.

    fields: scalars and texts by their keys; of an array its length.
    tensors: name -> (number of its type, shape with the fastest dimension last).
    data: byte at which the tensors begin.  offsets: name -> byte from there.
    """

    fields: dict[str, Any] = field(default_factory=dict)
    tensors: dict[str, tuple[int, tuple[int, ...]]] = field(default_factory=dict)
    offsets: dict[str, int] = field(default_factory=dict)
    data: int = 0

    @property
    def architecture(self) -> str:
        return str(self.fields.get("general.architecture", ""))

    @property
    def elements(self) -> int:
        """Numbers of all tensors together."""
        return sum(map(count, (shape for _, shape in self.tensors.values())))

    def quantisation(self) -> str:
        """As the file states it ("Q4_1"), with the types of its tensors: "Q4_1 (Q4_1 x 210, F32 x 61)"."""
        from gguf import GGMLQuantizationType, LlamaFileType

        counts = Counter(GGMLQuantizationType(kind).name for kind, _ in self.tensors.values())
        types = ", ".join(f"{name} x {n}" for name, n in counts.most_common())
        stated = self.fields.get("general.file_type")
        try:
            named = LlamaFileType(stated).name.removeprefix("MOSTLY_").removeprefix("ALL_")
        except (ValueError, TypeError):  # not stated, or newer than the package
            named = counts.most_common(1)[0][0]
        return f"{named} ({types})"


def count(shape: tuple[int, ...]) -> int:
    found = 1
    for size in shape:
        found *= size
    return found


def read_header(path: Path) -> Header:
    """The header of a whole file. ModelError, in one sentence, for another kind of file, a damaged or a cut one."""
    size = path.stat().st_size
    with path.open("rb") as handle:
        if handle.read(4) != MAGIC:
            raise ModelError(f"{path} is not a GGUF file: it does not begin with GGUF; download or copy it again.")
        try:
            header = _read(handle, min(size, _MOST_HEADER))
        except (struct.error, ValueError, OverflowError):
            raise ModelError(f"{path} has a damaged GGUF header, or is cut short; download or copy it again.") from None
        except _VersionError as error:
            raise ModelError(f"{path} is GGUF version {error}, and 2 and 3 are read; convert it anew.") from None
    if not header.tensors or not header.architecture:
        raise ModelError(f"{path} holds no model: its header names no architecture or no tensors; give another file.")
    from gguf import GGML_QUANT_SIZES

    for name, (kind, shape) in header.tensors.items():
        if kind not in GGML_QUANT_SIZES:
            raise ModelError(f"{path}: {name:.60} is of type {kind}, which the package gguf does not know; update it.")
        block, width = GGML_QUANT_SIZES[kind]
        end = header.data + header.offsets[name] + count(shape) // block * width
        if end > size:
            raise ModelError(
                f"{path} is cut short: its header tells of at least {end:,} bytes and it has {size:,}; "
                "download or copy it again."
            )
    return header


class _VersionError(Exception):
    """A version of the format that is not read."""


def _read(handle: BinaryIO, most: int) -> Header:
    version, tensors, entries = struct.unpack("<IQQ", handle.read(20))
    if version not in _VERSIONS:
        raise _VersionError(version)
    if tensors > _MOST_ENTRIES or entries > _MOST_ENTRIES:
        raise ValueError("more entries than any model has")
    header = Header()
    for _ in range(entries):
        key = _text(handle, most)
        header.fields[key] = _value(handle, _number(handle, "<I"), most)
    for _ in range(tensors):
        name = _text(handle, most)
        dimensions = _number(handle, "<I")
        if dimensions > _MOST_DIMENSIONS or name in header.tensors:
            raise ValueError("a tensor of too many dimensions, or twice the same")
        shape = tuple(_number(handle, "<Q") for _ in range(dimensions))
        header.tensors[name] = _number(handle, "<I"), shape[::-1]
        header.offsets[name] = _number(handle, "<Q")
    step = header.fields.get("general.alignment", 32)
    if not isinstance(step, int) or step < 1:
        raise ValueError("an alignment that is none")
    start = -(-handle.tell() // step) * step
    return Header(header.fields, header.tensors, header.offsets, start)


def _value(handle: BinaryIO, kind: int, most: int) -> Any:
    if kind in _SCALARS:
        return _number(handle, _SCALARS[kind])
    if kind == _STRING:
        return _text(handle, most)
    if kind != _ARRAY:
        raise ValueError("a value of an unknown type")
    inner, length = _number(handle, "<I"), _number(handle, "<Q")
    if inner in _SCALARS:
        _skip(handle, length * struct.calcsize(_SCALARS[inner]), most)
    elif inner == _STRING:
        for _ in range(length):
            _skip(handle, _number(handle, "<Q"), most)
    else:
        raise ValueError("an array of an unknown type")
    return length


def _number(handle: BinaryIO, form: str) -> Any:
    return struct.unpack(form, handle.read(struct.calcsize(form)))[0]


def _text(handle: BinaryIO, most: int) -> str:
    length = _number(handle, "<Q")
    if length > _MOST_KEPT or handle.tell() + length > most:
        raise ValueError("a text beyond the end")
    return handle.read(length).decode("utf-8", "replace")


def _skip(handle: BinaryIO, length: int, most: int) -> None:
    if handle.tell() + length > most:
        raise ValueError("an array beyond the end")
    handle.seek(length, 1)
