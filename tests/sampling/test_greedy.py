"""Greedy answers are those of the model's own argmax, token by token."""

import pytest
import torch

from leakatk.models.load import ModelSource
from leakatk.sampling.greedy import greedy_texts
from tests.tiny import PROMPTS, save_tiny_model


@pytest.fixture(scope="module")
def loaded(tmp_path_factory):
    return ModelSource(str(save_tiny_model(tmp_path_factory.mktemp("m") / "tiny"))).load()


@torch.inference_mode()
def by_hand(loaded, prompt, most):
    ids = loaded.template.prompt_ids(loaded.tokenizer, prompt.query)
    said = []
    while len(said) < most:
        token = int(loaded.model(torch.tensor([[*ids, *said]])).logits[0, -1].argmax())
        if token in loaded.end_ids:
            break
        said.append(token)
    return loaded.tokenizer.decode(said, skip_special_tokens=True).strip()


def test_greedy_is_the_argmax(loaded):
    found = greedy_texts(loaded, PROMPTS[::-1], 5)
    assert [text.strip() for text in found] == [by_hand(loaded, prompt, 5) for prompt in PROMPTS[::-1]]
    assert greedy_texts(loaded, PROMPTS[::-1], max_new_tokens=5) == found
