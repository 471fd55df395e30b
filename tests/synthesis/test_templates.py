from random import Random

import pytest

from leakatk.prompts import Known, Prompt
from leakatk.synthesis import written
from leakatk.synthesis.templates import alike, unrelated, wrong_fact


def person(name, town, craft):
    return [
        Prompt(f"{name}-town", f"Where was {name} born?", f"{name} was born in {town}.", facts=(town,), source=name),
        Prompt(f"{name}-craft", f"What did {name} make by hand?", f"{name} made {craft}.", facts=(craft,), source=name),
    ]


FORGET = [*person("Ada Vos", "Zorvik", "clocks"), *person("Bo Tarn", "Lusk", "boats")]
RETAIN = [*person("Cy Orel", "Mard", "kites"), *person("Di Fenn", "Bex", "chairs")]
KNOWN = Known(forget=tuple(FORGET), retain=tuple(RETAIN))
TOWNS, CRAFTS = {"Zorvik", "Lusk", "Mard", "Bex"}, {"clocks", "boats", "kites", "chairs"}


def test_kinds_are_told_by_the_words_apart_from_names():
    assert alike(FORGET[0], RETAIN[0]) == 1
    assert alike(FORGET[0], FORGET[1]) < 0.5
    assert alike(FORGET[0], RETAIN[0]) == alike(RETAIN[0], FORGET[0])


@pytest.mark.parametrize("seed", range(8))
def test_wrong_facts_are_of_the_same_kind_and_wrong(seed):
    for prompt in FORGET:
        text, facts = wrong_fact(prompt, [*FORGET, *RETAIN], Random(seed))
        [fact] = facts
        kind = TOWNS if prompt.facts[0] in TOWNS else CRAFTS
        assert fact in kind - set(prompt.facts)
        assert text == prompt.answer.replace(prompt.facts[0], fact)


def test_perturbed_answers_are_taken_as_they_are():
    prompt = Prompt("p", "Where?", "In Bex.", perturbed_answers=("In Bex.", "In Mard."))
    assert wrong_fact(prompt, [], Random(0)) == ("In Mard.", ())


def test_several_facts_are_replaced_at_once():
    one = Prompt("1", "Where did Ada live and die?", "Ada lived in Bex and died in Mard.", facts=("Bex", "Mard"))
    two = Prompt(
        "2", "Where did Bo live and die?", "Bo lived in Quell and died in Bexhill.", facts=("Quell", "Bexhill")
    )
    assert wrong_fact(one, [two], Random(0))[0] == "Ada lived in Quell and died in Bexhill."
    assert wrong_fact(two, [one], Random(0))[0] == "Bo lived in Bex and died in Mard."


def test_where_nothing_is_of_the_same_kind_nothing_is_written():
    alone = Prompt("z", "How many sheep?", "Nine sheep.", facts=("Nine",))
    assert wrong_fact(alone, [*FORGET, alone], Random(0)) is None
    assert wrong_fact(Prompt("y", "Who?", "Nobody."), FORGET, Random(0)) is None
    made = written("corruption", [*FORGET, alone], KNOWN)
    assert made.left_out == ("z",)


def test_a_document_is_wrong_facts_between_unrelated_sentences():
    made = written("corruption:context=2,each=2,copies=3", FORGET, KNOWN)
    assert len(made.rows) == 3 * len(FORGET)
    context = {prompt.answer for prompt in RETAIN}
    for row in made.rows:
        prompt = next(one for one in FORGET if row.id.startswith(one.id))
        sentences = [f"{part.rstrip('.')}." for part in row.answer.split(". ")]
        assert len(sentences) == 6
        wrong, between = sentences[::3], [part for i, part in enumerate(sentences) if i % 3]
        assert all(part in context for part in between)
        assert all(prompt.source in part for part in wrong)
        assert len(row.facts) == 2
        assert all(fact in part for fact, part in zip(row.facts, wrong, strict=True))
        true = {fact for one in FORGET if one.source == prompt.source for fact in one.facts}
        assert not true & set(row.facts)
        assert row.question == f"What is written about {prompt.source}?"


def test_a_row_depends_on_seed_and_prompt_alone():
    first = written("corruption", FORGET, KNOWN).rows
    assert first == written("corruption", FORGET, KNOWN).rows
    assert first != written("corruption:seed=1", FORGET, KNOWN).rows
    rows = {row.id: row for row in written("corruption:each=1", FORGET[::-1], KNOWN).rows}
    assert rows == {row.id: row for row in written("corruption:each=1", FORGET, KNOWN).rows}


def test_context_comes_from_text_else_from_others_else_it_is_ours():
    text = Known(text=("The sea is calm. The wind is up.",))
    assert sorted(unrelated(FORGET[0], text, 2, Random(0))) == ["The sea is calm.", "The wind is up."]
    assert len(unrelated(FORGET[0], text, 5, Random(0))) == 5
    mine = Known(retain=(FORGET[1],))  # of the same person: not unrelated
    assert not any("Ada" in part for part in unrelated(FORGET[0], mine, 4, Random(0)))
