"""Memory that a model needs, told from the headers of its files before a weight is read, and the memory that is there.

weights      elements x bytes of the precision they are loaded in (codes and their scales where quantised)
training     + gradients and the optimiser's moments of what is trained, float32
the rest     + a tenth of the weights: a rough share for keys, values and activations, which grow with the batch
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache
from math import prod
from pathlib import Path

import psutil
import torch

from leakatk.errors import ModelError
from leakatk.models.files import read_header
from leakatk.models.gguf import check_gguf, gguf_file
from leakatk.models.hub import cache_alone
from leakatk.progress import format_bytes

SHARE = 0.1
BLOCK = 64  # weights that share a scale in 4 bits
_FLOATS = {"F64", "F32", "F16", "BF16"}
_SIZES = {"F64": 8, "I64": 8, "U64": 8, "F32": 4, "I32": 4, "U32": 4, "F16": 2, "BF16": 2, "I16": 2, "U16": 2}
_CGROUP = Path("/sys/fs/cgroup")

Stored = Mapping[str, tuple[str, tuple[int, ...]]]  # tensor -> (dtype of the file, shape)


@dataclass(frozen=True, slots=True)
class Trained:
    """What training adds to a model's memory."""

    rank: int = 0
    """Of a LoRA adapter on every linear layer; 0: all weights are trained, in float32."""
    moments: int = 8
    """Bytes that the optimiser keeps of a trained weight: 8 for AdamW, 2 for its 8-bit form."""


@dataclass(frozen=True, slots=True)
class Need:
    """Bytes that a model needs."""

    weights: int
    gradients: int = 0
    optimiser: int = 0
    cache: int = 0
    """A rough share for keys, values and activations."""

    @property
    def total(self) -> int:
        return self.weights + self.gradients + self.optimiser + self.cache

    def as_dict(self) -> dict[str, int]:
        return {**asdict(self), "total": self.total}

    def says(self) -> str:
        """about 1.9 GB (weights 1.2, gradients 0.2, optimiser 0.4, cache and activations 0.1)"""
        parts = {"weights": self.weights, "gradients": self.gradients, "optimiser": self.optimiser}
        words = [f"{name} {format_bytes(value)}" for name, value in parts.items() if value]
        return f"about {format_bytes(self.total)} ({', '.join([*words, f'cache and activations roughly {format_bytes(self.cache)}'])})"


def stored_tensors(path: str, revision: str | None = None) -> dict[str, tuple[str, tuple[int, ...]]] | None:
    """Every tensor of a model's files by name: dtype and shape. None where the headers cannot be read.

    path: a directory, a GGUF file, or a hub id, which is looked for in the cache, then on the hub: its headers alone.
    """
    if (file := gguf_file(path)) is not None:
        # As they are once loaded: dequantised.
        return {name: ("F32", shape) for name, (_, shape) in check_gguf(file).tensors.items()}
    place = Path(path)
    if not place.is_dir():
        from huggingface_hub import try_to_load_from_cache

        names = ("model.safetensors", "model.safetensors.index.json", "adapter_model.safetensors")
        held = (try_to_load_from_cache(path, name, revision=revision) for name in names)
        folder = next((Path(found).parent for found in held if isinstance(found, str)), None)
        if folder is None:
            return None if cache_alone() else _on_the_hub(path, revision)
        place = folder
    found: dict[str, tuple[str, tuple[int, ...]]] = {}
    for file in sorted(place.glob("*.safetensors")):
        found |= read_header(file)
    return found or None


@lru_cache(maxsize=8)  # a command asks before it loads, and loading asks again
def _on_the_hub(name: str, revision: str | None) -> dict[str, tuple[str, tuple[int, ...]]] | None:
    """The tensors of a hub model, by the headers of its files; None where the hub does not give them."""
    from huggingface_hub import get_safetensors_metadata

    try:
        about = get_safetensors_metadata(name, revision=revision)
    except Exception:  # no safetensors, gated, no answer: loading says which, and there the need is noted as unknown
        return None
    tensors = (file.tensors for file in about.files_metadata.values())
    return {name: (info.dtype, tuple(info.shape)) for held in tensors for name, info in held.items()}


def need_of(
    stored: Stored,
    precision: torch.dtype,
    load_in: str = "",
    training: Trained | None = None,
    adapter: Stored | None = None,
) -> Need:
    """What a model of these tensors needs, once loaded.

    precision: of what is not quantised.
    load_in: "", "8bit" or "4bit".
    training: None where it is only asked.
    adapter: tensors of an adapter that is loaded with it.
    """
    whole = training is not None and not training.rank
    size = 4 if whole else torch.empty((), dtype=precision).element_size()
    weights = sum(_bytes(name, dtype, shape, size, load_in) for name, (dtype, shape) in stored.items())
    weights += sum(_bytes(name, dtype, shape, size, "") for name, (dtype, shape) in (adapter or {}).items())
    trained = 0
    if training is not None:
        trained = sum(prod(shape) for dtype, shape in stored.values() if dtype in _FLOATS)
        if training.rank:
            trained = training.rank * sum(sum(shape) for name, (_, shape) in stored.items() if is_linear(name, shape))
            weights += 4 * trained
    return Need(
        weights,
        gradients=4 * trained,
        optimiser=(training.moments if training else 0) * trained,
        cache=int(SHARE * weights),
    )


def is_linear(name: str, shape: Sequence[int]) -> bool:
    """Whether a tensor is the weight of a linear layer within the model: what is quantised, and gets an adapter."""
    # Names of embeddings and heads in the files of transformers, and in those of GGUF.
    apart = ("embed", "wte", "wpe", "lm_head", "embed_out", "token_embd", "output.weight")
    own = name == "output.weight" or any(word in name for word in apart[:-1])
    return len(shape) == 2 and name.endswith("weight") and not own and "norm" not in name


def _bytes(name: str, dtype: str, shape: Sequence[int], size: int, load_in: str) -> int:
    count = prod(shape)
    if load_in and dtype in _FLOATS and is_linear(name, shape):
        if load_in == "8bit":
            transposed = any(word in name for word in (".c_attn.", ".c_fc.", ".c_proj."))  # as GPT-2 keeps them
            return count + 4 * int(shape[1 if transposed else 0])  # a scale for each output
        return -(-count // 2) + 4 * -(-count // BLOCK)
    return count * (size if dtype in _FLOATS else _SIZES.get(dtype, 1))


def main_memory() -> int:
    """Bytes of main memory that can be had: what the system has left, or the container is allowed."""
    free = int(psutil.virtual_memory().available)
    try:
        limit = int((_CGROUP / "memory.max").read_text())
        held = int((_CGROUP / "memory.current").read_text())
        rows = (line.split() for line in (_CGROUP / "memory.stat").read_text().splitlines())
        cached = next((int(row[1]) for row in rows if row[0] == "inactive_file"), 0)  # files that make room when asked
        return max(0, min(free, limit - held + cached))
    except (OSError, ValueError):  # no container, or "max"
        return free


def free_memory(device: torch.device, device_map: str = "") -> dict[str, int]:
    """Device -> bytes that can be had there. With a device map every GPU and the main memory count."""
    places = {}
    if device.type == "cuda":
        every = range(torch.cuda.device_count()) if device_map else [device.index or 0]
        places = {f"cuda:{i}": int(torch.cuda.mem_get_info(i)[0]) for i in every}
    if device_map or not places:
        places["main memory"] = main_memory()
    return places


def check_fits(name: str, need: Need, there: Mapping[str, int], remedies: Iterable[str] = ()) -> None:
    """ModelError, one sentence with the need and what is there, for a model that does not fit.

    there: device -> bytes, added up.
    remedies: what would make it smaller.
    """
    if need.total <= sum(there.values()):
        return
    have = " and ".join(f"{format_bytes(free)} in {place}" for place, free in there.items())
    way = " or ".join([*remedies, "a machine with more memory"])
    raise ModelError(f"{name} needs {need.says()}, and there is {have}; use {way}.")


def remedies(
    need: Need,
    device: torch.device,
    device_map: str,
    smaller: Mapping[str, Need],
) -> list[str]:
    """Options that would help, with the need that they leave. smaller: option -> the need with it."""
    found = [f"{option} (about {format_bytes(one.total)})" for option, one in smaller.items() if one.total < need.total]
    if device.type == "cuda" and not device_map:
        found.append("--device-map auto")
    return found
