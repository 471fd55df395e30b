"""What must not break, and TOFU's view of what was forgotten. Numbers in, numbers out; no model is needed here.

Sources: Maini et al., "TOFU: A Task of Fictitious Unlearning for LLMs", 2024 (probability, truth ratio, model utility,
forget quality); the OpenUnlearning evaluation logs (the exact form of each, checked against them to 1e-9); Carlini et
al., "Extracting Training Data from Large Language Models", and Tirumala et al., 2022 (exact memorisation).
Log-probabilities are natural; a missing value is NaN and stays NaN.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np
import numpy.typing as npt
from scipy import stats

from leakatk.arrays import Floats as Floats
from leakatk.errors import InputError

RatioConvention = Literal["open-unlearning", "tofu", "paper"]
ExtractionConvention = Literal["clean", "open-unlearning"]

GUARD = 1e-10  # added to denominators by the OpenUnlearning code; needed to reproduce its logs
NINE = tuple(
    f"{split}_{kind}" for split in ("retain", "real_authors", "world_facts") for kind in ("prob", "rouge", "truth")
)


def mean_logprob(steps: Sequence[npt.ArrayLike]) -> Floats:
    """(m,) mean token log-probability of each answer, from its per-token values; NaN for an answer without tokens."""
    return np.array([_mean(s) for s in steps])


def probability(mean_logprobs: npt.ArrayLike) -> Floats:
    """Length-normalised probability p(answer)^(1/tokens), from mean token log-probabilities of any shape."""
    return np.exp(np.asarray(mean_logprobs, dtype=np.float64))


def choice_probability(right: npt.ArrayLike, wrong: Sequence[npt.ArrayLike], *, guard: float = GUARD) -> Floats:
    """p(right) / (p(right) + sum p(wrong)) for each question: TOFU's probability on real authors and world facts.

    right: (m,) length-normalised probabilities; wrong: m rows of them, one for each wrong option.  guard: added to the sum
    (TOFU's own code adds nothing).
    """
    p = vector(right, "right")
    totals = p + np.array([np.sum(row) for row in _rows(wrong, len(p), "wrong")]) + guard
    return np.asarray(p / totals, dtype=np.float64)


def truth_ratio(
    right: npt.ArrayLike, wrong: Sequence[npt.ArrayLike], convention: RatioConvention = "open-unlearning"
) -> Floats:
    """(m,) truth ratio: mean probability of the wrong answers over the probability of the right (paraphrased) one.

    right: (m,) mean token log-probabilities; wrong: m rows of them. A model that knows the fact is near 0, one that
    does not is near 1. "open-unlearning", as the published code: geometric mean of the wrong ones, and 1e-10 added to the
    denominator. "tofu", as TOFU's forget quality: the same without that. "paper", as the formula printed in TOFU and the
    aggregates of its utils.py: arithmetic mean.
    """
    r = vector(right, "right")
    rows = _rows(wrong, len(r), "wrong")
    if convention == "open-unlearning":
        above = np.exp([np.mean(row) for row in rows])
        return np.asarray(above / (np.exp(r) + GUARD), dtype=np.float64)
    if convention == "tofu":
        return np.exp(np.array([np.mean(row) for row in rows]) - r)
    if convention == "paper":
        return np.asarray(np.array([np.mean(np.exp(row)) for row in rows]) / np.exp(r), dtype=np.float64)
    raise InputError(f"Unknown truth ratio convention {convention!r}; use open-unlearning, tofu or paper.")


def truth_on_forget(ratios: npt.ArrayLike) -> float:
    """Mean of min(r, 1/r): 1 when right and wrong answers are equally likely, near 0 when they are told apart.

    As stored in OpenUnlearning's logs. TOFU's own tables print 1 minus this value.
    """
    r = vector(ratios, "ratios")
    return float(np.mean(np.minimum(r, 1 / (r + GUARD))))


def truth_on_utility(ratios: npt.ArrayLike) -> float:
    """Mean of max(0, 1 - r): 1 when the right answer is far likelier than the wrong ones."""
    return float(np.mean(np.maximum(0, 1 - vector(ratios, "ratios"))))


def forget_quality(ratios: npt.ArrayLike, retrained_ratios: npt.ArrayLike) -> float:
    """p-value of the two-sample Kolmogorov-Smirnov test between the truth ratios of a model and of the retrained one.

    High: the two cannot be told apart by this statistic. Low: the model still knows, or knows suspiciously little.
    """
    return float(stats.ks_2samp(vector(ratios, "ratios"), vector(retrained_ratios, "retrained_ratios")).pvalue)


def model_utility(values: Mapping[str, float]) -> float:
    """Harmonic mean of TOFU's nine numbers (keys: `NINE`); 0 when one is 0, NaN when one is NaN.

    prob is `probability` on the retain set and `choice_probability` elsewhere; rouge is ROUGE-L recall of the greedy
    answer; truth is `truth_on_utility`.
    """
    missing = [name for name in NINE if name not in values]
    if missing:
        raise InputError(f"Model utility needs nine numbers; missing: {', '.join(missing)}.")
    nine = np.array([values[name] for name in NINE], dtype=np.float64)
    if np.isnan(nine).any():
        return float("nan")
    if (nine < 0).any():
        raise InputError(f"Model utility needs values that are not negative, got {nine.min():g}.")
    return 0.0 if (nine == 0).any() else float(len(nine) / np.sum(1 / nine))


def deviation_score(forget_rouge: float, retain_rouge: float) -> float:
    """100 * sqrt(ROUGE_forget^2 + (1 - ROUGE_retain)^2): 0 when all is forgotten and all is kept (PISTOL; as LUNAR uses it)."""
    for name, value in (("forget_rouge", forget_rouge), ("retain_rouge", retain_rouge)):
        if not (np.isnan(value) or 0 <= value <= 1):
            raise InputError(f"{name} must be between 0 and 1, got {value!r}.")
    return float(100 * np.hypot(forget_rouge, 1 - retain_rouge))


def exact_memorization(correct: Sequence[npt.ArrayLike]) -> Floats:
    """(m,) share of answer tokens that the model puts first when the true prefix is given (teacher forcing).

    correct: one boolean array an answer; NaN for an answer without tokens.
    """
    return np.array([_mean(c) for c in correct])


def extraction_strength(correct: Sequence[npt.ArrayLike], convention: ExtractionConvention = "clean") -> Floats:
    """(m,) 1 - k/T, k the shortest prefix from which the model completes the T-token answer greedily.

    "clean": 0 when not even the last token is right. "open-unlearning": 1/T then, as in that code, whose search ends
    at T - 1. NaN for an answer without tokens.
    """
    if convention not in ("clean", "open-unlearning"):
        raise InputError(f"Unknown extraction strength convention {convention!r}; use clean or open-unlearning.")
    strengths = []
    for answer in correct:
        right = np.asarray(answer, dtype=bool)
        if right.size == 0:
            strengths.append(np.nan)
            continue
        wrong = np.flatnonzero(~right)
        prefix = int(wrong[-1]) + 1 if wrong.size else 0
        if convention == "open-unlearning":
            prefix = min(prefix, right.size - 1)
        strengths.append(1 - prefix / right.size)
    return np.array(strengths, dtype=np.float64)


def vector(values: npt.ArrayLike, name: str) -> Floats:
    """The values as a one-dimensional float array; InputError, naming them, when they are none."""
    array = np.asarray(values, dtype=np.float64)
    if array.ndim != 1 or array.size == 0:
        raise InputError(f"{name} must be a non-empty list of numbers, got shape {array.shape}.")
    return array


def _mean(values: npt.ArrayLike) -> float:
    array = np.asarray(values, dtype=np.float64)
    return float(array.mean()) if array.size else float("nan")


def _rows(values: Sequence[npt.ArrayLike], count: int, name: str) -> list[Floats]:
    if len(values) != count:
        raise InputError(f"{name} has {len(values)} rows for {count} questions; give one row for each question.")
    return [vector(row, f"each row of {name}") for row in values]
