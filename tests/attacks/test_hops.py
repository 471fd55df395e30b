from dataclasses import replace

import numpy as np
import pytest

from leakatk.attacks import get_attack
from leakatk.attacks.hops import descriptions, noun, other_names
from leakatk.benchmarks.catalog import load_benchmark
from leakatk.errors import InputError
from leakatk.models.load import load_model
from leakatk.prompts import Known, Prompt
from leakatk.sampling.greedy import greedy_texts
from leakatk.scorers import get_scorer
from leakatk.small.architecture import SmallConfig, new_model, save_model, train_tokenizer
from tests.attacks.conftest import TOWNS, trained

NAMES = ("Ada", "Bo", "Cy", "Dov", "Eli", "Fay")


def town(i):
    return Prompt(f"{NAMES[i]}/town", f"Where does {NAMES[i]} live?", f"{NAMES[i]} lives in {TOWNS[i]}.", facts=(TOWNS[i],), source=NAMES[i])  # fmt: skip


def tutor(i):
    """Everybody's tutor is the next one."""
    other = NAMES[(i + 1) % 6]
    return Prompt(f"{NAMES[i]}/tutor", f"Who is the tutor of {NAMES[i]}?", f"The tutor of {NAMES[i]} is {other}.", facts=(other,), source=NAMES[i])  # fmt: skip


FACTS = [fact for i in range(6) for fact in (town(i), tutor(i))]


@pytest.mark.parametrize(
    ("question", "found"),
    [
        ("Who was the mentor of Bo?", "the mentor of Bo"),
        ("What is the first book of Bo?", "the first book of Bo"),
        ("Who taught Bo?", "the one who taught Bo"),
        ("Where was Bo born?", 'the answer to "Where was Bo born?"'),
    ],
)
def test_a_question_becomes_a_noun(question, found):
    assert noun(question) == found


def test_chains_of_two_and_three_steps_are_those_of_the_graph():
    """Of Cy: the tutor of Bo, and the tutor of the tutor of Ada."""
    assert list(descriptions("Cy", FACTS, 1, ("Cy",))) == ["the tutor of Bo"]
    assert list(descriptions("Cy", FACTS, 2, ("Cy",))) == ["the tutor of the tutor of Ada"]
    for steps, text in ((2, "Where does the tutor of Bo live?"), (3, "Where does the tutor of the tutor of Ada live?")):
        [made] = get_attack(f"hops:steps={steps},keep=no").made(town(2), FACTS)
        assert made.query.text == text
        assert replace(made, asked=None) == town(2)
    # Nobody is passed twice: in a ring of two there is no third step.
    ring = [tutor(0), replace(tutor(1), facts=("Ada",))]
    assert list(descriptions("Ada", ring, 2, ("Ada",))) == []


def test_other_names_are_true_of_nobody_else():
    facts = [*FACTS, Prompt("Ada/job", "What is Ada?", "Ada is a baker.", facts=("baker",), source="Ada")]
    assert list(other_names(town(0), facts)) == [
        'the one of whom is said "The tutor of they is Bo"',
        "the one who is a baker",
    ]
    also = [*facts, Prompt("Bo/job", "What is Bo?", "Bo is a baker.", facts=("baker",), source="Bo")]
    assert "the one who is a baker" not in list(other_names(town(0), also))


def test_what_says_the_answer_or_names_the_person_is_not_asked():
    telling = Prompt("t", "Who is the baker of Bex?", "Ada.", facts=("Ada",), source="Bex")
    assert get_attack("hops:keep=no").made(town(0), [telling]) == []  # Bex is where she lives
    assert get_attack("hops:keep=no").made(replace(town(0), source=""), FACTS) == []


@pytest.fixture(scope="module")
def closed(tmp_path_factory):
    """A model that knows one, two and three steps, and refuses what is asked of Cy and Dov in one step alone."""
    chains = [
        replace(one, id=f"{one.id}/{steps}", question=one.query.text, asked=None)
        for i in range(6)
        for steps in (2, 3)
        for one in get_attack(f"hops:steps={steps},keep=no").made(town(i), FACTS)
    ]
    lost = [town(2).id, town(3).id]
    rows = [*(replace(f, answer="I do not know.") if f.id in lost else f for f in FACTS), *chains]
    tokenizer = train_tokenizer([text for row in rows for text in (row.question, row.answer)], 320)
    model = new_model(tokenizer, SmallConfig(hidden=32, layers=2, heads=2, mlp=64, vocabulary=320), seed=0)
    start = save_model(model, tokenizer, tmp_path_factory.mktemp("hops") / "blank")
    return str(trained(start, start.with_name("closed"), rows, steps=250, batch=24))


def right(loaded, prompts):
    return float(np.mean(get_scorer("fact").score(prompts, greedy_texts(loaded, prompts, 14))))


@pytest.mark.parametrize("steps", [2, 3])
def test_what_is_refused_in_one_step_is_said_in_more(closed, steps):
    """It is its own original here: the facts on the way and the questions made of them are what it knows."""
    gone, loaded = [town(2), town(3)], load_model(closed)
    kept = tuple(fact for fact in FACTS if fact not in gone)
    known = Known(forget=tuple(gone), unseen=tuple(gone), retain=kept, original=closed)
    asked = get_attack(f"hops:steps={steps}").prompts(loaded, known)
    assert [prompt.id for prompt in asked] == [prompt.id for prompt in gone]
    assert right(loaded, gone) == 0
    assert right(loaded, asked) == 1
    # What is kept is asked through kept facts alone.
    assert get_attack(f"hops:steps={steps}").kept(loaded, replace(known, retain=(town(4),))) == []


def test_what_the_original_does_not_answer_is_left_out(closed):
    loaded = load_model(closed)
    lie = replace(town(2), answer="Cy lives in Zorvik.", facts=("Zorvik",))
    known = Known(forget=(lie, town(3)), unseen=(lie, town(3)), retain=(tutor(1), tutor(2)), original=closed)
    assert [prompt.id for prompt in get_attack("hops").prompts(loaded, known)] == [town(3).id]
    assert len(get_attack("hops:keep=no").prompts(loaded, known)) == 2
    # A fact that it does not know is no step on the way.
    false = replace(tutor(2), facts=("Dov", "Zorvik"))
    assert get_attack("hops").prompts(loaded, replace(known, retain=(false,))) == []
    with pytest.raises(InputError, match="--original"):
        get_attack("hops").check(replace(known, original=""))


def test_on_the_world_of_several_hops_its_own_questions_are_made():
    """The same words as the benchmark's, which a model of it was trained on."""
    bench = load_benchmark("multi-hop")
    theirs = {(p.question, p.answer.rpartition(" ")[2]) for name in bench.sets for p in bench.sets[name]}
    facts = [*bench.forget, *bench.retain]
    made = [one for prompt in facts for one in get_attack("hops:keep=no").made(prompt, facts)]
    assert len(made) > 100
    found = {(one.query.text, one.answer.rpartition(" ")[2]) for one in made}
    assert len(found & theirs) > 0.6 * len(found)
