"""`leakatk bench`: every number of a benchmark for one model, leak@k beside them, as rows of one results file.

Under `out`: cells/<name>-<hash>/ holds an audit run for each (model, prompts, decoding, seed, protocol), and the
evaluation of each model; results.parquet one row for each cell and core metric. What a cell already holds is not computed
again; a changed model, benchmark or setting is another cell.
"""

from __future__ import annotations

import dataclasses
import hashlib
import io
import json
import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow
import pyarrow.parquet

from leakatk import __version__
from leakatk.api import score
from leakatk.auditing import audit, default_scorers, powers_of_two
from leakatk.benchmarks.base import Benchmark
from leakatk.benchmarks.catalog import load_benchmark
from leakatk.data import write_atomic
from leakatk.errors import InputError
from leakatk.estimate.leak import excess, leak_at_k
from leakatk.evaluation.choices import evaluate_choices
from leakatk.evaluation.muse import evaluate_muse
from leakatk.evaluation.tofu import Evaluation, against, evaluate, utility_sets
from leakatk.models import LoadedModel, Template, load_model
from leakatk.privacy import privleak
from leakatk.protocols import PROTOCOLS, Protocol
from leakatk.report.content import Cell, Number, Table
from leakatk.runs.store import Run
from leakatk.sampling.decoding import Decoding
from leakatk.scorers.base import get_scorer

Row = dict[str, Any]
RESULTS = "results.parquet"
KEY = ("model_sha256", "benchmark_sha256", "protocol", "decoding", "seed", "scorer")


def bench(
    model: str | Path,
    benchmark: str | Benchmark,
    *,
    out: str | Path,
    reference: str | Path | None = None,
    protocol: str = "clean",
    n: int | None = None,
    decodings: Sequence[Decoding] | None = None,
    grid: bool = False,
    scorer: str | None = None,
    data: str | Path | None = None,
    seed: int = 0,
    device: str = "auto",
    dtype: str = "auto",
    level: float = 0.95,
    quiet: bool = False,
) -> list[Row]:
    """Audit and evaluate `model` (and `reference`, the retrained one) and return the rows written to out/results.parquet.

    decodings: default the protocol's headline, or its whole grid with `grid`.  n and scorer: default the protocol's, or the benchmark's.
    Raises UnknownNameError for an unknown benchmark, protocol or scorer before anything is computed.
    """
    rules = PROTOCOLS[protocol]
    count = rules.n if n is None else n
    if count < 1:
        raise InputError(f"n must be at least 1, got {count}.")
    bench_ = benchmark if isinstance(benchmark, Benchmark) else _load(benchmark, rules, data, seed)
    one = scorer or rules.scorer
    scorers = (one,) if one else scorers_of(bench_)
    for name in scorers:
        get_scorer(name)
    wanted = list(decodings) if decodings else list(rules.grid if grid else (rules.headline,))
    out = Path(out)
    rows: list[Row] = []
    retrained: Evaluation | None = None
    runs: dict[str, Path] = {}
    for source, role in ((reference, "retrained"), (model, "model")):
        if source is None:
            continue
        loaded = load_model(source, device=device, dtype=dtype, template=Template(as_text=rules.as_text))
        loaded = _published_template(loaded, bench_)
        evaluation = _evaluation(loaded, bench_, out, rules, seed)
        values = (
            against(evaluation, retrained).values if evaluation.ratios.size or evaluation.scores else evaluation.values
        )
        values = _with_muse_base(values, retrained)
        if role == "retrained":
            retrained = evaluation
        for decoding in wanted:
            place = out / "cells" / _cell(loaded, bench_, rules, decoding, seed)
            results = audit(
                loaded, bench_.forget, out=place, n=count, ks=powers_of_two(count), decoding=decoding, seed=seed,
                scorers=scorers, retain=utility_sets(bench_)["retain"], reference=runs.get(decoding.label), level=level,
                role=role, benchmark=bench_.name, protocol=protocol, quiet=quiet,
            )  # fmt: skip
            if role == "retrained":
                runs[decoding.label] = place
            common = {
                "model": str(source), "role": role, "model_sha256": loaded.fingerprint, "benchmark": bench_.name,
                "benchmark_sha256": bench_.fingerprint, "protocol": protocol, "decoding": decoding.label, "seed": seed,
                "n": count, "run": str(place),
            }  # fmt: skip
            rows += [{**common, "scorer": name, **_leak(results, name), **values} for name in scorers]
    write_rows(out / RESULTS, rows)
    return rows


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
        caption=f"{level:.0%} intervals over samples; the difference is paired by prompt.",
    )


def scorers_of(benchmark: Benchmark) -> tuple[str, ...]:
    """choice for lettered questions, ROUGE-L without stemmer for MUSE, else what an audit takes by itself."""
    if benchmark.name.startswith("wmdp/"):
        return ("rouge-l",) if benchmark.name.endswith(":open") else ("choice",)
    if benchmark.texts.get("privleak_forget"):
        return ("rouge-l:stem=no",)
    return default_scorers(benchmark.forget)


def read_rows(path: str | Path) -> list[Row]:
    """The rows of a results file, or of the one in a directory."""
    path = Path(path) / RESULTS if Path(path).is_dir() else Path(path)
    if not path.exists():
        raise InputError(f"{path}: no such file; `leakatk bench ... --out DIR` writes it.")
    try:
        return [dict(row) for row in pyarrow.parquet.read_table(path).to_pylist()]
    except (pyarrow.ArrowException, OSError) as error:
        raise InputError(
            f"{path} is not a readable results file ({error}); restore it or run the bench again."
        ) from None


def write_rows(path: Path, rows: Sequence[Row]) -> None:
    """Add rows to a results file; a row with the same key replaces the old one. Written whole or not at all."""
    kept = {tuple(row[k] for k in KEY): row for row in (read_rows(path) if path.exists() else [])}
    kept |= {tuple(row[k] for k in KEY): dict(row) for row in rows}
    columns = list(dict.fromkeys(column for row in kept.values() for column in row))
    table = pyarrow.Table.from_pylist([{column: row.get(column) for column in columns} for row in kept.values()])
    buffer = io.BytesIO()
    pyarrow.parquet.write_table(table, buffer)
    write_atomic(path, buffer.getvalue())


# layout -> the columns it shows, where they are there; {k} stands for every k
LAYOUTS: Mapping[str, tuple[str, ...]] = {
    "leak": ("greedy", "leak@{k}", "retain"),
    "excess": ("leak@{k}", "excess@{k}"),
    "tofu": ("model_utility", "forget_quality", "forget_prob", "forget_rouge", "forget_truth", "exact_memorization",
             "extraction_strength", "privleak", "over_unlearned", "forget_broken"),
    "privacy": ("auc_loss", "auc_zlib", "auc_min-k", "auc_min-k++", "tpr_min-k++", "privleak", "over_unlearned"),
    "muse": ("verbmem", "knowmem_forget", "knowmem_retain", "privleak"),
    "choices": ("accuracy", "probability", "chance"),
}  # fmt: skip


def results_table(rows: Sequence[Row], layout: str = "leak") -> Table:
    """Rows of a results file in one of the paper's layouts (`LAYOUTS`). A missing number is shown as such."""
    if layout not in LAYOUTS:
        raise InputError(f"Unknown table layout {layout!r}; known: {', '.join(LAYOUTS)}.")
    if not rows:
        raise InputError("The results file has no rows; run `leakatk bench` first.")
    ks = sorted({int(c.removeprefix("leak@")) for row in rows for c in row if re.fullmatch(r"leak@\d+", c)})
    names = [n.format(k=k) for n in LAYOUTS[layout] for k in (ks if "{k}" in n else (0,))]
    names = [n for n in names if any(_known(row, n) for row in rows)]
    if not names:
        raise InputError(f"These results have nothing for the layout {layout!r}; try another of {', '.join(LAYOUTS)}.")
    settings = (
        ("benchmark", "protocol", "decoding", "scorer") if layout in ("leak", "excess") else ("benchmark", "protocol")
    )
    # Numbers that do not come from samples are the same for every decoding and scorer: one row a model.
    rows = list({(row["model_sha256"], *(row[name] for name in settings)): row for row in rows}.values())
    # What is the same in every row stands in the title.
    labels = [name for name in settings if len({str(row[name]) for row in rows}) > 1]
    same = [str(rows[0][name]) for name in settings if name not in labels]
    body: list[tuple[Cell, ...]] = []
    for row in rows:
        name = Path(row["model"]).name
        name = name if row["role"] in (name, "model") else f"{name} ({row['role']})"
        body.append((name, *(str(row[label]) for label in labels), *(_number(row, column) for column in names)))
    return Table(title=", ".join(same), columns=("model", *labels, *names), rows=tuple(body))


def layouts_of(rows: Sequence[Row]) -> list[str]:
    """The layouts these rows have numbers for."""
    marks = {"tofu": "forget_prob", "privacy": "auc_loss", "muse": "verbmem", "choices": "accuracy"}
    return ["leak", *(name for name, mark in marks.items() if any(_known(row, mark) for row in rows))]


def transposed(table: Table) -> Table:
    """Rows for columns: readable in a terminal when there are many numbers and few models."""
    return Table(
        title=table.title,
        columns=("", *(" ".join(c for c in row if isinstance(c, str)) for row in table.rows)),
        rows=tuple(
            (name, *(row[i] for row in table.rows))
            for i, name in enumerate(table.columns)
            if all(isinstance(row[i], Number) for row in table.rows)
        ),
        caption=table.caption,
    )


def _known(row: Row, column: str) -> bool:
    return row.get(column) is not None and not math.isnan(row[column])


def _number(row: Row, name: str) -> Number:
    def get(column: str) -> float:
        value = row.get(column)
        return math.nan if value is None else float(value)

    return Number(get(name), get(f"{name} low"), get(f"{name} high"), digits=1 if name == "privleak" else 3)


def _load(name: str, rules: Protocol, data: str | Path | None, seed: int) -> Benchmark:
    """Only TOFU has published paraphrases of the questions."""
    return load_benchmark(name, data=data, seed=seed, ask=rules.ask if name.startswith("tofu/") else "question")


def _published_template(loaded: LoadedModel, benchmark: Benchmark) -> LoadedModel:
    """A base model is asked in the benchmark's own template, such as MUSE's few-shot one; a chat model in its own."""
    plain = benchmark.templates.get("forget")
    if plain is None or loaded.template.is_chat(loaded.tokenizer):
        return loaded
    return dataclasses.replace(loaded, template=Template(kind="plain", plain=plain))


def _hash(*parts: object) -> str:
    return hashlib.sha256(json.dumps(parts, sort_keys=True, default=str).encode()).hexdigest()[:16]


def _slug(text: str) -> str:
    return re.sub(r"[^A-Za-z0-9.]+", "-", text).strip("-") or "x"


def _cell(loaded: LoadedModel, benchmark: Benchmark, rules: Protocol, decoding: Decoding, seed: int) -> str:
    identity = _hash(loaded.fingerprint, benchmark.fingerprint, rules.name, decoding.as_dict(), seed, loaded.template)
    return f"{_slug(Path(loaded.name).name)}-{_slug(decoding.label)}-{identity}"


def _evaluation(loaded: LoadedModel, benchmark: Benchmark, out: Path, rules: Protocol, seed: int) -> Evaluation:
    """The evaluation of one model, from its cell when it is there."""
    identity = _hash("evaluation", __version__, loaded.fingerprint, benchmark.fingerprint, rules.name, loaded.template)
    path = out / "cells" / f"{_slug(Path(loaded.name).name)}-evaluation-{identity}.json"
    if path.exists():
        stored = json.loads(path.read_text())
        scores = {name: (np.array(pair[0]), np.array(pair[1])) for name, pair in stored["scores"].items()}
        return Evaluation(_from_json(stored["values"]), np.array(stored["ratios"], dtype=np.float64), scores)
    found = _evaluate(loaded, benchmark)
    content = {
        "values": {name: None if math.isnan(value) else value for name, value in found.values.items()},
        "ratios": found.ratios.tolist(),
        "scores": {name: [pair[0].tolist(), pair[1].tolist()] for name, pair in found.scores.items()},
    }
    write_atomic(path, json.dumps(content) + "\n")
    return found


def _from_json(values: Mapping[str, float | None]) -> dict[str, float]:
    return {name: math.nan if value is None else value for name, value in values.items()}


def _evaluate(loaded: LoadedModel, benchmark: Benchmark) -> Evaluation:
    """The table of the benchmark's family."""
    if benchmark.texts.get("privleak_forget"):
        return Evaluation(evaluate_muse(loaded, benchmark), np.zeros(0), {})
    if scorers_of(benchmark) == ("choice",):
        result = evaluate_choices(loaded, benchmark)
        values = {
            "accuracy": result.accuracy, "accuracy low": result.low, "accuracy high": result.high,
            "probability": result.probability, "chance": result.chance,
        }  # fmt: skip
        return Evaluation(values, np.zeros(0), {})
    return evaluate(loaded, benchmark)


def _with_muse_base(values: Mapping[str, float], retrained: Evaluation | None) -> Mapping[str, float]:
    """MUSE's PrivLeak against the retrained model's AUC."""
    if "auc" not in values or retrained is None:
        return values
    return {**values, "privleak": privleak(values["auc"], retrained.values["auc"])}


def _leak(results: Mapping[str, Any], name: str) -> Row:
    block = results["scorers"][name]
    row: Row = {"greedy": block["greedy"], "retain": block.get("retain")}
    for kind, curves in (("leak", block["curves"]), ("excess", block.get("excess"))):
        if curves is None:
            continue
        curve = curves["samples"]
        for k, value, low, high in zip(curve["k"], curve["value"], curve["low"], curve["high"], strict=True):
            row |= {f"{kind}@{k}": value, f"{kind}@{k} low": low, f"{kind}@{k} high": high}
    return row
