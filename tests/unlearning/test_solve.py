"""Linear fits against numpy's least squares, and against each other."""

import numpy as np
import pytest
import torch

from leakatk.errors import InputError
from leakatk.unlearning.solve import descend, null_space_ridge, ridge

DRAWS = np.random.default_rng(3)
X, E = DRAWS.normal(size=(50, 6)), DRAWS.normal(size=(50, 4))


def sums(inputs, left):
    return torch.tensor(inputs.T @ inputs), torch.tensor(left.T @ inputs)


def test_ridge_is_least_squares_on_rows_that_pull_to_zero():
    """lambda |D|^2 is as many rows more as there are inputs, with sqrt(lambda) on the diagonal and 0 to be given."""
    penalty = 0.3
    scale = penalty * (X**2).sum(0).mean()
    longer = np.vstack([X, np.sqrt(scale) * np.eye(6)]), np.vstack([E, np.zeros((6, 4))])
    expected = np.linalg.lstsq(*longer, rcond=None)[0].T
    assert ridge(*sums(X, E), penalty).numpy() == pytest.approx(expected, abs=1e-10)


def test_a_small_penalty_is_plain_least_squares_and_a_large_one_moves_nothing():
    plain = np.linalg.lstsq(X, E, rcond=None)[0].T
    assert ridge(*sums(X, E), 1e-10).numpy() == pytest.approx(plain, abs=1e-7)
    assert float(ridge(*sums(X, E), 1e10).abs().max()) < 1e-9


def test_the_penalty_does_not_depend_on_how_many_rows_or_what_unit():
    one = ridge(*sums(X, E), 0.1)
    assert torch.allclose(ridge(*sums(np.tile(X, (3, 1)), np.tile(E, (3, 1))), 0.1), one)
    assert torch.allclose(ridge(*sums(10 * X, 10 * E), 0.1), one)


def test_inputs_in_a_plane_have_an_answer_all_the_same():
    flat = X.copy()
    flat[:, 3:] = flat[:, :3]
    found = ridge(*sums(flat, E), 1e-9).numpy()
    best = np.linalg.lstsq(flat, E, rcond=None)[0].T
    assert flat @ found.T == pytest.approx(flat @ best.T, abs=1e-5)


@pytest.mark.parametrize(("inputs", "penalty", "message"), [(X, 0.0, "above 0"), (0 * X, 0.1, "all inputs")])
def test_what_has_no_answer_is_said(inputs, penalty, message):
    with pytest.raises(InputError, match=message):
        ridge(*sums(inputs, E), penalty)


def test_descent_comes_to_where_the_closed_form_is():
    start = torch.zeros(4, 6)
    options = {"learning_rate": 0.05, "epochs": 60, "batch": 10, "decay": 0.9, "seed": 0}
    inputs, targets = torch.tensor(X).float(), torch.tensor(E).float()
    found = descend(start, inputs, targets, **options)
    best = torch.tensor(np.linalg.lstsq(X, E, rcond=None)[0].T).float()
    loss = [float(((inputs @ w.T - targets) ** 2).mean()) for w in (start, found, best)]
    assert loss[1] < loss[2] + 0.01 * (loss[0] - loss[2])
    assert not start.any()
    assert torch.equal(found, descend(start, inputs, targets, **options))
    assert not torch.equal(found, descend(start, inputs, targets, **{**options, "seed": 1}))


def test_one_step_of_descent_is_adamws():
    """The first step of Adam is the rate times the gradient's sign, after a decay of rate times .01."""
    start = torch.full((4, 6), 0.5)
    inputs, targets = torch.tensor(X).float(), torch.tensor(E).float()
    found = descend(start, inputs, targets, learning_rate=0.1, epochs=1, batch=50, decay=1.0, seed=0)
    gradient = (inputs @ start.T - targets).T @ inputs
    assert torch.allclose(found, start * (1 - 0.1 * 0.01) - 0.1 * gradient.sign(), atol=1e-4)


def test_the_null_space_fit_is_least_squares_within_it():
    """Over D = E U', U a basis of the null space, with earlier keys as further rows that are to give 0."""
    draw = np.random.default_rng(0)
    keys, left, earlier = draw.normal(size=(7, 3)), draw.normal(size=(4, 3)), draw.normal(size=(7, 2))
    basis = np.linalg.qr(draw.normal(size=(7, 5)))[0]
    found = null_space_ridge(
        torch.tensor(keys), torch.tensor(left), torch.tensor(basis @ basis.T), 0.3, torch.tensor(earlier @ earlier.T)
    ).numpy()
    root = np.sqrt(0.3 * np.trace(keys @ keys.T) / 7)
    rows = np.vstack([keys.T @ basis, earlier.T @ basis, root * np.eye(5)])
    wanted = np.linalg.lstsq(rows, np.vstack([left.T, np.zeros((2 + 5, 4))]), rcond=None)[0].T @ basis.T
    np.testing.assert_allclose(found, wanted, atol=1e-8)
    whole = null_space_ridge(torch.tensor(keys), torch.tensor(left), torch.eye(7), 0.3)
    np.testing.assert_allclose(whole, ridge(torch.tensor(keys @ keys.T), torch.tensor(left @ keys.T), 0.3), atol=1e-8)
    with pytest.raises(InputError, match="must be above 0"):
        null_space_ridge(torch.tensor(keys), torch.tensor(left), torch.eye(7), 0.0)
    with pytest.raises(InputError, match="Nothing to fit"):
        null_space_ridge(torch.zeros(7, 3), torch.tensor(left), torch.eye(7), 0.1)
