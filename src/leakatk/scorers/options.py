"""Options of a multiple-choice question, and which of them a text picks."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from string import ascii_uppercase

from leakatk.prompts import Prompt
from leakatk.scorers.text import latin, phrase

OPTION_LINE = re.compile(r"^[ \t]*\(?([A-Z])[.):][ \t]+(\S.*)$", re.MULTILINE)
# A letter that stands alone at the start ("B", "(B) ...", "B. ..."), or follows "answer", "option" or "choice".
LEADING_LETTER = re.compile(r"[\s(\[*\"']*([A-Z])(?=[.):\]*,\"']|\s*$|\s*\n)")
NAMED_LETTER = re.compile(r"\b(?i:answer|option|choice)(?:\s+is)?\s*:?\s*[(\[*\"']*([A-Z])\b(?!['’]\w)")

# In a text of another script ("答案是B。") a capital that stands alone can only be the letter of an option.
LONE_LETTER = re.compile(r"(?<![A-Za-z0-9])([A-Z])(?![A-Za-z0-9'’])")


def read_options(prompt: Prompt) -> tuple[list[str], int | None, bool]:
    """(option texts, index of the right one or None, whether the question letters them).

    Prompts that carry their options (`Prompt.choices`) are taken at their word: lines of code, letters and equal texts
    among the options would be misread. Others are read from the lettered lines of the question.
    """
    if prompt.choices:
        return list(prompt.choices), prompt.right, True
    found = OPTION_LINE.findall(prompt.question)
    letters = [letter for letter, _ in found]
    lettered = len(found) >= 2 and letters == list(ascii_uppercase[: len(found)])
    options = [text for _, text in found] if lettered else [prompt.answer, *prompt.perturbed_answers]
    if len(options) < 2:
        return options, None, lettered
    if lettered and prompt.answer.strip() in letters:
        return options, letters.index(prompt.answer.strip()), lettered
    # To the letter first: options that differ in punctuation or case alone (code) are different options. An option of
    # several lines is known by its first.
    first = prompt.answer.strip().partition("\n")[0].strip()
    same = [i for i, text in enumerate(options) if text.strip().partition("\n")[0].strip() == first]
    same = same or [i for i, text in enumerate(options) if phrase(text) == phrase(prompt.answer)]
    return options, same[0] if len(same) == 1 else None, lettered


def picked(text: str, options: Sequence[str], *, lettered: bool) -> int | None:
    """Index of the option that the text picks; None when it picks none, or several."""
    if lettered:
        text = unicodedata.normalize("NFKC", text)  # full-width letters
        match = LEADING_LETTER.match(text) or NAMED_LETTER.search(" ".join(text.split()))
        letter = match.group(1) if match else ""
        if letter and letter in ascii_uppercase[: len(options)]:
            return ascii_uppercase.index(letter)
        lone = set(LONE_LETTER.findall(text)) & set(ascii_uppercase[: len(options)])
        if not letter and len(lone) == 1 and not latin(text):
            return ascii_uppercase.index(lone.pop())
    said = phrase(text)
    phrases = [phrase(option) for option in options]
    named = [i for i, option in enumerate(phrases) if option.strip() and option in said]
    # "Paris, Texas" also says "Paris": the longer option is meant.
    named = [i for i in named if not any(phrases[i] in phrases[j] and phrases[i] != phrases[j] for j in named)]
    return named[0] if len(named) == 1 else None
