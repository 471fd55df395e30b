"""The rows of the paper index: 121, each once, said in known tags; what is owed is of rows and kinds that there are."""

import pytest

from leakatk.papers.kinds import KINDS
from leakatk.papers.rows import INTENTS, NEEDS, OWED, ROWS, TAGS
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
