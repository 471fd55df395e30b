"""GGUF, the files that llama.cpp runs: dequantised into an ordinary model that can be sampled, trained and saved.

transformers maps names and layouts and passes over what it does not know. Here it is told what may be passed over: nothing.
"""

from __future__ import annotations

import copy
import json
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from leakatk.errors import ModelError, first_line
from leakatk.models.files import check_file, check_pointer, check_sizes, is_installed
from leakatk.models.gguf_header import Header, read_header

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel

SUFFIX = ".gguf"
_WAY = "tokenizer.ggml.pre"  # how a text is split before tokens are merged
# Names of ways to split text before merging for which transformers' way, that of GPT-2, is right; those it maps it names itself.
_LIKE_GPT2 = {"", "default", "gpt-2", "gpt2"}


def _single_digits() -> Any:
    from tokenizers import pre_tokenizers

    return pre_tokenizers.Sequence(
        [
            pre_tokenizers.Digits(individual_digits=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True),
        ]
    )


# Ways that transformers leaves out, as the models' own tokenizers have them.
_OWN = {"smollm": _single_digits}


def gguf_file(path: str | Path) -> Path | None:
    """The .gguf file that a path means: itself, or the only one in a directory without safetensors; None for another model.

    ModelError where a directory holds several.
    """
    path = Path(path)
    if path.suffix.lower() == SUFFIX and not path.is_dir():
        return path if path.exists() else None
    if not path.is_dir() or any(path.glob("*.safetensors")):
        return None
    found = sorted(file for file in path.iterdir() if file.suffix.lower() == SUFFIX)
    if len(found) > 1:
        raise ModelError(
            f"{path} holds {len(found)} .gguf files ({', '.join(file.name for file in found[:3])}"
            f"{' ...' if len(found) > 3 else ''}); give the one that is meant."
        )
    return found[0] if found else None


def check_gguf(file: Path) -> Header:
    """The header of a file that can be loaded. ModelError, in one sentence, for any other; no tensor is read."""
    check_file(file)
    check_pointer(file)
    if not is_installed("gguf"):
        raise ModelError(f"{file} needs the package gguf, which is not installed: run `pip install 'leak-at-k[gguf]'`.")
    header = read_header(file)
    if (parts := header.fields.get("split.count", 1)) not in (0, 1):
        raise ModelError(
            f"{file} is one of {parts} parts of a model; join them with `llama-gguf-split --merge FIRST-PART OUT.gguf`."
        )
    scaling = header.fields.get(f"{header.architecture}.rope.scaling.type", "none")
    if "rope_freqs.weight" in header.tensors or (scaling != "none" and header.architecture == "llama"):
        raise ModelError(
            f"{file} stretches its positions (rope scaling), which transformers leaves out of a GGUF file, so that it would be "
            "another model; give its safetensors."
        )
    return header


def quantisation(file: Path) -> str:
    """How its weights are stored, as the header says."""
    return read_header(file).quantisation()


def load_tokenizer(file: Path) -> Any:
    """The tokenizer that the file holds; what lies beside the file is not read. ModelError where it cannot be made."""
    about = file.stat()
    return copy.deepcopy(_tokenizer(file, about.st_size, about.st_mtime_ns))


@lru_cache(maxsize=4)
def _tokenizer(file: Path, size: int, changed: int) -> Any:
    from transformers import AutoTokenizer

    with _mapped(file) as place:
        found = AutoTokenizer.from_pretrained(place, gguf_file=file.name)
    header = read_header(file)
    _without_invented(found, header)
    if header.fields.get(_WAY) in _OWN:
        found.backend_tokenizer.pre_tokenizer = _OWN[header.fields[_WAY]]()
    found.name_or_path = str(file)
    for key in ("gguf_file", "is_local", "local_files_only"):  # of this loading, not of the tokenizer
        found.init_kwargs.pop(key, None)
    return found


def _without_invented(tokenizer: Any, header: Header) -> None:
    """Takes out the tokens that transformers' class adds by habit: the file has no such token, nor the embedding a row for it."""
    from tokenizers import Tokenizer

    rows = int(header.fields.get("tokenizer.ggml.tokens", 0))
    content = json.loads(tokenizer.backend_tokenizer.to_str())
    meant = [token for token in content["added_tokens"] if token["id"] < rows]
    if len(meant) < len(content["added_tokens"]):
        content["added_tokens"] = meant
        tokenizer._tokenizer = Tokenizer.from_str(json.dumps(content))


def tokenizer_notes(file: Path) -> list[str]:
    """What a person must know of how the file's tokenizer was made."""
    way = str(read_header(file).fields.get(_WAY, ""))
    if way in _known_splits():
        return []
    return [
        f"{file.name} splits text in the way {way!r}, which transformers does not know: it is split as GPT-2 does, so some "
        "prompts may become other tokens than in llama.cpp."
    ]


def _known_splits() -> set[str]:
    try:
        from transformers.integrations.gguf.gguf_tokenizer_mapping import GGUF_PRE_TOKENIZER_SPLITS
    except ImportError:  # another version keeps them elsewhere
        return _LIKE_GPT2 | set(_OWN)
    return _LIKE_GPT2 | set(_OWN) | set(GGUF_PRE_TOKENIZER_SPLITS)


def load_weights(file: Path, precision: torch.dtype) -> PreTrainedModel:
    """The model, dequantised and trainable. ModelError for a file that transformers cannot map whole."""
    from transformers import AutoConfig, AutoModelForCausalLM

    from leakatk.models.checks import check_keys

    header = check_gguf(file)
    with _mapped(file) as place:
        config = AutoConfig.from_pretrained(place, gguf_file=file.name)
        check_sizes(file, config.to_dict(), [{name: ("F32", shape) for name, (_, shape) in header.tensors.items()}])
        model, found = AutoModelForCausalLM.from_pretrained(
            place, gguf_file=file.name, config=config, dtype=precision, output_loading_info=True, **_dequantised()
        )
    check_keys(str(file), found["missing_keys"], found["unexpected_keys"], found.get("mismatched_keys", ()))
    _make_ordinary(model, file)
    taken = sum(parameter.numel() for parameter in model.parameters())
    if taken != header.elements:
        raise ModelError(
            f"{file} holds {header.elements:,} numbers and transformers took {taken:,} of them: it does not know all of this "
            f"{header.architecture} file's tensors, and would make another model; give its safetensors."
        )
    return model


def _dequantised() -> dict[str, Any]:
    """The option that unpacks every weight; versions without it do nothing else."""
    try:
        from transformers import GgufConfig
    except ImportError:
        return {}
    return {"quantization_config": GgufConfig(dequantize=True)}


def _make_ordinary(model: Any, file: Path) -> None:
    """No trace of the file's blocks is left, so that it is trained and saved as any model."""
    for config in (model.config, getattr(model, "generation_config", None)):
        if "quantization_config" in vars(config or object):
            delattr(config, "quantization_config")
    for name, value in (("hf_quantizer", None), ("is_quantized", False), ("quantization_method", None)):
        if getattr(model, name, None) is not None:
            setattr(model, name, value)
    vars(model.config).pop("_model_name_or_path", None)  # of the header: a name without meaning here
    # What an adapter trained on it will name as its base.
    model.name_or_path = model.config._name_or_path = str(file)
    model.requires_grad_(True)


@contextmanager
def _mapped(file: Path) -> Iterator[str]:
    """A directory in which the file is alone: transformers would prefer a tokenizer or config that happens to lie beside it.

    What it says of a file that it cannot map becomes one sentence.
    """
    with tempfile.TemporaryDirectory(prefix="leakatk-gguf-") as place:
        (Path(place) / file.name).symlink_to(file.resolve())
        try:
            yield place
        except (MemoryError, ModelError):
            raise
        except Exception as error:
            architecture = read_header(file).architecture
            raise ModelError(
                f"{file} is a GGUF file of the architecture {architecture:.40}, which transformers cannot map "
                f"({first_line(error)}); give the model's safetensors."
            ) from error
