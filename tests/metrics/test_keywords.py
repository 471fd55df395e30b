"""Losses of key words and of the words around them, against sums by hand."""

from __future__ import annotations

import numpy as np
import pytest

from leakatk.benchmarks.base import Benchmark
from leakatk.metrics.base import Evidence
from leakatk.metrics.keywords import Marked, keyword_loss, losses
from leakatk.models.load import load_model
from leakatk.models.token_stats import answer_pairs, token_stats
from leakatk.prompts import Prompt
from tests.tiny import save_tiny_model

ROWS = [
    np.array([[-1.0, -3.0, -8.0], [0.0, 0.0, 1.0]]),
    np.array([[-2.0, -6.0], [0.0, 1.0]]),
    np.array([[-50.0, -50.0], [0.0, 0.0]]),  # no key: not counted
    np.array([[-70.0], [1.0]]),  # nothing but keys: not counted
]


def test_each_kind_is_averaged_in_an_answer_and_then_over_answers():
    assert losses(ROWS) == (pytest.approx((2 + 2) / 2), pytest.approx((8 + 6) / 2), 2)


def test_without_an_answer_of_both_kinds_there_is_no_number():
    around, keys, answers = losses(ROWS[2:])
    assert np.isnan([around, keys]).all()
    assert answers == 0


def test_of_a_model_it_is_the_loss_of_its_own_tokens(tmp_path):
    """The marks once more, by the text that each token adds."""
    loaded = load_model(save_tiny_model(tmp_path / "m"), device="cpu")
    prompts = [
        Prompt("a", "Where was Ada born?", "Ada was born in Zorvik."),
        Prompt("b", "What did Bo do?", "he sang."),
    ]
    first = Marked.compute(loaded, [Marked(prompts[0])])[0]
    [(_, ids)] = answer_pairs(loaded, [prompts[0].question], [prompts[0].answer])
    [stats] = token_stats(loaded, [(answer_pairs(loaded, [prompts[0].question], [prompts[0].answer])[0])])
    text, wanted = "", []
    for i in range(1, len(ids)):
        longer = loaded.tokenizer.decode(ids[:i], skip_special_tokens=True)
        start = "Ada was born in Zorvik.".index("Zorvik")
        wanted.append(float(len(longer) > start and len(text) < start + len("Zorvik") and longer != text))
        text = longer
    assert first[1].tolist() == wanted
    assert 0 < sum(wanted) < len(wanted)
    np.testing.assert_allclose(first[0], stats.logprob[:-1])
    found = keyword_loss(Evidence(loaded), Benchmark(name="two", forget=prompts, retain=[]))
    marks = np.array(wanted) > 0
    assert found["keyed_answers"] == 1
    assert found["loss_ratio"] == pytest.approx(first[0][~marks].mean() / first[0][marks].mean())
