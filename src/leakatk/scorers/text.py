"""Texts as words that can be compared: accents, case, punctuation and number formats do not count.

In scripts that are written without spaces between words (Chinese, Japanese, Thai, Lao, Khmer, Burmese), and in Korean,
whose particles are written onto the word, each character (with its marks) is a word of its own.
"""

from __future__ import annotations

import re
import unicodedata

THOUSANDS_COMMA = re.compile(r"(?<=\d),(?=\d{3}(?!\d))")
# Vowel signs and viramas are part of a word, although Python's \w does not say so.
MARKS = "".join(
    char
    for char in map(chr, [*range(0x0900, 0x1D00), *range(0xA800, 0xAC00), *range(0x11000, 0x12000), 0x3099, 0x309A])
    if unicodedata.category(char) in ("Mn", "Mc")
)
# Thai, Lao, Burmese, Khmer, kana, Han, Hangul, half-width forms of kana, and the rest of Han.
UNSPACED = (
    "\u0e01-\u0e3a\u0e40-\u0e4e\u0e81-\u0eae\u0eb0-\u0ecd\u0edc-\u0edf\u1000-\u103f\u1050-\u109d\u1780-\u17d3\u17d7\u17dc"
    "\u3005\u3007\u3041-\u3096\u309d-\u309f\u30a1-\u30fa\u30fc-\u30ff\u31f0-\u31ff\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7a3"
    "\uf900-\ufaff\uff66-\uff9f\U00020000-\U0003ffff"
)
UNSPACED_CHARACTER = re.compile(f"[{UNSPACED}]")
# A decimal number (but not 08.09.1956), a character of a script written without spaces, or a run of letters and digits.
DECIMAL = r"(?<![\d.])\d+\.\d+(?!\.?\d)"
TOKEN = re.compile(rf"{DECIMAL}|[{UNSPACED}][{MARKS}]*|(?:[^\W_{UNSPACED}][{MARKS}]*)+")
ASCII_TOKEN = re.compile(rf"{DECIMAL}|[^\W_]+", re.ASCII)
# Accents of Latin, Greek and Cyrillic, Hebrew and Arabic vowel points, marks around symbols, variation selectors.
OPTIONAL_MARK = re.compile(
    "[\u0300-\u036f\u0483-\u0489\u0591-\u05bd\u05bf\u05c1\u05c2\u05c4\u05c5\u05c7\u0610-\u061a\u0640\u064b-\u065f\u0670"
    "\u06d6-\u06dc\u06df-\u06e4\u06e7\u06e8\u06ea-\u06ed\u1ab0-\u1aff\u1dc0-\u1dff\u20d0-\u20ff\ufe00-\ufe0f\ufe20-\ufe2f]"
)

# Format characters (category Cf): zero-width, direction marks, soft hyphens, tags.
INVISIBLE = re.compile(
    "[\u00ad\u0600-\u0605\u061c\u06dd\u070f\u08e2\u180e\u200b-\u200f\u202a-\u202e\u2060-\u2064\u2066-\u206f\ufeff"
    "\ufff9-\ufffb\U000e0001\U000e0020-\U000e007f]"
)
OTHER_DIGIT = re.compile(r"(?![0-9])\d")


def well_formed(text: str) -> str:
    """The text with lone surrogates replaced, which tokenizers and JSON over HTTP refuse."""
    return text if text.isascii() else text.encode(errors="replace").decode()


def plain_characters(text: str) -> str:
    """NFKC without optional marks and invisible characters, digits of every script as 0-9; case is kept.

    Full-width forms become ordinary ones, "é" and "e" + accent become "e"; a dakuten, a vowel sign or a tone mark, which
    make another letter, stay.
    """
    if text.isascii():
        return text
    text = OPTIONAL_MARK.sub("", unicodedata.normalize("NFKD", text))
    text = INVISIBLE.sub("", unicodedata.normalize("NFKC", text))
    return OTHER_DIGIT.sub(lambda digit: str(unicodedata.decimal(digit[0])), text)


def tokens(text: str) -> list[str]:
    """Words and numbers with their case kept: "Café, 1,200.50 m" -> ["Cafe", "1200.5", "m"]."""
    text = THOUSANDS_COMMA.sub("", plain_characters(text))
    found: list[str] = (ASCII_TOKEN if text.isascii() else TOKEN).findall(text)
    return [word.rstrip("0").rstrip(".") if "." in word else word for word in found]


def words(text: str) -> list[str]:
    """`tokens` without case."""
    return [word.casefold() for word in tokens(text)]


def phrase(text: str) -> str:
    """The words with one space around each: `phrase(a) in phrase(b)` asks whether b says a, on word boundaries."""
    return f" {' '.join(words(text))} "
