"""Values of frozen models: the same from the cache, from a copy, and from an adapter that is switched off."""

import copy
from contextlib import nullcontext

import pytest
import torch

from leakatk.errors import UnknownNameError
from leakatk.models.weights import swapped, weights_of
from leakatk.unlearning import teachers as module
from leakatk.unlearning.step import Step
from leakatk.unlearning.streams import Streams
from leakatk.unlearning.teachers import Teachers
from leakatk.unlearning.view import View
from tests.unlearning.conftest import tiny_model

CPU = torch.device("cpu")
ROWS = {"forget": (4, 1, 2), "retain": (0, 8)}


@pytest.fixture
def streams(loaded, forget, retain):
    return Streams(forget, retain, loaded.tokenizer, loaded.template, seed=0)


def asked(teachers, streams, model):
    """Every kind of value, of two teachers, on two streams."""
    step = Step(model, streams, ROWS, teachers, CPU)
    found = {}
    for stream in ("forget", "retain"):
        for name in ("reference", "other"):
            view = View(step, stream).under(name)
            found[stream, name, "logp"] = view.token_logprob
            found[stream, name, "logits"] = view.logits
            found[stream, name, "whole"] = torch.where(view.whole.tokens[..., None] != -100, view.whole.logits, 0.0)
            found[stream, name, "hidden"] = torch.where(view.positions("all")[..., None], view.hidden(1, "mlp"), 0.0)
    return found


@pytest.mark.parametrize(("limit", "held"), [(2 << 30, 0), (0, 1)])
def test_cached_or_from_one_copy(loaded, streams, tokenizer, monkeypatch, limit, held):
    monkeypatch.setattr(module, "CACHE_BYTES", limit)
    other = tiny_model(tokenizer, seed=4)
    teachers, before = Teachers(streams, CPU, nullcontext), copy.deepcopy(loaded.model)
    teachers.collect(
        loaded.model, lambda: asked(teachers, streams, loaded.model), {"forget": range(5), "retain": range(9)},
        batch_size=3, weights={"reference": None, "other": weights_of(other), "unasked": None},
    )  # fmt: skip
    assert teachers.asked == {"reference", "other"}
    assert teachers.held_bytes == held * sum(p.numel() * p.element_size() for p in other.parameters())
    with torch.no_grad():  # training moves on; the teachers do not
        for parameter in loaded.model.parameters():
            parameter.add_(1.0)
    found = asked(teachers, streams, loaded.model)
    for (stream, name, kind), value in found.items():
        model = {"reference": before, "other": other}[name]
        view = View(Step(model, streams, ROWS, teachers, CPU), stream)
        expected = {
            "logp": lambda v: v.token_logprob,
            "logits": lambda v: torch.where(v.mask[..., None], v.logits, 0.0),
            "whole": lambda v: torch.where(v.whole.tokens[..., None] != -100, v.whole.logits, 0.0),
            "hidden": lambda v: torch.where(v.positions("all")[..., None], v.hidden(1, "mlp"), 0.0),
        }[kind](view)
        value = torch.where(view.mask[..., None], value, 0.0) if kind == "logits" else value
        torch.testing.assert_close(value, expected.detach(), atol=1e-4, rtol=1e-4)
        assert not value.requires_grad


def test_an_unknown_teacher_is_named(loaded, streams):
    teachers = Teachers(streams, CPU, nullcontext)
    step = Step(loaded.model, streams, ROWS, teachers, CPU)
    with pytest.raises(UnknownNameError, match="Unknown kept model 'refrence': did you mean reference"):
        teachers.collect(
            loaded.model, lambda: View(step, "forget").under("refrence").logprob, {"forget": range(5)},
            batch_size=3, weights={"reference": None},
        )  # fmt: skip


def test_swapped_weights_come_back_after_an_error(loaded, base_model, tokenizer):
    other = weights_of(tiny_model(tokenizer, seed=4))

    def fail():
        with swapped(loaded.model, other):
            assert torch.equal(loaded.model.model.norm.weight, other["model.norm.weight"])
            assert torch.equal(loaded.model.lm_head.weight, other["model.embed_tokens.weight"])
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail()
    assert all(torch.equal(value, base_model.state_dict()[name]) for name, value in loaded.model.state_dict().items())
