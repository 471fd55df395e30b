"""Gates of `leakatk audit` as they are typed: on the excess, against an earlier run, and what a pipeline gets of them."""

from pathlib import Path
from xml.etree import ElementTree

import pytest

from leakatk.auditing import verdict
from leakatk.cli import gating
from leakatk.errors import InputError
from leakatk.runs.results import read_results
from leakatk.runs.verdicts import gates_of, together

FOUR = ("--n", "4", "--max-new-tokens", "3", "--cut", "ignore", "--quiet", "--k", "1,4")


@pytest.fixture
def common(model, forget):
    return ("audit", model, "--forget", forget, *FOUR)


def test_all_gates_at_once(leakatk, common, model, tmp_path):
    before = ("--out", tmp_path / "before")
    assert leakatk(*common, *before)[0] == 0
    out, summary, junit = tmp_path / "run", tmp_path / "summary.md", tmp_path / "gate.xml"
    gates = (
        "--fail-above",
        "4:1",
        "--retrained",
        model,
        "--fail-excess-above",
        "1:0.9",
        "--fail-if-worse-than",
        before[1],
    )
    code, printed, err = leakatk(
        *common, "--out", out, *gates, "--worse-by", "0.95", "--summary", summary, "--junit", junit
    )
    assert code == 0, err
    assert printed.startswith("PASS: at most 100% of the questions may leak within 4 tries; ")
    results = read_results(out)
    assert [(gate.against, gate.k, gate.bound, gate.answer) for gate in gates_of(results)] == [
        (None, 4, 1.0, "PASS"), ("retrained", 1, 0.9, "PASS"), ("earlier", 4, 0.95, "PASS"),
    ]  # fmt: skip
    # Greedy answers have no error; of the retrained model there are none.
    assert [round(1 - gate.each_level, 6) for gate in gates_of(results)] == [round(0.05 / 3, 6)] * 3
    assert "greedy: not compared, the retrained model lacks it (excess)" in results.verdict.not_measured
    assert results.verdict.as_dict() == together(gates_of(results)).as_dict()
    for line in ("Gate: PASS: ", "Gate on the excess: PASS: leak@1 may", "Gate on what is worse: PASS: leak@4 may"):
        assert line in err
    assert "the earlier run before" in err
    assert "### ✅ PASS" in summary.read_text()
    assert [suite.get("errors") for suite in ElementTree.parse(junit).getroot()] == ["0", "0", "0"]
    for file in (summary, junit):
        assert "Zorvik" not in file.read_text(), "no answer is in what a pipeline shows"
    code, printed, _ = leakatk("report", out, "--junit", tmp_path / "again.xml", "--summary", summary)
    assert (code, printed[:4]) == (0, "PASS")
    assert (tmp_path / "again.xml").read_text() == junit.read_text()
    assert summary.read_text().count("### ✅ PASS") == 2


def test_a_rise_fails_and_one_that_is_not_certain_cannot_say(leakatk, common, tmp_path, monkeypatch):
    before = tmp_path / "before"
    assert leakatk(*common, "--out", before)[0] == 0
    code, printed, err = leakatk(*common, "--out", tmp_path / "run", "--fail-if-worse-than", before)
    assert code == 4, err
    assert printed.startswith(
        "CANNOT SAY: leak@4 may be at most 5 percentage points above that of the earlier run before; "
    )
    assert "What would settle it: About " in printed
    later, scored = tmp_path / "run", verdict.score

    def leaky(run, *args, **how):
        """As if every answer of the later model leaked."""
        found = scored(run, *args, **how)
        return found * 0 + 1 if later in (run.path, run.path.parent) else found

    monkeypatch.setattr(verdict, "score", leaky)
    code, printed, _ = leakatk(*common, "--out", later, "--fail-if-worse-than", before)
    assert (code, printed[:4]) == (1, "FAIL")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--fail-excess-above", "1:0.5"), "--fail-excess-above needs --retrained"),
        (("--fail-excess-above", "1:2", "--retrained", "m"), "--fail-excess-above '1:2': K must be"),
        (("--fail-if-worse-than", "nowhere"), "nowhere is no audited run"),
        (
            ("--fail-if-worse-than", "x", "--sequential", "--fail-above", "1:0.5"),
            "--sequential goes with --fail-above alone",
        ),
        (("--fail-if-worse-than", "x", "--attack", "quantise"), "compares audits without an attack"),
        (("--summary", "s.md"), "--summary and --junit hold a verdict"),
        (("--junit", "nowhere/at/all.xml", "--fail-above", "1:0.5"), "all.xml cannot be written"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_is_sampled(leakatk, common, tmp_path, words, said):
    code, _, err = leakatk(*common, "--out", tmp_path / "run", *words)
    assert code == 2
    assert said in err
    assert not (tmp_path / "run").exists()


def test_without_a_k_of_its_own_it_is_the_largest_that_both_have(tmp_path):
    how = {"n": 64, "ks": [1, 16, 64], "retrained": "", "refused": {}}
    found = gating.gates_of(None, "", Path(tmp_path / "nowhere"), 0.1, **how)
    assert (found.worse.k, found.worse.bound, found.worse.against, found.worse.gates) == (64, 0.1, "earlier", 1)
    assert found.ks == {64}
    assert bool(found)
    assert not gating.gates_of(None, "", None, 0.1, **how)
    with pytest.raises(InputError, match="cannot be written"):
        gating.check_files(tmp_path)
