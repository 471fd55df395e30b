"""JUnit XML of verdicts: a suite a gate, a case a setting, as pipelines read test results. It holds no prompt and no answer.

FAIL is a failure. CANNOT SAY is an error, so that no pipeline takes it for a pass.
"""

from __future__ import annotations

from collections.abc import Sequence
from xml.etree import ElementTree

from leakatk.errors import InputError
from leakatk.report.opening import NAMES
from leakatk.runs.results import AuditResults, GateVerdict, SettingVerdict
from leakatk.runs.verdicts import gates_of
from leakatk.text import percent, visible

TAGS = {"FAIL": "failure", "CANNOT SAY": "error"}


def junit_xml(runs: Sequence[AuditResults]) -> str:
    """The XML document. InputError where no run had a gate."""
    root = ElementTree.Element("testsuites", name="leakatk")
    for results in runs:
        for gate in gates_of(results):
            root.append(_suite(results, gate))
    if not len(root):
        raise InputError("None of these runs had a gate, so there is no verdict; audit with --fail-above K:BOUND.")
    _count(root, list(root))
    ElementTree.indent(root)
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + ElementTree.tostring(root, encoding="unicode") + "\n"


def _suite(results: AuditResults, gate: GateVerdict) -> ElementTree.Element:
    """One gate: its settings, and the gate itself, whose answer is that of the settings together."""
    name = f"{results.label}: {NAMES[gate.against].format(k=gate.k, compared=gate.compared)}"
    suite = ElementTree.Element("testsuite", name=_text(name))
    kind = _text(f"leakatk.{gate.against or 'leak'}.{results.label}")
    for one in gate.settings:
        suite.append(_case(kind, one.name, one.answer, _measured(one, gate)))
    said = "; ".join(
        [
            gate.why or gate.reason,
            *(gate.not_measured or ()),
            *([f"to settle it: {gate.settles}"] if gate.settles else []),
        ]
    )
    suite.append(_case(kind, "all settings together", gate.answer, said))
    _count(suite, [suite])
    return suite


def _case(kind: str, name: str, answer: str, message: str) -> ElementTree.Element:
    case = ElementTree.Element("testcase", classname=kind, name=_text(name), time="0")
    if answer in TAGS:
        ElementTree.SubElement(case, TAGS[answer], type=answer, message=_text(message)).text = _text(message)
    else:
        ElementTree.SubElement(case, "system-out").text = _text(message)
    return case


def _measured(one: SettingVerdict, gate: GateVerdict) -> str:
    """One setting in a sentence."""
    of = f" above that of {gate.compared}" if gate.against else ""
    return (
        f"leak@{gate.k}{of} between {percent(one.low)} and {percent(one.high)}, bound {percent(gate.bound)}; "
        f"{one.prompts:,} prompts, {one.samples:,} answers; {one.unscored:,} prompts and {one.missing:,} answers without a score, "
        f"{one.cut:,} answers cut"
    )


def _count(element: ElementTree.Element, within: Sequence[ElementTree.Element]) -> None:
    cases = [case for suite in within for case in suite.iter("testcase")]
    element.set("tests", str(len(cases)))
    for tag, count in (("failure", "failures"), ("error", "errors")):
        element.set(count, str(sum(case.find(tag) is not None for case in cases)))


def _text(text: str) -> str:
    """What XML may hold: a name from elsewhere may bring control characters."""
    return visible(text, lines=False)
