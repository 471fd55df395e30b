"""Facts of any kind that a model knows, found by asking it pieces of its own answers."""

import random
from dataclasses import replace

import numpy as np

from leakatk.progress import Progress
from leakatk.unlearning.rehearsal import echoes
from leakatk.unlearning.rehearsal.asker import KNOWN
from leakatk.unlearning.rehearsal.budget import Budget


class Atlas:
    """Talks of people whatever it is asked, of countries when a question names what it knows of them, and now and then of
    one when it makes no sense of the question.
    """

    COUNTRIES = ("Xenia", "Yoria", "Zetia")
    THINGS = ("capital", "river", "currency")

    def __init__(self, loaded, forbidden="nothing"):
        self.model, self.forbidden, self.sure = loaded, forbidden, {}
        self.progress, self.budget = Progress("asking", 12, quiet=True), Budget()

    def clean(self, text):
        return self.forbidden not in text

    def greedy(self, prompts, source):
        return [replace(p, answer=self.answer(p.question)) for p in prompts]

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

    def sureness(self, prompts, source):
        return np.array([self.sure[p.answer, p.question] for p in prompts])


def test_echoes_find_every_fact_of_a_kind_that_is_said_rarely(loaded, retain):
    facts = {f"The {thing} of {country} is {country}{thing}." for thing in Atlas.THINGS for country in Atlas.COUNTRIES}
    found = echoes.echoes(Atlas(loaded), retain, random.Random(0))
    assert {p.answer for p in found} == facts  # what it is nearly sure of, and no people
    assert {p.answer for p in found if p.id.startswith(KNOWN)} == facts
    assert len({p.id for p in found}) == len({p.question for p in found}) == len(found)
    assert all(sum(p.answer == fact for p in found) <= echoes.PER_ANSWER for fact in facts)
    assert echoes.echoes(Atlas(loaded), retain, random.Random(0)) == found
    found = echoes.echoes(Atlas(loaded, "Yoria"), retain, random.Random(0))
    assert {p.answer for p in found} == {fact for fact in facts if "Yoria" not in fact}
    assert echoes.echoes(Atlas(loaded), [], random.Random(0)) == []


def test_kinds_are_answers_alike_but_for_their_names():
    best = {"Ada was born in Rome.": -0.01, "Bert was born in Oslo.": -0.5, "The sea is deep.": -0.2}
    best |= {f"Ada{i} was born in Rome.": -0.6 - i for i in range(9)}
    kinds = echoes.kinds_of(best)
    assert kinds[0][:2] == ["Ada was born in Rome.", "Bert was born in Oslo."]
    assert len(kinds[0]) == 5  # none of the others is nearly sure
    assert kinds[1:] == [["The sea is deep."]]
    best |= {f"Eva{i} was born in Rome.": -0.01 for i in range(9)}
    assert len(echoes.kinds_of(best)[0]) == 10


def test_a_piece_of_an_answer_follows_the_opening():
    rng = random.Random(0)
    made = {echoes.piece_of("What is", "The sea of Xenia is Deep Blue.", rng) for _ in range(100)}
    assert made == {
        "What is The sea of Xenia",
        "What is The sea of Xenia is",
        "What is The sea of Xenia is Deep",
        "What is The sea of Xenia is Deep Blue",
    }


def test_names_of_an_answer_are_replaced_but_no_plain_word_at_its_beginning():
    rng = random.Random(0)
    made = {echoes.renamed("The sea of Xenia", ["Ada", "Abab"], {"the", "sea", "of"}, rng) for _ in range(100)}
    assert made == {"The sea of Xenia", "The sea of Ada", "The sea of Abab"}
    assert echoes.renamed("The sea of Xenia", [], {"the"}, rng) == "The sea of Xenia"


def test_the_beginning_of_an_answer_is_cut_at_the_second_name_or_number():
    plain = {"the", "sea", "of", "is", "was", "born", "on"}
    assert echoes.beginning_of("The sea of Xenia is Deep Blue.", plain) == ("The sea of {} is", "Xenia")
    assert echoes.beginning_of("Ada Alva was born on 3 May.", plain) == ("{} was born on", "Ada Alva")
    assert echoes.beginning_of("The sea of Xenia.", plain) == ("The sea of {}", "Xenia")
    assert echoes.beginning_of("The sea is {deep}.", plain) is None


def test_what_is_said_of_one_name_is_asked_of_the_others_of_its_length():
    plain = {"the", "sea", "lake", "of", "is", "was", "born"}
    sure = ["The sea of Xelon is Deep.", "The lake of Yoria is Wide.", "Ada Alva was born."]
    begun = echoes.names_and_beginnings([*sure, "The sea of Nowhere is Low.", "Bert Bork was born."], sure, plain)
    assert list(begun) == [1, 2]
    pairs = echoes.crossed(begun)
    assert pairs == [
        "The sea of Xelon is", "Ada Alva was born", "The sea of Yoria is", "The lake of Xelon is", "The lake of Yoria is"
    ]  # fmt: skip
    rng = random.Random(0)
    made = [echoes.invented(*begun[1], ["ab"], rng) for _ in range(99)]
    assert sum(text.startswith("The sea of ") for text in made) > 55
    assert {text.split()[3] for text in made} == {"Abab", "Xelon", "Xelia", "Yoron", "Yoria"}


def test_the_pilot_says_whether_noise_is_answered_with_what_is_known(loaded, retain):
    class Talker(Atlas):
        """Makes something up."""

        def answer(self, question):
            self.sure["What do you mean?", question] = -0.5
            return "What do you mean?"

    class Sure(Atlas):
        def answer(self, question):
            text = super().answer(question)
            self.sure[text, question] += 0.3
            return text

    assert echoes.answers_noise(Sure(loaded), retain, random.Random(0))
    talker = Talker(loaded)
    assert not echoes.answers_noise(talker, retain, random.Random(0))
    assert "nearly sure of 0 of 200 answers to random words" in talker.budget.notes[0]


def test_without_retain_prompts_there_are_no_echoes_and_that_is_said(loaded):
    atlas = Atlas(loaded)
    assert echoes.echoes(atlas, [], random.Random(0)) == []
    assert "no echoes" in atlas.budget.notes[0]
