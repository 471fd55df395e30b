"""The tables of audited runs: which columns stand in them, and that every cell is the number of its run."""

import math
from dataclasses import replace
from types import SimpleNamespace

import pytest

from leakatk.report.content import Number, Table
from leakatk.report.leak_tables import (
    EXACT,
    bounds_table,
    captions,
    columns_of,
    excess_k_of,
    forecast_table,
    halves,
    methods_table,
    other_scorers_table,
    probes_table,
    select,
)
from leakatk.runs.results import (
    BoundsResult,
    ExactResult,
    ForecastResult,
    LeakResult,
    ProbeResult,
    ReasoningResult,
    WorstResult,
)
from tests.report.audits import changed, curve, made


@pytest.fixture(scope="module")
def one(tmp_path_factory):
    return made(tmp_path_factory.mktemp("tables") / "run", label="one")


@pytest.fixture(scope="module")
def other(one):
    return changed(one, label="other", block={"curves": {"samples": curve(0.3, 0.4, ks=[1, 4])}, "greedy": 0.5})


def cells(table, name):
    return [row[table.columns.index(name)] for row in table.rows]


def test_a_row_a_model_and_its_numbers_at_every_shared_k(one, other):
    table = methods_table([one, other])
    assert table.columns == ("model", "greedy", "leak@1", "leak@4", "a sample")
    assert cells(table, "model") == ["one", "other"]
    found = one.results.scorers["fact"].curves["samples"]
    assert cells(table, "leak@4") == [
        Number(found.value[1], found.low[1], found.high[1]),
        Number(0.4, pytest.approx(0.3), pytest.approx(0.5)),
    ]
    assert cells(table, "greedy") == [Number(0.0), Number(0.5)]
    assert cells(table, "a sample") == ["I do not know."] * 2


def test_what_no_run_has_takes_no_column(one):
    plain = changed(one, block={"greedy": math.nan})
    assert methods_table([plain]).columns == ("model", "leak@1", "leak@4", "leak@16", "a sample")
    kept = changed(one, label="kept", block={"retain": 0.9})
    assert [str(cell) for cell in cells(methods_table([one, kept]), "retain")] == ["–", "0.900"]


def test_the_true_answers_exact_leak_has_columns_beyond_one(one):
    exact = changed(
        one, label="exact", exact=ExactResult(k=[1, 16, 1000, 10**6, 5000], value=[0, 0.1, 0.2, 0.4, 0.3], logp={})
    )
    table = methods_table([exact, one])
    assert [name for name in table.columns if name.startswith("verbatim")] == [
        "verbatim@16", "verbatim@10^3", "verbatim@10^6", "verbatim@5000",
    ]  # fmt: skip
    assert cells(table, "verbatim@10^6") == [Number(0.4), ""]
    assert table.caption.endswith(f" {EXACT}")
    leak, rest = halves(table)
    assert leak.columns == ("model", "greedy", "leak@1", "leak@4", "leak@16")
    assert rest.columns == ("model", "verbatim@16", "verbatim@10^3", "verbatim@10^6", "verbatim@5000", "a sample")
    assert (leak.title, rest.caption) == (table.title, EXACT)
    assert f"{leak.caption} {rest.caption}" == table.caption
    for half in (leak, rest):
        for name in half.columns:
            assert cells(half, name) == cells(table, name)


def test_the_excess_is_told_at_the_largest_k_that_any_run_has(one):
    short = changed(one, label="short", block={"excess": {"samples": curve(0.1, 0.2, ks=[1, 4])}})
    table = methods_table([one, short])
    assert excess_k_of([one, short], "fact", "samples", 16) == 4
    assert cells(table, "excess@4") == ["", Number(0.2, pytest.approx(0.1), pytest.approx(0.3))]
    assert "The excess is at k = 4: the retrained model has no samples for more." in table.caption
    whole = changed(one, block={"excess": {"samples": curve(0.1, 0.2, 0.3)}})
    assert "The excess is at" not in methods_table([whole]).caption
    assert excess_k_of([whole], "fact", "samples", 4) == 4, "not beyond what is told"
    assert excess_k_of([one], "fact", "samples", 16) == 0


def test_the_usual_ks_and_the_headlines(one):
    odd = changed(one, block={"curves": {"samples": curve(0.1, 0.2, 0.3, 0.4, ks=[1, 3, 16, 50])}})
    assert columns_of([odd], "fact", "samples") == [1, 16, 50]
    assert columns_of([odd, one], "fact", "samples") == [1, 16]


def test_a_long_sample_is_cut(one):
    long = replace(one, run=_Texts("x" * 91))
    short = replace(one, run=_Texts(" " + "y" * 90 + "\n"))
    assert cells(methods_table([long, short]), "a sample") == ["x" * 87 + "...", "y" * 90]


class _Texts:
    manifest = SimpleNamespace(model={})

    def __init__(self, text):
        self.text = text

    def texts(self):
        return [[self.text, "second"], ["other prompt"]]


def test_other_scorers_stand_below_each_with_its_conditions(one, other):
    table = other_scorers_table([one, other], over="samples")
    assert [row[:2] for row in table.rows] == [("one", "rouge-l"), ("other", "rouge-l")]
    found = one.results.scorers["rouge-l"].curves["samples"]
    assert cells(table, "leak@4")[0] == Number(found.value[1], found.low[1], found.high[1])
    assert "Scorer rouge-l;" in table.caption
    alone = replace(one, results=replace(one.results, scorers={"fact": one.results.scorers["fact"]}))
    assert other_scorers_table([alone, one], over="samples") is None
    assert [row[0] for row in other_scorers_table([one, alone], over="samples").rows] == ["one"]


def probed(one):
    """Two probes, one of which gives the answer away, the reasoning, and the worst over them."""
    block = one.results.scorers["fact"]

    def scored(*values, greedy=0.0):
        return {"fact": replace(block, curves={"samples": curve(*values)}, greedy=greedy)}

    probes = {
        "role": ProbeResult(m=8, left_out=["p8", "p9"], gives_answer=False, scorers=scored(0.2, 0.3, 0.4, greedy=0.1)),
        "context": ProbeResult(m=10, left_out=[], gives_answer=True, scorers=scored(1, 1, 1)),
    }
    worst = LeakResult(curves={"samples": curve(0.5, 0.6, 0.7)}, prompt_ids=(), per_prompt=())
    return changed(
        one,
        probes=probes,
        reasoning=ReasoningResult(scorers=scored(0.8, 0.85, 0.9)),
        worst=WorstResult(ways=2.5, scorers={"fact": worst}),
    )


def test_every_way_of_asking_has_a_row_and_the_worst_is_last(one):
    table = probes_table([one, probed(one)], over="samples")
    assert cells(table, "asked") == [
        "as it stands", "as it stands, in the reasoning", "role", "context *", "worst of 2.5 ways",
    ]  # fmt: skip
    assert [cell.value for cell in cells(table, "leak@16")][1:] == [0.9, 0.4, 1.0, 0.7]
    assert [str(cell) for cell in cells(table, "greedy")] == ["0.000", "0.000", "0.100", "0.000", ""]
    assert "role leaves out 2 prompts that it cannot ask so." in table.caption
    assert "* gives the answer away: read its excess; it is no part of the worst case." in table.caption
    assert "does not compare" in table.caption
    assert probes_table([one], over="samples") is None


def test_no_star_no_note_on_it(one):
    asked = probed(one)
    del asked.results.probes["context"]
    assert "*" not in probes_table([asked], over="samples").caption


def test_a_forecast_names_the_instrument_of_each_side(one):
    ahead = ForecastResult(
        k=[64, 10**6],
        low=[0.1, 0.2],
        high=[0.5, 0.95],
        low_by=["counts", "exact"],
        high_by=["exact", "counts"],
        line=[0.3, 0.41],
    )
    less = replace(ahead, k=[64], low=[0.0], high=[1.0], low_by=["counts"], high_by=["counts"], line=[0.5])
    audits = [
        changed(one, block={"forecast": None}),
        changed(one, label="a", block={"forecast": ahead}),
        changed(one, label="b", block={"forecast": less}),
    ]
    table = forecast_table(audits, "fact")
    assert table.columns == ("model", "leak@64", "leak@10^6")
    assert table.rows == (
        ("a", "0.10 to 0.50 (counts, exact); line 0.300", "0.20 to 0.950 (exact, counts); line 0.410"),
        ("b", "0 to 1 (counts, counts); line 0.500", ""),
    )
    assert "(95%)" in table.caption
    assert forecast_table([changed(one, block={"forecast": None})], "fact") is None


def test_certain_bounds_stand_where_the_trees_were_expanded(one):
    found = BoundsResult(k=[1, 1000], low=[0.0, 0.25], high=[0.5, 1.0], unknown=0.125)
    expanded = changed(one, block={"bounds": found}, expansion={"budget": 9, "prefixes": 12345})
    table = bounds_table([one, expanded], "fact")
    assert table.columns == ("model", "leak@1", "leak@10^3", "unknown", "beginnings expanded")
    assert table.rows == (("one", "0 to 0.50", "0.25 to 1", Number(0.125), "12,345"),)
    assert bounds_table([changed(one, block={"bounds": found})], "fact") is None, "sampled alone, not expanded"


def test_some_columns_and_the_caption_in_two():
    table = Table("t", ("a", "b", "c"), (("1", "2", "3"), ("4", "5", "6")), "About.")
    chosen = select(table, [2, 0], "new")
    assert (chosen.title, chosen.columns, chosen.rows, chosen.caption) == (
        "",
        ("c", "a"),
        (("3", "1"), ("6", "4")),
        "new",
    )
    assert captions(table) == ("About.", "")
    assert captions(replace(table, caption=f"About. {EXACT}")) == ("About.", EXACT)
