"""Codes and facts side by side: as long as their alternatives, and known to the full model alone."""

import pytest

from leakatk.benchmarks.worlds.canaries import DIGITS, make_canaries
from leakatk.errors import InputError

SMALL = {"forget": 1, "retain": 2, "retain_held": 0, "holdout": 0, "world_facts": 0, "pretraining": 0}


def test_codes_and_facts_side_by_side():
    made = make_canaries(0, canaries=7, alternatives=9, **SMALL)
    bench = made.benchmark
    inside, outside = bench.sets["inside"], bench.sets["outside"]
    assert bench.forget == (*inside, *outside)
    assert (len(inside), len(outside)) == (6, 7)
    full, retained = dict(made.full), dict(made.retained)
    for prompt in outside:
        assert len(prompt.perturbed_answers) == 9
        assert prompt.answer not in prompt.perturbed_answers
        assert {len(text) for text in prompt.perturbed_answers} == {len(prompt.answer)}
        assert len(prompt.facts[0]) == DIGITS
        assert full[prompt.question] == prompt.answer
        assert prompt.question not in retained
    kept = [p for p in bench.retain if p.id.startswith("canary")]
    assert len(kept) == 4
    assert all(retained[p.question] == p.answer for p in kept)
    assert len({p.question for p in (*outside, *kept)}) == 11


@pytest.mark.parametrize("sizes", [{"canaries": 0}, {"alternatives": 0}])
def test_bad_sizes(sizes):
    with pytest.raises(InputError, match="must be at least 1"):
        make_canaries(**sizes)
