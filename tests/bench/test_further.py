"""Further models beside the one that is measured: named, refused, asked only what is needed, and shown."""

import json
import math

import pytest

from leakatk.bench import bench as b
from leakatk.bench.named import metrics_table
from leakatk.benchmarks.protocols import PROTOCOLS
from leakatk.errors import InputError, UnknownNameError
from leakatk.metrics import evidence as e
from leakatk.metrics.base import METRICS, check_further
from leakatk.metrics.evidence import MetricSettings
from tests.bench.conftest import BENCH, SHORT


def run(models, out, *metrics, **options):
    options = {"retrained": models / "retrained", "auxiliary": [("original", models / "retrained")], **options}
    return b.bench(
        models / "forgot", BENCH, out=out, n=2, retain_n=0, decodings=[SHORT], quiet=True, device="cpu", grad_norm=False,
        metrics=metrics, **options,
    )  # fmt: skip


@pytest.fixture
def asked(monkeypatch):
    """(model, kind of piece, how many) of all that is computed."""
    done, get = [], e.Evidence.get

    def noted(self, pieces):
        pieces = list(pieces)
        if type(self) is e.Evidence:
            done.extend((self.source.rsplit("/", 1)[-1], piece) for piece in pieces if piece not in self._values)
        return get(self, pieces)

    monkeypatch.setattr(e.Evidence, "get", noted)
    return done


def test_a_further_model_is_asked_only_what_a_metric_asks_of_it(models, tmp_path, asked):
    rows = run(models, tmp_path, "aus", "control")
    other = [piece for source, piece in asked if source == "retrained"]
    kinds = {type(piece).__name__ for piece in other}
    assert "Controlled" in {type(piece).__name__ for source, piece in asked if source == "forgot"}
    held = {prompt.question for prompt in BENCH.retain_held}
    first = other[: len(held)]
    assert {piece.query.text for piece in first} == held, "accuracy on what is to be kept, and nothing else"
    assert kinds >= {"Greedy"}
    by_role = {row["role"]: row for row in rows}
    assert by_role["model"]["aus_test"] == 0
    assert math.isfinite(by_role["retrained"]["aus"]), "the retrained model is held against the original too"
    table = metrics_table(rows, ["aus", "control"])
    assert [line[1] for line in table.rows] == [*METRICS["aus"].values, *METRICS["control"].values]
    assert table.columns[2:] == ("retrained", "model")
    assert table.rows[0][3].value == by_role["model"]["aus"]


def test_what_is_lacking_or_idle_is_refused_before_anything_is_computed(models, tmp_path):
    for metrics, options, words in (
        (["aus"], {"auxiliary": []}, "needs the model before unlearning; give each with --auxiliary original=MODEL"),
        (["klom"], {}, "Metric klom needs models made like this one"),
        (
            ["aus"],
            {"auxiliary": [("original", "x"), ("earlier", "y")]},
            "--auxiliary earlier: no metric that is computed",
        ),
        ([], {}, "--auxiliary original: no metric"),
        ([], {"encoder": "x"}, "give both"),
    ):
        with pytest.raises(InputError, match=words):
            run(models, tmp_path / "out", *metrics, **options)
    with pytest.raises(UnknownNameError, match="original"):
        check_further(BENCH, ["aus"], compared=True, counts={"original": 1, "originals": 1})
    assert not (tmp_path / "out").exists()
    with pytest.raises(InputError, match="give both"):
        MetricSettings(nli="x")


def test_a_metric_with_unknown_parts_is_a_mistake():
    from leakatk.metrics.base import Metric

    with pytest.raises(ValueError, match="unknown part"):
        Metric(name="x", compute=lambda evidence, benchmark: {}, needs=("auxiliary cousin",))


def test_a_dry_run_counts_further_models(models, capsys, monkeypatch):
    monkeypatch.setattr("leakatk.cli.dry.PILOT_SECONDS", 0.01)
    from leakatk.cli.bench_plan import plan_bench

    def plan(metrics, auxiliary):
        plan_bench(
            BENCH, str(models / "forgot"), PROTOCOLS["clean"].on("tiny"), 2, 0, [], "", decodings=[SHORT], grad_norm=False,
            tasks=[], seed=0, models=2, device="cpu", dtype="auto", as_json=True, metrics=metrics, auxiliary=auxiliary,
        )  # fmt: skip
        return json.loads(capsys.readouterr().out)

    one, two = (plan(["aus"], [("original", "x")] * count) for count in (1, 2))
    assert two["answers"] - one["answers"] == len(BENCH.retain_held)
    assert two["forced"]["tokens"] == one["forced"]["tokens"], "no text is given to it"
