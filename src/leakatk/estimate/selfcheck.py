"""Self-check of an audit: are as many samples the true answer, word for word, as its exact probability says?

The number among n samples of a prompt is binomial with the exact probability p; over prompts it is a sum of binomials
(Poisson-binomial), whose exact distribution gives the range. What falls outside has wrong tokens, a wrong end or a wrong
distribution on one of the two sides.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from scipy import stats

from leakatk.arrays import Floats, Ints
from leakatk.errors import InputError

_NOTHING = 1e-14


@dataclass(frozen=True, slots=True)
class SelfCheck:
    """prompts, samples: how many were compared.  verbatim: samples that are the true answer, token for token.
    verbatim_text: samples that say it word for word, in whatever tokens.  expected: sum of n p.  low, high: the range of
    `verbatim` at `level`.  rounding: nats an answer by which p may be off.  inside: low <= verbatim <= high, and
    verbatim_text is not above it."""

    prompts: int
    samples: int
    verbatim: int
    verbatim_text: int
    expected: float
    low: int
    high: int
    level: float
    rounding: float

    @property
    def inside(self) -> bool:
        return self.low <= self.verbatim <= self.high and self.verbatim_text <= self.high

    def block(self) -> dict[str, Any]:
        """For results.json."""
        return {**asdict(self), "inside": self.inside}

    @property
    def sentence(self) -> str:
        """What a person must know; "" inside the range."""
        if self.inside:
            return ""
        found = f"{self.verbatim} of {self.samples} samples are the true answer token for token"
        if self.low <= self.verbatim <= self.high:
            found = f"{self.verbatim_text} of {self.samples} samples say the true answer, {self.verbatim} of them in its own tokens"
        return (
            f"{found}, but the exact probabilities expect {self.expected:.1f} ({self.low} to {self.high} at "
            f"{self.level:.1%}): do not trust the exact values of this run."
        )


def check_verbatim(
    verbatim: Sequence[int],
    n: Sequence[int],
    logp: Sequence[float],
    *,
    said: Sequence[int] | None = None,
    level: float = 0.999,
    rounding: float = 0.0,
) -> SelfCheck:
    """Compare counts (m,) of verbatim answers among n (m,) samples with log-probabilities (m,), -inf for what cannot be said.

    said: samples that say it in whatever tokens, at least `verbatim`.  rounding: widens each probability to
    p exp(-rounding) .. p exp(rounding).

    >>> found = check_verbatim([5, 9], [10, 10], [-0.7, -0.1])
    >>> found.inside, found.low, found.high
    (True, 8, 19)
    """
    counts, sizes, values = np.asarray(verbatim), np.asarray(n), np.asarray(logp, dtype=np.float64)
    if not counts.shape == sizes.shape == values.shape or counts.ndim != 1:
        raise InputError(
            f"Counts, samples and log-probabilities must be of one length, got {counts.shape}, {sizes.shape}, {values.shape}."
        )
    if (counts < 0).any() or (counts > sizes).any() or np.isnan(values).any() or (values > 1e-6).any():
        raise InputError(
            "Counts must lie between 0 and the number of samples, and log-probabilities must be at most 0."
        )
    tail = (1 - level) / 2
    low, _ = _range(sizes, np.exp(np.minimum(values - rounding, 0.0)), tail)
    _, high = _range(sizes, np.exp(np.minimum(values + rounding, 0.0)), tail)
    total = int(counts.sum())
    return SelfCheck(
        prompts=len(counts),
        samples=int(sizes.sum()),
        verbatim=total,
        verbatim_text=total if said is None else int(np.sum(said)),
        expected=float((sizes * np.exp(np.minimum(values, 0.0))).sum()),
        low=low,
        high=high,
        level=level,
        rounding=rounding,
    )


def _range(n: Ints, p: Floats, tail: float) -> tuple[int, int]:
    """The smallest and largest total of binomials (n, p) that have at most `tail` below and above them."""
    start, mass = 0, np.ones(1)  # mass[i]: probability of the total start + i
    for size, share in zip(n, p, strict=True):
        own = stats.binom.pmf(np.arange(int(size) + 1), int(size), share)
        start, mass = _trimmed(start, np.convolve(mass, own))
    low = start + int(np.searchsorted(np.cumsum(mass), tail, side="right"))
    high = start + len(mass) - 1 - int(np.searchsorted(np.cumsum(mass[::-1]), tail, side="right"))
    return low, high


def _trimmed(start: int, mass: Floats) -> tuple[int, Floats]:
    """Without the ends that cannot move a tail: what is left is a few standard deviations wide."""
    kept = np.flatnonzero(mass > _NOTHING)
    return start + int(kept[0]), mass[kept[0] : kept[-1] + 1]
