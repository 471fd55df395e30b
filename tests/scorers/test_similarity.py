"""The similarity scorer with real encoders: a tiny one from disk, and the packaged one where it is installed."""

from __future__ import annotations

import importlib.util

import numpy as np
import pytest

from leakatk.scorers import score_texts
from leakatk.scorers.encoder import PACKAGED


def test_equals_the_cosine_of_mean_embeddings(encoder_dir: str) -> None:
    import torch
    from transformers import AutoModel, AutoTokenizer

    tokenizer, model = AutoTokenizer.from_pretrained(encoder_dir), AutoModel.from_pretrained(encoder_dir).eval()

    def embed(text: str) -> torch.Tensor:
        with torch.no_grad():
            return model(**tokenizer(text, return_tensors="pt")).last_hidden_state[0].mean(dim=0)

    pairs = [
        ("ada was born in paris", "hugo"),
        ("rome", "no farm and no name"),
        ("yes", "yes yes"),
        ("her name", "rome"),
    ]
    expected = [max(0.0, float(torch.cosine_similarity(embed(a), embed(b), dim=0))) for a, b in pairs]
    truths, said = zip(*pairs, strict=True)
    np.testing.assert_allclose(score_texts("similarity", truths, said, model=encoder_dir), expected, atol=1e-6)


@pytest.mark.skipif(importlib.util.find_spec(PACKAGED.replace("-", "_")) is None, reason=f"{PACKAGED} is not installed")
def test_the_packaged_encoder_ranks_meanings() -> None:
    truth = "The author was born in Taipei, Taiwan."
    said = [truth, "She comes from Taipei.", "Her father is a civil engineer.", "42"]
    scores = score_texts("similarity", [truth] * 4, said, model=PACKAGED)
    assert scores[0] == pytest.approx(1, abs=1e-6)
    assert scores[0] > scores[1] > 0.5 > scores[2] > scores[3] >= 0
