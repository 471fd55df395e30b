"""Job summary in Markdown: the verdict on audited runs, as a pipeline shows it. It holds numbers and names, no prompt and no answer."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from leakatk.errors import InputError
from leakatk.report.content import Number, Table
from leakatk.report.opening import lines, opening_of
from leakatk.report.table import escaped, to_markdown
from leakatk.runs.results import AuditResults, GateVerdict
from leakatk.runs.verdicts import gates_of

SIGNS = {"PASS": "✅", "FAIL": "❌", "CANNOT SAY": "⚠️"}


def job_summary(runs: Sequence[AuditResults]) -> str:
    """The verdict on each run, then the settings that its gates looked at. InputError where no run had a gate."""
    parts = []
    for results in runs:
        one = opening_of(results)
        if one is None:
            continue
        parts.append(f"### {SIGNS[one.answer]} {one.answer}: {escaped(results.label)}\n")
        parts.append(f"**{escaped(one.why[:1].upper() + one.why[1:])}.**\n")
        parts += [f"{escaped(said)}\n" for said in lines(one)]
        parts += [to_markdown(settings_table(gate)) for gate in gates_of(results)]
        parts += [f"{escaped(said)}\n" for said in one.details]
    if not parts:
        raise InputError("None of these runs had a gate, so there is no verdict; audit with --fail-above K:BOUND.")
    return "\n".join(parts)


def settings_table(gate: GateVerdict) -> Table:
    """What one gate looked at: the interval of each setting, its answer, what is unknown of it."""
    what = f"leak@{gate.k}" + (f" above that of {gate.compared}" if gate.against else "")
    rows = tuple(
        (
            one.name,
            one.answer,
            Number(one.low),
            Number(one.high),
            Number(one.unscored, digits=0),
            Number(one.missing, digits=0),
            Number(one.cut, digits=0),
        )
        for one in gate.settings
    )
    columns = ("setting", "answer", "at least", "at most", "prompts unscored", "answers unscored", "answers cut")
    return Table(f"{what}, bound {gate.bound:g}", columns, rows)


def append(path: str | Path, text: str) -> None:
    """Add the text at the end of a file, as the job summaries of pipelines are written. InputError where that fails."""
    try:
        with Path(path).open("a", encoding="utf-8") as file:
            file.write(f"{text}\n")
    except OSError as error:
        raise InputError(f"Cannot write {path}: {error.strerror or error}; choose another file.") from error
