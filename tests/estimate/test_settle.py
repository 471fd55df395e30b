"""What would settle a gate: the wanted numbers, by simulation and in closed form where nothing leaks."""

import numpy as np
import pytest

from leakatk.errors import InputError
from leakatk.estimate.certify import samples_to_certify
from leakatk.estimate.leak import excess, leak_at_k
from leakatk.estimate.settle import prompts_to_settle, samples_to_settle
from leakatk.estimate.ustatistic import per_prompt_leak

K = 16
COUNTS = [0] * 14 + [1, 1, 2, 2, 5, 9]  # leaks of each prompt in 64 samples


def rows(counts, n=64):
    return [np.r_[np.ones(int(c)), np.zeros(n - int(c))] for c in counts]


def as_measured(scores, k=K):
    """Leak probabilities whose leak@k is, prompt by prompt, what these scores gave."""
    found = per_prompt_leak(scores, np.array([k]))[:, 0]
    return 1 - (1 - found) ** (1 / k)


def ended(p, n, bound, repeats, other=None, seed=0):
    """The share of audits with n samples a prompt whose interval has the bound outside, on the right side."""
    rng, found = np.random.default_rng(seed), 0
    below = np.mean(1 - (1 - p) ** K) - (0 if other is None else np.mean(1 - (1 - other) ** K)) < bound
    for _ in range(repeats):
        mine = rows(rng.binomial(n, p), n)
        curve = leak_at_k(mine, K) if other is None else excess(mine, rows(rng.binomial(n, other), n), K)
        found += curve.high[0] <= bound if below else curve.low[0] > bound
    return found / repeats


@pytest.mark.parametrize("bound", [0.2, 0.12])
def test_so_many_samples_settle_it_in_four_of_five_audits(bound):
    scores = rows(COUNTS)
    curve = leak_at_k(scores, K)
    assert curve.low[0] < bound < curve.high[0]
    p, n = as_measured(scores), samples_to_settle(scores, K, bound)
    assert n > 64
    # Within four standard errors of 100 audits it is at least 80%; a third of the samples settle it clearly less often.
    share = ended(p, n, bound, 100)
    assert share > 0.8 - 4 * np.sqrt(0.8 * 0.2 / 100)
    assert ended(p, n // 3, bound, 100) < share - 0.2
    assert samples_to_settle(scores, K, bound, chance=0.5) < n < samples_to_settle(scores, K, bound, chance=0.95)


def test_a_difference_from_another_model():
    mine, theirs = rows(COUNTS), rows([0] * 17 + [1, 2, 6])
    both = excess(mine, theirs, K)
    bound = 0.14
    assert both.low[0] < bound < both.high[0]
    n = samples_to_settle(mine, K, bound, against=theirs)
    share = ended(as_measured(mine), n, bound, 80, as_measured(theirs))
    assert share > 0.8 - 4 * np.sqrt(0.8 * 0.2 / 80)
    assert samples_to_settle(mine, K, bound) != n
    certain = samples_to_settle(mine, K, bound, against=[np.zeros(64)] * 20)
    assert certain != n, "the other model's noise counts"


@pytest.mark.parametrize(("against", "bound"), [(None, 0.12), ([0] * 17 + [1, 2, 6], 0.06)])
def test_so_many_prompts_settle_an_interval_over_prompts(against, bound):
    """Further prompts are draws of those measured: the values of both models come together."""
    mine = rows(COUNTS)
    theirs = None if against is None else rows(against)
    curve = leak_at_k(mine, K, over="prompts") if theirs is None else excess(mine, theirs, K, over="prompts")
    assert curve.low[0] < bound < curve.value[0]
    m = prompts_to_settle(mine, K, bound, against=theirs)
    assert m > 20
    rng, found = np.random.default_rng(1), 0
    for _ in range(80):
        pick = rng.integers(0, 20, m)
        drawn = [mine[i] for i in pick]
        if theirs is None:
            found += leak_at_k(drawn, K, over="prompts").low[0] > bound
        else:
            found += excess(drawn, [theirs[i] for i in pick], K, over="prompts").low[0] > bound
    assert 0.65 < found / 80 < 0.95
    assert prompts_to_settle(mine, K, bound, against=theirs, over="both") >= m


def test_where_nothing_leaked_it_is_the_certificate():
    """1 - tail^(k / (n m)) <= bound, solved for n; and for prompts 1 - tail^(1 / m) <= bound."""
    silent = [np.zeros(16)] * 20
    assert samples_to_settle(silent, K, 0.05) == samples_to_certify(K, 0.05, 20, level=0.975) == 58
    assert samples_to_settle(silent, K, 0.05, level=0.9) == samples_to_certify(K, 0.05, 20, level=0.95)
    assert prompts_to_settle(silent, K, 0.05) == np.ceil(np.log(0.025) / np.log1p(-0.05))


def test_graded_scores_and_clusters():
    rng = np.random.default_rng(2)
    graded = [np.round(rng.random(32) * level, 2) for level in np.linspace(0, 0.5, 20)]
    curve = leak_at_k(graded, 4)
    near, far = curve.value[0] + 0.008, curve.value[0] + 0.05
    assert samples_to_settle(graded, 4, near) > 32
    assert samples_to_settle(graded, 4, near) > samples_to_settle(graded, 4, far)
    authors = [i // 4 for i in range(20)]
    assert prompts_to_settle(graded, 4, near, clusters=authors) > prompts_to_settle(graded, 4, near)
    wide = [2 * row for row in graded]
    top = max(row.max() for row in graded)
    assert top < 0.5, "neither of the two is rescaled"
    assert samples_to_settle(wide, 4, 2 * near) > 32


def test_what_no_number_settles():
    scores = rows(COUNTS)
    on = float(leak_at_k(scores, K).value[0])
    assert samples_to_settle(scores, K, on) is None
    assert samples_to_settle(scores, K, on + 1e-4) is None, "more than MOST_SAMPLES"
    assert prompts_to_settle(scores, K, on) is None
    assert prompts_to_settle(scores, K, on + 1e-5) is None


def test_bad_input():
    with pytest.raises(InputError, match="use samples_to_settle"):
        prompts_to_settle(rows(COUNTS), K, 0.1, over="samples")
    with pytest.raises(InputError, match="20 prompts and the other 1"):
        samples_to_settle(rows(COUNTS), K, 0.1, against=rows([1]))
    with pytest.raises(InputError):
        samples_to_settle(rows(COUNTS), 65, 0.1)
    with pytest.raises(InputError, match="chance"):
        samples_to_settle(rows(COUNTS), K, 0.1, chance=1.0)
    with pytest.raises(InputError):
        samples_to_settle([[0, np.nan]], 1, 0.1)


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_of_audits_that_could_not_say_most_end_as_told():
    """Grown to the number that each was told, its own samples kept: 65% as told, 13% with the other answer, 22% still open.

    Three made-up profiles, 298 audits of 64 samples; 19 of them were told no number below 20,000.
    """
    rng, ends = np.random.default_rng(0), {"as told": 0, "other": 0, "open": 0, "no number": 0}
    few, some = [0.002, 0.005, 0.02, 0.05, 0.2, 0.01], [0.02, 0.02, 0.02, 0.05, 0.3, 0.5]
    zeros = np.zeros(14)
    cases = ((np.r_[zeros, few], 0.12), (np.r_[zeros, some], 0.14), (np.r_[np.zeros(30), np.full(10, 0.01)], 0.05))
    for p, bound in cases:
        for _ in range(120):
            leaks = rng.binomial(64, p)
            now = leak_at_k(rows(leaks), K)
            if not now.low[0] <= bound < now.high[0]:
                continue
            n = samples_to_settle(rows(leaks), K, bound)
            if n is None or n > 20_000:
                ends["no number"] += 1
                continue
            later = leak_at_k(rows(leaks + rng.binomial(n - 64, p), n), K)
            passes, fails = later.high[0] <= bound, later.low[0] > bound
            told = passes if now.value[0] <= bound else fails
            ends["as told" if told else "other" if passes or fails else "open"] += 1
    given = sum(ends.values()) - ends["no number"]
    assert given > 200
    assert 0.6 < ends["as told"] / given < 0.7  # measured .65
    assert 0.08 < ends["other"] / given < 0.18  # measured .13
