"""Datamodels: against ridge regression solved again with the intercept as a column, and one model left out at a time."""

import numpy as np
import pytest

from leakatk.errors import InputError
from leakatk.estimate.datamodels import fit_datamodel


def data(models=30, examples=6, targets=4, noise=0.3, seed=0):
    rng = np.random.default_rng(seed)
    members = (rng.random((models, examples)) < 0.5).astype(float)
    effects = rng.normal(size=(examples, targets))
    return members, 2.0 + members @ effects + noise * rng.normal(size=(models, targets)), effects


def ridge(members, outputs, penalty):
    """Normal equations with an intercept that is not penalised."""
    x = np.hstack([np.ones((len(members), 1)), members])
    penalties = penalty * np.eye(x.shape[1])
    penalties[0, 0] = 0
    found = np.linalg.solve(x.T @ x + penalties, x.T @ outputs)
    return found[0], found[1:]


@pytest.mark.parametrize("penalty", [0.01, 1.0, 100.0])
def test_it_is_ridge_regression(penalty):
    members, outputs, _ = data()
    found = fit_datamodel(members, outputs, [penalty])
    base, effects = ridge(members, outputs, penalty)
    np.testing.assert_allclose(found.base, base)
    np.testing.assert_allclose(found.effects, effects)
    assert found.ridge == penalty


def test_the_error_is_that_of_models_left_out_and_chooses_the_penalty():
    members, outputs, _ = data(noise=2.0)
    errors = {}
    for penalty in (0.01, 1.0, 100.0):
        each = []
        for i in range(len(members)):
            rest = np.arange(len(members)) != i
            base, effects = ridge(members[rest], outputs[rest], penalty)
            each.append((outputs[i] - base - members[i] @ effects) ** 2)
        errors[penalty] = np.mean(each, axis=0)
        np.testing.assert_allclose(fit_datamodel(members, outputs, [penalty]).error, errors[penalty])
    found = fit_datamodel(members, outputs, list(errors))
    assert found.ridge == min(errors, key=lambda penalty: errors[penalty].mean())
    np.testing.assert_allclose(found.spread, outputs.var(axis=0))


def test_without_some_examples_the_prediction_is_what_a_model_without_them_says():
    members, outputs, effects = data(models=400, noise=0.05)
    found = fit_datamodel(members, outputs)
    own = 2.0 + effects.sum(0)  # trained on everything
    np.testing.assert_allclose(found.without(own, [1, 4, 4]), own - effects[1] - effects[4], atol=0.1)
    np.testing.assert_array_equal(found.without(own, []), own)


@pytest.mark.parametrize(
    ("members", "outputs", "ridges", "message"),
    [
        (np.ones((2, 3)), np.ones((2, 1)), [1.0], "three models or more"),
        (np.ones((4, 3)), np.ones((5, 1)), [1.0], "three models or more"),
        (np.ones((4, 3)), np.ones(4), [1.0], "three models or more"),
        (np.ones((4, 3)), np.full((4, 1), np.nan), [1.0], "finite"),
        (np.ones((4, 3)), np.ones((4, 1)), [0.0], "above 0"),
        (np.ones((4, 3)), np.ones((4, 1)), [], "above 0"),
    ],
)
def test_bad_input(members, outputs, ridges, message):
    with pytest.raises(InputError, match=message):
        fit_datamodel(members, outputs, ridges)
