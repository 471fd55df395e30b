"""Files of a model directory, read by their configs and headers before anything is built: nothing here runs its code."""

from __future__ import annotations

import json
import os
import re
import stat
import struct
from collections.abc import Iterator, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from leakatk.errors import ModelError, first_line
from leakatk.files import checksums

READ = {".json", ".safetensors", ".jinja", ".model", ".txt"}  # what transformers reads of a directory
TOKENIZER_FILES = (  # each a vocabulary; a tokenizer_config.json alone is no tokenizer
    "tokenizer.json",
    "tokenizer.model",
    "vocab.json",
    "vocab.txt",
    "spiece.model",
)
_LFS = b"version https://git-lfs.github.com/spec/"
_MOST = {".json": 1 << 28, ".jinja": 1 << 20, ".model": 1 << 28, ".txt": 1 << 28}  # bytes of a file
_MOST_CONFIG = 1 << 24  # bytes of a config, which is JSON of a few kilobytes
MOST_HEADER = 100_000_000  # bytes of a safetensors header; the format's own limit
_MOST_POSITIONS = 1 << 27
# Elements of the checkpoint that one of its stored elements may stand for (4-bit weights are packed two a byte).
_PACKED = 8
_LAYERS = {"num_hidden_layers", "n_layer", "n_layers", "num_layers", "decoder_layers", "encoder_layers"}
_SIZE = re.compile(r"(_size|_dim|_embd|_heads|_inner|_experts|_rank|d_model|d_ff|ffn_dim|n_head|n_embd|n_inner|^r)$")
_NEEDED = {
    "hidden_size",
    "num_hidden_layers",
    "num_attention_heads",
    "vocab_size",
    "intermediate_size",
    "n_embd",
    "n_layer",
    "n_head",
}
_LEARNED_POSITIONS = {"gpt2", "gpt_neo", "gptj", "opt", "gpt_bigcode", "codegen", "biogpt", "xglm", "openai-gpt"}
# Package that transformers needs for each way of quantising.
_QUANTISERS = {
    "bitsandbytes": "bitsandbytes", "bitsandbytes_4bit": "bitsandbytes", "bitsandbytes_8bit": "bitsandbytes",
    "gptq": "gptqmodel", "awq": "gptqmodel", "auto-round": "auto_round", "aqlm": "aqlm", "quanto": "optimum.quanto", "eetq": "eetq",
    "higgs": "flute", "hqq": "hqq", "compressed-tensors": "compressed_tensors", "fbgemm_fp8": "fbgemm_gpu", "torchao": "torchao",
    "vptq": "vptq", "spqr": "spqr_quant", "quark": "quark",
}  # fmt: skip

Header = dict[str, tuple[str, tuple[int, ...]]]  # tensor -> (dtype, shape)


def check_directory(path: Path) -> None:
    """ModelError for a directory that holds no model that can be loaded safely and in bounded time and memory.

    Read are sizes, configs and headers: git-lfs pointers, cut files, pipes, loops of links, absurd sizes.
    """
    if not path.is_dir():
        raise ModelError(f"{path} is a file; give the model's directory, or a .gguf file.")
    for file in _files(path):
        check_file(file)
    if not any((path / name).exists() for name in ("config.json", "adapter_config.json")):
        raise ModelError(f"{path} is no model directory: it has no config.json; give one saved with save_pretrained.")
    if closed := [file.name for file in path.iterdir() if not os.access(file, os.R_OK) and file.exists()]:
        raise ModelError(f"{path}: no permission to read {closed[0]}; check its owner and mode.")
    for file in _files(path):
        check_pointer(file)
    configs = {file.name: read_config(file) for file in _files(path) if _is_config(file)}
    _check_weights_there(path)
    headers = {file.name: read_header(file) for file in sorted(path.glob("*.safetensors"))}
    for name in sorted(set(configs.get("model.safetensors.index.json", {}).get("weight_map", {}).values())):
        if name not in headers and "model.safetensors" not in headers:
            raise ModelError(
                f"{path}: model.safetensors.index.json names {name!r:.80}, which is missing; is the copy complete?"
            )
    if "config.json" in configs:
        whole = [header for name, header in headers.items() if "adapter" not in name]
        _check_quantised(path, configs["config.json"], whole)
        check_sizes(path / "config.json", configs["config.json"], whole)
    if "adapter_config.json" in configs:
        _check_adapter(path / "adapter_config.json", configs["adapter_config.json"], headers)
    # What leakatk saved is what it loads; a model from elsewhere has no checksums.
    checksums.verify_model(path, f"make the model again, or delete {checksums.INDEX} if you changed the file yourself")


def read_config(file: Path) -> dict[str, Any]:
    """A JSON object. ModelError for what is none, or is too large or too deeply nested to be a config."""
    size = file.stat().st_size
    if size > _MOST_CONFIG:
        raise ModelError(
            f"{file} has {size:,} bytes, and a config has at most {_MOST_CONFIG:,}; restore it from its source."
        )
    try:
        found = json.loads(file.read_bytes())
    except RecursionError:
        raise ModelError(f"{file} is nested too deeply to be a config; restore it from its source.") from None
    except ValueError:  # a number of thousands of digits, and bytes that are no text, too
        raise ModelError(f"{file} is not valid JSON; is the copy complete?") from None
    if not isinstance(found, dict):
        raise ModelError(f"{file} holds {type(found).__name__}, not a JSON object; restore it from its source.")
    return found


def read_header(file: Path) -> Header:
    """Name -> dtype and shape of every tensor of a safetensors file. ModelError, which names the file, for a cut one."""
    size = file.stat().st_size
    with file.open("rb") as handle:
        start = handle.read(8)
        length = struct.unpack("<Q", start)[0] if len(start) == 8 else 0
        if not 2 <= length <= MOST_HEADER or length + 8 > size:
            raise ModelError(f"{file} is no whole safetensors file ({size:,} bytes); download or copy it again.")
        text = handle.read(length)
    try:
        entries = json.loads(text)
        found: Header = {}
        end = 0
        for name, entry in entries.items():
            if name != "__metadata__":
                found[name] = (str(entry["dtype"]), tuple(int(n) for n in entry["shape"]))
                end = max(end, int(entry["data_offsets"][1]))
    except (ValueError, TypeError, KeyError, IndexError, AttributeError, RecursionError):
        raise ModelError(f"{file} has a damaged safetensors header; download or copy it again.") from None
    if 8 + length + end > size:
        raise ModelError(
            f"{file} is cut short: its header tells of {8 + length + end:,} bytes and it has {size:,}; download or copy it again."
        )
    return found


def base_of(path: str) -> tuple[str, str]:
    """(the model that the adapter in directory `path` belongs to, a note on where it was found; "" where it was named).

    A relative path holds from the working directory; from the adapter's own directory and those above it where there is
    nothing there.
    """
    named = read_config(Path(path) / "adapter_config.json").get("base_model_name_or_path")
    if not isinstance(named, str) or not named:
        raise ModelError(f"{path}/adapter_config.json names no base model (base_model_name_or_path is {named!r:.40}).")
    if Path(named).exists() or Path(named).is_absolute():
        return named, ""
    here = Path(path).resolve()
    for place in (here, *list(here.parents)[:2]):
        if (place / named / "config.json").exists():
            return str(place / named), f"The adapter's base model {named} was taken from {place / named}."
    return named, ""


def has_tokenizer(path: Path) -> bool:
    return any((path / name).exists() for name in TOKENIZER_FILES)


def generic_tokenizer(path: Path) -> bool:
    """The directory says that its tokenizer.json is all there is to its tokenizer."""
    about = path / "tokenizer_config.json"
    if not about.is_file() or not (path / "tokenizer.json").is_file():
        return False
    return read_config(about).get("tokenizer_class") in ("PreTrainedTokenizerFast", "TokenizersBackend")


def _files(path: Path) -> Iterator[Path]:
    """The entries that are read when the model is loaded, links included."""
    for folder in (path, path / "additional_chat_templates"):
        if folder.is_dir():
            yield from sorted(file for file in folder.iterdir() if file.suffix in READ)


def check_file(file: Path) -> None:
    """ModelError for what is no regular file of a size that is read."""
    try:
        about = file.stat()
    except OSError as error:
        raise ModelError(
            f"{file} cannot be read: {error.strerror or first_line(error)}; is it a broken link?"
        ) from None
    if not stat.S_ISREG(about.st_mode):
        raise ModelError(f"{file} is no regular file, but a directory, pipe or device; remove it, or restore the file.")
    most = _MOST.get(file.suffix)
    if most and about.st_size > most:
        raise ModelError(
            f"{file} has {about.st_size:,} bytes, and at most {most:,} are read; restore it from its source."
        )


def check_pointer(file: Path) -> None:
    """ModelError for what git-lfs leaves in place of a file."""
    with file.open("rb") as handle:
        if handle.read(len(_LFS)) == _LFS:
            raise ModelError(
                f"{file} is a git-lfs pointer, not the file itself; run `git lfs pull` in the repository it was cloned from."
            )


def _is_config(file: Path) -> bool:
    """Small JSON objects: all but the vocabulary, whose reader has limits of its own."""
    return file.suffix == ".json" and file.name not in ("tokenizer.json", "vocab.json")


def _check_weights_there(path: Path) -> None:
    if list(path.glob("*.safetensors")):
        return
    pickles = [*path.glob("*.bin"), *path.glob("*.pt"), *path.glob("*.pth")]
    if pickles:
        raise ModelError(
            f"{path} holds pickle weights only ({pickles[0].name}), which can run code when loaded; "
            "convert them to safetensors (model.save_pretrained writes safetensors)."
        )
    raise ModelError(f"{path} has a config but no *.safetensors weights; is the copy complete?")


def _check_quantised(path: Path, config: Mapping[str, Any], headers: list[Header]) -> None:
    about = config.get("quantization_config")
    if about is None:
        for name, (dtype, _) in ((n, t) for header in headers for n, t in header.items()):
            if name.endswith("weight") and dtype[0] in "IUB" and dtype != "BF16":
                raise ModelError(
                    f"{path}: {name} holds {dtype} numbers, and config.json names no quantisation; is it complete?"
                )
        return
    method = about.get("quant_method") if isinstance(about, dict) else about
    if not isinstance(method, str):
        bits = isinstance(about, dict) and (about.get("load_in_4bit") or about.get("load_in_8bit"))
        if not bits:
            raise ModelError(
                f"{path}/config.json says that it is quantised, but not how (quant_method is {method!r:.40})."
            )
        method = "bitsandbytes"
    from transformers.quantizers.auto import AUTO_QUANTIZATION_CONFIG_MAPPING as KNOWN

    if method not in KNOWN and method != "bitsandbytes":  # transformers would read the packed numbers as weights
        raise ModelError(
            f"{path} is quantised with {method:.40}, which this transformers does not know; give it in bf16 or fp32."
        )
    package = _QUANTISERS.get(method.lower())
    if package and not is_installed(package):
        raise ModelError(
            f"{path} is quantised with {method}, which needs the package {package.replace('_', '-')}: pip install it, or give the "
            "model in bf16 or fp32."
        )


def is_installed(package: str) -> bool:
    try:
        return find_spec(package) is not None
    except (ImportError, ValueError):  # the package above it is missing
        return False


def check_sizes(file: Path, config: Mapping[str, Any], headers: list[Header]) -> None:
    """The config's sizes against what is stored: what it describes must be in the checkpoint, so nothing larger is built."""
    tensors = sum(map(len, headers))
    elements = _PACKED * sum(_count(shape) for header in headers for _, shape in header.values())
    if not tensors:
        return
    for part, key, value in _numbers(config):
        if key in _LAYERS and not 0 < value <= tensors:
            raise ModelError(
                f"{file}: {key} is {value:,}, but the weights are {tensors:,} tensors; is this config theirs?"
            )
        if _SIZE.search(key) and not -1 <= value <= elements:
            raise ModelError(f"{file}: {key} is {value:,}, more than its weights hold; is this config theirs?")
        if "position" in key and value > _MOST_POSITIONS:
            raise ModelError(f"{file}: {key} is {value:,}; at most {_MOST_POSITIONS:,} positions are read.")
        width = _whole(part, "hidden_size", "n_embd", "d_model")
        learned = str(config.get("model_type")) in _LEARNED_POSITIONS and ("position" in key or key == "n_ctx")
        if (key == "vocab_size" or learned) and width and value * width > elements:
            raise ModelError(
                f"{file}: {key} is {value:,} at a width of {width:,}, more than its weights hold; is it theirs?"
            )


def _check_adapter(file: Path, config: Mapping[str, Any], headers: Mapping[str, Header]) -> None:
    if config.get("megatron_config") is not None:
        raise ModelError(
            f"{file} has a megatron_config, which imports code that it names; save the adapter without it."
        )
    rank, sizes = config.get("r"), [n for header in headers.values() for _, shape in header.values() for n in shape]
    if rank is not None and (
        isinstance(rank, bool) or not isinstance(rank, int) or not 0 < rank <= max(sizes, default=0)
    ):
        raise ModelError(
            f"{file}: r is {rank!r:.40}, which is no rank of the adapter's weights; is this config theirs?"
        )
    patterns = config.get("rank_pattern") or {}
    if not isinstance(patterns, dict) or any(not isinstance(n, int) or n > max(sizes) for n in patterns.values()):
        raise ModelError(f"{file}: rank_pattern holds no ranks of the adapter's weights; is this config theirs?")


def _numbers(config: Mapping[str, Any]) -> Iterator[tuple[Mapping[str, Any], str, int]]:
    """(the object it stands in, key, value) of every whole number of a config; ModelError for a size that is none."""
    for key, value in config.items():
        if isinstance(value, dict):
            yield from _numbers(value)
        elif isinstance(value, int) and not isinstance(value, bool):
            yield config, key, value
        elif key in _NEEDED and not (value is None or isinstance(value, list)):
            raise ModelError(f"config.json: {key} is {value!r:.40}, not a whole number; restore it from its source.")


def _whole(config: Mapping[str, Any], *keys: str) -> int:
    found = next((config[key] for key in keys if key in config), 0)
    return found if isinstance(found, int) else 0


def _count(shape: tuple[int, ...]) -> int:
    count = 1
    for size in shape:
        count *= size
    return count
