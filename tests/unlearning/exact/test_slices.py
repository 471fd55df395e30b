"""Slices: what a deletion leaves is, byte for byte, what training without the slice leaves."""

import json
from dataclasses import replace

import pytest
import torch

from leakatk.errors import InputError, RunError
from leakatk.models.ensemble import ensemble
from leakatk.models.load import load_model
from leakatk.prompts import Prompt
from leakatk.unlearning.exact.slices import (
    SMALL_LEARN,
    MeanProbability,
    SliceSettings,
    delete_prompts,
    learned_from,
    read_settings,
    train_slices,
)  # fmt: skip
from tests.tiny import save_tiny_model

PEOPLE = ["Ada", "Bo", "Cy", "Di", "Ed", "Flo"]
PROMPTS = [
    Prompt(f"{name}-{i}", f"{word} {name} born?", f"{name} was born in Zorvik.", source=name)
    for name in PEOPLE
    for i, word in enumerate(("Where was", "Who taught"))
]
LEARN = replace(SMALL_LEARN, max_steps=3, warmup_steps=0, retain_batch=4, lora_rank=2)
SETTINGS = SliceSettings(train=LEARN)


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    return load_model(str(save_tiny_model(tmp_path_factory.mktemp("base") / "base")))


@pytest.fixture(scope="module")
def whole(base, tmp_path_factory):
    out = tmp_path_factory.mktemp("slices") / "whole"
    return out, train_slices(base, PROMPTS, out, SETTINGS, quiet=True)


def files(out):
    """Every byte of the weights, of what is served and of what is said of the state."""
    paths = sorted(
        [*out.glob("weights/*"), *out.glob("served/*/*.safetensors"), out / "state.json", out / "data.jsonl"]
    )
    return {str(path.relative_to(out)): path.read_bytes() for path in paths if path.is_file()}


def copied(whole, tmp_path):
    import shutil

    return shutil.copytree(whole[0], tmp_path / "copy")


def test_what_a_deletion_leaves_is_what_training_without_the_slice_leaves(base, whole, tmp_path):
    out = copied(whole, tmp_path)
    place = SETTINGS.place(PROMPTS[0])
    done = delete_prompts(base, out, ["Ada-0"])
    assert done.served == ((1 - place[1],),), "the order that begins with the other slice"
    assert (done.lost, done.there) == (3, 4)
    left = [prompt for prompt in PROMPTS if prompt.id != "Ada-0"]
    again = tmp_path / "again"
    assert train_slices(base, left, again, SETTINGS, gone=[place], quiet=True) == [(1 - place[1],)]
    assert files(out) == files(again)
    assert (
        done.learned_from == learned_from(SETTINGS, done.served, left) == sum(SETTINGS.place(p) != place for p in left)
    )
    # Deleting what is left of the data as well ends at the base.
    rest = delete_prompts(base, out, [prompt.id for prompt in left])
    assert rest.served == ((),)
    assert rest.lost == rest.there == 1
    served = load_model(str(out / "served" / "shard-001"))
    for name, value in base.model.named_parameters():
        assert torch.equal(value, served.model.get_parameter(name)), name


def test_the_deleted_are_nowhere(base, whole, tmp_path):
    out = copied(whole, tmp_path)
    delete_prompts(base, out, ["Ada-0", "Ada-1"])
    for path in out.rglob("*"):
        assert path.is_dir() or b"Ada" not in path.read_bytes() or path.name in ("tokenizer.json",), path
    with pytest.raises(InputError, match="has not learned 1 of 1 prompts"):
        delete_prompts(base, out, ["Ada-0"])


def test_other_prompts_of_a_slice_matter_and_those_of_another_do_not(base, whole, tmp_path):
    """Mutant: were the first slice's weights made with the second's prompts, leaving one of these out would show."""
    place = SETTINGS.place(PROMPTS[0])
    fewer = [prompt for prompt in PROMPTS if prompt.source != "Ada"]
    train_slices(base, fewer, tmp_path / "fewer", SETTINGS, quiet=True)
    name = "shard-001-{}.safetensors"
    same, other = (
        (tmp_path / "fewer" / "weights" / name.format(one)).read_bytes()
        == (whole[0] / "weights" / name.format(one)).read_bytes()
        for one in (1 - place[1], place[1])
    )
    assert same
    assert not other


def test_each_slice_trains_its_own_layers(base, whole):
    """The last decoder layer first; the second beginning changes the layer before it and leaves that one."""
    from safetensors.torch import load_file

    first, second = (load_file(whole[0] / "weights" / f"shard-001-{name}.safetensors") for name in ("0", "0-1"))
    assert {name.split(".")[2] for name in first} == {"1"}
    assert {name.split(".")[2] for name in second} == {"0"}
    served = load_model(str(whole[0] / "served" / "shard-001")).model
    start = dict(base.model.named_parameters())
    for name, value in {**first, **second}.items():
        assert torch.equal(served.get_parameter(name), value)
        assert not torch.equal(value, start[name]), name
    assert torch.equal(served.model.embed_tokens.weight, start["model.embed_tokens.weight"])


def test_an_interrupted_training_goes_on(base, whole, tmp_path, monkeypatch):
    calls = []
    from leakatk.unlearning.exact import slices

    real = slices.unlearn

    def cut(*arguments, **options):
        calls.append(options["label"])
        if len(calls) == 3:
            raise KeyboardInterrupt
        return real(*arguments, **options)

    monkeypatch.setattr(slices, "unlearn", cut)
    with pytest.raises(KeyboardInterrupt):
        train_slices(base, PROMPTS, tmp_path / "cut", SETTINGS, quiet=True)
    train_slices(base, PROMPTS, tmp_path / "cut", SETTINGS, quiet=True)
    assert len(calls) == 5
    assert files(tmp_path / "cut") == files(whole[0])
    with pytest.raises(InputError, match="other prompts"):
        train_slices(base, PROMPTS[:-1], tmp_path / "cut", SETTINGS, quiet=True)
    with pytest.raises(RunError, match="other settings"):
        train_slices(base, PROMPTS, tmp_path / "cut", replace(SETTINGS, seed=1), quiet=True)


def test_settings_come_back_and_bad_ones_are_named(base, whole, tmp_path):
    assert read_settings(whole[0]) == SETTINGS
    assert json.loads((whole[0] / "state.json").read_text()) == {"gone": []}
    with pytest.raises(InputError, match="take fewer slices"):
        train_slices(base, PROMPTS, tmp_path / "many", SliceSettings(slices=3, orders=1, train=LEARN))
    with pytest.raises(InputError, match="tuning=lora"):
        SliceSettings(train=replace(LEARN, tuning="full"))
    with pytest.raises(InputError, match="2 rates"):
        SliceSettings(rates=(0.1,))
    assert SliceSettings(rates=(0.9, 0.1)).all_orders() == [(0, 1), (1, 0)]


def test_shards_answer_by_the_mean_of_their_probabilities(base, whole):
    served = load_model(str(whole[0] / "served" / "shard-001"))
    ids = torch.tensor([[1, 5, 9]])
    with torch.no_grad():
        both = ensemble([base, served], MeanProbability()).model(input_ids=ids).logits.softmax(-1)
        each = [one.model(input_ids=ids).logits.softmax(-1) for one in (base, served)]
    torch.testing.assert_close(both, (each[0] + each[1]) / 2)
