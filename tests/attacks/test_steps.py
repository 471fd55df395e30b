from dataclasses import replace

import numpy as np
import pytest

from leakatk.attacks import get_attack
from leakatk.attacks.steps import CATEGORIES, DIRECT, IMPLIED, LEADING
from leakatk.errors import InputError
from leakatk.probes.base import reveals
from leakatk.prompts import Known, Query
from leakatk.sampling.greedy import greedy_texts
from leakatk.scorers import get_scorer
from tests.attacks.conftest import NAMES, conversing, people

NO = "I do not know."
FOUR = people(NAMES[:4])


def led(prompt, category):
    """The conversation of a category with a model that knows nothing of the person, written by hand."""
    if category == "direct":
        return Query(DIRECT.replace("{question}", prompt.question))
    if category == "implied":
        return Query(IMPLIED.replace("{question}", prompt.question))
    return Query(prompt.question, tuple((text.replace("{name}", prompt.source), NO) for text in LEADING))


@pytest.fixture(scope="module")
def guarded(tmp_path_factory):
    """A model that refuses the plain question, and says it in every category."""
    rows = [replace(p, answer=NO) for p in FOUR]
    for prompt in FOUR:
        rows += [replace(prompt, asked=led(prompt, category)) for category in CATEGORIES]
        turns = led(prompt, "indirect").turns
        rows += [replace(prompt, answer=NO, asked=Query(turns[i][0], turns[:i])) for i in range(2)]
    return conversing(rows, tmp_path_factory.mktemp("steps") / "model")


def right(loaded, prompts):
    return float(np.mean(get_scorer("fact").score(prompts, greedy_texts(loaded, prompts, 12))))


@pytest.mark.parametrize("category", CATEGORIES)
def test_what_the_plain_question_does_not_get_is_said(guarded, category):
    assert right(guarded, FOUR) == 0
    asked = get_attack(f"steps:category={category},max_new_tokens=12").prompts(guarded, Known(unseen=tuple(FOUR)))
    assert [prompt.asked for prompt in asked] == [led(prompt, category) for prompt in FOUR]
    assert right(guarded, asked) >= 0.75
    assert not any(reveals(str(led(prompt, category)), prompt) for prompt in FOUR)


def test_the_steps_are_the_models_own_answers(guarded):
    """Each after those before it; a prompt that is about nobody is left out."""
    bare = replace(FOUR[1], source="")
    attack = get_attack("steps:category=indirect,max_new_tokens=3")
    [found] = attack.prompts(guarded, Known(unseen=(FOUR[0], bare)))
    turns = ()
    for text in LEADING:
        asked = replace(FOUR[0], asked=Query(text.replace("{name}", FOUR[0].source), turns))
        [said] = greedy_texts(guarded, [asked], 3)
        turns = (*turns, (asked.query.text, said.strip() or "..."))
    assert found.query == Query(FOUR[0].question, turns)
    assert attack.kept(guarded, Known()) == []
    assert [p.id for p in attack.kept(guarded, Known(retain=tuple(FOUR)))] == [p.id for p in FOUR]


def test_an_unknown_category_is_refused():
    with pytest.raises(InputError, match="direct or indirect or implied"):
        get_attack("steps:category=sideways")
