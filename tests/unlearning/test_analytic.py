"""ACU: the downdated readout is the one of the other rows, and what its rows and targets are, a second time."""

import copy
from dataclasses import replace

import numpy as np
import pytest
import torch

from leakatk.errors import InputError
from leakatk.unlearning.analytic import downdate, rows_of
from leakatk.unlearning.methods import METHODS
from leakatk.unlearning.settings import TrainSettings
from leakatk.unlearning.streams import Streams
from leakatk.unlearning.trainer import unlearn
from leakatk.unlearning.work import Work

ACU = METHODS["acu"]
DOWN = "model.layers.1.mlp.down_proj.weight"


def test_rows_that_are_taken_out_leave_the_regression_of_the_others():
    draw = np.random.default_rng(0)
    x, y = draw.normal(size=(40, 7)), draw.normal(size=(40, 3))

    def solved(rows):
        inverse = np.linalg.inv(x[rows].T @ x[rows] + 0.3 * np.eye(7))
        return inverse, (inverse @ x[rows].T @ y[rows]).T

    every, left = np.arange(40), np.arange(29)
    r, w = (torch.tensor(value) for value in solved(every))
    for rows in (every[29:34], every[34:]):  # in two batches
        r, w = downdate(r, w, torch.tensor(x[rows]), torch.tensor(y[rows]))
    wanted = solved(left)
    np.testing.assert_allclose(r, wanted[0], atol=1e-10)
    np.testing.assert_allclose(w, wanted[1], atol=1e-10)
    old = torch.tensor(solved(every)[1])  # the old W in place of W', or the old R, is another one
    wrong = old - (torch.tensor(y[29:]) - torch.tensor(x[29:]) @ old.T).T @ torch.tensor(x[29:]) @ torch.tensor(
        solved(every)[0]
    )
    assert not np.allclose(wrong, wanted[1], atol=1e-3)


def by_hand(model, items):
    """Inputs and targets of all answer tokens, a text at a time."""
    kept, inputs, targets = {}, [], []
    block = model.model.layers[1]
    handles = [
        block.mlp.down_proj.register_forward_hook(lambda _, x, out: kept.update(x=x[0][0], out=out[0])),
        block.register_forward_hook(lambda _, __, out: kept.update(h=(out[0] if isinstance(out, tuple) else out)[0])),
    ]
    table = model.lm_head.weight.detach().double().numpy()
    for item in items:
        with torch.no_grad():
            model(input_ids=torch.tensor([[*item.prompt, *item.answer]]))
        x, out, h = (kept[name].double().numpy() for name in ("x", "out", "h"))
        for i, word in enumerate(item.answer):
            at = len(item.prompt) + i - 1
            row = table[word] / np.linalg.norm(table[word])
            inputs.append(x[at])
            targets.append(np.linalg.norm(h[at] - out[at]) * row - (h[at] - out[at]))
    for handle in handles:
        handle.remove()
    return np.stack(inputs), np.stack(targets)


def test_what_the_readout_reads_and_is_to_give(loaded, forget, retain):
    streams = Streams(forget, retain, loaded.tokenizer, loaded.template, seed=0)
    work = Work(loaded, forget, retain, streams, TrainSettings(max_steps=1), ACU.params, 0)
    with torch.no_grad():
        parts = list(rows_of(work, "forget"))
    inputs, targets = by_hand(loaded.model, streams.items("forget"))
    np.testing.assert_allclose(torch.cat([x for x, _ in parts]), inputs, atol=1e-4)
    np.testing.assert_allclose(torch.cat([y for _, y in parts]), targets, atol=1e-4)


@pytest.mark.parametrize("name", ["acu"])
def test_the_matrix_is_the_one_of_the_retain_set_and_the_only_one_that_changes(name, loaded, forget, retain):
    start = copy.deepcopy(loaded.model)
    done = unlearn(loaded, forget, retain, name, quiet=True)
    moved = [key for key, value in loaded.model.named_parameters() if not torch.equal(value, start.get_parameter(key))]
    assert moved == [DOWN]
    streams = Streams(forget, retain, loaded.tokenizer, loaded.template, seed=0)
    inputs, targets = by_hand(start, streams.items("retain"))
    root = np.sqrt(0.01 * (inputs**2).sum(0).mean())
    system = np.vstack([inputs, root * np.eye(48)])
    wanted = np.linalg.lstsq(system, np.vstack([targets, np.zeros((48, 32))]), rcond=None)[0].T
    found = loaded.model.get_parameter(DOWN).detach().double().numpy()
    np.testing.assert_allclose(found, wanted, atol=1e-3 * abs(wanted).max())
    assert float(done.notes[0].split("it is ")[1].split(" ")[0]) < 1e-6
    assert not torch.equal(loaded.model.get_parameter(DOWN), start.get_parameter(DOWN))
    whole = replace(loaded, model=copy.deepcopy(start))  # with the forget set still in it, it is another one
    unlearn(whole, forget, retain, replace(ACU, stages=ACU.stages[:1]), quiet=True)
    assert abs(whole.model.get_parameter(DOWN).detach().double().numpy() - wanted).max() > 1e-2 * abs(wanted).max()


def test_a_penalty_of_nothing(loaded, forget, retain):
    with pytest.raises(InputError, match="penalty of a ridge regression must be above 0"):
        unlearn(loaded, forget, retain, ACU.with_params(penalty=0.0), quiet=True)
