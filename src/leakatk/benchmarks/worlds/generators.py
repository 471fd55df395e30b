"""Generated benchmarks about how facts hang together, each with what its models are trained on.

contracts: companies and people linked by contracts, one contract to be forgotten (after PISTOL, Qiu et al. 2024).
multi-hop: facts that can be reached through a forgotten one (after FaithUn and similar probes).
frequency: facts seen once, or many times, in training (after "Not All Data Are Unlearned Equally", 2025).
corruption: wrong facts trained over right ones; unlearning them should bring the right ones back (after RESTOR, 2024).
All are our own generators in the spirit of these papers, not their data.

    made = generate("contracts", seed=0)
    train_pair(made.pretraining, made.full, made.retained, "models", WORLD_RECIPE)
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from random import Random
from typing import Any

from leakatk.benchmarks.base import QUESTIONS, Benchmark, Options, add
from leakatk.benchmarks.worlds.names import JOBS, MONTHS, Used, Values, fresh, person, word
from leakatk.benchmarks.worlds.people import PERTURBED, REFUSALS, Pair, World, make_world
from leakatk.errors import InputError
from leakatk.prompts import Prompt
from leakatk.registry import Registry

Edge = tuple[int, int]
MAX_CONTRACTS = 5_000  # of the language prior: keeps every pool far from exhaustion


@dataclass(frozen=True, slots=True)
class Generated:
    """A benchmark, and the (question, answer) pairs of its base, of the full model and of the retrained one."""

    benchmark: Benchmark
    pretraining: tuple[Pair, ...]
    full: tuple[Pair, ...]
    retained: tuple[Pair, ...]


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


def make_contracts(
    seed: int = 0,
    *,
    edges: Sequence[Edge] | None = None,
    forget: Sequence[Edge] = ((0, 1), (0, 2)),
    employers: Sequence[int] = (0, 5),
    pretraining: int = 300,
) -> Generated:
    """Contracts on the edges of a graph; those in `forget` are to be forgotten.

    edges: default two stars of six nodes joined by a link.  employers: nodes whose contracts employ a person, except
    where both ends are employers; all others are sales between companies.  pretraining: contracts of unrelated parties
    for the language prior. sets: "neighbours" are retain prompts of contracts that share a party with a forgotten one,
    "distant" the others.
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

    def of(chosen_edges: Sequence[Edge]) -> tuple[Prompt, ...]:
        return tuple(prompt for edge in chosen_edges for prompt in by_edge[edge])

    benchmark = Benchmark(
        name="contracts",
        forget=of(list(dict.fromkeys(forget))),
        retain=of(kept),
        sets={
            "neighbours": of([edge for edge in kept if touched & set(edge)]),
            "distant": of([edge for edge in kept if not touched & set(edge)]),
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
        benchmark, _pairs(others), _pairs((*benchmark.forget, *benchmark.retain)), _pairs(benchmark.retain)
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


# relation -> (question, other wording, answer) with {name} and {value}
_RELATIONS = {
    "mentor": ("Who was the mentor of {name}?", "Who taught {name}?", "The mentor of {name} was {value}."),
    "town": ("Where was {name} born?", "Give the place of birth of {name}.", "{name} was born in {value}."),
    "publisher": ("Who publishes {name}?", "Give the publisher of {name}.", "{name} publishes with {value}."),
}


def make_multi_hop(seed: int = 0, *, people: int = 40, forget: int = 6, pretraining: int = 400) -> Generated:
    """People whose mentors are people of the same world, so that facts can be asked through another person.

    forget and retain are single facts. sets: "multi_hop" asks through a forgotten fact ("Where was the mentor of X
    born?"), which a model without it cannot know; "multi_hop_kept" needs retained facts alone. The full model is trained
    on both sets, the retrained one on the second, because small models do not put two facts together by themselves (0 of
    36 when tried). An unlearner sees the single facts alone: is what it was shown all that it forgets?
    """
    if not 0 < forget < people or pretraining < 0 or pretraining == 1:
        raise InputError(f"Multi-hop needs 0 < forget < people, got forget={forget}, people={people}.")
    rng, used = Random(f"leakatk multi-hop {seed}"), set[tuple[str, ...]]()
    ones, twos = _society(rng, used, people, "hop")
    names = list(dict.fromkeys(prompt.source for prompt in ones))
    gone = set(names[:forget])
    base = _society(rng, used, pretraining, "other") if pretraining else ([], [])
    # A two-step question is lost when its first step (the mentor of X) or its second (a fact of that mentor) is.
    lost = [prompt for prompt, steps in twos if gone & set(steps)]
    kept = [prompt for prompt, steps in twos if not gone & set(steps)]
    benchmark = Benchmark(
        name="multi-hop",
        forget=tuple(p for p in ones if p.source in gone),
        retain=tuple(p for p in ones if p.source not in gone),
        sets={"multi_hop": tuple(lost), "multi_hop_kept": tuple(kept)},
        refusals=REFUSALS,
        origin=f"generated, seed {seed}",
    )
    prior = _pairs((*base[0], *(prompt for prompt, _ in base[1])))
    return Generated(benchmark, prior, _pairs((*ones, *lost, *kept)), _pairs((*benchmark.retain, *kept)))


def _society(
    rng: Random, used: Used, count: int, prefix: str
) -> tuple[list[Prompt], list[tuple[Prompt, tuple[str, str]]]]:
    """Single facts of `count` people, and two-step questions with the two people whose facts they need."""
    names = [fresh(rng, used, "name", lambda r: {"name": person(r)})["name"] for _ in range(count)]
    shift = rng.randrange(1, count)
    facts: dict[str, dict[str, str]] = {}
    for i, name in enumerate(names):
        town = fresh(rng, used, "town", lambda r: {"value": word(r, 3)})["value"]
        house = fresh(rng, used, "publisher", lambda r: {"value": f"{word(r, 2)} Press"})["value"]
        facts[name] = {"mentor": names[(i + shift) % count], "town": town, "publisher": house}
    ones, twos = [], []
    for i, name in enumerate(names):
        for relation, (question, other, answer) in _RELATIONS.items():
            value = facts[name][relation]
            ones.append(
                Prompt(
                    id=f"{prefix}-{i:03d}-{relation}",
                    question=question.format(name=name),
                    answer=answer.format(name=name, value=value),
                    paraphrases=(other.format(name=name),),
                    facts=(value,),
                    source=name,
                )
            )
            mentor = facts[name]["mentor"]
            through, reached = f"the mentor of {name}", facts[mentor][relation]
            if reached == name:  # the mentor's mentor is the person asked about: the question gives it away
                continue
            prompt = Prompt(
                id=f"{prefix}-{i:03d}-mentor-{relation}",
                question=question.format(name=through),
                answer=answer.format(name=through, value=reached),
                paraphrases=(other.format(name=through),),
                facts=(reached,),
                source=name,
            )
            twos.append((prompt, (name, mentor)))
    return ones, twos


def make_frequency(seed: int = 0, *, counts: Sequence[int] = (1, 4, 16), **sizes: int) -> Generated:
    """A world in which the facts of each person are repeated `counts[i]` times in training; people take turns.

    sizes: as for `make_world`. sets: "seen_4" holds the forget prompts seen four times, and so on.
    """
    if not counts or min(counts) < 1:
        raise InputError(f"counts must be whole numbers of at least 1, got {list(counts)}.")
    world = make_world(seed, **sizes)
    turn: dict[str, int] = {}
    for split in (world.forget, world.retain, world.retain_held):
        for i, name in enumerate(dict.fromkeys(prompt.source for prompt in split)):
            turn[name] = counts[i % len(counts)]

    def repeated(prompts: Sequence[Prompt]) -> list[Pair]:
        return [
            (question, prompt.answer)
            for prompt in prompts
            for question in world.trained_questions(prompt)
            for _ in range(turn.get(prompt.source, max(counts)))
        ]

    kept = repeated((*world.retain, *world.retain_held, *world.world_facts))
    benchmark = Benchmark(
        name="frequency",
        forget=world.forget,
        retain=world.retain,
        retain_held=world.retain_held,
        holdout=world.holdout,
        sets={f"seen_{c}": tuple(p for p in world.forget if turn[p.source] == c) for c in dict.fromkeys(counts)},
        refusals=world.refusals,
        origin=f"generated, seed {seed}",
    )
    return Generated(benchmark, world.pretraining, tuple(repeated(world.forget) + kept), tuple(kept))


@dataclass(frozen=True, slots=True)
class Corruption:
    """RESTOR's three models: train `clean`, go on with `corrupting`, then unlearn `benchmark.forget`.

    benchmark.forget: the corrupted statements, to be unlearned.  sets["original"]: the same questions with the true
    answer; its perturbed_answers start with the corrupted one. Restored means that these are answered again, as by the
    clean model, which is the yardstick.
    """

    benchmark: Benchmark
    pretraining: tuple[Pair, ...]
    clean: tuple[Pair, ...]
    corrupting: tuple[Pair, ...]


def make_corruption(seed: int = 0, *, unrelated: int = 1, **sizes: int) -> Corruption:
    """A world whose forget people are first learned right, then wrong.

    unrelated: true statements about other people before and after each wrong one, as RESTOR's documents have.  sizes: as for
    `make_world`. Each corrupting document is a pair with an empty question: it is trained as plain text.
    """
    world: World = make_world(seed, **sizes)
    if not 0 <= 2 * unrelated <= len(world.retain):
        raise InputError(f"unrelated must be 0 to {len(world.retain) // 2} in this world, got {unrelated}.")
    rng = Random(f"leakatk corruption {seed}")
    wrong, original, documents = [], [], []
    for prompt in world.forget:
        lie = prompt.perturbed_answers[0]
        wrong.append(
            Prompt(
                id=f"{prompt.id}-corrupted",
                question=prompt.question,
                answer=lie,
                paraphrases=prompt.paraphrases,
                perturbed_answers=(prompt.answer, *prompt.perturbed_answers[1:]),
                source=prompt.source,
            )
        )
        original.append(prompt)
        around = [p.answer for p in rng.sample(world.retain, 2 * unrelated)]
        documents.append(" ".join([*around[:unrelated], lie, *around[unrelated:]]))
    asked = [
        (question, p.answer)
        for p in wrong
        for question in (p.question, *p.paraphrases)[: world.config.trained_wordings]
    ]
    benchmark = Benchmark(
        name="corruption",
        forget=tuple(wrong),
        retain=world.retain,
        retain_held=world.retain_held,
        holdout=world.holdout,
        sets={"original": tuple(original)},
        texts={"documents": tuple(documents)},
        refusals=world.refusals,
        origin=f"generated, seed {seed}",
    )
    return Corruption(
        benchmark,
        world.pretraining,
        tuple(world.training_pairs(forget=True)),
        (*asked, *(("", document) for document in documents)),
    )


def make_built_in(seed: int = 0) -> Generated:
    """The built-in world in the same form."""
    world = make_world(seed)
    benchmark = Benchmark(
        name="world",
        forget=world.forget,
        retain=world.retain,
        retain_held=world.retain_held,
        holdout=world.holdout,
        sets={"world_facts": world.world_facts},
        refusals=world.refusals,
        origin=f"generated, seed {seed}",
    )
    full, retained = (tuple(world.training_pairs(forget=forget)) for forget in (True, False))
    return Generated(benchmark, world.pretraining, full, retained)


def generated_from(benchmark: Benchmark) -> Generated:
    """Any benchmark of questions and answers, such as MUSE's or your own, ready for small models from scratch.

    The base learns the language of what is to be kept; the full model everything, the retrained one all but `forget`.
    InputError when there is nothing to keep.
    """
    kept = [(p.question, p.answer) for p in (*benchmark.retain, *benchmark.retain_held)]
    if not kept:
        raise InputError(
            f"Benchmark {benchmark.name} has no retain prompts: there is nothing to train a retrained model on."
        )
    forget = [(p.question, p.answer) for p in benchmark.forget]
    return Generated(benchmark, tuple(kept), (*forget, *kept), tuple(kept))


def _pairs(prompts: Sequence[Prompt]) -> tuple[Pair, ...]:
    """Every wording of every prompt, with its answer."""
    return tuple((question, p.answer) for p in prompts for question in (p.question, *p.paraphrases))


GENERATORS: Registry[Callable[[int], Generated]] = Registry("generated benchmark")
GENERATORS.add("world", make_built_in)
GENERATORS.add("contracts", make_contracts)
GENERATORS.add("multi-hop", make_multi_hop)
GENERATORS.add("frequency", make_frequency)


def generate(name: str, seed: int = 0) -> Generated:
    """A generated benchmark with its training pairs, by name (UnknownNameError lists the nearest)."""
    return GENERATORS[name](seed)


def _load(options: Options, *, name: str) -> Benchmark:
    """A generated benchmark; `corruption` has three models, so it is none of GENERATORS."""
    return make_corruption(options.seed).benchmark if name == "corruption" else generate(name, options.seed).benchmark


def _add(name: str, summary: str, paper: str = "ours", **facts: Any) -> None:
    add(name, summary, partial(_load, name=name), generated=True, paper=paper, **facts)


_add("world", "The built-in world: invented people, exact retrained model, nothing downloaded.")
_add(
    "contracts",
    "Generated contracts between linked parties; one to be forgotten, its neighbours kept.",
    "ours, after PISTOL (arXiv 2406.16810)",
    rows=("58",),
)
_add("multi-hop", "Generated people whose facts can be asked through one another.")
_add(
    "frequency",
    "A generated world whose facts were seen once or many times.",
    rows=("96",),
    lacks="the study over frequencies",
)
_add(
    "corruption",
    "A generated world with wrong facts trained over right ones; the wrong ones are to be unlearned.",
    "ours, after RESTOR",
    formula=QUESTIONS + "; set:original",
    rows=("110",),
    lacks="the protocol: what is recovered of the right facts",
)
