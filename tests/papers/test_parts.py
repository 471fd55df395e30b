"""Parts of the index that no registry holds are where they say."""

from importlib import import_module

import pytest

from leakatk.papers.parts import PARTS, part


def test_parts_are_where_they_say():
    for name in PARTS:
        import_module(PARTS[name].where)


@pytest.mark.parametrize("name", PARTS)
def test_a_part_says_what_it_does_by_which_formula_and_how_to_run_it(name):
    facts = PARTS[name]
    assert facts.name == name
    assert facts.summary
    assert facts.formula
    code = facts.example.partition(";")[0]
    if code.startswith("from "):  # a line of Python; commands are parsed in test_index.py
        exec(code, {})
    else:
        assert code.startswith("leakatk ")


def test_a_part_is_stated_once():
    before = list(PARTS)
    with pytest.raises(ValueError, match="leak@k"):
        part("leak@k", "leakatk.estimate.leak")
    assert list(PARTS) == before
