"""The commands one after the other, as a user gives them, on a tiny model."""

import json

SHORT = ("--n", "8", "--max-new-tokens", "6", "--quiet")


def test_audit_report_score_plan(leakatk, model, forget, tmp_path):
    common = ("--forget", forget, "--retain", forget, *SHORT)
    code, _, err = leakatk("audit", model, "--out", tmp_path / "reference", "--label", "yardstick", *common)
    assert code == 0, err
    code, out, err = leakatk(
        "audit", model, "--out", tmp_path / "run", "--seed", "1", "--reference", tmp_path / "reference", *common
    )
    assert code == 0, err
    assert "leaks 0% of 3 forget prompts within 8 samples" in out
    assert "the retrained model 0% (" in out
    assert "of the answers cut at 6 tokens; asked in one wording only." in out
    results = json.loads((tmp_path / "run" / "results.json").read_text())
    assert results["scorers"]["fact"]["excess"]["samples"]["value"] == [0.0] * 4
    assert (tmp_path / "run" / "report.html").read_text().startswith("<!doctype html>")

    code, out, err = leakatk(
        "report", tmp_path / "run", tmp_path / "reference", "--out", tmp_path / "both.html", "--md"
    )
    assert code == 0, err
    assert "yardstick" in out
    assert "yardstick" in (tmp_path / "both.html").read_text()

    code, out, err = leakatk("report", tmp_path / "run", "--json", "--svg", tmp_path / "curve.svg")
    assert code == 0, err
    assert json.loads(out)["metric"] == "fact"
    assert "<svg" in (tmp_path / "curve.svg").read_text()

    code, out, err = leakatk("score", tmp_path / "run", "--scorer", "rouge-l", "--json")
    assert code == 0, err
    assert json.loads(out)["k"] == [1, 2, 4, 8]

    code, out, err = leakatk("plan", "--k", "8", "--half-width", "0.05", "--prompts", "3", "--pilot", tmp_path / "run")
    assert code == 0, err
    assert "a pilot of 3 prompts" in out
