"""leak@k from exact probabilities: for any k, without sampling noise.

A prompt whose answers leak with probability p a sample has leak@k = 1 - (1-p)^k. Log-probabilities of answers under the
decoding that was used bound p: the mass of distinct leaking answers from below, one minus the mass of distinct
non-leaking answers from above.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import logsumexp

from leakatk.arrays import Floats
from leakatk.errors import InputError
from leakatk.estimate.checks import float_array


def leak_from_probability(p: ArrayLike, k: ArrayLike) -> Floats:
    """1 - (1-p)^k, stable for tiny p and huge k. p and k broadcast; p in [0, 1]."""
    prob = float_array("Probabilities", p)
    if np.any((prob < 0) | (prob > 1)):
        raise InputError(f"Probabilities must lie in [0, 1], got {prob.min():g} .. {prob.max():g}.")
    with np.errstate(divide="ignore"):
        exponent: Floats = _counts(k) * np.log1p(-prob)
    return np.asarray(-np.expm1(exponent))


def leak_from_logprob(logp: ArrayLike, k: ArrayLike) -> Floats:
    """1 - (1-exp(logp))^k. Stable at both ends: p next to 1, and p too small for a float."""
    log = float_array("Log-probabilities", logp)
    if np.any(log > 1e-6):
        raise InputError(f"Log-probabilities must be at most 0, got {log.max():g}; is this a log-density?")
    log = np.minimum(log, 0.0)
    count = _counts(k)
    with np.errstate(divide="ignore"):
        survive = np.where(log > -np.log(2), np.log(-np.expm1(log)), np.log1p(-np.exp(log)))  # log(1 - p)
        # Below e^-40, log(1-p) = -p to the last digit, and p itself may underflow where k p does not.
        exponent = np.where(log < -40, -np.exp(log + np.log(count)), count * survive)
    return np.asarray(-np.expm1(exponent))


def mean_leak(logp: ArrayLike, ks: ArrayLike) -> Floats:
    """Mean leak@k over prompts from one log-probability a prompt: (m,), (K,) -> (K,). NaN (missing) is refused."""
    log = float_array("Log-probabilities", logp).ravel()
    if log.size == 0 or np.isnan(log).any():
        raise InputError("mean_leak needs one log-probability for every prompt; some are missing.")
    return leak_from_logprob(log[:, None], np.atleast_1d(_counts(ks))[None, :]).mean(axis=0)  # type: ignore[no-any-return]


@dataclass(frozen=True, slots=True)
class ProbabilityBounds:
    """The leak probability of one prompt lies in [low, high]; `answers` distinct answers were counted."""

    low: float
    high: float
    answers: int

    def __post_init__(self) -> None:
        if not 0 <= self.low <= self.high <= 1:
            raise InputError(f"Bounds of a probability must be 0 <= low <= high <= 1, got {self.low}, {self.high}.")


def probability_bounds(answers: Sequence[Hashable], logprobs: ArrayLike, leaks: ArrayLike) -> ProbabilityBounds:
    """Certain bounds of one prompt's leak probability from what was sampled (or enumerated, or teacher-forced).

    answers: identities of the answers, the token ids, so that repeats count once.  logprobs: their exact
    log-probabilities under the decoding.  leaks: whether each leaks (0/1 or bool).  Answers with a missing (NaN)
    log-probability or leak say nothing and are skipped. Only finished answers may be given: the mass of a text cut at
    max_new_tokens is the mass of that cut text, which is an answer too when the length limit is part of the decoding.
    """
    if not isinstance(answers, Sequence) or not all(isinstance(answer, Hashable) for answer in answers):
        raise InputError(f"answers must be a list of texts or tuples of token ids, got {answers!r:.60}.")
    logs, flags = float_array("Log-probabilities", logprobs), float_array("Leaks", leaks)
    if not len(answers) == logs.size == flags.size:
        raise InputError(f"{len(answers)} answers, {logs.size} log-probabilities and {flags.size} leaks do not match.")
    if not np.isin(flags[~np.isnan(flags)], (0.0, 1.0)).all():
        raise InputError("Exact bounds need leaks that are 0 or 1; threshold the scores first.")
    distinct: dict[Hashable, tuple[float, bool]] = {}
    for answer, log, flag in zip(answers, logs, flags, strict=True):
        if np.isnan(log) or np.isnan(flag):
            continue
        if log > 1e-6:
            raise InputError(f"A log-probability of {log:g} is above 0; is this a log-density?")
        if answer in distinct and distinct[answer][1] != bool(flag):
            raise InputError(f"The same answer both leaks and does not: {answer!r:.60}.")
        distinct.setdefault(answer, (float(log), bool(flag)))
    leaking = [log for log, flag in distinct.values() if flag]
    harmless = [log for log, flag in distinct.values() if not flag]
    low = float(np.exp(logsumexp(leaking))) if leaking else 0.0
    high = float(-np.expm1(min(0.0, logsumexp(harmless)))) if harmless else 1.0
    # Rounding of the summed masses, at most about 1e-6 with float32 models, must not make the bounds cross.
    low = min(1.0, low)
    return ProbabilityBounds(low=low, high=max(low, high), answers=len(distinct))


def leak_bounds(bounds: Sequence[ProbabilityBounds], ks: ArrayLike) -> tuple[Floats, Floats]:
    """Certain bounds of mean leak@k over prompts, any k: two (K,) arrays."""
    if not bounds:
        raise InputError("There are no prompts; give the probability bounds of at least one.")
    k = np.atleast_1d(_counts(ks))[None, :]
    low = leak_from_probability(np.array([b.low for b in bounds])[:, None], k)
    high = leak_from_probability(np.array([b.high for b in bounds])[:, None], k)
    return np.asarray(low.mean(axis=0)), np.asarray(high.mean(axis=0))


def _counts(k: ArrayLike) -> Floats:
    counts = float_array("k", k)
    if not ((counts >= 1) & np.isfinite(counts)).all():
        raise InputError(f"Every k must be a number of at least 1, got {k!r:.60}.")
    return counts
