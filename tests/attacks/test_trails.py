import dataclasses

import pytest
import torch

from leakatk.attacks import LadderSettings, attack_ladder, get_attack, relearn, split_known
from leakatk.attacks.restore import kept_weights
from leakatk.attacks.rungs import groups_of, rungs_of
from leakatk.attacks.trails import PLACE, Trail
from leakatk.models.load import load_model
from leakatk.prompts import Known
from leakatk.runs.store import Run
from leakatk.sampling.decoding import Decoding

FEW = LadderSettings(n=2, decoding=Decoding(max_new_tokens=12), quiet=True)


@pytest.fixture
def part(forget, retain):
    return split_known(Known(forget=tuple(forget), retain=tuple(retain)), 0, 2)[0]


def alone(forgot, attack, part):
    loaded = load_model(forgot)
    attack.apply(loaded, part)
    return {name: value.clone() for name, value in loaded.model.state_dict().items()}


@pytest.mark.parametrize("options", ["", ",tuning=lora,rank=2", ",optimiser=sgd"])
def test_each_point_of_a_run_has_the_weights_of_a_run_that_ends_there(forgot, part, tmp_path, options):
    points = [get_attack(f"relearn:steps={steps}{options}") for steps in (2, 3, 6)]
    trail, loaded = Trail(tmp_path / "t", [2, 3, 6]), load_model(forgot)
    # In another order than that of the run, and a point asked for again.
    for one in (points[1], points[0], points[2], points[1]):
        with kept_weights(loaded.model):
            one.follow(loaded, part, trail)
            found = {name: value.clone() for name, value in loaded.model.state_dict().items()}
        wanted = alone(forgot, one, part)
        assert found.keys() == wanted.keys()
        assert all(torch.equal(found[name], wanted[name]) for name in wanted), one.label


def test_a_16_bit_model_is_rounded_at_each_point_as_at_the_end(forgot, part, tmp_path):
    trail, loaded = Trail(tmp_path / "t", [1, 3]), load_model(forgot, dtype="bf16")
    get_attack("relearn:steps=1").follow(loaded, part, trail)
    other = load_model(forgot, dtype="bf16")
    get_attack("relearn:steps=1").apply(other, part)
    found, wanted = loaded.model.state_dict(), other.model.state_dict()
    assert all(value.dtype == torch.bfloat16 and torch.equal(value, found[name]) for name, value in wanted.items())


def test_a_curve_trains_once_and_measures_what_single_runs_measure(forgot, forget, tmp_path, monkeypatch):
    steps = []
    whole = relearn.unlearn

    def counted(*args, settings, **options):
        steps.append(settings.max_steps)
        return whole(*args, settings=settings, **options)

    monkeypatch.setattr(relearn, "unlearn", counted)
    curve = attack_ladder(forgot, forget, ["relearn:curve=2+5"], out=tmp_path / "curve", settings=FEW)
    assert steps == [5, 5]  # once for each fold
    assert [rung["name"] for rung in curve["rungs"]] == ["none", "relearn:steps=2", "relearn:steps=5"]
    assert not (tmp_path / "curve" / PLACE).exists()
    steps.clear()
    single = attack_ladder(forgot, forget, ["relearn:steps=2"], out=tmp_path / "single", settings=FEW)
    assert steps == [2, 2]
    assert single["rungs"][1]["name"] == "relearn:steps=2"
    for fold in ("fold-1", "fold-2"):
        mine, theirs = (Run.open(tmp_path / at / "relearn-steps=2" / fold / "model") for at in ("curve", "single"))
        assert mine.texts() == theirs.texts()
    # What is whole is not trained again; a point that is new takes its own run.
    steps.clear()
    attack_ladder(forgot, forget, ["relearn:curve=2+5"], out=tmp_path / "curve", settings=FEW)
    assert steps == []
    attack_ladder(forgot, forget, ["relearn:curve=2+5+6"], out=tmp_path / "curve", settings=FEW)
    assert steps == [6, 6]


def test_only_points_of_one_run_share_it(forget, retain):
    specs = ["relearn:steps=2", "quantise", "relearn:steps=4", "relearn:steps=2,times=3", "relearn:steps=2,on=retain"]
    rungs = rungs_of(specs, Known(forget=tuple(forget), retain=tuple(retain)), FEW)
    names = [[rung.name for rung in group] for group in groups_of(rungs)]
    assert names == [
        ["none"], ["relearn:steps=2", "relearn:steps=4"], ["quantise"], ["relearn:steps=2,times=3.0"], ["relearn:steps=2,on=retain"],
    ]  # fmt: skip


def test_what_a_killed_command_left_is_not_taken_up(forgot, forget, tmp_path):
    left = tmp_path / "out" / PLACE
    left.mkdir(parents=True)
    (left / "step-2.safetensors").write_bytes(b"of another model")
    summary = attack_ladder(
        forgot, forget, ["relearn:curve=2+3"], out=tmp_path / "out", settings=dataclasses.replace(FEW, n=1)
    )
    assert len(summary["rungs"]) == 3
