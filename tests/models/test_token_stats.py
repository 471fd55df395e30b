import numpy as np
import pytest
import torch

from leakatk.benchmarks.worlds.people import make_world
from leakatk.errors import InputError
from leakatk.models.loaded import LoadedModel
from leakatk.models.template import Template
from leakatk.models.token_stats import answer_pairs, gradient_norms, text_pairs, token_stats
from leakatk.sampling.decoding import Decoding
from leakatk.sampling.teacher_forcing import answer_logprob_steps
from leakatk.small.architecture import SmallConfig, new_model, train_tokenizer

WORLD = make_world(0, forget=1, retain=1, retain_held=0, holdout=1, world_facts=4, pretraining=20)


@pytest.fixture(scope="module")
def loaded():
    tokenizer = train_tokenizer((t for pair in WORLD.pretraining for t in pair), 300)
    model = new_model(tokenizer, SmallConfig(hidden=32, layers=2, heads=2, mlp=64), seed=0)
    return LoadedModel(model=model, tokenizer=tokenizer, template=Template(), name="tiny", fingerprint="")


@pytest.fixture(scope="module")
def pairs(loaded):
    return answer_pairs(loaded, [p.question for p in WORLD.forget], [p.answer for p in WORLD.forget])


def test_against_one_by_one_by_definition(loaded, pairs):
    for stats, (prompt, answer) in zip(token_stats(loaded, pairs), pairs, strict=True):
        with torch.no_grad():
            log_p = loaded.model(torch.tensor([[*prompt, *answer]])).logits[0].double().log_softmax(-1)
        for j, token in enumerate(answer):
            row = log_p[len(prompt) + j - 1]
            assert stats.logprob[j] == pytest.approx(row[token].item(), abs=1e-4)
            assert stats.correct[j] == (row.argmax().item() == token)
            mean = (row.exp() * row).sum()
            assert stats.mean[j] == pytest.approx(mean.item(), abs=1e-4)
            assert stats.deviation[j] == pytest.approx(((row.exp() * (row - mean) ** 2).sum() ** 0.5).item(), abs=1e-3)


def test_agrees_with_the_samplers_oracle(loaded, pairs):
    steps = answer_logprob_steps(loaded, WORLD.forget, Decoding())
    for stats, step in zip(token_stats(loaded, pairs), steps, strict=True):
        np.testing.assert_allclose(stats.logprob, step, atol=1e-4)


def test_gradient_norm_against_backward(loaded, pairs):
    prompt, answer = pairs[0]
    norms = gradient_norms(loaded, pairs[:2])
    model = loaded.model
    ids = torch.tensor([[*prompt, *answer]])
    labels = torch.tensor([[-100] * len(prompt) + list(answer)])
    model.zero_grad()
    model(ids, labels=labels).loss.backward()
    expected = sum(p.grad.square().sum() for p in model.parameters()).sqrt().item()
    assert norms[0] == pytest.approx(expected, rel=1e-4)
    model.zero_grad()
    assert all(p.requires_grad for p in model.parameters())


def test_text_pairs_cut_and_refuse(loaded):
    [(first, rest)] = text_pairs(loaded, ["abc def " * 50], max_tokens=7)
    assert (len(first), len(rest)) == (1, 6)
    with pytest.raises(InputError, match="fewer than two tokens"):
        text_pairs(loaded, [""])
    with pytest.raises(InputError, match="1 questions but 2 answers"):
        answer_pairs(loaded, ["a"], ["b", "c"])
