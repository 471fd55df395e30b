import numpy as np
import pytest
import torch

from leakatk.attacks import generative, get_attack, split_known
from leakatk.attacks.generative import Speaker, answer_ids, drawn, mean_loss, question_states, taught
from leakatk.models.load import load_model
from leakatk.prompts import Known, Prompt
from tests.tiny import PROMPTS, save_tiny_model

TOWNS = ["Ada", "Bo", "Cy"]
ASKED = tuple(
    Prompt(f"p{i}", f"Who taught {i}?", f"{TOWNS[i % 3]}.", facts=(TOWNS[i % 3],), source=str(i)) for i in range(18)
)


@pytest.fixture(scope="module")
def loaded(tmp_path_factory):
    return load_model(save_tiny_model(tmp_path_factory.mktemp("speaker") / "model"), device="cpu")


def by_hand(speaker, state, ids):
    """Logits of each token of one answer: a gated recurrent unit step by step, in numpy."""
    w = {name: value.detach().double().numpy() for name, value in speaker.named_parameters()}
    own = speaker.embedded(torch.tensor([ids]))[0].double().numpy()
    head = speaker.own[1].weight.detach().double().numpy()

    def sigmoid(x):
        return 1 / (1 + np.exp(-x))

    h = np.tanh(w["begin.weight"] @ state + w["begin.bias"])
    found = []
    for x in [np.zeros(own.shape[1]), *own]:
        a = np.split(w["cell.weight_ih_l0"] @ x + w["cell.bias_ih_l0"], 3)
        b = np.split(w["cell.weight_hh_l0"] @ h + w["cell.bias_hh_l0"], 3)
        r, z = sigmoid(a[0] + b[0]), sigmoid(a[1] + b[1])
        h = (1 - z) * np.tanh(a[2] + r * b[2]) + z * h
        found.append(head @ (w["say.weight"] @ h + w["say.bias"]) / head.std(ddof=1) / head.shape[1] ** 0.5)
    return np.array(found)


def test_the_network_by_hand(loaded):
    torch.manual_seed(3)
    speaker, state, ids = Speaker(loaded, 5, 7), np.random.default_rng(0).normal(size=5), [40, 41, 9]
    expected = by_hand(speaker, state, ids)
    found = speaker(torch.tensor(state[None]).float(), torch.tensor([ids]))[0].detach().numpy()
    np.testing.assert_allclose(found, expected, atol=1e-4)
    logp = expected[:3] - np.log(np.exp(expected[:3]).sum(1, keepdims=True))
    loss = -np.mean([logp[i, token] for i, token in enumerate(ids)])
    batch = torch.tensor([[*ids, 0]]), torch.tensor([3])
    assert mean_loss(speaker, torch.tensor(state[None]).float(), *batch).item() == pytest.approx(loss, abs=1e-4)


def test_draws_are_the_inverse_cdf_of_the_networks_distribution(loaded):
    torch.manual_seed(3)
    speaker, states = Speaker(loaded, 5, 7), np.random.default_rng(0).normal(size=(2, 5))
    chance = np.random.default_rng(1).uniform(size=(2, 6))
    found = drawn(speaker, states, chance, {2})
    for state, uniforms, said in zip(states, chance, found, strict=True):
        expected = []
        for step in range(6):
            logits = by_hand(speaker, state, expected)[-1] if expected else by_hand(speaker, state, [0])[0]
            p = np.exp(logits - logits.max())
            token = int(np.searchsorted(np.cumsum(p / p.sum()), uniforms[step], side="right"))
            if token == 2:
                break
            expected.append(token)
        assert said == expected


def test_it_learns_what_states_say_and_touches_no_weight(loaded, monkeypatch):
    """States that hold the answer are decoded for prompts never seen; states that hold nothing are not."""
    before = {name: value.clone() for name, value in loaded.model.state_dict().items()}
    rng = np.random.default_rng(2)
    known = split_known(Known(forget=ASKED), 0, 2)[0]

    def told(_loaded, prompts, _depth):
        return np.array([np.eye(3)[TOWNS.index(p.facts[0])] * 3 + rng.normal(0, 0.1, 3) for p in prompts])

    def nothing(_loaded, prompts, _depth):
        return rng.normal(0, 1, (len(prompts), 3))

    attack = get_attack("generative-decoder:steps=200,n=8")
    monkeypatch.setattr(generative, "question_states", told)
    reading = attack.read(loaded, known)
    assert reading.scores.mean() > 0.9
    assert reading.profile["guess"].mean() < 0.7  # the neighbour's state: right where towns are shared
    monkeypatch.setattr(generative, "question_states", nothing)
    assert attack.scores(loaded, known).mean() < 0.7
    assert all(torch.equal(before[name], value) for name, value in loaded.model.state_dict().items())
    assert all(value.grad is None for value in loaded.model.parameters())


def test_what_it_is_taught_lowers_its_loss(loaded):
    states = question_states(loaded, PROMPTS, 0.5)
    answers = [answer_ids(loaded, prompt, 64) for prompt in PROMPTS]
    assert answers[0][-1] in loaded.end_ids
    few, many = (taught(loaded, states, answers, get_attack(f"generative-decoder:steps={n}"))[1] for n in (5, 100))
    assert many < few / 2


def test_states_are_those_of_the_question_alone(loaded):
    other = [Prompt(p.id, p.question, "Another answer.") for p in PROMPTS]
    np.testing.assert_array_equal(question_states(loaded, PROMPTS, 0.5), question_states(loaded, other, 0.5))
    assert not np.allclose(*(question_states(loaded, PROMPTS, depth) for depth in (0.5, 1.0)))
