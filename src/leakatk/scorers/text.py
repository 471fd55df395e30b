"""Texts as words that can be compared: accents, case, punctuation and number formats do not count."""

from __future__ import annotations

import re
import unicodedata

THOUSANDS_COMMA = re.compile(r"(?<=\d),(?=\d{3}(?!\d))")
# A decimal number (but not 08.09.1956), a character of a script written without spaces, or a run of letters and digits.
TOKEN = re.compile(
    r"(?<![\d.])\d+\.\d+(?!\.?\d)|[\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff]|[^\W_\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff]+"
)


def well_formed(text: str) -> str:
    """The text with lone surrogates replaced, which tokenizers and JSON over HTTP refuse."""
    return text if text.isascii() else text.encode(errors="replace").decode()


def tokens(text: str) -> list[str]:
    """Words and numbers with their case kept: "Café, 1,200.50 m" -> ["Cafe", "1200.5", "m"]."""
    if not text.isascii():
        text = "".join(c for c in unicodedata.normalize("NFKD", text) if unicodedata.category(c) != "Mn")
    found: list[str] = TOKEN.findall(THOUSANDS_COMMA.sub("", text))
    return [word.rstrip("0").rstrip(".") if "." in word else word for word in found]


def words(text: str) -> list[str]:
    """`tokens` without case."""
    return [word.casefold() for word in tokens(text)]


def phrase(text: str) -> str:
    """The words with one space around each: `phrase(a) in phrase(b)` asks whether b says a, on word boundaries."""
    return f" {' '.join(words(text))} "
