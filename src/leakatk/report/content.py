"""Content of a report: plain data, filled by whoever made the runs, rendered by `leakatk.report.html`.

Numbers are floats, NaN where missing. Strings may come from a model: every renderer treats them as hostile.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from leakatk.errors import InputError
from leakatk.text import bound, number

Kind = Literal["model", "original", "reference", "control", "greedy", "forecast", "exact"]
KINDS: tuple[Kind, ...] = ("model", "original", "reference", "control", "greedy", "forecast", "exact")


@dataclass(frozen=True, slots=True)
class Number:
    """A table cell: a value, its interval (NaN: none), how many decimals to show, its spread. NaN value: missing."""

    value: float
    low: float = math.nan
    high: float = math.nan
    digits: int = 3
    sd: float = math.nan
    """Standard deviation over seeds, of a value that is a mean over them; NaN: none."""

    @property
    def has_interval(self) -> bool:
        return not (math.isnan(self.low) or math.isnan(self.high))

    @property
    def interval(self) -> str:
        """ "[0.041, 0.20]", or "" without an interval."""
        return f"[{bound(self.low, self.digits)}, {bound(self.high, self.digits)}]" if self.has_interval else ""

    def __str__(self) -> str:
        return f"{number(self.value, self.digits)} {self.spread}{self.interval}".rstrip()

    @property
    def spread(self) -> str:
        """ "± 0.012 ", or "" without a standard deviation."""
        return "" if math.isnan(self.sd) else f"± {number(self.sd, self.digits)} "


Cell = str | Number


@dataclass(frozen=True, slots=True)
class Curve:
    """leak@k of one model: `value[i]` at `k[i]`, with an optional band.

    kind: "model" (what is audited), "original" (before unlearning), "reference" (retrained), "control" (same steps without augmentation), "greedy" (one
    value, drawn left of k = 1), "forecast" (beyond n: dashed), "exact" (computed, not sampled).
    of: label of the curve it belongs to (shares its colour). dashed: overrides the dash of its kind.
    """

    label: str
    k: tuple[int, ...]
    value: tuple[float, ...]
    low: tuple[float, ...] = ()
    high: tuple[float, ...] = ()
    kind: Kind = "model"
    of: str = ""
    dashed: bool = False

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise InputError(f"Curve {self.label!r}: kind must be one of {', '.join(KINDS)}, got {self.kind!r}.")
        if (
            not self.k
            or len(self.value) != len(self.k)
            or any(b not in (0, len(self.k)) for b in map(len, (self.low, self.high)))
        ):
            raise InputError(
                f"Curve {self.label!r}: k and value (and low, high when given) must have the same length >= 1, got "
                f"{len(self.k)}, {len(self.value)}, {len(self.low)}, {len(self.high)}."
            )
        if any(k < 1 for k in self.k) or any(b <= a for a, b in zip(self.k, self.k[1:], strict=False)):
            raise InputError(f"Curve {self.label!r}: k must start at 1 or more and increase, got {self.k!r:.80}.")


@dataclass(frozen=True, slots=True)
class Table:
    """Rows of cells under column names. The first column names the row."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    caption: str = ""
    better: tuple[str, ...] = ()
    """For each column "lower" or "higher", what is better, or ""; () where nothing is known."""
    apart: tuple[int, ...] = ()
    """Rows that do not compete for the best: yardsticks."""

    def __post_init__(self) -> None:
        for row in self.rows:
            if len(row) != len(self.columns):
                raise InputError(
                    f"Table {self.title!r}: a row has {len(row)} cells for {len(self.columns)} columns: {row!r:.80}."
                )


@dataclass(frozen=True, slots=True)
class Thought:
    """What a model thought before an answer, and its score (NaN: not scored)."""

    text: str
    score: float = math.nan


@dataclass(frozen=True, slots=True)
class TextGroup:
    """One distinct text among a prompt's samples.

    count: how often it was drawn. score: its core-metric score in [0, 1]. logprob: log probability of the text under the
    decoding (NaN: unknown). thought: the most leaking of what was thought before it; None where the model does not think.
    thoughts: how many distinct ones there are.
    """

    text: str
    count: int
    score: float
    logprob: float = math.nan
    thought: Thought | None = None
    thoughts: int = 0


@dataclass(frozen=True, slots=True)
class PromptView:
    """One forget prompt under one model.

    leak: leak@k at the report's headline k. greedy: the greedy answer ("" unknown), greedy_score its score.
    facts: the parts of the answer that must not appear; marked wherever they occur. model: which model, when several.
    probe: how it was asked, "" as it stands. mark: its name in a redacted report.
    """

    id: str
    question: str
    answer: str
    leak: float
    groups: tuple[TextGroup, ...] = ()
    greedy: str = ""
    greedy_score: float = math.nan
    facts: tuple[str, ...] = ()
    model: str = ""
    probe: str = ""
    mark: str = ""


@dataclass(frozen=True, slots=True)
class Grid:
    """leak@k over two settings, e.g. temperature (rows) by top-p (columns). NaN: not measured."""

    title: str
    row_name: str
    rows: tuple[str, ...]
    column_name: str
    columns: tuple[str, ...]
    values: tuple[tuple[float, ...], ...]
    caption: str = ""

    def __post_init__(self) -> None:
        if len(self.values) != len(self.rows) or any(len(row) != len(self.columns) for row in self.values):
            raise InputError(f"Grid {self.title!r}: values must be {len(self.rows)} rows of {len(self.columns)}.")


@dataclass(frozen=True, slots=True)
class Bar:
    """One way to get at what was forgotten, with what it assumes: leak@k of the model, and of the retrained model (NaN: none)."""

    name: str
    access: str
    model: Number
    retrained: Number


@dataclass(frozen=True, slots=True)
class Ladder:
    """One model as asked, under probes and under attacks. k, scorer: of the bars. notes: what was left out, and what it shows."""

    title: str
    k: int
    scorer: str
    bars: tuple[Bar, ...]
    tables: tuple[Table, ...]
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Moment:
    """One audit of a history. when: its day, as YYYY-MM-DD. value: leak@k."""

    when: str
    label: str
    value: Number


@dataclass(frozen=True, slots=True)
class History:
    """One model by date, earliest first. table: the same in numbers, with each step. notes: what it shows, in sentences."""

    title: str
    k: int
    moments: tuple[Moment, ...]
    table: Table
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Line:
    """Numbers of a training against its step."""

    name: str
    step: tuple[float, ...]
    value: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Training:
    """How one model was trained. panels: (name, lines that share an axis)."""

    title: str
    panels: tuple[tuple[str, tuple[Line, ...]], ...]
    caption: str = ""


@dataclass(frozen=True, slots=True)
class Highlight:
    """A key number for the first screen: what it is, the number, and a few words on how to read it."""

    label: str
    value: Cell
    hint: str = ""


@dataclass(frozen=True, slots=True)
class Opening:
    """The verdict on one run, with which its report opens.

    label: of the run.  answer: PASS, FAIL or CANNOT SAY.  why: one short sentence.
    not_measured: what is unknown.  settles: what would turn CANNOT SAY into an answer; "" else.
    details: each gate in full, and what it holds for.
    """

    label: str
    answer: str
    why: str
    not_measured: tuple[str, ...] = ()
    settles: str = ""
    details: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ReportContent:
    """Everything a report shows.

    verdict: one sentence with its numbers. notes: paragraphs in plain language: what this shows and what it does not.
    conditions: what the chart's numbers hold for (prompts, samples, decoding, level).
    headline_k: the k of `PromptView.leak`. leak_threshold: a text group counts as leaking at a score >= this.
    openings: the verdict on each run that had a gate.
    threshold: the bound of the gate on leak@k, drawn in the chart; NaN without one.  threshold_k: the k that it is for.
    limit: what a gate on the excess allows at each k, drawn beside it.
    protocol: (name, what it means). manifests: (run label, manifest) pairs. cost: (phase, seconds) pairs.
    created: a date, as text. summary, glossary: paragraphs and (term, meaning) for readers without the field's words.
    redacted: whether answers and texts are left out.
    """

    title: str
    verdict: str
    openings: tuple[Opening, ...] = ()
    threshold: float = math.nan
    threshold_k: int = 0
    limit: Curve | None = None
    notes: tuple[str, ...] = ()
    highlights: tuple[Highlight, ...] = ()
    curves: tuple[Curve, ...] = ()
    tables: tuple[Table, ...] = ()
    ladders: tuple[Ladder, ...] = ()
    histories: tuple[History, ...] = ()
    rounds: tuple[Table, ...] = ()
    trainings: tuple[Training, ...] = ()
    grids: tuple[Grid, ...] = ()
    prompts: tuple[PromptView, ...] = ()
    headline_k: int = 1
    leak_threshold: float = 1.0
    metric: str = "leak"
    conditions: str = "mean over the forget prompts. Bands: 95% intervals."
    protocol: tuple[str, str] = ("", "")
    manifests: tuple[tuple[str, Mapping[str, Any]], ...] = ()
    command: str = ""
    cost: tuple[tuple[str, float], ...] = ()
    created: str = ""
    summary: tuple[str, ...] = ()
    glossary: tuple[tuple[str, str], ...] = ()
    redacted: bool = False


def group_texts(
    texts: Sequence[str],
    scores: Iterable[float],
    logprobs: Iterable[float] | None = None,
    thoughts: Sequence[Thought] | None = None,
) -> tuple[TextGroup, ...]:
    """The distinct texts of one prompt's samples, most leaking first, then most frequent.

    texts, scores, logprobs, thoughts: one per sample. A text has one score (scorers are deterministic); its log-probability
    is the largest seen, since the same text may come from several token sequences, and its thought the most leaking one.
    """
    count: dict[str, int] = {}
    score: dict[str, float] = {}
    logprob: dict[str, float] = {}
    before: dict[str, dict[str, Thought]] = {}
    none: list[Thought | None] = [None] * len(texts)
    for text, s, lp, thought in zip(
        texts, scores, logprobs or [math.nan] * len(texts), none if thoughts is None else thoughts, strict=True
    ):
        count[text] = count.get(text, 0) + 1
        score[text] = float(s)
        best = logprob.get(text, math.nan)
        logprob[text] = float(lp) if math.isnan(best) or lp > best else best
        if thought is not None:
            before.setdefault(text, {}).setdefault(thought.text, thought)
    groups = [
        TextGroup(t, count[t], score[t], logprob[t], _most_leaking(before.get(t)), len(before.get(t, ())))
        for t in count
    ]
    return tuple(sorted(groups, key=lambda g: (-(g.score if g.score == g.score else -1.0), -g.count, g.text)))


def _most_leaking(thoughts: Mapping[str, Thought] | None) -> Thought | None:
    """The thought with the highest score, the first of equal ones."""
    return max((thoughts or {}).values(), key=lambda one: one.score if one.score == one.score else -1.0, default=None)
