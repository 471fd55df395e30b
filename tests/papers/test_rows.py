"""The rows of the paper index: 121, each once, said in known tags; what is owed is of rows and kinds that there are."""

import pytest

from leakatk.papers.kinds import KINDS
from leakatk.papers.rows import CHANGES_WEIGHTS, HEADINGS, INTENTS, NEEDS, OWED, ROWS, TAGS
from leakatk.papers.rows import KINDS as WHAT


def test_there_are_121_rows_each_once():
    numbers = [row.number for row in ROWS]
    assert len(numbers) == len(set(numbers)) == 121
    assert set(numbers) == {str(i) for i in range(1, 120)} | {"61x", "62x"}
    assert {row.number for row in ROWS if row.described} == {"5", "40", "91", "101"}
    assert len({row.arxiv for row in ROWS if row.arxiv}) == sum(bool(row.arxiv) for row in ROWS)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.number)
def test_a_row_says_what_it_is_in_known_tags(row):
    assert row.kinds
    assert row.kinds <= set(WHAT)
    assert row.needs <= set(NEEDS)
    assert row.tags <= set(TAGS)
    assert row.system
    assert row.about == row.about.strip(". ")
    assert len(row.about.split()) <= 20


def test_each_tag_is_used():
    assert {tag for row in ROWS for tag in row.tags} == set(TAGS)
    assert not set(WHAT) & set(NEEDS) | set(WHAT) & set(INTENTS)


def test_whoever_removes_is_told_from_whoever_suppresses():
    rows = {row.number: row.tags for row in ROWS}
    assert "suppression" in rows["46"]
    assert "removal" not in rows["46"]
    assert "removal" in rows["57"]
    assert {"removal", "suppression"} <= rows["60"]
    assert not {"removal", "suppression"} & rows["33"]


def test_what_is_owed_is_of_rows_and_kinds_that_there_are():
    assert set(OWED) <= {row.number for row in ROWS}
    assert {kind for owed in OWED.values() for kind in owed} <= set(KINDS)


@pytest.mark.parametrize(
    ("number", "headings"),
    [
        ("33", set()),  # a benchmark
        ("46", {"inference-time", "architecture-centric"}),
        ("62", {"training-time", "architecture-centric"}),
        ("57", {"trains", "post-training", "parameter-centric"}),
        ("47", {"post-training", "parameter-centric"}),  # a merge of weights: no step on a loss
        ("68", {"post-training", "data-centric"}),
        (
            "67",
            {
                "trains",
                "post-training",
                "inference-time",
                "data-centric",
                "parameter-centric",
                "architecture-centric",
                "hybrid",
            },
        ),
    ],
)
def test_headings_of_the_surveys(number, headings):
    row = next(row for row in ROWS if row.number == number)
    assert row.tags & {*HEADINGS, "hybrid"} == headings


def test_each_row_that_acts_has_a_phase_and_those_that_do_not_have_none():
    phases = {tag for tag, (survey, _, _) in HEADINGS.items() if survey == "91"}
    for row in ROWS:
        acts = bool(row.kinds & (CHANGES_WEIGHTS | {"guard"}))
        assert bool(row.tags & phases) == acts, row.number
    assert {survey for survey, _, _ in HEADINGS.values()} <= {row.number for row in ROWS if row.described}
