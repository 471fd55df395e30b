"""Llama-3's inner <|eot_id|>: open-unlearning masks every token of the padding id, which is that one; ours masks none."""

import numpy as np
import pytest
import torch

from leakatk.models.loaded import LoadedModel
from leakatk.models.template import Template
from leakatk.models.token_stats import answer_pairs, token_stats
from tests import families


def test_the_model_sees_the_ends_of_system_message_and_question():
    family = families.FAMILIES["llama-3"]
    tokenizer = families.tokenizer_of(family.style, family)
    model = families.model_of(family, tokenizer)
    loaded = LoadedModel(model, tokenizer, Template(), "llama-3", "")
    end = tokenizer.convert_tokens_to_ids(family.end)
    pairs = answer_pairs(loaded, [p.question for p in families.FACTS], [p.answer for p in families.FACTS])
    for (prompt, answer), stats in zip(pairs, token_stats(loaded, pairs), strict=True):
        assert prompt.count(end) == 2
        assert answer[-1] == end
        ids = torch.tensor([[*prompt, *answer]])
        by_mask = {}
        for name, mask in (("whole", torch.ones_like(ids)), ("as open-unlearning", ids.ne(end).long())):
            with torch.no_grad():
                logits = model(input_ids=ids, attention_mask=mask).logits[0, len(prompt) - 1 : -1].double().numpy()
            shifted = logits - logits.max(1, keepdims=True)
            logp = shifted - np.log(np.exp(shifted).sum(1, keepdims=True))
            by_mask[name] = logp[np.arange(len(answer)), answer]
        assert stats.logprob == pytest.approx(by_mask["whole"], abs=1e-5)  # float32
        assert abs(by_mask["whole"] - by_mask["as open-unlearning"]).max() > 1e-4  # the two can be told apart
