"""Answers of a run, what became of them: cut at the limit, empty, a thought without an answer. None of these is a clean answer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from leakatk.arrays import Bools
from leakatk.benchmarks.protocols import PROTOCOLS
from leakatk.runs.store import Run
from leakatk.text import percent

WARN_ABOVE = 0.05  # share of the answers from which a person must be told


def cut(run: Run) -> Bools:
    """(m, n): whether the answer was ended by the limit on its length."""
    return _mask(run, [[finish == "length" for finish in row] for row in run.finishes()])


def thought(run: Run) -> Bools:
    """(m, n): whether the model thought before it answered."""
    return _mask(run, [[bool(text) for text in row] for row in run.reasonings()])


def _mask(run: Run, rows: Sequence[Sequence[bool]]) -> Bools:
    return np.array(rows, dtype=bool).reshape(len(run.prompts), run.n)


def answer_counts(run: Run) -> dict[str, int]:
    """Answers in all, and how many were cut, empty, preceded by a thought, or a thought alone, cut before the answer."""
    over, thinking = cut(run), thought(run)
    empty = _mask(run, [[not text.strip() for text in row] for row in run.texts()])
    return {
        "answers": over.size,
        "cut": int(over.sum()),
        "empty": int(empty.sum()),
        "with_reasoning": int(thinking.sum()),
        "unfinished_reasoning": int((thinking & empty & over).sum()),
    }


def limit_is_own(run: Run) -> bool:
    """Whether the run's protocol itself ends answers at this length, so that one which reaches it is whole.

    MUSE's questions are answered in 32 tokens, as published; the clean protocol's 200 are a default of ours.
    """
    manifest = run.manifest
    if manifest.protocol not in PROTOCOLS:
        return False
    rules = PROTOCOLS[manifest.protocol].on(manifest.benchmark)
    return rules.own_limit and rules.headline.max_new_tokens == manifest.decoding["max_new_tokens"]


def told(counts: Mapping[str, Any], max_new_tokens: int) -> str:
    """One clause on the answers that are no clean ones; "" where all are: "7.1% of the answers cut at 200 tokens, 2 empty"."""
    total = counts["answers"]
    said = []
    if counts["cut"]:
        said.append(f"{percent(counts['cut'] / total)} of the answers cut at {max_new_tokens} tokens")
    if counts["unfinished_reasoning"]:
        said.append(f"{percent(counts['unfinished_reasoning'] / total)} thought until they were cut")
    if counts["empty"]:
        said.append(f"{percent(counts['empty'] / total)} empty")
    return ", ".join(said)


def warnings(counts: Mapping[str, Any], max_new_tokens: int, *, where: str = "") -> list[str]:
    """Sentences for a person, where more than `WARN_ABOVE` of the answers are no whole ones."""
    total = counts["answers"]
    found = []
    if counts["cut"] > WARN_ABOVE * total:
        found.append(
            f"{percent(counts['cut'] / total)} of the answers{where} were cut at {max_new_tokens} tokens: what they would have "
            "said next is unknown. Raise --max-new-tokens."
        )
    if counts["empty"] > WARN_ABOVE * total:
        found.append(f"{percent(counts['empty'] / total)} of the answers{where} are empty.")
    return found
