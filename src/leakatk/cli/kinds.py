"""Facts of each thing that has a name, as commands print them: its own, then what only its kind knows (defaults, range, an example)."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import MISSING, fields, is_dataclass
from typing import Any

from leakatk.papers.kinds import KINDS as ALL
from leakatk.papers.kinds import Kind
from leakatk.registry import Facts, facts_of

Said = Iterator[tuple[str, str]]

KINDS = {name: kind for name, kind in ALL.items() if name != "parts"}  # each has a command that lists it

NOTATION = """minimised: forget_weight * F + retain_weight * R, with R = -E<log p(y_t)> on retain answers unless given
p: the model; p_ref: before unlearning; (x, y): forget prompt and answer; y_idk: a refusal; z: logits
<...>: mean over an answer's tokens t; E: mean over answers; per=token: one mean over all tokens of the batch"""
PROBED = "leak@k of the prompts asked this way; worst case over ways w: E max over w and j <= k of S(answer j to w(x))"


def items_of(kind: Kind) -> Mapping[str, Any]:
    """Name -> what `leakatk KIND` lists. RULE is no preset: it wraps one, and stands with the methods."""
    items = kind.load()
    if kind.name != "methods":
        return items
    from leakatk.papers.parts import PARTS

    return {**{name: items[name] for name in items}, "rule": PARTS["rule"]}


def summary_of(facts: Facts) -> str:
    """One line: what it does, else where it was published."""
    return facts.summary or facts.paper


def described(kind: Kind, name: str, item: Any) -> dict[str, str]:
    """Title -> text of everything known about an item."""
    facts = facts_of(name, item)
    said = {
        "paper": facts.paper,
        "formula": facts.formula,
        **dict(_DETAILS.get(kind.name, _plain_facts)(name, item)),
        "source": facts.source,
        "reading": facts.reading and f"ours: {facts.reading}",
        "lacks": _lacks(facts.lacks),
        "rows": ", ".join(facts.rows) + " of the paper index (leakatk papers)" if facts.rows else "",
        "tags": ", ".join(sorted(facts.tags)),
    }
    summary = summary_of(facts)
    known = {title: text.strip() for title, text in said.items() if text.strip() and text.strip() != summary}
    return {"name": name, "summary": summary, **known, "example": kind.command(facts)}


def _lacks(lacks: str | Mapping[str, str]) -> str:
    return lacks if isinstance(lacks, str) else "\n".join(f"row {row}: {text}" for row, text in lacks.items())


def _method(name: str, method: Any) -> Said:
    if name == "rule":
        from leakatk.cli.rule_facts import facts

        yield from facts()
        return
    yield "where", NOTATION
    yield "defaults", _pairs(method.params)
    yield "training", _pairs(_changed(method.settings))
    small = method.for_small_models()
    changed = {key: value for key, value in small.params.items() if value != method.params.get(key)}
    yield "small", _pairs({**changed, **_changed(small.settings)}) + "  (--preset small)"
    yield "note", method.note


def _scorer(name: str, scorer: Any) -> Said:
    yield "range", f"{scorer.low:g} to {scorer.high:g}, high means {'leak' if scorer.higher_means_leak else 'good'}"
    yield "defaults", _pairs({f.name: f.default for f in fields(scorer) if f.default is not MISSING and f.repr})
    yield "needs", "a model or a service" if scorer.needs_model else "nothing but the text"
    yield "options", inspect.getdoc(scorer) or ""


def _probe(name: str, probe: Any) -> Said:
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
    yield "formula", facts_of(name, probe).formula or PROBED
    yield "defaults", _pairs({f.name: f.default for f in fields(probe)})
    yield "options", inspect.getdoc(probe) or ""
    yield "needs", probe.needs
    yield "note", "the answer stands in what is asked: compare with the retrained model" if probe.gives_answer else ""
    yield "question", town.question
    yield "asked as", str(asked.query)
    yield "answer", asked.answer


def _engine(name: str, engine: Any) -> Said:
    kind = engine.load()
    known = [p for p in inspect.signature(kind).parameters.values() if p.kind is inspect.Parameter.KEYWORD_ONLY]
    yield "defaults", _pairs({p.name: p.default for p in known})
    yield "options", inspect.getdoc(kind) or ""


def _benchmark(name: str, entry: Any) -> Said:
    from leakatk.benchmarks.protocols import PROTOCOLS

    family = name.partition("/")[0]
    yield "files", "generated here" if entry.generated else f"the hub, --data DIR, or LEAKATK_DATA/{family}"
    yield "defaults", "\n".join(f"{rules}: {_defaults(PROTOCOLS[rules].on(name))}" for rules in PROTOCOLS)


def _protocol(name: str, protocol: Any) -> Said:
    yield "defaults", _defaults(protocol)
    yield "grid", "; ".join(f"T={one.temperature:g} top-p={one.top_p:g}" for one in protocol.grid)
    yield "changes", "\n".join(protocol.changes)


def _plain_facts(name: str, item: Any) -> Said:
    """Of a kind without a form of its own: its options with their defaults, and what its facts have beyond those of all."""
    facts = facts_of(name, item)
    if isinstance(item, type) and is_dataclass(item):
        yield "defaults", _pairs({f.name: f.default for f in fields(item) if f.default is not MISSING and f.repr})
        yield "options", inspect.getdoc(item) or ""
    else:
        options = item.options() if callable(getattr(item, "options", None)) else getattr(item, "params", {})
        yield "defaults", _pairs(options)
    held = item() if isinstance(item, type) and is_dataclass(item) else item
    yield "needs", ", ".join(getattr(held, "needs", ()))
    for field in fields(facts)[len(fields(Facts)) :]:
        value = getattr(facts, field.name)
        if isinstance(value, tuple) and value and all(isinstance(one, str) for one in value):
            yield field.name, ", ".join(value)
        elif isinstance(value, bool | str) or (isinstance(value, int | float) and not math.isnan(value)):
            yield field.name, {True: "yes", False: "no"}[value] if isinstance(value, bool) else _plain(value)


_DETAILS: dict[str, Callable[[str, Any], Said]] = {
    "methods": _method,
    "scorers": _scorer,
    "probes": _probe,
    "engines": _engine,
    "benchmarks": _benchmark,
    "protocols": _protocol,
}


def _defaults(protocol: Any) -> str:
    """What `leakatk bench` takes unless told otherwise."""
    headline = f"{protocol.headline.label}, {protocol.headline.max_new_tokens} tokens"
    return f"n={protocol.n}, {headline}, scorer {protocol.scorer or 'by the prompts'}, ask={protocol.ask}"


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
