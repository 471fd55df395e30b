"""Small models and their tokenizers."""

import pytest

from leakatk.models.load import load_model
from leakatk.small.architecture import new_model, save_model
from leakatk.small.fit import encode
from tests.small.conftest import TINY


@pytest.mark.parametrize("text", ["Zoë – naïve café", "a  b\n\tc ", "日本語 🙂", "", "<sep?> </s>"])
def test_every_text_round_trips(tokenizer, text):
    assert tokenizer.decode(tokenizer(text)["input_ids"]) == text


def test_template_of_training_is_the_template_of_sampling(world, tokenizer, tmp_path):
    """What the model is asked later must be token for token what it was trained on."""
    save_model(new_model(tokenizer, TINY, seed=0), tokenizer, tmp_path / "m")
    loaded = load_model(tmp_path / "m", device="cpu")
    for question, answer in world.training_pairs(forget=True):
        [(ids, prompt)] = encode(tokenizer, [(question, answer)])
        assert loaded.template.prompt_ids(loaded.tokenizer, question) == ids[:prompt]
        assert loaded.template.answer_ids(loaded.tokenizer, answer) == ids[prompt:]
    text = loaded.tokenizer.decode(loaded.template.prompt_ids(loaded.tokenizer, "Who?"))
    assert text == "<bos>Who?<sep>"
    assert loaded.end_ids == {loaded.tokenizer.eos_token_id}
    assert loaded.tokenizer.pad_token_id not in loaded.end_ids
