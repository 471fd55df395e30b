import numpy as np
import pytest
import torch

from leakatk.attacks.rounding import DAMP, POWERS, awq, gptq, rounded


def codes_of(column, scale, bits):
    most = 2 ** (bits - 1) - 1
    return np.clip(np.rint(column / np.where(scale > 0, scale, 1)), -most, most) * scale


def largest(part, bits):
    return np.abs(part).max(axis=1) / (2 ** (bits - 1) - 1)


def gptq_by_hand(weight, hessian, bits, group):
    """Without a factorisation: after each column the inverse of what is left of H is computed anew (the optimal brain update)."""
    work, out = weight.copy(), np.zeros_like(weight)
    hessian = hessian.copy()
    dead = np.diag(hessian) == 0
    hessian[dead, dead] = 1
    hessian += DAMP * np.mean(np.diag(hessian)) * np.eye(len(hessian))
    scale = largest(work, bits)
    for i in range(weight.shape[1]):
        if group and i % group == 0:
            scale = largest(work[:, i : i + group], bits)
        out[:, i] = codes_of(work[:, i], scale, bits)
        left = np.linalg.inv(hessian[i:, i:])
        work[:, i:] -= np.outer((work[:, i] - out[:, i]) / left[0, 0], left[0])
    return out


def layer(seed, rows=5, columns=12, tokens=200):
    """Weights, and inputs that hang together, some of them large."""
    rng = np.random.default_rng(seed)
    inputs = rng.normal(size=(tokens, columns)) @ rng.normal(size=(columns, columns)) * np.exp(rng.normal(size=columns))
    return rng.normal(size=(rows, columns)), inputs, inputs.T @ inputs / tokens


def lost(weight, found, inputs):
    return float(np.mean((inputs @ (weight - found).T) ** 2))


@pytest.mark.parametrize("bits", [4, 8])
@pytest.mark.parametrize("group", [0, 4, 5])
@pytest.mark.parametrize("seed", [0, 1])
def test_gptq_against_a_second_implementation(bits, group, seed):
    weight, _, hessian = layer(seed)
    found = gptq(torch.from_numpy(weight), torch.from_numpy(hessian), bits, group).numpy()
    np.testing.assert_allclose(found, gptq_by_hand(weight, hessian, bits, group), atol=1e-9)


@pytest.mark.parametrize("seed", range(4))
def test_gptq_loses_less_than_the_nearest_on_its_inputs(seed):
    weight, inputs, hessian = layer(seed, columns=32)
    nearest = rounded(torch.from_numpy(weight), 4).double().numpy()
    found = gptq(torch.from_numpy(weight), torch.from_numpy(hessian), 4).numpy()
    assert lost(weight, found, inputs) < 0.7 * lost(weight, nearest, inputs)


def test_gptq_without_ties_between_inputs_is_the_nearest():
    """A mutant that fed the error back where inputs have nothing in common would differ."""
    weight, _, _ = layer(3)
    found = gptq(torch.from_numpy(weight), torch.diag(torch.arange(1.0, 13.0)).double(), 4).numpy()
    np.testing.assert_allclose(found, codes_of(weight, largest(weight, 4)[:, None], 4), atol=1e-12)


def test_an_input_that_is_always_0_changes_nothing_else():
    weight, inputs, _ = layer(2)
    inputs[:, 3] = 0
    found = gptq(torch.from_numpy(weight), torch.from_numpy(inputs.T @ inputs / 200), 4).numpy()
    np.testing.assert_allclose(found, gptq_by_hand(weight, inputs.T @ inputs / 200, 4, 0), atol=1e-9)
    np.testing.assert_allclose(found[:, 3], codes_of(weight[:, 3], largest(weight, 4), 4), atol=1e-9)


def awq_by_hand(weight, inputs, bits, group):
    """Every power with the outputs themselves."""
    best, least = None, np.inf
    for power in POWERS:
        scales = np.abs(inputs).mean(axis=0) ** power
        scales = scales / np.sqrt(scales.max() * scales.min())
        tried = np.zeros_like(weight)
        for start in range(0, weight.shape[1], group or weight.shape[1]):
            part = slice(start, start + (group or weight.shape[1]))
            grown = (weight * scales).astype(np.float32)[:, part]
            steps = np.abs(grown).max(axis=1, keepdims=True) / np.float32(2 ** (bits - 1) - 1)
            tried[:, part] = codes_of(grown, steps, bits).astype(np.float64) / scales[part]
        if (loss := lost(weight, tried, inputs)) < least:
            best, least = tried, loss
    return best


@pytest.mark.parametrize("bits", [4, 8])
@pytest.mark.parametrize("group", [0, 5])
def test_awq_against_a_second_implementation(bits, group):
    weight, inputs, hessian = layer(7)
    sizes = torch.from_numpy(np.abs(inputs).mean(axis=0))
    found = awq(torch.from_numpy(weight), torch.from_numpy(hessian), sizes, bits, group).numpy()
    np.testing.assert_allclose(found, awq_by_hand(weight, inputs, bits, group), atol=1e-6)


def test_awq_keeps_more_of_what_large_inputs_meet():
    rng = np.random.default_rng(0)
    weight, inputs = rng.normal(size=(6, 40)), rng.normal(size=(300, 40))
    inputs[:, 5] *= 30
    hessian = inputs.T @ inputs / 300
    found = awq(
        torch.from_numpy(weight), torch.from_numpy(hessian), torch.from_numpy(np.abs(inputs).mean(0)), 4
    ).numpy()
    nearest = rounded(torch.from_numpy(weight), 4).double().numpy()
    assert lost(weight, found, inputs) < 0.5 * lost(weight, nearest, inputs)
    assert np.abs(found - weight)[:, 5].max() < np.abs(nearest - weight)[:, 5].max()
