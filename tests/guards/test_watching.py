"""Detectors that read the model: each score a second time, by another way to the same states."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from leakatk.errors import InputError
from leakatk.guards.base import Action, Guard
from leakatk.guards.sampler import guarded
from leakatk.guards.watching import ActiveShare, Energy, KeySpace, halves, important
from leakatk.models.layers import decoder_layers
from leakatk.models.sparse import SparseSettings, fit_sparse, save_sparse
from leakatk.prompts import Known, Query
from leakatk.sampling.native import NativeSampler
from tests.guards.conftest import ALL, FORGET, RETAIN

KNOWN = Known(forget=FORGET, retain=RETAIN)
SMALL = {"latents": 128, "top": 8, "steps": 60}


def hidden(loaded, ids, layer):
    """(T, d) states after a layer, by transformers' own output."""
    with torch.inference_mode():
        out = loaded.model(input_ids=torch.tensor([ids]), output_hidden_states=True)
    return out.hidden_states[layer + 1][0].double().numpy()


def rendered(loaded, prompt):
    return loaded.template.prompt_ids(loaded.tokenizer, prompt.query)


# -- features of a sparse autoencoder -------------------------------------------------------------------------------


def test_important_features_by_hand():
    rng = np.random.default_rng(0)
    forget, retain = (
        rng.exponential(size=60) * (rng.random(60) > 0.3),
        rng.exponential(size=60) * (rng.random(60) > 0.3),
    )
    for count, percentile, quiet in ((5, 90, 1.0), (20, 50, 0.5), (3, 0, 10.0), (20, 95, 0.0)):
        used = [i for i in range(60) if forget[i] > 0]
        ratio = {i: forget[i] / retain[i] if retain[i] else np.inf for i in used}
        bound = sorted(ratio.values())[int(np.floor(percentile / 100 * (len(used) - 1)))]
        kept = [i for i in used if ratio[i] >= bound and retain[i] <= quiet * sum(retain) / 60]
        wanted = sorted(kept, key=lambda i: -forget[i])[:count]
        assert important(forget, retain, count=count, percentile=percentile, quiet=quiet).tolist() == wanted
    assert important(np.zeros(3), np.ones(3), count=2, percentile=50, quiet=1.0).size == 0


@pytest.fixture(scope="module")
def watcher(loaded):
    return ActiveShare(layer=0, **SMALL).fit(KNOWN, loaded)


def test_the_share_of_active_tokens_by_hand(loaded, watcher):
    weights = watcher.weights
    found = watcher.score(ALL)
    for prompt, score in zip(ALL, found, strict=True):
        active = []
        for state in hidden(loaded, rendered(loaded, prompt), 0)[1:]:
            full = np.maximum(weights["encoder"] @ (state - weights["bias"]) + weights["encoder_bias"], 0)
            top = np.argsort(-full)[: int(weights["top"][0])]
            active.append(bool(set(top[full[top] > 0]) & set(watcher.chosen.astype(int))))
        assert score == pytest.approx(np.mean(active), abs=1e-9)
    assert found[:3].mean() > found[3:].mean()


def test_its_threshold_is_of_prompts_that_chose_nothing(watcher):
    _, held = halves(KNOWN)
    assert held == RETAIN[1::2]
    assert watcher.limit > watcher.score(held).max() - 1e-6
    assert not watcher.flags(held).any()
    assert halves(Known(retain=RETAIN[:1])) == (RETAIN[:1], RETAIN[:1])


def test_an_autoencoder_that_was_saved(loaded, tmp_path):
    states = torch.cat([torch.tensor(hidden(loaded, rendered(loaded, prompt), 0)[1:]) for prompt in ALL]).float()
    sparse = fit_sparse(states, SparseSettings(features=96, top=6, steps=50))
    made = ActiveShare(layer=0, sae=str(save_sparse(sparse, tmp_path / "sae"))).fit(KNOWN, loaded)
    np.testing.assert_allclose(made.weights["decoder"], sparse.decoder.double())
    assert made.sparse.top == 6
    told = made.describe()["sae"]
    assert told == replace(made).describe()["sae"] != ""
    other = save_sparse(fit_sparse(torch.randn(9, 5), SparseSettings(features=8, top=2, steps=1)), tmp_path / "other")
    with pytest.raises(InputError, match="reads states of 5 entries and the model's have 64"):
        ActiveShare(layer=0, sae=str(other)).fit(KNOWN, loaded)


def test_no_feature_is_an_error(loaded):
    with pytest.raises(InputError, match=r"No feature .* raise quiet"):
        ActiveShare(layer=0, quiet=-1.0, **SMALL).fit(KNOWN, loaded)


# -- key space -------------------------------------------------------------------------------------------------------


def keys(loaded, prompt, layer):
    """(m,) what goes into down_proj at the last token, from the layer's own weights."""
    block, ids = decoder_layers(loaded.model)[layer], rendered(loaded, prompt)
    heard = []
    handle = block.mlp.register_forward_pre_hook(lambda _, inputs: heard.append(inputs[0][0, -1]))
    with torch.inference_mode():
        loaded.model(input_ids=torch.tensor([ids]))
        handle.remove()
        mlp = block.mlp
        return (torch.nn.functional.silu(mlp.gate_proj(heard[0])) * mlp.up_proj(heard[0])).double().numpy()


def test_the_box_of_keys_by_hand(loaded):
    made = KeySpace(layer=1).fit(KNOWN, loaded)
    box = np.stack([keys(loaded, prompt, 1) for prompt in FORGET])
    for prompt, score in zip(ALL, made.score(ALL), strict=True):
        alpha = max(abs(k - m) / s for k, m, s in zip(keys(loaded, prompt, 1), box.mean(0), box.std(0), strict=True))
        assert score == pytest.approx(-alpha, rel=1e-4)
    assert made.flags(ALL).tolist() == [True] * 3 + [False] * 4
    fixed = KeySpace(layer=1, threshold=-2.0).fit(KNOWN, loaded)
    assert fixed.limit == -2.0
    assert fixed.flags(FORGET).all()  # three points are never further than sqrt(2) deviations from their mean
    with pytest.raises(InputError, match="at least two forget prompts"):
        KeySpace().fit(replace(KNOWN, forget=FORGET[:1]), loaded)


# -- energy ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("temperature", [1.0, 0.5])
def test_energies_by_hand(loaded, temperature):
    for over in ("answer", "prompt"):
        made = Energy(temperature=temperature, over=over).fit(KNOWN, loaded)
        for prompt, score in zip(ALL, made.score(ALL), strict=True):
            with torch.inference_mode():
                logits = loaded.model(input_ids=torch.tensor([rendered(loaded, prompt)])).logits[0].double().numpy()
            energy = [-temperature * np.log(np.sum(np.exp(row / temperature))) for row in logits]
            assert score == pytest.approx(energy[-1] if over == "answer" else np.mean(energy), rel=1e-5)


def test_energy_options_that_cannot_be():
    with pytest.raises(InputError, match="above 0, got 0"):
        Energy(temperature=0.0)
    with pytest.raises(InputError, match="Unknown place of an energy 'answers': did you mean answer"):
        Energy(over="answers")


def test_a_threshold_from_retain_prompts(loaded):
    """Just above a quantile, so that at most the rest of the retain prompts is flagged; or as it is given."""
    many = tuple(replace(RETAIN[i % 4], id=f"m{i}", question=f"{RETAIN[i % 4].question} {i}") for i in range(40))
    for share in (0.5, 0.9, 1.0):
        made = Energy(share=share).fit(Known(retain=many), loaded)
        found = made.flags(many).mean()
        assert 1 - share - 2 / 40 <= found <= 1 - share + 1e-9
    assert Energy(threshold=-7.0).fit(KNOWN, loaded).limit == -7.0
    with pytest.raises(InputError, match="a quantile, from 0 to 1"):
        Energy(share=1.2)


# -- all of them -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("detector", [ActiveShare(**SMALL), KeySpace(), Energy()], ids=lambda one: type(one).__name__)
def test_a_score_depends_on_its_prompt_alone(loaded, detector):
    made = detector.fit(KNOWN, loaded)
    whole = made.score(ALL)
    assert made.score(ALL[::-1]).tolist() == whole[::-1].tolist()
    assert made.score([ALL[2]]).tolist() == [whole[2]]
    assert made.score([]).size == 0
    before = replace(ALL[0], asked=Query(ALL[0].question, turns=(("When?", "At nine."),)))
    assert made.score([before])[0] == pytest.approx(made.score([before])[0])
    again = replace(made, inside=None)
    with pytest.raises(InputError, match="reads the inside of the guarded model"):
        again.score(ALL)
    assert again.onto(loaded).score(ALL).tolist() == whole.tolist()
    with pytest.raises(InputError, match="use --engine native or generate"):
        detector.fit(KNOWN, None)


def test_earlier_turns_are_looked_at(loaded):
    """A detector on the text alone would give both the same flag."""

    class Nothing(Action):
        def answer(self, prompt, text):
            return text

    energies = Energy(threshold=-100.0).fit(KNOWN, loaded)
    turned = replace(FORGET[0], asked=Query(FORGET[0].question, turns=((RETAIN[0].question, RETAIN[0].answer),)))
    bare, with_turns = energies.score([FORGET[0], turned])
    assert bare != with_turns
    between = replace(energies, threshold=(bare + with_turns) / 2)
    sampler = guarded(NativeSampler(loaded), KNOWN, Guard(name="test", detector=between, action=Nothing()))
    assert sampler.flags([FORGET[0], turned]).tolist() == [bare > with_turns, with_turns > bare]


@pytest.mark.parametrize("spec", ["dsg", "ksd", "energy"])
def test_an_engine_without_its_model_is_refused(spec):
    class Elsewhere:
        name = "endpoint"

    with pytest.raises(InputError, match=f"Guard {spec} reads the inside of the model, which engine endpoint does not"):
        guarded(Elsewhere(), KNOWN, spec)
