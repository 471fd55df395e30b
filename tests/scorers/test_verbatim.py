"""Word for word: the whole answer, its places, and its beginning, against each written a second time."""

from __future__ import annotations

import itertools
import math
import unicodedata

import numpy as np
import pytest

from leakatk.prompts import Prompt
from leakatk.scorers import get_scorer, score_texts
from leakatk.scorers.verbatim import Verbatim, pieces

EVERY = [" ".join(words) for size in range(4) for words in itertools.product("ab", repeat=size)]


def second(truth: list[str], said: list[str], part: str) -> float:
    if not truth:
        return math.nan
    if part == "exact":
        return float(truth == said)
    if part == "positions":
        return sum(i < len(said) and said[i] == word for i, word in enumerate(truth)) / len(truth)
    right = max(n for n in range(len(truth) + 1) if said[:n] == truth[:n])
    return right / len(truth)


@pytest.mark.parametrize("part", ["exact", "positions", "prefix"])
def test_every_pair_of_short_texts(part: str) -> None:
    pairs = list(itertools.product(EVERY, EVERY))
    found = Verbatim(part=part).score([Prompt("1", "?", truth) for truth, _ in pairs], [said for _, said in pairs])
    np.testing.assert_array_equal(found, [second(truth.split(), said.split(), part) for truth, said in pairs])


def test_how_an_accent_is_encoded_does_not_count() -> None:
    composed, apart = (unicodedata.normalize(form, "Núñez Éve") for form in ("NFC", "NFD"))
    assert composed != apart
    for part in ("exact", "positions", "prefix"):
        assert Verbatim(part=part).score([Prompt("1", "?", composed)], [apart]).tolist() == [1]


def test_case_and_punctuation_are_kept_and_space_is_not() -> None:
    texts = ["Ada \n Pell.", "ada Pell.", "Ada Pell", "Ada Pell ."]
    assert score_texts("verbatim", ["Ada Pell."] * 4, texts).tolist() == [1, 0, 0, 0]


def test_scripts_without_spaces_are_read_by_character_but_for_exact() -> None:
    assert pieces("佐维克 is", "exact") == ["佐维克", "is"]
    assert pieces("佐维克 is", "prefix") == ["佐", "维", "克", "is"]
    assert score_texts("verbatim:part=prefix", ["佐维克在"], ["佐维X"]).tolist() == [0.5]
    assert score_texts("verbatim", ["佐维克在"], ["佐维 克在"]).tolist() == [0]


def test_verbmem_is_rouge_l_f1_without_stemmer() -> None:
    truths = ["the cat sat", "the cats sat on the mat", "runs", "Она родилась", ""]
    said = ["the cats sat down", "a cat on the mat", "running", "Она родилась", "x"]
    np.testing.assert_array_equal(
        score_texts("verbmem", truths, said), score_texts("rouge-l:part=f1,stem=no", truths, said)
    )
    assert get_scorer("verbmem").score([Prompt("1", "?", "a b c")], ["a c"]).tolist() == [0.8]
