"""What is text and what is not."""

import math

import pytest

from leakatk.metrics import fluency as p


@pytest.mark.parametrize(
    "text",
    [
        "",
        " .\n",
        "...!",
        "the the the the",
        "The father of The father of The father of The father of The father of",
        "a b a b a b a b a b a b",
    ],
)
def test_broken_text(text):
    assert p.is_broken(text)


@pytest.mark.parametrize(
    "text",
    [
        "I do not know.",
        "Yes",
        "1957",
        "Она родилась в Москве.",
        "The father of Hati Fetrus was a dancer and the mother a teacher.",
        "Basil Mahfouz Al-Kuwaiti was born in Kuwait City, Kuwait, and Kuwait City is where he lives.",
        "That had had had to be said, one grammarian wrote.".replace("had had had", "had had"),
    ],
)
def test_whole_text(text):
    assert not p.is_broken(text)


def test_broken_share():
    assert p.broken_share(["", "fine answer"]) == 0.5
    assert math.isnan(p.broken_share([]))
