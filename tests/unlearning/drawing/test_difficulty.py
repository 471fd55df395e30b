"""Draws by MRD: the measure a second time, probabilities by counting, anew after each epoch, and a killed run."""

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
import torch

from leakatk.errors import InputError
from leakatk.unlearning.drawing.base import Drawing
from leakatk.unlearning.drawing.difficulty import easy_first
from leakatk.unlearning.losses import terms
from leakatk.unlearning.methods import METHODS
from leakatk.unlearning.settings import TrainSettings
from leakatk.unlearning.stages import Term, Train
from leakatk.unlearning.streams import Streams, drawn_rows
from leakatk.unlearning.trainer import unlearn
from leakatk.unlearning.work import Work
from tests.unlearning.conftest import tiny_model
from tests.unlearning.test_hooks import resumes

SETTINGS = TrainSettings(learning_rate=1e-3, max_steps=3, forget_batch=4, retain_batch=4)
CGA = {**METHODS["cga"].params, "draws": 3}


@pytest.fixture
def easy(loaded, tokenizer, forget, retain):
    def make(weights=None, settings=SETTINGS, **params):
        streams = Streams(forget, retain, tokenizer, loaded.template, seed=0)
        work = Work(loaded, forget, retain, streams, settings, {**CGA, **params}, 0)
        return easy_first(work, Drawing(streams, 5, weights))

    return make


def logprobs(model, item):
    ids = torch.tensor([[*item.prompt, *item.answer]])
    with torch.no_grad():
        logits = model(input_ids=ids).logits[0, len(item.prompt) - 1 : -1]
    return logits.log_softmax(-1)[range(len(item.answer)), item.answer].double().numpy()


def by_hand(model, tokenizer, items, noise=0.01, draws=3):
    own, sums = [logprobs(model, item) for item in items], np.zeros(len(items))
    for draw in range(draws):
        shaken = tiny_model(tokenizer)
        shaken.load_state_dict(model.state_dict())
        generator = torch.Generator().manual_seed(draw)
        with torch.no_grad():
            for parameter in shaken.parameters():
                parameter += noise * torch.randn(parameter.shape, generator=generator)
        sums += [np.sum((a - logprobs(shaken, item)) / a) for a, item in zip(own, items, strict=True)]
    return np.abs(sums / draws)


def test_what_is_easily_shaken_is_drawn_in_proportion(easy, loaded, tokenizer):
    drawing = easy()
    wanted = by_hand(loaded.model, tokenizer, drawing.streams.items("forget"))
    assert drawing.first == pytest.approx(wanted, rel=1e-3)
    found = Counter(drawing.rows("forget", 0, 4000, {}))
    shares, expected = np.array([found[i] for i in range(5)]) / 4000, wanted / wanted.sum()
    assert np.abs(shares - expected).max() < 0.03 < np.abs(expected - expected[::-1]).max()  # the order matters
    assert drawing.rows("forget", 7, 5, {}) == drawing.rows("forget", 0, 12, {})[7:]


def test_retain_prompts_are_drawn_as_ever(easy):
    assert easy().rows("retain", 0, 9, {}) == drawn_rows(9, 9, 0, 11)


def test_weights_of_the_caller_multiply(easy):
    drawing = easy(weights=[0.0, 1.0, 0.0, 3.0, 0.0])
    found = Counter(drawing.rows("forget", 0, 4000, {}))
    assert set(found) == {1, 3}
    first = np.array(drawing.first)[[1, 3]] * [1, 3]
    assert found[1] / 4000 == pytest.approx(first[0] / first.sum(), abs=0.03)


def test_they_are_drawn_evenly_where_nothing_moves(easy):
    drawing = easy(noise=0.0)
    assert set(drawing.first) == {0.0}
    assert min(Counter(drawing.rows("forget", 0, 1000, {})).values()) > 150


def test_it_is_measured_anew_after_each_epoch(easy, tokenizer):
    """5 prompts in batches of 2: after steps 2, 4 ... (rounded); state holds what later draws depend on."""
    settings, state = replace(SETTINGS, forget_batch=2), {}
    drawing = easy(settings=settings)
    assert drawing.after(1, state) == ""
    assert not state
    drawing.work.loaded.model.load_state_dict(tiny_model(tokenizer, seed=9).state_dict())
    drawing.after(2, state)
    wanted = by_hand(drawing.work.loaded.model, tokenizer, drawing.streams.items("forget"))
    assert [state[f"mrd {i}"] for i in range(5)] == pytest.approx(wanted, rel=1e-3)
    assert drawing.rows("forget", 0, 50, state) != drawing.rows("forget", 0, 50, {})
    assert easy(settings=settings, mrd_every=2.0).every == 5


def test_how_often_it_is_measured_must_make_sense(easy):
    with pytest.raises(InputError, match="mrd_every must be above 0, got 0"):
        easy(mrd_every=0)


def test_a_killed_run_draws_the_same(loaded, base_model, forget, retain, tmp_path):
    hook = lambda work, plain: easy_first(replace(work, params={**work.params, **CGA}), plain)  # noqa: E731
    stage = Train((Term(terms.ascent, "forget"), Term(terms.nll, "retain")), draw=hook)
    resumes(loaded, base_model, forget, retain, stage, tmp_path)


def test_a_run_trains_on_what_it_drew(loaded, forget, retain):
    """The loss that the first step logs is that of the rows drawn, each by itself; those of shuffled epochs have another."""
    streams = Streams(forget, retain, loaded.tokenizer, loaded.template, seed=0)
    means = [logprobs(loaded.model, item).mean() for item in streams.items("forget")]
    work = Work(loaded, forget, retain, streams, SETTINGS, CGA, 0)
    rows = easy_first(work, Drawing(streams, 0)).rows("forget", 0, 4, {})
    done = unlearn(
        loaded, forget, retain, METHODS["cga"].with_params(draws=3), settings=replace(SETTINGS, max_steps=1), quiet=True
    )
    assert done.log[0]["forget"] == pytest.approx(np.mean([means[row] for row in rows]), rel=1e-4)
    assert np.mean([means[row] for row in drawn_rows(5, 4, 0, 0)]) != pytest.approx(done.log[0]["forget"], rel=1e-4)
