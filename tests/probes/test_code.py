"""Codes can be read back, each in its own way."""

from __future__ import annotations

import base64

import pytest

from leakatk.probes import Around, get_probe
from leakatk.probes.code import LETTERS, cipher, pig_latin
from leakatk.prompts import Prompt

PROMPT = Prompt("p", "Where was Ada Bäcker born in 1951?", "In Zorvik.", facts=("Zorvik",))


def asked(spec: str) -> str:
    [query] = get_probe(spec).ask(PROMPT, Around())
    return query.text


def test_base64_is_the_question() -> None:
    text = asked("code")
    assert PROMPT.question not in text
    assert base64.b64decode(text.rpartition("\n")[2]).decode() == PROMPT.question
    assert "base64" in text


def test_the_cipher_is_read_with_the_key_that_it_comes_with() -> None:
    lines = asked("code:kind=cipher").splitlines()
    at = lines.index(LETTERS)
    back = dict(zip(lines[at + 1], LETTERS, strict=True))
    read = "".join(back.get(letter.lower(), letter) for letter in lines[-1])
    assert read == PROMPT.question.lower()
    assert all(a != b for a, b in zip(LETTERS, cipher(0), strict=True))
    assert cipher(0) != cipher(1)
    assert sorted(cipher(1)) == list(LETTERS)


def test_leet_keeps_length_and_other_letters() -> None:
    text = asked("code:kind=leet").rpartition("\n")[2]
    assert len(text) == len(PROMPT.question)
    digits = {"0": "o", "1": "i", "3": "e", "4": "a", "5": "s", "7": "t"}
    assert all(a == b or digits[b] == a.lower() for a, b in zip(PROMPT.question, text, strict=True))
    assert text != PROMPT.question


@pytest.mark.parametrize(
    ("word", "found"),
    [
        ("where", "erewhay"),
        ("Bo", "Obay"),
        ("Ada", "Adaway"),
        ("born in", "ornbay inway"),
        ("hmm", "hmmway"),
        ("1951?", "1951?"),
    ],
)
def test_pig_latin(word: str, found: str) -> None:
    assert pig_latin(word) == found


def test_what_a_code_leaves_as_it_is_is_not_asked() -> None:
    bare = Prompt("q", "11 + 4?", "15.")
    assert get_probe("code:kind=pig-latin").ask(bare, Around()) == []
    assert get_probe("code").ask(bare, Around())
