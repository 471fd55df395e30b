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
from leakatk.unlearning.rehearsal.subjects import PIECE, Forms

HOLE = "\0"  # stands for the subject while the rest is perturbed: a mark


def perturbed(prompts: Sequence[Prompt], *, seed: int | str, forms: Forms | None = None) -> list[Prompt]:
    """The prompts with their questions perturbed, as garbled/ID; who or what is asked about stays whole (`Forms.subject`).

    forms: of the questions that tell what these ask about; default: their own.

    By lot the words are shuffled, or each word loses its middle letter with probability one half. The result is a
    function of the seed, the prompt's id and question, and its subject.

    >>> perturbed([Prompt("q", "Where was Ada Lovelace born?", "In London.", source="Ada Lovelace")], seed=0)[0].question
    'was born Where Ada Lovelace?'
    """
    # The words of id and seed are those of the first version: another word would draw other questions.
    forms = forms if forms is not None else Forms([p.question for p in prompts])
    return [
        replace(
            p,
            id=f"garbled/{p.id}",
            question=_perturbed(p.question, forms.subject(p), random.Random(f"garbled {seed} {p.id}")),
        )
        for p in prompts
    ]


def _perturbed(question: str, subject: str, rng: random.Random) -> str:
    text, subject = question.replace(HOLE, ""), subject.replace(HOLE, "")
    if subject:
        text = text.replace(subject, HOLE)
    pieces = PIECE.findall(text)
    if rng.random() < 0.5:
        rng.shuffle(pieces)
    else:
        pieces = [piece if piece == HOLE or rng.random() < 0.5 else _shorter(piece) for piece in pieces]
    words = [subject if piece == HOLE else piece for piece in pieces]
    return re.sub(r" ([?.,;:!])", r"\1", " ".join(words))


def _shorter(word: str) -> str:
    """Without its middle letter; a mark or a single letter stays."""
    return word[: len(word) // 2] + word[len(word) // 2 + 1 :] if len(word) > 1 else word
