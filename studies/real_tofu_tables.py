"""Tables of the study of TOFU, from its cells alone."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from real_cells import Numbers, Store
from real_measure import rows_of
from real_tofu import Study, seeded
from real_tofu_design import Design

from leakatk.arrays import Floats
from leakatk.estimate.leak import excess, leak_at_k
from leakatk.metrics.retrained import forget_quality
from leakatk.report.content import Cell, Number, Table
from leakatk.report.table import to_markdown

TITLES = {
    "full": "full (never unlearned)", "retrained": "retrained (yardstick)", "npo": "NPO", "simnpo": "SimNPO",
    "graddiff": "GradDiff", "rmu": "RMU", "idknll": "IdkNLL", "idkdpo": "IdkDPO", "altpo": "AltPO", "undial": "UNDIAL",
    "wga": "WGA", "ce-u": "CE-U",
}  # fmt: skip
TAUGHT = ("full", "retrained")
Row = Callable[[str, "Measured"], list[Cell]]


def title(name: str) -> str:
    """A model's name for people."""
    name, _, seed = name.partition("-seed")
    twin = name.endswith("-control")
    name = name.removesuffix("-control")
    for kind, said in (("rule", "RULE"), ("calibrated", "calibrated RULE")):
        if name.startswith(f"{kind}-"):
            name = f"{said} around {TITLES[name.removeprefix(f'{kind}-')]}"
            break
    else:
        name = TITLES[name]
    return ("control of " if twin else "") + name + (f", seed {seed}" if seed else "")


@dataclass(frozen=True)
class Measured:
    """The numbers of one model, and the rows that the estimators take."""

    numbers: Numbers

    @property
    def n(self) -> int:
        return int(self.numbers["n"])

    def keys(self, *, paraphrased: bool = False) -> Floats:
        """(questions with keys, n) 0/1: whether a sample says every name and number of the answer."""
        part = self.numbers["paraphrased"] if paraphrased else self.numbers
        return rows_of([c for c in part["keys"] if c is not None], part["n"])

    @property
    def paraphrased(self) -> bool:
        return self.numbers["paraphrased"] is not None

    def greedy(self, scorer: str) -> float:
        return number_in(self.numbers["scorers"][scorer]["greedy"])

    def curve(self, scorer: str, k: int, part: str = "curves") -> Number:
        """leak@k of a scorer, or its excess over the retrained model, as the audit gave it; NaN where there is none."""
        found = self.numbers["scorers"][scorer].get(part, {}).get("samples")
        if found is None or k not in found["k"]:
            return Number(math.nan)
        at = found["k"].index(k)
        return Number(*(number_in(found[name][at]) for name in ("value", "low", "high")), digits=2)

    def exact(self, k: float) -> float:
        found = self.numbers["exact"]
        return number_in(found["value"][found["k"].index(k)])

    def similarity(self) -> Floats | None:
        found = self.numbers["similarity"]
        return None if found is None else np.asarray(found, dtype=np.float64)

    def metric(self, name: str) -> float:
        return number_in(self.numbers["metrics"].get(name))


def number_in(value: float | None) -> float:
    return math.nan if value is None else float(value)


class Results:
    """The cells of the study that are there."""

    def __init__(self, store: Store, design: Design) -> None:
        self.store, self.design = store, design
        self.models = Study(design, store, None, lambda: None).models()  # type: ignore[arg-type, return-value]
        self.order = [*TAUGHT, *self.models]

    def record(self, name: str) -> Numbers | None:
        found = self.store.read(name)
        return None if found is None else found["numbers"]

    def measured(self, name: str) -> Measured | None:
        """None: not run. A model that took no step is its base."""
        found = self.record(name)
        if found is None:
            return None
        return self.measured(found["same"]) if "same" in found else Measured(found)

    def seconds(self, name: str, *parts: str) -> float:
        found = (self.store.read(name) or {}).get("seconds", {})
        there = [float(found[part]) for part in parts if part in found]
        return sum(there) if there else math.nan

    def rows(self, row: Row) -> tuple[tuple[Cell, ...], ...]:
        """A row a model whose cell is there; the section says which are not."""
        there = [(name, self.measured(name)) for name in self.order]
        return tuple((title(name), *row(name, one)) for name, one in there if one is not None)

    def excess(self, one: Measured, k: int, *, paraphrased: bool = False) -> Number | None:
        """leak@k of the keys less the retrained model's, paired by question; None where that was not run."""
        other = self.measured("retrained")
        if other is None:
            return None
        return less(one.keys(paraphrased=paraphrased), other.keys(paraphrased=paraphrased), k)


def less(mine: Sequence[Sequence[float]] | Floats, other: Sequence[Sequence[float]] | Floats, k: int) -> Number:
    found = excess(mine, other, [k], missing="allow")
    return Number(float(found.value[0]), float(found.low[0]), float(found.high[0]), 2)


def leak(rows: Floats, k: int, digits: int = 2) -> Number:
    found = leak_at_k(rows, [k], missing="allow")
    return Number(float(found.value[0]), float(found.low[0]), float(found.high[0]), digits)


def plain(value: float, digits: int = 2) -> Number:
    return Number(value, digits=digits)


def or_not(found: Number | None) -> Cell:
    return "not run" if found is None else found


def leak_table(results: Results) -> str:
    n, few = results.design.n, results.design.paraphrased_n

    def row(name: str, one: Measured) -> list[Cell]:
        keys, cells = one.keys(), list[Cell]()
        cells += [plain(one.greedy("keys")), plain(leak(keys, 1).value, 3), plain(leak(keys, min(16, one.n)).value)]
        cells += [leak(keys, one.n), "" if name == "retrained" else or_not(results.excess(one, one.n))]
        if not one.paraphrased:
            return [*cells, *["none published"] * 3]
        again = one.keys(paraphrased=True)
        cells += [plain(number_in(one.numbers["paraphrased"]["greedy"])), leak(again, again.shape[1])]
        found = results.excess(one, again.shape[1], paraphrased=True)
        return [*cells, "" if name == "retrained" else or_not(found)]

    columns = (
        "model", "greedy", "leak@1", "leak@16", f"leak@{n}", f"excess@{n}", "in other words: greedy", f"leak@{few}",
        f"excess@{few}",
    )  # fmt: skip
    return to_markdown(Table("", columns, results.rows(row)))


def graded_table(results: Results) -> str:
    n, few = results.design.n, results.design.similar
    other = results.measured("retrained")
    theirs = other.similarity() if other else None

    def row(name: str, one: Measured) -> list[Cell]:
        mine = one.similarity()
        yard = name == "retrained"
        alike: list[Cell] = ["not run", "not run"]
        if mine is not None:
            width = mine.shape[1]
            alike = [plain(leak(mine, width).value), "not run" if theirs is None else less(mine, theirs, width)]
        return [
            plain(one.greedy("rouge-l")), plain(one.curve("rouge-l", 1).value), plain(one.curve("rouge-l", n).value),
            "" if yard else one.curve("rouge-l", n, "excess"), alike[0], "" if yard else alike[1],
            *(plain(one.exact(k), 3) for k in (1, 128, 10_000, 1_000_000)),
        ]  # fmt: skip

    columns = (
        "model", "ROUGE-L: greedy", "leak@1", f"leak@{n}", f"excess@{n}", f"similarity@{few}", "excess", "verbatim@1",
        "@128", "@10^4", "@10^6",
    )  # fmt: skip
    return to_markdown(Table("", columns, results.rows(row)))


def side_table(results: Results) -> str:
    other = results.measured("retrained")

    def row(name: str, one: Measured) -> list[Cell]:
        numbers = one.numbers
        quality = math.nan
        if other is not None and name != "retrained" and numbers["truth_ratios"]:
            quality = forget_quality(numbers["truth_ratios"], other.numbers["truth_ratios"])
        found = [
            number_in(numbers["kept"]["shown"]["rouge-l"]), number_in(numbers["kept"]["held"]["rouge-l"]),
            number_in(numbers["kept"]["held"]["keys"]), one.metric("real_authors_rouge"), one.metric("real_authors_prob"),
            one.metric("world_facts_rouge"), one.metric("world_facts_prob"), one.metric("auc_min-k++"),
        ]  # fmt: skip
        text = [
            number_in(v)
            for v in (numbers["fluency"]["forget"], numbers["fluency"]["held"], numbers["broken"]["forget"])
        ]
        steps = str(numbers["steps"]) if "steps" in numbers else "–"
        steps += ", stop rule not met" if numbers.get("met") is False else ""
        minutes = [
            results.seconds(name, "teaching", "unlearning") / 60,
            results.seconds(name, "sampling", "similarity", "greedy", "metrics", "fluency") / 60,
        ]
        return [
            *map(plain, found),
            plain(quality, 3),
            *map(plain, text),
            steps,
            *(plain(value, 1) for value in minutes),
        ]

    columns = (
        "model", "kept, shown", "kept, held", "held, keys", "real authors: ROUGE-L", "probability", "world facts: ROUGE-L",
        "probability", "Min-K%++ AUC", "forget quality", "fluency, forget", "fluency, held", "broken", "steps",
        "min to unlearn", "min to measure",
    )  # fmt: skip
    return to_markdown(Table("", columns, results.rows(row)))


def rule_pairs(results: Results) -> list[str]:
    """The names of RULE and calibrated RULE, all seeds."""
    return [
        name
        for name in results.models
        if name.startswith(("rule-", "calibrated-")) and "-control" not in name.partition("-seed")[0]
    ]


def twin(name: str) -> str:
    base, _, seed = name.partition("-seed")
    return seeded(f"{base}-control", int(seed or 0))


def rule_table(results: Results) -> str:
    """RULE less its control, paired by question."""
    rows: list[tuple[Cell, ...]] = []
    for name in rule_pairs(results):
        one, other, base = (results.measured(x) for x in (name, twin(name), results.models[name].base))
        record = results.record(name)
        if one is None or record is None:
            continue
        shown: list[Cell] = ["not run" if m is None else leak(m.keys(), m.n) for m in (base, one, other)]
        differ: list[Cell] = ["not run", "not run"]
        if other is not None:
            differ[0] = less(one.keys(), other.keys(), one.n)
            again = one.keys(paraphrased=True) if one.paraphrased else None
            differ[1] = "none published" if again is None else less(again, other.keys(paraphrased=True), again.shape[1])
        rows.append((title(name), *shown, *differ, str(record["steps"]), str(record["found"]), str(record["verdict"])))
    n, few = results.design.n, results.design.paraphrased_n
    columns = (
        "", f"base leak@{n}", f"RULE leak@{n}", f"control leak@{n}", "RULE less control", f"in other words, @{few}", "steps",
        "leaks found", "ended because",
    )  # fmt: skip
    return to_markdown(Table("", columns, tuple(rows)))


def rule_verdict(results: Results) -> str:
    """Whose interval is below 0, above it, or neither; computed, nulls included."""
    groups: dict[str, list[str]] = {"below": [], "above": [], "null": [], "open": []}
    for name in rule_pairs(results):
        one, other = results.measured(name), results.measured(twin(name))
        if one is None or other is None:
            groups["open"].append(title(name))
            continue
        found = less(one.keys(), other.keys(), one.n)
        groups["below" if found.high < 0 else "above" if found.low > 0 else "null"].append(title(name))
    said = {
        "below": "Below its control, interval without 0", "above": "Above it",
        "null": "Nulls, no difference is shown", "open": "Not run, or without its control",
    }  # fmt: skip
    return "\n".join(f"* {said[key]}: {'; '.join(names) or 'none'}." for key, names in groups.items()) + "\n"


def leak_verdict(results: Results) -> str:
    """Which methods greedy answers call forgotten, and which of these sampling contradicts."""
    names = [name for name in results.order if name not in TAUGHT]
    groups: dict[str, list[str]] = {key: [] for key in ("greedy", "sampling", "words", "none", "open")}
    for name in names:
        one = results.measured(name)
        found = None if one is None else results.excess(one, one.n)
        if one is None or found is None:
            groups["open"].append(title(name))
            continue
        again = results.excess(one, one.keys(paraphrased=True).shape[1], paraphrased=True) if one.paraphrased else None
        key = (
            "greedy" if one.greedy("keys") > results.design.said else
            "sampling" if found.low > 0 else
            "words" if again is not None and again.low > 0 else
            "none"
        )  # fmt: skip
        groups[key].append(title(name))
    n = results.design.n
    said = {
        "greedy": f"Not forgotten even by greedy answers (above {results.design.said:g} of the questions with keys)",
        "sampling": f"Forgotten by greedy answers, and sampling says not (excess@{n} with an interval above 0)",
        "words": "No excess is shown for the question as asked, and its paraphrase shows one",
        "none": "Forgotten by greedy answers, and no excess is shown",
        "open": "Not run",
    }
    return "\n".join(f"* {said[key]}: {'; '.join(found) or 'none'}." for key, found in groups.items()) + "\n"


def tuning_table(results: Results) -> str:
    rows: list[tuple[Cell, ...]] = []
    for name in results.design.methods:
        found = results.record(f"tune-{name}")
        if found is None:
            continue
        tried = "; ".join(
            f"{t['rate']:g}: {t['steps']} steps, greedy {number_in(t['greedy']):.2f}, held {number_in(t['held']):.2f}"
            f"{'' if t['met'] else ', stop rule not met'}"
            for t in found["trials"]
        )
        params = ", ".join(f"{key} {value}" for key, value in found["params"].items())
        rows.append((TITLES[name], tried, f"{found['rate']:g}", params))
    return to_markdown(Table("", ("method", "tried", "rate taken", "formula"), tuple(rows)))


def left_out(results: Results) -> str:
    """What a method could not train on; "" where all was used."""
    said = []
    for name in results.models:
        found = results.record(name) or {}
        if found.get("without_alternate"):
            said.append(f"{title(name)}: {found['without_alternate']} questions without an alternate answer")
    return f"Left out: {'; '.join(said)}.\n" if said else ""


def examples(results: Results) -> str:
    lines = []
    for name in results.order:
        one = results.measured(name)
        if one is not None and one.numbers["says"]:
            question, *drawn = one.numbers["says"][0]
            shown = "; ".join(f"“{' '.join(text.split())[:100]}”" for text in drawn)
            lines.append((title(name), question, shown))
    safe = str.maketrans({"<": "&lt;", "|": "\\|", "*": "\\*", "_": "\\_", "[": "\\["})
    return "\n".join(f"* {name}, asked “{q.translate(safe)}”: {s.translate(safe)}" for name, q, s in lines) + "\n"
