"""Gates on a difference: paired by prompt, unknown on both sides of both runs, and what is not compared is told."""

from dataclasses import replace

import numpy as np
import pytest

from leakatk.auditing.against import check_earlier, judge_against
from leakatk.auditing.audit import audit
from leakatk.auditing.settings import Gate
from leakatk.errors import InputError
from leakatk.estimate.leak import excess
from leakatk.prompts import Prompt
from leakatk.sampling.decoding import Decoding
from tests.auditing.scripted import CLEAN, LEAK, PROMPTS, Scripted

SHORT = Decoding(max_new_tokens=40)


def leaking(*ids, every=2):
    """Prompts of these numbers leak in one of so many samples."""
    return lambda prompt, j, greedy: LEAK if int(prompt.id[1]) in ids and j % every == 0 and not greedy else CLEAN


def made(place, say, *, n=64, prompts=PROMPTS, **how):
    given = {"exact": False, "ks": [1, 8], "decoding": SHORT, "quiet": True, "scorers": ["fact"]} | how
    audit(Scripted(say), prompts, out=place, n=n, **given)
    return place


def table(*ids, n=64, every=2):
    return np.array([[float(i in ids and j % every == 0) for j in range(n)] for i in range(10)])


def against(bound=0.05, **how):
    return Gate(8, bound, against="earlier", **how)


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Of 64 samples: nobody, person 0, persons 0 to 4 leak in every other one."""
    place = tmp_path_factory.mktemp("runs")
    return {count: made(place / str(count), leaking(*range(count))) for count in (0, 1, 5)}


def test_what_leaks_more_fails_and_what_leaks_less_passes(runs):
    worse = judge_against(runs[5], runs[1], "fact", against(), compared="the earlier run 1")
    assert (worse.answer, worse.worst) == ("FAIL", "T=1")
    better = judge_against(runs[1], runs[5], "fact", against(), compared="the earlier run 5")
    assert better.answer == "PASS"
    assert better.settings[0].high < 0 < better.high + 1e-9, "greedy, none more and none less, is the worst"
    # The interval is that of the excess, prompt by prompt, at the level that two settings leave (greedy has no error).
    curve = excess(table(*range(5)), table(0), 8)
    assert (worse.low, worse.high) == (curve.low[0], curve.high[0])
    assert [one.name for one in worse.settings] == ["T=1", "greedy"]
    assert worse.why.startswith(
        "leak@8 may be at most 5 percentage points above that of the earlier run 1; it is between "
    )
    assert (worse.against, worse.compared) == ("earlier", "the earlier run 1")


def test_pairs_are_made_by_prompt_and_not_by_place(runs, tmp_path):
    """The same answers in another order of the prompts: over prompts the difference has no spread at all."""
    turned = made(tmp_path / "turned", leaking(0, 1, 2, 3, 4), prompts=PROMPTS[::-1])
    found = judge_against(runs[5], turned, "fact", against(0.3, over="prompts"), compared="x")
    right = excess(table(*range(5)), table(*range(5)), 8, over="prompts", level=found.each_level)
    wrong = excess(table(*range(5)), table(*range(5))[::-1], 8, over="prompts", level=found.each_level)
    assert found.settings[0].high == pytest.approx(right.high[0])
    assert wrong.high[0] > right.high[0] + 0.1


def test_two_that_leak_nothing_are_equal_within_what_was_sampled(runs):
    found = judge_against(runs[0], runs[0], "fact", against(0.2), compared="x")
    assert found.answer == "PASS"
    assert found.low < 0 < found.high
    tight = judge_against(runs[0], runs[0], "fact", against(0.0), compared="x")
    assert tight.answer == "CANNOT SAY"
    assert tight.settles == "More than 100,000 samples a prompt: the leak is too near the bound."


def test_several_gates_share_the_error(runs):
    one = judge_against(runs[5], runs[1], "fact", against(), compared="x")
    three = judge_against(runs[5], runs[1], "fact", replace(against(), gates=3), compared="x")
    assert (one.each_level, three.each_level) == (pytest.approx(0.95), pytest.approx(1 - 0.05 / 3))
    assert three.low < one.low
    assert "3 gates together" in three.reason


def test_what_is_unknown_in_either_run_counts_on_both_sides(runs, tmp_path):
    """Cut answers of the earlier run might have leaked, so that nothing is worse; or not, so that everything is."""
    cut = made(tmp_path / "cut", lambda p, j, greedy: (CLEAN, "length", "") if j % 4 == 1 and not greedy else CLEAN)
    ended = np.array([[j % 4 == 1 for j in range(64)]] * 10)
    for mine, theirs in ((runs[5], cut), (cut, runs[5])):
        found = judge_against(mine, theirs, "fact", against(), compared="x").settings[0]
        a, b = (table(*range(5)), np.zeros((10, 64))) if mine == runs[5] else (np.zeros((10, 64)), table(*range(5)))
        high_a, high_b = (a, np.where(ended, 1, b)) if mine == runs[5] else (np.where(ended, 1, a), b)
        assert found.low == excess(a, high_b, 8).low[0]
        assert found.high == excess(high_a, b, 8).high[0]
        assert found.high_if_clean == excess(a, b, 8).high[0]
        assert found.cut == 160
        assert found.answer == "CANNOT SAY"


def test_settings_that_one_of_them_lacks_are_told(runs, tmp_path):
    asked = made(tmp_path / "asked", leaking(0), probes=["role"])
    found = judge_against(asked, runs[1], "fact", against(0.9), compared="the earlier run 1")
    assert found.answer == "PASS"
    assert "role: not compared, the earlier run 1 was not asked so" in found.not_measured
    cold = made(tmp_path / "cold", leaking(0), greedy=False)
    found = judge_against(runs[1], cold, "fact", against(0.9), compared="x")
    assert found.not_measured == ["greedy: not compared, x lacks it"]
    few = made(tmp_path / "few", leaking(0), prompts=PROMPTS[:8])
    found = judge_against(few, runs[1], "fact", against(0.9), compared="x")
    assert found.not_measured == ["2 prompts of x are not asked here"]
    with pytest.raises(InputError, match="Nothing can be compared with x: as it stands: not compared"):
        judge_against(runs[1], few, "fact", against(), compared="x")


def test_probes_are_paired_in_their_own_runs(tmp_path):
    """Only under the probe is the later run worse."""

    def say(prompt, j, greedy):
        return LEAK if prompt.asked is not None and j % 2 else CLEAN

    before = made(tmp_path / "before", lambda *_: CLEAN, probes=["role"])
    after = made(tmp_path / "after", say, probes=["role"])
    found = judge_against(after, before, "fact", against(), compared="x")
    assert (found.answer, found.worst) == ("FAIL", "role: T=1")
    assert found.why.endswith("(role: T=1)")
    alone = judge_against(after, before, "fact", against(0.2), compared="x", probes=[])
    assert alone.answer == "PASS"


def test_nothing_scored_lets_nothing_pass(runs, monkeypatch):
    monkeypatch.setattr(
        "leakatk.auditing.verdict.score", lambda run, *_, **__: np.full((len(run.prompts), run.n), np.nan)
    )
    found = judge_against(runs[0], runs[0], "fact", against(1.0), compared="x")
    assert found.answer == "CANNOT SAY"
    assert found.settles.startswith("Nothing was measured")


def test_a_run_that_cannot_be_compared_is_refused_before_anything_is_sampled(runs, tmp_path):
    assert check_earlier(runs[1], PROMPTS, SHORT, 8).n == 64
    for prompts, decoding, k, words in (
        ([*PROMPTS, Prompt("new", "Where?", "There.")], SHORT, 8, "lacks 1 of 11 prompts"),
        ([replace(PROMPTS[0], question="Where is it?"), *PROMPTS[1:]], SHORT, 8, "asks 'p0' otherwise"),
        (PROMPTS, Decoding(temperature=0.5, max_new_tokens=40), 8, "sampled with temperature 1.0, this audit has 0.5"),
        (PROMPTS, SHORT, 65, "has 64 samples a prompt, but k = 65"),
    ):
        with pytest.raises(InputError, match=words):
            check_earlier(runs[1], prompts, decoding, k)
    with pytest.raises(InputError, match="is no audited run"):
        check_earlier(tmp_path / "nowhere", PROMPTS, SHORT, 8)
    short = made(tmp_path / "short", leaking(0), n=4, ks=[1])
    with pytest.raises(InputError, match="x has 4: lower k"):
        judge_against(runs[1], short, "fact", against(), compared="x")
