"""The products of a layer are its modules', packed or not; what is more than a plain layer is not packed."""

import pytest
import torch
from peft import LoraConfig, get_peft_model

from leakatk.sampling import layer_products
from leakatk.sampling.decoding import Decoding
from leakatk.sampling.layer_products import LayerProducts, head_product, packable
from leakatk.sampling.onednn import packs
from tests.sampling.checks import check_same, native_run
from tests.sampling.models import tiny

PACKS = packs(torch.float32)
CLOSE = {"rtol": 1e-5, "atol": 1e-5}


@pytest.mark.parametrize("packed", [False, True] if PACKS else [False])
@pytest.mark.parametrize("family", ["llama", "llama-tied", "llama3", "qwen2"])
@torch.inference_mode()
def test_products_are_the_modules(family, packed):
    base = tiny(family).model
    layer = base.model.layers[0]
    products = LayerProducts(layer, packed)
    assert all((x is not None) == packed for x in (products.inputs, products.out, products.up, products.down))
    x, hidden = torch.randn(16, 32), torch.randn(16, 32)
    attention = layer.self_attn
    found = products.query_key_value(x, 11, 8)
    for part, module in zip(found, (attention.q_proj, attention.k_proj, attention.v_proj), strict=True):
        torch.testing.assert_close(part.flatten(1), module(x[:11]), **CLOSE)
        assert part.shape[::2] == (11, 8)
    torch.testing.assert_close(products.add_out(hidden, x), hidden + attention.o_proj(x), **CLOSE)
    torch.testing.assert_close(products.add_mlp(hidden, x), hidden + layer.mlp(x), **CLOSE)
    torch.testing.assert_close(head_product(base.lm_head, packed)(x), base.lm_head(x), **CLOSE)


@torch.inference_mode()
def test_another_activation_is_the_modules_own():
    layer = tiny().model.model.layers[0]
    layer.mlp.act_fn = torch.nn.GELU()
    x = torch.randn(8, 32)
    found = LayerProducts(layer, PACKS).add_mlp(torch.zeros(8, 32), x)
    torch.testing.assert_close(found, layer.mlp(x), **CLOSE)


@torch.inference_mode()
def test_hooks_and_adapters_are_not_packed():
    layer = tiny().model.model.layers[0]
    layer.mlp.register_forward_hook(lambda module, inputs, out: out + 100)
    layer.self_attn.o_proj.register_forward_hook(lambda module, inputs, out: out - 100)
    products, x, zero = LayerProducts(layer, PACKS), torch.randn(8, 32), torch.zeros(8, 32)
    assert products.add_mlp(zero, x).min() > 50
    assert products.add_out(zero, x).max() < -50
    adapted = get_peft_model(tiny().model, LoraConfig(r=2, target_modules=["k_proj"])).get_base_model()
    products = LayerProducts(adapted.model.layers[0], PACKS)
    assert products.inputs is None
    assert (products.out is not None) == PACKS


@pytest.mark.skipif(not PACKS, reason="this torch has no oneDNN that packs weights")
def test_a_model_above_the_limit_is_not_packed_and_samples_the_same(monkeypatch):
    loaded = tiny()
    base = loaded.model
    layers = sum(p.nbytes for name, p in base.named_parameters() if "proj" in name or "lm_head" in name)
    assert packable(base) == layers
    decoding = Decoding(max_new_tokens=8)
    packed = native_run(loaded, decoding)
    monkeypatch.setattr(layer_products, "PACKED_MOST", layers - 1)
    assert packable(base) == 0
    check_same(loaded, native_run(loaded, decoding), packed, decoding)
