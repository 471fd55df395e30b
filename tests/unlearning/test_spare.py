"""Spare tokens: a reserved one, a byte that no text has, or none."""

import pytest
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from leakatk.errors import InputError
from leakatk.unlearning.spare import spare_token


def words(*more, vocabulary=("[UNK]", "a", "À")):
    raw = Tokenizer(models.WordLevel({word: i for i, word in enumerate(vocabulary)}, unk_token="[UNK]"))
    raw.pre_tokenizer = pre_tokenizers.Whitespace()
    made = PreTrainedTokenizerFast(tokenizer_object=raw, unk_token="[UNK]")
    made.add_tokens(list(more), special_tokens=True)
    return made


def test_a_byte_that_utf8_never_has(tokenizer, forget, retain):
    token = spare_token(tokenizer)
    assert tokenizer.convert_ids_to_tokens(token) == "À"  # byte 0xC0
    assert tokenizer.decode([token]) == "\ufffd"
    texts = [*(p.question + p.answer for p in [*forget, *retain]), "À la carte ÿ 日本 🙂"]
    assert not any(token in tokenizer(text)["input_ids"] for text in texts)


def test_a_reserved_token_comes_first():
    made = words("<|other|>", "<|reserved_special_token_7|>", "<|reserved_special_token_8|>")
    assert made.convert_ids_to_tokens(spare_token(made)) == "<|reserved_special_token_7|>"


def test_a_letter_is_no_byte():
    with pytest.raises(InputError, match="has no spare token"):
        spare_token(words())
