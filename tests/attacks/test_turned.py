import math
from dataclasses import dataclass, replace

import pytest
from scipy import stats

from leakatk.attacks import Ask, LadderSettings, attack_ladder
from leakatk.attacks.base import AttackFacts
from leakatk.attacks.turned import turned
from leakatk.models.load import load_model
from leakatk.prompts import Known, Query
from leakatk.report.ladder import tables, turned_table
from leakatk.sampling.decoding import Decoding
from leakatk.sampling.greedy import greedy_texts
from leakatk.scorers import get_scorer

NAN = float("nan")


def test_counts_by_hand():
    before = {"a": 0.0, "b": 0.4, "c": 1.0, "d": 0.5, "e": NAN, "f": 0.0, "g": 0.0}
    after = {"a": 1.0, "b": 0.4, "c": 0.0, "d": 0.6, "e": 1.0, "f": NAN}
    recovered = turned(before, after, was=False, level=0.9)
    assert (recovered["of"], recovered["count"], recovered["undefined"], recovered["value"]) == (2, 1, 2, 0.5)
    destroyed = turned(before, after, was=True, level=0.9)
    assert (destroyed["of"], destroyed["count"], destroyed["value"]) == (2, 1, 0.5)
    # Clopper-Pearson: at its ends what was seen has a chance of 5%.
    assert stats.binom.sf(0, 2, recovered["low"]) == pytest.approx(0.05)
    assert stats.binom.cdf(1, 2, recovered["high"]) == pytest.approx(0.05)
    none = turned({"a": 1.0}, {"a": 1.0}, was=False, level=0.9)
    assert none["of"] == 0
    assert math.isnan(none["value"])


@dataclass(frozen=True)
class Nonsense(Ask):
    """Asks for something else."""

    name = "nonsense"
    facts = AttackFacts(name="nonsense", kind="ask", access="questions")

    def prompts(self, loaded, known):
        return self.turn(known.unseen)

    def kept(self, loaded, known):
        return self.turn(known.retain[:4])

    def turn(self, prompts):
        return [replace(prompt, asked=Query("Bex Bex Bex?")) for prompt in prompts]


def test_what_is_destroyed_is_counted_for_both_models(forgot, retrained, forget, retain, tmp_path):
    few = LadderSettings(n=2, decoding=Decoding(max_new_tokens=12), quiet=True)
    known = Known(retain=tuple(retain))
    summary = attack_ladder(
        forgot, forget[:3], [Nonsense()], out=tmp_path / "out", known=known, retrained=retrained, settings=few
    )
    plain, under = summary["rungs"]
    assert "turned" not in plain
    for role, place in (("model", forgot), ("retrained", retrained)):
        loaded = load_model(place)
        first, last = (
            get_scorer("fact").score(rows, greedy_texts(loaded, rows, 12))
            for rows in (retain[:4], Nonsense().turn(retain[:4]))
        )
        found = under["turned"][role]["destroyed"]
        assert found["of"] == sum(first) > 0
        assert found["count"] == sum((first == 1) & (last == 0)) > 0
    [table] = [table for table in tables(summary) if "turn" in table.title]
    assert table.columns[1] == "model: recovered"
    assert table.rows[0][0] == "nonsense"
    assert table.rows[0][4] == str(under["turned"]["model"]["destroyed"]["of"])


def test_a_model_that_was_not_asked_leaves_no_hole_in_the_table():
    one = {"value": 0.5, "low": 0.1, "high": 0.9, "of": 4}
    summary = {
        "each_level": 0.95,
        "rungs": [{"name": "hops", "turned": {"retrained": {"recovered": one, "destroyed": one}}}],
    }
    [table] = turned_table(summary, "fact", True)
    [row] = table.rows
    assert len(row) == len(table.columns) == 9
    assert row[2::2] == ("not asked", "not asked", "4", "4")
