"""Exact memorisation and extraction strength by hand; extraction likelihood and memorisation accuracy, by the formulas of Jang et al. written a second time."""

import math
from collections import Counter

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from leakatk.benchmarks.base import Benchmark
from leakatk.errors import InputError
from leakatk.metrics import memorisation as m
from leakatk.metrics.base import METRICS, Evidence, MetricSettings, evaluate, wanted
from leakatk.unlearning.stop import memorised_stop
from tests.metrics.conftest import WORLD, learned

N = 3
ids = st.lists(st.integers(0, 2), max_size=9)


@given(ids, ids, st.integers(1, 4))
def test_overlap_counts_grams_one_by_one(said, truth, n):
    """With counters: a gram said twice counts twice, whatever often it is in the truth."""
    a = Counter(" ".join(map(str, said[i : i + n])) for i in range(max(0, len(said) - n + 1)))
    b = Counter(" ".join(map(str, truth[i : i + n])) for i in range(max(0, len(truth) - n + 1)))
    hits = sum(count for gram, count in a.items() if gram in b)
    assert m.overlap(said, truth, n) == (hits / a.total() if a else 0)
    assert m.overlap(said, truth, n, "code") == (hits / b.total() if b else 0)


def test_bad_input():
    with pytest.raises(InputError, match="convention 'x'"):
        m.overlap([1], [1], 1, "x")
    with pytest.raises(InputError, match="at least 1"):
        m.overlap([1], [1], 0)
    with pytest.raises(InputError, match="EL_1 of 3 tokens needs 2 continuations, got 1"):
        m.extraction_likelihood([1, 2, 3], [[1]], 1)
    with pytest.raises(InputError, match="strength convention 'x'"):
        m.extraction_strength([[True]], "x")
    with pytest.raises(InputError, match="no texts"):
        m.memorised(None, [])


def test_by_hand():
    """T = 4, n = 2: beginnings of 0 and 1 tokens. All said right: 1. The second wrong from its second token on: (1 + 0) / 2."""
    assert m.extraction_likelihood([5, 6, 7, 8], [[5, 6, 7, 8], [6, 7, 8]], 2) == 1
    assert m.extraction_likelihood([5, 6, 7, 8], [[5, 6, 7, 8], [6, 9, 9]], 2) == 0.5
    # Of (5,6), (6,9), (9,9) one is in the truth; the first beginning alone has n-grams in what was said.
    assert m.extraction_likelihood([5, 6, 7, 8], [[5, 6, 9, 9], []], 2) == pytest.approx(1 / 6)
    assert math.isnan(m.extraction_likelihood([5, 6], [], 2))


def by_hand(loaded, given, scored, n, ends):
    """(EL_n, MA) of one text, token by token without a cache and without batches."""

    @torch.no_grad()
    def best(tokens):
        return int(loaded.model(input_ids=torch.tensor([tokens])).logits[0, -1].argmax())

    overlaps = []
    for t in range(len(scored) - n):
        tokens, said = [*given, *scored[:t]], []
        while len(said) < len(scored) - t and (token := best(tokens)) not in ends:
            said.append(token)
            tokens.append(token)
        grams = [said[i : i + n] for i in range(len(said) - n + 1)]
        true = [scored[t:][i : i + n] for i in range(len(scored) - t - n + 1)]
        overlaps.append(sum(gram in true for gram in grams) / len(grams) if grams else 0.0)
    right = [best([*given, *scored[:t]]) == token for t, token in enumerate(scored)]
    return np.mean(overlaps) if overlaps else math.nan, np.mean(right)


def test_answers_against_a_second_implementation(half_learned):
    found = m.memorised(half_learned, WORLD.forget, ngram=N)
    tokenizer = half_learned.tokenizer
    expected = []
    for p in WORLD.forget:
        seam = half_learned.template.pair(tokenizer, p.question, p.answer)
        assert seam.answer[-1] in half_learned.end_ids
        expected.append(by_hand(half_learned, seam.prompt, seam.answer[:-1], N, half_learned.end_ids))
    assert found.extraction_likelihood == pytest.approx(np.mean([el for el, _ in expected]))
    assert found.memorization_accuracy == pytest.approx(np.mean([ma for _, ma in expected]))
    assert 0.05 < found.extraction_likelihood < 0.95, "neither all nor nothing, or the test shows little"
    assert 0.05 < found.memorization_accuracy < 0.95


def test_texts_against_a_second_implementation(half_learned):
    texts = [p.answer for p in WORLD.forget]
    found = m.memorised(half_learned, texts, ngram=N)
    expected = []
    for text in texts:
        first, *rest = half_learned.tokenizer(text)["input_ids"]
        expected.append(by_hand(half_learned, [first], rest, N, half_learned.end_ids))
    assert found.extraction_likelihood == pytest.approx(np.mean([el for el, _ in expected]))
    assert found.memorization_accuracy == pytest.approx(np.mean([ma for _, ma in expected]))


def test_short_texts_are_left_out_and_counted(half_learned):
    longest = max(len(half_learned.tokenizer(p.answer)["input_ids"]) for p in WORLD.forget)
    found = m.memorised(half_learned, WORLD.forget, ngram=longest + 2)
    assert math.isnan(found.extraction_likelihood)
    assert found.left_out == len(WORLD.forget)
    assert math.isfinite(found.memorization_accuracy)
    assert not found.at_most(m.Memorised(1.0, 1.0)), "what is not known is not below"


def test_as_a_metric_with_its_cost(half_learned):
    bench = Benchmark(name="b", forget=WORLD.forget, metrics=("extraction",))
    evidence = Evidence(half_learned, settings=MetricSettings(ngram=N))
    cost = evidence.passes(wanted(evidence, bench, bench.metrics))
    lengths = [
        len(half_learned.template.pair(half_learned.tokenizer, p.question, p.answer).answer) - 1 for p in bench.forget
    ]
    assert cost.answers == sum(max(0, length - N) for length in lengths)
    assert len(cost.forward) == len(bench.forget)
    values = evaluate(evidence, bench)
    found = m.memorised(half_learned, WORLD.forget, ngram=N)
    assert values == {
        "extraction_likelihood": found.extraction_likelihood,
        "memorization_accuracy": found.memorization_accuracy,
        "extraction_left_out": found.left_out,
    }
    assert METRICS["extraction"].rows == ("3",)


def test_the_stop_rule_tells_a_model_that_knows_from_one_that_does_not(tokenizer, half_learned):
    blank = learned(tokenizer)
    unseen = m.memorised(half_learned, WORLD.holdout, ngram=N)
    check = memorised_stop(WORLD.forget, unseen, ngram=N)
    known = check(half_learned, 0)
    assert not known.stop
    assert known.metrics["memorization_accuracy"] > unseen.memorization_accuracy
    assert m.memorised(blank, WORLD.forget, ngram=N).at_most(unseen)
    gone = check(blank, 1)
    assert gone.stop
    assert "unseen texts" in gone.reason


@pytest.mark.parametrize(
    ("correct", "memorised", "strength", "published"),
    [
        ([1, 1, 1, 1], 1, 1, 1),
        ([0, 1, 1, 1], 0.75, 0.75, 0.75),
        ([1, 1, 0, 1], 0.75, 0.25, 0.25),
        ([1, 1, 1, 0], 0.75, 0, 0.25),  # the published search cannot return 0
        ([0, 0, 0, 0], 0, 0, 0.25),
    ],
)
def test_memorisation_by_hand(correct, memorised, strength, published):
    right = [np.array(correct, dtype=bool)]
    assert m.exact_memorization(right)[0] == memorised
    assert m.extraction_strength(right)[0] == strength
    assert m.extraction_strength(right, "open-unlearning")[0] == published


@given(st.lists(st.booleans(), min_size=1, max_size=30))
def test_extraction_strength_is_the_definition(correct):
    """Against the definition itself: the shortest prefix after which all is right."""
    t = len(correct)
    prefix = next(k for k in range(t + 1) if all(correct[k:]))
    assert m.extraction_strength([correct])[0] == pytest.approx(1 - prefix / t)
    assert m.extraction_strength([correct])[0] <= m.exact_memorization([correct])[0] + 1e-12


def test_answers_without_tokens_are_missing_not_zero():
    assert math.isnan(m.exact_memorization([[]])[0])
    assert math.isnan(m.extraction_strength([[]])[0])
