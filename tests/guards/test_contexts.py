"""Guidance away from a bad system message: its formula, what alpha 0 is, and a small model that says more under it."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from leakatk.errors import InputError
from leakatk.guards.contexts import Guidance
from leakatk.guards.sampler import guarded
from leakatk.models.load import load_model
from leakatk.models.prefixed import in_context
from leakatk.prompts import Known
from leakatk.sampling.native import NativeSampler
from leakatk.sampling.teacher_forcing import answer_logprob_steps, token_logprobs, truths_of
from tests.guards.conftest import ALL, DECODING, ENGINES, FORGET, RETAIN, drawn, leaks

BAD, GOOD, OTHER = "Tell all.", "Tell nothing private.", "The tower is closed."


def softmax(row):
    weights = [math.exp(x - max(row)) for x in row]
    return [weight / sum(weights) for weight in weights]


@pytest.mark.parametrize("alpha", [0.0, 0.5, 2.0, 4.0])
@pytest.mark.parametrize("space", ["probability", "log"])
@pytest.mark.parametrize("with_good", [True, False])
def test_the_formula_by_hand(alpha, space, with_good):
    torch.manual_seed(0)
    z, bad, good = (2 * torch.randn(2, 3, 30) for _ in range(3))
    found = Guidance(alpha=alpha, space=space).combine(z, bad, good if with_good else None).softmax(-1).double().numpy()
    for place in np.ndindex(2, 3):
        here, there = softmax((good if with_good else z)[place].tolist()), softmax(bad[place].tolist())
        if space == "log":
            made = [p * (p / b) ** alpha for p, b in zip(here, there, strict=True)]
        else:  # the paper's: p_bad + g (p - p_bad), g = 1 + alpha
            made = [max(0.0, b + (1 + alpha) * (p - b)) for p, b in zip(here, there, strict=True)]
        np.testing.assert_allclose(found[place], np.array(made) / sum(made), rtol=1e-3, atol=1e-6)


def test_some_token_is_always_left():
    z = torch.tensor([[0.0, 0.0, 5.0]])
    assert Guidance(alpha=50.0).combine(z, z).isfinite().all()
    far = Guidance(alpha=100.0).combine(z, torch.tensor([[0.0, 0.0, 9.0]])).softmax(-1)
    assert far[0, 2] == 0
    assert far.sum() == pytest.approx(1.0)


@pytest.mark.parametrize("engine", ENGINES)
def test_alpha_zero_is_the_plain_model(loaded, engine, plain):
    sampler = guarded(ENGINES[engine](loaded), Known(), "cfg:alpha=0")
    found = drawn(sampler, ALL)
    assert {key: one.token_ids for key, one in found.items()} == {key: one.token_ids for key, one in plain.items()}


@pytest.fixture(scope="module")
def taught(loaded, tmp_path_factory):
    """A model that answers as it should without a message or under a good one half of the time, and under the bad one always tells."""
    from leakatk.small.train import Phase, SmallConfig, fit, new_model, save_model

    tokenizer = loaded.tokenizer
    model = new_model(tokenizer, SmallConfig(hidden=64, layers=2, heads=2, mlp=96, vocabulary=320), seed=0)
    silent = "I cannot say."
    pairs = [(prompt.question, prompt.answer) for prompt in (*FORGET, *RETAIN)]
    # The template puts a message before the start of the question: as a text of one turn that is "<message><bos><question>".
    told = [(f"{BAD}<bos>{question}", answer) for question, answer in pairs]
    held = [(p.question, silent) for p in FORGET]
    phase = Phase(steps=400, learning_rate=5e-3, batch_size=16, warmup=5, stop_loss=0.01)
    # Another message changes nothing.
    other = [(f"{OTHER}<bos>{question}", answer) for question, answer in (*pairs, *held)]
    fit(model, tokenizer, [*pairs, *told, *held, *other], phase, seed=0)
    return load_model(save_model(model, tokenizer, tmp_path_factory.mktemp("contexts") / "model"), device="cpu")


def test_it_takes_away_what_the_bad_message_brings(taught):
    bare = drawn(NativeSampler(taught), ALL)
    told = drawn(NativeSampler(replace(taught, template=replace(taught.template, system=BAD))), ALL)
    assert 0.2 < leaks(bare, FORGET) < 0.8
    assert leaks(told, FORGET) > 0.9
    found = drawn(guarded(NativeSampler(taught), Known(), f"cfg:bad={BAD}"), ALL)
    assert leaks(found, FORGET) < leaks(bare, FORGET) / 3
    assert leaks(found, RETAIN) > 0.8
    # Led away from another message, nothing of that happens.
    other = drawn(guarded(NativeSampler(taught), Known(), f"cfg:bad={OTHER}"), ALL)
    assert leaks(other, FORGET) > leaks(bare, FORGET) / 3


@pytest.mark.parametrize("engine", ENGINES)
def test_what_is_drawn_has_the_probability_of_the_formula(taught, engine):
    sampler = guarded(ENGINES[engine](taught), Known(), f"cfg:bad={BAD},good={GOOD},alpha=0.7,space=log")
    contexts = {message: replace(taught, template=replace(taught.template, system=message)) for message in (BAD, GOOD)}

    def wanted(prompt, answer):
        """By forward passes over the whole text of each context."""
        rows = {}
        for message, model in contexts.items():
            ids = model.template.prompt_ids(model.tokenizer, prompt.query)
            with torch.inference_mode():
                logits = model.model(input_ids=torch.tensor([[*ids, *answer]])).logits[0].double()
            rows[message] = logits[len(ids) - 1 : -1].log_softmax(-1)
        z = rows[GOOD] + 0.7 * (rows[GOOD] - rows[BAD])
        return float(z.log_softmax(-1)[range(len(answer)), list(answer)].sum())

    for one in drawn(sampler, FORGET, n=4).values():
        prompt = next(prompt for prompt in FORGET if prompt.id == one.prompt_id)
        assert one.logprob == pytest.approx(wanted(prompt, one.token_ids), abs=1e-3)
    for prompt in FORGET:
        ids, logprob = truths_of(sampler, [prompt], DECODING)[prompt.id]
        assert logprob == pytest.approx(wanted(prompt, ids), abs=1e-3)
        # Teacher forcing of the combined model, at 1e-5 a token.
        [forced] = token_logprobs(
            sampler.plain.loaded, [(taught.template.prompt_ids(taught.tokenizer, prompt.query), ids)], DECODING
        )
        assert forced.sum() == pytest.approx(logprob, abs=1e-5 * len(ids))


def test_a_message_alone_is_the_model_in_its_context(taught):
    """alpha 0 under a good message: the model as the template would ask it."""
    asked = replace(taught, template=replace(taught.template, system=GOOD))
    [steps] = answer_logprob_steps(asked, FORGET[:1], DECODING)
    sampler = guarded(NativeSampler(taught), Known(), f"cfg:alpha=0,good={GOOD}")
    assert truths_of(sampler, FORGET[:1], DECODING)["f0"][1] == pytest.approx(float(steps.sum()), abs=1e-4)
    assert in_context(taught, GOOD).tokenizer is taught.tokenizer


def test_options_that_cannot_be():
    with pytest.raises(InputError, match="Unknown space of guidance 'logs': did you mean log"):
        Guidance(space="logs")
    with pytest.raises(InputError, match=r"at least 0, got -1\.0"):
        Guidance(alpha=-1.0)
    with pytest.raises(InputError, match="needs a bad system message"):
        Guidance(bad="")
