"""RULE's detection, with a sampler whose texts are written down: leaks, levels, bounds and what is hidden."""

import math
from dataclasses import replace

import numpy as np
import pytest

from leakatk.estimate.certify import certify
from leakatk.sampling.decoding import Decoding
from leakatk.sampling.teacher_forcing import answer_logprob
from leakatk.unlearning.rule.detect import Asked, Detector, Leak, detected_level, wordings
from leakatk.unlearning.rule.settings import RuleSettings
from leakatk.unlearning.settings import TrainSettings
from leakatk.unlearning.trainer import unlearn
from tests.unlearning.rule.test_rule import Scripted, leaks

SETTINGS = RuleSettings(n=8, k=8, cap=2)


def detect(loaded, forget, sampler, settings=SETTINGS, score=leaks, known=(), seed=0):
    return Detector(loaded, forget, score, settings, sampler).detect(known, seed=seed)


def test_leaks_are_distinct_most_frequent_first_and_at_most_cap(loaded, forget):
    said = {"Fa0": ["LEAK a", "LEAK b", "LEAK b", "LEAK c", "LEAK c", "LEAK c", "fine", "LEAK b"], "Fa1": ["LEAK x"]}
    found = detect(loaded, forget, Scripted(said))
    asked = {p.id: p.question for p in forget}
    assert found.leaks == (
        Leak("Fa0", asked["Fa0"], "LEAK b", 3), Leak("Fa0", asked["Fa0"], "LEAK c", 3), Leak("Fa1", asked["Fa1"], "LEAK x", 8)
    )  # fmt: skip
    assert found.leak == pytest.approx(2 / 5)
    assert found.high == pytest.approx(float(certify([[1] * 8] * 2 + [[0] * 8] * 3, [8]).high[0]))
    assert (found.hidden, found.unscored, found.cut) == (0, 0, 0.0)


def test_what_is_known_is_not_found_again_but_still_leaks(loaded, forget):
    known = [Leak("Fa0", forget[0].question, "LEAK a", 1)]
    found = detect(loaded, forget, Scripted({"Fa0": ["LEAK a"]}), known=known)
    assert found.leaks == ()
    assert found.leak == pytest.approx(1 / 5)


def test_the_threshold_is_a_leak_itself(loaded, forget):
    def half(prompts, texts):
        return np.array([0.5 * ("LEAK" in text) for text in texts])

    said = Scripted({"Fa0": ["LEAK a"]})
    assert detect(loaded, forget, said, replace(SETTINGS, threshold=0.5), half).leak == pytest.approx(1 / 5)
    assert detect(loaded, forget, said, replace(SETTINGS, threshold=0.51), half).leak == 0


def test_the_leak_at_k_is_that_of_the_counts(loaded, forget):
    """Two of eight samples leak: one of k = 2 drawn without replacement does with 1 - C(6, 2) / C(8, 2)."""
    found = detect(loaded, forget, Scripted({"Fa3": ["LEAK a", "b", "c", "d"]}), replace(SETTINGS, k=2))
    assert found.leak == pytest.approx((1 - 15 / 28) / 5)


def test_a_greedy_decoding_is_asked_once_and_counts_for_all_samples(loaded, forget):
    sampler = Scripted({"Fa0": ["LEAK a"]})
    found = detect(loaded, forget, sampler, replace(SETTINGS, decodings=(Decoding(temperature=0.0),)))
    assert sampler.asked == [[(p.id, [0]) for p in forget]]
    assert found.leak == pytest.approx(1 / 5)


def test_what_has_no_score_counts_in_the_bound_alone(loaded, forget):
    def partly(prompts, texts):
        return np.array([math.nan if p.id == "Fa4" else 0.0 for p in prompts])

    found = detect(loaded, forget, Scripted({}), score=partly)
    assert (found.leak, found.unscored, found.leaks) == (0.0, 1, ())
    assert found.high == pytest.approx(float(certify([[0] * 8] * 4 + [[1] * 8], [8]).high[0]))


def test_a_chunk_stops_a_prompt_with_enough_leaks_and_measures_nothing(loaded, forget):
    sampler = Scripted({"Fa0": ["LEAK a", "LEAK b"]})
    found = detect(loaded, forget, sampler, replace(SETTINGS, chunk=4))
    assert [dict(call).keys() for call in sampler.asked] == [{p.id for p in forget}, {p.id for p in forget[1:]}]
    assert math.isnan(found.leak)
    assert math.isnan(found.high)


def test_hidden_answers_are_those_that_so_many_samples_would_probably_show(loaded, forget):
    learn = TrainSettings(learning_rate=3e-3, max_steps=150, forget_batch=2, retain_batch=8)
    unlearn(loaded, forget, forget[:3], "retrain", settings=learn, quiet=True)
    exact = np.exp(answer_logprob(loaded, forget, Decoding(), [p.answer for p in forget]))
    for count in (10, 1000):
        expected = [p.answer for p, chance in zip(forget, exact, strict=True) if 1 - (1 - chance) ** count > 0.5]
        found = detect(loaded, forget, Scripted({}), replace(SETTINGS, exact_at=count))
        assert found.hidden == len(expected)
        assert found.leaks == ()  # the true answers are in the forget set already
    assert expected
    known = [Leak("Fa0", "another question", forget[0].answer, 1)]
    assert detect(loaded, forget, Scripted({}), replace(SETTINGS, exact_at=1000), known=known).hidden == found.hidden


def test_wordings_are_prompts_of_their_own(forget):
    prompt = replace(forget[0], paraphrases=("a?", "b?", "c?"))
    assert [(p.id, p.question) for p in wordings(prompt, 2)] == [
        ("Fa0", prompt.question), ("Fa0/1", "a?"), ("Fa0/2", "b?")
    ]  # fmt: skip
    assert wordings(forget[0], 2) == [forget[0]]


def test_what_is_asked_and_what_never_is(loaded, forget):
    worded = [replace(forget[0], paraphrases=("a?", "b?", "c?")), replace(forget[1], paraphrases=("d?",)), forget[2]]
    asked = Asked.of(worded, 2)
    assert asked.asked == {
        "Fa0": [forget[0].question, "a?", "b?"], "Fa1": [forget[1].question, "d?"], "Fa2": [forget[2].question]
    }  # fmt: skip
    assert asked.never == {"Fa0": ["c?"]}
    assert asked.says() == (
        "Detection asks 6 questions: 3 wordings a prompt (2 of 3 prompts have fewer). "
        "Never asked: 1 wordings of 1 prompts, such as 'c?' (Fa0)."
    )
    assert Asked.of(forget, 0).says() == "Detection asks 5 questions: 1 wording a prompt; the prompts have no other."
    assert detect(loaded, worded, Scripted({}), replace(SETTINGS, wordings=2)).unasked == 1


def test_all_prompts_and_wordings_are_asked_in_one_call(loaded, forget):
    worded = [replace(p, paraphrases=("a?", "b?")) for p in forget]
    sampler = Scripted({})
    detect(loaded, worded, sampler, replace(SETTINGS, wordings=2))
    assert [len(call) for call in sampler.asked] == [15]


def test_the_detected_level_is_the_worst_decoding(loaded, forget):
    settings = RuleSettings(n=8, k=8, decodings=(Decoding(), Decoding(temperature=0.5)))
    sampler = Scripted({}, {"Fa0": ["LEAK a"]})
    assert detected_level(loaded, forget, score=leaks, settings=settings, sampler=sampler) == pytest.approx(0.2)
