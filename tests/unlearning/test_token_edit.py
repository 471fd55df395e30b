"""UniErase: the token's row alone is trained, noise leaves no trace, states that say the token by Adam written again."""

import copy
import math

import numpy as np
import pytest
import torch

from leakatk.errors import InputError
from leakatk.unlearning.chance import generator_of
from leakatk.unlearning.gathered import subjects_of
from leakatk.unlearning.methods import METHODS
from leakatk.unlearning.settings import TrainSettings
from leakatk.unlearning.spare import spare_token
from leakatk.unlearning.stages import Edit, Train
from leakatk.unlearning.streams import Streams
from leakatk.unlearning.token_edit import blurred, saying, sharp
from leakatk.unlearning.trainer import unlearn
from leakatk.unlearning.work import Work

METHOD = METHODS["unierase"].for_small_models().with_params(threshold=0.5)
SETTINGS = TrainSettings(learning_rate=1e-2, max_steps=2, forget_batch=3)
DOWN = "model.layers.0.mlp.down_proj.weight"
EMBEDDING = "model.embed_tokens.weight"


def work_on(loaded, forget, retain, method=METHOD):
    streams = Streams(forget, retain, loaded.tokenizer, loaded.template, seed=0)
    return Work(loaded, forget, retain, streams, SETTINGS, method.params, 0)


def test_the_row_and_the_edited_matrix_change_and_nothing_else(loaded, forget, retain):
    start = copy.deepcopy(loaded.model)
    done = unlearn(loaded, forget, retain, METHOD, settings=SETTINGS, quiet=True)
    moved = {
        name for name, value in loaded.model.named_parameters() if not torch.equal(value, start.get_parameter(name))
    }
    assert moved == {EMBEDDING, DOWN}
    rows = (loaded.model.get_parameter(EMBEDDING) != start.get_parameter(EMBEDDING)).any(1).nonzero().flatten()
    assert rows.tolist() == [spare_token(loaded.tokenizer)]
    assert done.steps == 4
    (note,) = done.notes
    assert "unierase edited layers 0 to 0 at 5 of 5 forget subjects" in note


def test_both_ends_are_trained_where_they_are_two(loaded, forget, retain):
    loaded.model.lm_head.weight = torch.nn.Parameter(loaded.model.lm_head.weight.detach() + 0.01)
    start, token = copy.deepcopy(loaded.model), spare_token(loaded.tokenizer)
    unlearn(loaded, forget, retain, METHOD, settings=SETTINGS, quiet=True)
    for name in (EMBEDDING, "lm_head.weight"):
        rows = (loaded.model.get_parameter(name) != start.get_parameter(name)).any(1).nonzero().flatten()
        assert rows.tolist() == [token]


def test_noise_has_the_size_that_was_asked_for_and_is_taken_away(loaded, forget, retain):
    work = work_on(loaded, forget, retain)
    now = {name: value.detach().clone() for name, value in loaded.model.named_parameters()}
    work.start = now
    (found,) = blurred(work, now, METHOD.params).values()
    weight = now[DOWN].numpy()
    drawn = torch.randn(weight.shape, generator=generator_of(0, "blur", DOWN)).numpy()
    np.testing.assert_allclose(found, weight + 0.02 * math.sqrt((weight**2).mean()) * drawn, atol=1e-6)
    assert torch.equal(sharp(work, now, METHOD.params)[DOWN], now[DOWN])
    kinds = [type(stage) for stage in METHOD.stages]
    assert kinds == [Edit, Train, Edit, Train, Edit, Edit]


def by_hand(model, ids, place, token, params):
    """h + v of one prompt, after the first layer: Adam by its formula."""
    h, v = None, torch.zeros(32, dtype=torch.float32)
    m, s = torch.zeros(32), torch.zeros(32)
    for step in range(1, params["value_steps"] + 1):
        v = v.detach().requires_grad_(True)

        def hook(_, __, out, v=v):
            nonlocal h
            states = out[0] if isinstance(out, tuple) else out
            h = states[0, place].detach().clone() if h is None else h
            moved = torch.cat([states[:, :place], (states[:, place] + v)[:, None], states[:, place + 1 :]], dim=1)
            return (moved, *out[1:]) if isinstance(out, tuple) else moved

        handle = model.model.layers[0].register_forward_hook(hook)
        logits = model(input_ids=torch.tensor([list(ids)])).logits[0, -1]
        handle.remove()
        length = v.norm() if float(v.detach().norm()) else 0.0 * v.sum()
        loss = torch.logsumexp(logits, 0) - logits[token] + params["value_decay"] * length / h.norm() ** 2
        if float(loss.detach()) < 0.05:
            break
        (g,) = torch.autograd.grad(loss, v)
        m, s = 0.9 * m + 0.1 * g, 0.999 * s + 0.001 * g**2
        v = v.detach() - params["value_rate"] * (m / (1 - 0.9**step)) / ((s / (1 - 0.999**step)).sqrt() + 1e-8)
        most = params["clamp"] * h.norm()
        v = v * min(1.0, float(most / v.norm()))
    return h, (h + v).detach()


@pytest.mark.parametrize("clamp", [0.3, 50.0])
def test_states_that_say_the_token(loaded, forget, retain, clamp):
    method = METHOD.with_params(clamp=clamp, value_steps=6)
    work = work_on(loaded, forget, retain, method)
    token, backs = spare_token(loaded.tokenizer), subjects_of(work).forget
    items = work.streams.items("forget")
    found = saying(work, items, backs, 0, token, method.params)
    bound = 0
    for item, back, state in zip(items, backs.tolist(), found, strict=True):
        h, wanted = by_hand(loaded.model, item.prompt, len(item.prompt) - 1 - back, token, method.params)
        torch.testing.assert_close(state, wanted, atol=1e-4, rtol=1e-4)
        bound += abs(float((state - h).norm() / h.norm()) - clamp) < 1e-4
    assert (bound > 0) == (clamp < 1)
    none = saying(work, items, backs, 0, token, {**method.params, "value_rate": 1e-9})
    assert not torch.allclose(found, none, atol=1e-3)


def test_what_makes_no_sense(loaded, forget, retain):
    def run(**params):
        unlearn(loaded, forget, retain, METHOD.with_params(**params), settings=SETTINGS, quiet=True)

    with pytest.raises(InputError, match="layer must be before the last one, got 1"):
        run(layer=1)
    with pytest.raises(InputError, match="layer must be between 0 and 1"):
        run(layer=9)
    with pytest.raises(InputError, match="value_steps must be at least 1"):
        run(value_steps=0)
