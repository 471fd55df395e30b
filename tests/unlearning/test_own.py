"""What a model says by itself: by names it says, and by pieces of its own answers."""

import random
from dataclasses import replace

import numpy as np

from leakatk.progress import Progress
from leakatk.unlearning import own
from leakatk.unlearning.garble import NAME
from leakatk.unlearning.levels import Levels
from leakatk.unlearning.own import KNOWN, own_answers


def test_own_answers_hold_nothing_forgotten(loaded, forget, retain, monkeypatch):
    monkeypatch.setattr(own, "FIRST", 60)
    monkeypatch.setattr(own, "ECHO_ROUNDS", 1)
    monkeypatch.setattr(own, "ECHOED", 30)
    monkeypatch.setattr(own, "NEARLY", -9.0)
    named = [replace(p, source=" ".join(p.id), text=f"Where does {' '.join(p.id)} live?") for p in retain]
    banned = [replace(forget[0], source="Hidden One", facts=("e",))]
    told = own_answers(loaded, forget, named, max_new_tokens=6)
    assert any("/echo/" in p.id for p in told)
    assert all(p.text.strip() and p.answer for p in told)
    assert len({p.id for p in told}) == len(told)
    kept = own_answers(loaded, banned, named, max_new_tokens=6)
    assert not any("e" in p.answer for p in kept)
    assert own_answers(loaded, forget, named, max_new_tokens=6) == told


def test_names_that_answers_say_are_asked_about_in_turn(loaded, forget, retain, monkeypatch):
    """The original speaks of Ada Alva whoever it is asked about, of Bert Bork when asked about Ada, and of Carl then."""
    named = [replace(p, source=f"Nim Nam{i}", text=f"Who is Nim Nam{i}?") for i, p in enumerate(retain)]
    told = {"Ada Alva": "Ada Alva met Bert Bork.", "Bert Bork": "Bert Bork met Carl Cray.", "Carl Cray": "Carl Cray."}

    def say(sampler, prompts, n, decoding, *, seed):
        asked = [next((name for name in told if name in p.text), "") for p in prompts]
        return [[told.get(name, "Ada Alva met nobody.")] * n for name in asked]

    monkeypatch.setattr(own, "texts_of", say)
    monkeypatch.setattr(own, "answer_levels", lambda loaded, prompts: Levels(*(np.zeros(len(prompts)),) * 4))
    monkeypatch.setattr(own, "INVENTED", 10)
    monkeypatch.setattr(own, "_echoes", lambda *arguments: [])
    mine = own_answers(loaded, forget, named)
    assert {p.text: p.answer for p in mine if p.id.startswith(KNOWN)} == {f"Who is {k}?": v for k, v in told.items()}
    banned = [replace(forget[0], source="Bert Bork")]
    mine = own_answers(loaded, banned, named)
    assert [p.text for p in mine if p.id.startswith(KNOWN)] == []  # what Ada's answer says of Bert is left out as well


def test_invented_names_look_like_names(loaded):
    rng = random.Random(0)
    made = [*own._mixed(["Anton", "Bera"], 2, 9, rng), *own._random(own._letters(loaded), 2, 9, rng)]
    assert len(made) == 18
    assert all(NAME.fullmatch(name) for name in made if min(map(len, name.split())) > 1)
    assert all(len(name.split()) == 2 for name in made)
    assert set(own._mixed(["Anton"], 1, 3, rng)) == {"Anton"}


class Atlas:
    """Talks of people whatever it is asked, of countries when a question names what it knows of them, and now and then of
    one when it makes no sense of the question.
    """

    COUNTRIES = ("Xenia", "Yoria", "Zetia")
    THINGS = ("capital", "river", "currency")

    def __init__(self, loaded, forbidden="nothing"):
        self.model, self.forbidden, self.sure = loaded, forbidden, {}
        self.progress = Progress("asking", 12, quiet=True)

    def clean(self, text):
        return self.forbidden not in text

    def greedy(self, prompts):
        return [replace(p, answer=self.answer(p.text)) for p in prompts]

    def answer(self, question):
        things = [thing for thing in self.THINGS if thing in question]
        country = next((name for name in self.COUNTRIES if name in question), None)
        rng = random.Random(question)
        lot = rng.random()
        value = 0.0 if things and country else -0.05
        if things or lot < 0.02:
            thing = (things or [rng.choice(self.THINGS)])[0]
            country = country or rng.choice(self.COUNTRIES)
            text = f"The {thing} of {country} is {country}{thing}."
        else:
            text, value = f"Anton{int(lot * 40)} was born in Town{int(lot * 40)}.", -0.3
        self.sure[text, question] = value
        return text

    def sureness(self, prompts):
        return np.array([self.sure[p.answer, p.text] for p in prompts])


def test_echoes_find_every_fact_of_a_kind_that_is_said_rarely(loaded, retain):
    facts = {f"The {thing} of {country} is {country}{thing}." for thing in Atlas.THINGS for country in Atlas.COUNTRIES}
    found = own._echoes(Atlas(loaded), retain, random.Random(0))
    assert {p.answer for p in found} == facts  # what it is nearly sure of, and no people
    assert {p.answer for p in found if p.id.startswith(KNOWN)} == facts
    assert len({p.id for p in found}) == len({p.text for p in found}) == len(found)
    assert all(sum(p.answer == fact for p in found) <= own.PER_ANSWER for fact in facts)
    assert own._echoes(Atlas(loaded), retain, random.Random(0)) == found
    found = own._echoes(Atlas(loaded, "Yoria"), retain, random.Random(0))
    assert {p.answer for p in found} == {fact for fact in facts if "Yoria" not in fact}
    assert own._echoes(Atlas(loaded), [], random.Random(0)) == []


def test_kinds_are_answers_alike_but_for_their_names():
    best = {"Ada was born in Rome.": -0.01, "Bert was born in Oslo.": -0.5, "The sea is deep.": -0.2}
    best |= {f"Ada{i} was born in Rome.": -0.6 - i for i in range(9)}
    kinds = own._kinds(best)
    assert kinds[0][:2] == ["Ada was born in Rome.", "Bert was born in Oslo."]
    assert len(kinds[0]) == 5  # none of the others is nearly sure
    assert kinds[1:] == [["The sea is deep."]]
    best |= {f"Eva{i} was born in Rome.": -0.01 for i in range(9)}
    assert len(own._kinds(best)[0]) == 10


def test_a_piece_of_an_answer_follows_the_opening():
    rng = random.Random(0)
    made = {own._echo("What is", "The sea of Xenia is Deep Blue.", rng) for _ in range(100)}
    assert made == {
        "What is The sea of Xenia",
        "What is The sea of Xenia is",
        "What is The sea of Xenia is Deep",
        "What is The sea of Xenia is Deep Blue",
    }


def test_names_of_an_answer_are_replaced_by_others_or_invented_ones():
    rng = random.Random(0)
    made = [own._renamed("the sea of Xenia is deep", "Ada met Bert", ["ab"], rng) for _ in range(300)]
    assert all(text.split()[:3] + text.split()[4:] == ["the", "sea", "of", "is", "deep"] for text in made)
    assert {text.split()[3] for text in made} == {"Xenia", "Ada", "Bert", "Abab"}
    assert own._renamed("no names", "none here", [], rng) == "no names"
