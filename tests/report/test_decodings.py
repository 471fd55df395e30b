"""Several decodings of one model become a heat map; benchmark results bring their tables; RULE's record is shown."""

import math

from leakatk.report.assemble import content_of
from leakatk.report.audited import read_audits
from leakatk.report.decodings import decoding_grids, most_open

GRID = {(0.0, 1.0): None, (0.5, 0.5): None, (1.0, 1.0): None}


def test_each_decoding_is_a_cell(runs):
    [grid] = decoding_grids(read_audits(runs), "rouge-l", 4)
    assert grid.rows == ("0 (greedy)", "0.5", "1")
    assert grid.columns == ("–", "0.5", "1")
    assert [[None if math.isnan(v) else v for v in row] for row in grid.values] == [
        [0.0, None, None],
        [None, 0.0625, None],
        [None, None, 0.25],
    ]
    assert decoding_grids(read_audits(runs[2:]), "rouge-l", 4) == ()


def test_the_most_open_decoding_is_told_in_full(runs):
    audits = read_audits(runs)
    assert [audited.run.path for audited in most_open(audits)] == runs[2:]
    content = content_of(audits)
    assert len(content.tables[0].rows) == 4
    assert len({view.model for view in content.prompts}) == 2
    assert [curve.label for curve in content.curves if curve.kind == "model"] == [a.label for a in audits[2:]]
    assert "T=0.5" in audits[1].label, "runs of one name are told apart by their decoding"


def test_runs_of_one_decoding_are_all_told(runs):
    twice = [*read_audits(runs[2:3]), *read_audits(runs[2:3])]
    assert len(most_open(twice)) == 2
