"""The product of a linear layer is the layer's own, whichever library multiplies."""

import pytest
import torch
from torch import nn

from leakatk.sampling.onednn import Packed, is_plain, linear, packs, padded


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("shape", [(1, 48), (7, 48), (3, 5, 48), (0, 48), (300, 48)])
def test_it_is_the_layer_up_to_rounding(shape, bias):
    torch.manual_seed(0)
    layer, x = nn.Linear(48, 112, bias=bias), torch.randn(shape)
    with torch.inference_mode():
        found = linear(layer, x)
        exact = nn.functional.linear(x.double(), layer.weight.double(), layer.bias.double() if bias else None)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found.double(), exact, rtol=1e-5, atol=1e-5)


@torch.inference_mode()
def test_rows_and_weights_that_are_not_contiguous():
    layer, x = nn.Linear(48, 48, bias=False), torch.randn(48, 9).t()
    layer.weight.data = torch.randn(48, 48).t()
    torch.testing.assert_close(linear(layer, x), layer(x), rtol=1e-4, atol=1e-4)


@torch.inference_mode()
def test_it_sees_weights_changed_in_place():
    layer, x = nn.Linear(8, 8), torch.randn(4, 8)
    linear(layer, x)
    layer.weight.zero_()
    assert torch.equal(linear(layer, x), layer.bias.expand(4, 8))


@torch.inference_mode()
def test_what_is_more_than_a_plain_layer_is_called():
    class Doubled(nn.Linear):
        def forward(self, x):
            return 2 * super().forward(x)

    x = torch.randn(4, 8)
    doubled = Doubled(8, 8)
    torch.testing.assert_close(linear(doubled, x), doubled(x))
    hooked = nn.Linear(8, 8)
    hooked.register_forward_hook(lambda module, inputs, out: out + 100)
    assert linear(hooked, x).min() > 50
    patched = nn.Linear(8, 8)
    patched.forward = lambda x: torch.zeros(4, 8)
    assert linear(patched, x).abs().max() == 0
    half = nn.Linear(8, 8).to(torch.bfloat16)
    assert linear(half, x.bfloat16()).dtype == torch.bfloat16


needs_packing = pytest.mark.skipif(not packs(torch.float32), reason="this torch has no oneDNN that packs weights")


@needs_packing
@pytest.mark.parametrize("biases", [(False, False), (True, True), (True, False)])
@pytest.mark.parametrize("rows", [1, 8, 77, 300])
@torch.inference_mode()
def test_packed_layers_are_the_layers_side_by_side(biases, rows):
    torch.manual_seed(0)
    layers = [nn.Linear(48, size, bias=bias) for size, bias in zip((112, 40), biases, strict=True)]
    x, other = torch.randn(rows, 48), torch.randn(rows, 152)
    packed = Packed(layers)
    exact = torch.cat([layer.double()(x.double()) for layer in layers], dim=1)
    close = {"rtol": 1e-5, "atol": 1e-5}
    torch.testing.assert_close(packed(x).double(), exact, **close)
    torch.testing.assert_close(packed(x, "swish").double(), exact * torch.sigmoid(exact), **close)
    before = other.clone()
    torch.testing.assert_close(packed.with_other(x, other, "add").double(), exact + before.double(), **close)
    torch.testing.assert_close(packed.with_other(x, other, "mul").double(), exact * before.double(), **close)
    assert torch.equal(other, before), "what is added stays as it was"


@pytest.mark.skipif(not packs(torch.bfloat16), reason="this processor does not multiply bfloat16 in oneDNN")
@torch.inference_mode()
def test_packed_layers_in_bfloat16():
    torch.manual_seed(0)
    layer, x = nn.Linear(48, 64, bias=False).bfloat16(), torch.randn(9, 48).bfloat16()
    exact = x.double() @ layer.weight.double().t()
    torch.testing.assert_close(Packed([layer])(x).double(), exact, rtol=1e-2, atol=1e-2)


def test_what_can_be_packed():
    assert not packs(torch.float16)
    assert not packs(torch.float64)
    plain = nn.Linear(3, 3)
    assert is_plain(plain)
    plain.forward = plain.forward
    assert not is_plain(plain)


def test_rows_are_rounded_up_to_few_numbers_at_most_a_sixteenth_more():
    found = [padded(rows) for rows in range(1, 4097)]
    assert all(rows <= up <= max(rows + 7, rows * 17 / 16) for rows, up in enumerate(found, start=1))
    assert len(set(found)) < 150
    assert all(padded(up) == up for up in set(found))
