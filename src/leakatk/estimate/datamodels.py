"""Datamodels: what a model without some of its training data would say, predicted from models trained on parts of it.

Source: Ilyas et al. 2022 (arXiv 2202.00622); for unlearning Georgiev et al. 2024 (arXiv 2410.23232).
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from leakatk.errors import InputError

FloatArray = NDArray[np.float64]
RIDGES = tuple(10.0**i for i in range(-3, 4))


@dataclass(frozen=True)
class Datamodel:
    """output_t of a model trained on the subset S is about base_t + sum over i in S of effects_it."""

    base: FloatArray
    """(T,)"""
    effects: FloatArray
    """(N, T): what training on each of N examples adds to each output."""
    ridge: float
    """The penalty that was taken."""
    error: FloatArray
    """(T,) mean squared error of a prediction of a model that was left out of the fit."""
    spread: FloatArray
    """(T,) variance of the outputs over the models: the error of predicting their mean."""

    def without(self, own: FloatArray, forgotten: Collection[int]) -> FloatArray:
        """(T,) own - sum over forgotten i of effects_i: the outputs (T,) of a model trained on everything, as they would be without
        these examples.
        """
        return np.asarray(own - self.effects[sorted(set(forgotten))].sum(0))


def fit_datamodel(members: FloatArray, outputs: FloatArray, ridges: Sequence[float] = RIDGES) -> Datamodel:
    """Ridge regression of outputs on what was trained on.

    members: (M, N) whether model m was trained on example n.  outputs: (M, T), such as mean margins of answers.
    ridges: penalties to choose from, by the mean squared error of leaving one model out (exact, from one decomposition).
    InputError for fewer than three models, sizes that do not match, a value that is not finite or a penalty not above 0.

    >>> rng = np.random.default_rng(0)
    >>> members = (rng.random((60, 5)) < 0.5).astype(float)
    >>> found = fit_datamodel(members, members @ np.array([[3.0], [0], [0], [0], [1]]))
    >>> found.effects.round(1).ravel().tolist()
    [3.0, 0.0, 0.0, 0.0, 1.0]
    """
    x, y = np.asarray(members, dtype=float), np.asarray(outputs, dtype=float)
    if x.ndim != 2 or y.ndim != 2 or len(x) != len(y) or len(x) < 3:
        raise InputError(
            f"A datamodel needs members (models, examples) and outputs (models, targets) of three models or more, got {x.shape} and {y.shape}."
        )
    if not (np.isfinite(x).all() and np.isfinite(y).all()):
        raise InputError("A datamodel's members and outputs must be finite numbers.")
    if not ridges or min(ridges) <= 0:
        raise InputError(f"Penalties must be above 0, got {list(ridges)}.")
    middle, level = x.mean(0), y.mean(0)
    left, values, right = np.linalg.svd(x - middle, full_matrices=False)
    turned = left.T @ (y - level)
    errors = {ridge: _left_out(left, values, y - level, ridge) for ridge in ridges}
    ridge = min(errors, key=lambda one: (float(errors[one].mean()), one))
    effects = right.T @ (turned * (values / (values**2 + ridge))[:, None])
    return Datamodel(level - middle @ effects, effects, ridge, errors[ridge], y.var(0))


def _left_out(left: FloatArray, values: FloatArray, centred: FloatArray, ridge: float) -> FloatArray:
    """(T,) the mean squared error of leaving one out, with the intercept fitted again each time."""
    shrunk = values**2 / (values**2 + ridge)
    fitted = left @ (shrunk[:, None] * (left.T @ centred))
    leverage = (left**2 * shrunk).sum(1) + 1 / len(left)
    found: FloatArray = (((centred - fitted) / (1 - leverage)[:, None]) ** 2).mean(0)
    return found
