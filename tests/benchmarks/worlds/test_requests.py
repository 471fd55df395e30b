"""Requests add up: the full model stays, the retrained one loses one request more each time."""

import pytest

from leakatk.benchmarks.worlds.requests import make_requests
from leakatk.errors import InputError

SMALL = {"retain": 2, "retain_held": 1, "holdout": 1, "world_facts": 2, "pretraining": 2}


def test_requests_add_up_and_the_full_model_stays():
    stream = [make_requests(3, upto=i, requests=3, people=2, **SMALL) for i in (1, 2, 3)]
    assert len({made.full for made in stream}) == 1
    asked = ()
    for i, made in enumerate(stream, 1):
        bench = made.benchmark
        new = bench.sets[f"request_{i}"]
        assert len({p.source for p in new}) == 2
        asked += new
        assert bench.forget == asked
        later = bench.sets.get("later", ())
        assert len(later) == (3 - i) * 12
        assert set(later) <= set(bench.retain_held)
        known = dict(made.retained)
        assert all(known[p.question] == p.answer for p in (*later, *bench.retain))
        assert not any(p.question in known for p in asked)
        assert set(made.retained) < set(made.full)
    assert "later" not in stream[-1].benchmark.sets


@pytest.mark.parametrize("sizes", [{"upto": 0}, {"upto": 5}, {"people": 0}])
def test_bad_sizes(sizes):
    with pytest.raises(InputError, match="upto must be 1 to 4"):
        make_requests(**sizes)
