"""Kinds of things that have a name, and where the registry of each is. Listing the kinds imports none of them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from pkgutil import iter_modules
from typing import Any

from leakatk.registry import Facts, facts_of

PACKAGE = Path(__file__).resolve().parents[1]


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind. where: its registry, "package.module:NAME"; importing that module, or its room, registers all there is."""

    name: str
    """Plural, as `leakatk NAME` lists it."""
    where: str
    what: str
    example: str
    """A command that runs one, or a line of Python where there is none, with {} for its name."""
    shown: str = ""
    """The one that the help of `leakatk NAME` describes."""
    spread: bool = False
    """Whether the modules of its room register them, each its own, so that all are imported."""

    @property
    def one(self) -> str:
        """ "method": one of them."""
        return self.name.removesuffix("s")

    @property
    def there(self) -> bool:
        """Whether the module defines the registry. Its text is read, since importing it may take seconds."""
        module, _, name = self.where.partition(":")
        place = PACKAGE.joinpath(*module.split(".")[1:])
        files = [file for file in (place.with_suffix(".py"), place / "__init__.py") if file.exists()]
        return any(re.search(rf"\b{name}\b", file.read_text(encoding="utf-8")) for file in files)

    def load(self) -> Mapping[str, Any]:
        """Name -> what is registered."""
        module, _, name = self.where.partition(":")
        if self.spread:
            room = import_module(module.rpartition(".")[0])
            for found in iter_modules(room.__path__, f"{room.__name__}."):
                import_module(found.name)
        items: Mapping[str, Any] = getattr(import_module(module), name)
        return items

    def facts(self) -> Iterator[Facts]:
        items = self.load()
        # By name: the order of registration is that of imports, which differs from one program to the next.
        yield from (facts_of(name, items[name]) for name in sorted(items))

    def command(self, facts: Facts) -> str:
        """The command, or line of Python, that runs one."""
        needed = getattr(facts, "needs", ()) if self.name == "methods" else ()
        return facts.example or self.example.format(facts.name).replace(" --out", f"{_given(needed)} --out")


def _given(needs: tuple[str, ...]) -> str:
    """The options that give what is needed (`Known.need`)."""
    found = ""
    for name in needs:
        kind, _, key = name.partition(" ")
        found += f" --auxiliary {key}=MODEL" if kind == "auxiliary" else f" --{name} FILE"
    return found


_ALL = (
    Kind(
        "methods", "leakatk.unlearning.methods:METHODS", "the unlearning methods",
        "leakatk unlearn MODEL --benchmark world --method {} --out models/forgot", "npo",
    ),
    Kind(
        "guards", "leakatk.guards.base:GUARDS", "the guards",
        "leakatk audit MODEL --benchmark world --guard {} --out runs/guarded", "curate", spread=True,
    ),
    Kind(
        "attacks", "leakatk.attacks.base:ATTACKS", "the attacks",
        "leakatk attack MODEL --benchmark world --attack {} --out runs/attacked", "relearn", spread=True,
    ),
    Kind(
        "writers", "leakatk.synthesis.base:WRITERS", "the writers of training data",
        'from leakatk.synthesis import written; rows = written("{}", prompts, known).rows', "corruption", spread=True,
    ),
    Kind(
        "scorers", "leakatk.scorers:SCORERS", "the core metrics",
        "leakatk score runs/forgot --scorer {}", "rouge-l",
    ),
    Kind(
        "metrics", "leakatk.metrics.base:METRICS", "the metrics of a whole model",
        "leakatk bench world --model MODEL --metric {} --out results", "extraction", spread=True,
    ),
    Kind(
        "probes", "leakatk.probes:PROBES", "the probes",
        "leakatk audit MODEL --benchmark world --probe {} --out runs/forgot", "few-shot",
    ),
    Kind(
        "engines", "leakatk.sampling.engines:ENGINES", "the sampling engines",
        "leakatk audit MODEL --benchmark world --engine {} --out runs/forgot", "native",
    ),
    Kind(
        "benchmarks", "leakatk.benchmarks.catalog:BENCHMARKS", "the benchmarks",
        "leakatk audit MODEL --benchmark {} --out runs/forgot", "world",
    ),
    Kind(
        "protocols", "leakatk.benchmarks.protocols:PROTOCOLS", "the protocols",
        "leakatk bench tofu/forget10 --model MODEL --protocol {} --out results", "paper",
    ),
    Kind("parts", "leakatk.papers.parts:PARTS", "the parts of the library that are of no such kind", "leakatk papers {}"),
)  # fmt: skip
KINDS = {kind.name: kind for kind in _ALL if kind.there}
