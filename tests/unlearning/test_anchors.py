"""ROCR: which matrices change and by what, a second time by least squares, and that retain inputs are left alone."""

import copy
from dataclasses import replace

import numpy as np
import pytest
import torch

from leakatk.errors import InputError
from leakatk.prompts import Known
from leakatk.unlearning.methods import METHODS
from leakatk.unlearning.streams import Streams
from leakatk.unlearning.trainer import unlearn
from tests.unlearning.conftest import tiny_model

ROCR = METHODS["rocr"].with_params(layer=1, layers=2, threshold=1e-3, penalty=0.1)
DOWN = "model.layers.{}.mlp.down_proj.weight"


@pytest.fixture
def wide(loaded, tokenizer):
    """A model whose matrices read more numbers than there are retain tokens."""
    return replace(loaded, model=tiny_model(tokenizer, intermediate_size=400))


def run(loaded, forget, retain, method=ROCR, **options):
    start = copy.deepcopy(loaded.model)
    done = unlearn(loaded, forget, retain, method, quiet=True, **options)
    return start, done


def seen(model, items, layer):
    """Of each text (what the down projection reads (L, i), the state after the layer (L, d))."""
    found, kept = [], {}
    block = model.model.layers[layer]
    handles = [
        block.mlp.down_proj.register_forward_pre_hook(lambda _, x: kept.update(a=x[0][0])),
        block.register_forward_hook(lambda _, __, out: kept.update(h=out[0] if isinstance(out, tuple) else out)),
    ]
    with torch.no_grad():
        for ids in items:
            model(input_ids=torch.tensor([list(ids)]))
            found.append((kept["a"].double().numpy(), kept["h"].reshape(len(ids), -1).double().numpy()))
    for handle in handles:
        handle.remove()
    return found


def ends(loaded, items, names):
    """The first token of each prompt by which its name is said."""
    return [
        next(i for i in range(len(ids)) if name in loaded.tokenizer.decode(list(ids[: i + 1])))
        for ids, name in zip(items, names, strict=True)
    ]


def test_each_layer_is_least_squares_in_the_null_space(wide, forget, retain):
    retain = retain[:4]
    start, done = run(wide, forget, retain)
    streams = Streams(forget, retain, wide.tokenizer, wide.template, seed=0)
    asked, other = ([item.prompt for item in streams.items(name)] for name in ("forget", "nobody"))
    places = ends(wide, asked, [str(i) for i in range(len(forget))])  # "Where does Fa 3 live?" asks about 3
    names = [wide.tokenizer.decode(list(ids)).split("Fa ")[1].split(" live")[0] for ids in other]
    anchors = ends(wide, other, [f"Fa {name}" for name in names])
    model, found = copy.deepcopy(start), dict(wide.model.named_parameters())
    z = np.stack([h[i] for (_, h), i in zip(seen(model, other, 1), anchors, strict=True)])
    texts = [(*item.prompt, *item.answer) for item in streams.items("retain")]
    before = None
    for place, layer in enumerate((0, 1)):
        h = np.stack([h[i] for (_, h), i in zip(seen(model, asked, 1), places, strict=True)])
        before = np.linalg.norm(z - h) if before is None else before
        keys = np.stack([a[i] for (a, _), i in zip(seen(model, asked, layer), places, strict=True)])
        inputs = np.concatenate([a for a, _ in seen(model, texts, layer)])
        values, vectors = np.linalg.eigh(inputs.T @ inputs)
        free = vectors[:, values <= 1e-3 * values.mean()]
        assert 0 < free.shape[1] < 400
        left = (z - h) / (2 - place)
        root = np.sqrt(0.1 * (keys**2).sum(0).mean())
        system = np.vstack([keys @ free, root * np.eye(free.shape[1])])
        wanted = np.linalg.lstsq(system, np.vstack([left, np.zeros((free.shape[1], 32))]), rcond=None)[0].T @ free.T
        change = (
            (found[DOWN.format(layer)] - dict(start.named_parameters())[DOWN.format(layer)]).detach().double().numpy()
        )
        np.testing.assert_allclose(change, wanted, atol=2e-3 * abs(wanted).max())
        assert np.linalg.norm(inputs @ change.T) < 0.05 * np.linalg.norm(keys @ change.T)
        with torch.no_grad():
            model.get_parameter(DOWN.format(layer)).copy_(found[DOWN.format(layer)])
    h = np.stack([h[i] for (_, h), i in zip(seen(model, asked, 1), places, strict=True)])
    after = np.linalg.norm(z - h)
    assert after < 0.9 * before
    (note,) = done.notes
    assert f"{after / before:.1%} as far" in note
    moved = {name for name, value in found.items() if not torch.equal(value, start.get_parameter(name))}
    assert moved == {DOWN.format(0), DOWN.format(1)}


def test_general_text_narrows_the_null_space_and_a_second_run_is_the_same(wide, base_model, forget, retain, tmp_path):
    method = ROCR.with_params(layer=0, layers=1)
    fresh = copy.deepcopy(wide.model)
    run(wide, forget, retain[:2], method, out=tmp_path / "out")
    again = replace(wide, model=copy.deepcopy(fresh))
    run(again, forget, retain[:2], method)
    read = replace(wide, model=copy.deepcopy(fresh))
    run(read, forget, retain[:2], method, out=tmp_path / "out")
    text = replace(wide, model=copy.deepcopy(fresh))
    run(text, forget, retain[:2], method, known=Known(text=("Somebody lives in Orlo and works there.",)))
    weight = wide.model.get_parameter(DOWN.format(0))
    assert torch.equal(weight, again.model.get_parameter(DOWN.format(0)))
    assert torch.equal(weight, read.model.get_parameter(DOWN.format(0)))
    assert not torch.equal(weight, text.model.get_parameter(DOWN.format(0)))


def test_what_makes_no_sense(loaded, forget, retain):
    with pytest.raises(InputError, match="layer must be between 0 and 1"):
        run(loaded, forget, retain, METHODS["rocr"])
    with pytest.raises(InputError, match="Nothing tells whom the forget prompts ask about"):
        run(loaded, [replace(forget[0], question="Why?")], retain)
