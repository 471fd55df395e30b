"""Passes over distinct rows in groups, against every row run as it was drawn: values and gradients of every method."""

import copy
import math
from dataclasses import replace

import pytest
import torch
from torch import nn

from leakatk.prompts import Known
from leakatk.unlearning import passes
from leakatk.unlearning.batches import Batch, Item, by_length, collate
from leakatk.unlearning.losses.chunked import in_chunks
from leakatk.unlearning.losses.token import label_logprobs
from leakatk.unlearning.methods import METHODS
from leakatk.unlearning.passes import Flat, answer_logits, by_chance, flat_logits, hidden_states, pieces
from leakatk.unlearning.settings import TrainSettings
from leakatk.unlearning.streams import Streams
from leakatk.unlearning.trainer import Trainer
from leakatk.unlearning.work import Work
from tests.families import FAMILIES, model_of, tokenizer_of
from tests.unlearning.conftest import tiny_model
from tests.unlearning.plain import TINY, predicted, teachers_of

CPU = torch.device("cpu")
ITEMS = [Item((5, 6, 7, 9), (8, 9)), Item((5,), (7, 8, 6, 5, 4)), Item((5, 6, 7, 9), (8, 9)), Item((4, 5), (7,))]


def one_by_one(model, item):
    return model(input_ids=torch.tensor([[*item.prompt, *item.answer]])).logits[0]


@pytest.mark.parametrize("name", FAMILIES)
def test_logits_are_those_of_each_row_by_itself_in_every_family(name):
    family = FAMILIES[name]
    model = model_of(family, tokenizer_of(family.style, family)).eval()
    batch = collate(ITEMS, range(4), CPU)
    with torch.no_grad():
        found, whole = answer_logits(model, batch), Flat(batch, whole=True)
        everywhere = whole.padded(flat_logits(model, whole))
        for i, item in enumerate(ITEMS):
            alone, count = one_by_one(model, item), len(item.answer)
            near = {"atol": 2e-4, "rtol": 2e-4}
            torch.testing.assert_close(found[i, :count], alone[len(item.prompt) - 1 : -1], **near)
            torch.testing.assert_close(everywhere[i][batch.attention_mask[i].bool()], alone, **near)
            assert found[i, count:].eq(0).all()


def ran(model, monkeypatch):
    """The shapes of input ids that the model is run on from now on, and of what its output layer gets."""
    shapes, heads = [], []
    forward = type(model).forward

    def caught(self, *given, **named):
        shapes.append(tuple(named["input_ids"].shape))
        return forward(self, *given, **named)

    monkeypatch.setattr(type(model), "forward", caught)
    model.get_output_embeddings().register_forward_hook(lambda m, i, o: heads.append(tuple(i[0].shape[:2])))
    return shapes, heads


def test_a_row_is_run_once_and_the_output_layer_on_answers_alone(tokenizer, monkeypatch):
    model = tiny_model(tokenizer)
    shapes, heads = ran(model, monkeypatch)
    answer_logits(model, collate(ITEMS, range(4), CPU))
    assert shapes == [(3, 5)], "three distinct rows, without the last token, which predicts nothing"
    assert heads == [(1, 2 + 5 + 1)]


def test_long_rows_and_short_ones_are_run_apart(tokenizer, monkeypatch):
    model = tiny_model(tokenizer)
    items = [Item((5,), tuple(range(3, 203))), *(Item((5,), (7, number)) for number in range(10))]
    together = answer_logits(model, collate(items, range(11), CPU))
    shapes, _ = ran(model, monkeypatch)
    apart = answer_logits(model, collate(items, range(11), CPU))
    assert shapes == [(1, 200), (10, 2)]
    torch.testing.assert_close(together, apart)
    torch.testing.assert_close(apart[0], one_by_one(model, items[0])[:-1], atol=1e-4, rtol=1e-4)


class Blocked(nn.Module):
    """A model whose own code wants the logits of every token."""

    def __init__(self, model, find):
        super().__init__()
        self.inner, self.config, self.find = model, model.config, find

    def get_output_embeddings(self):
        return self.inner.get_output_embeddings() if self.find else None

    def forward(self, **named):
        output = self.inner(**named)
        return replace_logits(output, output.logits.reshape(*named["input_ids"].shape, -1))


def replace_logits(output, logits):
    output.logits = logits
    return output


@pytest.mark.parametrize("find", [True, False])
def test_a_head_that_cannot_be_run_at_chosen_tokens_is_run_at_all(tokenizer, find):
    model = tiny_model(tokenizer)
    batch = collate(ITEMS, range(4), CPU)
    for _ in range(2):
        torch.testing.assert_close(answer_logits(Blocked(model, find), batch), answer_logits(model, batch))
    twice = Blocked(model, find)
    torch.testing.assert_close(answer_logits(twice, batch), answer_logits(twice, batch))


def test_dropout_keeps_every_copy_of_a_row(tokenizer, monkeypatch):
    quiet, noisy = tiny_model(tokenizer), tiny_model(tokenizer, attention_dropout=0.5)
    assert not by_chance(quiet.train())
    assert not by_chance(noisy.eval())
    assert by_chance(noisy.train())
    shapes, _ = ran(noisy, monkeypatch)
    found = answer_logits(noisy, collate(ITEMS, range(4), CPU))
    assert shapes == [(4, 5)]
    assert not torch.equal(found[0], found[2]), "each copy its own chance"
    noisy.eval()
    assert answer_logits(noisy, collate(ITEMS, range(4), CPU)).shape[0] == 4
    assert shapes[-1] == (3, 5)


def test_hidden_states_of_a_row_drawn_twice_are_made_once(tokenizer, monkeypatch):
    model = tiny_model(tokenizer)
    shapes, _ = ran(model, monkeypatch)
    states = hidden_states(model, collate(ITEMS, range(4), CPU), 1)
    assert shapes == [(3, 9)]
    assert states.shape[:2] == (4, 9)
    assert torch.equal(states[0], states[2])


def test_groups_cost_as_little_as_they_can():
    assert by_length([5, 5, 5], 10) == [[0, 1, 2]]
    assert by_length([100, 3, 90, 2], 10) == [[0, 2], [1, 3]]
    assert by_length([100, 3], 98) == [[0, 1]]
    assert by_length([100, 3], 96) == [[0], [1]]
    assert by_length([40, 40, 40], 0, most=80) in ([[0, 1], [2]], [[0], [1, 2]], [[0], [1], [2]])
    assert by_length([900], 0, most=80) == [[0]]
    assert by_length([], 10) == []


def test_parts_hold_equal_rows_together_and_every_row_once():
    long, short = Item((1,), tuple(range(400))), Item((1,), (2,))
    keys = [[long], [short], [long], [Item((2,), tuple(range(399)))], [short]]
    found = pieces(torch.nn.Module(), keys, CPU)
    assert sorted(row for part in found for row in part) == [0, 1, 2, 3, 4]
    assert [0, 2] in found
    assert len(found) == 3


# -- every method: the gradient of a batch in which rows stand several times


def as_drawn(monkeypatch):
    """Every row run as it was drawn, in one pass, both sides' losses added before one backward pass: as it was before."""
    monkeypatch.setattr(passes, "by_length", lambda lengths, *given: [list(range(len(lengths)))])
    make = Flat.__init__
    monkeypatch.setattr(
        Flat, "__init__", lambda self, batch, *, whole=False, repeat=False: make(self, batch, whole=whole, repeat=True)
    )
    monkeypatch.setattr(Trainer, "_parts", lambda self, rows, side, stage: [(1.0, rows)])


TRAINED = [name for name in METHODS if METHODS[name].trains]
ALTERNATES = "Nobody knows where that is."


def gradient(loaded, forget, retain, name, settings, weights=None):
    """What a step hands to the optimiser, by parameter, and what it logs; and the shapes that the model was run on."""
    method = METHODS[name].for_small_models()
    method = method.with_params(**{key: value for key, value in TINY.items() if key in method.params})
    model = copy.deepcopy(loaded.model)
    streams = Streams(
        forget, retain, loaded.tokenizer, loaded.template, seed=0, alternates={prompt.id: ALTERNATES for prompt in forget},
        known=Known(margins=predicted(forget, retain)),
    )  # fmt: skip
    stage = replace(method.trains[0], select=None, insert=None, filter=None, optimiser=None)
    trainer = Trainer(replace(loaded, model=model), streams, stage, method.params, settings, 0, weights=weights)
    kept = {name: tiny_model(loaded.tokenizer, seed=7 + i) for i, name in enumerate(teachers_of(method))}
    start = dict(kept["reference"].named_parameters())
    work = Work(trainer.loaded, forget, retain, streams, settings, method.params, 0, start=start)
    trainer.params = work.gathered(stage.gather).params
    trainer.prepare({name: dict(teacher.named_parameters()) for name, teacher in kept.items()})
    seen = {}
    inner = trainer.optimizer.step

    def step():
        seen.update({n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None})
        inner()

    trainer.optimizer.step = step
    rows = []
    model.model.register_forward_pre_hook(
        lambda m, args, named: rows.append(named["input_ids"].shape[0]), with_kwargs=True
    )
    return trainer.step(0), seen, rows


SETTINGS = TrainSettings(
    learning_rate=1e-3, max_steps=1, forget_batch=8, retain_batch=12, max_grad_norm=0, dtype="fp32", weight_decay=0.0
)


@pytest.mark.parametrize("parts", [1, 2])
@pytest.mark.parametrize("name", TRAINED)
def test_no_row_is_run_twice_and_the_gradient_is_the_same(loaded, forget, retain, name, parts, monkeypatch):
    mine, others = forget[:2], retain[:3]
    settings = replace(SETTINGS, gradient_accumulation=parts)
    log, found, rows = gradient(loaded, mine, others, name, settings)
    with monkeypatch.context() as before:
        as_drawn(before)
        logged, expected, all_rows = gradient(loaded, mine, others, name, settings)
    for key in ("forget", "retain", "grad_norm"):
        assert log[key] == pytest.approx(logged[key], rel=2e-5, nan_ok=True)
    assert set(found) == set(expected)
    scale = math.sqrt(sum(float(value.square().sum()) for value in expected.values()))
    for parameter, value in expected.items():
        assert float((found[parameter] - value).norm()) <= 2e-5 * scale, parameter
    assert sum(rows) < sum(all_rows)
    assert max(rows) <= 3


@pytest.mark.parametrize("name", ["npo", "idk-ap", "me"])
def test_rows_drawn_by_weight_count_as_often_as_they_are_drawn(loaded, forget, retain, name, monkeypatch):
    settings, weights = replace(SETTINGS, forget_batch=12), [8.0, 1.0, 1.0, 0.0, 0.0]
    log, found, _ = gradient(loaded, forget, retain, name, settings, weights)
    with monkeypatch.context() as before:
        as_drawn(before)
        logged, expected, _ = gradient(loaded, forget, retain, name, settings, weights)
    assert log["grad_norm"] == pytest.approx(logged["grad_norm"], rel=2e-5)
    scale = math.sqrt(sum(float(value.square().sum()) for value in expected.values()))
    for parameter, value in expected.items():
        assert float((found[parameter] - value).norm()) <= 2e-5 * scale, parameter


@pytest.mark.parametrize("name", ["npo", "kl", "undial", "rmu"])
def test_parts_of_a_batch_add_up_to_it(loaded, forget, retain, name, monkeypatch):
    log, found, whole = gradient(loaded, forget, retain, name, SETTINGS)
    monkeypatch.setitem(passes.MOST, "cpu", 60)
    logged, expected, rows = gradient(loaded, forget, retain, name, SETTINGS)
    assert len(rows) > len(whole)
    for key in ("forget", "retain"):
        assert log[key] == pytest.approx(logged[key], rel=2e-5, nan_ok=True)
    scale = math.sqrt(sum(float(value.square().sum()) for value in expected.values()))
    for parameter, value in expected.items():
        assert float((found[parameter] - value).norm()) <= 2e-5 * scale, parameter


@pytest.mark.parametrize(("per", "parts"), [("answer", 5), ("token", 1)])
def test_a_mean_over_all_tokens_is_not_taken_in_parts(loaded, forget, retain, per, parts, monkeypatch):
    monkeypatch.setitem(passes.MOST, "cpu", 1)
    method = METHODS["graddiff"].with_params(per=per)
    model = copy.deepcopy(loaded.model)
    streams = Streams(forget, retain, loaded.tokenizer, loaded.template, seed=0)
    trainer = Trainer(replace(loaded, model=model), streams, method.trains[0], method.params, SETTINGS, 0)
    trainer.prepare()
    passed = []
    model.register_forward_pre_hook(lambda m, given, named: passed.append(1), with_kwargs=True)
    monkeypatch.setitem(passes.OVERHEAD, "cpu", 10_000)
    trainer.step(0)
    assert len(passed) == parts + (9 if per == "answer" else 1)


# -- functions of distributions, a few tokens at a time


def test_chunks_give_the_values_and_the_gradient_of_all_at_once(monkeypatch):
    monkeypatch.setattr("leakatk.unlearning.losses.chunked.CHUNK", 40)
    torch.manual_seed(0)
    logits = torch.randn(11, 16, requires_grad=True)
    labels = torch.randint(0, 16, (11,))
    labels[4] = -100
    weights = torch.randn(11)
    sizes = []

    def function(some, names):
        sizes.append(len(some))
        return label_logprobs(some, names)

    values = in_chunks(function, logits, labels)
    [found] = torch.autograd.grad((values * weights).sum(), logits)
    [expected] = torch.autograd.grad((label_logprobs(logits, labels) * weights).sum(), logits)
    torch.testing.assert_close(values, label_logprobs(logits, labels))
    torch.testing.assert_close(found, expected)
    assert max(sizes) == 2
    assert in_chunks(function, logits[:0], labels[:0]).shape == (0,)


def test_a_batch_knows_its_items():
    assert isinstance(collate(ITEMS, range(4), CPU), Batch)
    assert collate(ITEMS, range(4), CPU).items == tuple(ITEMS)
