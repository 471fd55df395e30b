"""Weights taken, put back, swapped and hashed."""

import pytest
import torch

from leakatk.errors import InputError
from leakatk.models.weights import put, swapped, weights_hash, weights_of


@pytest.fixture
def model():
    torch.manual_seed(0)
    return torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.BatchNorm1d(4), torch.nn.Linear(4, 2))


def same(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


@pytest.mark.parametrize("device", ["cpu", None])
def test_a_copy_does_not_follow_the_model(model, device):
    before = weights_of(model, device=device)
    kept = {name: value.clone() for name, value in before.items()}
    with torch.no_grad():
        model[0].weight.add_(1)
    assert same(before, kept)
    assert not torch.equal(before["0.weight"], model[0].weight)
    put(model, before)
    assert same(weights_of(model), kept)
    assert not before["0.weight"].requires_grad


def test_weights_go_to_the_precision_of_the_model(model):
    weights = {
        name: value.double() if value.is_floating_point() else value for name, value in weights_of(model).items()
    }
    put(model, weights)
    assert model[0].weight.dtype == torch.float32


@pytest.mark.parametrize("wrong", ["missing", "more", "shape"])
def test_weights_of_another_model_change_nothing(model, wrong):
    before = weights_of(model)
    others = {name: torch.zeros_like(value) for name, value in before.items()}
    if wrong == "missing":
        del others["2.bias"]
    elif wrong == "more":
        others["3.bias"] = torch.zeros(1)
    else:
        others["2.bias"] = torch.zeros(5)
    with pytest.raises(InputError, match=r"another model.*(2|3)\.bias"):
        put(model, others)
    assert same(weights_of(model), before)


def test_swapped_comes_back_also_after_an_error(model):
    before = weights_of(model)
    others = {name: torch.ones_like(value) for name, value in before.items()}
    with swapped(model, others):
        assert same(weights_of(model), others)
    assert same(weights_of(model), before)
    with pytest.raises(KeyError), swapped(model, others):
        raise KeyError
    assert same(weights_of(model), before)
    with swapped(model, None):
        assert same(weights_of(model), before)


def test_the_hash_is_of_names_and_bytes(model):
    """As run.json of former versions keeps it: SHA-256 over name and bytes, in the order of names."""
    import hashlib

    weights = weights_of(model)
    digest = hashlib.sha256()
    for name in sorted(weights):
        digest.update(name.encode() + weights[name].numpy().tobytes())
    assert weights_hash(weights) == digest.hexdigest()[:16]
    assert weights_hash(dict(reversed(weights.items()))) == weights_hash(weights)
    assert weights_hash({**weights, "2.bias": weights["2.bias"] + 1}) != weights_hash(weights)
    half = {"a": torch.ones(2, dtype=torch.bfloat16), "b": torch.tensor(1)}
    assert len(weights_hash(half)) == 16


def test_tied_weights_are_copied_once():
    class Tied(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.left, self.right = torch.nn.Linear(3, 3), torch.nn.Linear(3, 3)
            self.right.weight = self.left.weight

    model = Tied()
    taken = weights_of(model)
    assert taken["left.weight"] is taken["right.weight"]
    assert taken["left.bias"] is not taken["right.bias"]
    assert taken["left.weight"].data_ptr() != model.left.weight.data_ptr()


def test_a_shape_that_would_be_spread_is_refused():
    model = torch.nn.Linear(3, 2)
    before = model.weight.detach().clone()
    with pytest.raises(InputError, match="another model: weight is"):
        put(model, {"weight": torch.ones(1, 3)}, partly=True)
    assert torch.equal(model.weight, before)
