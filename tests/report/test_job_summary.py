"""Job summary: the verdict in Markdown, in which no name is markup."""

from dataclasses import replace

import pytest

from leakatk.errors import InputError
from leakatk.report.job_summary import append, job_summary
from tests.report.test_junit import LEAST, ONE
from tests.runs.test_verdicts import OPEN, PASS


def test_the_verdict_comes_first_then_the_settings():
    gate = replace(PASS, settings=[ONE, replace(ONE, name="role|<b>: T=1", high=0.25)])
    text = job_summary([replace(LEAST, label="npo *x*", gate=gate, earlier_gate=replace(OPEN, settings=[ONE]))])
    assert text.splitlines()[:7] == [
        "### ⚠️ CANNOT SAY: npo \\*x\\*",
        "",
        "**Who knows.**",
        "",
        "Not measured: 1 prompt has no score.",
        "",
        "What would settle it: About 90 samples.",
    ]
    assert "| T=1 | PASS | 0.000 | 0.050 | 1 | 2 | 3 |" in text
    assert "| role\\|&lt;b&gt;: T=1 | PASS | 0.000 | 0.250 | 1 | 2 | 3 |" in text
    assert text.index("**leak@8, bound 0.1**") < text.index("**leak@8 above that of x, bound 0.1**")
    assert "all of it; it holds for T=1, role\\|&lt;b&gt;: T=1." in text


def test_it_is_appended(tmp_path):
    append(tmp_path / "s.md", "one")
    append(tmp_path / "s.md", "zwei ✅")
    assert (tmp_path / "s.md").read_text(encoding="utf-8") == "one\nzwei ✅\n"
    with pytest.raises(InputError, match="Cannot write"):
        append(tmp_path, "x")


def test_a_run_without_a_gate_is_no_pass():
    with pytest.raises(InputError, match="None of these runs had a gate"):
        job_summary([LEAST])
