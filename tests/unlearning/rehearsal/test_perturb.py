"""Perturbed questions."""

from leakatk.prompts import Prompt
from leakatk.unlearning.rehearsal.perturb import perturbed

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


def test_without_a_source_capitalised_names_stay():
    for seed in range(10):
        texts = [
            p.question
            for p in perturbed([Prompt("r", "Did Bo Berg meet Cy Coe?", "Yes.", source="someone")], seed=seed)
        ]
        assert all("Bo Berg" in text and "Cy Coe" in text for text in texts)
        assert perturbed([Prompt("r", "\0", "x"), Prompt("e", "why", "x")], seed=seed)
