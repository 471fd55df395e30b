import numpy as np
import pytest
import torch

from leakatk.attacks import get_attack
from leakatk.attacks.activations import texts
from leakatk.attacks.depth import fact_places, fact_row, kept_share, lost_by_layer
from leakatk.models.load import load_model
from leakatk.prompts import Known
from tests.tiny import PROMPTS, save_tiny_model


@pytest.fixture(scope="module")
def three(tmp_path_factory):
    place = tmp_path_factory.mktemp("depth")
    return [load_model(save_tiny_model(place / str(seed), seed=seed), device="cpu") for seed in (0, 1, 2)]


def test_the_score_by_hand():
    rng = np.random.default_rng(0)
    without, mine = rng.uniform(-0.1, 1, (4, 6)), rng.uniform(-0.2, 1.5, (4, 6))
    without[:, 5] = 0.01
    scores, kept = kept_share(without, mine, 0.05)
    for i in range(5):
        layers = [layer for layer in range(4) if without[layer, i] > 0.05]
        total = sum(without[layer, i] for layer in layers)
        gone = sum(without[layer, i] * min(max(mine[layer, i] / without[layer, i], 0), 1) for layer in layers) / total
        assert scores[i] == pytest.approx(1 - gone)
        assert np.isnan(kept[:, i]).tolist() == [layer not in layers for layer in range(4)]
        for layer in layers:
            assert kept[layer, i] == pytest.approx(1 - min(max(mine[layer, i] / without[layer, i], 0), 1))
    assert np.isnan(scores[5])
    assert np.nanmax(np.abs(kept.mean(axis=0)[:5] - scores[:5])) > 0.01 or np.isnan(kept).any()  # weighted, not a mean


@torch.no_grad()
def test_what_the_original_loses_by_a_hand_written_copy(three):
    """The states are put in by replacing a layer's output; the probabilities by log-softmax."""
    source, target, _ = three
    rows = [fact_row(target, prompt) for prompt in PROMPTS]
    given = texts(target, [row[:2] for row in rows])
    wanted = torch.tensor([token for row in rows for token in row[2]])
    found = lost_by_layer(source, target, given, wanted)
    for number, (ids, places, tokens) in enumerate(rows):
        one = torch.tensor([ids])
        states = source.model.model(one, output_hidden_states=True).hidden_states
        plain = target.model(one).logits[0].double().log_softmax(-1)
        for layer in (0,):  # the last entry of hidden_states is normed

            def swap(_m, _i, output, states=states, layer=layer, places=places):
                hidden = (output[0] if isinstance(output, tuple) else output).clone()
                hidden[0, places] = states[layer + 1][0, places]
                return (hidden, *output[1:]) if isinstance(output, tuple) else hidden

            handle = target.model.model.layers[layer].register_forward_hook(swap)
            patched = target.model(one).logits[0].double().log_softmax(-1)
            handle.remove()
            lost = np.mean([float(plain[p, t] - patched[p, t]) for p, t in zip(places, tokens, strict=True)])
            assert found[layer, number] == pytest.approx(lost, abs=1e-5)


def test_the_original_keeps_all_and_the_retrained_model_nothing(three):
    original, retrained, other = three
    prompts = tuple(PROMPTS)
    known = Known(forget=prompts, unseen=prompts, original=original.name, retrained=retrained.name)
    attack = get_attack("depth:tau=0")
    read = {one.name: attack.read(one, known) for one in three}
    defined = ~np.isnan(read[other.name].scores)
    assert defined.any()
    np.testing.assert_allclose(read[original.name].scores[defined], 1, atol=1e-9)
    np.testing.assert_allclose(read[retrained.name].scores[defined], 0, atol=1e-9)
    assert list(read[other.name].profile) == ["layer 0", "layer 1"]


def test_a_fact_is_found_in_the_tokens_of_the_answer(three):
    tokenizer = three[0].tokenizer
    for prompt in PROMPTS:
        answer = [int(i) for i in tokenizer(f" {prompt.answer}", add_special_tokens=False)["input_ids"]]
        places = fact_places(tokenizer, answer, prompt.facts)
        assert prompt.facts[0] in tokenizer.decode([answer[i] for i in places])
        assert len(places) < len(answer)
        rest = [i for i in range(len(answer)) if i not in places]
        assert prompt.facts[0] not in tokenizer.decode([answer[i] for i in rest])
    assert fact_places(tokenizer, [5, 6, 7], ("nowhere",)) == [0, 1, 2]
