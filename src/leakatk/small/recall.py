"""Greedy recall: what the greedy answers of a fine-tuned model know of the forget and of the retain set."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from leakatk.benchmarks.base import Benchmark
from leakatk.files.strict_json import strict_json
from leakatk.files.writing import make_private, read_kept, write_kept
from leakatk.models.loaded import LoadedModel
from leakatk.progress import Progress
from leakatk.prompts import Prompt
from leakatk.sampling.greedy import greedy_texts
from leakatk.scorers.base import get_scorer
from leakatk.scorers.knows import default_scorers

RECALL_LIMIT = 200  # prompts of a set
BEYOND = 16  # tokens that an answer may be longer than the longest true one
MOST_TOKENS = 256
RIGHT = 1 - 1e-9  # a score from which an answer counts as right
MEMORISED, GUESSED = 0.9, 0.25  # shares: below the one, above the other a person is warned


@dataclass(frozen=True, slots=True)
class SetRecall:
    """One set. right: answers that hold all that the true one says; asked: of so many; undefined: those that the scorer
    cannot score, which are not among them; there: prompts of the whole set.
    """

    right: int
    asked: int
    undefined: int
    there: int

    @property
    def share(self) -> float:
        """NaN where nothing was asked."""
        return self.right / self.asked if self.asked else float("nan")

    def __str__(self) -> str:
        rest = f", {self.undefined} that the scorer cannot score" if self.undefined else ""
        of = self.asked + self.undefined
        return f"{self.right} of {self.asked}{rest}" + (f" (asked: {of} of {self.there})" if of < self.there else "")


@dataclass(frozen=True, slots=True)
class Recall:
    """What one model knows. scorer: the core metric; forget, retain: held retain prompts count as retain."""

    scorer: str
    forget: SetRecall
    retain: SetRecall

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def chosen(prompts: Sequence[Prompt], most: int) -> list[Prompt]:
    """At most so many prompts, in their order: those whose ids have the smallest hashes, so of all sources alike."""
    ids = sorted((prompt.id for prompt in prompts), key=lambda name: hashlib.sha256(name.encode()).digest())[:most]
    return [prompt for prompt in prompts if prompt.id in set(ids)]


def recalled(
    loaded: LoadedModel, bench: Benchmark, file: Path, *, most: int = RECALL_LIMIT, quiet: bool = False
) -> Recall:
    """Ask both sets greedily, at most so many prompts of each, and score the answers; what `file` holds is not asked again.

    The file keeps each answer with its score.
    """
    kept = (*bench.retain, *bench.retain_held)
    sets = {"forget": chosen(bench.forget, most), "retain": chosen(kept, most)}
    scorer = default_scorers((*bench.forget, *kept))[0]
    asked = {"scorer": scorer, "most": most, "prompts": {name: [p.id for p in some] for name, some in sets.items()}}
    if file.exists():
        row = read_kept(file)
        if isinstance(row, dict) and row.get("asked") == asked:
            return _read(row)
    rows: dict[str, Any] = {"asked": asked, "sets": {}}
    longest = max(len(loaded.tokenizer(p.answer)["input_ids"]) for some in sets.values() for p in some)
    tokens = min(MOST_TOKENS, longest + BEYOND)
    with Progress("greedy answers", sum(map(len, sets.values())), unit="prompts", quiet=quiet) as bar:
        for name, some in sets.items():
            texts = greedy_texts(loaded, some, max_new_tokens=tokens) if some else []
            scores = get_scorer(scorer).score(some, texts) if some else np.zeros(0)
            bar.advance(len(some))
            rows["sets"][name] = {
                "there": len(bench.forget if name == "forget" else kept),
                "answers": [
                    {"id": p.id, "text": text, "score": None if np.isnan(score) else float(score)}
                    for p, text, score in zip(some, texts, scores, strict=True)
                ],
            }
    make_private(file.parent)
    write_kept(file, strict_json(rows, indent=1))
    return _read(json.loads(json.dumps(rows)))


def _read(row: Mapping[str, Any]) -> Recall:
    def counted(found: Mapping[str, Any]) -> SetRecall:
        scores = [one["score"] for one in found["answers"]]
        known = [score for score in scores if score is not None]
        return SetRecall(sum(score >= RIGHT for score in known), len(known), len(scores) - len(known), found["there"])

    return Recall(row["asked"]["scorer"], counted(row["sets"]["forget"]), counted(row["sets"]["retain"]))


def warnings(recall: Mapping[str, Recall]) -> list[str]:
    """What a person must know of the models of the splits "full" and "retain", before anything is unlearned."""
    found = []
    for split, one in recall.items():
        name = "full" if split == "full" else "retrained"
        for part, share in (("forget", one.forget), ("retain", one.retain)):
            if (split, part) != ("retain", "forget") and share.share < MEMORISED:
                found.append(
                    f"{name} has not memorised the {part} set: greedily it knows {share}. What it does not know cannot be forgotten "
                    "or kept: take more --epochs or a higher --lr."
                )
    other = recall.get("retain")
    if other is not None and other.forget.share > GUESSED:
        found.append(
            f"retrained answers {other.forget} of the forget set rightly, without having seen it: these answers can be guessed, or "
            "the retain prompts give them away. Read every number as the excess over it."
        )
    return found
