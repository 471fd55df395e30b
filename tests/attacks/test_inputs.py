import pytest
import torch

from leakatk.attacks.inputs import asked_with, embedding_of, pairs_of, plain_tokens
from leakatk.errors import ModelError
from leakatk.models.load import load_model
from leakatk.prompts import Prompt, Query


@pytest.fixture(scope="module")
def loaded(blank):
    return load_model(blank)


def test_plain_tokens_have_text_of_their_own(loaded):
    found = plain_tokens(loaded)
    assert found == sorted(set(found))
    assert not set(found) & set(loaded.tokenizer.all_special_ids)
    texts = [loaded.tokenizer.decode([number]) for number in found]
    assert all(text.strip() and text.strip().isprintable() and "\ufffd" not in text for text in texts)
    others = set(range(len(loaded.tokenizer))) - set(found) - set(loaded.tokenizer.all_special_ids)
    left = {loaded.tokenizer.decode([number]) for number in others}
    assert all(not text.strip() or "\ufffd" in text or not text.strip().isprintable() for text in left)
    assert left


def test_what_is_asked_keeps_turns_and_a_begun_answer():
    asked = Query("Where?", turns=(("Who?", "Bo."),), begin="In")
    assert asked_with(Prompt("p", "Q", "A", asked=asked), "When?") == Query("When?", asked.turns, "In")


def test_answers_have_no_end_token(loaded):
    [(prompt, answer)] = pairs_of(loaded, [(Query("Where does Ada live?"), "Ada lives in Bex.")])
    assert loaded.tokenizer.decode(answer).strip() == "Ada lives in Bex."
    assert "Where does Ada live?" in loaded.tokenizer.decode(prompt)


def test_a_model_without_an_embedding_is_refused(loaded):
    from dataclasses import replace

    class Bare(torch.nn.Module):
        def get_input_embeddings(self):
            raise NotImplementedError

    with pytest.raises(ModelError, match="Bare does not show its input embedding"):
        embedding_of(replace(loaded, model=Bare()))
