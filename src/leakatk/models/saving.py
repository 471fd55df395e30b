"""Saving of a model: each file whole or absent, and an adapter on quantised weights by itself."""

from __future__ import annotations

import copy
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import save_file

from leakatk.errors import ModelError, first_line
from leakatk.files import checksums
from leakatk.models.loaded import LoadedModel
from leakatk.models.placement import is_quantised


def save_model(loaded: LoadedModel, out: str | Path) -> Path:
    """Save weights (safetensors), configs and tokenizer into `out`, each file whole or absent; other files there stay.

    Of a model that was quantised while it was loaded and trained with an adapter, the adapter alone: it names its base.
    """
    out = Path(out)
    with building(out / ".saving", out) as part:
        if is_quantised(loaded.model) and hasattr(loaded.model, "peft_config"):
            _save_adapter(loaded, part)
        else:
            loaded.model.save_pretrained(part)
        loaded.tokenizer.save_pretrained(part)
        sync(part)
        # The config last: a directory that has one is a whole model, or a whole adapter.
        for file in sorted(part.iterdir(), key=lambda f: f.name in ("config.json", "adapter_config.json")):
            checksums.add_file(out / file.name, file)
            file.replace(out / file.name)
        part.rmdir()
    return out


def _save_adapter(loaded: LoadedModel, part: Path) -> None:
    from peft import get_peft_model_state_dict

    model: Any = loaded.model
    config = dict(model.peft_config)["default"]
    weights = get_peft_model_state_dict(model, save_embedding_layers=False)
    prefix = "" if hasattr(model, "get_base_model") else "base_model.model."  # as the file has it, under its wrapper
    save_file(
        {f"{prefix}{name}": value.detach().cpu().contiguous() for name, value in weights.items()},
        part / "adapter_model.safetensors",
        metadata={"format": "pt"},
    )
    base = str(Path(loaded.name).resolve()) if Path(loaded.name).exists() else loaded.name
    about = copy.copy(config)
    about.base_model_name_or_path, about.inference_mode = base, True
    about.save_pretrained(part)


@contextmanager
def building(part: Path, target: Path) -> Iterator[Path]:
    """An empty directory `part` to write weights into before they become `target`; removed when that fails.

    ModelError, for a full disk most of all, says what to do.
    """
    try:
        shutil.rmtree(part, ignore_errors=True)
        part.mkdir(parents=True)
        yield part
    except (OSError, SafetensorError) as error:
        shutil.rmtree(part, ignore_errors=True)
        reason = (error.strerror if isinstance(error, OSError) else None) or first_line(error)
        raise ModelError(
            f"Cannot write {target}: {reason}; free some space or choose another place, then run the same command again."
        ) from error


def sync(folder: Path) -> None:
    """Flush a directory's files to disk, so that the rename that follows never shows a half-written one."""
    for file in folder.iterdir():
        with file.open("rb+") as handle:  # not every system flushes what is open for reading alone
            os.fsync(handle.fileno())
