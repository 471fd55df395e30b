"""Opening of a report: the verdict in words and colour, why, what was not measured and what would settle it."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.text import Text

from leakatk.report.audited import Audited
from leakatk.report.content import Opening
from leakatk.report.headline import gate_line, held_for
from leakatk.runs.results import AuditResults
from leakatk.runs.verdicts import gates_of, together
from leakatk.text import visible

STYLES = {"PASS": "bold green", "FAIL": "bold red", "CANNOT SAY": "bold yellow"}
WHOLE = "nothing; every answer was scored to its end"
NAMES = {None: "leak@{k}", "retrained": "Excess over the retrained model", "earlier": "Compared with {compared}"}


def openings_of(audits: Sequence[Audited]) -> tuple[Opening, ...]:
    """The openings of the runs that had a gate."""
    found = (opening_of(one.results) for one in audits)
    return tuple(one for one in found if one is not None)


def opening_of(results: AuditResults) -> Opening | None:
    """The opening of one run; None without a gate. Runs of former versions say why in their own words."""
    gates = gates_of(results)
    verdict = results.verdict or together(gates)
    if verdict is None:
        return None
    only = held_for(results)
    details = [gate_line(results)] if results.gate else []
    details += [
        f"{NAMES[gate.against].format(k=gate.k, compared=gate.compared)}: {gate.answer}; {gate.reason}."
        for gate in gates
        if gate.against
    ]
    told = all(gate.not_measured is not None for gate in gates)
    return Opening(
        label=results.label,
        answer=verdict.answer,
        why=verdict.why,
        not_measured=(*verdict.not_measured, *([only] if only else [])) or ((WHOLE,) if told else ()),
        settles=verdict.settles,
        details=tuple(details),
    )


def print_openings(openings: Sequence[Opening], console: Console) -> None:
    """Print them for people, the answer in its colour. Text is shown as text."""
    for one in openings:
        line = Text(one.answer, style=STYLES.get(one.answer, "bold"))
        name = f" {visible(one.label, lines=False)}" if len(openings) > 1 else ""
        line.append(f"{name}: {visible(one.why, lines=False)}.", style="not bold default")
        console.print(line, soft_wrap=True)
        for said in lines(one):
            console.print(Text(visible(said, lines=False)), soft_wrap=True)
        console.print()


def lines(one: Opening) -> list[str]:
    """What stands below the answer."""
    found = [f"Not measured: {'; '.join(one.not_measured)}."] if one.not_measured else []
    return found + ([f"What would settle it: {one.settles}"] if one.settles else [])
