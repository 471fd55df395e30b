"""`score` and `score_texts`: scores of a run, kept in its directory."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from leakatk.arrays import Floats
from leakatk.errors import RunError
from leakatk.runs.store import Run
from leakatk.scorers.base import Scorer, get_scorer

if TYPE_CHECKING:
    pass


Part = Literal["answer", "reasoning"]


def score(run: Run | str | Path, scorer: str, *, part: Part = "answer", **options: Any) -> Floats:
    """Scores of a run's samples, shape (m, n): rows in the order of `run.prompt_ids`, columns in sample order.

    NaN marks what the scorer cannot judge. The scores are kept in the run's directory; when they are already there for
    the same generations and options they are read back. The model is never needed. part: the answers, or what the model
    thought before them; a sample without a thought has nothing to leak there and scores the lowest.

    >>> from leakatk import load_prompts, sample
    >>> run = sample("models/mine", load_prompts("forget.jsonl"), n=2, quiet=True)
    >>> bool((score(run, "rouge-l") <= 1).all())
    True
    """
    if not isinstance(run, Run):
        run = Run.open(run)
    judge = get_scorer(scorer, **options).keeping(run.path)
    name = judge.label if part == "answer" else f"{judge.label} of the reasoning"
    if scored(run, judge, name):
        return run.scores(name)
    if not run.n:
        raise RunError(f"{run.path} holds no samples yet; run the command that made it again.")
    rows = run.texts() if part == "answer" else run.reasonings()
    asked = [
        (prompt, text)
        for prompt, row in zip(run.prompts, rows, strict=True)
        for text in row
        if part == "answer" or text
    ]
    found = judge.score([prompt for prompt, _ in asked], [text for _, text in asked])
    scores = np.full((len(rows), run.n), judge.low)
    scores[np.array([[part == "answer" or bool(text) for text in row] for row in rows])] = found
    run.save_scores(name, scores, judge.describe())
    return scores


def scored(run: Run, scorer: Scorer, name: str = "") -> bool:
    """Whether the run keeps these scores, none of them to be asked for again. name: the one they are kept under."""
    name = name or scorer.label
    if not run.has_scores(name):
        return False
    return not (scorer.retries_missing and np.isnan(run.scores(name)).any())
