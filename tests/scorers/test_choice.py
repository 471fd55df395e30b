"""Multiple choice by the model's own probabilities."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from leakatk.errors import InputError
from leakatk.metrics.choices import choice_probability
from leakatk.models.load import load_model
from leakatk.models.loaded import LoadedModel
from leakatk.prompts import Prompt
from leakatk.scorers.choice import choice_prompt
from tests.tiny import save_tiny_model


def test_choice_prompt_letters_the_choices() -> None:
    prompt = choice_prompt("q", "Where? ", ["Rome", "Oslo", "Bonn"], 1)
    assert prompt.question == "Where?\nA. Rome\nB. Oslo\nC. Bonn\nAnswer:"
    assert (prompt.answer, prompt.perturbed_answers) == ("Oslo", ("Rome", "Bonn"))
    with pytest.raises(InputError, match="answer 3 is not the index of one of the 3 choices"):
        choice_prompt("q", "Where?", ["Rome", "Oslo", "Bonn"], 3)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> LoadedModel:
    return load_model(save_tiny_model(tmp_path_factory.mktemp("tiny")), device="cpu", dtype="fp32")


def next_token_logits(model: LoadedModel, ids: list[int]) -> torch.Tensor:
    with torch.no_grad():
        return model.model(torch.tensor([ids])).logits[0, -1].double()


def test_choice_probability_compares_the_letters(model: LoadedModel) -> None:
    prompts = [choice_prompt(str(i), f"Where was Ada born, {i}?", ["Zorvik", "Quell", "Bo"], i % 3) for i in range(6)]
    prompts += [
        Prompt("free", "Where?", "Rome"),
        Prompt("open", "Where?", "Bo", perturbed_answers=("Ada", "Mira Quell")),
    ]
    probability, correct = choice_probability(model, prompts)
    for i, prompt in enumerate(prompts[:6]):
        logits = next_token_logits(model, model.template.prompt_ids(model.tokenizer, prompt.question))
        letters = [model.template.answer_ids(model.tokenizer, letter, end=False) for letter in "ABC"]
        assert all(len(ids) == 1 for ids in letters)
        expected = logits[[ids[0] for ids in letters]].softmax(0)
        assert probability[i] == pytest.approx(float(expected[i % 3]), abs=1e-5)
        assert correct[i] == float(expected.argmax() == i % 3)
    assert np.isnan([probability[6], correct[6]]).all()
    assert 0 < probability[7] < 1
    assert {0.0, 1.0} == set(correct[:6])


def test_prompts_without_options_keep_their_hash() -> None:
    from leakatk.prompts import Prompt, record

    assert "choices" not in record(Prompt("a", "Who?", "Bo."))
    assert record(choice_prompt("q", "Which?", ["x", "y"], 1))["right"] == 1
