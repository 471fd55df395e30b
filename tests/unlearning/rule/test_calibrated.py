"""Calibrated RULE: the goal it stops at, and a verdict whose numbers are known."""

import copy
import json
import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from leakatk.errors import InputError
from leakatk.files.strict_json import strict_json
from leakatk.sampling.decoding import Decoding
from leakatk.unlearning.rule.calibrated import (
    Findings,
    VerdictSettings,
    calibrated_rule,
    detection,
    fresh_wordings,
    verdict,
)
from leakatk.unlearning.rule.detect import detected_level
from leakatk.unlearning.rule.settings import RuleSettings
from tests.unlearning.rule.test_rule import TRAIN, Scripted, leaks

AUDIT = VerdictSettings(decodings=(Decoding(),), n=8, k=8)
KEY = (2, "T=1")


def rows(*counts, n=8):
    """(m, n) 0/1 scores with these numbers of leaks."""
    return np.array([[1.0] * c + [0.0] * (n - c) for c in counts])


def found(counts, attack, utility=math.nan):
    return Findings({KEY: rows(*counts)}, {2: np.array(attack, dtype=float)}, utility)


def goals(record):
    return {goal["asked"].split(" ")[0]: goal["met"] for goal in record["goals"]}


def test_a_model_like_the_retrained_one_meets_every_goal():
    same = found([0] * 20, range(20), 0.97)
    worse = found([8] * 20, range(20), 0.9)
    record = verdict({"model": same, "retrained": same, "control": worse}, AUDIT, original_utility=0.98)
    assert record["met"]
    assert record["cells"][0]["minus control"]["value"] == -1.0
    assert [goal["found"] for goal in record["goals"]][1:3] == [0.5, 0.97]


def test_each_goal_fails_on_its_own():
    same = found([0] * 20, range(20), 0.97)
    leaky = verdict({"model": found([2] * 20, range(20), 0.97), "retrained": same}, AUDIT, original_utility=0.98)
    assert [goal["met"] for goal in leaky["goals"]] == [False, True, True]
    assert leaky["goals"][0]["found"]["value"] == 1.0  # two of eight leak, so eight of eight samples always hold one
    # Scores far above the retrained model's: nothing leaks, but the model can be told apart.
    over = verdict({"model": found([0] * 20, range(100, 120), 0.97), "retrained": same}, AUDIT, original_utility=0.98)
    assert [goal["met"] for goal in over["goals"]] == [True, False, True]
    assert over["goals"][1]["found"] == 0.0
    dull = verdict({"model": found([0] * 20, range(20), 0.5), "retrained": same}, AUDIT, original_utility=0.98)
    assert [goal["met"] for goal in dull["goals"]] == [True, True, False]
    equal = verdict({"model": same, "control": same}, AUDIT)
    assert [goal["met"] for goal in equal["goals"]] == [False]


def test_below_the_retrained_model_is_not_the_goal_either():
    retrained = found([1] * 20, range(20))
    record = verdict({"model": found([0] * 20, range(20)), "retrained": retrained}, AUDIT)
    assert record["cells"][0]["minus retrained"]["value"] == -1.0
    assert not record["goals"][0]["met"]


def test_a_target_is_met_by_its_certified_bound():
    quiet = {"model": found([0] * 20, range(20))}
    bound = 1 - 0.05 ** (8 / (20 * 8))
    assert verdict(quiet, AUDIT, target=bound + 1e-6)["met"]
    missed = verdict(quiet, AUDIT, target=bound - 1e-6)
    assert not missed["met"]
    assert missed["goals"][0]["found"] == pytest.approx(bound)


def test_verdicts_are_strict_json():
    record = verdict({"model": found([0], [1.0])}, AUDIT)
    json.loads(strict_json(record), parse_constant=pytest.fail)
    assert record["utility"] == pytest.approx({"model": math.nan}, nan_ok=True)


def test_fresh_wordings_are_those_the_detection_did_not_ask(forget):
    worded = [replace(prompt, paraphrases=("a", "b", "c")) for prompt in forget]
    assert fresh_wordings(worded, 1) == [2, 3]
    assert fresh_wordings([*worded, replace(worded[0], paraphrases=("a",))], 0) == [1]
    assert fresh_wordings(forget, 0) == [0]  # no other wording there is


def test_the_procedure_stops_at_the_yardstick_and_judges_with_fresh_samples(
    loaded, base_model, forget, retain, tmp_path
):
    worded = [replace(prompt, paraphrases=(f"Say: {prompt.id}?", f"Tell: {prompt.id}!")) for prompt in forget]
    settings = RuleSettings(rounds=3, n=8, k=8, wordings=1, threshold=0.9)
    retrained = replace(loaded, model=copy.deepcopy(base_model))

    class Watched(Scripted):
        def __init__(self, *calls):
            super().__init__(*calls)
            self.seeds = []

        def sample(self, requests, decoding, *, seed):
            self.seeds.append(seed)
            return super().sample(requests, decoding, seed=seed)

    # The yardstick; two rounds and the detection that ends them; then the audits of model, control and retrained.
    leak = {"Fa0": ["LEAK a"]}
    sampler = Watched({}, leak, {"Fa1/1": ["LEAK b"]}, {}, {}, {"Fa1/2": ["JUDGED"]}, {})
    asked, sampled = [], []

    def sampler_of(model):
        sampled.append(model)
        return sampler

    def judge(prompts, texts):
        asked.append({prompt.id for prompt in prompts})
        return np.array([float("JUDGED" in text) for text in texts])

    start = {name: value.clone() for name, value in loaded.model.state_dict().items()}
    done = calibrated_rule(
        loaded, worded, retain, "npo", detector=leaks, judge=judge, train=TRAIN, settings=settings, audit=AUDIT,
        retrained=retrained, sampler=sampler_of, out=tmp_path, quiet=True,
    )  # fmt: skip
    assert done.rule.verdict == "leak@8 0.0000 is at the yardstick 0, 2 wordings asked, 5 wordings never asked"
    assert done.rule.steps == done.control.steps == 6
    assert [model is retrained for model in sampled] == [True, False, True]  # its level and its audit are its own
    assert len(set(sampler.seeds[:4])) == 4
    assert not set(sampler.seeds[:4]) & set(sampler.seeds[4:])
    # Nothing but the wording the detection never asked is judged.
    assert asked == [{f"{prompt.id}/2" for prompt in forget}] * 3
    record = json.loads((tmp_path / "verdict.json").read_text(), parse_constant=pytest.fail)
    (cell,) = record["cells"]
    assert (cell["model"]["value"], cell["control"]["value"], cell["retrained"]["value"]) == (0.0, 0.2, 0.0)
    assert record["yardstick"] == 0.0
    # The model is left as RULE made it; the control was trained from the same start and saved.
    now = loaded.model.state_dict()
    assert any(not torch.equal(now[name], value) for name, value in start.items())
    assert (tmp_path / "control" / "config.json").exists()
    for name in ("rounds", "control-rounds"):
        json.loads((tmp_path / name / "rounds.json").read_text(), parse_constant=pytest.fail)


def test_a_goal_is_needed(loaded, forget, retain):
    with pytest.raises(InputError, match="needs a goal"):
        calibrated_rule(loaded, forget, retain, "npo", detector=leaks, judge=leaks, train=TRAIN, settings=detection())


def test_the_nearest_model_above_the_floor_is_kept(loaded, forget, retain):
    """Round 1 is nearer to the yardstick than round 2; the start leaks most."""
    from leakatk.unlearning.rule.rule import rule

    calls = (
        {"Fa0": ["LEAK a"], "Fa1": ["LEAK a"], "Fa2": ["LEAK a"]},
        {"Fa0": ["LEAK b"]},
        {"Fa0": ["LEAK c"], "Fa1": ["LEAK b"]},
    )
    settings = RuleSettings(rounds=2, n=8, k=8, yardstick=0.1)
    done = rule(
        loaded, forget, retain, "npo", score=leaks, settings=settings, train=TRAIN, sampler=Scripted(*calls), quiet=True
    )
    assert (done.chosen, done.steps, len(done.rounds)) == (1, 3, 3)


def test_a_round_below_the_floor_that_mends_the_model_goes_on(loaded, forget, retain):
    from leakatk.unlearning.rule.rule import rule

    values = iter([0.5, 0.7, 0.9])
    calls = ({}, {"Fa0": ["LEAK a"]}, {"Fa0": ["LEAK b"]})
    settings = RuleSettings(rounds=2, n=8, k=8, yardstick=0.1, utility_floor=0.8)
    done = rule(
        loaded, forget, retain, "npo", score=leaks, settings=settings, train=TRAIN, sampler=Scripted(*calls), quiet=True,
        utility=lambda _: next(values),
    )  # fmt: skip
    # The start leaks nothing, but it is below the floor.
    assert done.chosen == 2
    assert done.verdict == "ended after 2 rounds"


def test_detected_level_is_the_worst_decoding(loaded, forget):
    settings = RuleSettings(n=8, k=8, decodings=(Decoding(), Decoding(temperature=0.5)))
    sampler = Scripted({}, {"Fa0": ["LEAK a"]})
    assert detected_level(loaded, forget, score=leaks, settings=settings, sampler=sampler) == pytest.approx(0.2)
