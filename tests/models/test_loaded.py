"""A model in memory: its end tokens, its notes, and what a manifest keeps of it."""

import json
import platform
from types import SimpleNamespace

import pytest
import torch
import transformers

from leakatk.errors import ModelError
from leakatk.models.loaded import LoadedModel, end_token_ids
from leakatk.models.template import Template
from tests.families import FAMILIES, model_of, tokenizer_of


def test_end_token_ids():
    class Holder:
        def __init__(self, value):
            self.eos_token_id = value

    assert end_token_ids(Holder(2), Holder([3, 4]), Holder(None), object()) == {2, 3, 4}
    for wrong in ("</s>", [2, "a"], True, 1.5):
        with pytest.raises(ModelError, match="no token id"):
            end_token_ids(Holder(wrong))


@pytest.mark.parametrize(
    ("value", "ids"), [(0, {0}), ([], set()), ([3, 3], {3}), ((4, 5), {4, 5}), ({6}, {6}), (None, set())]
)
def test_one_end_token_several_or_none(value, ids):
    assert end_token_ids(SimpleNamespace(eos_token_id=value)) == ids


def held(family, **changes):
    known = FAMILIES[family]
    tokenizer = tokenizer_of(known.style, known)
    return LoadedModel(model_of(known, tokenizer), tokenizer, Template(), "a model", "sha256:0", **changes)


@pytest.mark.parametrize("family", ["qwen", "llama-2", "gemma", "plain-gpt2"])
def test_what_ends_an_answer_is_named_by_the_tokenizer_the_configs_and_the_template(family):
    loaded = held(family)
    loaded.model.generation_config.eos_token_id = [7, 9]
    loaded.model.config.eos_token_id = 11
    assert loaded.own_end_ids == {loaded.tokenizer.eos_token_id, 7, 9, 11}
    closing = loaded.template.end_id(loaded.tokenizer)
    assert loaded.end_ids == loaded.own_end_ids | ({closing} - {None})


def test_the_end_of_a_chat_turn_ends_an_answer_that_no_config_names():
    loaded = held("gemma")
    closing = loaded.template.end_id(loaded.tokenizer)
    assert closing is not None
    assert closing not in loaded.own_end_ids
    assert closing in loaded.end_ids


def test_a_note_is_kept_once_and_each_model_has_its_own():
    first, second = held("plain-gpt2"), held("plain-gpt2")
    for sentence in ("one", "two", "one"):
        first.note(sentence)
    assert first.notes == ["one", "two"]
    assert second.notes == []


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_what_a_manifest_keeps_is_plain_and_true(dtype):
    loaded = held("qwen")
    loaded.model.to(dtype)
    about = loaded.describe()
    assert json.loads(json.dumps(about)) == about
    assert (about["model"], about["fingerprint"]) == ("a model", "sha256:0")
    assert about["template"] == loaded.template.describe(loaded.tokenizer)
    assert getattr(torch, about["dtype"]) is dtype
    assert torch.device(about["device"]).type == loaded.device.type == "cpu"
    versions = (torch.__version__, transformers.__version__, platform.python_version())
    assert (about["torch"], about["transformers"], about["python"]) == versions
