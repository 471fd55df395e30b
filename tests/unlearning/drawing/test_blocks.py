"""MELU's blocks: one entity a step, whole epochs, whose retain prompts stand beside whom; and the two schedules without blocks."""

from collections import Counter
from dataclasses import replace

import pytest

from leakatk.errors import InputError
from leakatk.prompts import Prompt
from leakatk.unlearning.drawing.base import Drawing
from leakatk.unlearning.drawing.blocks import bound, in_blocks
from leakatk.unlearning.methods import METHODS
from leakatk.unlearning.settings import TrainSettings
from leakatk.unlearning.streams import Streams, drawn_rows
from leakatk.unlearning.trainer import unlearn
from leakatk.unlearning.work import Work
from tests.unlearning.drawing.test_difficulty import logprobs

SIZES = {"Ada": 3, "Bo": 2, "Cy": 5}  # prompts of an entity
WHOSE = [name for name, size in SIZES.items() for _ in range(size)]
FORGET = [
    Prompt(f"f{i}", f"What is thing {i} of {name}?", f"{name} has {i}.", source=name) for i, name in enumerate(WHOSE)
]
RETAIN = [
    Prompt(f"r{i}", question, "It is so.")
    for i, question in enumerate(
        [
            "Where is Ada's aunt?",
            "How old is Cy's car?",
            "Who is Bo's boss?",
            "Is water wet?",
            "What sings?",
            "Is Bo in?",
        ]
    )
]
SETTINGS = TrainSettings(learning_rate=1e-3, max_steps=3, forget_batch=2, retain_batch=2)


@pytest.fixture
def blocks(loaded, tokenizer):
    def make(schedule="modular", weights=None, retain=RETAIN, **settings):
        streams = Streams(FORGET, retain, tokenizer, loaded.template, seed=0)
        params = {**METHODS["melu"].params, "schedule": schedule}
        work = Work(loaded, FORGET, retain, streams, replace(SETTINGS, **settings), params, 0)
        return in_blocks(work, Drawing(streams, 4, weights))

    return make


def test_a_step_is_of_one_entity_and_an_epoch_of_all(blocks):
    drawn = blocks().rows("forget", 0, 24, {})  # blocks of 4, 2 and 6 draws; two epochs
    for epoch in (drawn[:12], drawn[12:]):
        assert set(epoch) == set(range(10))
        steps = [{WHOSE[row] for row in epoch[i : i + 2]} for i in range(0, 12, 2)]
        assert all(len(step) == 1 for step in steps)
        order = [next(iter(step)) for step in steps]
        assert [order[i] for i in range(6) if i == 0 or order[i] != order[i - 1]] == list(dict.fromkeys(order))
        assert Counter(order) == {"Ada": 2, "Bo": 1, "Cy": 3}
    assert blocks().rows("forget", 5, 9, {}) == drawn[5:14]


def test_shuffled_epochs_mix_entities(blocks):
    drawn = blocks("cyclic").rows("forget", 0, 10, {})
    assert drawn == drawn_rows(10, 10, 0, 8)
    assert len({WHOSE[row] for row in drawn[:2]} | {WHOSE[row] for row in drawn[2:4]}) > 1


def test_bound_prompts_by_shared_words():
    ada, bo, cy = bound(FORGET, RETAIN, [[0, 1, 2], [3, 4], [5, 6, 7, 8, 9]])
    assert ada[0][0] == 0
    assert set(bo[0]) == {2, 5}
    assert cy[0][0] == 1
    for parts in (ada, bo, cy):
        assert [len(part) for part in parts] == [2, 2, 2]
        assert sorted(row for part in parts for row in part) == list(range(6))


@pytest.mark.parametrize("beside", [2, 6])
def test_beside_an_entity_stand_its_own_in_turn_from_near_to_far(blocks, beside):
    made = blocks(retain_batch=beside)
    parts = dict(zip(SIZES, made.bound, strict=True))
    for step in range(6):
        entity = WHOSE[made.rows("forget", 2 * step, 2, {})[0]]
        for draw, row in enumerate(made.rows("retain", beside * step, beside, {}), beside * step):
            assert row in parts[entity][draw % 3]


def test_one_to_one_keeps_a_pair_together(blocks):
    made = blocks("one-to-one")
    rows, beside = made.rows("forget", 0, 30, {}), made.rows("retain", 0, 30, {})
    pairs = set(zip(rows, beside, strict=True))
    assert len(pairs) == 10
    assert rows == drawn_rows(10, 30, 0, 8)
    assert len(set(beside)) > 2


def test_cyclic_is_every_runs_drawing(blocks):
    made = blocks("cyclic")
    assert made.rows("retain", 0, 6, {}) == drawn_rows(6, 6, 0, 9)


def test_what_does_not_go_together(blocks):
    with pytest.raises(InputError, match="schedule must be modular, one-to-one, cyclic, got 'random'"):
        blocks("random")
    with pytest.raises(InputError, match="leave weights of prompts out"):
        blocks(weights=[1.0] * 10)
    assert blocks("cyclic", weights=[0.0] * 9 + [1.0]).rows("forget", 0, 3, {}) == [9, 9, 9]
    assert blocks(retain=[]).rows("forget", 0, 2, {})


def test_a_run_is_drawn_so(loaded, tokenizer):
    """The loss of each step of a run is that of the block's prompts; shuffled epochs have another."""
    streams = Streams(FORGET, RETAIN, tokenizer, loaded.template, seed=0)
    work = Work(loaded, FORGET, RETAIN, streams, SETTINGS, METHODS["melu"].params, 0)
    rows = in_blocks(work, Drawing(streams, 0)).rows("forget", 0, 6, {})
    means = [logprobs(loaded.model, item).mean() for item in streams.items("forget")]
    done = unlearn(
        loaded,
        FORGET,
        RETAIN,
        METHODS["melu"].with_params(base="ga"),
        settings=replace(SETTINGS, learning_rate=1e-9),
        quiet=True,
    )
    wanted, plain = (
        [sum(means[row] for row in drawn[i : i + 2]) / 2 for i in (0, 2, 4)]
        for drawn in (rows, drawn_rows(10, 6, 0, 0))
    )
    assert [row["forget"] for row in done.log] == pytest.approx(wanted, rel=1e-4)
    assert wanted != pytest.approx(plain, rel=1e-4)
