"""Verdict of all gates of an audit together, from what results.json holds of each."""

from __future__ import annotations

from collections.abc import Sequence

from leakatk.runs.results import Answer, AuditResults, GateVerdict, Verdict

ORDER: tuple[Answer, ...] = ("FAIL", "CANNOT SAY", "PASS")
NAMES = {None: "leak", "retrained": "excess", "earlier": "earlier run"}


def gates_of(results: AuditResults) -> list[GateVerdict]:
    """The gates that an audit had: on leak@k itself, on the excess, on what is worse than before."""
    return [gate for gate in (results.gate, results.excess_gate, results.earlier_gate) if gate is not None]


def together(gates: Sequence[GateVerdict]) -> Verdict | None:
    """FAIL if one gate fails, PASS if all pass, else CANNOT SAY; None without a gate.

    The first gate with that answer says why. What would settle a CANNOT SAY is needed by each gate that cannot say.
    """
    if not gates:
        return None
    answer = min((gate.answer for gate in gates), key=ORDER.index)
    first = next(gate for gate in gates if gate.answer == answer)
    several = len(gates) > 1
    not_measured: dict[str, str] = {}  # a sentence -> the same with the gate that it is of, where it is not of all
    for gate in gates:
        for said in gate.not_measured or ():
            not_measured.setdefault(said, f"{said} ({NAMES[gate.against]})" if several and gate.against else said)
    open_ = [gate for gate in gates if gate.answer == answer and gate.settles]
    settles = [
        f"{NAMES[gate.against].capitalize()}: {gate.settles}" if len(open_) > 1 else gate.settles for gate in open_
    ]
    return Verdict(
        answer=answer,
        why=first.why or first.reason,
        not_measured=list(not_measured.values()),
        settles=" ".join(str(said) for said in settles) if answer == "CANNOT SAY" else "",
    )
