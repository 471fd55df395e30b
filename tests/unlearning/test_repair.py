"""Repair: its parts, each point as training by hand, and that the model is afterwards what it was."""

import copy
import math
from dataclasses import replace

import pytest
import torch

from leakatk.errors import InputError
from leakatk.scorers.base import get_scorer
from leakatk.unlearning.repair import parts, repair_curve
from leakatk.unlearning.settings import TrainSettings
from leakatk.unlearning.stop import greedy_scores
from leakatk.unlearning.trainer import unlearn

SETTINGS = TrainSettings(learning_rate=1e-2, max_steps=2, retain_batch=4)


def test_a_smaller_part_is_within_every_larger_one(retain):
    found = parts(retain, [100, 1, 50], 0)
    assert {percent: len(some) for percent, some in found.items()} == {1: 1, 50: 5, 100: 9}
    ids = {percent: [p.id for p in some] for percent, some in found.items()}
    assert set(ids[1]) < set(ids[50]) < set(ids[100])
    assert ids[100] == [p.id for p in retain]
    assert [p for p in ids[100] if p in ids[50]] == ids[50]
    assert len({parts(retain, [1], seed)[1][0].id for seed in range(8)}) > 1


def test_each_point_is_training_on_its_part_from_the_same_weights(loaded, forget, retain, tmp_path):
    scorer, start, seen = get_scorer("rouge-l"), copy.deepcopy(loaded.model), []
    options = {"settings": SETTINGS, "scorer": scorer, "max_new_tokens": 4, "quiet": True}
    found = repair_curve(loaded, forget, retain, [20, 100], out=tmp_path, on_point=seen.append, **options)
    assert seen == found
    assert all(torch.equal(value, start.get_parameter(name)) for name, value in loaded.model.named_parameters())
    assert [(point.percent, point.prompts) for point in found] == [(0, 0), (20, 2), (100, 9)]
    assert math.isnan(found[0].shown)
    assert math.isnan(found[2].not_shown)
    assert found[0].as_dict()["shown"] is None
    for point, some in zip(found[1:], parts(retain, [20, 100], 0).values(), strict=True):
        other = replace(loaded, model=copy.deepcopy(start))
        unlearn(other, forget, some, "retrain", settings=SETTINGS, quiet=True)

        def mean(prompts, other=other):
            return float(greedy_scores(other, prompts, scorer, max_new_tokens=4).mean())

        assert point.forget == pytest.approx(mean(forget))
        assert point.shown == pytest.approx(mean(some))
        moved = start.get_parameter("model.norm.weight") - other.model.get_parameter("model.norm.weight")
        assert float(moved.detach().abs().max()) > 1e-3, "training does something"
        rest = [p for p in retain if p not in some]
        assert not rest or point.not_shown == pytest.approx(mean(rest))
    assert {point.unscored for point in found} == {0}
    assert (tmp_path / "percent-20" / "model.safetensors").exists()
    assert repair_curve(loaded, forget, retain, [20, 100], out=tmp_path, **options)[1] == found[1]  # read again


def test_prompts_without_a_score_are_counted_and_in_no_mean(loaded, forget, retain):
    nowhere = replace(forget[0], id="nowhere", answer="東京", facts=())
    scorer = get_scorer("rouge-l")  # has no score where the answer holds no word that it can read
    both, one = (
        repair_curve(loaded, asked, retain, [100], settings=SETTINGS, scorer=scorer, max_new_tokens=4, quiet=True)[0]
        for asked in ([*forget, nowhere], forget)
    )
    assert (both.unscored, one.unscored) == (1, 0)
    assert both.forget == one.forget


def test_what_makes_no_sense(retain):
    for percents in ([], [0], [101], [5, 5]):
        with pytest.raises(InputError, match="Percents must be above 0, at most 100"):
            parts(retain, percents, 0)
    with pytest.raises(InputError, match="nothing to repair with"):
        parts([], [5], 0)
