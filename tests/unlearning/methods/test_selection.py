"""SSU and SURE: what reaches the optimiser, what moves, and runs that are cut off."""

import copy
from dataclasses import replace

import numpy as np
import pytest
import torch

from leakatk.errors import InputError
from leakatk.sampling.decoding import Decoding
from leakatk.sampling.teacher_forcing import answer_logprob
from leakatk.unlearning import trainer as training
from leakatk.unlearning.losses import terms
from leakatk.unlearning.method import Method
from leakatk.unlearning.methods import METHODS
from leakatk.unlearning.optimisers import sgd
from leakatk.unlearning.requests import in_turn
from leakatk.unlearning.selection import flexible_region
from leakatk.unlearning.settings import TrainSettings
from leakatk.unlearning.stages import Term, Train
from leakatk.unlearning.streams import DRAWS, Streams
from leakatk.unlearning.trainer import unlearn
from leakatk.unlearning.work import Work

SHORT = TrainSettings(learning_rate=1e-3, max_steps=4, forget_batch=5, retain_batch=9, weight_decay=0.1)
DECODING = Decoding(max_new_tokens=40)
SSU, SURE = METHODS["ssu"], METHODS["sure"]


def weights(loaded):
    return {name: value.detach().clone() for name, value in loaded.model.named_parameters()}


def fresh(loaded, base_model):
    return replace(loaded, model=copy.deepcopy(base_model))


def same(left, right):
    return all(torch.equal(value, right[name]) for name, value in left.items())


def nll_of(model, items):
    losses = []
    for item in items:
        logits = model(input_ids=torch.tensor([[*item.prompt, *item.answer]])).logits[0, len(item.prompt) - 1 : -1]
        losses.append(torch.nn.functional.cross_entropy(logits, torch.tensor(item.answer)))
    return torch.stack(losses).mean()


@pytest.fixture
def streams(loaded, tokenizer, forget, retain):
    return Streams(forget, retain, tokenizer, loaded.template, seed=0)


# -- SSU


def test_the_random_answers_are_those_of_the_others(streams, forget):
    drawn = [streams.items(f"random_{i + 1}") for i in range(DRAWS)]
    true = streams.items("forget")
    for row, item in enumerate(true):
        found = [items[row].answer for items in drawn]
        assert all(items[row].prompt == item.prompt for items in drawn)
        others = {other.answer for other in true} - {item.answer}
        assert set(found[: len(others)]) == others  # four others: each once before one comes again
        assert set(found) == others


def ssu_step(model, streams, deviations, epsilon, answers):
    """One step of plain descent with rate 1 on the masked gradient, and back: theta_0 + masked gradient."""
    loss = nll_of(model, streams.items("forget"))
    others = sum(nll_of(model, streams.items(f"random_{i + 1}")) for i in range(answers)) / answers
    (loss + epsilon * others).backward()
    grads = {name: value.grad.double().numpy() for name, value in model.named_parameters()}
    sizes = np.concatenate([np.abs(g).ravel() for g in grads.values()])
    least = sizes.mean() + deviations * np.sqrt(((sizes - sizes.mean()) ** 2).mean())
    masked = {name: np.where(np.abs(g) >= least, g, 0) for name, g in grads.items()}
    clear = {name: np.abs(np.abs(g) - least) > 1e-4 * least for name, g in grads.items()}  # not decided by rounding
    return masked, clear


@pytest.mark.parametrize(("deviations", "epsilon", "answers"), [(0.0, 1.0, 5), (1.0, 0.5, 2)])
def test_ssu_is_descent_on_large_entries_and_the_same_way_back(
    loaded, base_model, streams, forget, deviations, epsilon, answers
):
    masked, clear = ssu_step(copy.deepcopy(base_model), streams, deviations, epsilon, answers)
    start = weights(loaded)
    plain = replace(
        SSU.with_params(deviations=deviations, epsilon=epsilon, answers=answers),
        stages=(replace(SSU.stages[0], optimiser=sgd()), SSU.stages[1]),
    )
    settings = replace(SHORT, learning_rate=1.0, max_steps=1, weight_decay=0.0, max_grad_norm=0.0)
    done = unlearn(loaded, forget, [], plain, settings=settings, quiet=True)
    moved = 0
    for name, value in weights(loaded).items():
        change = (value - start[name]).double().numpy()
        assert change[clear[name]] == pytest.approx(masked[name][clear[name]], abs=2e-5, rel=2e-3)
        still = clear[name] & (masked[name] == 0)
        assert not change[still].any()
        moved += int((change != 0).sum())
    share = moved / sum(value.numel() for value in start.values())
    assert 0.01 < share < 0.5
    assert done.steps == 1


def test_ssu_takes_the_published_adapter(loaded, base_model, forget):
    settings = replace(SSU.settings, max_steps=2)
    unlearn(loaded, forget, [], SSU, settings=settings, quiet=True)
    start = dict(base_model.named_parameters())
    changed = {name for name, value in weights(loaded).items() if not torch.equal(value, start[name])}
    assert changed
    assert all("q_proj" in name or "v_proj" in name for name in changed)


def test_ssu_makes_what_was_known_less_likely(loaded, forget, retain):
    learn = replace(SHORT, learning_rate=3e-3, max_steps=150)
    unlearn(loaded, forget, [*forget, *retain], "retrain", settings=learn, quiet=True)
    before = answer_logprob(loaded, forget, DECODING).mean(), answer_logprob(loaded, retain, DECODING).mean()
    unlearn(loaded, forget, [], SSU.for_small_models(), settings=replace(SHORT, max_steps=15), quiet=True)
    after = answer_logprob(loaded, forget, DECODING).mean(), answer_logprob(loaded, retain, DECODING).mean()
    assert after[0] < before[0] - 5
    assert after[0] < after[1]


@pytest.mark.parametrize("answers", [0, DRAWS + 1, 1.5])
def test_ssu_names_a_number_of_answers_that_does_not_exist(loaded, forget, answers):
    with pytest.raises(InputError, match="answers must be a whole number between 1 and 5"):
        unlearn(loaded, forget, [], SSU.with_params(answers=answers), settings=SHORT, quiet=True)


@pytest.mark.parametrize("tuning", ["full", "lora"])
def test_ssu_that_is_killed_on_its_way_back_ends_as_a_whole_one(
    loaded, base_model, forget, tmp_path, monkeypatch, tuning
):
    settings = replace(SHORT, tuning=tuning, lora_targets=("q_proj", "v_proj"), checkpoint_every=1)
    options = {"settings": settings, "quiet": True}
    unlearn(loaded, forget, [], SSU, out=tmp_path / "whole", **options)
    put, cut = training.put, fresh(loaded, base_model)

    def dying(model, new, **_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(training, "put", dying)
        with pytest.raises(KeyboardInterrupt):
            unlearn(cut, forget, [], SSU, out=tmp_path / "cut", **options)
    assert training.put is put
    again = fresh(loaded, base_model)
    unlearn(again, forget, [], SSU, out=tmp_path / "cut", **options)
    assert same(weights(again), weights(loaded))


def test_requests_in_turn_go_on_from_each_other_and_resume(loaded, base_model, forget, retain, tmp_path, monkeypatch):
    requests = [forget[:2], forget[2:4]]
    settings = replace(SHORT, forget_batch=2)
    options = {"settings": settings, "quiet": True}
    for request in requests:
        unlearn(loaded, request, retain, SSU, **options)
    plain = fresh(loaded, base_model)
    done = in_turn(plain, requests, retain, SSU, out=tmp_path / "whole", **options)
    assert [one.steps for one in done] == [4, 4]
    assert same(weights(plain), weights(loaded))
    step, steps = training.Trainer.step, []

    def dying(self, number):
        steps.append(number)
        if len(steps) == 6:
            raise KeyboardInterrupt
        return step(self, number)

    cut = fresh(loaded, base_model)
    with monkeypatch.context() as patch:
        patch.setattr(training.Trainer, "step", dying)
        with pytest.raises(KeyboardInterrupt):
            in_turn(cut, requests, retain, SSU, out=tmp_path / "cut", **options)
    again = fresh(loaded, base_model)
    in_turn(again, requests, retain, SSU, out=tmp_path / "cut", **options)
    assert same(weights(again), weights(loaded))
    with pytest.raises(InputError, match="There is no request"):
        in_turn(again, [], retain, SSU)


# -- SURE


def sure_rows(base_model, streams, percentile):
    """By hand at the start, where NPO's gradient is that of the mean over answers of log p: name -> rows that may move."""
    model = copy.deepcopy(base_model)
    items = streams.items("forget")
    torch.stack([-len(item.answer) * nll_of(model, [item]) for item in items]).mean().backward()
    norms = {
        name: np.array([np.linalg.norm(np.atleast_1d(row)) for row in value.grad.double().numpy()])
        for name, value in model.named_parameters()
    }
    every = np.concatenate(list(norms.values()))
    least = np.percentile(every, percentile)
    assert (np.abs(every / least - 1) > 1e-4).all()  # none is decided by rounding
    return {name: norm >= least for name, norm in norms.items()}


@pytest.mark.parametrize("percentile", [90.0, 99.0])
def test_sure_moves_the_rows_of_the_largest_gradients_and_nothing_else(
    loaded, base_model, streams, forget, retain, percentile
):
    expected = sure_rows(base_model, streams, percentile)
    start = weights(loaded)
    unlearn(loaded, forget, retain, SURE.with_params(percentile=percentile), settings=SHORT, quiet=True)
    for name, value in weights(loaded).items():
        changed = (value != start[name]).reshape(len(value), -1).any(dim=1).numpy()
        assert (changed == expected[name]).all(), name


@pytest.mark.parametrize("base", ["npo", "ga"])
@pytest.mark.parametrize("keep", ["nll", "kl"])
def test_sure_with_every_row_is_its_base(loaded, base_model, forget, retain, base, keep):
    """Percentile 0 masks nothing: the losses and weights are those of the plain terms."""
    parts = {"npo": terms.npo, "ga": terms.ascent, "nll": terms.nll, "kl": terms.kl_from_reference}
    options = {"settings": replace(SHORT, weight_decay=0.0), "quiet": True}
    plain = Method(
        name="plain", stages=(Train((Term(parts[base], "forget"), Term(parts[keep], "retain"))),),
        params={"beta": 0.1, "retain_weight": 2.0},
    )  # fmt: skip
    other = fresh(loaded, base_model)
    expected = unlearn(other, forget, retain, plain, **options)
    done = unlearn(loaded, forget, retain, SURE.with_params(percentile=0.0, base=base, keep=keep), **options)
    assert done.log == expected.log
    assert same(weights(loaded), weights(other))


@pytest.mark.parametrize(
    ("changes", "message"), [({"base": "rmu"}, "base must be npo or ga"), ({"keep": "l2"}, "keep must be nll or kl")]
)
def test_sure_names_a_loss_that_does_not_exist(loaded, forget, retain, changes, message):
    with pytest.raises(InputError, match=message):
        unlearn(loaded, forget, retain, SURE.with_params(**changes), settings=SHORT, quiet=True)


def test_sure_needs_whole_weights(loaded, forget, retain):
    with pytest.raises(InputError, match="take full tuning, not lora"):
        unlearn(loaded, forget, retain, SURE, settings=replace(SHORT, tuning="lora"), quiet=True)


def test_sure_forgets(loaded, forget, retain):
    learn = replace(SHORT, learning_rate=3e-3, max_steps=150)
    unlearn(loaded, forget, [*forget, *retain], "retrain", settings=learn, quiet=True)
    before = answer_logprob(loaded, forget, DECODING).mean(), answer_logprob(loaded, retain, DECODING).mean()
    method = SURE.for_small_models()
    unlearn(loaded, forget, retain, method, settings=replace(SHORT, learning_rate=3e-3, max_steps=60), quiet=True)
    after = answer_logprob(loaded, forget, DECODING).mean(), answer_logprob(loaded, retain, DECODING).mean()
    assert after[0] < before[0] - 5
    assert after[1] > before[1] - 5


# -- the hook


def test_a_filter_gets_the_whole_gradient_by_name_before_clipping(loaded, base_model, streams, forget, retain):
    got = []

    def halved(gradient, params):
        got.append({name: value.clone() for name, value in gradient.items()})
        return {name: value / 2 for name, value in gradient.items()}

    stage = Train((Term(terms.nll, "forget"),), filter=halved, optimiser=sgd())
    settings = replace(
        SHORT,
        learning_rate=1.0,
        max_steps=1,
        weight_decay=0.0,
        max_grad_norm=0.0,
        retain_batch=5,
        gradient_accumulation=5,
    )
    start = weights(loaded)
    unlearn(loaded, forget, [], Method(name="m", stages=(stage,)), settings=settings, quiet=True)
    model = copy.deepcopy(base_model)
    nll_of(model, streams.items("forget")).backward()
    assert len(got) == 1
    for name, value in model.named_parameters():
        torch.testing.assert_close(got[0][name], value.grad, atol=1e-6, rtol=1e-3)
        torch.testing.assert_close(start[name] - weights(loaded)[name], value.grad / 2, atol=1e-6, rtol=1e-3)


# -- MemFlex


def test_the_region_pulls_elsewhere_and_is_large(loaded, streams, forget, retain):
    model = copy.deepcopy(loaded.model)
    model.requires_grad_(True)
    found = {}
    for stream in ("random", "retain"):
        model.zero_grad()
        nll_of(model, streams.items(stream)).backward()
        found[stream] = {
            name: value.grad.double().clone() for name, value in model.named_parameters() if value.dim() == 2
        }
    sizes = {name: float(value.abs().mean()) for name, value in found["random"].items()}
    least = np.percentile(list(sizes.values()), 40.0)
    cosines = {
        name: float(torch.nn.functional.cosine_similarity(value.flatten(), found["retain"][name].flatten(), dim=0))
        for name, value in found["random"].items()
    }
    large = [name for name in sizes if sizes[name] >= least]
    below = float(np.median([cosines[name] for name in large])) + 1e-6
    expected = [name for name in large if cosines[name] < below]
    params = {"per": "answer", "cosine_below": below, "percentile": 40.0}
    work = Work(loaded, forget, retain, streams, SHORT, params, 0)
    assert sorted(flexible_region(work)) == sorted(expected)
    assert 0 < len(expected) < len(large) < len(sizes)
    work.params = {**params, "cosine_below": -1.0}
    with pytest.raises(InputError, match="raise cosine_below or lower percentile"):
        flexible_region(work)
