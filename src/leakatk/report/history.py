"""History of a model: its audits on the same prompts by date, each step with its difference from the audit before."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from leakatk.errors import InputError
from leakatk.report.audited import Audited, at, curve_of
from leakatk.report.content import History, Moment, Number, Table
from leakatk.report.differences import differences


def histories(audits: Sequence[Audited], over: str, k: int, *, together: bool = False) -> tuple[History, ...]:
    """One for each model that was audited on two days or more, with the same prompts and decoding.

    together: all runs that are no yardstick are one model under changing names. InputError where these cannot be put in a row.
    """
    models = [audited for audited in audits if audited.results.role in ("model", "control")]
    groups: dict[tuple[str, ...], list[Audited]] = {}
    for audited in models:
        key = (audited.run.manifest.prompts_sha256, audited.results.decoding)
        groups.setdefault(key if together else (audited.own, *key), []).append(audited)
    if together:
        _check(models, len(groups))
    found = []
    for group in groups.values():
        if len({_when(audited).date() for audited in group}) > 1:
            name = group[0].own if len({audited.own for audited in group}) == 1 else ""
            found.append(_history(sorted(group, key=_when), name, over, k))
    return tuple(found)


def _check(models: Sequence[Audited], kinds: int) -> None:
    if kinds > 1:
        raise InputError(
            "--history puts runs in a row by date, and these were not asked the same prompts under the same decoding; give "
            "those that were."
        )
    if len({_when(audited).date() for audited in models}) < 2:
        raise InputError("--history needs audits of two days or more; give more runs, or leave it out.")


def _when(audited: Audited) -> datetime:
    return datetime.fromisoformat(audited.run.manifest.created)


def _history(runs: Sequence[Audited], name: str, over: str, k: int) -> History:
    scorer, level = runs[0].scorer, runs[0].results.level
    each = 1 - (1 - level) / (len(runs) - 1)
    moments, rows = [], []
    before: Audited | None = None
    for run in runs:
        value = at(curve_of(run, scorer, over), k)
        assert isinstance(value, Number), "k is one that all runs have"
        day = _when(run).date().isoformat()
        moments.append(Moment(day, run.label, value))
        steps = differences(run, before, [k], scorer=scorer, over=over, level=each) if before else []
        step: tuple[str | Number, str] = ("", "")
        if steps:
            step = (Number(steps[0].value, steps[0].low, steps[0].high), steps[0].words)
        rows.append((day, run.label, value, *step))
        before = run
    caption = f"Scorer {scorer}; {level:.0%} intervals over {over}; the steps are paired by prompt"
    caption += f", and their {len(runs) - 1} intervals hold together." if len(runs) > 2 else "."
    whole = differences(runs[-1], runs[0], [k], scorer=scorer, over=over, level=level)
    said = f"leak@{k} from {moments[0].when} to {moments[-1].when}: {whole[0].words}." if whole else ""
    return History(
        title=f"{name or 'The model'} over time",
        k=k,
        moments=tuple(moments),
        table=Table("", ("date", "run", f"leak@{k}", "since the one before", "in words"), tuple(rows), caption),
        notes=(said,) if said else (),
    )
