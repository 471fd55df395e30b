"""Porter's stemmer, equal to NLTK's word by word."""

import random

import pytest

from leakatk.scorers.porter import IRREGULAR, STEP_2, STEP_3, STEP_4, stem


def test_stemmer_equals_nltk_on_made_up_words() -> None:
    from nltk.stem.porter import PorterStemmer

    theirs = PorterStemmer()
    draw = random.Random(0)
    endings = [suffix for suffix, _ in (*STEP_2, *STEP_3)] + [*STEP_4, "s", "es", "ies", "ied", "eed", "ed", "ing", "y"]
    made = {
        "".join(draw.choices("aeiouyybcdlstrzxw1", k=draw.randint(0, 6)))
        + "".join(draw.choices(endings, k=draw.randint(0, 3)))
        for _ in range(40_000)
    }
    assert [word for word in [*made, *IRREGULAR] if stem(word) != theirs.stem(word)] == []


@pytest.mark.parametrize(
    ("word", "root"),
    [
        # Porter's own examples, one a step.
        ("caresses", "caress"), ("ponies", "poni"), ("cats", "cat"), ("feed", "feed"), ("agreed", "agre"), ("plastered", "plaster"),
        ("motoring", "motor"), ("sing", "sing"), ("hopping", "hop"), ("falling", "fall"), ("filing", "file"), ("happy", "happi"),
        ("relational", "relat"), ("rational", "ration"), ("triplicate", "triplic"), ("goodness", "good"), ("adoption", "adopt"),
        ("probate", "probat"), ("rate", "rate"), ("cease", "ceas"), ("controll", "control"), ("roll", "roll"),
        # and where NLTK goes another way.
        ("ties", "tie"), ("died", "die"), ("enjoy", "enjoy"), ("by", "by"), ("skies", "sky"), ("news", "news"),
    ],
)  # fmt: skip
def test_the_steps_by_example(word: str, root: str) -> None:
    assert stem(word) == root
