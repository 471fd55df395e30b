"""What a scorer says of a run, against the estimators themselves."""

import numpy as np
import pytest

from leakatk.auditing.sample import sample
from leakatk.auditing.scorer_results import check_covers, scorer_result
from leakatk.errors import InputError
from leakatk.estimate.leak import excess, leak_at_k
from tests.auditing.scripted import CLEAN, LEAK, PROMPTS, Scripted


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    place = tmp_path_factory.mktemp("runs")
    often = Scripted(lambda prompt, j, greedy: LEAK if (j + int(prompt.id[1])) % 2 else CLEAN)
    seldom = Scripted(lambda prompt, j, greedy: LEAK if j % 8 == int(prompt.id[1]) else CLEAN)
    return (
        sample(often, PROMPTS[:4], n=8, out=place / "mine", quiet=True),
        sample(seldom, PROMPTS[:4][::-1], n=8, out=place / "theirs", quiet=True),
    )


def test_the_numbers_are_those_of_the_estimators(runs):
    mine, theirs = (np.array([[leaks(i, j) for j in range(8)] for i in range(4)], float) for leaks in (
        lambda i, j: (j + i) % 2, lambda i, j: j % 8 == i))  # fmt: skip
    found = scorer_result("fact", *runs[:1], None, None, runs[1], [1, 4], level=0.9)
    assert (found.m, found.n, found.mean, found.missing, list(found.undefined)) == (4, 8, 0.5, 0, [])
    for over in ("samples", "prompts", "both"):
        curve = leak_at_k(mine, [1, 4], over=over, level=0.9)
        assert found.curves[over].value == pytest.approx(curve.value.tolist())
        assert found.curves[over].high == pytest.approx(curve.high.tolist())
        # The other run has its prompts in another order: rows are paired by id.
        assert found.excess[over].value == pytest.approx(excess(mine, theirs, [1, 4], over=over, level=0.9).value)
        assert found.excess[over].low == pytest.approx(excess(mine, theirs, [1, 4], over=over, level=0.9).low)
    assert found.retrained.curves["samples"].value == pytest.approx(leak_at_k(theirs, [1, 4]).value.tolist())
    assert found.as_dict()["greedy"] is None
    assert "retain" not in found.as_dict()


def test_a_run_of_other_prompts(runs):
    check_covers(runs[1], ["p0", "p3"])
    with pytest.raises(InputError, match="lacks 1 of 2 prompts"):
        check_covers(runs[1], ["p0", "p7"])
