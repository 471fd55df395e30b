"""What a bench computes of a model besides its samples, and where it keeps that."""

import json
import math

import pytest

from leakatk.benchmarks.protocols import PROTOCOLS
from leakatk.errors import InputError, UnknownNameError
from leakatk.models.load import load_model
from tests.bench.conftest import BENCH, SHORT
from tests.bench.test_bench import run


def test_further_metrics_by_name(models, tmp_path, capsys, monkeypatch):
    """Their numbers stand beside the others, their cost is planned; what a benchmark does not allow is refused at once."""
    from leakatk.cli.bench_plan import plan_bench

    monkeypatch.setattr("leakatk.cli.dry.PILOT_SECONDS", 0.01)
    options = {"n": 1, "retain_n": 0, "grad_norm": False, "retrained": None}
    [row, _] = run(models, tmp_path / "r", metrics=["extraction"], **options)
    assert math.isfinite(row["memorization_accuracy"])
    assert row["memorization_accuracy"] == row["exact_memorization"]
    assert 0 <= row["extraction_left_out"] <= len(BENCH.forget)
    counts = []
    for metrics in ([], ["extraction"]):
        plan_bench(
            BENCH, str(models / "forgot"), PROTOCOLS["clean"], 1, 0, [], "", decodings=[SHORT], grad_norm=False, tasks=[],
            seed=0, models=1, device="cpu", dtype="auto", as_json=True, metrics=metrics,
        )  # fmt: skip
        counts.append(json.loads(capsys.readouterr().out)["answers"])
    tokenizer = load_model(models / "forgot", device="cpu").tokenizer
    assert counts[1] - counts[0] > 0
    assert counts[1] - counts[0] <= sum(len(tokenizer(p.answer)["input_ids"]) for p in BENCH.forget)
    with pytest.raises(InputError, match="give the retrained model"):
        run(models, tmp_path / "none", metrics=["forget_quality"], **options)
    with pytest.raises(UnknownNameError, match="extraction"):
        run(models, tmp_path / "none", metrics=["extractions"], **options)
    assert not (tmp_path / "none").exists()
