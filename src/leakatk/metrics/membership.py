"""Membership attacks on one model: is it told from its scores that the forget texts were in its training data?

Every attack score is low for a likely member. Sources: LOSS, Yeom et al. 2018; zlib and reference, Carlini et al. 2021;
Min-K%, Shi et al. 2024; Min-K%++, Zhang et al. 2025.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import numpy.typing as npt
from scipy import stats

from leakatk.benchmarks.base import Benchmark
from leakatk.errors import InputError
from leakatk.metrics.base import Evidence, metric
from leakatk.metrics.checks import Floats, known, vector
from leakatk.metrics.pieces import Answer, GradientNorm, Passage
from leakatk.prompts import Prompt

if TYPE_CHECKING:
    from leakatk.models.token_stats import TokenStats

Scores = Mapping[str, tuple[Floats, Floats]]
ATTACKS = ("loss", "zlib", "min-k", "min-k++", "grad-norm")
LEAST_DEVIATION = 1e-3  # in Min-K%++: OpenUnlearning takes no variance below 1e-6
LOWEST = 0.4  # share of tokens Min-K% looks at, as in OpenUnlearning
TEXTS = ("privleak_forget", "privleak_holdout")  # a benchmark's texts for the attack, where it has its own


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
    low, high = known(members, "member scores"), known(others, "non-member scores")
    ranks = stats.rankdata(np.concatenate([low, high]))
    above = ranks[: low.size].sum() - low.size * (low.size + 1) / 2
    return float(1 - above / (low.size * high.size))


def tpr_at_fpr(members: npt.ArrayLike, others: npt.ArrayLike, fpr: float = 0.01) -> float:
    """Largest share of members found by a threshold that accuses at most a share `fpr` of the non-members.

    With fewer than 1/fpr non-members this asks for no false accusation at all.
    """
    if not 0 <= fpr <= 1:
        raise InputError(f"The false positive rate must be between 0 and 1, got {fpr!r}.")
    low, high = known(members, "member scores"), np.sort(known(others, "non-member scores"))
    allowed = int(np.floor(fpr * high.size + 1e-9))
    # Accused is whoever scores below the first non-member that must stay free.
    return 1.0 if allowed >= high.size else float(np.mean(low < high[allowed]))


class Side(NamedTuple):
    """Texts that were in training, or were not: what was asked for, what the model thinks of it, the text for zlib."""

    pieces: Sequence[Answer | Passage]
    stats: Sequence[TokenStats]
    texts: Sequence[str]


def sides(evidence: Evidence, benchmark: Benchmark) -> tuple[Side, Side, bool]:
    """The forget side, the holdout side, and whether their texts end with an end token.

    The texts that the benchmark has for the attack (MUSE), else the answers of its forget and holdout prompts.
    """
    if all(benchmark.texts.get(name) for name in TEXTS):
        forget, holdout = (_texts(evidence, benchmark.texts[name]) for name in TEXTS)
        return forget, holdout, False
    return _answers(evidence, benchmark.forget), _answers(evidence, benchmark.holdout), evidence.ends


def attack_scores(evidence: Evidence, benchmark: Benchmark) -> Scores:
    """Attack -> (forget scores, holdout scores), low for a likely member.

    Where a text ends with an end token, that counts for the loss (loss, zlib) and not for the others, as in OpenUnlearning.
    """
    forget, holdout, ends = sides(evidence, benchmark)
    both = [_scores(evidence, side, ends=ends) for side in (forget, holdout)]
    return {name: (both[0][name], both[1][name]) for name in both[0]}


@metric(
    "membership",
    summary="Membership attacks: forget texts against holdout texts.",
    paper="Yeom et al. 2018; Carlini et al. 2021; Shi et al. 2024 (Min-K%); Zhang et al. 2025 (Min-K%++)",
    formula="AUC and true positives at 1% false ones, of LOSS, zlib, Min-K%, Min-K%++ and the gradient norm",
    source="OpenUnlearning's code: 40% of the tokens, no variance below 1e-6",
    values=tuple(f"{kind}_{attack}" for attack in ATTACKS for kind in ("auc", "tpr")),
    needs=("holdout|texts.privleak_holdout",),
)
def membership(evidence: Evidence, benchmark: Benchmark) -> dict[str, float]:
    scores = attack_scores(evidence, benchmark)
    values = {}
    for attack in ATTACKS:
        pair = scores.get(attack)
        values[f"auc_{attack}"] = auc(*pair) if pair else math.nan
        values[f"tpr_{attack}"] = tpr_at_fpr(*pair) if pair else math.nan
    return values


def _answers(evidence: Evidence, prompts: Sequence[Prompt]) -> Side:
    pieces = [Answer(p.question, p.answer) for p in prompts]
    return Side(pieces, evidence.get(pieces), [p.answer for p in prompts])


def _texts(evidence: Evidence, texts: Sequence[str]) -> Side:
    pieces = [Passage(text, evidence.settings.text_tokens) for text in texts]
    found = evidence.get(pieces)
    return Side(pieces, [one for one, _ in found], [shown for _, shown in found])


def _scores(evidence: Evidence, side: Side, *, ends: bool) -> dict[str, Floats]:
    words = [s.without_end() for s in side.stats] if ends else side.stats
    steps = [s.logprob for s in words]
    found = {
        "loss": loss_scores([s.logprob for s in side.stats]),
        "zlib": zlib_scores([s.logprob for s in side.stats], side.texts),
        "min-k": min_k_scores(steps),
        "min-k++": min_k_plus_plus_scores(
            steps, [s.mean for s in words], [s.deviation for s in words], least=LEAST_DEVIATION
        ),
    }
    if evidence.settings.grad_norm:
        found["grad-norm"] = np.array(evidence.get(GradientNorm(piece, ends) for piece in side.pieces))
    return found


def _lowest(values: Floats, share: float) -> float:
    count = max(1, int(values.size * share))
    return float(np.mean(np.partition(values, count - 1)[:count]))


def _tokens(steps: npt.ArrayLike) -> Floats:
    return vector(steps, "token log-probabilities")


def _same_length(left: int, right: int, name: str) -> None:
    if left != right:
        raise InputError(f"{left} texts but {right} {name}; give one for each.")
