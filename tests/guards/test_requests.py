"""Requests in turn: what is learned for one stays when the next comes."""

from dataclasses import replace

import numpy as np
import pytest

from leakatk.errors import InputError
from leakatk.guards import get_guard
from leakatk.guards.requests import continued, in_turn, kept_of, requests_of
from leakatk.prompts import Prompt

PROMPTS = [Prompt(f"p{i}", "?", str(i), source="aabbb"[i]) for i in range(5)]


def test_requests_are_parts_in_order_or_sources():
    assert [[one.id for one in part] for part in requests_of(PROMPTS, 2)] == [["p0", "p1", "p2"], ["p3", "p4"]]
    assert [[one.id for one in part] for part in requests_of(PROMPTS, 0)] == [["p0", "p1"], ["p2", "p3", "p4"]]


def test_what_was_learned_is_not_learned_again():
    asked = []

    def learn(prompts, before):
        asked.append(([one.id for one in prompts], len(before)))
        return (np.array([float(len(asked))]),)

    first = continued((), (), [PROMPTS[:2]], learn)
    both = continued(*first, [PROMPTS[1::-1], PROMPTS[2:]], learn)  # the order within a request tells nothing
    assert asked == [(["p0", "p1"], 0), (["p2", "p3", "p4"], 1)]
    assert both[1][0] is first[1][0]
    continued(
        *both, [PROMPTS[:1], PROMPTS[2:]], learn
    )  # another first request: all that comes after it is learned anew
    assert asked[2:] == [(["p0"], 0), (["p2", "p3", "p4"], 1)]


def test_a_guard_goes_on_from_what_it_knows():
    guard = get_guard("o3")
    known, new = (np.zeros(1),), (np.ones(1),)
    before, now = (replace(guard, action=replace(guard.action, learned=parts)) for parts in ((known,), (known, new)))
    assert in_turn(before, "there") is before
    assert kept_of(before, now) == "1 of 2"
    with pytest.raises(InputError, match="curate in there does not learn requests in turn"):
        in_turn(get_guard("curate"), "there")
