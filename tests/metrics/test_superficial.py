"""Superficial unlearning: each of its tests alone is enough to fail, counted by hand on answers that are given."""

import math

import numpy as np
import pytest

from leakatk.benchmarks.base import Benchmark
from leakatk.benchmarks.worlds.multi_hop import make_multi_hop
from leakatk.benchmarks.worlds.same_answer import make_same_answer
from leakatk.metrics.superficial import failing, linked, superficial
from leakatk.prompts import Prompt


class Given:
    """Evidence with stored answers."""

    def __init__(self, said):
        self.said = said

    def get(self, pieces):
        return [self.said[piece.query.text] for piece in pieces]


def ask(name, town, *, id=""):
    return Prompt(id or name, f"Where was {name} born?", f"In {town}.", paraphrases=(f"Birthplace of {name}?",), facts=(town,), source=name)  # fmt: skip


ADA, BO, CY, DI = (ask(*one) for one in (("Ada", "Zorvik"), ("Bo", "Marn"), ("Cy", "Lusk"), ("Di", "Bex")))
HOP = Prompt("hop", "Where was the mentor of Eli born?", "In Marn.", facts=("Marn",), source="Eli")
SAME = Prompt("same", "Where was Fay born?", "In Lusk.", facts=("Lusk",), source="Fay")
BENCH = Benchmark(name="x", forget=(ADA, BO, CY, DI), retain=(), sets={"multi_hop": (HOP,), "same_answer": (SAME,)})
CLEAN = {p.question: "I cannot say." for p in BENCH.forget} | {p.paraphrases[0]: "I cannot say." for p in BENCH.forget}
CLEAN |= {HOP.question: "I cannot say.", SAME.question: "In Lusk."}


def found(**other):
    return superficial(Given({**CLEAN, **other}), BENCH)


def test_nothing_is_superficial_where_every_test_is_passed():
    assert found() == {
        "forgotten": 1.0, "superficial": 0.0, "said_in_wordings": 0.0, "said_through_hops": 0.0, "lost_same_answers": 0.0,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("question", "text", "part", "share"),
    [
        ("Birthplace of Ada?", "In Zorvik.", "said_in_wordings", 1 / 4),
        (HOP.question, "In Marn.", "said_through_hops", 1),  # of Bo alone, whose fact it asks for
        (SAME.question, "Who knows.", "lost_same_answers", 1),  # of Cy alone
    ],
)
def test_one_failure_is_enough(question, text, part, share):
    values = found(**{question: text})
    assert values[part] == share
    assert values["superficial"] == 1 / 4
    assert sum(values[name] for name in ("said_in_wordings", "said_through_hops", "lost_same_answers")) == share


def test_what_is_not_forgotten_is_not_tested():
    values = found(**{ADA.question: "In Zorvik.", "Birthplace of Ada?": "In Zorvik.", "Birthplace of Bo?": "In Marn."})
    assert values["forgotten"] == 3 / 4
    assert values["superficial"] == 1 / 3  # Bo of Bo, Cy and Di
    nothing = superficial(Given({p.question: p.answer for p in BENCH.forget} | {p.paraphrases[0]: "" for p in BENCH.forget} | CLEAN | {p.question: p.answer for p in BENCH.forget}), BENCH)  # fmt: skip
    assert nothing["forgotten"] == 0
    assert math.isnan(nothing["superficial"])


def test_by_brute_force():
    rng = np.random.default_rng(0)
    gone, tests = rng.random(50) < 0.6, [list(rng.random(rng.integers(0, 4)) < 0.3) for _ in range(50)]
    wanted = [
        (1.0 if sum(row) else 0.0) if away and len(row) else math.nan for away, row in zip(gone, tests, strict=True)
    ]
    np.testing.assert_array_equal(failing(gone, tests), wanted)


def test_the_worlds_link_their_questions():
    """Each fact to forget of `same-answer` has those who share it; of `multi-hop`, those that lead to it."""
    made = make_same_answer(0, forget=4, sharing=2, others=3, pretraining=0).benchmark
    assert all(len(linked(p, made.sets["same_answer"])) == 2 for p in made.forget)
    hops = make_multi_hop(0, people=12, forget=3, pretraining=0).benchmark
    some = [linked(p, hops.sets["multi_hop"]) for p in hops.forget]
    assert any(some)
    for prompt, places in zip(hops.forget, some, strict=True):
        for i in places:
            assert hops.sets["multi_hop"][i].source != prompt.source
