"""What all items begin with, run once: the same values and gradients as every row run whole, in every family."""

import pytest
import torch

from leakatk.unlearning import passes
from leakatk.unlearning.batches import Item, collate
from leakatk.unlearning.beginnings import may_share, run_beginning, shared_length
from leakatk.unlearning.passes import Flat, flat_logits, hidden_states, pieces
from tests.families import FAMILIES, model_of, tokenizer_of
from tests.unlearning.conftest import tiny_model

CPU = torch.device("cpu")
START = (5, 6, 7, 9, 4)
ITEMS = [
    Item((*START, 8, 3), (8, 9)),
    Item((*START, 3), (7, 8, 6, 5, 4)),
    Item((*START, 8, 3), (8, 9)),
    Item((*START, 9, 9, 9), (7,)),
]


def widths(model, monkeypatch):
    """Rows and tokens of each pass from now on."""
    shapes, forward = [], type(model).forward

    def caught(self, *given, **named):
        shapes.append(tuple(named["input_ids"].shape))
        return forward(self, *given, **named)

    monkeypatch.setattr(type(model), "forward", caught)
    return shapes


def loss_and_gradient(model, items):
    """The sum of squares of all wanted logits, and its gradient."""
    model.zero_grad()
    logits = flat_logits(model, Flat(collate(items, range(len(items)), CPU)))
    logits.square().sum().backward()
    return logits.detach(), {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("name", FAMILIES)
def test_values_and_gradients_are_those_of_whole_rows_in_every_family(name, monkeypatch):
    family = FAMILIES[name]
    model = model_of(family, tokenizer_of(family.style, family)).eval().double()
    whole, expected = loss_and_gradient(model, ITEMS)
    shapes = widths(model, monkeypatch)
    monkeypatch.setitem(passes.OVERHEAD, "cpu", 9)
    found, gradient = loss_and_gradient(model, ITEMS)
    shares = shapes[0] == (1, len(START))
    assert shares or shapes == [(3, 9)], "a family that keeps a window is run whole"
    torch.testing.assert_close(found, whole, rtol=1e-6, atol=1e-6)
    assert set(gradient) == set(expected)
    scale = torch.stack(
        [value.norm() for value in expected.values()]
    ).norm()  # norms are float32 within a family's layers
    for parameter, value in expected.items():
        assert (gradient[parameter] - value).norm() <= 1e-6 * scale, parameter


def test_most_families_share():
    shared = []
    for name, family in FAMILIES.items():
        model = model_of(family, tokenizer_of(family.style, family))
        shared += [name] * bool(run_beginning(model, START))
    assert len(shared) > len(FAMILIES) / 2, shared


def test_a_beginning_is_run_once_and_each_row_without_it(tokenizer, monkeypatch):
    model = tiny_model(tokenizer)
    shapes = widths(model, monkeypatch)
    monkeypatch.setitem(passes.OVERHEAD, "cpu", 9)
    flat_logits(model, Flat(collate(ITEMS, range(4), CPU)))
    assert shapes == [(1, 5), (3, 5)], "three distinct rows; their last tokens predict nothing"


@pytest.mark.parametrize(("overhead", "length"), [(0, 5), (9, 5), (10, 0)])
def test_it_must_save_more_than_a_pass_costs(overhead, length):
    assert shared_length(list(dict.fromkeys(ITEMS)), overhead) == length


def test_the_token_before_an_answer_is_run_with_each_row():
    same = [Item((1, 2, 3), (4,)), Item((1, 2, 3), (5, 6))]
    assert shared_length(same, 0) == 2
    assert shared_length([Item((1,), (4,)), Item((1, 2), (5,))], 0) == 0
    assert shared_length(same[:1], 0) == 0
    assert shared_length([], 0) == 0


def test_nothing_is_shared_where_every_token_is_wanted(tokenizer, monkeypatch):
    model = tiny_model(tokenizer)
    monkeypatch.setitem(passes.OVERHEAD, "cpu", 9)
    shapes = widths(model, monkeypatch)
    flat_logits(model, Flat(collate(ITEMS, range(4), CPU), whole=True))
    hidden_states(model, collate(ITEMS, range(4), CPU), 1)
    assert all(rows == 3 for rows, _ in shapes)


def checkpointed(model):
    model.train()
    model.gradient_checkpointing_enable()


@pytest.mark.parametrize(
    "change",
    [
        checkpointed,
        lambda model: model.model.layers[0].register_forward_hook(lambda *_: None),
        lambda model: model.model.embed_tokens.register_forward_pre_hook(lambda *_: None),
        lambda model: delattr(model, "config"),
    ],
    ids=["activations made anew", "hook", "pre-hook", "no config"],
)
def test_models_that_something_looks_into_are_run_whole(tokenizer, change):
    model = tiny_model(tokenizer)
    assert may_share(model)
    change(model)
    assert not may_share(model)


def test_dropout_is_drawn_for_every_row(tokenizer, monkeypatch):
    noisy = tiny_model(tokenizer, attention_dropout=0.5).train()
    monkeypatch.setitem(passes.OVERHEAD, "cpu", 9)
    shapes = widths(noisy, monkeypatch)
    flat_logits(noisy, Flat(collate(ITEMS, range(4), CPU), repeat=True))
    assert all(rows == 4 for rows, _ in shapes)


def test_parts_are_as_large_as_what_each_row_adds(tokenizer):
    model = tiny_model(tokenizer)
    start = tuple(range(3, 63))
    keys = [[Item((*start, n % 90), (7, n))] for n in range(12)]
    assert len(pieces(model, keys, CPU)) == 1, "12 rows of 3 tokens"
    model.model.register_forward_hook(lambda *_: None)
    assert len(pieces(model, keys, CPU)) > 1, "12 rows of 63 tokens"
