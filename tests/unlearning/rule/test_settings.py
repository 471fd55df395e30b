"""RULE's settings: what is refused, what is written, and that each says what it is."""

import ast
import inspect
from dataclasses import fields
from itertools import pairwise

import pytest

from leakatk.errors import InputError
from leakatk.sampling.decoding import Decoding
from leakatk.unlearning.rule import settings as module
from leakatk.unlearning.rule.settings import RULE_FACTS, RuleSettings


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"rounds": 0}, "rounds must be at least 1"),
        ({"wordings": -1}, "wordings must be at least 0"),
        ({"chunk": -1}, "chunk must be at least 0"),
        ({"k": 9}, "needs at least as many samples, got n=8; raise n or lower k"),
        ({"threshold": 0.0}, "threshold"),
        ({"level": 95}, "level must be between 0 and 1"),
        ({"decodings": ()}, "decodings is empty"),
        ({"keep": "some"}, "keep must be cumulative or latest"),
        ({"start": "cold"}, "start must be warm or restart"),
        ({"reference": "none"}, "reference must be round or original"),
        ({"leak_wordings": "some"}, "leak_wordings must be drawn or all"),
        ({"weighting": "odd"}, "weighting must be even or frequency"),
    ],
)
def test_settings_are_checked(changes, message):
    with pytest.raises(InputError, match=message):
        RuleSettings(**{"n": 8, "k": 8, **changes})


def test_they_are_written_whole_under_their_names():
    settings = RuleSettings(decodings=(Decoding(), Decoding(temperature=0.5)), leak_wordings="all")
    written = settings.as_dict()
    assert list(written) == [field.name for field in fields(RuleSettings)]
    # Runs from before it was a field stay the same run.
    assert set(written) - set(RuleSettings().as_dict()) == {"leak_wordings"}
    assert written["decodings"] == [Decoding().as_dict(), Decoding(temperature=0.5).as_dict()]


def test_every_field_is_explained_below_it():
    tree = ast.parse(inspect.getsource(module))
    (body,) = [node.body for node in tree.body if isinstance(node, ast.ClassDef) and node.name == "RuleSettings"]
    explained = [
        before.target.id
        for before, after in pairwise(body)
        if isinstance(before, ast.AnnAssign) and isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant)
    ]
    assert explained == [field.name for field in fields(RuleSettings)]


def test_the_facts_say_that_it_is_our_reconstruction():
    assert "reconstruction" in RULE_FACTS.summary
    assert "2511.04934" in RULE_FACTS.paper
    assert RULE_FACTS.formula
    assert RULE_FACTS.reading
