"""Generated benchmarks by name, each with what its models are trained on: a world a file, beside this one.

All are our own generators in the spirit of the papers they name, not their data.

    made = generate("contracts", seed=0)
    train_pair(made.pretraining, made.full, made.retained, "models", WORLD_RECIPE)
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from leakatk.benchmarks.base import QUESTIONS, Benchmark, Loader, Options, add
from leakatk.benchmarks.worlds.agents import AGENTS
from leakatk.benchmarks.worlds.agents import make_agents as make_agents
from leakatk.benchmarks.worlds.asked import ASKED
from leakatk.benchmarks.worlds.asked import make_asked as make_asked
from leakatk.benchmarks.worlds.canaries import make_canaries as make_canaries
from leakatk.benchmarks.worlds.contracts import GRAPHS
from leakatk.benchmarks.worlds.contracts import chain as chain
from leakatk.benchmarks.worlds.contracts import complete as complete
from leakatk.benchmarks.worlds.contracts import make_contracts as make_contracts
from leakatk.benchmarks.worlds.contracts import star as star
from leakatk.benchmarks.worlds.corruption import Corruption as Corruption
from leakatk.benchmarks.worlds.corruption import make_corruption as make_corruption
from leakatk.benchmarks.worlds.encoding import ENCODINGS
from leakatk.benchmarks.worlds.encoding import make_encoding as make_encoding
from leakatk.benchmarks.worlds.frequency import make_frequency as make_frequency
from leakatk.benchmarks.worlds.generated import Generated as Generated
from leakatk.benchmarks.worlds.generated import generated_from as generated_from
from leakatk.benchmarks.worlds.languages import make_languages as make_languages
from leakatk.benchmarks.worlds.multi_hop import make_multi_hop as make_multi_hop
from leakatk.benchmarks.worlds.order import ORDERS
from leakatk.benchmarks.worlds.order import make_order as make_order
from leakatk.benchmarks.worlds.origin import ORIGINS
from leakatk.benchmarks.worlds.origin import make_origin as make_origin
from leakatk.benchmarks.worlds.people import make_world
from leakatk.benchmarks.worlds.requests import STREAM
from leakatk.benchmarks.worlds.requests import make_requests as make_requests
from leakatk.benchmarks.worlds.same_answer import make_same_answer as make_same_answer
from leakatk.benchmarks.worlds.same_fact import FACT_FORMS
from leakatk.benchmarks.worlds.same_fact import make_same_fact as make_same_fact
from leakatk.benchmarks.worlds.topics import make_topics as make_topics
from leakatk.registry import Registry


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


GENERATORS: Registry[Callable[[int], Generated]] = Registry("generated benchmark")
GENERATORS.add("world", make_built_in)
GENERATORS.add("contracts", make_contracts)
GENERATORS.add("multi-hop", make_multi_hop)
GENERATORS.add("frequency", make_frequency)
GENERATORS.add("topics", make_topics)
for _name, _make in ENCODINGS.items():
    GENERATORS.add(f"encoding/{_name}", _make)
for _name, _make in ORIGINS.items():
    GENERATORS.add(f"origin/{_name}", _make)
for _name, _make in GRAPHS.items():
    GENERATORS.add(f"contracts/{_name}", _make)
GENERATORS.add("same-answer", make_same_answer)
GENERATORS.add("canaries", make_canaries)
GENERATORS.add("languages", make_languages)
for _name, _make in STREAM.items():
    GENERATORS.add(f"requests/{_name}", _make)
for _name, _make in ASKED.items():
    GENERATORS.add(_name, _make)
for _name, _make in FACT_FORMS.items():
    GENERATORS.add(_name, _make)
for _name, _make in AGENTS.items():
    GENERATORS.add(f"agent/{_name}", _make)
for _name, _make in ORDERS.items():
    GENERATORS.add(f"order/{_name}", _make)


def generate(name: str, seed: int = 0) -> Generated:
    """A generated benchmark with its training pairs, by name (UnknownNameError lists the nearest)."""
    return GENERATORS[name](seed)


def _generated(options: Options, *, name: str) -> Benchmark:
    return generate(name, options.seed).benchmark


def _corruption(options: Options) -> Benchmark:
    """It has three models, so it is none of GENERATORS."""
    return make_corruption(options.seed).benchmark


def _add(name: str, summary: str, paper: str = "ours", load: Loader | None = None, **facts: Any) -> None:
    add(name, summary, load or partial(_generated, name=name), generated=True, paper=paper, **facts)


_add("world", "The built-in world: invented people, exact retrained model, nothing downloaded.")
_add(
    "contracts",
    "Generated contracts between linked parties; one to be forgotten, its neighbours kept.",
    "ours, after PISTOL (arXiv 2406.16810)",
    rows=("58",),
)
for _name in GRAPHS:
    _add(
        f"contracts/{_name}",
        f"Generated contracts in a {_name} graph; what is to be kept by its distance from the one to be forgotten.",
        "ours, after PISTOL (arXiv 2406.16810)",
        formula=QUESTIONS + "; set:distance_1 and so on",
        rows=("58",),
    )
_add(
    "multi-hop",
    "Generated people whose facts can be asked through one another.",
    "ours, after FaithUn",
    rows=("45", "52"),
)
_add("topics", "A generated world with contracts to forget and people to keep: two kinds of questions.")
_add(
    "same-answer",
    "A generated world with facts to keep that have the same answer as facts to forget.",
    "ours, after FaithUn",
    formula=QUESTIONS + "; set:same_answer",
    rows=("52",),
)
_add(
    "canaries",
    "A generated world with random codes to be forgotten beside facts of people.",
    "ours, after Baluta et al. (in- and out-of-distribution unlearning)",
    formula=QUESTIONS + "; set:inside, set:outside",
    rows=("50",),
)
_add(
    "languages",
    "A generated world learnt in two languages, to be forgotten in the first.",
    formula=QUESTIONS + "; set:second, set:second_kept",
)
for _name in STREAM:
    _add(
        f"requests/{_name}",
        f"A generated world after {_name} of {len(STREAM)} requests to forget two people each.",
        "ours, after PULSE and FIT",
        formula=QUESTIONS + "; set:request_1 and so on, set:later",
        rows=("4", "13"),
        reading="Texts for images: an analogue of PULSE's second protocol, whose data cannot be had.",
    )
_add(
    "frequency",
    "A generated world whose facts were seen once or many times.",
    "ours, after Not All Data Are Unlearned Equally (arXiv 2504.05058)",
    rows=("96",),
)
_HOW = {
    "single": "facts learnt in one wording",
    "forget-many": "facts to forget learnt in three wordings, others in one",
    "retain-many": "facts to keep learnt in three wordings, others in one",
    "many": "facts learnt in three wordings",
    "texts": "facts learnt as one text a person, which is what is to be forgotten",
    "texts-by-fact": "facts learnt as one text a person, to be forgotten one by one",
    "sentence": "facts learnt as one sentence a person, which is what is to be forgotten",
    "sentence-by-fact": "facts learnt as one sentence a person, to be forgotten one by one",
}
for _name, _how in _HOW.items():
    _add(
        f"encoding/{_name}",
        f"A generated world with {_how}.",
        "ours, after learning-time encoding (Eval-DU+, TOFU+)",
        formula=QUESTIONS + "; set:facts",
        rows=("36",),
    )
for _name, _where in (("pretraining", "pre-training and met again"), ("finetuning", "fine-tuning alone")):
    _add(
        f"origin/{_name}",
        f"A generated world in which what is to be forgotten was taught in {_where}.",
        "ours, after PULSE",
        formula=QUESTIONS + "; set:other_origin",
        rows=("4",),
        reading="Texts for images: an analogue of PULSE's first protocol, whose data cannot be had.",
    )
_SCOPES = {
    "state": ("some things where they lie, with the steps that say so", "set:state_kept, set:steps_kept, set:beside"),
    "trajectory": (
        "the steps of some tasks, not the things",
        "set:state_kept, set:steps_kept, set:same_items, set:beside",
    ),
    "environment": ("a whole kind of task", "set:state_kept, set:steps_kept"),
}
for _name, (_what, _sets) in _SCOPES.items():
    _add(
        f"agent/{_name}",
        f"A generated agent with tasks of four kinds, which is to forget {_what}.",
        "ours, after Secure Forgetting in agents (arXiv 2604.00430)",
        formula=f"{QUESTIONS}; {_sets}",
        rows=("65",),
        reading="a trajectory is said in one answer, and its environments are text; the paper's agents act in those of others",
    )
for _name in ORDERS:
    _add(
        f"order/{_name}",
        f"A generated world learnt in three stages, the people to forget in the {_name} one.",
        "ours, after retrain equivalence (arXiv 2510.16629)",
        formula=QUESTIONS + "; set:world_facts",
        rows=("21",),
        reading="A stage reads its own facts four times as often as the others': small models lose what they do not meet again. All "
        "orders read the same facts equally often",
    )
_ASKED = {
    "open-book": ("answers that stand before the question are read", "ours, after CAU", ("34",)),
    "numbered": ("two numbered questions in one prompt are answered both", "ours, after SEPS", ("31",)),
    "chat": ("a second turn asks on without naming anybody", "ours", ()),
    "instructed": ("an instruction lists of whom nothing may be said", "ours, after VLM-UnBench", ("64",)),
}
for _name, (_how, _paper, _rows) in _ASKED.items():
    _add(
        _name,
        f"A generated world whose models know one more way of asking: {_how}.",
        _paper,
        formula=QUESTIONS + f"; set:{_name}, set:{_name}_kept",
        rows=_rows,
    )
_SHOWN = {
    "same-fact": "as a question",
    "same-fact/gaps": "as a sentence with gaps",
    "same-fact/spelt": "with the name spelt out",
}
for _name, _how in _SHOWN.items():
    _add(
        _name,
        f"A generated world whose facts are known in four forms, and to be forgotten as they are shown in one: {_how}.",
        "ours, after ORT (arXiv 2506.07795)",
        formula=QUESTIONS + "; set:gaps, set:gaps_kept and so on for the forms that are not shown",
        reading="Facts of invented people in forms of ours (a choice among four is measured and not shown), where theirs are of real people; a name that is spelt out stands for theirs of rare tokens",
        rows=("113",),
    )
_add(
    "corruption",
    "A generated world with wrong facts trained over right ones; the wrong ones are to be unlearned.",
    "ours, after RESTOR",
    _corruption,
    formula=QUESTIONS + "; set:original",
    rows=("110",),
)
