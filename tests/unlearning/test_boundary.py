"""A run of several stages that is killed, or whose files are damaged, ends where a whole one ends, bit for bit."""

import copy
from dataclasses import replace

import pytest
import torch

from leakatk.unlearning import boundary, checkpoint
from leakatk.unlearning.edits import extrapolate
from leakatk.unlearning.method import Method
from leakatk.unlearning.stages import Edit, Keep, Repeat, Term, Train
from leakatk.unlearning.stored import Store
from leakatk.unlearning.trainer import unlearn
from tests.unlearning.staged import KEEP, SETTINGS, THREE


def since_before(view, p):
    """How much less likely the answers are than they were before this round."""
    return view.mean(view.token_logprob - view.under("before").token_logprob)


# Rounds of ascent, half taken back after each.
ROUNDS = Method(
    name="rounds",
    stages=(
        Repeat(
            (
                Keep("before"),
                Edit(extrapolate(factor=lambda p: 0.9)),  # so that what is kept is not what the model has
                Train((Term(since_before, "forget"), KEEP), {"max_steps": 2}),
                Edit(extrapolate(factor=lambda p: 0.5)),
            ),
            until=lambda work, rounds: rounds == 3,
        ),
    ),
)


def fresh(loaded, base_model):
    return replace(loaded, model=copy.deepcopy(base_model))


def weights(model):
    return {name: value.detach().clone() for name, value in model.named_parameters()}


def same(left, right):
    return left.keys() == right.keys() and all(torch.equal(left[name], right[name]) for name in left)


def run(loaded, forget, retain, method, **options):
    return unlearn(loaded, forget, retain, method, **{"settings": SETTINGS, "quiet": True, **options})


def killing(monkeypatch, number):
    """Every write of a checkpoint, a stage's beginning or kept weights counts; just after the one of that number, all ends."""
    writes = []

    def counted(owner, name):
        write = getattr(owner, name)

        def wrapped(*given, **options):
            made = write(*given, **options)
            writes.append(name)
            if len(writes) == number:
                raise KeyboardInterrupt
            return made

        monkeypatch.setattr(owner, name, wrapped)

    counted(checkpoint, "save")
    counted(boundary, "save")
    counted(Store, "write")
    return writes


@pytest.mark.parametrize(
    ("method", "tuning"), [(THREE, "full"), (THREE, "lora"), (ROUNDS, "full")], ids=["three", "adapter", "rounds"]
)
def test_a_run_killed_at_any_write_ends_bit_for_bit_alike(
    loaded, base_model, forget, retain, tmp_path, monkeypatch, method, tuning
):
    options = {"settings": replace(SETTINGS, checkpoint_every=1, tuning=tuning)}
    with monkeypatch.context() as patch:
        writes = killing(patch, 0)
        done = run(loaded, forget, retain, method, out=tmp_path / "whole", **options)
    assert {"save", "write"} <= set(writes)
    assert len(writes) >= 8
    wanted = weights(loaded.model)
    assert not same(wanted, weights(base_model))
    for number in range(1, len(writes) + 1):
        with monkeypatch.context() as patch:
            killing(patch, number)
            with pytest.raises(KeyboardInterrupt):
                run(fresh(loaded, base_model), forget, retain, method, out=tmp_path / str(number), **options)
        again = fresh(loaded, base_model)
        found = run(again, forget, retain, method, out=tmp_path / str(number), **options)
        assert same(weights(again.model), wanted), (number, writes[number - 1])
        assert str(found.log) == str(done.log)  # a side without a loss is NaN
        assert not [name for name in ("stages", "kept", "checkpoints") if (tmp_path / str(number) / name).exists()]


def test_what_was_done_is_not_done_again(loaded, base_model, forget, retain, tmp_path, monkeypatch):
    """Killed in its last stage, a run goes on there: two steps are left of eight."""
    options = {"settings": replace(SETTINGS, checkpoint_every=1), "out": tmp_path / "out"}
    with monkeypatch.context() as patch:
        writes = killing(patch, 0)
        run(loaded, forget, retain, THREE, **{**options, "out": tmp_path / "whole"})
    with monkeypatch.context() as patch:
        killing(patch, len(writes))  # the last checkpoint: after step 7
        with pytest.raises(KeyboardInterrupt):
            run(fresh(loaded, base_model), forget, retain, THREE, **options)
    from leakatk.unlearning.trainer import Trainer

    steps, step = [], Trainer.step
    monkeypatch.setattr(Trainer, "step", lambda self, number: steps.append(number) or step(self, number))
    done = run(fresh(loaded, base_model), forget, retain, THREE, **options)
    assert steps == [1]
    assert done.steps == 8
    assert [row["step"] for row in done.log] == list(range(1, 9))


def test_a_damaged_stage_is_passed_over_with_a_note(loaded, base_model, forget, retain, tmp_path, monkeypatch):
    options = {"settings": replace(SETTINGS, checkpoint_every=1)}
    run(loaded, forget, retain, THREE, out=tmp_path / "whole", **options)
    with monkeypatch.context() as patch:
        writes = killing(patch, 0)
        run(fresh(loaded, base_model), forget, retain, THREE, out=tmp_path / "count", **options)
    with monkeypatch.context() as patch:
        killing(patch, len(writes))
        with pytest.raises(KeyboardInterrupt):
            run(fresh(loaded, base_model), forget, retain, THREE, out=tmp_path / "cut", **options)
    last = sorted((tmp_path / "cut" / "stages").iterdir())[-1] / "weights.safetensors"
    content = bytearray(last.read_bytes())
    content[len(content) // 2] ^= 4
    last.write_bytes(content)
    again = fresh(loaded, base_model)
    done = run(again, forget, retain, THREE, out=tmp_path / "cut", **options)
    assert same(weights(again.model), weights(loaded.model))
    assert any("is damaged and was passed over" in note for note in done.notes)
