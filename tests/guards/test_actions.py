"""What guards do to a prompt, against a second way to the same model."""

import numpy as np
import pytest
import torch

from leakatk.errors import InputError
from leakatk.guards.actions import Corrupt, InContext, Refuse
from leakatk.guards.base import place_of
from leakatk.guards.sampler import guarded
from leakatk.prompts import Known, Query
from leakatk.sampling.answer_tree import expansions_of
from leakatk.sampling.native import NativeSampler
from leakatk.sampling.teacher_forcing import truths_of
from tests.guards.conftest import ALL, DECODING, ENGINES, FORGET, RETAIN, acting_on_forget, drawn


def test_corruption_of_size_zero_is_the_model_itself(loaded, known, plain):
    found = drawn(guarded(NativeSampler(loaded), known, acting_on_forget(Corrupt(sigma=0.0))), ALL)
    assert {key: one.token_ids for key, one in found.items()} == {key: one.token_ids for key, one in plain.items()}
    for key, one in found.items():
        assert one.logprob == pytest.approx(plain[key].logprob, abs=1e-4)


def corrupted_logprob(loaded, action, prompt, answer):
    """log p of each answer token, by one forward pass over embeddings that are corrupted here."""
    ids = loaded.template.prompt_ids(loaded.tokenizer, prompt.query)
    special = set(loaded.tokenizer.all_special_ids)
    noise = np.random.default_rng(action.noise_seed).standard_normal((len(ids) + 1, 64)) * action.sigma
    with torch.inference_mode():
        made = loaded.model.get_input_embeddings()(torch.tensor([[*ids, *answer]])).clone()
        for place, token in enumerate(ids[:-1]):
            if token in special:
                continue
            row = made[0, place]
            entries = range(action.dims) if action.which == "first" else row.abs().topk(action.dims).indices.tolist()
            for i in entries:
                before = float(row[i])
                row[i] = {"noise": before + float(noise[place, i]), "zero": 0.0, "flip": -before}[action.how]
        logp = loaded.model(inputs_embeds=made, use_cache=False).logits[0].double().log_softmax(-1)
    return sum(float(logp[len(ids) - 1 + i, token]) for i, token in enumerate(answer))


CORRUPTIONS = [
    Corrupt(sigma=3.0),
    Corrupt(sigma=0.5, dims=7, which="largest", noise_seed=4),
    Corrupt(how="zero", dims=20),
    Corrupt(how="flip", dims=64),
    Corrupt(how="flip", dims=9, which="largest"),
]


@pytest.mark.parametrize("action", CORRUPTIONS, ids=repr)
@pytest.mark.parametrize("engine", ENGINES)
def test_corrupted_embeddings_are_those_made_by_hand(loaded, known, engine, action):
    """Samples, true answers and expansions; prompts of several lengths, which share a beginning."""
    sampler = guarded(ENGINES[engine](loaded), known, acting_on_forget(action))
    for one in drawn(sampler, FORGET, n=6).values():
        prompt = next(prompt for prompt in FORGET if prompt.id == one.prompt_id)
        assert one.logprob == pytest.approx(corrupted_logprob(loaded, action, prompt, one.token_ids), abs=2e-4)
    for prompt in FORGET:
        ids, logprob = truths_of(sampler, [prompt], DECODING)[prompt.id]
        assert logprob == pytest.approx(corrupted_logprob(loaded, action, prompt, ids), abs=1e-4)
    for tree in expansions_of(sampler, FORGET, DECODING, 30):
        prompt = next(prompt for prompt in FORGET if prompt.id == tree.prompt_id)
        for answer in tree.answers[:3]:
            assert answer.logprob == pytest.approx(
                corrupted_logprob(loaded, action, prompt, answer.token_ids), abs=2e-4
            )


def test_the_last_token_and_special_ones_are_left_alone(loaded):
    chosen = Corrupt().group(loaded, FORGET[0])
    ids = loaded.template.prompt_ids(loaded.tokenizer, FORGET[0].query)
    assert len(chosen) == len(ids)
    assert not chosen[-1]
    special = set(loaded.tokenizer.all_special_ids)
    assert ids[0] in special
    assert [place for place, on in enumerate(chosen) if not on] == [
        place for place, token in enumerate(ids) if token in special or place == len(ids) - 1
    ]
    assert sum(chosen) > 3


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"how": "nois"}, "Unknown corruption 'nois': did you mean noise"),
        ({"which": "last"}, "Unknown choice of entries 'last'"),
        ({"sigma": -1.0}, "sigma and dims must be at least 0"),
        ({"dims": -1}, "sigma and dims must be at least 0"),
    ],
)
def test_options_that_cannot_be(options, says):
    with pytest.raises(InputError, match=says):
        Corrupt(**options)


def test_a_refusal_asks_nothing():
    assert place_of(Refuse()) == "answer"
    assert not Refuse.asks
    assert Refuse("No.").answer(FORGET[0], "") == "No."


def test_examples_stand_before_the_prompt(known):
    action = InContext(shots=2, reply="I forgot.").fit(known, None)
    put = action.query(FORGET[1])
    first, *others = put.query.turns
    assert first == (FORGET[1].question, "I forgot.")
    assert len(others) == 2
    assert set(others) <= {(prompt.question, prompt.answer) for prompt in RETAIN}
    assert (put.query.text, put.id, put.answer) == (FORGET[1].question, "f1", FORGET[1].answer)
    assert action.query(FORGET[1]) == put
    assert InContext(shots=2, reply="I forgot.", shots_seed=3).fit(known, None).query(FORGET[1]) != put


def test_a_false_reply_is_never_the_true_one(known):
    for seed in range(20):
        action = InContext(shots_seed=seed).fit(known, None)
        for prompt in FORGET:
            (_, reply), *_ = action.query(prompt).query.turns
            assert reply in {other.answer for other in FORGET} - {prompt.answer}


def test_what_a_probe_put_there_stays(known):
    from dataclasses import replace

    probed = replace(FORGET[0], asked=Query("Ada Korvin was born where?", turns=(("a", "b"),), begin="In"))
    put = InContext(shots=1).fit(known, None).query(probed)
    assert (put.query.text, put.query.turns[-1], put.query.begin) == ("Ada Korvin was born where?", ("a", "b"), "In")
    assert put.query.turns[0][0] == FORGET[0].question


def test_examples_need_enough_prompts(known):
    with pytest.raises(InputError, match=r"shots = 9, and there are 4 retain prompts"):
        InContext(shots=9).fit(known, None)
    with pytest.raises(InputError, match="give reply=TEXT"):
        InContext().fit(Known(forget=FORGET[:1], retain=RETAIN, encoder="words"), None)
