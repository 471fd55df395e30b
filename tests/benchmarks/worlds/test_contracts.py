"""Companies and people linked by contracts: the graph, what is forgotten, and what each party is."""

import itertools

import pytest

from leakatk.benchmarks.worlds.contracts import (
    EMPLOYMENT,
    GRAPHS,
    MAX_CONTRACTS,
    SALE,
    chain,
    complete,
    make_contracts,
    star,
)
from leakatk.errors import InputError


def test_topologies():
    assert star(4) == ((0, 1), (0, 2), (0, 3))
    assert chain(4) == ((0, 1), (1, 2), (2, 3))
    assert len(complete(5)) == 10


def test_contracts_neighbours_share_a_party():
    bench = make_contracts(3, edges=chain(5), forget=((1, 2),), employers=(), pretraining=2).benchmark
    parties = {name for p in bench.forget for name in p.source.split(" / ")}
    assert {p.id.rsplit("-", 1)[0] for p in bench.sets["neighbours"]} == {"contract-0-1", "contract-2-3"}
    assert {p.id.rsplit("-", 1)[0] for p in bench.sets["distant"]} == {"contract-3-4"}
    assert all(parties & set(p.source.split(" / ")) for p in bench.sets["neighbours"])
    assert not any(parties & set(p.source.split(" / ")) for p in bench.sets["distant"])


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"forget": ((0, 9),)}, "must be edges of the graph"),
        ({"forget": ()}, "none of them was given"),
        ({"edges": chain(2), "forget": ((0, 1),)}, "leave at least one"),
        ({"edges": ((0, 1), (0, 1)), "forget": ((0, 1),)}, "leave at least one"),
        ({"pretraining": 10**6}, "1,000,000"),
        ({"pretraining": MAX_CONTRACTS + 1}, r"0 to 5,000 contracts, got 5,001"),
        ({"pretraining": -1}, "got -1"),
    ],
)
def test_bad_sizes(given, words):
    with pytest.raises(InputError, match=words):
        make_contracts(**given)


@pytest.mark.parametrize("nodes", [1, 2, 3, 6])
def test_topologies_by_their_degrees(nodes):
    """Against the definition: degrees, and one way between two nodes."""

    def degrees(edges):
        assert len({frozenset(edge) for edge in edges}) == len(edges)
        return sorted(sum(node in edge for edge in edges) for node in range(nodes))

    assert complete(nodes) == tuple(itertools.combinations(range(nodes), 2))
    assert degrees(complete(nodes)) == [nodes - 1] * nodes
    assert degrees(star(nodes)) == sorted([nodes - 1, *[1] * (nodes - 1)])
    assert degrees(chain(nodes)) == ([0] if nodes == 1 else sorted([1, 1, *[2] * (nodes - 2)]))


def test_an_employer_employs_a_person_and_two_employers_trade():
    bench = make_contracts(0, pretraining=0).benchmark
    said = {}
    for prompt in (*bench.forget, *bench.retain):
        edge, name = prompt.id.removeprefix("contract-").rsplit("-", 1)
        said.setdefault(tuple(map(int, edge.split("-"))), []).append(name)
    work, sale = [clause.name for clause in EMPLOYMENT], [clause.name for clause in SALE]
    assert set(said) == {*star(5), *((a + 5, b + 5) for a, b in star(5)), (4, 9)}
    for (a, b), names in said.items():
        assert names == (work if a in (0, 5) and b not in (0, 5) else sale)
    both = make_contracts(0, edges=((0, 5), (0, 1)), forget=((0, 1),), pretraining=0).benchmark
    assert [p.id for p in both.retain] == [f"contract-0-5-{name}" for name in sale]


def test_sets_divide_what_is_kept_and_every_value_is_one_contracts_own():
    bench = make_contracts(2, pretraining=0).benchmark
    near, far = bench.sets["neighbours"], bench.sets["distant"]
    assert near
    assert far
    assert sorted(p.id for p in (*near, *far)) == sorted(p.id for p in bench.retain)
    values = [(p.id.rsplit("-", 1)[1], p.facts[0]) for p in (*bench.forget, *bench.retain)]
    assert len(set(values)) == len(values)
    for prompt in (*bench.forget, *bench.retain):
        assert prompt.facts[0] in prompt.answer
        assert all(prompt.facts[0] not in wrong for wrong in prompt.perturbed_answers)
        a, b = prompt.source.split(" / ")
        assert a in prompt.question + prompt.answer
        assert b in prompt.question + prompt.answer


def test_the_prior_is_of_unrelated_parties():
    made = make_contracts(1, pretraining=6)
    parties = {name for p in (*made.benchmark.forget, *made.benchmark.retain) for name in p.source.split(" / ")}
    assert made.pretraining
    assert not any(name in text for name in parties for pair in made.pretraining for text in pair)
    # The prior does not change the world.
    assert make_contracts(1, pretraining=0).benchmark == made.benchmark


@pytest.mark.parametrize("name", GRAPHS)
def test_distances_by_shortest_paths(name):
    """Between parties by Floyd and Warshall: a contract is one step farther than its nearer party is from a party of the forgotten one."""
    made = GRAPHS[name](0, pretraining=0)
    bench = made.benchmark
    edges = {tuple(map(int, p.id.split("-")[1:3])) for p in (*bench.forget, *bench.retain)}
    gone = {tuple(map(int, p.id.split("-")[1:3])) for p in bench.forget}
    nodes = sorted({node for edge in edges for node in edge})
    apart = {(a, b): 0 if a == b else 1 if (a, b) in edges or (b, a) in edges else 99 for a in nodes for b in nodes}
    for middle in nodes:
        for a in nodes:
            for b in nodes:
                apart[a, b] = min(apart[a, b], apart[a, middle] + apart[middle, b])
    seen = set()
    for key, prompts in bench.sets.items():
        if key.startswith("distance_"):
            for prompt in prompts:
                edge = tuple(map(int, prompt.id.split("-")[1:3]))
                steps = 1 + min(apart[a, b] for a in edge for other in gone for b in other)
                assert key == f"distance_{steps}"
                seen.add(prompt.id)
    assert seen == {p.id for p in bench.retain}
    assert set(bench.sets["distance_1"]) == set(bench.sets["neighbours"])
