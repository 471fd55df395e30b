"""Mean and standard deviation over seeds, against the definitions; whatever is missing is counted."""

import math
import statistics

import pytest

from leakatk.bench.over_seeds import over_seeds, seeds_sentence
from leakatk.bench.results import read_rows, results_table, write_rows
from leakatk.errors import InputError
from leakatk.report.content import Number
from leakatk.report.table import to_csv, to_latex, to_markdown

LEAKS = {"npo": (0.1, 0.4, 0.7), "ga": (0.2, 0.2, 0.5)}


def row(label="npo", seed=0, **columns):
    return {
        "model": f"runs/{label}-seed-{seed}", "role": "model", "label": label, "model_sha256": f"{label}{seed}",
        "benchmark": "world", "benchmark_sha256": f"b{seed}", "protocol": "clean", "decoding": "T=1", "seed": seed,
        "scorer": "fact", "n": 4, "prompts": 10, "unscored": 1, **columns,
    }  # fmt: skip


def three(**changes):
    return [
        row(label, seed, **{"leak@4": value, "leak@4 low": 0.0, "leak@4 high": 1.0, **changes})
        for label, values in LEAKS.items()
        for seed, value in enumerate(values)
    ]


def test_mean_and_standard_deviation():
    made = {one["label"]: one for one in over_seeds(three())}
    for label, values in LEAKS.items():
        assert made[label]["leak@4"] == pytest.approx(sum(values) / 3)
        assert made[label]["leak@4 sd"] == pytest.approx(statistics.stdev(values))
        assert made[label]["leak@4 seeds"] == 3
        assert "leak@4 low" not in made[label], "an interval is about one model"
        assert (made[label]["prompts"], made[label]["unscored"]) == (30, 3)
        assert made[label]["seed"] == "0, 1, 2"


def test_every_style_shows_the_spread():
    table = results_table(over_seeds(three()), "leak")
    shown = dict(zip(table.columns, table.rows[0], strict=True))
    assert str(shown["leak@4"]) == "0.400 ± 0.300"
    assert "Mean ± standard deviation over seeds 0, 1, 2." in table.caption
    assert "0.400 ± 0.300" in to_markdown(table)
    assert r"0.400 $\pm$ 0.300" in to_latex(table)
    head, first = to_csv(table).splitlines()[:2]
    assert head.split(",")[-2:] == ["leak@4", "leak@4 sd"]
    assert [float(cell) for cell in first.split(",")[-2:]] == pytest.approx([0.4, 0.3])


def test_what_seeds_lack_is_said():
    rows = three()
    rows[1]["leak@4"] = math.nan
    del rows[2]["leak@4"]
    made = over_seeds(rows)
    assert made[0]["leak@4"] == pytest.approx(0.1)
    assert math.isnan(made[0]["leak@4 sd"])
    assert str(Number(0.1, sd=math.nan)) == "0.100"
    assert "npo: leak@4 of 1 of 3 seeds." in seeds_sentence(made, ["leak@4"])
    assert "ga:" not in seeds_sentence(made, ["leak@4"])
    assert seeds_sentence(rows, ["leak@4"]) == ""


def test_two_models_of_one_seed_are_refused():
    with pytest.raises(InputError, match="npo stands for 2 models of seed 1"):
        over_seeds([*three(), row("npo", 1, **{"leak@4": 0.9, "model_sha256": "other"})])


def test_models_without_a_label_go_by_their_path():
    """The seed's number is one and the same, and two models of one name are told apart."""
    rows = [row("", seed, model=f"{base}/seed-{seed}/full", role="original", **{"leak@4": 0.5 + seed / 10})
            for base in ("small", "large") for seed in (0, 1)]  # fmt: skip
    assert {one["label"] for one in over_seeds(rows)} == {"small/seed-*/full", "large/seed-*/full"}
    assert {one["label"] for one in over_seeds(rows[:2])} == {"full"}
    # A name that several seeds share holds a number that is no seed's.
    same = [row("", seed, model="models/scal-1", benchmark="muse/news:scal-1", **{"leak@4": 0.1}) for seed in (1, 2)]
    [one] = over_seeds(same)
    assert (one["label"], one["benchmark"], one["seeds"]) == ("scal-1", "muse/news:scal-1", 2)


def test_benchmarks_of_a_seed_are_one():
    rows = [row(seed=seed, benchmark=f"runs/seed-{seed}", **{"leak@4": seed / 10}) for seed in (0, 1, 10)]
    [one] = over_seeds(rows)
    assert (one["benchmark"], one["leak@4"]) == ("runs/seed-*", pytest.approx(1.1 / 3))


def test_rows_of_one_weight_under_two_labels_stay(tmp_path):
    """A method that changed nothing is a result, and not the original's row once more."""
    path = tmp_path / "results.parquet"
    first, second = row("", 0, **{"leak@4": 0.5}), row("nothing", 0, **{"leak@4": 0.5})
    second["model_sha256"] = first["model_sha256"] = "same"
    write_rows(path, [first])
    write_rows(path, [second])
    assert [one["label"] for one in read_rows(path)] == ["nothing"], "an unlabelled row gives way"
    write_rows(path, [{**second, "label": "other", "role": "control"}])
    write_rows(path, [second])
    rows = read_rows(path)
    assert [one["label"] for one in rows] == ["nothing", "other"]
    table = results_table(rows, "leak")
    assert [cells[0] for cells in table.rows] == ["nothing", "other (control)"]
