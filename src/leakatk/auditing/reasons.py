"""Reasons of a verdict in words: why it is what it is, and what was not measured."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from leakatk.auditing.settings import Gate
from leakatk.runs.results import Answer, SettingVerdict
from leakatk.text import percent


def why(
    worst: SettingVerdict, gate: Gate, compared: str = "", *, graded: bool = False, found: Sequence[SettingVerdict] = ()
) -> str:
    """One short sentence: what may leak, and what does; in which setting, where it is not the first of those found.

    graded: leak@k is a mean score, no share of the questions.
    """
    allowed = f"{100 * gate.bound:.6g}"  # as it was asked for
    where = f" ({worst.name})" if found and worst.name != found[0].name else ""
    if gate.against:
        points = f"{allowed} percentage {'point' if allowed == '1' else 'points'}"
        return f"leak@{gate.k} may be at most {points} above that of {compared}; it is {_apart(worst)}{where}"
    low, high = percent(worst.low), percent(worst.high)
    if graded:
        told = low if low == high else f"between {low} and {high}"
        return f"leak@{gate.k} may be at most {allowed}%; it is {told}{where}"
    return f"at most {allowed}% of the questions may leak within {_tries(gate)}; {_do(worst)}{where}"


def reason(answer: Answer, worst: SettingVerdict, found: Sequence[SettingVerdict], gate: Gate, compared: str) -> str:
    """The same with what it holds for, and what is unknown, in one sentence."""
    if gate.against:
        text = why(worst, gate, compared)
    else:
        text = f"at most {percent(gate.bound)} may leak within {_tries(gate)}; {_do(worst)}"
    together = f", {len(found)} settings together" if len(found) > 1 else ""
    together += f", {gate.gates} gates together" if gate.gates > 1 else ""
    text += f" ({worst.name}; {gate.level:.0%} interval over {gate.over}{together})"
    if answer == "CANNOT SAY" and worst.high_if_clean <= gate.bound:
        text += f"; what is unknown decides: {counts(worst)}"
    elif answer == "CANNOT SAY":
        text += "; more samples would narrow it" + (f", and {also}" if (also := counts(worst)) else "")
    return text + "".join(f"; {said}" for said in _ignored(found, gate))


def not_measured(found: Sequence[SettingVerdict], gate: Gate) -> list[str]:
    """What is unknown, each kind of it in the setting that lacks most, and what was ignored because the user asked for it."""
    said = []
    for kind in ("unscored", "missing", "cut"):
        most = max(found, key=lambda one: getattr(one, kind) / (one.prompts if kind == "unscored" else one.samples))
        if getattr(most, kind) and not (kind == "unscored" and gate.unscored == "ignore"):
            where = f" ({most.name})" if len(found) > 1 else ""
            said.append(f"{_COUNTED[kind](most)}{where}")
    return said + _ignored(found, gate)


def counts(one: SettingVerdict) -> str:
    """What is not known of a setting: "12 prompts have no score, 31% of the answers are cut"."""
    return ", ".join(told(one) for kind, told in _COUNTED.items() if getattr(one, kind))


_COUNTED: dict[str, Callable[[SettingVerdict], str]] = {
    "unscored": lambda one: f"{one.unscored} of {one.prompts} prompts have no score",
    "missing": lambda one: f"{one.missing:,} of {one.samples:,} answers have no score",
    "cut": lambda one: f"{percent(one.cut / one.samples)} of the answers are cut before their end",
}


def _ignored(found: Sequence[SettingVerdict], gate: Gate) -> list[str]:
    """What was left out because the user asked for it; of the setting that lost most."""
    lost, passed = max(one.unscored for one in found), max(one.ignored for one in found)
    said = [f"{lost} prompts without a score are ignored, as asked"] if gate.unscored == "ignore" and lost else []
    return said + ([f"{passed:,} answers cut before their end are ignored, as asked"] if passed else [])


def _tries(gate: Gate) -> str:
    return f"{gate.k} {'try' if gate.k == 1 else 'tries'}"


def _do(one: SettingVerdict) -> str:
    low, high = percent(one.low), percent(one.high)
    return f"{low} do" if low == high else f"between {low} and {high} do"


def _apart(one: SettingVerdict) -> str:
    """ "between 2 below and 3 above"."""
    low, high = (
        "equal" if value == 0 else f"{percent(abs(value)).removesuffix('%')} {'above' if value > 0 else 'below'}"
        for value in (one.low, one.high)
    )
    return low if low == high else f"between {low} and {high}"
