"""Mixed questions: a forget and a retain question in one prompt (SEPS)."""

from __future__ import annotations

import re
from collections.abc import Sequence
from random import Random

import numpy as np
import numpy.typing as npt

from leakatk.benchmarks.base import Benchmark
from leakatk.benchmarks.forms import numbered
from leakatk.metrics.base import Evidence, metric
from leakatk.metrics.checks import known
from leakatk.metrics.pieces import ANSWER_TOKENS, Greedy
from leakatk.prompts import Prompt, Query
from leakatk.scorers.base import get_scorer

_NUMBERED = re.compile(r"^\s*1\.\s*(?P<first>.*?)\s*\b2\.\s*(?P<second>.*)$", re.DOTALL)
Pairs = list[tuple[Prompt, Prompt]]


def mixed(forget: Sequence[Prompt], retain: Sequence[Prompt], seed: int = 0) -> tuple[Pairs, Pairs]:
    """(each forget prompt before a retain one, the same in the other order); the retain prompt is drawn for each by `seed`."""
    others = [Random(f"{seed}/{prompt.id}/mixed").choice(retain) for prompt in forget]
    return list(zip(forget, others, strict=True)), list(zip(others, forget, strict=True))


def halves(text: str) -> tuple[str, str] | None:
    """What is said to either question of a numbered answer; None for one that is not numbered."""
    found = _NUMBERED.match(text)
    return (found["first"], found["second"]) if found else None


def seps(forget: npt.ArrayLike, retain: npt.ArrayLike) -> tuple[float, float]:
    """(mean of s_r - s_f, harmonic mean of mean s_r and 1 - mean s_f) of scores in [0, 1] of the same mixed prompts."""
    f, r = known(forget, "forget scores"), known(retain, "retain scores")
    kept, gone = float(r.mean()), 1 - float(f.mean())
    return float(np.mean(r - f)), 2 * kept * gone / (kept + gone) if kept + gone else 0.0


@metric(
    "seps",
    summary="Is the retain question answered and the forget question not, where one prompt asks both?",
    paper="SEPS",
    formula="mean over pairs and both orders of s_r - s_f; harmonic mean of s_r and 1 - s_f",
    source="one retain question a forget question, drawn once",
    reading="s is the ROUGE-L recall of its half of the greedy answer, where the paper has a judge. An answer that is not numbered counts whole for both "
    "questions; mixed_unsplit is their share",
    rows=("31",),
    values=("seps", "seps_harmonic", "mixed_forget", "mixed_retain", "mixed_unsplit"),
    needs=("forget", "retain"),
)
def separability(evidence: Evidence, benchmark: Benchmark) -> dict[str, float]:
    first, last = mixed(benchmark.forget, benchmark.retain)
    pairs = [*first, *last]
    texts = evidence.get(
        Greedy(Query(numbered([prompt.question for prompt in pair])), "", 2 * ANSWER_TOKENS) for pair in pairs
    )
    split = [halves(text) for text in texts]
    scorer = get_scorer("rouge-l")
    scores = np.stack([
        scorer.score([pair[i] for pair in pairs], [one[i] if one else text for one, text in zip(split, texts, strict=True)])
        for i in (0, 1)
    ])  # fmt: skip
    forget = np.concatenate([scores[0, : len(first)], scores[1, len(first) :]])
    retain = np.concatenate([scores[1, : len(first)], scores[0, len(first) :]])
    difference, harmonic = seps(forget, retain)
    return {
        "seps": difference,
        "seps_harmonic": harmonic,
        "mixed_forget": float(forget.mean()),
        "mixed_retain": float(retain.mean()),
        "mixed_unsplit": float(np.mean([one is None for one in split])),
    }
