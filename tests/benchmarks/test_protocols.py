"""Named sets of conventions: what each says, and what it changes for a family of benchmarks."""

from dataclasses import asdict, replace

import pytest

from leakatk.benchmarks.catalog import BENCHMARKS, load_benchmark
from leakatk.benchmarks.protocols import GRID, PROTOCOLS, Protocol
from leakatk.errors import UnknownNameError
from leakatk.scorers import get_scorer


def test_paper_protocol_changes_what_it_says(data_dir):
    rules = PROTOCOLS["paper"]
    assert rules.headline.top_k == 50
    assert len(rules.grid) == len(GRID) == 10
    assert [d.greedy for d in rules.grid] == [True] + [False] * 9
    assert all(d.top_k == 50 and d.max_new_tokens == 200 for d in rules.grid)
    assert all(d.top_k == 0 for d in PROTOCOLS["clean"].grid)
    rules = rules.on("tofu/forget01")
    asked = load_benchmark("tofu/forget01", data=data_dir / "tofu", ask=rules.ask)
    assert asked.forget[0].question == load_benchmark("tofu/forget01", data=data_dir / "tofu").forget[0].paraphrases[0]


def test_paper_protocol_by_benchmark():
    rules = PROTOCOLS["paper"]
    assert (rules.on("tofu/forget10").scorer, rules.on("tofu/forget10").ask) == ("entailment", "paraphrased")
    muse = rules.on("muse/news")
    assert (muse.scorer, muse.ask, muse.headline.max_new_tokens) == ("rouge-l:stem=no", "question", 32)
    assert (rules.on("wmdp/cyber").scorer, rules.on("wmdp/cyber:open").scorer) == ("choice", "judge:rubric=graded")
    assert PROTOCOLS["clean"].on("tofu/forget10") == PROTOCOLS["clean"]


def test_the_grid_is_greedy_and_nine_of_temperature_and_top_p():
    """Of the paper: three temperatures by three top-p, and the greedy answer."""
    assert GRID[0] == (0, 0)
    assert sorted(GRID[1:]) == sorted((t, p) for t in (0.2, 0.8, 1) for p in (0.2, 0.8, 1))
    for rules in (PROTOCOLS[name] for name in PROTOCOLS):
        assert [(one.temperature, one.top_p) for one in rules.grid[1:]] == list(GRID[1:])


@pytest.mark.parametrize("name", list(PROTOCOLS))
def test_every_benchmark_has_rules_that_can_be_followed(name):
    rules = PROTOCOLS[name]
    assert rules.name == name
    assert rules.summary
    assert rules.paper
    for benchmark in BENCHMARKS:
        applied = rules.on(benchmark)
        assert applied.ask in ("question", "paraphrased")
        assert applied.ask == "question" or BENCHMARKS[benchmark].paraphrased
        if applied.scorer and not applied.scorer.startswith("judge"):  # a judge needs a server
            assert get_scorer(applied.scorer).label == applied.scorer
        assert applied.headline in applied.grid or applied.headline.temperature == 1


def test_the_clean_protocol_is_that_of_every_default_and_changes_nothing():
    assert PROTOCOLS["clean"].changes == ()
    for benchmark in BENCHMARKS:
        assert PROTOCOLS["clean"].on(benchmark) is PROTOCOLS["clean"]
    assert len(PROTOCOLS["paper"].changes) == 6, "what differs is said, point by point"


def test_the_longest_family_that_fits_counts():
    rules = Protocol(
        name="x",
        families={"a": {"n": 1}, "a/b": {"n": 2}, "a/b:open": {"n": 3, "scorer": "fact"}, "b": {"n": 4}},
    )
    assert [rules.on(name).n for name in ("a", "a/c", "a/b", "a/b:closed", "a/b:open", "b", "c")] == [
        1,
        1,
        2,
        2,
        3,
        4,
        200,
    ]
    assert rules.on("a/b:open") == replace(rules, n=3, scorer="fact")
    assert rules.on("c") is rules
    assert asdict(rules.on("a"))["families"] == asdict(rules)["families"]


def test_an_unknown_protocol_names_the_nearest():
    with pytest.raises(UnknownNameError, match="did you mean paper"):
        PROTOCOLS["papers"]
