"""What reads is held to a model that only says no more what it knows, beside one that never knew it (`late`)."""

import numpy as np
import pytest

from leakatk.attacks import get_attack, split_known
from leakatk.attacks.ladder import check_reading
from leakatk.attacks.restore import kept_weights
from leakatk.estimate.leak import excess
from leakatk.models.load import load_model
from leakatk.prompts import Known
from leakatk.sampling.greedy import greedy_texts
from tests.attacks.late import make

# Three small trainings, half a minute on an idle core: on a busy one they may take as long as they like.
pytestmark = pytest.mark.timeout(3600)


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    return make(tmp_path_factory.mktemp("late"))


@pytest.fixture(scope="module")
def models(world):
    return {name: load_model(getattr(world, name), device="cpu") for name in ("original", "retrained", "late")}


@pytest.fixture(scope="module")
def known(world):
    return Known(
        forget=tuple(world.forget),
        unseen=tuple(world.forget),
        retain=tuple(world.retain),
        original=str(world.original),
        retrained=str(world.retrained),
    )


def said(loaded, prompts):
    texts = greedy_texts(loaded, prompts, 6)
    return np.mean([text.startswith(prompt.answer) for text, prompt in zip(texts, prompts, strict=True)])


def read(attack, loaded, known):
    """(m,) scores over all folds, in the order of the prompts."""
    parts = split_known(known, 0, 2) if attack.fitted else [known]
    found = {}
    for part in parts:
        reading = attack.read(loaded, part)
        check_reading(attack, reading, len(part.unseen))
        found |= dict(zip([prompt.id for prompt in part.unseen], reading.scores, strict=True))
    return np.array([found[prompt.id] for prompt in known.forget])


def test_the_world_is_what_it_says(models, world):
    assert said(models["original"], world.forget) > 0.9
    assert said(models["late"], world.forget) < 0.2
    assert said(models["late"], world.retain) > 0.9
    assert said(models["retrained"], world.forget) < 0.5


@pytest.mark.parametrize(
    "spec",
    ["patch", "depth", "decoder", "decoder:fit=neighbours", "generative-decoder"],
)
def test_it_reads_what_is_held_back_and_nothing_that_never_was(models, known, spec):
    """The interval of the excess over the retrained model lies above zero."""
    attack = get_attack(spec)
    mine, never = (read(attack, models[name], known) for name in ("late", "retrained"))
    curve = excess(mine[:, None], never[:, None], 1, over="prompts")
    assert curve.low[0] > 0, (mine.mean(), never.mean())
    if attack.facts.chance == 0.5:
        assert abs(never.mean() - 0.5) < 0.25


def test_the_profile_says_where(models, known):
    patched = get_attack("patch").read(models["late"], known)
    assert "the largest mean KRS is in layer 2." in patched.notes
    assert patched.profile["layer 2"].min() > 0.99  # all but what the value vectors of that layer changed
    assert np.abs(patched.profile["layer 0"]).max() < 1e-6  # both models compute the same there
    whole = get_attack("patch:part=coefficients+attention+values").read(models["late"], known)
    np.testing.assert_allclose(whole.profile["layer 2"], 1, atol=1e-9)
    alike = get_attack("cka").read(models["late"], known)
    assert alike.whole["CKA on forget, layer 2"] == pytest.approx(1)
    assert alike.whole["CKA on forget, layer 3"] < 0.9
    never = get_attack("cka").read(models["retrained"], known)
    assert never.scores.mean() < alike.scores.mean()
    deep = get_attack("depth").read(models["late"], known)
    assert np.nanmean(deep.profile["layer 1"]) == pytest.approx(1)


def test_with_the_originals_last_layer_it_answers_again_and_the_retrained_does_not(models, known, world):
    for name, least, most in (("late", 0.9, 1.0), ("retrained", 0.0, 0.5)):
        loaded = models[name]
        with kept_weights(loaded.model):
            get_attack("graft").apply(loaded, known)
            assert least <= said(loaded, world.forget) <= most
