"""Actions inside the model: what comes out, against forward passes with the formula written by hand."""

import math

import numpy as np
import pytest
import torch

from leakatk.errors import InputError
from leakatk.guards.base import Always
from leakatk.guards.sampler import guarded
from leakatk.guards.steering import Clamp, Neurons, adjusted
from leakatk.guards.watching import ActiveShare
from leakatk.models.layers import decoder_layers
from leakatk.prompts import Known
from leakatk.sampling.answer_tree import expansions_of
from leakatk.sampling.native import NativeSampler
from leakatk.sampling.teacher_forcing import truths_of
from tests.guards.conftest import ALL, DECODING, ENGINES, FORGET, RETAIN, acting_on_forget, drawn

KNOWN = Known(forget=FORGET, retain=RETAIN)


class Set:
    """While inside, modules give what a function makes of (1, T, d) in float64."""

    def __init__(self, *changes):
        self.changes = changes

    def __enter__(self):
        def behind(change):
            def hook(_, __, out):
                states = out[0] if isinstance(out, tuple) else out
                made = torch.tensor(change(states[0].double().numpy()), dtype=states.dtype)[None]
                return (made, *out[1:]) if isinstance(out, tuple) else made

            return hook

        self.handles = [module.register_forward_hook(behind(change)) for module, change in self.changes]

    def __exit__(self, *_):
        for handle in self.handles:
            handle.remove()


def logprob(loaded, prompt, answer, *changes):
    """log p of the answer's tokens, in one pass over the whole text with the modules changed."""
    ids = loaded.template.prompt_ids(loaded.tokenizer, prompt.query)
    with torch.inference_mode(), Set(*changes):
        logp = (
            loaded.model(input_ids=torch.tensor([[*ids, *answer]]), use_cache=False).logits[0].double().log_softmax(-1)
        )
    return sum(float(logp[len(ids) - 1 + i, token]) for i, token in enumerate(answer))


def check(loaded, action, changes, engine):
    """Samples, true answers and expansions are those of the model that was changed by hand."""
    sampler = guarded(ENGINES[engine](loaded), KNOWN, acting_on_forget(action))
    by_id = {prompt.id: prompt for prompt in FORGET}
    for one in drawn(sampler, FORGET, n=5).values():
        wanted = logprob(loaded, by_id[one.prompt_id], one.token_ids, *changes)
        assert one.logprob == pytest.approx(wanted, abs=1e-3)
    for prompt in FORGET:
        ids, found = truths_of(sampler, [prompt], DECODING)[prompt.id]
        assert found == pytest.approx(logprob(loaded, prompt, ids, *changes), abs=1e-3)
    for tree in expansions_of(sampler, FORGET, DECODING, 10):
        for answer in tree.answers[:2]:
            wanted = logprob(loaded, by_id[tree.prompt_id], answer.token_ids, *changes)
            assert answer.logprob == pytest.approx(wanted, abs=1e-3)


# -- clamped features -------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def share(loaded):
    return ActiveShare(layer=0, latents=128, top=8, steps=60).fit(KNOWN, loaded)


def clamped(share, size):
    """What DSG makes of states (T, d), in the form of its paper: decode the changed features, add what was left over."""
    weights, chosen = share.weights, share.chosen.astype(int)

    def decode(features):
        return features @ weights["decoder"] + weights["bias"]

    def change(states):
        made = states.copy()
        for place, state in enumerate(states):
            full = np.maximum(weights["encoder"] @ (state - weights["bias"]) + weights["encoder_bias"], 0)
            features = np.zeros_like(full)
            top = np.argsort(-full)[: int(weights["top"][0])]
            features[top] = full[top]
            if place == 0 or not (features[chosen] > 0).any():
                continue
            moved = features.copy()
            moved[chosen] = -size
            made[place] = decode(moved) + (state - decode(features))
        return made

    return change


@pytest.mark.parametrize("engine", ENGINES)
def test_clamped_features_are_those_of_the_formula(loaded, share, engine):
    action = Clamp(clamp=3.0).beside(share)
    check(loaded, action, [(decoder_layers(loaded.model)[0], clamped(share, 3.0))], engine)


def test_clamping_changes_what_is_said(loaded, share, plain):
    before = np.mean([plain["f0", j].logprob for j in range(20)])
    ids, _ = truths_of(NativeSampler(loaded), FORGET[:1], DECODING)["f0"]
    change = (decoder_layers(loaded.model)[0], clamped(share, 500.0))
    assert logprob(loaded, FORGET[0], ids, change) < before - 5


def test_clamping_needs_features(loaded):
    with pytest.raises(InputError, match="features of an ActiveShare detector, not of Always"):
        Clamp().beside(Always())
    with pytest.raises(InputError, match="clamp is at least 0"):
        Clamp(clamp=-1.0)


# -- neurons ----------------------------------------------------------------------------------------------------------


def density(value, mean, spread):
    return math.exp(-0.5 * ((value - mean) / spread) ** 2) / (spread * math.sqrt(2 * math.pi))


def moved(value, chance, forget_mean, forget_spread, retain_mean, retain_spread):
    """The paper's formula for one neuron."""
    forget, retain = density(value, forget_mean, forget_spread), density(value, retain_mean, retain_spread)
    if retain <= forget and chance < 1 - retain / (retain + forget):
        return 2 * retain_mean - ((value - forget_mean) / forget_spread * retain_spread + retain_mean)
    return value


def test_a_neuron_is_moved_by_the_formula():
    rng = np.random.default_rng(1)
    values, chance = rng.normal(size=(50, 6)) * 2, rng.random((50, 6))
    normal = np.stack([rng.normal(size=6), rng.uniform(0.5, 2, 6), rng.normal(size=6), rng.uniform(0.5, 2, 6)])
    found = adjusted(*(torch.tensor(x) for x in (values, chance, *normal)))
    wanted = [[moved(values[i, j], chance[i, j], *normal[:, j]) for j in range(6)] for i in range(50)]
    np.testing.assert_allclose(found, wanted, rtol=1e-9)
    assert 0.1 < np.mean(found.numpy() != values) < 0.9


def gates(loaded, prompts):
    """Layer -> (tokens, neurons) values before the activation, over prompts with answers but their first tokens."""
    found = {layer: [] for layer in range(2)}
    for prompt in prompts:
        pair = loaded.template.pair(loaded.tokenizer, prompt.query, prompt.answer)
        heard = []
        handles = [
            block.mlp.register_forward_pre_hook(lambda _, inputs, heard=heard: heard.append(inputs[0][0]))
            for block in decoder_layers(loaded.model)
        ]
        with torch.inference_mode():
            loaded.model(input_ids=torch.tensor([[*pair.prompt, *pair.answer]]))
            for handle in handles:
                handle.remove()
            for layer, block in enumerate(decoder_layers(loaded.model)):
                found[layer].append(block.mlp.gate_proj(heard[layer])[1:].double().numpy())
    return {layer: np.concatenate(rows) for layer, rows in found.items()}


def test_the_chosen_neurons_rise_most(loaded):
    action = Neurons(neurons=0.1).fit(KNOWN, loaded)
    forget, retain = gates(loaded, FORGET), gates(loaded, RETAIN)
    rise = {
        (layer, unit): forget[layer][:, unit].mean() - retain[layer][:, unit].mean()
        for layer in range(2)
        for unit in range(96)
    }
    wanted = sorted(rise, key=rise.get)[-round(0.1 * 192) :]
    assert [tuple(row) for row in action.chosen.astype(int).tolist()] == sorted(wanted)
    for (layer, unit), normal in zip(action.chosen.astype(int), action.normal, strict=True):
        parts = [(rows[layer][:, unit].mean(), rows[layer][:, unit].std()) for rows in (forget, retain)]
        np.testing.assert_allclose(normal, np.ravel(parts), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("engine", ENGINES)
def test_moved_neurons_are_those_of_the_formula(loaded, engine):
    action = Neurons(neurons=0.1, chance_seed=3).fit(KNOWN, loaded)
    draws = np.random.default_rng(3).random((400, len(action.chosen)))
    changes = []
    for layer in range(2):
        rows = [i for i, (where, _) in enumerate(action.chosen) if where == layer]

        def change(states, rows=rows):
            made = states.copy()
            for place in range(len(states)):
                for i in rows:
                    unit = int(action.chosen[i, 1])
                    made[place, unit] = moved(states[place, unit], draws[place, i], *action.normal[i])
            return made

        changes.append((decoder_layers(loaded.model)[layer].mlp.gate_proj, change))
    check(loaded, action, changes, engine)


def test_neurons_that_cannot_be():
    with pytest.raises(InputError, match="above 0 and at most 1, got 0"):
        Neurons(neurons=0.0)
    with pytest.raises(InputError, match="use --engine native or generate"):
        Neurons().fit(KNOWN, None)


def test_the_rest_is_answered_as_without(loaded, plain):
    found = drawn(guarded(NativeSampler(loaded), KNOWN, acting_on_forget(Neurons(neurons=0.5).fit(KNOWN, loaded))), ALL)
    assert {key: one.token_ids for key, one in found.items() if key[0] in {p.id for p in RETAIN}} == {
        key: one.token_ids for key, one in plain.items() if key[0] in {p.id for p in RETAIN}
    }
