"""Copies of activations, against a forward pass written by hand."""

import numpy as np
import pytest
import torch
from torch.nn import functional

from leakatk.attacks.activations import logits, other_values, put, same_shape, taken, texts
from leakatk.errors import InputError
from leakatk.models.load import load_model
from tests.tiny import save_tiny_model

IDS = [5, 9, 33, 70, 12, 41]


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    place = tmp_path_factory.mktemp("pair")
    return [load_model(save_tiny_model(place / str(seed), seed=seed), device="cpu") for seed in (0, 1)]


def norm(x, weight, eps):
    return x / torch.sqrt((x * x).mean(-1, keepdim=True) + eps) * weight


def rotated(x, theta):
    """(heads, T, d) turned by their positions, halves as Llama pairs them."""
    width, half = x.shape[1], x.shape[2] // 2
    angle = torch.arange(width)[:, None] * theta ** (-torch.arange(half) / half)
    a, b = x[..., :half], x[..., half:]
    return torch.cat([a * angle.cos() - b * angle.sin(), b * angle.cos() + a * angle.sin()], -1)


def forward(model, ids, *, coefficients=None, attention=None, states=None):
    """Logits (T, V) of a Llama from its weights. coefficients, attention, states: layer -> what stands in their place;
    gives too what each layer had there.
    """
    config, w = model.config, dict(model.named_parameters())
    heads, eps = config.num_attention_heads, config.rms_norm_eps
    theta = (getattr(config, "rope_parameters", None) or {"rope_theta": getattr(config, "rope_theta", 10000.0)})[
        "rope_theta"
    ]
    x, seen = w["model.embed_tokens.weight"][torch.tensor(ids)], {"coefficients": {}, "attention": {}, "state": {}}
    for i in range(config.num_hidden_layers):
        at = f"model.layers.{i}."
        h = norm(x, w[at + "input_layernorm.weight"], eps)
        q, k, v = (
            (h @ w[f"{at}self_attn.{name}_proj.weight"].T).reshape(len(ids), heads, -1).transpose(0, 1)
            for name in "qkv"
        )
        q, k = rotated(q, theta), rotated(k, theta)
        weight = (q @ k.transpose(1, 2) / q.shape[-1] ** 0.5).masked_fill(
            ~torch.ones(len(ids), len(ids)).tril().bool(), -1e30
        )
        said = (weight.softmax(-1) @ v).transpose(0, 1).reshape(len(ids), -1) @ w[at + "self_attn.o_proj.weight"].T
        said = (attention or {}).get(i, said)
        x = x + said
        h = norm(x, w[at + "post_attention_layernorm.weight"], eps)
        c = functional.silu(h @ w[at + "mlp.gate_proj.weight"].T) * (h @ w[at + "mlp.up_proj.weight"].T)
        c = (coefficients or {}).get(i, c)
        x = x + c @ w[at + "mlp.down_proj.weight"].T
        x = (states or {}).get(i, x)
        seen["attention"][i], seen["coefficients"][i], seen["state"][i] = said, c, x
    return norm(x, w["model.norm.weight"], eps) @ model.get_output_embeddings().weight.T, seen


@torch.no_grad()
def test_patched_logits_equal_a_forward_pass_by_hand(pair):
    mine, other = pair
    given = texts(mine, [(IDS, range(len(IDS)))])
    plain, seen = forward(other.model, IDS)
    np.testing.assert_allclose(logits(other, given), plain, atol=2e-5)
    for part, name in (("coefficients", "coefficients"), ("attention", "attention"), ("state", "states")):
        for layer in (0, 1):
            by_hand, _ = forward(mine.model, IDS, **{name: {layer: seen[part][layer]}})
            with taken(other.model, [(layer, part)]) as kept:
                logits(other, given)
            with put(mine.model, kept):
                patched = logits(mine, given)
            np.testing.assert_allclose(patched, by_hand, atol=2e-5)
            assert (patched - logits(mine, given)).abs().max() > 1e-3  # and nothing is left behind


@torch.no_grad()
def test_a_copy_at_some_positions_leaves_the_others(pair):
    mine, other = pair
    given = texts(mine, [(IDS, [3, 4])])
    states = {i: value.clone() for i, value in forward(mine.model, IDS)[1]["state"].items()}
    states[0][3:5] = forward(other.model, IDS)[1]["state"][0][3:5]
    by_hand, _ = forward(mine.model, IDS, states={0: states[0]})
    with taken(other.model, [(0, "state")]) as kept:
        logits(other, given)
    with put(mine.model, kept, given.wanted):
        np.testing.assert_allclose(logits(mine, given), by_hand[3:5], atol=2e-5)


@torch.no_grad()
def test_the_other_models_value_vectors(pair):
    mine, other = pair
    given = texts(mine, [(IDS, range(len(IDS)))])
    before = mine.model.model.layers[1].mlp.down_proj.weight.clone()
    with other_values(mine.model, other.model, [1]):
        found = logits(mine, given)
    assert torch.equal(before, mine.model.model.layers[1].mlp.down_proj.weight)
    mine.model.model.layers[1].mlp.down_proj.weight.copy_(other.model.model.layers[1].mlp.down_proj.weight)
    np.testing.assert_allclose(found, logits(mine, given), atol=1e-6)
    mine.model.model.layers[1].mlp.down_proj.weight.copy_(before)


def test_padding_changes_nothing(pair):
    mine, _ = pair
    alone = logits(mine, texts(mine, [(IDS[:4], [2, 3])]))
    both = logits(mine, texts(mine, [(IDS, [0]), (IDS[:4], [2, 3])]))
    np.testing.assert_allclose(both[1:], alone, atol=2e-5)


def test_models_of_another_shape_are_refused(pair, tmp_path):
    save_tiny_model(tmp_path / "wide", hidden=64)
    with pytest.raises(InputError, match=r"hidden_size is 32 .* and 64"):
        same_shape("Attack patch", pair[0], str(tmp_path / "wide"))
