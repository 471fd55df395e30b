"""The adversary that guesses what was forgotten: its doubt by hand, its guess by brute force, at chance where nothing shows."""

from dataclasses import replace

import numpy as np
import pytest

from leakatk.attacks import get_attack
from leakatk.attacks.guess_item import CHANCE, LINE, doubt, guess_items, guess_scores, items_of, line_up, wordings
from leakatk.errors import InputError
from leakatk.guards.sampler import guarded
from leakatk.models.load import load_model
from leakatk.prompts import Known, Prompt
from leakatk.sampling.native import NativeSampler


def ask(item, what, again=True):
    second = (f"Tell me the {what} of {item}.",) if again else ()
    return Prompt(f"{item} {what}", f"What is the {what} of {item}?", "-", paraphrases=second, source=item)


ADA = [ask("Ada", "town"), ask("Ada", "year")]
BO = [ask("Bo", "town"), ask("Bo", "year")]
SAID = {
    "Ada town": "The town of Ada is Bex.",
    "Ada town again": "The town of Ada is Bex.",
    "Ada year": "The year of Ada is 1901.",
    "Ada year again": "The year of Ada is 1902.",
    "Bo town": "The town of Bo is Orlo.",
    "Bo town again": "The town of Bo is Orlo.",
    "Bo year": "The year of Bo is 1950.",
    "Bo year again": "The year of Bo is 1950.",
}


def test_doubt_by_hand():
    assert doubt(BO, ADA, SAID) == 0.0
    assert doubt(ADA, BO, SAID) == 0.5  # the towns agree, the years have nothing in common
    half = {**SAID, "Ada year again": "The year of Ada is 1901 or 1902."}
    assert doubt(ADA, BO, half) == pytest.approx((0 + (1 - 1 / 3)) / 2)  # 1901 of 1901, or, 1902
    quiet = {**SAID, "Ada year": "I don't know.", "Ada year again": "I don't know."}
    assert doubt(ADA, BO, quiet) == 0.5  # agreeing refusals say nothing
    echo = {**SAID, "Ada year": "Ada year.", "Ada year again": "Ada year."}
    assert doubt(ADA, BO, echo) == 0.5  # words of the question say nothing
    same = {**SAID, "Ada year": "The year of Ada is 1950.", "Ada year again": "The year of Ada is 1950."}
    assert doubt(ADA, BO, same) == 0.5  # it stands in Bo's answer too, and tells nothing of Ada
    one = [ask("Ada", "town", again=False)]
    assert doubt(one, BO, SAID) == 0.0
    assert doubt(one, BO, {**SAID, "Ada town": "I don't know."}) == 1.0


def test_the_guess_by_brute_force():
    """Over random doubts the adversary's chance is that of a uniform pick among those doubted most."""
    rng = np.random.default_rng(0)
    forget = [ask(f"F{i}", "town", again=False) for i in range(6)]
    retain = [ask(f"K{i}", "town", again=False) for i in range(9)]
    kept = items_of(retain)
    texts = {
        one.id: "I don't know." if rng.random() < 0.4 else f"It is Town{i}." for i, one in enumerate((*forget, *retain))
    }
    found = guess_scores(forget, retain, texts)
    for prompt in forget:
        line = line_up(prompt.source, list(kept))
        assert len(line) == len(set(line)) == LINE
        assert line[0] == prompt.source
        silent = [name for name in line if texts[f"{name} town"] == "I don't know."]
        picks = silent or line
        assert found[prompt.source] == pytest.approx(sum(name == prompt.source for name in picks) / len(picks))
    assert len(set(found.values())) > 2  # or the draw shows nothing


def test_where_nothing_shows_it_guesses():
    people = [ask(f"P{i}", "town") for i in range(9)]
    texts = {way.id: f"It is Town{i}." for i, one in enumerate(people) for way in wordings(one)}
    assert set(guess_scores(people[:4], people[4:], texts).values()) == {CHANCE}


def test_refusals_give_the_item_away_and_knowledge_does_not(original, forgot, forget, retain):
    known = Known(forget=tuple(forget), unseen=tuple(forget), retain=tuple(retain))
    attack = get_attack("guess-item:max_new_tokens=12")
    before, after = (attack.scores(load_model(path), known) for path in (original, forgot))
    few = attack.scores(load_model(forgot), replace(known, unseen=tuple(forget[2:5])))
    assert few.tolist() == after[2:5].tolist()
    assert after.mean() > before.mean()
    assert after.mean() >= 0.5


def test_behind_a_guard_it_reads_what_the_guard_says(original, forget, retain):
    """A refusal to the forgotten alone names them all."""
    known = Known(forget=tuple(forget), retain=tuple(retain), encoder="words")
    sampler = guarded(NativeSampler(load_model(original)), known, "curate")
    assert list(sampler.flags([*forget, *retain])) == [True] * len(forget) + [False] * len(retain)
    found = guess_items(sampler, known, max_new_tokens=12)
    bare = guess_items(NativeSampler(load_model(original)), known, max_new_tokens=12)
    assert np.mean(list(found.values())) > np.mean(list(bare.values()))
    assert np.mean(list(found.values())) >= 0.5


def test_too_few_kept_items(forget, retain):
    with pytest.raises(InputError, match=r"needs 3 kept items \(by source\), and the retain prompts have 2"):
        guess_items(None, Known(forget=tuple(forget), retain=tuple(retain[:2])))
