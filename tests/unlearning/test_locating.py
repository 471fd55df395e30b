"""Neurons that hold a fact: against neurons put there by hand, and attributions against finite differences."""

import copy
from dataclasses import replace

import pytest
import torch

from leakatk.errors import InputError
from leakatk.unlearning.locating import (
    attributions,
    blur_neuron,
    concept_neuron,
    critical_neurons,
    integrated_attributions,
    knowing_neurons,
    last_matrices,
    that_neuron,
)
from leakatk.unlearning.methods import METHODS
from leakatk.unlearning.settings import TrainSettings
from leakatk.unlearning.streams import Streams
from leakatk.unlearning.trainer import unlearn
from leakatk.unlearning.work import Work

SETTINGS = TrainSettings(learning_rate=1e-3, max_steps=3, forget_batch=4, retain_batch=4, weight_decay=0.0)
PLACE = "model.layers.1.mlp.down_proj.weight"


@pytest.fixture
def work(loaded, tokenizer, forget, retain):
    def make(**params):
        streams = Streams(forget, retain, tokenizer, loaded.template, seed=0)
        start = {name: value.detach().clone() for name, value in loaded.model.named_parameters()}
        return Work(loaded, forget, retain, streams, SETTINGS, {"per": "answer", **params}, 0, start=start)

    return make


def told(work, neuron=7):
    """Make one neuron write the tokens of the forget answers."""
    ids = sorted({i for p in work.forget for i in work.loaded.tokenizer(p.answer)["input_ids"]})
    output = work.loaded.model.get_output_embeddings().weight.detach()
    work.start[PLACE][:, neuron] = 5 * output[ids].mean(0)
    return neuron


def test_the_neuron_that_writes_the_concept_is_found(work):
    mine = work(top=20)
    assert concept_neuron(mine) != (PLACE, 7)
    told(mine)
    assert concept_neuron(mine) == (PLACE, 7)
    (mask,) = that_neuron(mine).values()
    assert mask[:, 7].all()
    assert int(mask.sum()) == mask.shape[0]


def test_noise_is_on_that_column_alone(work):
    mine = work(top=20, noise=0.1)
    told(mine)
    (found,) = blur_neuron(mine, mine.start, mine.params).values()
    moved = found - mine.start[PLACE]
    assert moved[:, 7].std() == pytest.approx(0.1, rel=0.5)
    moved[:, 7] = 0
    assert not moved.any()
    assert "neuron 7 of model.layers.1" in mine.notes[0]


def test_a_concept_that_nothing_writes(work):
    mine = work(top=0)
    with pytest.raises(InputError, match="No neuron names a token"):
        concept_neuron(mine)


def probability(work, stream, name, neuron, scale):
    """The mean over prompts of exp(mean log p), one neuron's activation times `scale`."""
    module = last_matrices(work.loaded.model)[name][0]

    def change(module, inputs):
        a = inputs[0].clone()
        a[..., neuron] *= scale
        return (a,)

    handle = module.register_forward_pre_hook(change)
    values = []
    for item in work.streams.items(stream):
        ids = torch.tensor([[*item.prompt, *item.answer]])
        with torch.no_grad():
            logs = work.loaded.model(input_ids=ids).logits[0].double().log_softmax(-1)
        first = len(item.prompt)
        values.append(logs[first - 1 : -1].gather(1, torch.tensor(item.answer)[:, None]).mean().exp())
    handle.remove()
    return float(torch.stack(values).mean())


@pytest.mark.parametrize("neuron", [0, 7, 31])
def test_attributions_are_the_slope_of_the_probability(work, neuron):
    mine = work()
    mine.loaded.model.double()
    try:
        found = float(attributions(mine, "forget")[PLACE][neuron])
        h = 0.05  # norms are computed in float32: a smaller one would be lost in rounding
        slope = (
            probability(mine, "forget", PLACE, neuron, 1 + h) - probability(mine, "forget", PLACE, neuron, 1 - h)
        ) / (2 * h)
    finally:
        mine.loaded.model.float()
    assert found == pytest.approx(slope, rel=0.02)


def test_knowing_neurons_are_those_of_the_largest_contrast(work):
    mine = work(percent=10.0, superficial=0.5)
    masks = knowing_neurons(mine)
    own, other = attributions(mine, "forget"), attributions(mine, "misasked")
    scores = torch.cat([own[name] - 0.5 * other[name] for name in own])
    chosen = torch.cat([
        masks[name][0] if name in masks else torch.zeros(len(own[name]), dtype=torch.bool) for name in own
    ])  # fmt: skip
    assert int(chosen.sum()) == round(0.1 * len(scores))
    assert scores[chosen].min() > scores[~chosen].max()
    without = knowing_neurons(work(percent=10.0, superficial=0.0))
    assert any(name not in without or not torch.equal(mask, without[name]) for name, mask in masks.items())


def test_answers_to_other_questions(work, forget):
    mine = work()
    own = {item.prompt: item.answer for item in mine.streams.items("forget")}
    for row, item in enumerate(mine.streams.items("misasked")):
        assert item.answer == mine.streams.items("forget")[row].answer
        assert own[item.prompt] != item.answer


@pytest.mark.parametrize("percent", [0, 101])
def test_a_percentage_that_is_none(work, percent):
    with pytest.raises(InputError, match="percent must be above 0"):
        knowing_neurons(work(percent=percent, superficial=0.5))


@pytest.mark.parametrize("name", ["needle", "klue"])
def test_nothing_else_moves(name, loaded, base_model, forget, retain):
    mine = replace(loaded, model=copy.deepcopy(base_model))
    unlearn(mine, forget, retain, METHODS[name].for_small_models(), settings=SETTINGS, quiet=True)
    start = dict(base_model.named_parameters())
    moved = {key: value != start[key] for key, value in mine.model.named_parameters()}
    columns = [m.any(0) for key, m in moved.items() if "down_proj" in key]
    assert not any(m.any() for key, m in moved.items() if "down_proj" not in key)
    count = int(torch.cat(columns).sum())
    assert count == (1 if name == "needle" else round(0.05 * sum(len(c) for c in columns)))


# -- SIMU


def scaled_probability(work, name, share):
    """The sum of the probabilities of the answers' tokens, a mean over prompts, where a layer's neurons are all scaled."""
    module, _ = last_matrices(work.loaded.model)[name]
    handle = module.register_forward_pre_hook(lambda _, inputs: (share * inputs[0],))
    total = 0.0
    for item in work.streams.items("forget"):
        with torch.no_grad():
            logits = work.loaded.model(input_ids=torch.tensor([[*item.prompt, *item.answer]])).logits[0]
        p = logits[len(item.prompt) - 1 : -1].double().softmax(-1)
        total += float(p[torch.arange(len(item.answer)), list(item.answer)].sum())
    handle.remove()
    return total / len(work.forget)


@pytest.mark.parametrize("name", [PLACE, PLACE.replace("1", "0", 1)])
def test_attributions_along_a_path_add_up_to_what_the_layer_does(work, name):
    mine = work()
    whole = scaled_probability(mine, name, 1.0) - scaled_probability(mine, name, 0.0)
    found = float(integrated_attributions(mine, "forget", 400)[name].sum())
    assert found == pytest.approx(whole, rel=0.02)
    steps = [scaled_probability(mine, name, share) for share in (0.999, 1.001)]
    last = float(integrated_attributions(mine, "forget", 1)[name].sum())  # one part: the slope at the end of the path
    assert last == pytest.approx((steps[1] - steps[0]) / 0.002, rel=0.01)


def test_critical_neurons_are_those_above_the_layers_share_and_the_attention(work):
    mine = work(threshold=0.5, parts=3)
    masks, scores = critical_neurons(mine), integrated_attributions(mine, "forget", 3)
    for name, value in scores.items():
        assert masks[name][0].tolist() == (value > 0.5 * value.max()).tolist()
        assert 0 < int(masks[name][0].sum()) < len(value)
    others = {name for name in masks if name not in scores}
    assert others == {name for name in mine.start if "self_attn" in name}
    assert all(bool(masks[name].all()) for name in others)


@pytest.mark.parametrize("wrong", [{"threshold": 1.0}, {"threshold": -0.1}, {"parts": 0}])
def test_a_threshold_that_is_none(work, wrong):
    with pytest.raises(InputError, match="threshold must be at least 0 and below 1 and parts at least 1"):
        critical_neurons(work(**{"threshold": 0.2, "parts": 2, **wrong}))
