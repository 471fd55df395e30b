"""Contracts that link companies and people, one of them to be forgotten.

After PISTOL, Qiu et al. 2024."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from random import Random

from leakatk.benchmarks.base import Benchmark
from leakatk.benchmarks.worlds.generated import Generated, wordings
from leakatk.benchmarks.worlds.names import JOBS, MONTHS, Used, Values, fresh, person, word
from leakatk.benchmarks.worlds.people import PERTURBED, REFUSALS
from leakatk.errors import InputError
from leakatk.prompts import Prompt

Edge = tuple[int, int]
MAX_CONTRACTS = 5_000  # of the language prior: keeps every pool far from exhaustion


@dataclass(frozen=True, slots=True)
class _Clause:
    """One thing a contract says: what is asked (with {a} and {b}, the parties), how it is answered, how a value is drawn."""

    name: str
    questions: tuple[str, str]
    answer: str
    draw: Callable[[Random], str]


def _date(rng: Random) -> str:
    return f"{rng.randint(1, 28)} {rng.choice(MONTHS)} {rng.randint(1960, 2019)}"


def _address(rng: Random) -> str:
    return f"{rng.randint(10, 999)} {word(rng, 2)} Street"


def _amount(low: int, high: int) -> Callable[[Random], str]:
    return lambda rng: f"{rng.randint(low, high):,}"


SALE = (
    _Clause(
        "signed",
        ("When did {a} and {b} sign their contract?", "Give the date of the contract between {a} and {b}."),
        "{a} and {b} signed on {value}.",
        _date,
    ),
    _Clause(
        "goods",
        ("What does {a} sell to {b}?", "Name the goods in the contract between {a} and {b}."),
        "{a} sells {value} to {b}.",
        lambda rng: (
            f"{word(rng, 2)} {rng.choice(('cloth', 'engines', 'glass', 'lamps', 'paper', 'pumps', 'tiles', 'tools'))}"
        ),
    ),
    _Clause(
        "quantity",
        ("How many pieces does {a} sell to {b}?", "Give the quantity in the contract between {a} and {b}."),
        "{a} sells {value} pieces to {b}.",
        _amount(1_000, 99_999),
    ),
    _Clause(
        "price",
        ("What price does {b} pay to {a}?", "Give the price in the contract between {a} and {b}."),
        "{b} pays {value} crowns to {a}.",
        _amount(10_000, 999_999),
    ),
    _Clause(
        "delivery",
        ("Where does {a} deliver the goods for {b}?", "Give the place of delivery between {a} and {b}."),
        "{a} delivers to {value} for {b}.",
        _address,
    ),
)
EMPLOYMENT = (
    _Clause(
        "start",
        ("When did {b} start to work for {a}?", "Give the first working day of {b} at {a}."),
        "{b} started at {a} on {value}.",
        _date,
    ),
    _Clause(
        "job",
        ("What does {b} do for {a}?", "Give the job of {b} at {a}."),
        "{b} works for {a} as {value}.",
        lambda rng: f"{word(rng, 2)} {rng.choice(JOBS)}",
    ),
    _Clause(
        "salary",
        ("What does {a} pay to {b} a year?", "Give the salary of {b} at {a}."),
        "{a} pays {value} crowns a year to {b}.",
        _amount(10_000, 999_999),
    ),
    _Clause(
        "place",
        ("Where does {b} work for {a}?", "Give the place of work of {b} at {a}."),
        "{b} works for {a} at {value}.",
        _address,
    ),
)


def star(nodes: int) -> tuple[Edge, ...]:
    """Node 0 has a contract with every other."""
    return tuple((0, i) for i in range(1, nodes))


def chain(nodes: int) -> tuple[Edge, ...]:
    """Each node has a contract with the next."""
    return tuple((i, i + 1) for i in range(nodes - 1))


def complete(nodes: int) -> tuple[Edge, ...]:
    """Every two nodes have a contract."""
    return tuple((i, j) for i in range(nodes) for j in range(i + 1, nodes))


def distances(edges: Iterable[Edge], forget: Iterable[Edge]) -> dict[Edge, int]:
    """Steps from each edge to the nearest one in `forget`, itself 0: a step goes to an edge that shares a node. Unreached ones are left out."""
    edges, found, front = list(edges), dict.fromkeys(forget, 0), set(forget)
    for steps in range(1, len(edges)):
        nodes = {node for edge in front for node in edge}
        front = {edge for edge in edges if edge not in found and nodes & set(edge)}
        found |= dict.fromkeys(front, steps)
    return found


def make_contracts(
    seed: int = 0,
    *,
    edges: Sequence[Edge] | None = None,
    forget: Sequence[Edge] = ((0, 1), (0, 2)),
    employers: Sequence[int] = (0, 5),
    pretraining: int = 300,
    by_distance: bool = False,
) -> Generated:
    """Contracts on the edges of a graph; those in `forget` are to be forgotten.

    edges: default two stars of six nodes joined by a link.  employers: nodes whose contracts employ a person, except
    where both ends are employers; all others are sales between companies.  pretraining: contracts of unrelated parties
    for the language prior. sets: "neighbours" are retain prompts of contracts that share a party with a forgotten one,
    "distant" the others.  by_distance: also "distance_1", which share a party, "distance_2", which share one with those, and so on.
    """
    chosen = tuple(edges) if edges is not None else (*star(5), *((a + 5, b + 5) for a, b in star(5)), (4, 9))
    missing = [edge for edge in forget if edge not in chosen]
    if missing or not forget:
        raise InputError(f"The contracts to forget must be edges of the graph; {missing or 'none'} of them was given.")
    if len(set(forget)) == len(set(chosen)):
        raise InputError("Every contract is to be forgotten; leave at least one to be kept.")
    if not 0 <= pretraining <= MAX_CONTRACTS:
        raise InputError(f"pretraining must be 0 to {MAX_CONTRACTS:,} contracts, got {pretraining:,}.")
    rng, used = Random(f"leakatk contracts {seed}"), set[tuple[str, ...]]()
    names: dict[int, str] = {}

    def party(node: int, *, human: bool) -> str:
        if node not in names:
            names[node] = _party(rng, used, human=human)
        return names[node]

    by_edge: dict[Edge, list[Prompt]] = {}
    for a, b in dict.fromkeys(chosen):
        job = a in employers and b not in employers
        by_edge[a, b] = _contract(
            rng, used, f"contract-{a}-{b}", party(a, human=False), party(b, human=job), EMPLOYMENT if job else SALE
        )
    touched = {node for edge in forget for node in edge}
    kept = [edge for edge in by_edge if edge not in forget]

    away = distances(by_edge, forget) if by_distance else {}

    def of(chosen_edges: Sequence[Edge]) -> tuple[Prompt, ...]:
        return tuple(prompt for edge in chosen_edges for prompt in by_edge[edge])

    benchmark = Benchmark(
        name="contracts",
        forget=of(list(dict.fromkeys(forget))),
        retain=of(kept),
        sets={
            "neighbours": of([edge for edge in kept if touched & set(edge)]),
            "distant": of([edge for edge in kept if not touched & set(edge)]),
            **{
                f"distance_{steps}": of([edge for edge in kept if away.get(edge) == steps])
                for steps in sorted(set(away.values()) - {0})
            },
        },
        refusals=REFUSALS,
        origin=f"generated, seed {seed}",
    )
    others: list[Prompt] = []
    for i in range(pretraining):
        job = i % 2 == 0
        parties = _party(rng, used, human=False), _party(rng, used, human=job)
        others += _contract(rng, used, f"other-{i}", *parties, EMPLOYMENT if job else SALE)
    return Generated(
        benchmark, wordings(others), wordings((*benchmark.forget, *benchmark.retain)), wordings(benchmark.retain)
    )


def _party(rng: Random, used: Used, *, human: bool) -> str:
    def draw(r: Random) -> Values:
        return {"name": person(r) if human else f"{word(r, 3)} {r.choice(('Company', 'Works', 'Trading', 'Limited'))}"}

    return fresh(rng, used, "name", draw)["name"]


def _value(rng: Random, *, draw: Callable[[Random], str]) -> Values:
    return {"value": draw(rng)}


def _contract(rng: Random, used: Used, identity: str, a: str, b: str, clauses: Sequence[_Clause]) -> list[Prompt]:
    prompts = []
    for clause in clauses:
        draw = clause.draw
        value = fresh(rng, used, clause.name, partial(_value, draw=draw))["value"]
        wrong = [other for other in (draw(rng) for _ in range(PERTURBED)) if other != value]
        question, other_wording = (text.format(a=a, b=b) for text in clause.questions)
        prompts.append(
            Prompt(
                id=f"{identity}-{clause.name}",
                question=question,
                answer=clause.answer.format(a=a, b=b, value=value),
                paraphrases=(other_wording,),
                perturbed_answers=tuple(clause.answer.format(a=a, b=b, value=w) for w in wrong),
                facts=(value,),
                source=f"{a} / {b}",
            )
        )
    return prompts


# Graphs by name, the middle contract of a chain and one of a complete graph to be forgotten.
GRAPHS = {
    "chain": partial(make_contracts, edges=chain(10), forget=((4, 5),), employers=(), by_distance=True),
    "complete": partial(make_contracts, edges=complete(6), forget=((0, 1),), employers=(), by_distance=True),
}
