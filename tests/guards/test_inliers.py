"""How much a prompt is like a request, written a second time."""

import math
from dataclasses import replace

import numpy as np
import pytest

from leakatk.errors import InputError
from leakatk.guards.inliers import Inlier, Requests, inlier, one_class, trained_maps, weights
from leakatk.prompts import Known
from tests.guards.conftest import FORGET, RETAIN

DRAW = np.random.default_rng(0)
STATES = DRAW.normal(size=(8, 2, 5)) + 3.0


def phi(x, mean, spread):
    return 0.5 * (1 + math.erf((x - mean) / spread / 2**0.5))


def test_the_weight_by_hand():
    normal = np.array([[1.0, 0.3], [0.2, 0.5]])
    for s in (-9.0, 0.0, 0.6, 1.0, 9.0):

        def share(x):
            return 0.5 * phi(x, 1.0, 0.3) + 0.5 * phi(x, 0.2, 0.5)

        wanted = 1 / (1 + math.exp(-(10 * (1 - abs(share(s) - share(2 * 0.6 - s))) - 2)))
        assert weights(np.array([s]), normal)[0] == pytest.approx(wanted, abs=1e-12)
    far, middle = weights(np.array([-99.0, 0.6]), normal)
    assert far == pytest.approx(1 / (1 + math.e**2))
    assert middle == pytest.approx(1 / (1 + math.e**-8))


def test_scores_of_layers_by_hand():
    maps = DRAW.normal(size=(2, 2, 5, 3)) * 0.1
    made = inlier(STATES[:5], STATES[5:], maps)
    new = DRAW.normal(size=(3, 2, 5))
    for layer in range(2):
        turn = np.eye(5) + maps[0, layer] @ maps[1, layer].T
        bank, asked = STATES[:5, layer] @ turn.T, new[:, layer] @ turn.T
        cover = np.cov(bank.T, bias=True)
        cover += 0.1 * np.trace(cover) / 5 * np.eye(5)
        for row, one in enumerate(asked):
            near = max(one @ other / np.linalg.norm(one) / np.linalg.norm(other) for other in bank)
            away = one - bank.mean(0)
            wanted = near - 0.5 * away @ np.linalg.solve(cover, away) / 1000
            assert made.by_layer(new)[row, layer] == pytest.approx(wanted, abs=1e-9)
    for place, part in enumerate((STATES[:5], STATES[5:])):
        value = made.by_layer(part) @ made.direction - made.offset
        assert made.normal[place, 0] == pytest.approx(value.mean())


def test_the_one_class_machine_has_no_gap_between_primal_and_dual():
    points, nu = DRAW.normal(size=(12, 3)) + 2, 0.25
    direction, offset = one_class(points, nu)

    def primal(w, rho):
        return 0.5 * w @ w - rho + np.maximum(0, rho - points @ w).sum() / (nu * len(points))

    best = primal(direction, offset)
    assert best == pytest.approx(-0.5 * direction @ direction, abs=1e-5)  # the dual's value, its sign turned
    for _ in range(50):
        assert primal(direction + DRAW.normal(size=3) * 0.1, offset + DRAW.normal() * 0.1) >= best - 1e-7


def entropy(masked, clean, maps):
    total = 0.0
    for layer in range(clean.shape[1]):
        turn = np.eye(clean.shape[-1]) + maps[0, layer] @ maps[1, layer].T
        rows = (masked[:, :, layer] @ turn.T).reshape(-1, clean.shape[-1])
        z, c = (one / np.linalg.norm(one, axis=1, keepdims=True) for one in (rows, clean[:, layer]))
        logits = z @ c.T / 0.05
        p = np.exp(logits - logits.max(1, keepdims=True))
        p /= p.sum(1, keepdims=True)
        total += -(p * np.log(p)).sum(1).mean()
    return total


def test_maps_lower_the_entropy_of_masked_prompts_against_clean_ones():
    clean = DRAW.normal(size=(6, 2, 5))
    masked = clean[None] + DRAW.normal(size=(3, 6, 2, 5)) * 0.5

    def after(steps, rate=0.01):
        return entropy(masked, clean, trained_maps(masked, clean, rank=2, steps=steps, rate=rate, seed=0))

    assert after(0) == pytest.approx(entropy(masked, clean, np.zeros((2, 2, 5, 2))))
    assert after(30) < after(5) < after(0)


def test_a_prompt_far_from_the_request_has_the_least_weight():
    near, far = STATES[5:], STATES * np.array([1.0, -1.0, 1.0, -1.0, 1.0]) * 4
    made = inlier(STATES[:5], near, np.zeros((2, 2, 5, 1)))
    assert (made.weight(near) > 0.2).all()
    assert made.weight(far) == pytest.approx(np.full(8, 1 / (1 + math.e**2)))
    # Without the cosine, or without the distance, it would be another score.
    assert not np.allclose(replace(made, inverse=0 * made.inverse).by_layer(far), made.by_layer(far))


def test_each_request_is_known_by_itself_and_the_largest_weight_counts(loaded):
    known = Known(forget=FORGET)
    both = Requests(requests=2, map_steps=3).fit(known, loaded)
    first = Requests(requests=1, map_steps=3).fit(Known(forget=FORGET[:2]), loaded)
    each = both.weights([*FORGET, *RETAIN])
    assert each.shape == (7, 2)
    assert (each[:, 0] == first.score([*FORGET, *RETAIN])).all(), "the first request does not know the second"
    assert (both.score([*FORGET, *RETAIN]) == each.max(1)).all()
    assert Inlier(*both.learned[0]).bank.shape == (2, 1, loaded.model.config.hidden_size)


def test_bad_options_and_a_model_that_is_elsewhere(loaded):
    with pytest.raises(InputError, match="map_rank at least 1"):
        Requests(map_rank=0)
    with pytest.raises(InputError, match="not here"):
        Requests().fit(Known(forget=FORGET), None)
