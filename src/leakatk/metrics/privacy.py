"""What an auditor can still see: membership attacks, PrivLeak, over-unlearning, broken text. No model is needed here.

Every attack score is low for a likely member of the training data. Sources: LOSS, Yeom et al. 2018; zlib and reference,
Carlini et al. 2021; Min-K%, Shi et al. 2024; Min-K%++, Zhang et al. 2025; PrivLeak, Shi et al. (MUSE) 2024.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
from scipy import stats

from leakatk.errors import InputError
from leakatk.metrics.utility import Floats, vector

LeakConvention = Literal["muse", "membership"]

_GUARD = 1e-10  # in PrivLeak's denominator, as in the OpenUnlearning code
LOWEST = 0.4  # share of tokens Min-K% looks at, as in OpenUnlearning


def loss_scores(steps: Sequence[npt.ArrayLike]) -> Floats:
    """(m,) LOSS attack: mean negative log-probability of the tokens of each text."""
    return np.array([-np.mean(_tokens(s)) for s in steps], dtype=np.float64)


def zlib_scores(steps: Sequence[npt.ArrayLike], texts: Sequence[str]) -> Floats:
    """(m,) LOSS over the number of bytes zlib needs for the text, which discounts text that is easy for anyone."""
    _same_length(len(steps), len(texts), "strings to compress")
    sizes = np.array([len(zlib.compress(text.encode())) for text in texts], dtype=np.float64)
    return loss_scores(steps) / sizes


def reference_scores(steps: Sequence[npt.ArrayLike], reference_steps: Sequence[npt.ArrayLike]) -> Floats:
    """(m,) LOSS minus the LOSS of a reference model that did not see the texts."""
    _same_length(len(steps), len(reference_steps), "texts of the reference model")
    return loss_scores(steps) - loss_scores(reference_steps)


def min_k_scores(steps: Sequence[npt.ArrayLike], share: float = LOWEST) -> Floats:
    """(m,) Min-K%: minus the mean log-probability of the `share` least likely tokens (at least one)."""
    if not 0 < share <= 1:
        raise InputError(f"The share of tokens must be above 0 and at most 1, got {share!r}.")
    return np.array([-_lowest(_tokens(s), share) for s in steps], dtype=np.float64)


def min_k_plus_plus_scores(
    steps: Sequence[npt.ArrayLike],
    means: Sequence[npt.ArrayLike],
    deviations: Sequence[npt.ArrayLike],
    share: float = LOWEST,
    least: float = 1e-6,
) -> Floats:
    """(m,) Min-K%++: as Min-K%, each log-probability first standardised over the vocabulary at its position.

    means, deviations: for each text, the mean and standard deviation of log p(v) for v drawn from p, a value a token.
    least: no deviation is taken as smaller, so that a model all but sure of a token gives no huge score.
    """
    _same_length(len(steps), len(means), "arrays of means")
    _same_length(len(steps), len(deviations), "arrays of deviations")
    standard = [
        (_tokens(s) - np.asarray(m)) / np.maximum(np.asarray(d), least)
        for s, m, d in zip(steps, means, deviations, strict=True)
    ]
    return min_k_scores(standard, share)


def auc(members: npt.ArrayLike, others: npt.ArrayLike) -> float:
    """Chance that a member scores below a non-member, ties counting half: .5 is blind, 1 tells them apart."""
    low, high = _known(members, "member scores"), _known(others, "non-member scores")
    ranks = stats.rankdata(np.concatenate([low, high]))
    above = ranks[: low.size].sum() - low.size * (low.size + 1) / 2
    return float(1 - above / (low.size * high.size))


def tpr_at_fpr(members: npt.ArrayLike, others: npt.ArrayLike, fpr: float = 0.01) -> float:
    """Largest share of members found by a threshold that accuses at most a share `fpr` of the non-members.

    With fewer than 1/fpr non-members this asks for no false accusation at all.
    """
    if not 0 <= fpr <= 1:
        raise InputError(f"The false positive rate must be between 0 and 1, got {fpr!r}.")
    low, high = _known(members, "member scores"), np.sort(_known(others, "non-member scores"))
    allowed = int(np.floor(fpr * high.size + 1e-9))
    # Accused is whoever scores below the first non-member that must stay free.
    return 1.0 if allowed >= high.size else float(np.mean(low < high[allowed]))


def privleak(attack_auc: float, retrained_auc: float = 0.5, convention: LeakConvention = "muse") -> float:
    """PrivLeak in percent: how far the attack's AUC is from that on the retrained model; 0 is ideal.

    "muse", as its tables and OpenUnlearning: computed on 1 - AUC, so a model that still remembers is negative (-100 at
    most) and an over-unlearned one positive. "membership": on the AUC itself, so a model that still remembers is
    positive. Without a retrained model .5 is assumed.
    """
    for name, value in (("attack_auc", attack_auc), ("retrained_auc", retrained_auc)):
        if not (np.isnan(value) or 0 <= value <= 1):
            raise InputError(f"{name} must be between 0 and 1, got {value!r}.")
    if convention not in ("muse", "membership"):
        raise InputError(f"Unknown PrivLeak convention {convention!r}; use muse or membership.")
    value, base = attack_auc, retrained_auc
    if convention == "muse":
        value, base = 1 - value, 1 - base
    return 100 * (value - base) / (base + _GUARD)


@dataclass(frozen=True, slots=True)
class OverUnlearning:
    """share: of forget texts that score beyond nearly all of the retrained model's. flagged: the share is above half.

    Such a model does not resemble one that never saw the data: the gap itself tells what was removed.
    """

    share: float
    median: float
    retrained_median: float
    flagged: bool


def over_unlearning(scores: npt.ArrayLike, retrained_scores: npt.ArrayLike, level: float = 0.95) -> OverUnlearning:
    """Compare a model's attack scores on the forget texts with the retrained model's on the same texts (our reading).

    Beyond means above the retrained model's `level` quantile: of two equal models a share of about 1 - level is.
    """
    mine, other = _known(scores, "scores"), _known(retrained_scores, "scores of the retrained model")
    share = float(np.mean(mine > np.quantile(other, level)))
    return OverUnlearning(share, float(np.median(mine)), float(np.median(other)), share > 0.5)


_WORD = re.compile(r"[^\W_]+")


def is_broken(text: str) -> bool:
    """True for text no reader would take for an answer: no word at all, or going round in circles (our reading).

    In circles: the same word three times running, or at least eight words of which under half of the three-word
    sequences are new. A short refusal or a wrong answer is not broken.
    """
    words = _WORD.findall(text.lower())
    if not words:
        return True
    if any(a == b == c for a, b, c in zip(words, words[1:], words[2:], strict=False)):
        return True
    threes = list(zip(words, words[1:], words[2:], strict=False))
    return len(words) >= 8 and len(set(threes)) < 0.5 * len(threes)


def broken_share(texts: Sequence[str]) -> float:
    """Share of broken texts (`is_broken`); NaN without texts."""
    return float(np.mean([is_broken(text) for text in texts])) if texts else float("nan")


def _lowest(values: Floats, share: float) -> float:
    count = max(1, int(values.size * share))
    return float(np.mean(np.partition(values, count - 1)[:count]))


def _tokens(steps: npt.ArrayLike) -> Floats:
    return vector(steps, "token log-probabilities")


def _known(values: npt.ArrayLike, name: str) -> Floats:
    """Scores, none of them missing."""
    array = vector(values, name)
    if missing := int(np.isnan(array).sum()):
        raise InputError(
            f"{missing} of {array.size} {name} are missing (NaN); score those texts again or leave them out."
        )
    return array


def _same_length(left: int, right: int, name: str) -> None:
    if left != right:
        raise InputError(f"{left} texts but {right} {name}; give one for each.")
