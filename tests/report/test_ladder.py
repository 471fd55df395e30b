import math

from leakatk.report.ladder import assumes_line, ladder_of, said, stored_line, tables
from leakatk.report.ladder_chart import ladder_chart


def curve(*values):
    return {"k": [1, 2, 4], "value": list(values), "low": [0.0] * 3, "high": [1.0] * 3}


def summary(**changes):
    block = {"m": 3, "left_out": ["a"], "undefined": [], "missing": 7, "leak": curve(0.1, 0.2, 0.3)}
    empty = {"m": 0, "left_out": [], "undefined": ["a", "b", "c", "d"], "missing": 0}
    found = {
        "retrained": "", "m": 4, "k": [1, 2, 4], "level": 0.95, "each_level": 0.975, "over": "samples", "reads": [],
        "rungs": [
            {"name": "none", "kind": "none", "access": "questions", "scorers": {"fact": block}},
            {"name": "x", "kind": "alter", "access": "weights", "scorers": {"fact": empty}},
        ],
    }  # fmt: skip
    return {**found, **changes}


def test_the_first_and_the_last_k_are_shown_and_what_is_missing_is_no_number():
    [table] = tables(summary())
    assert table.columns == ("attack", "leak@1", "leak@4", "it assumes")
    assert [cell.value for cell in table.rows[0][1:3]] == [0.1, 0.3]
    assert all(math.isnan(cell.value) for cell in table.rows[1][1:3])
    assert "95% intervals over samples" in table.caption
    assert "all 2 rows hold together (each at 97.50%)" in table.caption


def test_one_k_is_shown_once():
    one = summary(k=[1])
    [table] = tables(one)
    assert table.columns == ("attack", "leak@1", "it assumes")


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


def climbed():
    """A ladder with a probe that gives the answer away, an attack and all together, beside the retrained model."""
    block = {"m": 4, "left_out": [], "undefined": [], "missing": 0}
    block |= {"leak": curve(0.1, 0.2, 0.3), "retrained": curve(0.05, 0.1, 0.2), "excess": curve(0.05, 0.1, 0.1)}
    most = {**block, "leak": curve(0.5, 0.7, 0.9)}
    rungs = [
        {"name": "none", "kind": "none", "access": "questions", "scorers": {"fact": block}},
        {"name": "prefix", "kind": "probe", "access": "questions", "gives_answer": True, "scorers": {"fact": block}},
        {"name": "relearn", "kind": "alter", "access": "fine-tuning", "scorers": {"fact": most}},
    ]
    stored = {"rung": "relearn", "k": [1, 4], "value": [0.45, 0.5], "low": [0.3, 0.4], "high": [0.6, 0.7]}
    return summary(retrained="r", rungs=rungs, any={"rungs": 2, "scorers": {"fact": most}}, stored=stored)


def test_a_ladder_ends_in_all_rungs_together_and_says_what_each_rung_assumes():
    [table] = tables(climbed())
    assert [row[0] for row in table.rows] == ["as asked", "probe prefix *", "relearn", "any of 2 rungs"]
    assert [row[-1] for row in table.rows] == ["questions", "questions", "fine-tuning", "all of these"]
    assert "* gives the answer away" in table.caption
    assert "uses that many times the samples" in table.caption
    assert assumes_line(climbed()) == "Assumed: prefix: questions; relearn: fine-tuning."
    assert stored_line(climbed()) == (
        "Beyond the retrained model attacked in the same way, at k = 1 and 4: asked, it says 5.0% (0% to 100%) and "
        "10% (0% to 100%); after relearn, trained on other forgotten facts than it is measured on, 45% (30% to 60%) and 50% (40% to 70%) "
        "are found still stored."
    )
    assert stored_line(summary()) == ""


def test_the_drawing_has_a_dot_for_the_model_and_a_hollow_one_for_the_retrained_model():
    shown = ladder_of(climbed(), "mine", k=2)
    assert shown.k == 2
    assert [(bar.name, bar.model.value, bar.retrained.value) for bar in shown.bars] == [
        ("as asked", 0.2, 0.1), ("probe prefix *", 0.2, 0.1), ("relearn", 0.7, 0.1), ("any of 2 rungs", 0.7, 0.1),
    ]  # fmt: skip
    drawn = ladder_chart(shown)
    assert drawn.count('class="dot"') == drawn.count('class="hollow"') == 4
    assert "hollow: the retrained model" in drawn
    assert ladder_of(climbed(), "mine", k=3).k == 4  # not among the summary's
    alone = ladder_chart(ladder_of(summary(), "<mine>"))
    assert alone.count('class="dot"') == 1  # the other rung has no number
    assert 'class="hollow"' not in alone
    assert "the retrained model" not in alone


def test_names_in_the_drawing_are_escaped():
    hostile = climbed()
    hostile["rungs"][2]["name"] = "<script>"
    assert "<script>" not in ladder_chart(ladder_of(hostile, "mine"))
