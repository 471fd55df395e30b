"""Verdict of all gates of an audit together, from what results.json holds of each."""

from __future__ import annotations

from collections.abc import Sequence

from leakatk.runs.results import Answer, AuditResults, GateVerdict, Verdict

ORDER: tuple[Answer, ...] = ("FAIL", "CANNOT SAY", "PASS")


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
    open_ = [gate.settles for gate in gates if gate.answer == answer and gate.settles]
    return Verdict(
        answer=answer,
        why=first.why or first.reason,
        not_measured=list(dict.fromkeys(said for gate in gates for said in gate.not_measured or ())),
        settles=" ".join(dict.fromkeys(open_)) if answer == "CANNOT SAY" else "",
    )
