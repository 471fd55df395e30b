"""Token weights: which tokens of an answer count."""

from types import SimpleNamespace

import pytest
import torch

from leakatk.errors import InputError
from leakatk.prompts import Prompt
from leakatk.scorers.keys import key_tokens
from leakatk.unlearning.batches import Item
from leakatk.unlearning.weighting import focused, known_tokens, share, table_of


def test_a_table_counts_what_follows_two_tokens():
    table = table_of([Item((1, 2), (3, 4)), Item((1, 2), (3, 5)), Item((1, 2), (6,))])
    assert share(table, (1, 2), 3) == pytest.approx(2 / 3)
    assert share(table, (2, 3), 5) == pytest.approx(1 / 2)
    assert share(table, (2, 3), 3) == 0
    assert share(table, (9, 9), 3) == 0  # never seen


@pytest.mark.parametrize("least", [0.0, 1.5])
def test_a_probability_that_is_none(least):
    with pytest.raises(ValueError, match="least probability"):
        known_tokens(least)


WORDS = ["Ada", " Lov", "elace", " was", " born", " in", " 18", "15", " in", " Lon", "don", ".", ""]
PROMPT = Prompt("q", "When was Ada born?", "Ada Lovelace was born in 1815 in London.")


def said(ids):
    return "".join(WORDS[i] for i in ids)


def test_tokens_of_names_and_numbers_are_told_from_the_text():
    """Ada stands in the question; a word and a number of two tokens count with both."""
    found = key_tokens(tuple(range(len(WORDS))), PROMPT, said)
    assert [WORDS[i] for i, weight in enumerate(found) if weight] == [" Lov", "elace", " 18", "15", " Lon", "don"]


def test_focus_weighs_forget_answers_alone():
    item = Item((0,), tuple(range(len(WORDS))))
    streams = type("Rows", (), {"prompt": lambda self, stream, row: PROMPT, "text": lambda self, ids: said(ids)})()
    mask = torch.ones(1, len(WORDS), dtype=torch.bool)
    seen = {
        "labels": mask.long(),
        "mask": mask,
        "rows": [0],
        "batch": SimpleNamespace(items=(item,)),
        "step": SimpleNamespace(streams=streams),
    }
    view, kept = SimpleNamespace(stream="forget", **seen), SimpleNamespace(stream="retain", **seen)
    assert focused(view, {"focus": "keys"})[0].tolist() == key_tokens(item.answer, PROMPT, said)
    assert focused(view, {"focus": "all"}) is None
    assert focused(kept, {"focus": "keys"}) is None
    with pytest.raises(InputError, match="focus must be all or keys"):
        focused(view, {"focus": "nouns"})
