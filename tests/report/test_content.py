"""What a report holds: shapes that fit, and the distinct texts of a prompt."""

import math

import pytest

from leakatk.errors import InputError
from leakatk.report.content import Curve, Grid, Table, group_texts


def test_group_texts() -> None:
    groups = group_texts(["b", "a", "b", "c"], [0.0, 1.0, 0.0, math.nan], [-2.0, -1.0, -1.5, math.nan])
    assert [(g.text, g.count, g.score) for g in groups[:2]] == [("a", 1, 1.0), ("b", 2, 0.0)]
    assert groups[1].logprob == -1.5
    assert groups[2].text == "c"
    assert math.isnan(groups[2].score)


def test_wrong_shapes_are_refused() -> None:
    with pytest.raises(InputError, match="same length"):
        Curve("c", (1, 2), (0.1,))
    with pytest.raises(InputError, match="increase"):
        Curve("c", (2, 1), (0.1, 0.2))
    with pytest.raises(InputError, match="kind"):
        Curve("c", (1,), (0.1,), kind="odd")  # type: ignore[arg-type]
    with pytest.raises(InputError, match="2 columns"):
        Table("t", ("a", "b"), (("x",),))
    with pytest.raises(InputError, match="1 rows of 2"):
        Grid("g", "r", ("1",), "c", ("1", "2"), ((0.0,),))
