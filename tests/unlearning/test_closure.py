"""What a step's closure answers, and that it leaves the weights where they were."""

import copy
from dataclasses import replace

import pytest
import torch

from leakatk.cli.dry import training_cost
from leakatk.unlearning.closure import passes
from leakatk.unlearning.loop import Trainer
from leakatk.unlearning.methods import METHODS
from leakatk.unlearning.settings import TrainSettings
from leakatk.unlearning.surgeons import norm
from leakatk.unlearning.trainer import unlearn
from tests.unlearning.asking import Problem

SETTINGS = TrainSettings(learning_rate=1e-5, max_steps=4, forget_batch=2, retain_batch=2)


def test_a_closure_moves_and_puts_back_exactly():
    one = Problem({})
    before = one.place.clone()
    way = one.closure.gradient("retain")
    assert all(p.grad is None for p in one.parts)
    with one.closure.moved(way, 0.1):
        torch.testing.assert_close(one.place, before + 0.1 * one.flat(way))
    assert torch.equal(one.place, before)
    with pytest.raises(KeyError), one.closure.moved(way, 0.1):
        raise KeyError
    assert torch.equal(one.place, before)
    assert one.closure.losses == {"retain": pytest.approx(one.value("retain"))}


def test_chance_is_the_same_whenever_it_is_asked(loaded, forget, retain):
    """With dropout, two questions at the same weights have one answer."""
    seen = []

    class Twice(torch.optim.SGD):
        asks = True

        def step(self, closure):
            seen.append([closure.value("forget"), closure.value("forget")])
            first, second = closure.gradient("forget"), closure.gradient("forget")
            seen.append([norm(first), norm([a - b for a, b in zip(first, second, strict=True)])])

    model = copy.deepcopy(loaded.model)
    model.config.attention_dropout = 0.5
    for layer in model.model.layers:
        layer.self_attn.attention_dropout = 0.5
    method = METHODS["npo"].for_small_models()
    stage = replace(method.trains[0], optimiser=lambda parameters, settings: Twice(parameters, lr=0.0))
    settings = TrainSettings(learning_rate=1e-3, max_steps=2, forget_batch=4, retain_batch=4)
    unlearn(
        replace(loaded, model=model), forget, retain, replace(method, stages=(stage,)), settings=settings, quiet=True
    )
    (one, other), (length, difference), (later, _) = seen[0], seen[1], seen[2]
    assert one == other
    assert difference == 0 < length
    assert later != one  # the next step draws anew


def test_directions_are_of_length_one_and_a_function_of_the_seed():
    one = Problem({})
    first, count = one.closure.unit("a")
    assert norm(first) == pytest.approx(1, rel=1e-5)
    assert count == 10
    assert all(torch.equal(a, b) for a, b in zip(first, one.closure.unit("a")[0], strict=True))
    assert not torch.equal(first[0], one.closure.unit("b")[0][0])
    one.closure.masks = [torch.zeros(3, 2, dtype=torch.bool), None]
    masked, count = one.closure.unit("a")
    assert (count, float(masked[0].abs().max())) == (4, 0.0)
    assert norm(masked) == pytest.approx(1, rel=1e-5)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("npo", 1),
        ("uno", 3),
        ("uno-s", 2),
        ("ofmu", 12.5),
        ("mudman", 1.5),
        ("dto", 7 / 3),
        ("simu", 1.1),
        ("ngdiff-auto", 1 + 0.5 / 10),
    ],
)
def test_what_a_step_asks_is_counted(name, expected):
    """In gradients of both sides; a loss is a third of one. UNO: two sides, and two more on either side of the weights for each."""
    (stage,) = METHODS[name].trains
    assert passes(stage, METHODS[name].params, METHODS[name].settings) == pytest.approx(expected)


@pytest.mark.parametrize("name", ["uno", "ofmu", "mudman"])
def test_a_run_asks_what_was_counted(name, loaded, forget, retain, monkeypatch):
    method, asked = METHODS[name].for_small_models(), []
    settings = TrainSettings(learning_rate=1e-5, max_steps=2, forget_batch=2, retain_batch=2, dtype="fp32")
    fill = Trainer.fill

    def counted(self, number, only=None, term=None):
        asked.append(len(only) / 2 if only else 1.0)
        return fill(self, number, only, term)

    monkeypatch.setattr(Trainer, "fill", counted)
    unlearn(loaded, forget, retain, method, settings=settings, quiet=True)
    assert sum(asked) / 2 == pytest.approx(passes(method.trains[0], method.params, settings))


def test_a_dry_run_says_it(loaded, forget, retain):
    tokens = {
        name: training_cost(loaded, forget, retain, METHODS[name], SETTINGS)["tokens"] for name in ("graddiff", "uno")
    }
    assert tokens["uno"] == pytest.approx(3 * tokens["graddiff"])
