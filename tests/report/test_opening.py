"""Opening: the verdict comes before every number, in words and colour, in the page and in the terminal."""

import io
import re
from dataclasses import replace

import pytest
from rich.console import Console

from leakatk.auditing.settings import Gate
from leakatk.report.assemble import content_of, print_runs
from leakatk.report.content import Opening
from leakatk.report.headline import gate_line
from leakatk.report.html import render
from leakatk.report.opening import lines, opening_of, openings_of, print_openings
from leakatk.runs.results import CurvesOnly
from tests.report.audits import changed, curve, made
from tests.runs.test_verdicts import FAIL, OPEN

SAID = Opening(
    "npo", "CANNOT SAY", "at most 5% may leak", ("2 of 10 prompts have no score", "one wording"), "About 90 samples."
)


@pytest.fixture(scope="module")
def gated(tmp_path_factory):
    return made(tmp_path_factory.mktemp("run") / "gated", gate=Gate(4, 0.05), label="npo")


def test_the_opening_is_that_of_the_results(gated):
    one = opening_of(gated.results)
    gate = gated.results.gate
    assert (one.label, one.answer, one.why) == ("npo", "FAIL", gate.why)
    assert re.fullmatch(r"at most 5% of the questions may leak within 4 tries; between \d+% and \d+% do", one.why)
    assert one.not_measured == ("asked in one wording only",)
    assert one.details == (gate_line(gated.results),)
    assert openings_of([gated, replace(gated, results=replace(gated.results, gate=None, verdict=None))]) == (one,)


def test_all_gates_are_told_and_the_one_that_decides_says_why(gated):
    results = replace(gated.results, excess_gate=FAIL, earlier_gate=OPEN, verdict=None, gate=None, wordings=None)
    one = opening_of(results)
    assert (one.answer, one.why, one.settles) == ("FAIL", FAIL.why, "")
    assert one.not_measured == ("1 prompt has no score (earlier run)",)
    assert one.details == (
        "Excess over the retrained model: FAIL; all of it.",
        "Compared with x: CANNOT SAY; all of it.",
    )


def test_nothing_unknown_is_said_too_but_not_of_a_run_that_did_not_record_it(gated):
    gate = replace(gated.results.gate, not_measured=[])
    results = replace(gated.results, gate=gate, verdict=None, wordings=None)
    assert opening_of(results).not_measured == ("nothing; every answer was scored to its end",)
    old = replace(gate, not_measured=None, why=None)
    told = opening_of(replace(results, gate=old))
    assert (told.not_measured, told.why) == ((), gate.reason)


def test_the_page_opens_with_it(gated):
    page = render(content_of([gated]))
    verdict, numbers = page.index('<section class="verdict fail"'), page.index("<h1>")
    assert verdict < numbers < page.index("<svg")
    assert "gate: at most 5.0% at k = 4" in page
    assert page.count('<path class="gate mark"') >= 1
    assert ".verdict.fail{--verdict:#b3261e}" in page
    shown = render(replace(content_of([gated]), openings=(replace(SAID, why="<script>x", label="<b>"), SAID)))
    assert '<section class="verdict cannot-say"' in shown
    assert "&lt;script&gt;x" in shown
    assert "<script>x" not in shown
    assert "Not measured: 2 of 10 prompts have no score; one wording." in shown
    assert "What would settle it: About 90 samples." in shown


def test_what_a_gate_on_the_excess_allows_is_drawn_above_the_retrained_model(gated):
    theirs = CurvesOnly(curves={"samples": curve(0.1, 0.25, 0.95)})
    content = content_of([changed(gated, block={"retrained": theirs}, excess_gate=FAIL)])
    assert content.limit.value == (0.2, 0.35, 1.0), "never above everything"
    assert "gate: at most 10 points above the retrained model at k = 8" in render(content)
    assert content_of([gated]).limit is None


def test_the_terminal_opens_with_it(gated, capsys):
    print_runs([gated.run.path])
    out = capsys.readouterr().out
    assert out.startswith("FAIL: at most 5% of the questions may leak within 4 tries; ")
    assert out.index("Not measured: asked in one wording only.") < out.index("leak@4")
    print_runs([gated.run.path], style="csv")
    assert "FAIL" not in capsys.readouterr().out


@pytest.mark.parametrize(("answer", "colour"), [("PASS", "32"), ("FAIL", "31"), ("CANNOT SAY", "33")])
def test_the_answer_has_its_colour_and_names_are_harmless(answer, colour):
    out = io.StringIO()
    console = Console(file=out, force_terminal=True, color_system="standard", width=40)
    print_openings([replace(SAID, answer=answer), replace(SAID, label="a\x1b[31m[red]b")], console)
    text = out.getvalue()
    assert text.startswith(f"\x1b[1;{colour}m{answer}\x1b[0m")
    assert "a␛[31m[red]b" in text
    assert lines(SAID) == [
        "Not measured: 2 of 10 prompts have no score; one wording.", "What would settle it: About 90 samples.",
    ]  # fmt: skip
    assert lines(replace(SAID, not_measured=(), settles="")) == []
