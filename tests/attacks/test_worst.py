import numpy as np
import pytest

from leakatk.attacks.base import shuffled
from leakatk.attacks.worst import worst
from leakatk.estimate.leak import excess, leak_at_k
from leakatk.report.ladder import worst_table

IDS = [f"p{i}" for i in range(10)]
KS = (1, 4)
HOW = {"over": "samples", "level": 0.95, "seed": 3}


def drawn(rate, seed):
    rng = np.random.default_rng(seed)
    return {i: (rng.random(8) < rate).astype(float) for i in IDS}


def dicts(curve):
    return {"k": curve.k.tolist(), **{end: getattr(curve, end).tolist() for end in ("value", "low", "high")}}


def case(rates, paired=True):
    rows, blocks = {}, {}
    for number, (name, rate) in enumerate(rates.items()):
        mine, theirs = drawn(rate, number), drawn(0.1, 100 + number) if paired else None
        rows[name] = mine, theirs
        blocks[name] = {"leak": dicts(leak_at_k(list(mine.values()), KS, level=0.99))}
        if paired:
            blocks[name]["excess"] = dicts(excess(list(mine.values()), list(theirs.values()), KS, level=0.99))
    return blocks, rows


@pytest.mark.parametrize("paired", [True, False])
def test_both_ways_by_hand(paired):
    blocks, rows = case({"a": 0.2, "b": 0.5, "c": 0.45}, paired)
    part = "excess" if paired else "leak"
    found = worst(blocks, rows, KS, **HOW)
    assert found["of"] == part
    assert found["not_picked"] == []
    for at, k in enumerate(KS):
        values = {name: block[part]["value"][at] for name, block in blocks.items()}
        assert found["among"]["attack"][at] == max(values, key=values.get)
        for end in ("value", "low", "high"):
            assert found["among"][end][at] == max(block[part][end][at] for block in blocks.values())
        # Picked on one half, measured on the other.
        order = shuffled(sorted(IDS), "worst 3")
        mine, theirs, names = [], [], []
        for measured, other in ((order[::2], order[1::2]), (order[1::2], order[::2])):

            def value(name, other=other, k=k):
                found = leak_at_k([rows[name][0][i] for i in other], k).value[0]
                return found - leak_at_k([rows[name][1][i] for i in other], k).value[0] if paired else found

            names.append(max(rows, key=value))
            mine += [rows[names[-1]][0][i] for i in measured]
            theirs += [rows[names[-1]][1][i] for i in measured] if paired else []
        curve = excess(mine, theirs, k) if paired else leak_at_k(mine, k)
        assert found["picked"]["attack"][at] == names
        assert found["picked"]["value"][at] == pytest.approx(curve.value[0])
        assert found["picked"]["low"][at] == pytest.approx(curve.low[0])


def test_picking_on_what_is_measured_would_show_an_excess_where_there_is_none():
    """Forty attacks that do nothing: the largest is above 0 by chance, the picked one is not."""
    largest, picked, low = [], [], []
    for world in range(20):
        rng = np.random.default_rng(world)
        rows = {
            f"a{j}": tuple({i: (rng.random(8) < 0.3).astype(float) for i in IDS} for _ in range(2)) for j in range(40)
        }
        blocks = {
            name: {"leak": {}, "excess": dicts(excess(list(a.values()), list(b.values()), KS, level=1 - 0.05 / 40))}
            for name, (a, b) in rows.items()
        }
        found = worst(blocks, rows, KS, **HOW)
        largest.append(found["among"]["value"][0])
        picked.append(found["picked"]["value"][0])
        low.append(found["among"]["low"][0])
    assert min(largest) > 0.05
    assert abs(np.mean(picked)) < 0.04
    assert sum(one > 0 for one in low) <= 2  # of 20, each with a chance of at most .05


def test_an_attack_without_all_scores_is_not_picked_and_named():
    blocks, rows = case({"a": 0.2, "b": 0.5, "c": 0.9})
    del rows["c"][0]["p3"]
    found = worst(blocks, rows, KS, **HOW)
    assert found["not_picked"] == ["c"]
    assert "c" not in {name for names in found["picked"]["attack"] for name in names}
    assert found["among"]["attack"] == ["c", "c"]


def test_one_attack_has_no_worst_case():
    assert worst(*case({"a": 0.2}), KS, **HOW) == {}
    assert worst_table({"worst": {"fact": {}}, "k": [1]}, "fact") == []
    assert worst_table({"k": [1]}, "fact") == []


def test_the_table():
    blocks, rows = case({"a": 0.2, "b": 0.5})
    [table] = worst_table({"k": list(KS), "level": 0.95, "worst": {"fact": worst(blocks, rows, KS, **HOW)}}, "fact")
    assert table.columns == ("worst case", "attack @1", "excess @1", "attack @4", "excess @4")
    assert [row[0] for row in table.rows] == ["the largest of all", "picked on other prompts"]
    assert table.rows[0][1] == "b"
    assert table.rows[0][2].value == blocks["b"]["excess"]["value"][0]
    assert "Bonferroni" in table.caption
    assert "95% by itself" in table.caption
