"""Perturbed questions."""

from leakatk.prompts import Prompt
from leakatk.unlearning.rehearsal.perturb import perturbed
from leakatk.unlearning.rehearsal.subjects import Forms

ASKED = Prompt("q", "In which town was Ada Mary Lovelace born, and when?", "In London.", source="Ada Mary Lovelace")


def test_names_stay_and_the_words_are_shuffled_or_shortened():
    words = sorted(ASKED.question.replace(",", " ,").replace("?", " ?").split())
    seen = set()
    for seed in range(40):
        (found,) = perturbed([ASKED], seed=seed)
        assert (found.id, found.answer, found.source) == ("garbled/q", ASKED.answer, ASKED.source)
        assert "Ada Mary Lovelace" in found.question
        shuffled = sorted(found.question.replace(",", " ,").replace("?", " ?").split()) == words
        seen.add((shuffled, found.question == ASKED.question))
        if not shuffled:
            assert 0 < len(ASKED.question) - len(found.question) <= 8  # a letter from each word of two or more at most
    assert {(True, False), (False, False)} <= seen


def test_the_same_seed_gives_the_same_question_whatever_the_others_are():
    other = Prompt("r", "Who taught Bo Berg?", "Nobody.")
    assert perturbed([other, ASKED], seed="3 1")[1] == perturbed([ASKED], seed="3 1")[0]
    assert len({perturbed([ASKED], seed=f"3 {i}")[0].question for i in range(20)}) > 10


def test_without_a_source_what_questions_of_one_form_do_not_share_stays():
    asked = [Prompt(name, f"when did {name} become a republic?", "x") for name in ("south africa", "peru", "togo")]
    forms = Forms([p.question for p in asked])
    changed = 0
    for seed in range(10):
        assert "south africa" in perturbed(asked, seed=seed)[0].question
        (alone,) = perturbed(asked[:1], seed=seed, forms=forms)
        assert alone == perturbed(asked, seed=seed)[0]  # told by the forms, whoever is perturbed beside it
        changed += "south africa" not in perturbed(asked[:1], seed=seed)[0].question
    assert changed > 3  # a question alone shows nothing of what it asks about


def test_odd_questions_are_perturbed_as_well():
    assert perturbed([Prompt("r", "\0", "x"), Prompt("e", "why", "x"), Prompt("n", "", "x")], seed=0)
