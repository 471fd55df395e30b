import math

from leakatk.attacks.summary import said, tables


def curve(*values):
    return {"k": [1, 2, 4], "value": list(values), "low": [0.0] * 3, "high": [1.0] * 3}


def summary(**changes):
    block = {"m": 3, "left_out": ["a"], "undefined": [], "missing": 7, "leak": curve(0.1, 0.2, 0.3)}
    empty = {"m": 0, "left_out": [], "undefined": ["a", "b", "c", "d"], "missing": 0}
    found = {
        "retrained": "", "m": 4, "k": [1, 2, 4], "level": 0.95, "each_level": 0.975, "over": "samples", "reads": [],
        "rungs": [{"name": "none", "scorers": {"fact": block}}, {"name": "x", "scorers": {"fact": empty}}],
    }  # fmt: skip
    return {**found, **changes}


def test_the_first_and_the_last_k_are_shown_and_what_is_missing_is_no_number():
    [table] = tables(summary())
    assert table.columns == ("attack", "leak@1", "leak@4")
    assert [cell.value for cell in table.rows[0][1:]] == [0.1, 0.3]
    assert all(math.isnan(cell.value) for cell in table.rows[1][1:])
    assert "95% intervals over samples" in table.caption
    assert "all 2 rows hold together (each at 97.50%)" in table.caption


def test_one_k_is_shown_once():
    one = summary(k=[1])
    [table] = tables(one)
    assert table.columns == ("attack", "leak@1")


def test_what_reads_stands_apart_with_what_guessing_scores():
    model = {"value": 0.8, "low": None, "high": None}
    read = {"name": "r", "chance": 0.5, "m": 1, "undefined": ["b"], "model": model}
    _, table = tables(summary(reads=[read]))
    assert table.columns == ("attack", "chance", "model")
    assert [cell.value for cell in table.rows[0][1:]] == [0.5, 0.8]
    assert not table.rows[0][2].has_interval
    assert "hold together" not in table.caption


def test_where_it_was_found_is_a_table_of_its_own():
    def block(value):
        return {"model": {"value": value, "low": 0.0, "high": 1.0}, "m": 3}

    read = {
        "name": "r", "chance": 0.5, "undefined": [], **block(0.8),
        "profile": {"layer 0": block(0.2), "layer 1": block(0.7)},
        "whole": {"CKA, layer 1": {"model": 0.9, "retrained": None}},
    }  # fmt: skip
    _, _, profile, whole = tables(summary(reads=[read], retrained="never"))
    assert profile.columns == ("place", "model", "retrained", "excess")
    assert [(row[0], row[1].value) for row in profile.rows] == [("layer 0", 0.2), ("layer 1", 0.7)]
    assert math.isnan(profile.rows[0][2].value)
    assert "hold together for all 2 rows" in profile.caption
    assert whole.columns == ("what", "model", "retrained")
    assert whole.rows[0][1].value == 0.9


def test_what_was_left_out_is_counted():
    assert said(summary()) == [
        "none, fact: 1 of 4 prompts are not asked by the attack.",
        "none, fact: 7 answers have no score.",
        "x, fact: 4 of 4 prompts have no score.",
    ]
