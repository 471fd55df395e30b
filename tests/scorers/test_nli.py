"""The entailment classifier, a real and randomly initialised one loaded from disk."""

from __future__ import annotations

import itertools
import json
from pathlib import Path

import numpy as np
import pytest

from leakatk.errors import ModelError
from leakatk.scorers.nli import by_length, entailed, entailment_label, load_classifier
from tests.scorers.conftest import WORDS

TEXTS = [" ".join(WORDS[i : i + size]) for size in (1, 3, 7) for i in range(0, 9, 2)]


def one_by_one(directory: str, pairs: list[tuple[str, str]]) -> list[float]:
    import torch

    tokenizer, model, label = load_classifier(directory)
    with torch.no_grad():
        return [float(model(**tokenizer(a, b, return_tensors="pt")).logits.argmax() == label) for a, b in pairs]


def test_label_comes_from_the_config(nli_dir: str) -> None:
    assert load_classifier(nli_dir)[2] == 1
    assert entailment_label("m", {0: "not_entailment", 1: "entailment"}) == 1
    with pytest.raises(ModelError, match="no single entailment label among LABEL_0, LABEL_1"):
        entailment_label("m", {0: "LABEL_0", 1: "LABEL_1"})


def test_batches_equal_one_by_one(nli_dir: str) -> None:
    pairs = list(itertools.product(TEXTS, TEXTS))
    singly = one_by_one(nli_dir, pairs)
    assert 0.1 < np.mean(singly) < 0.9
    for size in (1, 7, 64):
        np.testing.assert_array_equal(entailed(nli_dir, pairs, batch_size=size), singly)


def test_texts_longer_than_the_model_are_cut(nli_dir: str) -> None:
    scores = entailed(nli_dir, [("paris " * 500, "rome"), ("rome", "paris " * 500)])
    assert set(scores) <= {0.0, 1.0}


def test_pickled_weights_are_refused(nli_dir: str, tmp_path: Path) -> None:
    for file in Path(nli_dir).iterdir():
        if file.suffix != ".safetensors":
            (tmp_path / file.name).write_bytes(file.read_bytes())
    (tmp_path / "pytorch_model.bin").write_bytes(b"never unpickled")
    with pytest.raises(ModelError, match="safetensors weights"):
        load_classifier(str(tmp_path))


def test_a_model_without_entailment_is_refused(nli_dir: str, tmp_path: Path) -> None:
    for file in Path(nli_dir).iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    config = json.loads((tmp_path / "config.json").read_text())
    config["id2label"] = {"0": "bad", "1": "good", "2": "ugly"}
    (tmp_path / "config.json").write_text(json.dumps({**config, "label2id": {"bad": 0, "good": 1, "ugly": 2}}))
    with pytest.raises(ModelError, match="no single entailment label among bad, good, ugly"):
        load_classifier(str(tmp_path))


def test_length_sorted_batches_hold_every_index_once() -> None:
    batches = list(by_length([3, 9, 1, 9, 5], 2))
    assert [rows.tolist() for rows in batches] == [[1, 3], [4, 0], [2]]
