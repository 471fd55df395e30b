"""Earlier turns: whose they are, how many, and that none says what is asked for."""

from __future__ import annotations

from dataclasses import replace

import pytest

from leakatk.probes import Around, get_probe, variants
from leakatk.prompts import Prompt
from tests.probes.worlds import WORLD, asked, flat


def test_shots_are_no_forget_prompts_and_say_nothing() -> None:
    told = Prompt("r", "Who else?", f"Somebody from {WORLD.forget[0].facts[1]}.")
    pool = [*WORLD.forget, told, *WORLD.retain[:3]]
    made = variants(get_probe("few-shot"), [WORLD.forget[0]], pool)[WORLD.forget[0].id][0]
    assert WORLD.forget[0].question not in dict(made.query.turns)
    every = variants(get_probe("few-shot"), WORLD.forget, pool)
    kept = {prompt.question for prompt in WORLD.retain[:3]}
    assert {text for one in flat(every) for text, _ in one.query.turns} <= kept | {told.question}
    assert told.question not in dict(every[WORLD.forget[0].id][0].query.turns)


def test_dialogue_is_about_the_same_person() -> None:
    for owner, made in asked("dialogue:turns=2", list(WORLD.forget)).items():
        prompt = next(p for p in WORLD.forget if p.id == owner)
        assert len(made[0].query.turns) == 2
        assert all(prompt.source in text and text != prompt.question for text, _ in made[0].query.turns)


RETAIN = [Prompt(f"r{i}", f"Who is number {i}?", f"Nobody knows number {i}.") for i in range(8)]


@pytest.mark.parametrize("shots", [1, 3, 8])
def test_as_many_turns_as_shots_each_with_its_true_answer(shots: int) -> None:
    [made] = variants(get_probe(f"few-shot:shots={shots}"), WORLD.forget[:1], RETAIN)[WORLD.forget[0].id]
    assert made.query.text == WORLD.forget[0].question
    assert len(set(made.query.turns)) == shots
    assert set(made.query.turns) <= {(prompt.question, prompt.answer) for prompt in RETAIN}


def test_with_fewer_fitting_examples_than_shots_nothing_is_asked() -> None:
    """One that says what is asked for does not fit, so two are left of three."""
    prompt = WORLD.forget[0]
    telling = replace(RETAIN[2], answer=prompt.answer)
    probe = get_probe("few-shot:shots=3")
    shown = variants(probe, [prompt], RETAIN[:3])
    assert len(shown[prompt.id][0].query.turns) == 3
    assert probe.ask(prompt, Around(retain=(*RETAIN[:2], telling))) == []


def test_a_dialogue_has_at_most_so_many_turns_of_others_and_less_where_there_are_less() -> None:
    source = [
        Prompt(f"s{i}", f"What is thing {i}?", f"It is Bolvat{i}.", facts=(f"Bolvat{i}",), source="s") for i in range(3)
    ]
    stranger = Prompt("t", "What is thing 9?", "It is Grumo.", facts=("Grumo",), source="t")
    found = variants(get_probe("dialogue:turns=5"), [*source, stranger], [])
    assert set(found) == {"s0", "s1", "s2"}, "of its source the stranger is the only one"
    for prompt in source:
        [made] = found[prompt.id]
        assert set(made.query.turns) == {(other.question, other.answer) for other in source if other is not prompt}
    telling = replace(source[1], answer="It is Bolvat0.")
    found = variants(get_probe("dialogue"), [source[0], telling, source[2]], [])
    [made] = found["s0"]
    assert made.query.turns == ((source[2].question, source[2].answer),), "no turn says what is asked for"
