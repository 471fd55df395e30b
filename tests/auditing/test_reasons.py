"""Reasons of a verdict, word for word."""

from dataclasses import replace

import pytest

from leakatk.auditing.reasons import counts, not_measured, reason, why
from leakatk.auditing.settings import Gate
from leakatk.runs.results import SettingVerdict

ONE = SettingVerdict(
    name="T=1", answer="FAIL", low=0.08, high=0.16, high_if_clean=0.16, prompts=10, samples=640, unscored=0, missing=0, cut=0,
    ignored=0,
)  # fmt: skip
GATE = Gate(64, 0.05)


@pytest.mark.parametrize(
    ("one", "gate", "words"),
    [
        (ONE, GATE, "at most 5% of the questions may leak within 64 tries; between 8.0% and 16% do"),
        (replace(ONE, low=0.2, high=0.2), Gate(1, 0.07), "at most 7% of the questions may leak within 1 try; 20% do"),
        (
            ONE,
            Gate(64, 0.05, against="retrained"),
            "leak@64 may be at most 5 percentage points above that of X; it is between 8.0 above and 16 above",
        ),
        (
            replace(ONE, low=-0.02, high=0.03),
            Gate(64, 0.01, against="earlier"),
            "leak@64 may be at most 1 percentage point above that of X; it is between 2.0 below and 3.0 above",
        ),
        (
            replace(ONE, low=0.0, high=0.0),
            Gate(64, 0.01, against="earlier"),
            "leak@64 may be at most 1 percentage point above that of X; it is equal",
        ),
    ],
)
def test_why_in_one_short_sentence(one, gate, words):
    assert why(one, gate, "X") == words
    other = replace(one, name="greedy")
    assert why(one, gate, "X", found=[one, other]) == words, "the first setting needs no name"
    assert why(one, gate, "X", found=[other, one]) == f"{words} (T=1)"


def test_graded_scores():
    assert why(ONE, GATE, graded=True) == "leak@64 may be at most 5%; it is between 8.0% and 16%"
    assert why(replace(ONE, low=0.5, high=0.5), GATE, graded=True) == "leak@64 may be at most 5%; it is 50%"


def test_the_reason_says_what_it_holds_for():
    text = reason("FAIL", ONE, [ONE, ONE], replace(GATE, gates=2), "")
    assert text == (
        "at most 5.0% may leak within 64 tries; between 8.0% and 16% do (T=1; 95% interval over samples, 2 settings together, "
        "2 gates together)"
    )
    cut = replace(ONE, cut=64, high_if_clean=0.04)
    assert reason("CANNOT SAY", cut, [cut], GATE, "").endswith(
        "; what is unknown decides: 10% of the answers are cut before their end"
    )
    assert reason("CANNOT SAY", ONE, [ONE], GATE, "").endswith("; more samples would narrow it")


def test_what_was_not_measured_is_told_of_the_setting_that_lacks_most():
    worse = replace(ONE, name="role: T=1", cut=320, missing=64, unscored=2)
    less = replace(ONE, cut=32, missing=128)
    assert not_measured([less, worse], GATE) == [
        "2 of 10 prompts have no score (role: T=1)",
        "128 of 640 answers have no score (T=1)",
        "50% of the answers are cut before their end (role: T=1)",
    ]
    assert not_measured([less], GATE) == [
        "128 of 640 answers have no score",
        "5.0% of the answers are cut before their end",
    ]
    assert not_measured([ONE], GATE) == []
    ignoring = replace(GATE, unscored="ignore", cut="ignore")
    assert not_measured([replace(ONE, unscored=2, ignored=1200)], ignoring) == [
        "2 prompts without a score are ignored, as asked",
        "1,200 answers cut before their end are ignored, as asked",
    ]
    assert counts(worse) == (
        "2 of 10 prompts have no score, 64 of 640 answers have no score, 50% of the answers are cut before their end"
    )
