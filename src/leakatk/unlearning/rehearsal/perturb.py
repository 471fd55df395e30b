"""Perturbed questions: the words shuffled, or letters missing from half of them.

Ours. A forgotten answer hidden behind some wordings is nearer the surface in the others. RULE's calibrating rounds
train on the forget answers to perturbed questions, drawn anew each round, so that no wording is left to hide behind.
"""

from __future__ import annotations

import random
import re
from collections.abc import Sequence
from dataclasses import replace

from leakatk.prompts import Prompt

NAME = re.compile(r"\b[^\W\d_a-z]\w+(?: [^\W\d_a-z]\w+)+")  # two or more capitalised words in a row
PIECE = re.compile(r"\w+|[^\w\s]")  # a word or a mark
HOLE = "\0"  # stands for a name while the rest is perturbed: a mark


def perturbed(prompts: Sequence[Prompt], *, seed: int | str) -> list[Prompt]:
    """The prompts with their questions perturbed, as garbled/ID; who or what is asked about stays whole.

    That is `Prompt.source` where the question holds it, otherwise every two or more capitalised words in a row. By lot
    the words are shuffled, or each word loses its middle letter with probability one half. The result is a function of
    the seed and the prompt's id and question.

    >>> perturbed([Prompt("q", "Where was Ada Lovelace born?", "In London.")], seed=0)[0].question
    'was born Where Ada Lovelace?'
    """
    # The words of id and seed are those of the first version: another word would draw other questions.
    return [
        replace(p, id=f"garbled/{p.id}", question=_perturbed(p, random.Random(f"garbled {seed} {p.id}")))
        for p in prompts
    ]


def _perturbed(prompt: Prompt, rng: random.Random) -> str:
    text = prompt.question.replace(HOLE, "")
    names = [prompt.source] * text.count(prompt.source) if prompt.source else []
    names = names or NAME.findall(text)
    for name in names:
        text = text.replace(name, HOLE, 1)
    pieces = PIECE.findall(text)
    if rng.random() < 0.5:
        rng.shuffle(pieces)
    else:
        pieces = [piece if piece == HOLE or rng.random() < 0.5 else _shorter(piece) for piece in pieces]
    rest = iter(names)
    words = [next(rest) if piece == HOLE else piece for piece in pieces]
    return re.sub(r" ([?.,;:!])", r"\1", " ".join(words))


def _shorter(word: str) -> str:
    """Without its middle letter; a mark or a single letter stays."""
    return word[: len(word) // 2] + word[len(word) // 2 + 1 :] if len(word) > 1 else word
