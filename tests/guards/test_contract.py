"""What every guard promises, checked for each that is registered. Its formula is tested beside, by name."""

from __future__ import annotations

import atexit
import copy
import dataclasses
import functools
import json
import tempfile
import zlib
from dataclasses import replace

import numpy as np
import pytest
import torch

from leakatk.errors import InputError, UnknownNameError
from leakatk.guards import get_guard
from leakatk.guards.base import Always, place_of
from leakatk.guards.sampler import guarded
from leakatk.models.load import load_model
from leakatk.models.sparse import SparseSettings, fit_sparse, save_sparse
from leakatk.papers.kinds import KINDS
from leakatk.prompts import Known
from leakatk.sampling.decoding import Decoding
from leakatk.sampling.native import NativeSampler
from tests.guards.conftest import ALL, FORGET, RETAIN, drawn
from tests.tiny import save_tiny_model

GUARDS = KINDS["guards"].load()
DECODING = Decoding(max_new_tokens=8)
N = 3
# Another value of options that take certain texts alone.
OTHER = {
    "how": "flip",
    "good": "Be kind.",
    "which": "largest",
    "refusal": "No.",
    "reply": "I forgot.",
    "over": "prompt",
    "share": 0.5,
    "space": "log",
    "wording": "medium",
    "scope": "trajectory",
    "form": "concept",
    "tokens": "names",
    "order": "Keep it.",
    "layers": "1",
    "base": "idk",
    "level": 0.95,
    "policy": "Be kind.",
    "say": "No.",
}
# Options under which a guard is fitted here: small, or such that it acts on a model that knows nothing.
HERE = {
    "dsg": {"latents": 64, "top": 4, "steps": 30},
    "energy": {"threshold": -100.0},
    "neuron-adjust": {"neurons": 0.5},
    "o3": {"map_steps": 1, "steps": 4, "rate": 0.2},
    "erase": {"shots": 2},
    "uncle": {"steps": 1, "burn_in": 1, "rate": 0.2, "hidden": 8, "embedding": 4},
    "rcu": {"map_steps": 1, "steps": 4, "rate": 0.2},
    "grun": {"steps": 1, "batch": 1, "layers": "0"},
    "code-unlearn": {"codes": 24, "top": 2, "steps": 3, "enrichment": 0.0, "level": 0.9},
}
ENCODERS = ("encoder", "nearest")  # options that name an encoder: the other value is a directory
NEEDS = [(name, need) for name in GUARDS for need in GUARDS[name].needs]
OPTIONS = [(name, option) for name in GUARDS for option in GUARDS[name].options()]


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """Three random models: the guarded one, a clean one and a dirty one."""
    place = tmp_path_factory.mktemp("contract")
    return [str(save_tiny_model(place / name, seed=seed)) for seed, name in enumerate(("guarded", "clean", "dirty"))]


@pytest.fixture(scope="module")
def model(models):
    return load_model(models[0], device="cpu")


@pytest.fixture
def known(models):
    auxiliary = {"clean": models[1], "dirty": models[2], "tuned": models[1], "before": models[2]}
    return Known(forget=FORGET, retain=RETAIN, encoder="words", auxiliary=auxiliary)


@pytest.fixture(scope="module")
def bare(model):
    """What the model draws without a guard."""
    return sample(NativeSampler(model), ALL)


def sample(sampler, prompts, n=N):
    return drawn(sampler, prompts, n=n, decoding=DECODING)


def drawn_as(found):
    return {key: (one.text, one.token_ids, one.finish_reason) for key, one in found.items()}


class Untouched:
    """An engine that nobody may look at."""

    def __getattribute__(self, name):
        raise AssertionError(f"the engine's {name} was looked at")


@pytest.fixture
def encoder(tmp_path, monkeypatch):
    """A function: a directory with an encoder whose vectors depend on the text alone."""

    class Encoder:
        def encode(self, texts, **options):
            return np.stack([np.random.default_rng(zlib.crc32(text.encode())).normal(size=8) for text in texts])

    monkeypatch.setattr("leakatk.guards.detectors.load_encoder", lambda name: Encoder())

    def made(name, content):
        (tmp_path / name / "1_Pooling").mkdir(parents=True)
        (tmp_path / name / "1_Pooling" / "config.json").write_text(content)
        (tmp_path / name / "config.json").write_text("{}")
        return str(tmp_path / name)

    return made


def fit(name):
    """The guard as it is fitted here."""
    return get_guard(name).with_options(**HERE.get(name, {}))


def another(option, value, encoder):
    """A value that the option does not have."""
    if option in ENCODERS:
        return encoder("another", "1")
    if option == "sae":
        return saved_autoencoder()
    if option in OTHER:
        return OTHER[option]
    if isinstance(value, bool):
        return not value
    if isinstance(value, int | float):
        return value + (1 if isinstance(value, int) else 0.25)
    return f"{value} *"


@functools.cache
def saved_autoencoder():
    """A directory with a sparse autoencoder for the models here."""
    place = tempfile.TemporaryDirectory()
    atexit.register(place.cleanup)
    return str(save_sparse(fit_sparse(torch.randn(50, 32), SparseSettings(features=64, top=40, steps=1)), place.name))


@pytest.mark.parametrize(("name", "option"), OPTIONS)
def test_the_manifest_changes_with_every_option(model, known, encoder, name, option):
    def told(spec):
        return guarded(NativeSampler(model), known, spec).describe()

    one, other = (
        told(fit(name)),
        told(fit(name).with_options(**{option: another(option, fit(name).options()[option], encoder)})),
    )
    assert one["guard"] != other["guard"]
    assert len({one["fingerprint"], other["fingerprint"], NativeSampler(model).describe()["fingerprint"]}) == 3
    assert json.loads(json.dumps(one)) == one
    assert told(fit(name)) == one
    assert one["model"] == f"{model.name} with guard {name}"


@pytest.mark.parametrize(("name", "option"), [one for one in OPTIONS if one[1] in ENCODERS])
def test_the_manifest_knows_an_encoder_by_what_it_is(model, known, encoder, name, option):
    """Not by where it lies."""

    def told(place):
        guard = fit(name).with_options(**{option: place})
        return guarded(NativeSampler(model), known, guard).describe()["fingerprint"]

    assert told(encoder("here", "1")) == told(encoder("there", "1")) != told(encoder("changed", "2"))


@pytest.mark.parametrize("name", GUARDS)
def test_the_manifest_knows_the_data_that_it_needs(model, models, known, name):
    def told(known):
        return guarded(NativeSampler(model), known, fit(name)).describe()["fingerprint"]

    extra = {"forget": (*FORGET, replace(FORGET[0], id="f9")), "retain": (*RETAIN, replace(RETAIN[0], id="r9"))}
    for field in GUARDS[name].needs:
        kind, _, key = field.partition(" ")
        other = {"auxiliary": {**known.auxiliary, key: models[0]}} if kind == "auxiliary" else {field: extra[field]}
        assert told(replace(known, **other)) != told(known), field


@pytest.mark.parametrize("name", GUARDS)
def test_what_is_not_flagged_is_answered_as_without_it_and_what_is_flagged_is_not(model, known, bare, name):
    sampler = guarded(NativeSampler(model), known, fit(name))
    flags = dict(zip((prompt.id for prompt in ALL), sampler.flags(ALL), strict=True))
    if isinstance(GUARDS[name].detector, Always):
        assert all(flags.values())
    elif GUARDS[name].detector.reads_model:  # a random model tells prompts apart by chance
        assert any(flags.values())
    else:
        assert [prompt.id for prompt in ALL if flags[prompt.id]] == [prompt.id for prompt in FORGET]
    found, plain = drawn_as(sample(sampler, ALL)), drawn_as(bare)
    assert {key: one for key, one in found.items() if not flags[key[0]]} == {
        key: one for key, one in plain.items() if not flags[key[0]]
    }
    assert any(found[key] != plain[key] for key in found if flags[key[0]])


@pytest.mark.parametrize("name", GUARDS)
def test_a_sample_depends_on_nothing_but_itself(model, known, name):
    """Not on the other prompts, on their order, on how many are drawn, or on what was drawn before."""
    sampler = guarded(NativeSampler(model), known, fit(name))
    whole = drawn_as(sample(sampler, ALL))
    assert drawn_as(sample(sampler, ALL[::-1])) == whole
    alone = drawn_as(sample(guarded(NativeSampler(model), known, fit(name)), [FORGET[1], RETAIN[1]], n=2))
    assert alone == {key: whole[key] for key in alone}


@pytest.mark.parametrize("name", GUARDS)
def test_the_model_is_its_own_again(model, known, bare, name):
    before = {key: value.clone() for key, value in model.model.state_dict().items()}
    training, hooks = model.model.training, hooks_of(model.model)
    sample(guarded(NativeSampler(model), known, fit(name)), ALL)
    after = model.model.state_dict()
    assert before.keys() == after.keys()
    assert all(torch.equal(before[key], after[key]) for key in before)
    assert (model.model.training, hooks_of(model.model)) == (training, hooks)
    assert drawn_as(sample(NativeSampler(model), ALL)) == drawn_as(bare)


def hooks_of(model):
    return sum(len(module._forward_hooks) + len(module._forward_pre_hooks) for module in model.modules())


@pytest.mark.parametrize(("name", "need"), NEEDS)
def test_what_it_lacks_is_said_before_a_model_is_looked_at(known, name, need):
    kind, _, key = need.partition(" ")
    rest = {"auxiliary": {one: path for one, path in known.auxiliary.items() if one != key}}
    lacking = replace(known, **(rest if kind == "auxiliary" else {need: ()}))
    with pytest.raises(InputError, match=f"Guard {name} needs .*--"):
        guarded(Untouched(), lacking, name)


@pytest.mark.parametrize("name", GUARDS)
def test_its_tags_are_what_it_needs(name):
    guard = GUARDS[name]
    assert {"forget", "retain", "auxiliary"} & guard.tags == {need.partition(" ")[0] for need in guard.needs}
    has = any(option in ENCODERS for option in guard.options())
    assert ("encoder" in guard.tags) == has
    assert "suppression" in guard.tags
    assert "removal" not in guard.tags
    place_of(guard.action)


@pytest.mark.parametrize(("name", "option"), OPTIONS)
def test_options_are_read_as_they_are_written(name, option):
    value = "words" if option in (*ENCODERS, "sae") else another(option, GUARDS[name].options()[option], None)
    text = {True: "yes", False: "no"}[value] if isinstance(value, bool) else value
    made = get_guard(f"{name}:{option}={text}")
    assert made.options() == {**GUARDS[name].options(), option: value}
    assert get_guard(name) == GUARDS[name], "the registered one stays as it is"


@pytest.mark.parametrize("name", GUARDS)
def test_a_typo_is_answered(name):
    with pytest.raises(UnknownNameError, match="did you mean"):
        get_guard(f"{name}x")
    with pytest.raises(InputError, match="has no option 'nonsense'"):
        get_guard(f"{name}:nonsense=1")


@pytest.mark.parametrize("name", GUARDS)
def test_fitting_leaves_what_is_registered_alone(model, known, name):
    before = copy.deepcopy(dataclasses.asdict(GUARDS[name].detector))
    guarded(NativeSampler(model), known, fit(name))
    np.testing.assert_equal(dataclasses.asdict(GUARDS[name].detector), before)


@pytest.mark.parametrize("name", GUARDS)
def test_its_example_gives_what_it_needs(name):
    example = KINDS["guards"].command(GUARDS[name])
    assert f"--guard {name} " in example
    for model in GUARDS[name].action.models:
        assert f"--auxiliary {model}=" in example
