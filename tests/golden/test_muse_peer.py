"""MUSE's own published code and ours on one tiny model: tests/golden/peers/muse.json holds what that code gave."""

import json
from pathlib import Path

import numpy as np
import pytest

from leakatk.benchmarks.base import Benchmark
from leakatk.benchmarks.muse import METRICS, few_shot_template
from leakatk.metrics.base import Evidence, evaluate
from leakatk.metrics.membership import attack_scores
from leakatk.models.loaded import LoadedModel
from leakatk.models.template import Template
from leakatk.prompts import Prompt
from tests.golden import musemodel

HELD = json.loads((Path(__file__).parent / "peers" / "muse.json").read_text())


@pytest.fixture(scope="module")
def loaded():
    return LoadedModel(musemodel.model(), musemodel.tokenizer(), Template(), "tiny", "")


@pytest.fixture(scope="module")
def found(loaded):
    data = musemodel.inputs()

    def prompts(name, question="question", answer="answer"):
        return tuple(Prompt(f"{name}-{i}", row[question], row[answer]) for i, row in enumerate(data[name]))

    shots = {side: few_shot_template(prompts(f"{side}_icl")) for side in ("forget", "retain")}
    bench = Benchmark(
        name="muse/tiny",
        forget=prompts("forget_qa"),
        retain=prompts("retain_qa"),
        sets={"verbmem": prompts("verbmem", "prompt", "gt")},
        texts={f"privleak_{side}": tuple(data[side]) for side in ("forget", "holdout")},
        templates={"verbmem": "{question}", **shots},
        metrics=METRICS,
    )
    evidence = Evidence(loaded)
    return evaluate(evidence, bench), attack_scores(evidence, bench)


@pytest.mark.parametrize("metric", ["verbmem", "knowmem_forget", "knowmem_retain"])
def test_rouge_of_greedy_answers(found, metric):
    """The same answers, cut at the next question, against truths cut to 128 tokens, <s> counted: the same number."""
    assert found[0][metric] == pytest.approx(np.mean([row["rougeL"] for row in HELD[metric]]), rel=1e-9, abs=1e-12)


def test_min_k_of_whole_texts(found):
    """One text a side is longer than 2,048 tokens. Sums of float32 log-probabilities agree to about 1e-5."""
    for ours, side in zip(found[1]["min-k"], ("forget", "holdout"), strict=True):
        assert ours == pytest.approx(HELD["min_40"][side], rel=2e-5)
    assert found[0]["auc_min-k"] == pytest.approx(1 - HELD["auc"])


def test_privleak_once_more_in_numpy(found):
    """Share of pairs in which the forget text scores above the other, against .5, in percent."""
    forget, holdout = (np.array(HELD["min_40"][side]) for side in ("forget", "holdout"))
    auc = (forget[:, None] > holdout[None, :]).mean()
    assert auc == pytest.approx(HELD["auc"])
    assert found[0]["privleak"] == pytest.approx(100 * (auc - 0.5) / 0.5)
