import copy

import numpy as np
import pytest
import torch

from leakatk.attacks import get_attack
from leakatk.attacks.prune import smallest
from leakatk.attacks.quantise import linear_weights
from leakatk.errors import InputError
from leakatk.models.load import load_model
from leakatk.models.loaded import LoadedModel
from leakatk.models.template import Template
from leakatk.prompts import Known


def by_hand(tensors, share):
    """Every entry by its size, then by its place."""
    entries = [(abs(float(v)), t, i) for t, one in enumerate(tensors) for i, v in enumerate(one.flatten().tolist())]
    out = [np.zeros(one.numel(), dtype=bool) for one in tensors]
    for _, t, i in sorted(entries)[: int(share * len(entries))]:
        out[t][i] = True
    return [mask.reshape(one.shape) for mask, one in zip(out, tensors, strict=True)]


@pytest.mark.parametrize("share", [0.001, 0.1, 0.37, 0.5, 0.99])
@pytest.mark.parametrize("equal", [False, True])
def test_against_a_second_implementation(share, equal):
    rng = np.random.default_rng(5)
    tensors = [torch.from_numpy(rng.normal(size=size).astype(np.float32)) for size in ((3, 7), (11,), (4, 4))]
    tensors = [one.round() for one in tensors] if equal else tensors
    found = smallest(tensors, share)
    for mask, wanted in zip(found, by_hand(tensors, share), strict=True):
        assert (mask.numpy() == wanted).all()


@pytest.mark.parametrize("within", ["layer", "model"])
def test_what_is_cut_and_what_stays(forgot, within):
    loaded = load_model(forgot)
    before = copy.deepcopy(loaded.model.state_dict())
    one = get_attack(f"prune:share=0.4,within={within}")
    layers = [weight.detach().clone() for weight, _ in linear_weights(loaded.model)]
    masks = by_hand(layers, 0.4) if within == "model" else [by_hand([layer], 0.4)[0] for layer in layers]
    one.apply(loaded, Known())
    after = [weight.detach() for weight, _ in linear_weights(loaded.model)]
    for old, new, mask in zip(layers, after, masks, strict=True):
        assert torch.equal(new, torch.where(torch.from_numpy(mask), 0.0, old))
    shares = [float((layer == 0).float().mean()) for layer in after]
    assert (max(shares) - min(shares) > 0.01) == (within == "model")
    for name, value in loaded.model.state_dict().items():
        if "_proj" not in name:
            assert torch.equal(value, before[name]), name
    [note] = one.notes(loaded)
    assert note.startswith(f"{sum(int(mask.sum()) for mask in masks):,} of ")


@pytest.mark.parametrize("option", ["share=0", "share=1", "share=nan", "within=row"])
def test_what_cannot_be_is_refused(option):
    with pytest.raises(InputError):
        get_attack(f"prune:{option}")


def test_a_model_without_linear_layers_is_refused():
    loaded = LoadedModel(torch.nn.Sequential(torch.nn.Embedding(3, 2)), None, Template(kind="plain"), "x", "none")
    with pytest.raises(InputError, match="no linear layers"):
        get_attack("prune").apply(loaded, Known())
