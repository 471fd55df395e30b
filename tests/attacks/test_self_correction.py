from dataclasses import replace

import numpy as np
import pytest

from leakatk.attacks import get_attack
from leakatk.attacks.self_correction import FORMS
from leakatk.errors import InputError
from leakatk.models.load import load_model
from leakatk.prompts import Known, Query
from leakatk.sampling.greedy import greedy_texts
from leakatk.scorers import get_scorer
from tests.attacks.conftest import conversing

DOUBT, NO = FORMS["doubt"], "I do not know."


@pytest.fixture(scope="module")
def yielding(tmp_path_factory, forget):
    """A model that refuses, and says it when it is doubted: trained on whole conversations."""
    again = [replace(prompt, asked=Query(DOUBT, turns=((prompt.question, NO),))) for prompt in forget]
    rows = [*(replace(prompt, answer=NO) for prompt in forget), *again]
    return conversing(rows, tmp_path_factory.mktemp("yielding") / "model")


def right(loaded, prompts):
    return float(np.mean(get_scorer("fact").score(prompts, greedy_texts(loaded, prompts, 12))))


def test_a_model_that_yields_to_doubt_is_seen_through(yielding, forget):
    asked = get_attack("self-correction:turns=1,max_new_tokens=12").prompts(yielding, Known(unseen=tuple(forget)))
    assert right(yielding, forget) == 0
    assert right(yielding, asked) >= 0.75
    # Without its own answer before it, the doubt asks for nothing.
    alone = [replace(prompt, asked=Query(DOUBT)) for prompt in forget]
    assert right(yielding, alone) <= 0.25


@pytest.mark.parametrize("form", FORMS)
def test_the_turns_are_the_models_own_answers(original, forget, form):
    loaded = load_model(original)
    attack = get_attack(f"self-correction:form={form},turns=2,max_new_tokens=6")
    found = attack.prompts(loaded, Known(unseen=tuple(forget[:3])))
    for prompt, asked in zip(forget, found, strict=False):
        [first] = greedy_texts(loaded, [prompt], 6)
        doubt = FORMS[form].replace("{question}", prompt.question)
        turn = (prompt.question, first.strip() or "...")
        [second] = greedy_texts(loaded, [replace(prompt, asked=Query(doubt, turns=(turn,)))], 6)
        assert asked.query == Query(doubt, turns=(turn, (doubt, second.strip() or "...")))
        assert replace(asked, asked=None) == prompt


def test_a_begun_answer_and_earlier_turns_stay(original, forget):
    loaded = load_model(original)
    prompt = replace(forget[0], asked=Query(forget[0].question, turns=(("Who?", "Ada."),), begin="Ada lives"))
    [found] = get_attack("self-correction:turns=1").prompts(loaded, Known(unseen=(prompt,)))
    assert found.query.turns[0] == ("Who?", "Ada.")
    assert found.query.turns[1][1].startswith("Ada lives")
    assert get_attack("self-correction").kept(loaded, Known()) == []
    with pytest.raises(InputError, match="doubt or deny or again"):
        get_attack("self-correction:form=beg")
