"""Layers of a model: by number or depth, and the states that go through them."""

import pytest
import torch

from leakatk.errors import InputError
from leakatk.models.layers import decoder_layers, layer_at, listening, module_at, states_of
from leakatk.models.load import load_model
from tests.tiny import save_tiny_model


@pytest.fixture(scope="module")
def loaded(tmp_path_factory):
    return load_model(save_tiny_model(tmp_path_factory.mktemp("layers") / "model"), device="cpu")


def test_a_layer_by_number_or_by_depth(loaded):
    model = loaded.model
    assert [layer_at(model, layer) for layer in (0, 1, -1, -2, 0.2, 0.5, 0.9)] == [0, 1, 1, 0, 0, 1, 1]
    for wrong in (2, -3, 1.5):
        with pytest.raises(InputError, match=r"share of the depth between 0 and 1, or a number between -2 and 1"):
            layer_at(model, wrong)


def test_states_are_those_of_transformers(loaded):
    sequences = [[1, 7, 9, 3], [1, 12]]
    [blocks, gates, keys] = states_of(loaded, sequences, [(0, "block"), (1, "mlp_gate"), (1, "mlp_in")])
    mlp = decoder_layers(loaded.model)[1].mlp
    for ids, block, gate, key in zip(sequences, blocks, gates, keys, strict=True):
        with torch.inference_mode():
            out = loaded.model(input_ids=torch.tensor([ids]), output_hidden_states=True)
            heard = []
            handle = mlp.register_forward_pre_hook(lambda _, inputs, heard=heard: heard.append(inputs[0][0]))
            loaded.model(input_ids=torch.tensor([ids]))
            handle.remove()
            wanted = mlp.gate_proj(heard[0])
            torch.testing.assert_close(block, out.hidden_states[1][0])
            torch.testing.assert_close(gate, wanted)
            torch.testing.assert_close(key, torch.nn.functional.silu(wanted) * mlp.up_proj(heard[0]))


def test_nothing_listens_afterwards(loaded):
    def hooks():
        return sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in loaded.model.modules())

    before = hooks()
    with listening(loaded.model, 0):
        assert hooks() == before + 1
    with pytest.raises(ZeroDivisionError), listening(loaded.model, 0):
        raise ZeroDivisionError
    assert hooks() == before


def test_what_is_not_there(loaded):
    with pytest.raises(InputError, match="Unknown part of a layer 'mlps': did you mean mlp"):
        module_at(loaded.model, 0, "mlps")
