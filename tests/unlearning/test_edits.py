"""Weight arithmetic and the dual weight, against values computed by hand."""

import copy
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch

from leakatk.errors import InputError
from leakatk.unlearning.edits import Tried, ascend_and_reset, bisect, extrapolate, reinitialise, shrink_and_perturb
from leakatk.unlearning.losses import terms
from leakatk.unlearning.methods import METHODS
from leakatk.unlearning.settings import TrainSettings
from leakatk.unlearning.streams import Streams
from leakatk.unlearning.trainer import unlearn
from leakatk.unlearning.work import Work

SETTINGS = TrainSettings(learning_rate=1e-3, max_steps=3, forget_batch=5, retain_batch=9)


def test_extrapolate_goes_back_the_way_training_went():
    edit = extrapolate(factor=lambda p: -p["alpha"])
    start = SimpleNamespace(start={"weight": torch.tensor([[1.0, 1.0]])})
    assert edit(start, {"weight": torch.tensor([[3.0, -1.0]])}, {"alpha": 0.5})["weight"].tolist() == [[0.0, 2.0]]


@pytest.mark.parametrize("tuning", ["full", "lora"])
def test_task_vector_mirrors_training_on_the_forget_set(loaded, base_model, forget, tuning):
    settings = replace(SETTINGS, tuning=tuning)
    start = dict(base_model.named_parameters())
    method = METHODS["task-vector"]
    other = replace(loaded, model=copy.deepcopy(base_model))
    unlearn(other, forget, [], replace(method, stages=method.trains), settings=settings, quiet=True)
    unlearn(loaded, forget, [], method, settings=settings, quiet=True)
    trained = dict(other.model.named_parameters())
    moved = 0.0
    for name, value in loaded.model.named_parameters():
        torch.testing.assert_close(value - start[name], start[name] - trained[name], atol=1e-6, rtol=0)
        moved += (value - start[name]).abs().sum().item()
    assert moved > 0.01


def test_pdu_raises_its_dual_weight_by_the_violation_after_the_warm_up(loaded, forget, retain, monkeypatch):
    plain: list[float] = []

    def recorded(view, p):
        value = nll(view, p)
        plain.append(value.item())
        return value

    nll = terms.nll
    monkeypatch.setattr(terms, "nll", recorded)
    method = METHODS["pdu"].with_params(lambda_0=1.0, epsilon=0.5, eta=2.0, warmup_steps=1)
    done = unlearn(loaded, forget, retain, method, settings=SETTINGS, quiet=True)
    losses = plain[-3:]  # one retain loss a step, after the pass that finds out what to cache
    weights = [1.0, 1.0, 1.0 + 2.0 * (losses[1] - 0.5)]
    assert losses[1] > 0.5
    assert [row["retain"] for row in done.log] == pytest.approx([w * x for w, x in zip(weights, losses, strict=True)])


def tried(step, forget, retain):
    return Tried(step, forget, retain, forget <= 0.1, retain >= 0.9)


def test_bisection_finds_the_smallest_step_that_forgets():
    """Forgetting is reached from 2 on, keeping is lost from 3 on."""
    seen = []

    def measure(step):
        seen.append(step)
        return tried(step, 0.05 if step >= 2 else 0.5, 0.95 if step < 3 else 0.5)

    found = bisect(measure, 1.0, highest=10.0, tries=12)
    assert seen[:5] == [0.0, 1.0, 5.5, 3.25, 2.125]
    assert len(seen) == 13
    assert found.reached
    assert 2 <= found.step < 2.01
    assert (
        bisect(measure, 1.0, highest=10.0, tries=1).step == 0.0
    )  # 0 and 1 keep the rest, neither forgets: the smaller


def test_bisection_without_a_good_step_keeps_what_is_to_be_kept():
    """Forget falls to .5 at 1, from where on the rest is lost."""
    found = bisect(lambda s: tried(s, 1 - s / 2, 1.0 if s <= 1 else 0.0), 4.0, highest=40.0, tries=30)
    assert not found.reached
    assert found.kept
    assert found.step == pytest.approx(1.0, abs=1e-3)
    assert bisect(lambda s: tried(s, 0.9, 1.0 if s == 0 else 0.0), 1.0, highest=10.0, tries=5).step == 0.0


# -- weights that know less


@pytest.fixture
def work(loaded, tokenizer, forget, retain):
    streams = Streams(forget, retain, tokenizer, loaded.template, seed=0)
    return Work(loaded, forget, retain, streams, SETTINGS, {"per": "answer"}, 5)


def weights_of(work):
    return {name: value.detach().clone() for name, value in work.loaded.model.named_parameters()}


def test_a_fresh_network_knows_nothing_and_is_a_function_of_the_seed(work):
    now, chance = weights_of(work), torch.get_rng_state()
    fresh = reinitialise(work, now, {})
    assert torch.equal(torch.get_rng_state(), chance)
    assert all(torch.equal(now[name], value) for name, value in weights_of(work).items())
    assert all(
        torch.equal(value, again)
        for value, again in zip(fresh.values(), reinitialise(work, now, {}).values(), strict=True)
    )
    work.seed = 6
    other = reinitialise(work, now, {})
    matrices = [name for name, value in now.items() if value.dim() == 2]
    for name in matrices:
        assert fresh[name].std() == pytest.approx(work.loaded.model.config.initializer_range, rel=0.2)
        assert not torch.equal(fresh[name], other[name])
        assert abs(float(torch.corrcoef(torch.stack([fresh[name].flatten(), now[name].flatten()]))[0, 1])) < 0.2


def test_undo_shrinks_every_weight_and_perturbs_matrices(work):
    now = weights_of(work)
    found = shrink_and_perturb(work, now, {"damage": 0.25, "noise_scale": 0.1})
    generator = torch.Generator().manual_seed(5)
    for name, value in now.items():
        expected = 0.75 * value
        if value.dim() == 2:
            bound = (6 / sum(value.shape)) ** 0.5  # Xavier's
            noise = (2 * torch.rand(value.shape, generator=generator) - 1) * bound
            assert float((found[name] - expected).abs().max()) <= 0.025 * bound + 1e-7
            expected = expected + 0.025 * noise
        torch.testing.assert_close(found[name], expected, rtol=1e-4, atol=1e-6)
    same = shrink_and_perturb(work, now, {"damage": 0.0, "noise_scale": 0.1})
    assert all(torch.equal(same[name], value) for name, value in now.items())


def summed_gradient(work, stream):
    """Of the nll, over the set, one answer at a time."""
    model = copy.deepcopy(work.loaded.model)
    model.requires_grad_(True)
    for item in work.streams.items(stream):
        logits = model(input_ids=torch.tensor([[*item.prompt, *item.answer]])).logits[0, len(item.prompt) - 1 : -1]
        torch.nn.functional.cross_entropy(logits, torch.tensor(item.answer)).backward()
    return {name: value.grad for name, value in model.named_parameters()}


@pytest.mark.parametrize("pick", ["lowest", "highest"])
def test_reload_ascends_and_begins_anew_where_the_ratio_says(work, pick):
    now, params = weights_of(work), {"ascent": 1e-2, "reset": 0.2, "pick": pick, "eps": 1e-8}
    found, fresh = ascend_and_reset(work, now, params), reinitialise(work, now, params)
    gone, kept = summed_gradient(work, "forget"), summed_gradient(work, "retain")
    for name, value in now.items():
        ratio = (gone[name].abs() + 1e-8) / ((gone[name] + kept[name]).abs() + 1e-8)
        moved = value + 1e-2 * gone[name]
        anew = torch.isclose(found[name], fresh[name], rtol=0, atol=0) & ~torch.isclose(moved, fresh[name], atol=1e-6)
        torch.testing.assert_close(found[name][~anew], moved[~anew], rtol=1e-4, atol=1e-5)
        if value.dim() == 2 and "embed" not in name:  # most of an embedding has no gradient at all, and ties
            assert int(anew.sum()) == pytest.approx(0.2 * value.numel(), rel=0.02)
            inside, outside = ratio[anew].mean(), ratio[~anew].mean()
            assert inside < outside if pick == "lowest" else inside > outside


@pytest.mark.parametrize(
    ("edit", "params", "said"),
    [
        (shrink_and_perturb, {"damage": 1.5, "noise_scale": 0.1}, "damage must be between 0 and 1"),
        (
            ascend_and_reset,
            {"ascent": 0.0, "reset": 2.0, "pick": "lowest", "eps": 0.0},
            "reset must be between 0 and 1",
        ),
        (
            ascend_and_reset,
            {"ascent": 0.0, "reset": 0.1, "pick": "middle", "eps": 0.0},
            "pick must be lowest or highest",
        ),
    ],
)
def test_numbers_that_make_no_sense(work, edit, params, said):
    with pytest.raises(InputError, match=said):
        edit(work, weights_of(work), params)
