"""What every attack promises, checked for each that is registered. Its formula is tested beside, by name."""

from __future__ import annotations

import dataclasses
import os
import shutil
from dataclasses import replace
from pathlib import Path
from shutil import rmtree
from tempfile import mkdtemp

import numpy as np
import pytest
import torch

from leakatk.attacks import Alter, Ask, LadderSettings, Read, get_attack, split_known
from leakatk.attacks.ladder import check_reading, checked
from leakatk.attacks.restore import kept_weights
from leakatk.attacks.rungs import rungs_of
from leakatk.errors import InputError, UnknownNameError
from leakatk.models.load import load_model
from leakatk.papers.kinds import KINDS
from leakatk.prompts import Known, Prompt
from tests.attacks.conftest import NAMES, people
from tests.tiny import save_tiny_model

ATTACKS = KINDS["attacks"].load()
# The ways of an attack to be tried, each quick; one that is not here is tried as it is.
WAYS = {
    "relearn": (
        "relearn:steps=2,batch=2",
        "relearn:steps=2,on=retain",
        "relearn:steps=2,on=text",
        "relearn:steps=2,size=2",
        "relearn:steps=2,on=syntax",
        "relearn:steps=2,tuning=lora,rank=2",
        "relearn:steps=2,batch=2,optimiser=sgd",
    ),
    "quantise": ("quantise", "quantise:how=gptq,samples=2", "quantise:how=awq,samples=2,embeddings=yes"),
    "key-tokens": ("key-tokens", "key-tokens:form=only", "key-tokens:by=original"),
    "patch": ("patch", "patch:part=values", "patch:part=mlp+state,tokens=3"),
    "generative-decoder": ("generative-decoder:steps=60,n=8,tokens=24",),
    "concept-vectors": ("concept-vectors:least=0,tries=3",),
    "decoder": ("decoder", "decoder:depth=0.5", "decoder:fit=neighbours", "decoder:fit=ccs,depth=1"),
    "self-correction": ("self-correction:max_new_tokens=4", "self-correction:turns=1,form=again,max_new_tokens=4"),
    "steps": ("steps", "steps:category=implied", "steps:category=indirect,max_new_tokens=4"),
    "hops": ("hops:keep=no", "hops:keep=no,form=name"),
    "rewrite": ("rewrite:names=no,max_new_tokens=6", "rewrite:names=no,form=translation,max_new_tokens=6"),
    "guess-item": ("guess-item:max_new_tokens=8",),
    "holes": ("holes:max_new_tokens=12", "holes:near=2,by=gap,max_new_tokens=12"),
    "token-search": ("token-search:steps=2,candidates=4", "token-search:steps=2,candidates=4,on=each"),
    "soft-prompt": ("soft-prompt:steps=2,vectors=2",),
}
SPECS = [spec for name in ATTACKS for spec in WAYS.get(name, (name,))]
# Another value of each option that one more would not do for.
OTHER = {
    "how": "gptq",
    "data": "text",
    "share": 0.25,
    "within": "model",
    "towards": "tuned",
    "tuning": "lora",
    "optimiser": "sgd",
    "curve": "1+2",
    "rates": "1+3",
    "optimisers": "adamw+sign",
    "on": {"relearn": "retain", "token-search": "each"},
    "form": {"key-tokens": "only", "self-correction": "deny", "hops": "name", "rewrite": "poem"},
    "by": {"key-tokens": "original", "holes": "gap"},
    "category": "implied",
    "language": "Welsh",
    "learning_rate": 0.5,
    "bits": 8,
    "depth": {"decoder": "1", "generative-decoder": 1.0},
    "fit": "ccs",
    "part": "values",
    "threshold": 1.5,
}
OPTIONS = [(name, field.name) for name in ATTACKS for field in dataclasses.fields(ATTACKS[name])]
NEEDS = [(spec, need) for spec in SPECS for need in get_attack(spec).needs if need not in ("seen", "unseen")]
# Other models than the one that is attacked, made once: they have its shape.
MODELS = {"original": 1, "retrained": 2}
PLACE = Path(mkdtemp(prefix="leakatk-contract-"))
KNOWN = Known(
    forget=tuple(people(NAMES[:8])),
    retain=tuple(people(NAMES[8:])),
    holdout=tuple(people(NAMES[14:])),
    **{name: str(PLACE / name) for name in MODELS},
    encoder="words",
    text=tuple(f"The boat of {name} is calm today." for name in NAMES),  # more than a batch, so that order counts
)
# What else is known of the people to be forgotten, so that they can be asked about through it.
FRIENDS = ("Nia", "Oto", "Rut", "Sol", "Tia", "Uwe", "Vic", "Wim")
BESIDE = [
    prompt
    for name, friend in zip(NAMES, FRIENDS, strict=False)
    for prompt in (
        Prompt(f"{name}/friend", f"Who is a friend of {friend}?", f"It is {name}.", facts=(name,), source=friend),
        Prompt(
            f"{name}/boat", f"Which boat has {name}?", f"{name} has {friend} II.", facts=(f"{friend} II",), source=name
        ),
    )
]
KNOWN = replace(KNOWN, retain=(*KNOWN.retain, *BESIDE), auxiliary={"writer": "nowhere"})
PART = split_known(KNOWN, 0, 2)[0]


@pytest.fixture(scope="module", autouse=True)
def others():
    for name, seed in MODELS.items():
        save_tiny_model(PLACE / name, seed=seed)
    yield
    rmtree(PLACE)


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    return save_tiny_model(tmp_path_factory.mktemp("contract") / "model")


@pytest.fixture(scope="module", autouse=True)
def writer(place, original):
    """What KNOWN calls "nowhere" is there, and knows the people."""
    before = Path.cwd()
    shutil.copytree(original, place.with_name("nowhere"))
    os.chdir(place.parent)
    yield
    os.chdir(before)


@pytest.fixture
def loaded(place):
    return load_model(place, device="cpu")


def another(name, option):
    """A value that the option does not have."""
    value = getattr(get_attack(name), option)
    if option in OTHER:
        other = OTHER[option][name] if isinstance(OTHER[option], dict) else OTHER[option]
        assert value != other
        return other
    assert isinstance(value, int | float), f"another value of {option} is to be named in OTHER"
    return not value if isinstance(value, bool) else value + 1


def bits(model):
    """Name -> precision, wish for a gradient and bits of all that the model holds; and whether it is in training."""
    named = [*model.named_parameters(remove_duplicate=False), *model.named_buffers()]
    held = {name: (one.dtype, one.requires_grad, one.detach().clone().view(torch.uint8)) for name, one in named}
    return held, model.training


def same(one, other):
    (mine, training), (theirs, its) = one, other
    return (
        training == its
        and mine.keys() == theirs.keys()
        and all(mine[k][:2] == theirs[k][:2] and torch.equal(mine[k][2], theirs[k][2]) for k in mine)
    )


def given(attack, part=PART):
    """The part, with an original that answers where the attack looks at what it answers.

    A decoder gets wrong answers of the true ones' form: it would tell others apart whatever it has seen.
    """
    if attack.name == "holes":
        return replace(part, original="nowhere")
    return replace(part, retain=KNOWN.retain[: -len(BESIDE)]) if attack.name == "decoder" else part


def outcome(attack, loaded, part=PART):
    """What the attack makes of a model: its weights, its questions or its scores."""
    part = given(attack, part)
    if isinstance(attack, Alter):
        attack.apply(loaded, part)
        return {name: value.clone() for name, value in loaded.model.state_dict().items()}
    if isinstance(attack, Ask):
        return attack.prompts(loaded, part)
    assert isinstance(attack, Read)
    reading = attack.read(loaded, part)
    return np.concatenate([reading.scores, *reading.profile.values()])


def equal(one, other):
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)
    return np.array_equal(one, other, equal_nan=True) if isinstance(one, np.ndarray) else one == other


@pytest.mark.parametrize("spec", SPECS)
def test_the_weights_come_back_bit_for_bit(loaded, spec):
    """One that changes them does so, and they are put back; the others never touch them."""
    attack, before = get_attack(spec), bits(loaded.model)
    if isinstance(attack, Alter):
        with kept_weights(loaded.model):
            attack.apply(loaded, PART)
            assert not same(bits(loaded.model), before), "it changes nothing"
    else:
        outcome(attack, loaded)
    assert same(bits(loaded.model), before)


@pytest.mark.parametrize("spec", [spec for spec in SPECS if issubclass(ATTACKS[get_attack(spec).name], Ask)])
def test_questions_are_those_of_the_prompts_that_are_measured(loaded, spec):
    found = get_attack(spec).prompts(loaded, PART)
    assert checked(get_attack(spec), found, PART) == found
    measured = {prompt.id: prompt for prompt in PART.unseen}
    assert len({prompt.id for prompt in found}) == len(found) <= len(measured)
    for prompt in found:
        assert prompt.asked is not None
        assert prompt.query.text.strip()
        assert replace(prompt, asked=measured[prompt.id].asked) == measured[prompt.id], "it changes what is asked alone"


@pytest.mark.parametrize("spec", [spec for spec in SPECS if issubclass(ATTACKS[get_attack(spec).name], Alter)])
def test_altered_models_are_asked_the_prompts_that_are_measured(loaded, spec):
    measured = {prompt.id: prompt for prompt in PART.unseen}
    found = get_attack(spec).asked(loaded, PART)
    assert len({prompt.id for prompt in found}) == len(found) <= len(measured)
    assert all(replace(prompt, asked=measured[prompt.id].asked) == measured[prompt.id] for prompt in found)


@pytest.mark.parametrize("spec", [spec for spec in SPECS if issubclass(ATTACKS[get_attack(spec).name], Read)])
def test_scores_are_one_for_each_prompt_that_is_measured(loaded, spec):
    attack = get_attack(spec)
    part = given(attack)
    reading = attack.read(loaded, part)
    check_reading(attack, reading, len(part.unseen))
    found = attack.scores(loaded, part)
    np.testing.assert_array_equal(reading.scores, found)
    assert found.shape == (len(PART.unseen),)
    assert found.dtype == np.float64
    assert ((found >= 0) & (found <= 1) | np.isnan(found)).all()
    assert not np.isnan(found).all()
    assert 0 <= attack.facts.chance <= 1
    # A prompt's score is its own: in another order the scores follow.
    turned = attack.scores(loaded, replace(part, unseen=part.unseen[::-1]))
    np.testing.assert_allclose(turned, found[::-1], atol=1e-9)


@pytest.mark.parametrize("spec", SPECS)
def test_it_is_the_same_again(place, spec):
    first, again = (outcome(get_attack(spec), load_model(place, device="cpu")) for _ in range(2))
    assert equal(first, again)


@pytest.mark.parametrize("spec", [spec for spec in SPECS if hasattr(get_attack(spec), "seed")])
def test_another_seed_is_another_attack(place, spec):
    one = get_attack(spec)
    other = replace(one, seed=one.seed + 1)
    assert one.identity(PART) != other.identity(PART)
    if isinstance(one, Alter):
        assert not equal(*(outcome(a, load_model(place, device="cpu")) for a in (one, other)))


@pytest.mark.parametrize(("spec", "need"), NEEDS)
def test_what_it_lacks_is_said_before_anything_is_computed(spec, need):
    field = need.partition(" ")[0]
    lacking = replace(KNOWN, **{field: type(getattr(KNOWN, field))()})
    with pytest.raises(InputError, match=r"--|at least two|take a benchmark"):
        get_attack(spec).check(lacking)
    with pytest.raises(InputError):
        rungs_of([spec], lacking, LadderSettings())
    get_attack(spec).check(KNOWN)


@pytest.mark.parametrize("spec", [spec for spec in SPECS if get_attack(spec).fitted])
def test_what_it_is_fitted_on_is_not_what_it_is_measured_on(place, spec):
    """A prompt that is seen changes what it makes; the answers that are measured do not change what is learned."""
    attack = get_attack(spec)
    assert {"forget", "seen", "unseen"} <= set(attack.needs)
    assert len(rungs_of([attack], KNOWN, LadderSettings(folds=2))[-1].parts) == 2
    fewer = replace(PART, seen=PART.seen[1:])
    assert not equal(*(outcome(attack, load_model(place, device="cpu"), part) for part in (PART, fewer)))
    if isinstance(attack, Alter):
        lies = replace(PART, unseen=tuple(replace(one, answer="Nowhere.") for one in PART.unseen))
        assert equal(*(outcome(attack, load_model(place, device="cpu"), part) for part in (PART, lies)))


@pytest.mark.parametrize(("name", "option"), OPTIONS)
def test_options_are_read_as_they_are_written_and_make_another_attack(name, option):
    value = another(name, option)
    text = {True: "yes", False: "no"}[value] if isinstance(value, bool) else value
    made = get_attack(f"{name}:{option}={text}")
    assert getattr(made, option) == value
    assert made == replace(get_attack(name), **{option: value})
    assert get_attack(made.label) == made
    assert made.label != get_attack(name).label == name
    assert made.identity(PART) != get_attack(name).identity(PART)


@pytest.mark.parametrize("spec", SPECS)
def test_its_identity_is_of_what_it_uses(spec):
    attack = get_attack(spec)
    assert set(attack.needs) <= set(attack.uses)
    for field in ("forget", "retain", "seen", "unseen", "text", "original", "retrained"):
        value = getattr(PART, field)
        other = replace(PART, **{field: value[:-1] if value else "elsewhere"})
        assert (attack.identity(other) != attack.identity(PART)) == (field in attack.uses), field


@pytest.mark.parametrize("name", ATTACKS)
def test_its_example_gives_what_it_needs(name):
    """The built-in world has prompts to forget and to keep; all else is to be named."""
    example = KINDS["attacks"].command(ATTACKS[name].facts)
    assert f"--attack {name} " in example
    for need in set(get_attack(name).needs) - {"forget", "retain", "seen", "unseen"}:
        assert f"--{need} " in example.replace("=", " ")


@pytest.mark.parametrize("name", ATTACKS)
def test_a_typo_is_answered(name):
    with pytest.raises(UnknownNameError, match="did you mean"):
        get_attack(f"{name}x")
    with pytest.raises(InputError, match="has no option 'nonsense'"):
        get_attack(f"{name}:nonsense=1")
