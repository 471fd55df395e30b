"""What a report holds: shapes that fit, numbers as they are shown, and the distinct texts of a prompt."""

import math
import random

import pytest

from leakatk.errors import InputError
from leakatk.report.content import KINDS, Curve, Grid, Number, Table, group_texts


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


@pytest.mark.parametrize(
    ("number", "shown"),
    [
        (Number(0.114, 0.041, 0.203), "0.114 [0.041, 0.20]"),
        (Number(0.114), "0.114"),
        (Number(math.nan), "–"),
        (Number(0.5, 0.4), "0.500"),
        (Number(0.5, math.nan, 0.6), "0.500"),
        (Number(31, digits=0), "31"),
        (Number(12.3456, 10.0, 14.25, digits=1), "12.3 [10.0, 14.2]"),
        (Number(0.00002, 0.0, 0.5), "0.00002 [0, 0.50]"),
    ],
)
def test_a_number_as_it_is_shown(number: Number, shown: str) -> None:
    assert str(number) == shown
    assert number.has_interval == ("[" in shown)
    assert number.interval == (shown.partition(" ")[2])


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"k": (), "value": ()}, "same length >= 1, got 0, 0, 0, 0"),
        ({"k": (0, 1), "value": (0.1, 0.2)}, "must start at 1 or more"),
        ({"k": (1, 1), "value": (0.1, 0.2)}, "increase"),
        ({"low": (0.1,)}, "same length >= 1, got 2, 2, 1, 0"),
        ({"low": (0.0, 0.1), "high": (0.3,)}, "same length"),
    ],
)
def test_curves_that_are_refused(given: dict, words: str) -> None:  # type: ignore[type-arg]
    whole = {"label": "c", "k": (1, 2), "value": (0.1, 0.2)} | given
    with pytest.raises(InputError, match=words) as said:
        Curve(**whole)
    assert "Curve 'c'" in str(said.value)


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_curve_is_taken_with_a_band_or_none(kind: str) -> None:
    Curve("c", (1, 2), (0.1, 0.2), kind=kind)  # type: ignore[arg-type]
    assert Curve("c", (1, 2), (0.1, 0.2), (0.0, 0.1), (0.2, 0.3), kind=kind).low == (0.0, 0.1)  # type: ignore[arg-type]


@pytest.mark.parametrize("values", [((0.0,),), ((0.0, 0.1), (0.2,)), ((0.0, 0.1), (0.2, 0.3), (0.4, 0.5))])
def test_grids_that_are_refused(values: tuple) -> None:  # type: ignore[type-arg]
    with pytest.raises(InputError, match="Grid 'g': values must be 2 rows of 2"):
        Grid("g", "r", ("1", "2"), "c", ("1", "2"), values)


def test_texts_are_grouped_whatever_their_order() -> None:
    """Against a count by hand: most leaking first, then most frequent, then by the alphabet; unscored ones last."""
    drawn = (
        [("c", 1.0, -3.0)] * 2
        + [("b", 1.0, -1.0)] * 5
        + [("a", 1.0, -2.0)] * 5
        + [("d", math.nan, -1.0)] * 9
        + [("e", 0.0, -1.0)]
    )
    for seed in range(5):
        random.Random(seed).shuffle(drawn)
        groups = group_texts(*(list(column) for column in zip(*drawn, strict=True)))
        assert [(group.text, group.count) for group in groups] == [("a", 5), ("b", 5), ("c", 2), ("e", 1), ("d", 9)]


def test_a_text_has_the_largest_of_its_log_probabilities_and_nan_is_none() -> None:
    [group] = group_texts(["a"] * 4, [0.0] * 4, [math.nan, -5.0, -2.0, -3.0])
    assert (group.count, group.logprob) == (4, -2.0)
    assert math.isnan(group_texts(["a"], [0.0])[0].logprob)
    assert group_texts([], []) == ()
    with pytest.raises(ValueError, match="zip"):
        group_texts(["a", "b"], [0.0])
