"""Training on quantised weights: an adapter gets the gradients of the numbers that the codes stand for, and stays beside them."""

import json

import numpy as np
import pytest
import torch
from peft import LoraConfig, get_peft_model

from leakatk.errors import InputError
from leakatk.models.load import load_model
from leakatk.models.placement import is_quantised
from leakatk.sampling.decoding import Decoding
from leakatk.sampling.teacher_forcing import answer_logprob
from leakatk.unlearning.methods import METHODS
from leakatk.unlearning.settings import Check, TrainSettings
from leakatk.unlearning.trainer import unlearn
from tests.quantised import needs_bitsandbytes
from tests.tiny import PROMPTS, save_tiny_model

pytestmark = needs_bitsandbytes
BITS = ["8bit", "4bit"]


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    return save_tiny_model(tmp_path_factory.mktemp("model") / "tiny", hidden=64)


def settings(**changes):
    how = {"learning_rate": 1e-3, "max_steps": 4, "forget_batch": 2, "retain_batch": 2, "tuning": "lora"}
    return TrainSettings(**{**how, **changes})


def load(path, bits):
    return load_model(path, device="cpu", load_in=bits)


def likely(loaded):
    return answer_logprob(loaded, PROMPTS, Decoding())


@pytest.mark.parametrize("bits", BITS)
def test_gradients_are_those_of_the_numbers_that_the_codes_stand_for(path, bits):
    """Against transformers' own dequantised copy. Some layouts of 4-bit weights lose the gradient without an error."""

    def gradients(model):
        model.requires_grad_(False) if not is_quantised(model) else [
            p.requires_grad_(False) for p in model.parameters()
        ]
        torch.manual_seed(0)
        config = LoraConfig(r=4, target_modules="all-linear", task_type="CAUSAL_LM", init_lora_weights=False)
        wrapped = get_peft_model(model, config).train()
        ids = torch.tensor([[3, 9, 17, 4, 8, 30], [5, 2, 40, 7, 11, 6]])
        wrapped(input_ids=ids).logits.log_softmax(-1)[..., 5].mean().backward()
        return {name: p.grad for name, p in wrapped.named_parameters() if p.grad is not None}

    mine, theirs = gradients(load(path, bits).model), gradients(load(path, bits).model.dequantize().float())
    assert mine.keys() == theirs.keys()
    assert len(mine) == 2 * 2 * 7  # both matrices, both layers, seven products
    for name, value in mine.items():
        assert torch.allclose(value, theirs[name], rtol=1e-3, atol=1e-4 * theirs[name].abs().max()), name


@pytest.mark.parametrize("bits", BITS)
def test_the_adapter_is_kept_and_loads_beside_its_base(path, bits, tmp_path):
    loaded = load(path, bits)
    before = likely(loaded)
    codes = {name: p.clone() for name, p in loaded.model.named_parameters() if not p.is_floating_point()}
    done = unlearn(loaded, PROMPTS, PROMPTS, "npo", out=tmp_path / "out", settings=settings(), quiet=True)
    assert done.steps == 4
    after = likely(loaded)
    assert not np.allclose(before, after, atol=1e-3)
    now = dict(loaded.model.named_parameters())
    assert codes
    for name, value in codes.items():  # what was codes still is, and the same ones
        [same] = [p for other, p in now.items() if other.replace(".base_layer", "") == name]
        assert torch.equal(same, value)
    names = {file.name for file in (tmp_path / "out").iterdir()}
    assert {"adapter_config.json", "adapter_model.safetensors", "unlearning.json"} <= names
    assert "model.safetensors" not in names
    about = json.loads((tmp_path / "out" / "adapter_config.json").read_text())
    assert about["base_model_name_or_path"] == str(path.resolve())
    assert np.allclose(likely(load(tmp_path / "out", bits)), after, atol=1e-3)
    # On weights that are not quantised it is nearly the same model.
    assert np.allclose(likely(load_model(tmp_path / "out", device="cpu")), after, rtol=0.1)
    # The same command again finds it done.
    again = load(path, bits)
    unlearn(again, PROMPTS, PROMPTS, "npo", out=tmp_path / "out", settings=settings(), quiet=True)
    assert np.allclose(likely(again), after, atol=1e-3)


@pytest.mark.parametrize("bits", BITS)
def test_a_killed_run_goes_on_to_the_same_adapter(path, bits, tmp_path):
    class Killed(Exception):
        pass

    def kill(loaded, step):
        if step == 3:
            raise Killed
        return Check({})

    how = settings(checkpoint_every=2, check_every=1)
    unlearn(load(path, bits), PROMPTS, PROMPTS, "npo", out=tmp_path / "whole", settings=how, quiet=True)
    with pytest.raises(Killed):
        unlearn(
            load(path, bits), PROMPTS, PROMPTS, "npo", out=tmp_path / "cut", settings=how, on_check=kill, quiet=True
        )
    assert list((tmp_path / "cut" / "checkpoints").iterdir())
    unlearn(load(path, bits), PROMPTS, PROMPTS, "npo", out=tmp_path / "cut", settings=how, quiet=True)
    whole, cut = ((tmp_path / name / "adapter_model.safetensors").read_bytes() for name in ("whole", "cut"))
    assert whole == cut


def test_a_run_on_codes_is_another_run(path, tmp_path):
    from leakatk.errors import RunError

    unlearn(load(path, "4bit"), PROMPTS, PROMPTS, "npo", out=tmp_path / "out", settings=settings(), quiet=True)
    with pytest.raises(RunError):
        unlearn(load(path, "8bit"), PROMPTS, PROMPTS, "npo", out=tmp_path / "out", settings=settings(), quiet=True)


def test_what_codes_cannot_do_is_one_sentence(path):
    loaded = load(path, "4bit")
    with pytest.raises(InputError, match=r"Training all weights needs weights as numbers.*--lora"):
        unlearn(loaded, PROMPTS, PROMPTS, "npo", settings=settings(tuning="full"), quiet=True)
    staged = next(name for name in METHODS if len(METHODS[name].stages) > 1 and not METHODS[name].needs)
    with pytest.raises(InputError, match=f"Method {staged}, which keeps or edits weights"):
        unlearn(loaded, PROMPTS, PROMPTS, staged, settings=settings(), quiet=True)
    unlearn(loaded, PROMPTS, PROMPTS, "npo", settings=settings(max_steps=1), quiet=True)
    with pytest.raises(InputError, match="has an adapter already"):
        unlearn(loaded, PROMPTS, PROMPTS, "npo", settings=settings(), quiet=True)
