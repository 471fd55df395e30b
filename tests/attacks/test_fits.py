import numpy as np
import pytest
import torch

from leakatk.attacks.fits import DECAY, contrast, contrast_loss, fit_ccs, fit_neighbours, ridge


def test_ridge_is_the_least_of_its_objective():
    """The gradient of the penalised loss is zero, on states standardised by hand."""
    rng = np.random.default_rng(1)
    states, labels = rng.normal(size=(9, 20)) * rng.uniform(0.1, 5, 20), np.array([1.0] * 3 + [-1.0] * 6)
    weights, offset = ridge(states, labels, 0.3)
    share = np.where(labels > 0, 0.5 / 3, 0.5 / 6)
    mean = share @ states
    deviation = np.sqrt(share @ (states - mean) ** 2)
    x, w = (states - mean) / deviation, weights * deviation
    bias = offset + mean @ weights
    left = x @ w + bias - labels
    np.testing.assert_allclose(2 * x.T @ (share * left) + 2 * 0.3 * w, 0, atol=1e-9)
    assert share @ left == pytest.approx(0, abs=1e-12)


def by_hand(first, second, weights, offset):
    """The loss of CCS in numpy."""
    p, q = (1 / (1 + np.exp(-(states @ weights + offset))) for states in (first, second))
    return np.mean((p - (1 - q)) ** 2 + np.minimum(p, q) ** 2)


@pytest.fixture
def pairs():
    """One of ten numbers parts the two answers, the others say nothing."""
    rng = np.random.default_rng(3)
    first, second = rng.normal(size=(2, 40, 10))
    order = rng.choice([-1.0, 1.0], 40)
    first[:, 4], second[:, 4] = order * 2, -order * 2
    return first, second, order


def test_the_loss_of_ccs_by_hand(pairs):
    first, second, _ = pairs
    weights, offset = np.random.default_rng(1).normal(size=(3, 10)), np.array([0.1, -0.4, 0.0])
    found = contrast_loss(*map(torch.from_numpy, (first, second, weights, offset)))
    np.testing.assert_allclose(found, [by_hand(first, second, w, b) for w, b in zip(weights, offset, strict=True)])


def test_ccs_finds_the_direction_without_labels(pairs):
    first, second, order = pairs
    weights, offset = contrast(first, second, 0)
    assert np.argmax(np.abs(weights)) == 4
    side = np.sign((first - second) @ weights)
    assert (side == order).all() or (side == -order).all()
    assert by_hand(first, second, weights, offset) < 0.05 < by_hand(first, second, np.zeros(10), 0.0)
    assert 0 < DECAY < 1


def test_consistency_alone_or_confidence_alone_would_not_do(pairs):
    """Mutants: p = 1/2 is consistent, and always yes is confident; the sum of both is what refuses them."""
    first, second, _ = pairs
    assert by_hand(first, second, np.zeros(10), 0.0) == pytest.approx(0.25)  # consistent, not confident
    assert by_hand(first, second, np.zeros(10), 50.0) == pytest.approx(2.0)  # always yes
    assert by_hand(first, second, np.zeros(10), -50.0) == pytest.approx(1.0)  # always no: confident, not consistent


def test_the_labels_turn_ccs_and_do_no_more(pairs):
    first, second, order = pairs
    true, wrong = (np.where(order[:, None] == sign, first, second) for sign in (1, -1))
    states, labels = [np.stack(one) for one in zip(true, wrong, strict=True)], [np.array([1.0, -1.0])] * 40
    score = fit_ccs(states, labels, 1.0, 0)
    turned = fit_ccs([one[::-1] for one in states], labels, 1.0, 0)
    assert all(np.diff(score(one))[0] < 0 for one in states)
    assert all(np.diff(turned(one))[0] > 0 for one in states)


def test_neighbours_by_brute_force():
    rng = np.random.default_rng(2)
    states = [rng.normal(size=(3, 4)) for _ in range(6)]
    labels = [np.array([1.0, -1.0, -1.0])] * 6
    rows = rng.normal(size=(5, 4))
    flat, said = np.concatenate(states), np.concatenate(labels)
    mean = flat.mean(0)
    expected = []
    for row in rows - mean:
        cosine = [row @ (one - mean) / np.linalg.norm(row) / np.linalg.norm(one - mean) for one in flat]
        near = sorted(range(len(flat)), key=lambda i: -cosine[i])[:5]
        yes, no = sum(said[i] > 0 for i in near) / 6, sum(said[i] < 0 for i in near) / 12
        expected.append(yes / (yes + no))
    np.testing.assert_allclose(fit_neighbours(states, labels, 1.0, 0)(rows), expected)
