"""What is stored of each item of a log, read and checked."""

import math

import pytest

from leakatk.bench import logitems as items
from leakatk.bench.logs import column
from leakatk.errors import InputError


def test_item_numbers_of_any_kind():
    for keys in (("0", "1", "10"), (0, 1, 10), ("sample_0", "sample_1", "sample_10")):
        items = dict(zip(reversed(keys), ({"score": 3.0}, {"score": 2.0}, {"score": 1.0}), strict=True))
        log = {"exact_memorization": {"agg_value": 2.0, "value_by_index": items}}
        assert column(log, "exact_memorization", "score").tolist() == [1.0, 2.0, 3.0]


def test_item_numbers_that_only_look_like_numbers():
    """A superscript is a digit and no number: it is a name, sorted behind the numbers."""
    values = {
        "9" * 5000: {"prob": 0.5},
        "²": {"prob": 0.1},
        "10": {"prob": 0.2},
        "9": {"prob": 0.3},
        "x": {"prob": 0.4},
    }
    log = {"forget_Q_A_Prob": {"agg_value": 0.25, "value_by_index": values}}
    assert column(log, "forget_Q_A_Prob", "prob").tolist() == [0.3, 0.2, 0.5, 0.4, 0.1]


def log_of(items, metric="m"):
    return {metric: {"agg_value": None, "value_by_index": items}}


def test_a_metric_is_found_however_it_is_spelt():
    log = {"forget_Truth_Ratio": {}, "other": {}}
    assert items.named(log, "forget_truth_ratio") == "forget_Truth_Ratio"
    assert items.named(log, "retain_truth_ratio") == "retain_truth_ratio", "as asked for where there is none"


@pytest.mark.parametrize(
    ("log", "there"),
    [
        ({}, False),
        ({"m": 0.3}, False),
        ({"m": {"agg_value": 1}}, False),
        (log_of([{"score": 1}]), False),
        (log_of({"0": 1.0}), False),
        (log_of({"0": None, "1": {"prob": 1}}), False),
        (log_of({"0": None, "1": {"score": None}}), True),
    ],
)
def test_whether_any_item_has_a_value_of_that_kind(log, there):
    assert items.has(log, "m", "score") is there


def test_items_are_in_the_order_of_their_numbers_without_those_that_are_null():
    log = log_of({"10": {"score": 3}, "9": {"score": None}, "2": {"score": 1}, "x": {"score": 4}, "03": {"score": 2}})
    found = items.items_of(log, "m", "score", items.number_of)
    assert list(found.items()) == [("2", 1.0), ("03", 2.0), ("10", 3.0), ("x", 4.0)]


@pytest.mark.parametrize(
    "log", [{}, {"m": 0.1}, {"m": {}}, log_of({}), log_of({"0": None}), log_of({"0": {"score": None}})]
)
def test_what_is_not_there_is_lacking_and_no_error_of_the_log(log):
    with pytest.raises(items.LackingError, match="m"):
        items.items_of(log, "m", "score", items.number_of)


@pytest.mark.parametrize(
    ("held", "words"),
    [
        ([1, 2], r"Metric m of the log: value_by_index must map item numbers to values, found \[1, 2\]"),
        ({"7": {"score": "high"}}, "Metric m of the log, item 7: score makes no sense: 'high'"),
        ({"7": 0.5}, "item 7: score makes no sense: 0.5"),
        ({"7": {"score": True}}, "item 7: score makes no sense: True"),
    ],
)
def test_what_makes_no_sense_is_named(held, words):
    with pytest.raises(InputError, match=words):
        items.items_of(log_of(held), "m", "score", items.number_of)


def test_probabilities_are_those_stored_else_those_of_the_losses():
    stored = log_of({"0": {"prob": [0.5, 0.25], "avg_loss": [9, 9]}, "1": {"prob": 0.1}})
    assert {i: p.tolist() for i, p in items.probabilities_of(stored, "m").items()} == {"0": [0.5, 0.25], "1": [0.1]}
    losses = log_of({"0": {"avg_loss": [math.log(2), math.log(4)]}, "1": {"avg_loss": math.inf}})
    found = items.probabilities_of(losses, "m")
    assert found["0"] == pytest.approx([0.5, 0.25])
    assert found["1"].tolist() == [0.0]
    with pytest.raises(items.LackingError):
        items.probabilities_of({}, "m")


def test_pairs_are_by_number_and_lacking_without_any():
    assert items.paired({"2": "a", "0": "b", "5": "c"}, {"0": 1, "2": 2, "7": 3}) == (["a", "b"], [2, 1])
    with pytest.raises(items.LackingError, match="no item in common"):
        items.paired({"0": 1}, {"1": 1})


def test_each_answer_of_an_item_has_its_truth():
    assert items.each_answer(["a", "b"], ["x", "y"]) == [("a", "x"), ("b", "y")]
    with pytest.raises(InputError, match="2 ground truths but 1 generations"):
        items.each_answer(["a", "b"], ["x"])


def test_what_is_a_number_and_what_is_a_text():
    assert [items.number_of(raw) for raw in (1, 0.5, True, "1", None, [1])] == [1.0, 0.5, None, None, None, None]
    assert math.isnan(items.number_of(math.nan)), "NaN stays"
    assert items.numbers_of([1, 2.5]).tolist() == [1.0, 2.5]
    assert items.numbers_of(3).tolist() == [3.0]
    assert [items.numbers_of(raw) for raw in ([], [1, None], "12", {})] == [None] * 4
    assert [items.texts_of(raw) for raw in ("a", ["a", ""], [], ["a", 1], None)] == [["a"], ["a", ""], None, None, None]


def test_the_aggregate_of_a_log_or_of_its_summary():
    log = {"m": {"agg_value": 0.25}, "bare": 0.5, "none": {"agg_value": None}, "text": {"agg_value": "high"}}
    assert (items.stored_aggregate(log, "m"), items.stored_aggregate(log, "bare")) == (0.25, 0.5)
    assert all(math.isnan(items.stored_aggregate(log, name)) for name in ("none", "text", "absent"))
