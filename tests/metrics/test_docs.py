"""docs/add-a-metric.md does what it says: its code blocks are run as they stand."""

import re
from pathlib import Path

import numpy as np
import pytest

from leakatk.benchmarks.catalog import load_benchmark
from leakatk.metrics import pieces
from leakatk.metrics.base import METRICS
from leakatk.models.load import load_model
from leakatk.models.token_stats import answer_pairs, token_stats
from leakatk.registry import Registry
from tests.tiny import save_tiny_model

PAGE = Path(__file__).resolve().parents[2] / "docs" / "add-a-metric.md"
pytestmark = pytest.mark.skipif(not PAGE.exists(), reason="the documentation is not beside the tests")


def test_worked_example(tmp_path, monkeypatch):
    example, use = re.findall(r"```python\n(.*?)```", PAGE.read_text(), flags=re.DOTALL)
    place = save_tiny_model(tmp_path / "forgot")
    known = Registry(METRICS.kind)  # what the example registers goes in here, beside all that was there
    for name in METRICS:
        known.add(name, METRICS[name])
    monkeypatch.setattr("leakatk.metrics.base.METRICS", known)
    names = {}
    exec(example, names)
    exec(use.replace('"models/forgot"', repr(str(place))), names)
    one = known["weakest_token"]
    loaded, prompts = load_model(place), load_benchmark("world").forget
    stats = token_stats(loaded, answer_pairs(loaded, [p.question for p in prompts], [p.answer for p in prompts]))
    lowest = [min(np.exp(step) for step in answer.logprob) for answer in stats]
    assert names["values"] == {"weakest_token": pytest.approx(np.mean(lowest))}
    assert one.needs == ("forget",)


def test_the_table_of_evidence_names_what_is_there():
    table = [line for line in PAGE.read_text().splitlines() if line.startswith("| `")]
    named = [name for line in table for name in re.findall(r"\[?([A-Z]\w+)\(|`(\w+_\w+)`", line.split("|")[1])]
    found = {a or b for a, b in named}
    assert {"answer_stats", "greedy_answers", "Passage", "GradientNorm", "Options", "Continuations"} <= found
    assert all(hasattr(pieces, name) for name in found)


def test_every_metric_states_its_facts():
    for name in METRICS:
        one = METRICS[name]
        assert one.summary.endswith((".", "?")), name
        assert one.paper, name
        assert one.formula, name
        assert one.source, name
