"""Prompts of audited runs as the report shows them: the question, its samples grouped, the thoughts before them, by probe."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping

from leakatk.arrays import Floats
from leakatk.prompts import Prompt
from leakatk.report.audited import Audited, block_of
from leakatk.report.content import PromptView, TextGroup, Thought, group_texts
from leakatk.report.redaction import LEFT_OUT, Redaction, hashed
from leakatk.runs.results import ScorerResult
from leakatk.runs.store import Run
from leakatk.scorers.keys import keys_of


def prompt_views(audited: Audited, k: int, redaction: Redaction | None = None) -> Iterator[PromptView]:
    """The prompts as they stand, then as each probe asks them. k: of the leak that is told.

    With a redaction the texts are not read at all.
    """
    yield from _views(audited, audited.run, block_of(audited, audited.scorer), k, "", redaction)
    for probe, run in audited.probes().items():
        block = (audited.results.probes or {})[probe].scorers.get(audited.scorer)
        if block is not None and audited.scorer in run.score_names():
            yield from _views(audited, run, block, k, probe, redaction)


def _views(
    audited: Audited, run: Run, block: ScorerResult, k: int, probe: str, redaction: Redaction | None
) -> Iterator[PromptView]:
    scorer = audited.scorer
    ks = block.curves["samples"].k
    leak = {i: row[ks.index(k)] for i, row in zip(block.prompt_ids, block.per_prompt, strict=True)} if k in ks else {}
    greedy = _greedy_of(run, block, scorer)
    scores = run.scores(scorer)
    groups = _counted(scores) if redaction else _grouped(run, scorer, scores)
    mark = audited.run.manifest.prompts_sha256
    for prompt, found in zip(run.prompts, groups, strict=True):
        answer, hit = greedy.get(prompt.id, ("", math.nan))
        told = leak.get(prompt.id, math.nan)
        if redaction:
            yield PromptView(
                id=redaction.name(prompt, mark),
                question=redaction.question(prompt, mark),
                answer=LEFT_OUT,
                groups=found,
                greedy=LEFT_OUT if prompt.id in greedy else "",
                leak=told,
                greedy_score=hit,
                model=audited.label,
                probe=probe,
            )
        else:
            yield PromptView(
                id=prompt.id,
                question=str(prompt.query),
                answer=prompt.answer,
                groups=found,
                greedy=answer,
                facts=facts_of(prompt),
                mark=hashed(prompt.id, mark),
                leak=told,
                greedy_score=hit,
                model=audited.label,
                probe=probe,
            )


def facts_of(prompt: Prompt) -> tuple[str, ...]:
    """The parts of the answer that should not appear."""
    return prompt.facts or tuple(sorted(keys_of(prompt)))


def _grouped(run: Run, scorer: str, scores: Floats) -> Iterator[tuple[TextGroup, ...]]:
    """The distinct texts of each prompt, with what the model thought before them."""
    thoughts = run.reasonings()
    name = f"{scorer} of the reasoning"
    judged = run.scores(name).tolist() if name in run.score_names() else [[math.nan] * run.n] * len(run.prompts)
    rows = zip(run.texts(), scores.tolist(), run.logprobs().tolist(), thoughts, judged, strict=True)
    for texts, row, logprobs, thought, marks in rows:
        before = [Thought(*one) for one in zip(thought, marks, strict=True)] if any(thought) else None
        yield group_texts(texts, row, logprobs, before)


def _counted(scores: Floats) -> Iterator[tuple[TextGroup, ...]]:
    """How many samples of each prompt have which score, without a word of them."""
    for row in scores.tolist():
        found = Counter("" if math.isnan(value) else value for value in row)
        groups = [
            TextGroup(LEFT_OUT, count, math.nan if value == "" else float(value)) for value, count in found.items()
        ]
        yield tuple(sorted(groups, key=lambda group: -group.score if group.score == group.score else 1.0))


def _greedy_of(run: Run, block: ScorerResult, scorer: str) -> Mapping[str, tuple[str, float]]:
    """The greedy answers and scores, read from greedy/ beside the samples."""
    # greedy/ may be there and unfinished: from an audit that was then told to do without.
    if math.isnan(block.greedy) or not (run.path / "greedy" / "manifest.json").exists():
        return {}
    greedy = Run.open(run.path / "greedy")
    hits = [float(row[0]) for row in greedy.scores(scorer)]
    return {i: (texts[0], hit) for i, texts, hit in zip(greedy.prompt_ids, greedy.texts(), hits, strict=True)}
