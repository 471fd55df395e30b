"""Small models and their tokenizers."""

import pytest
import torch

from leakatk.errors import RunError
from leakatk.models.load import load_model
from leakatk.small.architecture import BOS, EOS, PAD, SEP, SmallConfig, new_model, save_model, train_tokenizer
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


def test_the_first_ids_are_the_marks_and_every_byte_has_one(tokenizer):
    assert tokenizer.convert_ids_to_tokens([0, 1, 2, 3]) == [PAD, BOS, EOS, SEP]
    assert len(tokenizer) == 400
    assert len(train_tokenizer([], 0)) == 260, "256 bytes and the marks, whatever is asked for"


def test_the_seed_alone_decides_the_weights(tokenizer):
    torch.manual_seed(5)
    before = torch.get_rng_state()
    one, same, other = (new_model(tokenizer, TINY, seed=seed).state_dict() for seed in (3, 3, 4))
    assert torch.equal(torch.get_rng_state(), before), "nobody else's randomness is touched"
    assert all(torch.equal(one[name], same[name]) for name in one)
    assert not all(torch.equal(one[name], other[name]) for name in one)


def test_the_defaults_have_half_a_million_parameters():
    tokenizer = train_tokenizer((str(i**5) + " of " + str(i**7) for i in range(3000)), SmallConfig().vocabulary)
    assert len(tokenizer) == 768
    model = new_model(tokenizer, SmallConfig(), seed=0)
    assert 0.4e6 < model.num_parameters() < 0.6e6
    assert not model.training


def test_a_model_in_the_place_is_replaced_whole(tokenizer, tmp_path):
    first, second = (new_model(tokenizer, TINY, seed=seed) for seed in (0, 1))
    assert save_model(first, tokenizer, tmp_path / "m") == tmp_path / "m"
    (tmp_path / "m" / "more.txt").write_text("of the first one")
    save_model(second, tokenizer, str(tmp_path / "m"))
    assert [path.name for path in tmp_path.iterdir()] == ["m"], "what it was built in is gone"
    assert not (tmp_path / "m" / "more.txt").exists()
    loaded = load_model(tmp_path / "m", device="cpu", dtype="fp32").model.state_dict()
    assert all(torch.equal(loaded[name], weights) for name, weights in second.state_dict().items())
    weights = tmp_path / "m" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"\x01")
    with pytest.raises(RunError, match="does not fit its checksum"):
        load_model(tmp_path / "m", device="cpu")
