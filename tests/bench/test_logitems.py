"""What is stored of each item of a log, read and checked."""

from leakatk.bench.logs import column


def test_item_numbers_of_any_kind():
    for keys in (("0", "1", "10"), (0, 1, 10), ("sample_0", "sample_1", "sample_10")):
        items = dict(zip(reversed(keys), ({"score": 3.0}, {"score": 2.0}, {"score": 1.0}), strict=True))
        log = {"exact_memorization": {"agg_value": 2.0, "value_by_index": items}}
        assert column(log, "exact_memorization", "score").tolist() == [1.0, 2.0, 3.0]


def test_item_numbers_that_only_look_like_numbers():
    """A superscript is a digit and no number: it is a name, sorted behind the numbers."""
    values = {
        "9" * 5000: {"prob": 0.5},
        "²": {"prob": 0.1},
        "10": {"prob": 0.2},
        "9": {"prob": 0.3},
        "x": {"prob": 0.4},
    }
    log = {"forget_Q_A_Prob": {"agg_value": 0.25, "value_by_index": values}}
    assert column(log, "forget_Q_A_Prob", "prob").tolist() == [0.3, 0.2, 0.5, 0.4, 0.1]
