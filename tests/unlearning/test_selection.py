"""What is trained and what is let through, against loops over single entries."""

import copy
from dataclasses import replace
from itertools import product
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from leakatk.errors import InputError
from leakatk.unlearning.losses import terms
from leakatk.unlearning.selection import gradients, large_entries, pareto_front, salient
from leakatk.unlearning.settings import TrainSettings
from leakatk.unlearning.streams import Streams
from tests.unlearning.conftest import tiny_model

PARAMS = {"percentile": 90.0, "unit": "row", "beta": 0.5}


@pytest.fixture
def work(loaded, tokenizer, forget, retain):
    streams = Streams(forget, retain, tokenizer, loaded.template, seed=0)
    settings = TrainSettings(max_steps=1)
    return SimpleNamespace(
        loaded=loaded, streams=streams, settings=settings, params=PARAMS, seed=0, start={}, kept={}, notes=[]
    )


def plain_nll(model, items):
    """The mean over answers of the mean over their tokens, one answer at a time."""
    losses = []
    for item in items:
        logits = model(input_ids=torch.tensor([[*item.prompt, *item.answer]])).logits[0, len(item.prompt) - 1 : -1]
        losses.append(torch.nn.functional.cross_entropy(logits, torch.tensor(item.answer)))
    return torch.stack(losses).mean()


def test_the_gradient_of_a_set_is_that_of_its_answers_one_by_one(work):
    other = copy.deepcopy(work.loaded.model)
    plain_nll(other, work.streams.items("forget")).backward()
    for batch_size in (2, 16):
        with torch.no_grad():  # as in an edit
            found = gradients(work, batch_size=batch_size)
        for name, value in other.named_parameters():
            torch.testing.assert_close(found[name], value.grad, atol=1e-6, rtol=1e-4)
    assert all(value.grad is None for value in work.loaded.model.parameters())


def test_a_gradient_may_ask_for_the_start(work, tokenizer):
    """NPO at the start: its sigmoid is 1/2 whatever beta, so its gradient is that of the mean over answers of log p."""
    items = work.streams.items("forget")
    other = copy.deepcopy(work.loaded.model)
    sums = []
    for item in items:
        logits = other(input_ids=torch.tensor([[*item.prompt, *item.answer]])).logits[0, len(item.prompt) - 1 : -1]
        sums.append(-torch.nn.functional.cross_entropy(logits, torch.tensor(item.answer), reduction="sum"))
    torch.stack(sums).mean().backward()
    found = gradients(work, terms.npo)
    for name, value in other.named_parameters():
        torch.testing.assert_close(found[name], value.grad, atol=1e-5, rtol=1e-3)
    work.start = dict(tiny_model(tokenizer, seed=5).named_parameters())
    elsewhere = gradients(work, terms.npo)
    assert not torch.allclose(elsewhere["model.norm.weight"], found["model.norm.weight"])
    own = dict(other.named_parameters())
    assert all(torch.equal(value, own[name]) for name, value in work.loaded.model.named_parameters())


def row_norms(gradient):
    """By hand: the norm of each row of a matrix, the size of each entry of a vector."""
    rows = gradient.double().numpy()
    return np.array([np.sqrt((np.atleast_1d(row) ** 2).sum()) for row in rows])


@pytest.mark.parametrize("percentile", [0.0, 50.0, 90.0, 99.0])
def test_salient_rows_are_those_at_or_above_the_percentile(work, percentile):
    work.params = {**PARAMS, "percentile": percentile}
    masks = salient(terms.nll)(work)
    norms = {name: row_norms(value) for name, value in gradients(work).items()}
    every = sorted(np.concatenate(list(norms.values())))
    place = percentile / 100 * (len(every) - 1)  # between two of them, where it falls
    low, high = every[int(np.floor(place))], every[int(np.ceil(place))]
    least = low + (place - np.floor(place)) * (high - low)
    for name, norm in norms.items():
        expected = norm >= least * (1 - 1e-9)
        found = masks[name].flatten().numpy() if name in masks else np.zeros(len(norm), bool)
        assert (found == expected).all(), name
    share = sum(int(mask.sum()) for mask in masks.values()) / len(every)
    assert share == pytest.approx(1 - percentile / 100, abs=0.01)


def test_whole_tensors_and_the_settings_pattern(work):
    work.settings = replace(work.settings, parameters=r"\.mlp\.")
    work.params = {**PARAMS, "unit": "tensor", "percentile": 80.0}
    masks = salient(terms.nll)(work)
    norms = {
        name: float((value.double() ** 2).sum().sqrt()) for name, value in gradients(work).items() if ".mlp." in name
    }
    assert len(norms) == 6
    assert set(masks) == set(sorted(norms, key=norms.__getitem__)[4:])  # the 80th percentile of six is the fifth
    assert all(mask.numel() == 1 and bool(mask) for mask in masks.values())


@pytest.mark.parametrize(
    ("changes", "message"), [({"unit": "head"}, "unit must be"), ({"percentile": 100.0}, "below 100")]
)
def test_a_choice_that_does_not_exist_is_said(work, changes, message):
    work.params = {**PARAMS, **changes}
    with pytest.raises(InputError, match=message):
        salient(terms.nll)(work)


@pytest.mark.parametrize("deviations", [0.0, 1.0, -5.0])
def test_large_entries_are_found_one_by_one(deviations):
    draws = torch.Generator().manual_seed(1)
    gradient = {"a": torch.randn(3, 4, generator=draws), "b": 3 * torch.randn(5, generator=draws)}
    sizes = [abs(x) for value in gradient.values() for x in value.flatten().tolist()]
    mean = sum(sizes) / len(sizes)
    least = mean + deviations * (sum((x - mean) ** 2 for x in sizes) / len(sizes)) ** 0.5
    found = large_entries(gradient, {"deviations": deviations})
    for name, value in gradient.items():
        expected = [x if abs(x) >= least else 0.0 for x in value.flatten().tolist()]
        assert found[name].flatten().tolist() == expected


def test_the_front_is_what_nothing_beats():
    """Over all placings of four points on a grid of three, by the definition."""
    for places in product(product(range(3), range(3)), repeat=4):
        importance = {str(i): float(place[0]) for i, place in enumerate(places)}
        alignment = {str(i): float(place[1]) for i, place in enumerate(places)}
        expected = [
            name for name in importance
            if not any(
                importance[o] >= importance[name] and alignment[o] <= alignment[name]
                and (importance[o], alignment[o]) != (importance[name], alignment[name])
                for o in importance
            )
        ]  # fmt: skip
        assert pareto_front(importance, alignment) == expected
    assert pareto_front({"a": 1.0, "b": float("nan")}, {"a": 1.0, "b": 0.0}) == ["a"]
