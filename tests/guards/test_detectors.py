"""Detectors: what they compare, what they learn, and what a manifest keeps of them."""

import numpy as np
import pytest
from scipy.optimize import approx_fprime

from leakatk.errors import InputError
from leakatk.guards import detectors
from leakatk.guards.detectors import Classifier, Similarity, encoder_mark, logistic, vectors
from leakatk.prompts import Known, Prompt, Query
from leakatk.scorers.encoder import PACKAGED, has_packaged
from tests.guards.conftest import FORGET, RETAIN

KNOWN = Known(forget=FORGET, retain=RETAIN, encoder="words")
ENCODERS = [
    "words",
    pytest.param(PACKAGED, marks=pytest.mark.skipif(not has_packaged(), reason="the encoder is not installed")),
]


@pytest.mark.parametrize("encoder", ENCODERS)
def test_vectors_have_length_one_and_do_not_depend_on_the_others(encoder):
    texts = [prompt.question for prompt in (*FORGET, *RETAIN)]
    whole = vectors([*texts, texts[0]], encoder)
    np.testing.assert_allclose(np.linalg.norm(whole, axis=1), 1, atol=1e-6)
    np.testing.assert_array_equal(whole[0], whole[-1])
    for row, text in zip(whole, texts, strict=False):
        np.testing.assert_allclose(vectors([text], encoder)[0], row, atol=1e-6)


def test_letters_see_spelling_alone():
    one, same, other = vectors(["Where was Ada born?", "  where WAS ada  born?", "Qu'est-ce?"], "words")
    assert one @ same == pytest.approx(1)
    assert one @ other < 0.1
    assert not vectors([""], "words").any()
    assert vectors([], "words").shape == (0, 4096)


@pytest.mark.parametrize("encoder", ENCODERS)
def test_similarity_is_the_largest_cosine_to_the_store(encoder):
    detector = Similarity(encoder=encoder).fit(KNOWN, None)
    prompts = [*FORGET, *RETAIN]
    made = [
        [float(a @ b) for b in vectors([p.question for p in FORGET], encoder)]
        for a in vectors([p.question for p in prompts], encoder)
    ]
    np.testing.assert_allclose(detector.score(prompts), np.max(made, axis=1), atol=1e-6)
    assert detector.flags(prompts).tolist() == [True] * 3 + [False] * 4
    assert detector.score([]).shape == (0,)


@pytest.mark.skipif(not has_packaged(), reason="the encoder is not installed")
def test_a_sentence_encoder_sees_another_wording():
    """What spelling cannot: the reason for an encoder."""
    other = [Prompt("x", "In which town did Ada Korvin come into the world?", "y")]
    far = [Prompt("z", "How many legs has a spider?", "y")]
    detector = Similarity(encoder=PACKAGED).fit(KNOWN, None)
    assert detector.score(other)[0] > 0.6 > detector.score(far)[0] + 0.2
    assert Similarity(encoder="words").fit(KNOWN, None).score(other)[0] < 0.5


def test_the_last_message_is_read():
    detector = Similarity().fit(KNOWN, None)
    asked = Query("How many moons has the planet Ull?", turns=((FORGET[0].question, "In Zorvik."),))
    put = Prompt("f0", FORGET[0].question, "y", asked=asked)
    assert detector.score([put])[0] == detector.score([RETAIN[0]])[0]


def test_the_logistic_regression_is_at_its_minimum():
    """Against the loss written a second time, by finite differences; classes of different size weigh the same."""
    rng = np.random.default_rng(0)
    features, label = rng.normal(size=(30, 4)), np.array([1.0] * 8 + [0.0] * 22)
    features[label == 1] += 0.8

    def loss(weights):
        total = 0.0
        for x, y in zip(features, label, strict=True):
            p = 1 / (1 + np.exp(-(x @ weights[:-1] + weights[-1])))
            total -= (np.log(p) / 8 if y else np.log(1 - p) / 22) / 2
        return total + 0.05 / 2 * (weights[:-1] ** 2).sum()

    found = logistic(features, label, 0.05)
    np.testing.assert_allclose(approx_fprime(found, loss, 1e-7), 0, atol=1e-5)
    assert all(loss(found) <= loss(found + step) for step in rng.normal(scale=0.1, size=(20, 5)))


@pytest.mark.parametrize("encoder", ENCODERS)
def test_a_classifier_tells_forget_from_retain(encoder):
    detector = Classifier(encoder=encoder).fit(KNOWN, None)
    assert detector.flags([*FORGET, *RETAIN]).tolist() == [True] * 3 + [False] * 4
    assert detector.score([]).shape == (0,)
    assert ((detector.score(RETAIN) > 0) & (detector.score(RETAIN) < 0.5)).all()


def test_a_calibrated_classifier_trains_on_one_half_and_calibrates_on_the_other():
    kept = tuple(Prompt(f"k{i}", f"How many moons has planet {i}?", "Few.") for i in range(40))
    detector = Classifier(keep=0.9).fit(Known(forget=FORGET, retain=kept, encoder="words"), None)
    alone = Classifier().fit(Known(forget=FORGET, retain=kept[::2], encoder="words"), None)
    np.testing.assert_array_equal(detector.weights, alone.weights)
    scores = np.sort(np.round(detector.score(kept[1::2]), 6))
    assert scores[18] < detector.limit <= np.nextafter(scores[18], 1)  # ceil(21 x 0.9) = 19th of 20
    with pytest.raises(InputError, match="needs at least 19 of them to be calibrated on, and there are 2"):
        Classifier(keep=0.95).fit(KNOWN, None)


def test_fitting_leaves_the_registered_detector_alone():
    detector = Similarity()
    detector.fit(KNOWN, None)
    assert detector == Similarity()
    assert detector.store.size == 0


def test_without_an_encoder_it_says_how_to_give_one(monkeypatch):
    monkeypatch.setattr(detectors, "has_packaged", lambda: False)
    with pytest.raises(InputError, match="needs a sentence encoder; give it with --encoder"):
        Similarity().fit(Known(forget=FORGET), None)
    with pytest.raises(InputError, match="penalty must be above 0"):
        Classifier(penalty=0.0).fit(KNOWN, None)


def test_the_manifest_knows_the_encoder(tmp_path):
    for name, content in (("a", "1"), ("b", "2")):
        (tmp_path / name / "1_Pooling").mkdir(parents=True)
        (tmp_path / name / "config.json").write_text("{}")
        (tmp_path / name / "1_Pooling" / "config.json").write_text(content)
    assert encoder_mark(str(tmp_path / "a")) != encoder_mark(str(tmp_path / "b"))
    assert "words" in Similarity().fit(KNOWN, None).describe()["encoder"]
    assert Similarity().fit(KNOWN, None).describe()["limit"] == 0.8
