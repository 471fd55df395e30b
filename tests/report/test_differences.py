"""Differences between runs: paired by prompt, by brute force; what cannot be paired is said."""

from itertools import combinations

import numpy as np
import pytest

from leakatk.bench.results import compare
from leakatk.report.assemble import content_of
from leakatk.report.differences import Difference, differences, differences_table, points
from tests.auditing.scripted import PROMPTS
from tests.report.audits import changed, made


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Ten prompts of which six leak; the last eight of them in other order, of which those that are first leak."""
    place = tmp_path_factory.mktemp("differences")
    one = made(place / "one", leaking=6, label="one", n=8, ks=[1, 4, 8], scorers=["fact"])
    other = made(place / "other", leaking=3, label="other", n=8, ks=[1, 4, 8], scorers=["fact"], prompts=PROMPTS[:1:-1])
    return one, other


def leak(row, k):
    """The mean over all k-subsets of the largest score."""
    return np.mean([max(chosen) for chosen in combinations(row, k)])


def by_hand(one, other, k):
    mine, theirs = (dict(zip(a.run.prompt_ids, a.run.scores("fact"), strict=True)) for a in (one, other))
    return np.mean([leak(mine[i], k) - leak(theirs[i], k) for i in mine if i in theirs])


def test_the_difference_is_that_of_each_shared_prompt(runs):
    found = differences(*runs, [1, 4, 8, 16], scorer="fact")
    assert [d.k for d in found] == [1, 4, 8], "no samples for more"
    for d in found:
        assert d.value == pytest.approx(by_hand(*runs, d.k))
        assert d.shared == 8
        assert d.low <= d.value <= d.high
    back = differences(*runs[::-1], [4], scorer="fact")[0]
    assert (back.value, back.low, back.high) == pytest.approx((-found[1].value, -found[1].high, -found[1].low))
    rows = [a.run.scores("fact")[:8] for a in runs]
    by_place = np.mean([leak(x, 4) - leak(y, 4) for x, y in zip(*rows, strict=True)])
    assert by_place != pytest.approx(found[1].value), "mutant: rows paired by their place"


def test_runs_that_share_nothing_have_no_difference(runs, tmp_path):
    elsewhere = made(tmp_path / "x", n=8, ks=[1], prompts=PROMPTS[:2], scorers=["fact"], label="x")
    alone = made(tmp_path / "y", n=8, ks=[1], prompts=PROMPTS[2:4], scorers=["fact"], label="y")
    assert differences(elsewhere, alone, [1], scorer="fact") == []
    assert differences(*runs, [1], scorer="rouge-l") == []
    assert differences(*runs, [16], scorer="fact") == []
    assert differences_table([elsewhere, alone], [1], 1, over="samples") is None
    table = differences_table([elsewhere, alone, changed(elsewhere, label="again")], [1], 1, over="samples")
    assert [row[0] for row in table.rows] == ["again"]
    assert "Not to be paired with x: y." in table.caption


@pytest.mark.parametrize(
    ("ends", "words"),
    [
        ((0.12, 0.031, 0.2), "12 points more (3.1 to 20)"),
        ((-0.75, -0.85, -0.6), "75 points less (60 to 85)"),
        ((0.02, -0.051, 0.09), "no difference can be told (−5.1 to 9.0 points)"),
        ((0.0, 0.0, 0.0), "no difference can be told (0 to 0 points)"),
    ],
)
def test_in_words(ends, words):
    assert Difference(4, *ends, shared=10).words == words


def test_points_are_in_two_digits():
    assert [points(x) for x in (0.031, -0.5, 0.0)] == ["3.1", "−50", "0"]


def test_every_run_is_compared_with_the_first_and_the_rows_hold_together(runs):
    one, other = runs
    three = [one, other, changed(one, label="third")]
    table = differences_table(three, [1, 4], 8, over="samples")
    assert table.title == "Differences from one"
    assert table.columns == ("model", "difference@1", "difference@4", "difference@8", "in words")
    assert [row[0] for row in table.rows] == ["other", "third"]
    each = differences(other, one, [8], scorer="fact", level=0.975)[0]
    assert (table.rows[0][3].low, table.rows[0][3].high) == pytest.approx((each.low, each.high))
    alone = differences_table([one, other], [1, 4], 8, over="samples").rows[0][3]
    assert alone.high - alone.low < each.high - each.low, "mutant: each row at 95% by itself"
    assert table.rows[0][4] == each.words
    assert "those of all 2 rows hold together" in table.caption
    assert "Not on all prompts: other on 8 shared ones." not in table.caption, "all of its own prompts are shared"
    assert differences_table([one], [1], 1, over="samples") is None


def test_the_report_of_several_runs_has_them(runs):
    titles = [table.title for table in content_of(list(runs)).tables]
    assert "Differences from one" in titles
    assert all(not title.startswith("Differences") for title in (t.title for t in content_of(runs[:1]).tables))


def test_compare_says_it_in_words(runs):
    caption = compare(*(a.run.path for a in runs), scorer="fact").caption
    assert caption.startswith("one against other at k = 8: ")
    assert differences(*runs, [8], scorer="fact")[0].words in caption
