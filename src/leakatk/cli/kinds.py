"""What has a name (methods, scorers, probes, engines, benchmarks, protocols), and what is said of each."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping
from dataclasses import MISSING, dataclass, fields, is_dataclass
from typing import Any

from leakatk.cli import sources


def _methods() -> Mapping[str, Any]:
    from leakatk.unlearning.methods import METHODS

    return {**{name: METHODS[name] for name in METHODS}, "rule": _Rule()}


def _scorers() -> Mapping[str, Any]:
    from leakatk.scorers.base import SCORERS

    return SCORERS  # type: ignore[return-value]


def _probes() -> Mapping[str, Any]:
    from leakatk.probes import PROBES

    return PROBES  # type: ignore[return-value]


def _engines() -> Mapping[str, Any]:
    from leakatk.sampling.engines import ENGINES

    return ENGINES  # type: ignore[return-value]


def _benchmarks() -> Mapping[str, Any]:
    from leakatk.benchmarks.catalog import BENCHMARKS

    return BENCHMARKS  # type: ignore[return-value]


def _protocols() -> Mapping[str, Any]:
    from leakatk.benchmarks.protocols import PROTOCOLS

    return PROTOCOLS  # type: ignore[return-value]


@dataclass(frozen=True, slots=True)
class _Rule:
    """RULE is no preset: it wraps one, with settings of its own."""

    paper: str = sources.RULE_PAPER


@dataclass(frozen=True, slots=True)
class Kind:
    """load: the registry.  summary: one line of an item.  facts: (title, text) pairs about it.  example: its use."""

    load: Callable[[], Mapping[str, Any]]
    what: str
    summary: Callable[[Any], str]
    facts: Callable[[str, Any], Iterator[tuple[str, str]]]
    example: str
    shown: str  # the name used in the example of the help


def _source(known: Mapping[str, tuple[str, str]], name: str) -> Iterator[tuple[str, str]]:
    formula, paper = known.get(name, ("", ""))
    yield "paper", paper
    yield "formula", formula


def _method(name: str, method: Any) -> Iterator[tuple[str, str]]:
    if isinstance(method, _Rule):
        from leakatk.cli.rule_facts import facts

        yield from facts()
        return
    yield "paper", method.paper
    yield "formula", sources.METHODS.get(name, "")
    yield "where", sources.NOTATION
    yield "defaults", _pairs(method.params)
    yield "training", _pairs(_changed(method.settings))
    yield "from", method.source
    yield "small", _pairs({**method.small_params, **_changed(method.small)}) + "  (--preset small)"
    yield "note", method.note


def _scorer(name: str, scorer: Any) -> Iterator[tuple[str, str]]:
    yield from _source(sources.SCORERS, name)
    yield "range", f"{scorer.low:g} to {scorer.high:g}, high means {'leak' if scorer.higher_means_leak else 'good'}"
    yield "defaults", _pairs({f.name: f.default for f in fields(scorer) if f.default is not MISSING and f.repr})
    yield "needs", "a model or a service" if scorer.needs_model else "nothing but the text"
    yield "options", inspect.getdoc(scorer) or ""


def _probe(name: str, probe: Any) -> Iterator[tuple[str, str]]:
    from leakatk.probes import get_probe, variants
    from leakatk.prompts import Prompt

    town = Prompt(
        "p0", "In which town was Ada Pell born?", "Ada Pell was born in Zorvik.", ("Where was Ada Pell born?",),
        "The birth of Ada Pell took place in Zorvik.", facts=("Zorvik",), source="Ada Pell",
    )  # fmt: skip
    taught = Prompt("p1", "Who taught Ada Pell?", "Ada Pell was taught by Mira Quell.", source="Ada Pell")
    kept = [
        Prompt("r0", "In which town was Bo Tarn born?", "Bo Tarn was born in Lusk."),
        Prompt("r1", "Who taught Cy Orel?", "Cy Orel was taught by Ina Vost."),
        Prompt("r2", "What did Di Fenn write?", "Di Fenn wrote The Quiet Hill."),
    ]
    asked = variants(get_probe(name), [town, taught], kept)["p0"][0]
    yield "paper", probe.paper
    yield "formula", sources.PROBES
    yield "defaults", _pairs({f.name: f.default for f in fields(probe)})
    yield "options", inspect.getdoc(probe) or ""
    yield "needs", probe.needs
    yield "note", "the answer stands in what is asked: compare with the retrained model" if probe.gives_answer else ""
    yield "question", town.question
    yield "asked as", str(asked.query)
    yield "answer", asked.answer


def _engine(name: str, engine: Any) -> Iterator[tuple[str, str]]:
    yield from _source(sources.ENGINES, name)
    kind = engine.load()
    known = [p for p in inspect.signature(kind).parameters.values() if p.kind is inspect.Parameter.KEYWORD_ONLY]
    yield "defaults", _pairs({p.name: p.default for p in known})
    yield "options", inspect.getdoc(kind) or ""


def _benchmark(name: str, entry: Any) -> Iterator[tuple[str, str]]:
    from leakatk.benchmarks.protocols import PROTOCOLS

    family = name.partition("/")[0]
    source = dict(_source(sources.BENCHMARKS, family))
    yield from source.items()
    yield (
        "files",
        "generated here" if source["paper"].startswith("ours") else "the hub, --data DIR, or LEAKATK_DATA/" + family,
    )
    yield "defaults", "\n".join(f"{rules}: {_defaults(PROTOCOLS[rules].on(name))}" for rules in PROTOCOLS)


def _protocol(name: str, protocol: Any) -> Iterator[tuple[str, str]]:
    yield from _source(sources.PROTOCOLS, name)
    yield "defaults", _defaults(protocol)
    yield "grid", "; ".join(f"T={one.temperature:g} top-p={one.top_p:g}" for one in protocol.grid)
    yield "changes", "\n".join(protocol.changes)


def _defaults(protocol: Any) -> str:
    """What `leakatk bench` takes unless told otherwise."""
    headline = f"{protocol.headline.label}, {protocol.headline.max_new_tokens} tokens"
    return f"n={protocol.n}, {headline}, scorer {protocol.scorer or 'by the prompts'}, ask={protocol.ask}"


KINDS = {
    "methods": Kind(
        _methods, "the unlearning methods", lambda item: item.paper, _method,
        "leakatk unlearn MODEL --benchmark world --method {} --out models/forgot", "npo",
    ),
    "scorers": Kind(
        _scorers, "the core metrics", lambda item: item.summary, _scorer,
        "leakatk score runs/forgot --scorer {}", "rouge-l",
    ),
    "probes": Kind(
        _probes, "the probes", lambda item: item.summary, _probe,
        "leakatk audit MODEL --benchmark world --probe {} --out runs/forgot", "few-shot",
    ),
    "engines": Kind(
        _engines, "the sampling engines", lambda item: item.summary, _engine,
        "leakatk audit MODEL --benchmark world --engine {} --out runs/forgot", "native",
    ),
    "benchmarks": Kind(
        _benchmarks, "the benchmarks", lambda item: item.summary, _benchmark,
        "leakatk audit MODEL --benchmark {} --out runs/forgot", "world",
    ),
    "protocols": Kind(
        _protocols, "the protocols", lambda item: item.summary, _protocol,
        "leakatk bench tofu/forget10 --model MODEL --protocol {} --out results", "paper",
    ),
}  # fmt: skip


def described(kind: Kind, name: str, item: Any) -> dict[str, str]:
    """Title -> text of everything known about an item."""
    summary = kind.summary(item)
    facts = {title: text.strip() for title, text in kind.facts(name, item)}
    known = {title: text for title, text in facts.items() if text and text != summary}
    return {
        "name": name,
        "summary": summary,
        **known,
        "example": sources.EXAMPLES.get(name) or kind.example.format(name),
    }


def _changed(settings: Any) -> dict[str, Any]:
    """The fields of a settings object that are not the default; the learning rate always."""
    return {
        f.name: getattr(settings, f.name) for f in fields(settings) if getattr(settings, f.name) != f.default or f.name == "learning_rate"
    }  # fmt: skip


def _pairs(values: Mapping[str, Any]) -> str:
    return ", ".join(f"{key}={_plain(value)}" for key, value in values.items()) or "no options"


def _plain(value: Any) -> str:
    if is_dataclass(value):
        return _pairs(_changed(value))
    return f"{value:g}" if isinstance(value, float) else str(value)
