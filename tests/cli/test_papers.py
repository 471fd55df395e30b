"""leakatk papers: every row, one row, rows chosen by tag and status; and what it answers to a typo."""

import json

from leakatk.papers.rows import ROWS


def test_papers(leakatk):
    code, out, _ = leakatk("papers")
    assert code == 0
    lines = out.splitlines()
    assert lines[-1].startswith("121 rows: ")
    heads = [line.split()[0] for line in lines[:-1] if line[:4].strip()]
    assert heads == [row.number for row in ROWS]
    assert "leakatk audit MODEL --benchmark world --probe context --out runs/forgot" in out
    code, out, _ = leakatk("papers", "98")
    assert code == 0
    assert out.startswith("98: UnUnlearning (arXiv 2407.00106)")
    assert "works" in out
    code, out, _ = leakatk("papers", "--tag", "survey", "--status", "described", "--json")
    assert [row["row"] for row in json.loads(out)] == ["5", "40", "91", "101"]
    code, out, _ = leakatk("papers", "61x", "--json")
    assert json.loads(out)["system"] == "DD Divergence Decoding"
    code, out, _ = leakatk("papers", "--json")
    assert len(json.loads(out)) == 121


def test_papers_answers_what_it_does_not_know(leakatk):
    for words, meant in ((("undail",), "undial"), (("--tag", "gard"), "guard"), (("--status", "wroks"), "works")):
        code, _, err = leakatk("papers", *words)
        assert code == 2
        assert f"did you mean {meant}" in err
    code, _, err = leakatk("papers", "33", "--markdown")
    assert code == 2
    assert "give it alone" in err
    code, out, _ = leakatk("papers", "33", "--status", "not yet")
    assert (code, out) == (0, "No row is like that.\n")
