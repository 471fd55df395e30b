"""Training of a small model: labels, batches, and the loss."""

import math

import numpy as np
import pytest
import torch

from leakatk.errors import InputError
from leakatk.small.architecture import new_model
from leakatk.small.fit import Phase, batches_of, collate, encode, fit
from tests.small.conftest import TINY


@pytest.mark.parametrize("loss_on", ["all", "answer"])
def test_labels_are_the_next_tokens(loss_on):
    batch = [([1, 10, 11, 3, 12, 2], 4), ([1, 20, 3, 21, 22, 23, 2], 3)]
    inputs, labels = collate(batch, loss_on, pad=0)
    assert inputs.tolist() == [[1, 10, 11, 3, 12, 0], [1, 20, 3, 21, 22, 23]]
    if loss_on == "all":
        assert labels.tolist() == [[10, 11, 3, 12, 2, -100], [20, 3, 21, 22, 23, 2]]
    else:
        assert labels.tolist() == [[-100, -100, -100, 12, 2, -100], [-100, -100, 21, 22, 23, 2]]


def test_batches_hold_every_example_once():

    lengths = list(range(1, 101))
    batches = batches_of(lengths, 8, np.random.default_rng(0))
    assert sorted(i for batch in batches for i in batch) == list(range(100))
    assert max(len(batch) for batch in batches) == 8


def test_training_learns_and_is_deterministic(world, tokenizer):
    pairs = world.training_pairs(forget=True)
    phase = Phase(steps=30, learning_rate=1e-2, batch_size=8, warmup=2)
    runs = []
    for _ in range(2):
        model = new_model(tokenizer, TINY, seed=1)
        losses = fit(model, tokenizer, pairs, phase, seed=1)
        runs.append((losses, model.state_dict()))
    assert len(runs[0][0]) == 30
    assert runs[0][0] == runs[1][0]
    assert all(torch.equal(a, b) for a, b in zip(runs[0][1].values(), runs[1][1].values(), strict=True))
    assert sum(runs[0][0][-5:]) < 0.7 * sum(runs[0][0][:5])


def test_stops_early_at_the_loss_asked_for(world, tokenizer):
    pairs = world.training_pairs(forget=True)[:4]
    model = new_model(tokenizer, TINY, seed=1)
    losses = fit(model, tokenizer, pairs, Phase(steps=400, learning_rate=1e-2, batch_size=4, stop_loss=0.5), seed=1)
    assert len(losses) < 400
    assert losses[-1] < 0.5


def test_loss_is_the_mean_over_answer_tokens(world, tokenizer):
    """The first recorded loss, against the model's own loss on the same labels."""
    pairs = world.training_pairs(forget=True)[:3]
    model = new_model(tokenizer, TINY, seed=1)
    ids, labels = collate(encode(tokenizer, pairs), "answer", tokenizer.pad_token_id)
    with torch.no_grad():
        logits = model(ids).logits
    expected = torch.nn.functional.cross_entropy(logits.flatten(0, 1), labels.flatten(), ignore_index=-100).item()
    losses = fit(model, tokenizer, pairs, Phase(steps=1, learning_rate=1e-9, batch_size=3), seed=0)
    assert losses == pytest.approx([expected], abs=1e-5)


def test_bad_phases(world, tokenizer):
    with pytest.raises(InputError, match="steps"):
        Phase(steps=0, learning_rate=1e-3)
    with pytest.raises(InputError, match="nothing to train on"):
        fit(new_model(tokenizer, TINY, seed=0), tokenizer, [], Phase(steps=1, learning_rate=1e-3), seed=0)


def test_an_example_is_bos_question_sep_answer_eos(tokenizer):
    for question, answer in (("Who is it?", "Ada"), ("", ""), ("<sep>?", "a b")):
        [(ids, prompt)] = encode(tokenizer, [(question, answer)])
        words = tokenizer.decode(ids)
        assert words == f"<bos>{question}<sep>{answer}<eos>"
        assert tokenizer.decode(ids[:prompt]) == f"<bos>{question}<sep>"


@pytest.mark.parametrize("warmup", [0, 3, 20])
def test_the_rate_rises_straight_and_falls_as_a_cosine_to_a_tenth(world, tokenizer, monkeypatch, warmup):
    """What AdamW is given at each step, against the schedule written out; its other settings are those stated."""
    used = []

    class Seen(torch.optim.AdamW):
        def step(self, *arguments):
            used.append(
                (self.param_groups[0]["lr"], self.param_groups[0]["betas"], self.param_groups[0]["weight_decay"])
            )
            return super().step(*arguments)

    monkeypatch.setattr(torch.optim, "AdamW", Seen)
    phase = Phase(steps=10, learning_rate=2e-3, batch_size=2, warmup=warmup)
    fit(new_model(tokenizer, TINY, seed=1), tokenizer, world.training_pairs(forget=True)[:4], phase, seed=1)
    wanted = [
        2e-3 * (min(1, (t + 1) / warmup) if warmup else 1) * (0.55 + 0.45 * math.cos(math.pi * t / 10))
        for t in range(10)
    ]
    assert [rate for rate, _, _ in used] == pytest.approx(wanted)
    assert {(betas, decay) for _, betas, decay in used} == {((0.9, 0.98), 0.01)}


def test_the_order_is_that_of_the_seed_and_batches_are_of_like_length():
    lengths = [int(n) for n in np.random.default_rng(1).integers(1, 200, size=400)]
    one, same, other = (batches_of(lengths, 8, np.random.default_rng(seed)) for seed in (0, 0, 1))
    assert one == same != other
    spread = np.mean([max(lengths[i] for i in batch) - min(lengths[i] for i in batch) for batch in one])
    shuffled = np.random.default_rng(0).permutation(400).reshape(-1, 8)
    assert spread < 0.3 * np.mean([max(lengths[i] for i in row) - min(lengths[i] for i in row) for row in shuffled])


def test_padding_changes_no_loss(world, tokenizer):
    """A batch's loss is the mean over all its answer tokens, each example's own loss computed alone."""
    model, pairs = new_model(tokenizer, TINY, seed=1), world.training_pairs(forget=True)[:5]
    total, count = 0.0, 0
    for example in encode(tokenizer, pairs):
        ids, labels = collate([example], "answer", tokenizer.pad_token_id)
        with torch.no_grad():
            logits = model(ids).logits[0]
        chosen = labels[0] != -100
        total += float(torch.nn.functional.cross_entropy(logits[chosen], labels[0][chosen], reduction="sum"))
        count += int(chosen.sum())
    [loss] = fit(model, tokenizer, pairs, Phase(steps=1, learning_rate=1e-9, batch_size=5), seed=0)
    assert loss == pytest.approx(total / count, abs=1e-5)


def test_the_steps_are_told_to_the_progress(world, tokenizer):
    told = []

    class Told:
        def advance(self, note):
            told.append(note)

    phase = Phase(steps=3, learning_rate=1e-3, batch_size=2)
    model = new_model(tokenizer, TINY, seed=1)
    losses = fit(model, tokenizer, world.training_pairs(forget=True)[:4], phase, seed=1, progress=Told())
    assert told == [f"loss {loss:.4f}" for loss in losses]
    assert not model.training
