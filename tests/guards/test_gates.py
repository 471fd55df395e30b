"""GRUN: the rewriting by hand, its objective by hand, and that trained gates tell the sets apart."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from leakatk.errors import InputError, UnknownNameError
from leakatk.guards.gates import Gated, logprobs, objective, rewritten
from leakatk.models.layers import decoder_layers
from leakatk.prompts import Known
from leakatk.sampling.decoding import Decoding
from leakatk.sampling.teacher_forcing import answer_logprob
from tests.guards.conftest import FORGET, RETAIN

KNOWN = Known(forget=FORGET, retain=RETAIN)
SMALL = {"layers": "0", "rank": 2, "steps": 40, "batch": 4, "rate": 3e-2}


@pytest.fixture(scope="module")
def gated(loaded):
    return Gated(**SMALL).fit(KNOWN, loaded)


def by_hand(gated, state):
    w = {name.removesuffix(".0"): value for name, value in gated.weights.items()}
    gate = 1 / (1 + math.exp(-(w["gate"][0] @ state + w["gate_bias"][0])))
    return state + gate * w["rotate"].T @ (w["source"] @ state + w["source_bias"] - w["rotate"] @ state), gate


def states_of(loaded, ids):
    kept = []
    handle = decoder_layers(loaded.model)[0].register_forward_hook(
        lambda _, __, out: kept.append(out[0] if isinstance(out, tuple) else out)
    )
    with torch.inference_mode():
        loaded.model(input_ids=torch.tensor([ids]))
    handle.remove()
    return kept[0].reshape(len(ids), -1).double().numpy()


def test_the_last_prompt_token_alone_is_rewritten(loaded, gated):
    prompt = loaded.template.prompt_ids(loaded.tokenizer, FORGET[0].query)
    ids = [*prompt, 5, 6, 7]
    plain = states_of(loaded, ids)
    with gated.hooks(loaded, FORGET[:1]):
        found = states_of(loaded, ids)
    wanted, _ = by_hand(gated, plain[len(prompt) - 1])
    np.testing.assert_allclose(found[len(prompt) - 1], wanted, rtol=1e-4, atol=1e-4)
    others = [i for i in range(len(ids)) if i != len(prompt) - 1]
    assert np.array_equal(found[others], plain[others])
    assert not np.allclose(wanted, plain[len(prompt) - 1], atol=1e-2)


def test_rows_stay_orthonormal_and_the_gates_tell_the_sets_apart(loaded, gated):
    rotate = gated.weights["rotate.0"]
    np.testing.assert_allclose(rotate @ rotate.T, np.eye(2), atol=1e-5)
    gates = [
        [by_hand(gated, states_of(loaded, loaded.template.prompt_ids(loaded.tokenizer, p.query))[-1])[1] for p in some]
        for some in (FORGET, RETAIN)
    ]
    assert min(gates[0]) > 0.8 > 0.2 > max(gates[1])


def test_forget_answers_fall_and_the_model_stays(loaded, gated):
    before = [answer_logprob(loaded, list(some), Decoding(max_new_tokens=24)) for some in (FORGET, RETAIN)]
    after = []
    for some in (FORGET, RETAIN):
        values = []
        for prompt in some:
            with gated.hooks(loaded, [prompt]):
                values.append(answer_logprob(loaded, [prompt], Decoding(max_new_tokens=24))[0])
        after.append(np.array(values))
    assert (after[0] - before[0]).mean() < -3
    assert (after[0] - before[0]).mean() < (after[1] - before[1]).mean() - 2
    again = answer_logprob(loaded, list(FORGET), Decoding(max_new_tokens=24))
    assert np.array_equal(again, before[0])


def log_sigma(x):
    return -math.log1p(math.exp(-x))


@pytest.mark.parametrize("base", ["graddiff", "npo", "idk"])
def test_the_objective_by_hand(base):
    gated = Gated(base=base, warm_up=4, forget_weight=0.5, retain_weight=2.0, gate_weight=3.0, beta=0.2)
    gone, kept = torch.tensor([[-1.0, -2.0], [-3.0, 0.0]]), torch.tensor([[-0.5, -0.1], [-0.2, -0.4]])
    start, gates = torch.tensor([-2.0, -4.0]), [torch.tensor([0.9, 0.6]), torch.tensor([0.2, 0.3])]
    found = objective(gated, 1, [(gone, torch.tensor([2, 1])), (kept, torch.tensor([2, 2]))], start, gates)
    forget = {
        "graddiff": np.mean([-1.5, -3.0]),
        "idk": np.mean([1.5, 3.0]),
        "npo": -2 / 0.2 * np.mean([log_sigma(-0.2 * (-3.0 + 2.0)), log_sigma(-0.2 * (-3.0 + 4.0))]),
    }[base]
    retain = np.mean([0.3, 0.3])
    entropy = -np.mean([math.log(x) for x in (0.9, 0.6, 0.8, 0.7)])
    assert float(found) == pytest.approx(0.25 * (0.5 * forget + 2.0 * retain) + 3.0 * entropy, rel=1e-5)
    late = objective(gated, 9, [(gone, torch.tensor([2, 1])), (kept, torch.tensor([2, 2]))], start, gates)
    assert float(late) == pytest.approx(0.5 * forget + 2.0 * retain + 3.0 * entropy, rel=1e-5)


def test_log_probabilities_are_those_of_each_text_alone(loaded):
    pairs = [([4, 5, 6], [7, 8]), ([9, 4], [5, 6, 7, 8])]
    with torch.no_grad():
        found, counts = logprobs(loaded, pairs)
        assert counts.tolist() == [2, 4]
        for row, (asked, answer) in zip(found, pairs, strict=True):
            logs = loaded.model(input_ids=torch.tensor([[*asked, *answer]])).logits[0].log_softmax(-1)
            wanted = [float(logs[len(asked) - 1 + t, token]) for t, token in enumerate(answer)]
            assert row.tolist() == pytest.approx(wanted + [0.0] * (4 - len(wanted)), rel=1e-4, abs=1e-4)


def test_what_makes_no_sense(loaded):
    with pytest.raises(UnknownNameError, match="did you mean"):
        Gated(base="graddif")
    with pytest.raises(InputError, match="rank, steps and batch of at least 1"):
        Gated(rank=0)
    with pytest.raises(InputError, match="layers are numbers with commas"):
        Gated(layers="a,b").fit(KNOWN, loaded)
    with pytest.raises(InputError, match="use --engine native or generate"):
        Gated().fit(KNOWN, None)
    with pytest.raises(InputError, match="rank of a gated module is at most the width"):
        replace(Gated(**SMALL), rank=10_000).fit(KNOWN, loaded)
    moved, gate = rewritten(
        torch.ones(1, 3),
        {
            "gate": torch.zeros(1, 3), "gate_bias": torch.zeros(1), "rotate": torch.eye(3)[:1], "source": torch.zeros(1, 3),
            "source_bias": torch.full((1,), 5.0),
        },
    )  # fmt: skip
    assert moved.tolist() == [[3.0, 1.0, 1.0]]
    assert gate.tolist() == [[0.5]]
