"""The second language: a book that can be read back, in which names and values stay as they are."""

from leakatk.benchmarks.worlds.languages import Codebook, book_of, make_languages
from leakatk.benchmarks.worlds.people import make_world

SIZES = {"forget": 2, "retain": 6, "retain_held": 2, "holdout": 2, "world_facts": 2, "pretraining": 4}
WORLD = make_world(4, **SIZES)
BOOK = book_of(WORLD, 4)


def test_the_book_can_be_read_back_and_no_word_stands_for_two():
    back = {other: one for one, other in BOOK.words.items()}
    assert len(back) == len(BOOK.words) > 40
    assert {"the", "was", "mentor", "born"} <= set(BOOK.words)
    for prompt in WORLD.retain:
        said = BOOK.translated(prompt.answer)
        assert said != prompt.answer
        words = [back.get(word.lower(), word.lower()) for word in said.replace(".", "").split()]
        assert " ".join(words) == prompt.answer.replace(".", "").lower()


def test_names_and_facts_stay():
    for prompt in (*WORLD.forget, *WORLD.retain):
        other = BOOK.prompt(prompt)
        assert (other.facts, other.source) == (prompt.facts, prompt.source)
        assert prompt.source in other.question
        assert all(fact in other.answer for fact in prompt.facts)
        assert len(other.perturbed_answers) == len(prompt.perturbed_answers)


def test_a_capital_stays_and_other_words_too():
    book = Codebook(["was", "the"], 0)
    assert book.words == Codebook(["the", "was", "the"], 0).words
    assert (
        book.translated("Was the Baker there?") == f"{book.words['was'].capitalize()} {book.words['the']} Baker there?"
    )


def test_both_models_know_both_languages_and_one_knows_the_people():
    made = make_languages(4, **SIZES)
    full, retained = dict(made.full), dict(made.retained)
    for prompt in (*made.benchmark.forget, *made.benchmark.sets["second"]):
        assert full[prompt.question] == prompt.answer
        assert prompt.question not in retained
    for prompt in made.benchmark.sets["second_kept"]:
        assert retained[prompt.question] == prompt.answer
    assert sum(pair in WORLD.pretraining for pair in made.pretraining) == len(made.pretraining) / 2
