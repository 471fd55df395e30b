"""JUnit XML: a pipeline that counts failures and errors sees what the gate said, and nothing of the prompts."""

from dataclasses import replace
from xml.etree import ElementTree

import pytest

from leakatk.errors import InputError
from leakatk.report.junit import junit_xml
from leakatk.runs.results import AuditResults, SettingVerdict
from tests.runs.test_verdicts import FAIL, OPEN, PASS

ONE = SettingVerdict(
    name="T=1", answer="PASS", low=0.0, high=0.05, high_if_clean=0.05, prompts=10, samples=640, unscored=1, missing=2, cut=3,
    ignored=0,
)  # fmt: skip
LEAST = AuditResults(label="npo\x1b<", decoding="T=1", m=1, n=8, level=0.95, scorers={})


def test_what_a_pipeline_counts():
    results = replace(
        LEAST,
        gate=replace(PASS, settings=[ONE]),
        excess_gate=replace(FAIL, settings=[replace(ONE, answer="FAIL", low=0.2, high=0.3), ONE]),
        earlier_gate=replace(OPEN, settings=[replace(ONE, answer="CANNOT SAY")]),
    )
    root = ElementTree.fromstring(
        junit_xml([results, replace(LEAST, label="other", gate=replace(PASS, settings=[ONE]))])
    )
    counted = [tuple(suite.get(name) for name in ("tests", "failures", "errors")) for suite in (root, *root)]
    assert counted == [("9", "2", "2"), ("2", "0", "0"), ("3", "2", "0"), ("2", "0", "2"), ("2", "0", "0")]
    assert [suite.get("name") for suite in root] == [
        "npo␛<: leak@8",
        "npo␛<: Excess over the retrained model",
        "npo␛<: Compared with x",
        "other: leak@8",
    ]
    case = root[1].find("testcase")
    assert (case.get("classname"), case.get("name")) == ("leakatk.retrained.npo␛<", "T=1")
    assert case.find("failure").get("message") == (
        "leak@8 above that of the retrained model between 20% and 30%, bound 10%; 10 prompts, 640 answers; 1 prompts and 2 answers "
        "without a score, 3 answers cut"
    )
    last = root[2].findall("testcase")[-1]
    assert last.get("name") == "all settings together"
    assert last.find("error").get("message") == "who knows; 1 prompt has no score; to settle it: About 90 samples."
    assert root[0].findall("testcase")[-1].find("system-out").text == "short; 1 prompt has no score"


def test_a_run_without_a_gate_is_no_pass():
    with pytest.raises(InputError, match="None of these runs had a gate"):
        junit_xml([LEAST])
