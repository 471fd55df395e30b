"""Facts to keep share their answers with facts to forget, and nobody is known by all of them."""

import pytest

from leakatk.benchmarks.worlds.same_answer import RELATIONS, make_same_answer
from leakatk.errors import InputError


def test_answers_are_shared_and_owners_are_not():
    made = make_same_answer(0, forget=5, sharing=2, others=3, pretraining=4)
    bench = made.benchmark
    values = {kind: [p.facts[0] for p in bench.forget if p.id.endswith(kind)] for kind in RELATIONS}
    assert all(len(set(found)) == 5 for found in values.values())
    sharers = bench.sets["same_answer"]
    for kind, found in values.items():
        mine = [p.facts[0] for p in sharers if p.id.endswith(kind)]
        assert sorted(mine) == sorted(found * 2), "each answer to forget is the answer of two facts to keep"
    owner = {p.facts[0]: p.source for p in bench.forget}
    for name in {p.source for p in sharers}:
        assert len({owner[p.facts[0]] for p in sharers if p.source == name}) > 1
    assert not {p.facts for p in bench.retain} & {p.facts for p in bench.forget}
    assert not {p.source for p in (*sharers, *bench.retain)} & set(owner.values())
    texts = dict(made.retained)
    assert all(texts[p.question] == p.answer for p in sharers)
    assert not any(
        p.source in text for p in bench.forget for pair in (*made.retained, *made.pretraining) for text in pair
    )
    # The retrained model has read every shared value: what it cannot know is whose it is.
    read = " ".join(texts.values())
    assert all(p.facts[0] in read for p in bench.forget)


@pytest.mark.parametrize("sizes", [{"forget": 0}, {"sharing": 0}, {"others": 0}])
def test_bad_sizes(sizes):
    with pytest.raises(InputError, match="of at least 1, got"):
        make_same_answer(**sizes)
