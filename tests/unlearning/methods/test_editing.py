"""SLUG and LUNAR: which matrix changes, by what, and that nothing else does."""

import copy
from dataclasses import replace

import numpy as np
import pytest
import torch

from leakatk.errors import InputError
from leakatk.prompts import Known, Prompt
from leakatk.sampling.decoding import Decoding
from leakatk.sampling.teacher_forcing import answer_logprob
from leakatk.unlearning import edits
from leakatk.unlearning.losses.targets import REFUSALS
from leakatk.unlearning.methods import METHODS
from leakatk.unlearning.settings import TrainSettings
from leakatk.unlearning.spare import spare_token
from leakatk.unlearning.streams import Streams
from leakatk.unlearning.trainer import unlearn
from tests.unlearning.conftest import people, tiny_model
from tests.unlearning.test_analytic import by_hand as readout_rows
from tests.unlearning.test_anchors import DOWN
from tests.unlearning.test_anchors import run as anchored
from tests.unlearning.test_anchors import seen as inputs_of
from tests.unlearning.test_linearised import log_odds

READOUT = "model.layers.1.mlp.down_proj.weight"
DECODING = Decoding(max_new_tokens=40)
LEARN = TrainSettings(learning_rate=3e-3, max_steps=150, forget_batch=4, retain_batch=12)
SLUG = METHODS["slug"].for_small_models()
# The published fit, in the last of two layers.
LUNAR = METHODS["lunar"].with_params(layer=1, coefficient=1.0)


def weights(loaded):
    return {name: value.detach().clone() for name, value in loaded.model.named_parameters()}


def changed(loaded, start):
    return {name for name, value in weights(loaded).items() if not torch.equal(value, start[name])}


@pytest.fixture(scope="module")
def refused():
    """Prompts about people whom nobody knows, with a refusal as the answer."""
    asked = people("Zo", 6, 1)
    return tuple(replace(prompt, answer=REFUSALS[0]) for prompt in asked)


@pytest.fixture(scope="module")
def known_model(base_model, tokenizer, forget, retain, refused):
    """A model that knows both sets and refuses the third."""
    from leakatk.models.loaded import LoadedModel
    from leakatk.models.template import Template

    loaded = LoadedModel(copy.deepcopy(base_model), tokenizer, Template(kind="plain"), "tiny", "none")
    unlearn(loaded, forget, [*forget, *retain, *refused], "retrain", settings=LEARN, quiet=True)
    assert min(answer_logprob(loaded, [*forget, *retain, *refused], DECODING)) > -8
    return loaded


@pytest.fixture
def knowing(known_model):
    return replace(known_model, model=copy.deepcopy(known_model.model))


# -- SLUG


def loss_of(model, tokenizer, template, prompts):
    losses = []
    for prompt in prompts:
        seam = template.pair(tokenizer, prompt.question, prompt.answer)
        logits = model(input_ids=torch.tensor([[*seam.prompt, *seam.answer]])).logits[0, len(seam.prompt) - 1 : -1]
        losses.append(torch.nn.functional.cross_entropy(logits, torch.tensor(seam.answer)))
    return torch.stack(losses)


def gradient_of(loaded, prompts):
    model = copy.deepcopy(loaded.model)
    loss_of(model, loaded.tokenizer, loaded.template, prompts).mean().backward()
    return {name: value.grad.double() for name, value in model.named_parameters()}


def the_front(loaded, forget, retain):
    """Matrices of the layers that none beats in both |g| / |W| and |cos|, over all pairs."""
    up, keep, start = gradient_of(loaded, forget), gradient_of(loaded, retain), weights(loaded)
    points = {
        name: (
            float(up[name].norm() / value.double().norm()),
            abs(float((up[name] * keep[name]).sum() / up[name].norm() / keep[name].norm())),
        )
        for name, value in start.items()
        if ".layers." in name and value.dim() == 2
    }
    assert len(points) == 14
    front = [
        name for name, (size, angle) in points.items()
        if not any(s >= size and a <= angle and (s, a) != (size, angle) for s, a in points.values())
    ]  # fmt: skip
    return front, up


@pytest.mark.parametrize("pick", ["deepest", "best"])
def test_slug_moves_one_matrix_of_the_front_along_its_gradient(knowing, forget, retain, pick):
    front, up = the_front(knowing, forget, retain)
    start = weights(knowing)
    done = unlearn(knowing, forget, retain, SLUG.with_params(pick=pick), quiet=True)
    (name,) = changed(knowing, start)
    assert name in front
    if pick == "deepest":
        assert name == front[-1]
    step = (dict(knowing.model.named_parameters())[name].detach() - start[name]).double()
    factor = float((step * up[name]).sum() / (up[name] ** 2).sum())
    assert factor > 0
    torch.testing.assert_close(step, factor * up[name], atol=1e-5, rtol=1e-3)
    assert done.steps == 0
    (note,) = done.notes
    assert f"slug changed {name} (of {len(front)} on the Pareto front) with lambda" in note
    assert float(note.split("lambda ")[1].split(":")[0]) == pytest.approx(factor, rel=0.01)


def test_slug_forgets_and_keeps_within_its_bounds(knowing, forget, retain):
    def probability(prompts):
        with torch.no_grad():
            return float((-loss_of(knowing.model, knowing.tokenizer, knowing.template, prompts)).exp().mean())

    before = probability(forget), probability(retain)
    unlearn(knowing, forget, retain, SLUG.with_params(pick="best"), quiet=True)
    after = probability(forget), probability(retain)
    assert min(before) > 0.8
    assert after[0] < before[0] - 0.1
    assert after[1] >= 0.9 * before[1] - 1e-6


def test_slug_does_nothing_where_nothing_is_known_and_says_what_it_missed(knowing, forget, retain):
    start = weights(knowing)
    done = unlearn(knowing, forget, retain, SLUG.with_params(forget_at_most=1.0), quiet=True)
    assert "not reached" not in done.notes[0]
    assert not changed(knowing, start)
    done = unlearn(knowing, forget, retain, SLUG.with_params(forget_at_most=0.0), quiet=True)
    assert "forget_at_most 0 was not reached" in done.notes[0]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"pick": "first"}, "pick must be deepest or best"),
        ({"keep_at_least": 1.2}, "keep_at_least must be between 0 and 1"),
        ({"tries": 0}, "tries must be at least 1"),
        ({"tensors": "nothing"}, "matches no parameter"),
        ({"tensors": "norm"}, "matches no matrix of the decoder layers"),
    ],
)
def test_slug_names_a_wrong_choice(knowing, forget, retain, changes, message):
    with pytest.raises(InputError, match=message):
        unlearn(knowing, forget, retain, SLUG.with_params(**changes), quiet=True)


# -- LUNAR


def states_of(model, tokenizer, template, prompt, layer):
    """Of one prompt alone: what goes into the down projection (L, i), and the state after the layer (L, d)."""
    ids = torch.tensor([list(template.pair(tokenizer, prompt.question, prompt.answer).prompt)])
    found = {}
    host = model.model.layers[layer].mlp.down_proj
    handle = host.register_forward_hook(lambda _, inputs, output: found.update(a=inputs[0][0], m=output[0]))
    with torch.no_grad():
        states = model.model(input_ids=ids, output_hidden_states=True).hidden_states
    handle.remove()
    if layer == model.config.num_hidden_layers - 1:  # the last ones come after the final norm
        kept = []
        handle = model.model.layers[layer].register_forward_hook(
            lambda _, inputs, output: kept.append(output[0] if isinstance(output, tuple) else output)
        )
        with torch.no_grad():
            model(input_ids=ids)
        handle.remove()
        return found["a"].double(), kept[0].reshape(ids.shape[1], -1).double()
    return found["a"].double(), states[layer + 1][0].double()


@pytest.mark.parametrize(("layer", "layers"), [(0, 1), (1, 1), (1, 2)])
def test_lunar_is_least_squares_towards_the_refused_states(knowing, forget, retain, refused, layer, layers):
    start, original = weights(knowing), copy.deepcopy(knowing.model)
    method = LUNAR.with_params(layer=layer, layers=layers, solver="ridge", penalty=0.01, coefficient=2.0)
    unlearn(knowing, forget, retain, method, known=Known(refused=refused), quiet=True)
    names = {f"model.layers.{i}.mlp.down_proj.weight": i for i in range(layer - layers + 1, layer + 1)}
    assert changed(knowing, start) == set(names)
    for name, i in names.items():

        def states(prompts, i=i):
            return [states_of(original, knowing.tokenizer, knowing.template, prompt, i) for prompt in prompts]

        there, gone, stay = states(refused), states(forget), states(retain)
        r = torch.stack([h[-1] for _, h in there]).mean(0) - torch.stack([h[-1] for _, h in gone]).mean(0)
        w = start[name].double()
        inputs = torch.cat([a for a, _ in [*gone, *stay]])
        targets = torch.cat([a @ w.T + 2.0 * r for a, _ in gone] + [a @ w.T for a, _ in stay])
        # |W - W_0|^2 as rows more: sqrt(lambda) times the unit vectors, which are to give W_0.
        root = float((0.01 * (inputs**2).sum(0).mean()).sqrt())
        eye = torch.eye(inputs.shape[1], dtype=torch.float64)
        left, right = torch.cat([inputs, root * eye]), torch.cat([targets, root * w.T])
        expected = np.linalg.lstsq(left.numpy(), right.numpy(), rcond=None)[0].T
        found = dict(knowing.model.named_parameters())[name].detach().double()
        moved = float((found - w).abs().max())
        assert moved > 1e-3
        assert float((found - torch.tensor(expected)).abs().max()) < 1e-3 * moved + 1e-6


def test_lunar_by_descent_comes_near_the_closed_form(knowing, forget, retain, refused, monkeypatch):
    asked = []
    descend = edits.descend
    monkeypatch.setattr(edits, "descend", lambda *a, **k: asked.append([x.clone() for x in a]) or descend(*a, **k))
    unlearn(knowing, forget, retain, LUNAR, known=Known(refused=refused), quiet=True)
    ((weight, inputs, targets),) = asked
    found = knowing.model.model.layers[1].mlp.down_proj.weight.detach().double()
    best = torch.linalg.lstsq(inputs.double(), targets.double()).solution.T

    def error(w):
        return float(((inputs.double() @ w.double().T - targets.double()) ** 2).mean())

    assert error(best) <= error(found) < error(best) + 0.6 * (error(weight) - error(best))


def test_lunar_makes_forget_prompts_be_refused(knowing, forget, retain, refused):
    def likely(prompts):
        return answer_logprob(knowing, prompts, DECODING)

    idk = [replace(prompt, answer=REFUSALS[0]) for prompt in forget]
    before = likely(forget), likely(idk), likely(retain)
    unlearn(knowing, forget, retain, LUNAR, known=Known(refused=refused), quiet=True)
    after = likely(forget), likely(idk), likely(retain)
    assert after[0].mean() < before[0].mean() - 4
    assert after[1].mean() > before[1].mean() + 4
    assert after[2].mean() > before[2].mean() - 2


def test_lunar_says_what_it_needs(loaded, forget, retain, refused):
    with pytest.raises(
        InputError, match=r"Method lunar needs prompts that the model refuses to answer; give them with --refused"
    ):
        unlearn(loaded, forget, retain, LUNAR, quiet=True)
    known = Known(refused=refused)
    with pytest.raises(InputError, match=r"empty"):
        unlearn(loaded, forget, [], LUNAR, known=known, quiet=True)
    with pytest.raises(InputError, match=r"layer must be between 0 and 1 .* got layer=22"):
        unlearn(loaded, forget, retain, "lunar", known=known, quiet=True)
    with pytest.raises(InputError, match=r"solver must be adamw or ridge"):
        unlearn(loaded, forget, retain, LUNAR.with_params(solver="sgd"), known=known, quiet=True)


# -- both


@pytest.mark.parametrize("method", [SLUG, LUNAR, LUNAR.with_params(solver="ridge")], ids=["slug", "lunar", "ridge"])
def test_an_edit_that_is_killed_ends_as_a_whole_one(
    known_model, forget, retain, refused, tmp_path, monkeypatch, method
):
    def fresh():
        return replace(known_model, model=copy.deepcopy(known_model.model))

    options = {"known": Known(refused=refused), "quiet": True}
    whole, cut = fresh(), fresh()
    done = unlearn(whole, forget, retain, method, out=tmp_path / "whole", **options)
    views, calls = edits.views, []

    def dying(*args, **kwargs):
        calls.append(1)
        if len(calls) == 4:
            raise KeyboardInterrupt
        return views(*args, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr(edits, "views", dying)
        with pytest.raises(KeyboardInterrupt):
            unlearn(cut, forget, retain, method, out=tmp_path / "cut", **options)
    again = fresh()
    resumed = unlearn(again, forget, retain, method, out=tmp_path / "cut", **options)
    read = fresh()
    unlearn(read, forget, retain, method, out=tmp_path / "cut", **options)  # a finished run is read
    for other in (again, read):
        assert not changed(other, weights(whole))
    assert resumed.notes == done.notes
    assert changed(whole, weights(known_model))


def test_other_prompts_that_are_refused_are_another_run(knowing, forget, retain, refused, tmp_path):
    from leakatk.errors import RunError

    unlearn(knowing, forget, retain, LUNAR, out=tmp_path / "out", known=Known(refused=refused), quiet=True)
    others = (*refused, Prompt("more", "Where does nobody live?", REFUSALS[1]))
    with pytest.raises(RunError, match=r"known: "):
        unlearn(knowing, forget, retain, LUNAR, out=tmp_path / "out", known=Known(refused=others), quiet=True)


@pytest.mark.parametrize("name", ["rocr"])
def test_without_the_null_space_retain_inputs_are_moved(name, loaded, tokenizer, forget, retain):
    wide = replace(loaded, model=tiny_model(tokenizer, intermediate_size=400))
    streams = Streams(forget, retain[:4], wide.tokenizer, wide.template, seed=0)
    texts = [(*item.prompt, *item.answer) for item in streams.items("retain")]
    felt = []
    for threshold in (1e-3, 1e9):
        mine = replace(wide, model=copy.deepcopy(wide.model))
        start, _ = anchored(
            mine, forget, retain[:4], METHODS[name].with_params(penalty=0.1, threshold=threshold, layer=0, layers=1)
        )
        inputs = np.concatenate([a for a, _ in inputs_of(start, texts, 0)])
        change = (
            (mine.model.get_parameter(DOWN.format(0)) - start.get_parameter(DOWN.format(0))).detach().double().numpy()
        )
        felt.append(np.linalg.norm(inputs @ change.T) / np.linalg.norm(change))
    assert felt[0] < 0.3 * felt[1]


def test_unierase_makes_forget_prompts_say_a_token_that_brings_refusals(knowing, forget, retain):
    """In a model that can refuse, and not without the edit."""
    token = spare_token(knowing.tokenizer)
    streams = Streams(forget, retain, knowing.tokenizer, knowing.template, seed=0)

    def first(items, loaded=knowing):
        with torch.no_grad():
            said = [loaded.model(input_ids=torch.tensor([item.prompt])).logits[0, -1] for item in items]
        return float(torch.stack(said).softmax(1)[:, token].mean())

    def led():
        return float(loss_of_items(knowing.model, streams.items("led")))

    before = first(streams.items("forget")), led()
    method = METHODS["unierase"].for_small_models().with_params(threshold=10.0, clamp=20.0, value_steps=20)
    settings = replace(LEARN, max_steps=20, learning_rate=5e-2)
    without = replace(knowing, model=copy.deepcopy(knowing.model))
    unlearn(without, forget, retain, replace(method, stages=method.stages[:-1]), settings=settings, quiet=True)
    unlearn(knowing, forget, retain, method, settings=settings, quiet=True)
    assert led() < before[1] - 0.2
    assert first(streams.items("forget")) > 20 * before[0]
    assert first(streams.items("forget")) > 5 * first(streams.items("forget"), without)


def loss_of_items(model, items):
    losses = []
    with torch.no_grad():
        for item in items:
            logits = model(input_ids=torch.tensor([[*item.prompt, *item.answer]])).logits[0, len(item.prompt) - 1 : -1]
            losses.append(torch.nn.functional.cross_entropy(logits, torch.tensor(item.answer)))
    return torch.stack(losses).mean()


@pytest.mark.parametrize("name", ["acu"])
def test_the_matrix_is_the_one_of_the_retain_set_and_the_only_one_that_changes(name, loaded, forget, retain):
    start = copy.deepcopy(loaded.model)
    done = unlearn(loaded, forget, retain, name, quiet=True)
    moved = [key for key, value in loaded.model.named_parameters() if not torch.equal(value, start.get_parameter(key))]
    assert moved == [READOUT]
    streams = Streams(forget, retain, loaded.tokenizer, loaded.template, seed=0)
    inputs, targets = readout_rows(start, streams.items("retain"))
    root = np.sqrt(0.01 * (inputs**2).sum(0).mean())
    system = np.vstack([inputs, root * np.eye(48)])
    wanted = np.linalg.lstsq(system, np.vstack([targets, np.zeros((48, 32))]), rcond=None)[0].T
    found = loaded.model.get_parameter(READOUT).detach().double().numpy()
    np.testing.assert_allclose(found, wanted, atol=1e-3 * abs(wanted).max())
    assert float(done.notes[0].split("it is ")[1].split(" ")[0]) < 1e-6
    assert not torch.equal(loaded.model.get_parameter(READOUT), start.get_parameter(READOUT))
    whole = replace(loaded, model=copy.deepcopy(start))  # with the forget set still in it, it is another one
    unlearn(whole, forget, retain, replace(METHODS["acu"], stages=METHODS["acu"].stages[:1]), quiet=True)
    assert abs(whole.model.get_parameter(READOUT).detach().double().numpy() - wanted).max() > 1e-2 * abs(wanted).max()


@pytest.mark.parametrize("name", ["fast-ntk"])
def test_forget_answers_fall_and_what_does_not_match_stays(name, loaded, forget, retain):
    start = copy.deepcopy(loaded.model)
    method = METHODS[name].with_params(penalty=30.0, items=4)
    done = unlearn(loaded, forget, retain, method, quiet=True)
    moved = {key for key, value in loaded.model.named_parameters() if not torch.equal(value, start.get_parameter(key))}
    assert moved
    assert all("norm" in key for key in moved)
    streams = Streams(forget, retain, loaded.tokenizer, loaded.template, seed=0)

    def odds(model, side):
        with torch.no_grad():
            return float(np.mean([float(log_odds(model, item)) for item in streams.items(side)]))

    fallen = {side: odds(start, side) - odds(loaded.model, side) for side in ("forget", "retain")}
    assert fallen["forget"] > max(0, fallen["retain"])
    (note,) = done.notes
    assert "5 forget and 4 of 9 retain prompts" in note
    assert f"{odds(start, 'forget'):.2f}, expected" in note


@pytest.mark.parametrize("name", ["metaunlearn"])
def test_the_last_mlp_alone_moves_and_a_seed_tells_how(name, loaded, forget, retain):
    quick = METHODS[name].with_params(meta_steps=2, batch=3, width=4)
    matrix = "model.layers.1.mlp.down_proj.weight"
    before = {name: value.detach().clone() for name, value in loaded.model.named_parameters()}
    done = unlearn(loaded, forget, retain, quick, quiet=True)
    after = {name: value.detach().clone() for name, value in loaded.model.named_parameters()}
    assert {name.rpartition("_proj")[0] for name in before if not torch.equal(before[name], after[name])} == {
        f"model.layers.1.mlp.{part}" for part in ("gate", "up", "down")
    }
    assert "learned on 2 simulated requests" in done.notes[-1]
    for seed, same in ((0, True), (1, False)):
        loaded.model.load_state_dict(before, strict=False)
        unlearn(loaded, forget, retain, quick, seed=seed, quiet=True)
        assert torch.equal(dict(loaded.model.named_parameters())[matrix], after[matrix]) is same
