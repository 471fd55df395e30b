"""Restoration by hand, and on models that say the right facts, the wrong ones, or neither."""

import math

import numpy as np
import pytest

from leakatk.benchmarks.base import Benchmark
from leakatk.benchmarks.worlds.corruption import make_corruption
from leakatk.metrics import restoration as r
from leakatk.metrics.base import Evidence, evaluate
from leakatk.metrics.pieces import Answer
from tests.metrics.conftest import learned

MADE = make_corruption(0, forget=1, retain=7, retain_held=0, holdout=0, world_facts=0, pretraining=0)
SMALL = Benchmark(
    name="small",
    forget=MADE.benchmark.forget[:2],
    retain=MADE.benchmark.retain,
    sets={"original": MADE.benchmark.sets["original"][:2]},
)


def test_examples_are_of_the_same_relation_and_of_others():
    prompt = SMALL.sets["original"][0]
    found = r.shots(prompt, SMALL.retain)
    assert len(found) == len(set(found)) == 5
    assert found == r.shots(prompt, SMALL.retain)
    assert found != r.shots(prompt, SMALL.retain, seed=1)
    for question, answer in found:
        [other] = [p for p in SMALL.retain if p.question == question]
        assert other.id.rsplit("-", 1)[1] == prompt.id.rsplit("-", 1)[1] == "birth"
        assert (other.answer, other.source != prompt.source) == (answer, True)
    assert len(r.shots(prompt, SMALL.retain[:12])) == 2, "no more than there are"
    assert prompt.question not in [q for q, _ in r.shots(prompt, (*SMALL.retain, prompt), 99)]


def test_shares_and_recovered_by_hand():
    p = np.array([0.5, 0.3, 0.1])
    assert r.option_shares(np.log(p)) == pytest.approx(p / p.sum())
    assert r.recovered(0.5, 0.2, 0.8) == pytest.approx(0.5)
    assert (r.recovered(0.2, 0.2, 0.8), r.recovered(0.8, 0.2, 0.8)) == (0, 1)
    assert math.isnan(r.recovered(0.5, 0.4, 0.4))


def test_models_with_right_facts_wrong_facts_and_half_of_them(tokenizer):
    right, wrong = SMALL.sets["original"], SMALL.forget

    def taught(prompts):
        queries = [(p.question, p.answer) for p in prompts]
        # With five examples too, in the form that the small template gives to earlier turns.
        for prompt, original in zip(prompts, right, strict=True):
            turns = "".join(f"{q}<sep>{a}<eos><bos>" for q, a in r.shots(original, SMALL.retain))
            queries.append((turns + prompt.question, prompt.answer))
        return Evidence(learned(tokenizer, queries, steps=120))

    clean, corrupted, half = taught(right), taught(wrong), taught([right[0], wrong[1]])
    found = [evaluate(one, SMALL, metrics=["restoration"]) for one in (clean, corrupted, half)]
    assert [one["restored_plain"] for one in found] == [1, 0, 0.5]
    assert [one["restored"] for one in found] == [1, 0, 0.5]
    assert found[0]["share_right"] > 0.9 > 0.1 > found[0]["share_wrong"]
    assert found[1]["share_wrong"] > 0.9
    assert all(one["restoration_examples"] == 5 for one in found)
    assert sum(found[2][f"share_{kind}"] for kind in ("right", "wrong", "random")) == pytest.approx(1)
    query = r.Query(right[0].question, r.shots(right[0], SMALL.retain))
    texts = right[0].answer, right[0].perturbed_answers[0], right[0].perturbed_answers[-1]
    p = [math.exp(one.logprob.mean()) for one in half.get(Answer(query, text) for text in texts)]
    assert r.option_shares(np.log(p)) == pytest.approx(np.array(p) / sum(p))
    evidence = Evidence(half._model, retrained=clean, beside={"original": [corrupted]})
    shares = evaluate(evidence, SMALL, metrics=["restored_share"])
    assert (shares["restored_share"], shares["restored_clean"], shares["restored_corrupted"]) == (0.5, 1, 0)
