"""Results file of a bench, and the papers' tables made from it.

It has one row a model, decoding and core metric."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow
import pyarrow.parquet

from leakatk.auditing.audit import powers_of_two
from leakatk.auditing.score import score
from leakatk.bench.columns import apart, better
from leakatk.bench.over_seeds import ENDS, seeds_sentence
from leakatk.bench.over_seeds import Row as Row
from leakatk.errors import InputError
from leakatk.estimate.leak import excess, leak_at_k
from leakatk.files.checksums import verify
from leakatk.files.tables import write_table
from leakatk.metrics.utility import NINE
from leakatk.probes import PROBES
from leakatk.registry import spec_name
from leakatk.report.content import Cell, Number, Table
from leakatk.report.differences import difference_at
from leakatk.report.leak_tables import TABLE_KS
from leakatk.runs.store import Run
from leakatk.text import percent, weights_sentence
from leakatk.workdir import claim

RESULTS = "results.parquet"
PROBE, WORST = "probe ", "worst case"  # columns of a way of asking: "probe prefix: leak@4"
KEY = ("model_sha256", "benchmark_sha256", "protocol", "decoding", "seed", "scorer")
WAIT = 60.0  # seconds until another process has added its rows, which takes it far less than one
NEEDED = (*KEY, "model", "role", "benchmark")
# What a model is: the one that is judged, the one before unlearning, the yardstick, or one trained as long with nothing added.
ROLES = ("model", "original", "retrained", "control")


def read_rows(path: str | Path) -> list[Row]:
    """The rows of a results file, or of the one in a directory."""
    path = Path(path) / RESULTS if Path(path).is_dir() else Path(path)
    if not path.exists():
        raise InputError(f"{path}: no such file; `leakatk bench ... --out DIR` writes it.")
    verify(path, "move it away and run the same benches again: what their cells hold is not computed again")
    try:
        rows = [dict(row) for row in pyarrow.parquet.read_table(path).to_pylist()]
    except (pyarrow.ArrowException, OSError) as error:
        raise InputError(
            f"{path} is not a readable results file ({error}); restore it or run the bench again."
        ) from None
    if rows and (lacking := [name for name in NEEDED if name not in rows[0]]):
        raise InputError(
            f"{path} is no results file of `leakatk bench`: it has no column {lacking[0]}; give the directory named with --out."
        )
    return rows


def write_rows(path: Path, rows: Sequence[Row]) -> None:
    """Add rows to a results file; a row with the same key replaces the old one. Written whole or not at all.

    Weights may stand there under several labels; a row without one gives way to a labelled one of the same key.

    Several processes may add to one file: each waits for its turn.
    """
    with claim(path.parent, wait=WAIT):
        _add_rows(path, rows)


def _add_rows(path: Path, rows: Sequence[Row]) -> None:
    kept = {_key(row): row for row in (read_rows(path) if path.exists() else [])}
    for row in rows:
        if row.get("label"):
            kept.pop((*_key(row)[:-1], ""), None)
        kept[_key(row)] = dict(row)
    columns = list(dict.fromkeys(column for row in kept.values() for column in row))
    table = pyarrow.Table.from_pylist([{column: row.get(column) for column in columns} for row in kept.values()])
    write_table(table, path)


def _key(row: Row) -> tuple[Any, ...]:
    return (*(row[k] for k in KEY), row.get("label") or "")


# layout -> the columns it shows, where they are there; {k} stands for every k
LAYOUTS: Mapping[str, tuple[str, ...]] = {
    "leak": ("greedy", "leak@{k}", "retain", "retain@1", "flagged", "false_refusals"),
    "fluency": ("forget_broken", "sampled_broken", "retain_broken", "sampled_cut", "sampled_empty"),
    "excess": ("leak@{k}", "excess@{k}"),
    "grid": (),
    "probes": (),
    "tofu": ("model_utility", "forget_quality", "forget_prob", "forget_rouge", "forget_truth", "forget_truth_paper",
             "exact_memorization",
             "extraction_strength", "privleak", "over_unlearned", "forget_broken"),
    "utility": ("model_utility", *NINE),
    "privacy": ("auc_loss", "auc_zlib", "auc_reference", "auc_grad-norm", "auc_min-k", "auc_min-k++", "tpr_loss",
                "tpr_zlib", "tpr_reference", "tpr_grad-norm", "tpr_min-k", "tpr_min-k++", "privleak",
                "privleak_membership", "over_unlearned"),
    "muse": ("verbmem", "knowmem_forget", "knowmem_retain", "privleak"),
    "choices": ("accuracy", "probability", "chance"),
    "sets": ("set:",),
    "tasks": ("task:",),
}  # fmt: skip
TITLES = {
    "leak": "leak@k", "fluency": "Broken text", "excess": "Excess over the retrained model", "tofu": "Utility and forgetting",
    "utility": "Model utility and its parts", "privacy": "Membership attacks and privacy leakage", "muse": "MUSE",
    "choices": "Multiple choice", "sets": "Further sets", "tasks": "Tasks of lm-eval",
}  # fmt: skip
SAMPLED = ("leak", "excess", "grid", "probes", "fluency")  # layouts whose numbers depend on the decoding and the scorer


def results_table(rows: Sequence[Row], layout: str = "leak") -> Table:
    """Rows of a results file in one of the paper's layouts (`LAYOUTS`). A missing number is shown as such.

    "grid" has one column a decoding, leak at the largest k; "probes" one row a way of asking. Models that over-unlearned are
    named under the table.
    """
    if layout not in LAYOUTS:
        raise InputError(f"Unknown table layout {layout!r}; known: {', '.join(LAYOUTS)}.")
    if not rows:
        raise InputError("The results file has no rows; run `leakatk bench` first.")
    ks = sorted({int(c.removeprefix("leak@")) for row in rows for c in row if re.fullmatch(r"leak@\d+", c)})
    if layout == "grid":
        return _grid_table(rows, f"leak@{ks[-1]}" if ks else "greedy")
    if layout == "probes" and ways_of(rows):
        return _probes_table(rows, ks)
    names = [name for column in LAYOUTS[layout] for name in _expanded(column, ks, rows)]
    names = [n for n in names if any(_known(row, n) for row in rows)]
    if not names:
        raise InputError(f"These results have nothing for the layout {layout!r}; try another of {', '.join(LAYOUTS)}.")
    settings = ("benchmark", "protocol", *(("decoding", "seed", "scorer") if layout in SAMPLED else ()))
    # Numbers that do not come from samples are the same for every decoding and scorer: one row a model.
    rows = list({(*_same_model(row), *(row[name] for name in settings)): row for row in rows}.values())
    labels, title = _labels(rows, settings)
    body: list[tuple[Cell, ...]] = [
        (_model(row), *(str(row[label]) for label in labels), *(_number(row, column) for column in names))
        for row in rows
    ]
    shown = tuple(name.removeprefix("set:").removeprefix("task:") for name in names)
    return Table(
        title=f"{TITLES[layout]}, {title}",
        columns=("model", *labels, *shown),
        rows=tuple(body),
        better=("", *("" for _ in labels), *map(better, names)),
        apart=apart([row["role"] for row in rows]),
        caption=" ".join(
            text
            for text in (
                seeds_sentence(rows, names),
                _flagged(rows) if "over_unlearned" in names else "",
                not_measured(rows) if layout in SAMPLED else "",
                weights_of(rows),
            )
            if text
        ),
    )


def not_measured(rows: Sequence[Row]) -> str:
    """What the numbers of the rows leave out: prompts without a score, and answers that are cut or empty."""
    said: dict[str, None] = {}
    if any(row.get("guard") for row in rows):
        said[
            "Behind a guard: flagged is the share of the forget prompts that it acts on, false_refusals that of the retain prompts."
        ] = None
    for row in rows:
        if _known(row, "unscored") and row["unscored"]:
            said[f"{row['scorer']} scores {row['prompts'] - row['unscored']} of {row['prompts']} prompts."] = None
        parts = [
            f"{percent(row[column])} of the answers {word}"
            for column, word in (("sampled_cut", "cut at the limit"), ("sampled_empty", "empty"))
            if _known(row, column) and row[column]
        ]
        if parts:
            said[f"{_model(row)}, {row['decoding']}: {', '.join(parts)}."] = None
    return " ".join(said)


def weights_of(rows: Sequence[Row]) -> str:
    """The hash of each model's weights, in a sentence; "" where no row has recorded it."""
    return weights_sentence({_model(row): str(row.get("weights_sha256") or "") for row in rows})


def default_layout(rows: Sequence[Row]) -> str:
    """ "grid" where there are several decodings, else "leak"."""
    return "grid" if len({row["decoding"] for row in rows}) > 1 else "leak"


def layouts_of(rows: Sequence[Row]) -> list[str]:
    """The layouts these rows have numbers for."""
    marks = {"tofu": "forget_prob", "privacy": "auc_loss", "muse": "verbmem", "choices": "accuracy"}
    found = ["leak", *(name for name, mark in marks.items() if any(_known(row, mark) for row in rows))]
    if default_layout(rows) == "grid":
        found.insert(1, "grid")
    if ways_of(rows):
        found.insert(1, "probes")
    return found + [name for name in ("sets", "tasks") if _expanded(LAYOUTS[name][0], (), rows)]


def _expanded(column: str, ks: Sequence[int], rows: Sequence[Row]) -> list[str]:
    """The columns that one name of a layout stands for."""
    if column.endswith(":"):
        return list(dict.fromkeys(c for row in rows for c in row if c.startswith(column) and not c.endswith(ENDS)))
    return [column.format(k=k) for k in ks] if "{k}" in column else [column]


def _grid_table(rows: Sequence[Row], column: str) -> Table:
    """A row a model and scorer, a column a decoding."""
    settings = ("benchmark", "protocol", "seed", "scorer")
    decodings = list(dict.fromkeys(str(row["decoding"]) for row in rows))
    cells: dict[tuple[str, ...], dict[str, Row]] = {}
    for row in rows:
        key = (*_same_model(row), *(str(row[name]) for name in settings))
        cells.setdefault(key, {})[str(row["decoding"])] = row
    labels, title = _labels(rows, settings)
    body: list[tuple[Cell, ...]] = []
    for found in cells.values():
        one = next(iter(found.values()))
        numbers = (_number(found.get(decoding, {}), column) for decoding in decodings)
        body.append((_model(one), *(str(one[label]) for label in labels), *numbers))
    columns = ("model", *labels, *decodings)
    return Table(
        title=f"{column}, {title}",
        columns=columns,
        rows=tuple(body),
        better=("", *("" for _ in labels), *(better(column) for _ in decodings)),
        apart=apart([next(iter(found.values()))["role"] for found in cells.values()]),
        caption=" ".join(filter(None, (seeds_sentence(rows, [column]), not_measured(rows), weights_of(rows)))),
    )


def ways_of(rows: Sequence[Row]) -> list[str]:
    """The probes of these rows, and the worst case last."""
    starts = dict.fromkeys(c.rpartition(": ")[0] for row in rows for c in row if c.startswith(PROBE))
    return sorted((start.removeprefix(PROBE) for start in starts), key=lambda name: name == WORST)


def _probes_table(rows: Sequence[Row], ks: Sequence[int]) -> Table:
    """A row a model, setting and way of asking: the question as it stands, each probe, the worst case over them."""
    settings = ("benchmark", "protocol", "decoding", "seed", "scorer")
    labels, title = _labels(rows, settings)
    few = [k for k in ks if k in TABLE_KS] or ks
    names = ["greedy", *(f"leak@{k}" for k in few), f"excess@{few[-1]}"]
    starts = {"as it stands": "", **{name: f"{PROBE}{name}: " for name in ways_of(rows)}}
    names = [name for name in names if any(_known(row, start + name) for row in rows for start in starts.values())]
    body: list[tuple[Cell, ...]] = [
        (
            _model(row),
            *(str(row[label]) for label in labels),
            way + " *" * _gives_answer(way),
            *(_number(row, start + name) for name in names),
        )
        for row in rows
        for way, start in starts.items()
        if any(_known(row, start + name) for name in names)
    ]
    asked = [start + name for start in starts.values() for name in names]
    caption = "The worst case looks at k samples of every way of asking, not at k in all."
    if any(map(_gives_answer, starts)):
        caption += " * gives the answer away: read its excess; it is no part of the worst case."
    caption = " ".join(
        text for text in (seeds_sentence(rows, asked), caption, not_measured(rows), weights_of(rows)) if text
    )
    columns = ("model", *labels, "asked", *names)
    shown_rows = [row for row in rows for start in starts.values() if any(_known(row, start + name) for name in names)]
    return Table(
        title=f"By the way of asking, {title}",
        columns=columns,
        rows=tuple(body),
        caption=caption,
        better=("", *("" for _ in labels), "", *map(better, names)),
        apart=apart([row["role"] for row in shown_rows]),
    )


def _gives_answer(way: str) -> bool:
    """Whether the answer stands in what this probe asks; a probe that is not known here is taken as one that does not."""
    name = spec_name(way)
    return name in PROBES and PROBES[name].gives_answer


def _labels(rows: Sequence[Row], settings: Sequence[str]) -> tuple[list[str], str]:
    """The settings that differ between rows (columns of their own), and those that do not as a title."""
    labels = [name for name in settings if len({str(row[name]) for row in rows}) > 1]
    same = (
        f"seed{'s' * (', ' in str(rows[0][name]))} {rows[0][name]}" if name == "seed" else str(rows[0][name])
        for name in settings
        if name not in labels
    )
    return labels, ", ".join(same)


def _same_model(row: Row) -> tuple[str, str]:
    return row["model_sha256"], row.get("label") or ""


def _model(row: Row) -> str:
    name = row.get("label") or Path(row["model"]).name
    return name if row["role"] in (name, "model") else f"{name} ({row['role']})"


def _flagged(rows: Sequence[Row]) -> str:
    """Which models are over-unlearned."""
    names = list(
        dict.fromkeys(_model(row) for row in rows if _known(row, "over_unlearned") and row["over_unlearned"] > 0.5)
    )
    if not names:
        return ""
    return f"Over-unlearned, most forget texts look less known than to the retrained model: {', '.join(names)}."


def _known(row: Row, column: str) -> bool:
    return row.get(column) is not None and not math.isnan(row[column])


def _number(row: Row, name: str) -> Number:
    def get(column: str) -> float:
        value = row.get(column)
        return math.nan if value is None else float(value)

    digits = 1 if name.startswith("privleak") else 3
    return Number(get(name), get(f"{name} low"), get(f"{name} high"), digits=digits, sd=get(f"{name} sd"))


def _lost(runs: Sequence[Run], shared: Sequence[str], scorer: str) -> str:
    """Prompts of either run that a comparison leaves out, as a sentence; "" where there are none."""
    lost = {i for run in runs for i in run.prompt_ids} - set(shared)
    return f" {len(lost)} prompts are left out: not in both runs, or not scored by {scorer}." if lost else ""


def compare(a: str | Path, b: str | Path, *, scorer: str, level: float = 0.95) -> Table:
    """leak@k of two runs on the prompts they share, and the difference a - b, paired by prompt; intervals over samples.

    Raises InputError when they share no prompt on which the scorer is defined.
    """
    runs = [Run.open(a), Run.open(b)]
    scores = [score(run, scorer) for run in runs]
    rows = [
        {i: r for r, i in enumerate(run.prompt_ids) if np.isfinite(s[r]).any()}
        for run, s in zip(runs, scores, strict=True)
    ]
    shared = [i for i in rows[0] if i in rows[1]]
    if not shared:
        raise InputError(f"{a} and {b} share no prompt on which {scorer} is defined; compare runs of one benchmark.")
    left, right = (s[[row[i] for i in shared]] for s, row in zip(scores, rows, strict=True))
    ks = powers_of_two(min(left.shape[1], right.shape[1]))
    found = (
        leak_at_k(left, ks, level=level, missing="allow"),
        leak_at_k(right, ks, level=level, missing="allow"),
        excess(left, right, ks, level=level, missing="allow"),
    )
    return Table(
        title=f"{scorer} on {len(shared)} shared prompts",
        columns=("k", Path(a).name, Path(b).name, "difference"),
        rows=tuple((str(k), *(Number(c.value[i], c.low[i], c.high[i]) for c in found)) for i, k in enumerate(ks)),
        caption=f"{Path(a).name} against {Path(b).name} at k = {ks[-1]}: {difference_at(found[2], -1).words}. {level:.0%} intervals over samples; the difference is paired "
        f"by prompt, a point is a hundredth.{_lost(runs, shared, scorer)}",
    )
