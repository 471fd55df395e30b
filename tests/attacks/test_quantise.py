import copy

import numpy as np
import pytest
import torch
from transformers import GPT2Config, GPT2LMHeadModel

from leakatk.attacks import LadderSettings, attack_ladder, get_attack
from leakatk.attacks.base import Cost
from leakatk.attacks.quantise import blocks_of, linear_layers, linear_weights
from leakatk.attacks.rounding import awq, gptq, rounded
from leakatk.errors import InputError
from leakatk.models.load import load_model
from leakatk.models.loaded import LoadedModel
from leakatk.models.template import Template
from leakatk.prompts import Known
from leakatk.sampling.decoding import Decoding
from leakatk.small.architecture import SmallConfig, new_model, save_model, train_tokenizer
from leakatk.unlearning.settings import TrainSettings
from leakatk.unlearning.trainer import unlearn


def by_hand(weight, bits, group):
    """One weight at a time, in float32 as hardware rounds it."""
    most = np.float32(2 ** (bits - 1) - 1)
    out = np.zeros_like(weight)
    for i, row in enumerate(weight):
        width = group or len(row)
        for start in range(0, len(row), width):
            part = row[start : start + width]
            scale = np.float32(max(abs(value) for value in part)) / most
            for j, value in enumerate(part):
                code = np.float32(0) if scale == 0 else np.rint(np.float32(value / scale))  # ties to even, as torch
                out[i, start + j] = min(max(code, -most), most) * scale
    return out


@pytest.mark.parametrize("bits", [4, 8])
@pytest.mark.parametrize("group", [0, 1, 5, 8, 64])
def test_against_a_second_implementation(bits, group):
    weight = np.random.default_rng(3).normal(size=(6, 13)).astype(np.float32)
    weight[2] = 0
    found = rounded(torch.from_numpy(weight), bits, group).numpy()
    assert (found == by_hand(weight, bits, group)).all()


def test_few_values_are_left_and_the_largest_stays():
    weight = torch.from_numpy(np.random.default_rng(0).normal(size=(4, 200)).astype(np.float32))
    found = rounded(weight, 4)
    assert all(len(set(row.tolist())) <= 15 for row in found)
    top = weight.abs().argmax(dim=1, keepdim=True)
    torch.testing.assert_close(found.gather(1, top), weight.gather(1, top))
    step = weight.abs().amax(dim=1, keepdim=True) / 7
    assert ((found - weight).abs() <= step / 2 * 1.0001).all()


def test_what_is_rounded_and_what_stays(forgot):
    loaded = load_model(forgot)
    before = copy.deepcopy(loaded.model.state_dict())
    attack = get_attack("quantise:bits=4,group=8")
    attack.apply(loaded, Known())
    head = loaded.model.get_output_embeddings().weight
    changed = set()
    for name, parameter in loaded.model.named_parameters():
        if "_proj" in name:
            assert torch.equal(parameter, rounded(before[name], 4, 8))
            changed.add(name)
        else:
            assert torch.equal(parameter, before[name]), name
    assert torch.equal(head, before["lm_head.weight"])
    assert len(changed) == 2 * 7
    [note] = attack.notes(loaded)
    rounded_weights = sum(before[name].numel() for name in changed)
    assert note.startswith(f"{rounded_weights:,} of ")


def test_a_transposed_layer_has_a_scale_for_each_output():
    torch.manual_seed(0)
    model = GPT2LMHeadModel(GPT2Config(n_embd=8, n_layer=1, n_head=2, vocab_size=20, n_positions=16))
    before = copy.deepcopy(model.state_dict())
    loaded = LoadedModel(model, None, Template(kind="plain"), "gpt", "none")
    get_attack("quantise:bits=8").apply(loaded, Known())
    name = "transformer.h.0.mlp.c_fc.weight"  # (inputs, outputs)
    assert torch.equal(model.state_dict()[name], rounded(before[name].T, 8).T)
    assert torch.equal(model.state_dict()["transformer.wte.weight"], before["transformer.wte.weight"])
    assert len(list(linear_weights(model))) == 4


def test_a_model_without_linear_layers_is_refused():
    loaded = LoadedModel(torch.nn.Sequential(torch.nn.Embedding(3, 2)), None, Template(kind="plain"), "x", "none")
    with pytest.raises(InputError, match="no linear layers"):
        get_attack("quantise").apply(loaded, Known())


def test_how_it_is_rounded_is_checked():
    for spec in ("how=fp3", "how=gguf,group=32", "how=bitsandbytes,group=1", "data=forget", "samples=0"):
        with pytest.raises(InputError):
            get_attack(f"quantise:{spec}")
    with pytest.raises(InputError, match="--retain"):
        get_attack("quantise:how=gptq").check(Known())
    with pytest.raises(InputError, match="--text"):
        get_attack("quantise:how=awq,data=text").check(Known())


def test_blocks_are_those_of_the_model(forgot):
    blocks = blocks_of(list(linear_layers(load_model(forgot).model)))
    assert [len(block) for block in blocks] == [7, 7]
    assert all(name.startswith(f"model.layers.{number}.") for number, block in enumerate(blocks) for name, _ in block)
    assert blocks_of([("head", None), ("tail", None)]) == [[("head", None)], [("tail", None)]]


@pytest.mark.parametrize("how", ["gptq", "awq"])
@pytest.mark.parametrize("data", ["retain", "text"])
def test_each_block_is_rounded_by_what_it_reads_after_those_before_it(forgot, retain, how, data):
    """A second way: the inputs of each layer from a model whose earlier blocks are rounded, caught by an output hook."""
    known = Known(retain=tuple(retain), text=tuple(f"{prompt.question} {prompt.answer}" for prompt in retain))
    one = get_attack(f"quantise:how={how},group=16,samples=3,data={data}")
    loaded, by_hand = load_model(forgot), load_model(forgot)
    one.apply(loaded, known)
    texts = one.texts(by_hand, known)
    assert len(texts) == 3
    layers = dict(linear_layers(by_hand.model))
    for number in range(2):
        caught = {name: [] for name in layers if f".{number}." in name}
        hooks = [
            layers[name].register_forward_hook(lambda m, x, y, held=caught[name]: held.append(x[0].detach()[0]))
            for name in caught
        ]
        for ids in texts:
            by_hand.model(input_ids=torch.tensor([ids]))
        for hook in hooks:
            hook.remove()
        for name, parts in caught.items():
            x = torch.cat(parts).double()
            weight, hessian = layers[name].weight.data, x.T @ x / len(x)
            new = gptq(weight, hessian, 4, 16) if how == "gptq" else awq(weight, hessian, x.abs().mean(0), 4, 16)
            weight.copy_(new)
    found, wanted = loaded.model.state_dict(), by_hand.model.state_dict()
    assert all(torch.allclose(found[name], wanted[name], atol=1e-5) for name in wanted)
    plain = load_model(forgot)
    get_attack("quantise:group=16").apply(plain, known)
    assert not all(torch.equal(found[name], value) for name, value in plain.model.state_dict().items())
    cost = one.cost(loaded, known)
    assert (cost.texts, cost.read) == (2 * 3, 2 * sum(map(len, texts)))
    assert get_attack("quantise").cost(loaded, known) == Cost()


def test_embeddings_are_rounded_when_asked(forgot):
    loaded = load_model(forgot)
    before = {name: value.clone() for name, value in loaded.model.state_dict().items()}
    get_attack("quantise:embeddings=yes").apply(loaded, Known())
    name = "model.embed_tokens.weight"
    assert torch.equal(loaded.model.state_dict()[name], rounded(before[name], 4))


@pytest.fixture(scope="module")
def wide(forget, retain, tmp_path_factory):
    """A world made for it: a wider model, whose weights move little when it unlearns, and lie on four bits before that.

    So is a model that was taken from a file in four bits and dequantised. The original, what IdkNLL made of it, the retrained one.
    """
    place = tmp_path_factory.mktemp("wide")
    texts = [text for prompt in [*forget, *retain] for text in (prompt.question, prompt.answer)]
    tokenizer = train_tokenizer([*texts, "I do not know."], 300)
    model = new_model(tokenizer, SmallConfig(hidden=96, layers=2, heads=4, mlp=192, vocabulary=300), seed=0)
    start = save_model(model, tokenizer, place / "blank")
    learn = TrainSettings(learning_rate=4e-3, max_steps=60, retain_batch=16)
    little = TrainSettings(learning_rate=1e-4, max_steps=80, forget_batch=8, retain_batch=8, parameters="_proj")
    unlearn(load_model(start), (), retain, "retrain", out=place / "retrained", settings=learn, quiet=True)
    loaded = load_model(start)
    unlearn(loaded, (), [*forget, *retain], "retrain", settings=learn, quiet=True)
    get_attack("quantise").apply(loaded, Known())
    unlearn(
        loaded, forget, retain, "idknll", out=place / "forgot", settings=little, refusals=("I do not know.",), quiet=True
    )  # fmt: skip
    return place / "forgot", place / "retrained"


def test_rounding_undoes_an_unlearning_whose_steps_are_smaller_than_its_own(wide, forget, tmp_path):
    forgot, retrained = wide
    few = LadderSettings(n=16, decoding=Decoding(max_new_tokens=12), quiet=True)
    summary = attack_ladder(
        forgot, forget, ["quantise", "quantise:bits=8"], out=tmp_path / "o", retrained=retrained, settings=few
    )
    before, four, eight = (rung["scorers"]["fact"] for rung in summary["rungs"])
    assert four["leak"]["value"][0] > before["leak"]["value"][0] + 0.3
    assert four["excess"]["low"][0] > before["excess"]["high"][0]
    assert four["retrained"]["value"][0] < before["retrained"]["value"][0] + 0.1
    # Steps of 8 bits are finer than what unlearning moved.
    assert abs(eight["leak"]["value"][0] - before["leak"]["value"][0]) < 0.1
