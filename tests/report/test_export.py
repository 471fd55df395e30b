"""The report as JSON: plain numbers, null for what is missing; and what reports need not import."""

import json
import math
import subprocess
import sys
from pathlib import Path

import pytest

from leakatk.report.content import Number, ReportContent, Table
from leakatk.report.export import to_json
from tests.report.hostile import hostile_report
from tests.report.samples import demo


def test_json_keeps_numbers_and_makes_missing_null() -> None:
    table = Table("t", ("a", "b"), (("x", Number(math.nan, 0.1, 0.2)),))
    content = ReportContent(title="t", verdict="v", tables=(table,), manifests=(("m", {"path": Path("a"), "n": 3}),))
    value = json.loads(to_json(content), parse_constant=lambda name: pytest.fail(name))
    assert value["tables"][0]["rows"][0][1] == {"value": None, "low": 0.1, "high": 0.2, "digits": 3, "sd": None}
    assert value["manifests"] == [{"label": "m", "manifest": {"path": "a", "n": 3}}]
    assert json.loads(to_json(demo(), prompts=False))["prompts"] == []
    json.loads(to_json(hostile_report(lambda text: text)))


def test_reports_need_no_torch_and_plots_no_matplotlib_until_used() -> None:
    code = (
        "import sys, leakatk.report.html, leakatk.report.table, leakatk.report.plots, leakatk.report.export;"
        "print([m for m in ('torch', 'transformers', 'matplotlib') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
