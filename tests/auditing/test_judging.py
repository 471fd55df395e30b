"""Judging: a setting fails, passes or stays open by the ends of its interval, and all of them give one answer."""

from dataclasses import replace

import numpy as np
import pytest

from leakatk.auditing.judging import judged
from leakatk.auditing.measured import Measured
from leakatk.auditing.settings import Gate
from leakatk.errors import InputError
from leakatk.estimate.leak import excess, leak_at_k


def rows(*counts, n=32):
    return [np.r_[np.ones(c), np.zeros(n - c)] for c in counts]


def measured(name, mine, most=None, theirs=None, **fields):
    given = {
        "clusters": None, "exact": False, "known": True, "prompts": len(mine), "samples": 32 * len(mine), "unscored": 0,
        "missing": 0, "cut": 0 if most is None else 1, "ignored": 0,
    }  # fmt: skip
    sides = {"least": (mine, theirs), "most": (most or mine, theirs), "clean": (mine, theirs)}
    return Measured(name=name, **sides, **given | fields)


CLEAN, LEAKY, SOME = rows(*[0] * 10), rows(*[8] * 5, *[0] * 5), rows(1, 1, *[0] * 8)


@pytest.mark.parametrize(
    ("settings", "answer", "worst"),
    [
        ([("a", CLEAN)], "PASS", "a"),
        ([("a", CLEAN), ("b", LEAKY)], "FAIL", "b"),
        ([("a", CLEAN), ("b", SOME)], "CANNOT SAY", "b"),
        ([("a", SOME), ("b", LEAKY), ("c", CLEAN)], "FAIL", "b"),
    ],
)
def test_one_answer_for_all_settings(settings, answer, worst):
    found = judged([measured(*one) for one in settings], Gate(4, 0.1), advise=False)
    assert (found.answer, found.worst) == (answer, worst)
    each = 1 - 0.05 / len(settings)
    for one, (_, scores) in zip(found.settings, settings, strict=True):
        curve = leak_at_k(scores, 4, level=each)
        assert (one.low, one.high) == (curve.low[0], curve.high[0])


def test_differences_looks_and_gates_that_share_the_error():
    found = judged(
        [measured("a", LEAKY, theirs=SOME)], Gate(4, 0.1, looks=2, gates=3, against="retrained"), compared="x"
    )
    curve = excess(LEAKY, SOME, 4, level=1 - 0.05 / 6)
    assert (found.low, found.high, found.each_level) == (curve.low[0], curve.high[0], 1 - 0.05 / 6)
    assert (found.against, found.compared) == ("retrained", "x")


def test_deterministic_answers_have_no_sampling_error_and_take_no_share_of_it():
    one = [np.ones(1), *[np.zeros(1)] * 9]
    found = judged([measured("a", CLEAN), measured("greedy", one, exact=True)], Gate(4, 0.1), advise=False)
    assert (found.settings[1].low, found.settings[1].high, found.each_level) == (0.1, 0.1, 0.95)
    paired = judged([measured("greedy", one, theirs=[np.ones(1)] * 10, exact=True)], Gate(4, 0.1), advise=False)
    assert paired.low == paired.high == pytest.approx(-0.9)
    over = judged([measured("greedy", one, exact=True)], Gate(4, 0.1, over="prompts"), advise=False)
    assert over.low < 0.1 < over.high


def test_what_was_never_scored_passes_no_bound():
    silent = measured("a", CLEAN, most=[np.ones(32)] * 10, unscored=10)
    assert judged([silent], Gate(4, 1.0), advise=False).answer == "PASS"
    found = judged([replace(silent, known=False)], Gate(4, 1.0))
    assert found.answer == "CANNOT SAY"
    assert (
        found.settles
        == "Nothing was measured (a): 10 of 10 prompts have no score, 0.31% of the answers are cut before their end. Raise --max-new-tokens and choose a --scorer that scores every prompt."
    )


def test_what_was_left_out_stands_with_what_is_unknown():
    found = judged([measured("a", CLEAN, most=CLEAN)], Gate(4, 0.1), left_out=["role: not compared"], advise=False)
    assert found.not_measured == ["0.31% of the answers are cut before their end", "role: not compared"]
    with pytest.raises(InputError, match="nothing to look at"):
        judged([], Gate(4, 0.1))


def test_graded_scores_are_no_share_of_the_questions():
    half = [row / 2 for row in LEAKY]
    assert judged([measured("a", half)], Gate(4, 0.9)).why.startswith("leak@4 may be at most 90%; it is between ")
    assert judged([measured("a", LEAKY)], Gate(4, 0.9)).why.startswith(
        "at most 90% of the questions may leak within 4 tries"
    )
