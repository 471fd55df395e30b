"""Targets: names from questions, never from answers, and how a prompt is compared with them."""

import numpy as np
import pytest

from leakatk.errors import InputError
from leakatk.guards.targets import Mentions, asked_about, check_choice, mentions, names_in, near, plain, subjects
from leakatk.prompts import Known, Prompt
from tests.guards.conftest import FORGET, RETAIN


def test_names_are_runs_of_capitals_after_the_first_word():
    assert names_in("Where was Ada Korvin born, and who is Bo?") == ["Ada Korvin", "Bo"]
    assert names_in("Élodie met Åsa Öberg-Lund.") == ["Åsa Öberg-Lund"]
    assert names_in("who?") == []


def test_subjects_are_read_from_questions_alone():
    assert subjects(FORGET, RETAIN) == ("Ada Korvin", "Bo Tamsin", "Cy Dellane")
    kept = (Prompt("k", "Who is Ada Korvin now?", "x"),)
    assert "Ada Korvin" not in subjects(FORGET[:1], kept), "a name of a retain prompt tells nothing"
    assert subjects([Prompt("a", "who wrote it?", "Zed Quill.", source="Zed Quill")]) == ("Zed Quill",)
    assert subjects([Prompt("a", "who wrote it?", "Zed Quill.")]) == ("who wrote it?",)
    assert not any(
        fact in subject for prompt in FORGET for fact in prompt.facts for subject in subjects(FORGET, RETAIN)
    )


def test_a_mention_is_whole_words():
    assert mentions(plain("Ada Korvin"), plain("Was ÁDA  KORVIN there?"))
    assert not mentions(plain("Ada"), plain("Adam came"))


def brute(name, text):
    """Indel similarity of the name to the best window of the text, by dynamic programming."""

    def ratio(a, b):
        table = np.zeros((len(a) + 1, len(b) + 1))
        for i in range(len(a)):
            for j in range(len(b)):
                table[i + 1, j + 1] = table[i, j] + 1 if a[i] == b[j] else max(table[i, j + 1], table[i + 1, j])
        return 2 * table[-1, -1] / (len(a) + len(b))

    windows = [text[max(0, at) : at + len(name)] for at in range(1 - len(name), len(text))]
    return max(ratio(name, window) for window in windows if window)


@pytest.mark.parametrize(
    "text", ["where was ada korvin born", "where was ada korwin born", "adda corvin", "the market opens"]
)
def test_nearness_is_the_best_window(text):
    assert near("ada korvin", text) == pytest.approx(brute("ada korvin", text))


def test_the_detector_is_the_best_target():
    known = Known(FORGET, RETAIN)
    found = Mentions().fit(known, None)
    scores = found.score([*FORGET, *RETAIN])
    assert scores[: len(FORGET)].tolist() == [1.0] * len(FORGET)
    assert found.flags([*FORGET, *RETAIN]).tolist() == [True] * len(FORGET) + [False] * len(RETAIN)
    wrong = Prompt("t", "Where was Ada Korvni born?", "")
    assert 0.8 < found.score([wrong])[0] < 1.0
    assert found.score([]).shape == (0,)


def test_who_is_asked_about():
    names = subjects(FORGET, RETAIN)
    assert asked_about(FORGET[1], names) == ["Bo Tamsin"]
    assert asked_about(RETAIN[0], names) == []
    assert len(asked_about(RETAIN[0], names, least=0.0)) == 3


def test_choices():
    check_choice("form", "a", ("a", "b"))
    with pytest.raises(InputError, match="The form is one of a, b, got 'c'"):
        check_choice("form", "c", ("a", "b"))
