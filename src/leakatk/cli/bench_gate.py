"""Gates of `leakatk bench`: its decodings and ways of asking together, and where their verdict is kept."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from leakatk.cli import gating
from leakatk.errors import InputError

if TYPE_CHECKING:
    from leakatk.bench.results import Row
    from leakatk.benchmarks.base import Benchmark

FailIfWorseThan = Annotated[
    Path | None,
    typer.Option(
        "--fail-if-worse-than",
        metavar="RESULTS",
        help="The --out of an earlier bench: a gate on what leak@k has risen since, paired by prompt.",
    ),
]


def check_powers(gates: gating.Gates, n: int) -> None:
    """InputError for a k that a bench does not measure."""
    from leakatk.auditing.audit import powers_of_two

    for name, gate in (("--fail-above", gates.leak), ("--fail-excess-above", gates.excess)):
        if gate and gate.k not in powers_of_two(n):
            raise InputError(
                f"{name} {gate.k}:{gate.bound:g}: a bench has leak@k at the powers of two; give one of them as K."
            )


def earlier_runs(
    earlier: Path, benchmark: Benchmark, decodings: Sequence[str], *, label: str, scorer: str, k: int
) -> dict[str, Path]:
    """Decoding -> the run of the earlier bench with it. InputError, before anything is sampled, where it has none.

    decodings: as rows call them.
    label: what the model is called now, which chooses among several models of the earlier bench.
    scorer: the core metric, "" for the earlier bench's first.
    """
    from leakatk.bench.results import read_rows
    from leakatk.runs.store import Run

    rows = [row for row in read_rows(earlier) if row["role"] == "model"]
    asked = [row for row in rows if row["benchmark_sha256"] == benchmark.fingerprint]
    if not asked:
        known = ", ".join(sorted({row["benchmark"] for row in rows})) or "none"
        raise InputError(
            f"The earlier bench {earlier} has no model on these prompts of {benchmark.name} (it has: {known}); run that bench first."
        )
    models = {(row.get("label") or "", row["model_sha256"]) for row in asked}
    if len(models) > 1 and not (asked := [row for row in asked if label and row.get("label") == label]):
        labels = ", ".join(sorted(name or "one without a label" for name, _ in models))
        raise InputError(f"The earlier bench {earlier} has several models ({labels}); say which with --label.")
    found: dict[str, Path] = {}
    for name in decodings:
        rows = [row for row in asked if row["decoding"] == name and scorer in ("", row["scorer"])]
        if not rows:
            known = ", ".join(dict.fromkeys(f"{row['decoding']}, {row['scorer']}" for row in asked))
            raise InputError(
                f"The earlier bench {earlier} has no row for {name}{f', {scorer}' if scorer else ''} (it has: {known})."
            )
        places = {_place_of(row["run"], earlier) for row in rows}
        if len(places) > 1:
            raise InputError(
                f"The earlier bench {earlier} measured {name} with several seeds or protocols; give a directory with one."
            )
        found[name] = places.pop()
        if (n := Run.open(found[name]).n) < k:
            raise InputError(
                f"The earlier bench {earlier} has {n} samples a prompt, but k = {k}: lower k, or raise its --n."
            )
    return found


def _place_of(run: str, results: Path) -> Path:
    """The directory of a row's run, also where the results were moved together with it."""
    moved = (results if results.is_dir() else results.parent) / "cells" / Path(run).name
    for place in (Path(run), moved):
        if (place / "manifest.json").exists():
            return place
    raise InputError(f"The run {run} of {results} is gone; a comparison needs its samples, so run that bench again.")


def judge(
    gates: gating.Gates,
    rows: Sequence[Row],
    out: Path,
    *,
    asked: Sequence[str],
    compared: bool,
    earlier: Mapping[str, Path],
) -> dict[str, Any]:
    """The verdicts on the model's rows, written to OUT/verdict.json: gate, excess_gate, earlier_gate, verdict.

    asked: the ways of asking to look at. The runs may hold others, from an earlier command.
    compared: whether the first half of the rows are the retrained model's.
    earlier: as `earlier_runs` says.
    """
    from leakatk.auditing.against import judge_all_against
    from leakatk.auditing.verdict import judge_audits
    from leakatk.files.strict_json import strict_json
    from leakatk.files.writing import write_atomic
    from leakatk.runs.results import GateVerdict
    from leakatk.runs.verdicts import together

    scorer = rows[0]["scorer"]
    half = len(rows) // 2 if compared else 0
    own = [row for row in rows[half:] if row["scorer"] == scorer]
    retrained = {row["decoding"]: Path(row["run"]) for row in rows[:half] if row["scorer"] == scorer}
    found: dict[str, Any] = {}
    if gates.leak:
        found["gate"] = judge_audits([row["run"] for row in own], scorer, gates.leak, asked)
    for key, gate, others, name in (
        ("excess_gate", gates.excess, retrained, gating.OF_RETRAINED),
        ("earlier_gate", gates.worse, earlier, f"the earlier bench {gates.earlier.name if gates.earlier else ''}"),
    ):
        if gate:
            pairs = [(row["run"], others[row["decoding"]]) for row in own]
            found[key] = judge_all_against(pairs, scorer, gate, compared=name, probes=asked).as_dict()
    verdict = together([GateVerdict.from_dict(one) for one in found.values()])
    assert verdict is not None
    found["verdict"] = verdict.as_dict()
    # One gate stands as it is; of several the answer of all together comes first, so that none is taken for it.
    kept = found["gate"] if set(found) == {"gate", "verdict"} else {"answer": verdict.answer, **found}
    write_atomic(out / "verdict.json", strict_json(kept, indent=1) + "\n")
    return found
