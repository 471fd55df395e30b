"""Ways of asking: their prompts, their places, and the worst case over them."""

import math

import numpy as np
import pytest

import leakatk as lk
from leakatk.auditing.asking import owner_of, place_of, probed, ways, with_wordings, worst_case
from leakatk.errors import InputError

TWO = [lk.Prompt("a", "Who taught Bo?", "Mira did."), lk.Prompt("b", "Who taught Cy?", "Ina did.")]


def test_a_probe_knows_its_prompts_their_owners_and_its_place():
    [one] = probed(["trigger"], TWO, [])
    assert one.owners == {prompt.id: prompt.id[0] for prompt in one.prompts}
    assert {owner_of(prompt.id, one.label) for prompt in one.prompts} == {"a", "b"}
    assert one.place == place_of(one.label)
    assert one.place.parts[0] == "probes"


def test_a_place_is_one_plain_name():
    assert place_of("few-shot:shots=2").parts == ("probes", "few-shot-shots=2")
    assert place_of("a/../b").parts == ("probes", "a-..-b")


def test_a_probe_given_twice_is_refused():
    with pytest.raises(InputError, match="prefix is given twice"):
        probed(["prefix", "prefix"], TWO, [])


def test_other_wordings_are_asked_unless_a_probe_asks_for_them():
    several = [lk.Prompt("a", "Who taught Bo?", "Mira did.", paraphrases=("Bo was taught by whom?",)), TWO[1]]
    assert [one.label for one in with_wordings([], several, [])] == ["paraphrase"]
    assert with_wordings([], TWO, []) == []
    given = probed(["paraphrase"], several, [])
    assert with_wordings(given, several, []) == given


def test_worst_case_with_gaps():
    """Rows without any score do not count; a missing score leaves that sample open; what gives the answer is out."""
    prompts = [lk.Prompt("a", "Who taught Bo?", "Mira did."), lk.Prompt("b", "Who taught Cy?", "Ina did.")]
    found = probed(["trigger", "context"], prompts, [])
    nan = math.nan
    plain = {"a": np.array([0.0, 1.0, 0.0]), "b": np.array([nan, nan, nan])}
    trigger = {"a/trigger": np.array([1.0, nan, 0.5]), "b/trigger": np.array([0.0, 1.0])}
    context = {"a/context": np.ones(3), "b/context": np.ones(3)}
    worst = worst_case(plain, [(found[0], trigger), (found[1], context)])
    np.testing.assert_array_equal(worst["a"], [1.0, nan, 0.5])
    np.testing.assert_array_equal(worst["b"], [0.0, 1.0])
    assert ways(found, prompts) == 2.0
    trigger["b/trigger"] = np.full(3, nan)
    assert set(worst_case(plain, [(found[0], trigger)])) == {"a"}


def test_the_worst_case_is_unbiased():
    """For 0/1 scores leak@k of the worst case is 1 - prod over ways of (1 - p)^k."""
    rng = np.random.default_rng(0)
    p, k = np.array([0.05, 0.2]), 3
    found = [lk.leak_at_k((rng.random((2, 8)) < p[:, None]).max(axis=0)[None].astype(float), k).value[0] for _ in range(600)]  # fmt: skip
    assert np.mean(found) == pytest.approx(1 - np.prod((1 - p) ** k), abs=4 * np.std(found) / np.sqrt(600))
