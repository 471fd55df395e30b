"""How likely true answers are, whole and by halves."""

import numpy as np
import pytest
import torch

from leakatk.metrics.privacy import min_k_plus_plus_scores
from leakatk.models.token_stats import answer_pairs, token_stats
from leakatk.unlearning.losses.preference import mean_logprob
from leakatk.unlearning.rule.likelihood import answer_likelihoods, halves
from leakatk.unlearning.streams import Streams, answer_logits


@pytest.fixture
def stats(loaded, forget):
    return token_stats(loaded, answer_pairs(loaded, [p.question for p in forget], [p.answer for p in forget]))


def test_the_whole_answers_numbers_are_those_of_its_tokens(loaded, forget, stats):
    found = answer_likelihoods(loaded, forget)
    assert found.logprob == pytest.approx([s.logprob.mean() for s in stats])
    attack = min_k_plus_plus_scores([s.logprob for s in stats], [s.mean for s in stats], [s.deviation for s in stats])
    assert np.array_equal(found.surprise, attack)


def test_the_halves_of_an_answer_leave_out_its_end_token():
    labels = torch.tensor([[5, 6, 7, 8, 2], [5, 6, 7, 2, -100], [5, 2, -100, -100, -100], [2, -100, -100, -100, -100]])
    none = -100
    first, second = halves(labels)
    assert first.tolist() == [
        [5, 6, none, none, none],
        [5, none, none, none, none],
        [5, none, none, none, none],
        [2, none, none, none, none],
    ]
    assert second.tolist() == [
        [none, none, 7, 8, none],
        [none, 6, 7, none, none],
        [5, none, none, none, none],
        [2, none, none, none, none],
    ]


def test_the_halves_log_probabilities_are_those_of_their_tokens(loaded, forget, stats):
    assert all(len(s.logprob) > 2 for s in stats)
    found = answer_likelihoods(loaded, forget)
    assert found.head == pytest.approx([s.logprob[: (len(s.logprob) - 1) // 2].mean() for s in stats])
    assert found.tail == pytest.approx([s.logprob[:-1][(len(s.logprob) - 1) // 2 :].mean() for s in stats])
    streams = Streams(forget, [], loaded.tokenizer, loaded.template, seed=0)
    batch = streams.batch("forget", range(len(forget)), loaded.device)
    with torch.no_grad():
        logits = answer_logits(loaded.model, batch)
    for part, expected in zip(halves(batch.labels), (found.head, found.tail), strict=True):
        assert mean_logprob(logits, part).numpy() == pytest.approx(expected, rel=1e-4)
