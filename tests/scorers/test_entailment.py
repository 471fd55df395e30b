"""Entailment as a score: the gate, the two directions, with a real, randomly initialised classifier."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from leakatk.errors import ModelError
from leakatk.prompts import Prompt
from leakatk.scorers import get_scorer, score_texts
from tests.scorers.test_nli import TEXTS, one_by_one


def test_forget_asks_whether_the_generation_entails_the_truth(nli_dir: str) -> None:
    """The random classifier judges (a, b) and (b, a) differently often enough to tell the two directions apart."""
    pairs = [(truth, said) for truth, said in itertools.product(TEXTS, TEXTS) if truth != said]
    truths, said = zip(*pairs, strict=True)
    forward = np.array(one_by_one(nli_dir, [(b, a) for a, b in pairs]))
    backward = np.array(one_by_one(nli_dir, pairs))
    gate = score_texts("rouge-l", truths, said) >= 0.1
    assert (forward != backward)[gate].sum() > 5
    scored = {
        direction: score_texts("entailment", truths, said, model=nli_dir, direction=direction)
        for direction in ("forget", "retain")
    }
    np.testing.assert_array_equal(scored["forget"], np.where(gate, forward, 0))
    np.testing.assert_array_equal(scored["retain"], np.where(gate, backward, 0))


def test_gated_pairs_never_reach_a_model() -> None:
    """The model does not exist, and nobody notices: everything falls at the gate."""
    prompts = [Prompt("1", "?", "the author was born in paris"), Prompt("2", "?", "rome")]
    scorer = get_scorer("entailment", model="/nowhere/at/all")
    np.testing.assert_array_equal(scorer.score(prompts * 2, ["no farm", "no farm", "", "..."]), 0)
    with pytest.raises(ModelError, match="Cannot load the NLI model '/nowhere/at/all'"):
        scorer.score(prompts, ["no farm", "in rome"])
    assert get_scorer("entailment", gate=0.0).passing(prompts, ["no farm", " "]).tolist() == [0]  # type: ignore[attr-defined]


def test_where_rouge_cannot_read_the_model_decides(nli_dir: str) -> None:
    """A verbatim copy in another script has ROUGE 0 and never reached the model; an empty reply is still 0."""
    truths = ["Она родилась в Риме", "她出生在罗马", "ولدت في روما"]
    scorer = get_scorer("entailment", model=nli_dir)
    prompts = [Prompt(truth, "?", truth) for truth in truths]
    assert scorer.passing(prompts, truths).tolist() == [0, 1, 2]  # type: ignore[attr-defined]
    np.testing.assert_array_equal(scorer.score(prompts, truths), one_by_one(nli_dir, [(a, a) for a in truths]))
    assert scorer.passing(prompts, ["", " ", "ok"]).tolist() == [2]  # type: ignore[attr-defined]
    assert scorer.score(prompts, ["", " ", "\n"]).tolist() == [0, 0, 0]
