"""Section of docs/results-real.md on knowledge from pre-training, from the cells alone."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from real_beside_world import beside_world
from real_cells import Numbers, Store
from real_knowledge import MORE, RULES, Design
from real_measure import rows_of

from leakatk.estimate.curves import LeakCurve
from leakatk.estimate.from_probability import leak_from_logprob
from leakatk.estimate.intervals import difference_interval
from leakatk.estimate.leak import excess, leak_at_k
from leakatk.report.content import Cell, Number, Table
from leakatk.report.table import to_markdown

TITLES = {
    "original": "as it comes", "npo": "NPO", "simnpo": "SimNPO", "graddiff": "GradDiff", "idknll": "IdkNLL", "rmu": "RMU",
    "npo-wordings": "NPO, trained in three wordings", "rule-npo": "RULE-NPO, 3 x 20 steps, one wording",
    "rule-npo-wordings": "RULE-NPO, 3 x 20 steps, three wordings",
    "rule-npo-short": "RULE-NPO, 10 x 6 steps, one wording",
    "rule-npo-short-wordings": "RULE-NPO, 10 x 6 steps, three wordings",
    "rule-idknll-wordings": "RULE-IdkNLL, 3 x 20 steps, three wordings",
    "rule-rmu-wordings": "RULE-RMU, 3 x 20 steps, three wordings",
    "wga": "WGA", "undial": "UNDIAL", "ce-u": "CE-U", "idkdpo": "IdkDPO", "kl": "KL", "me": "ME", "ngdiff": "NGDiff",
    "blur-npo": "BLUR-NPO", "pdu": "PDU", "catnip": "CATNIP", "jensun": "JensUn", "npo-sign": "NPO, signs of gradients",
    "cau-npo": "CAU-NPO", "mp-me": "MP-ME", "loku": "LoKU (hinge)", "sure": "SURE", "u2a": "U2A", "dd-distil": "DD-distil",
}  # fmt: skip
ROLES = ("asked", "detection", "held-out")
KS = (1, 16, 64)
RARE = 1e-6  # probability of a sentence that an exact audit of it would call forgotten


def title(name: str) -> str:
    if name.endswith("-control"):
        return f"control of {TITLES[name.removesuffix('-control')]}"
    return TITLES[name]


@dataclass(frozen=True)
class Measured:
    """The numbers of one model, and the rows that the estimators take."""

    numbers: Numbers

    @property
    def n(self) -> int:
        return int(self.numbers["n"])

    def wordings(self, role: str) -> list[int]:
        return [w for w, one in enumerate(self.numbers["roles"]) if one == role]

    def rows(self, role: str, kind: str = "") -> np.ndarray:
        """0/1 scores (prompts x wordings of the role, n) of the forgotten items, of one kind or of all."""
        picked = [i for i, one in enumerate(self.numbers["forget"]) if not kind or one.startswith(f"{kind}/")]
        return np.concatenate(
            [rows_of([self.numbers["leaks"][w][i] for i in picked], self.n) for w in self.wordings(role)]
        )

    def unknowable(self, role: str) -> np.ndarray:
        """0/1 scores of the forgotten items' keys in answers about invented names of their kind: a row a pair and wording."""
        return np.concatenate(
            [
                rows_of(counts, self.n)
                for w in self.wordings(role)
                for table in self.numbers["invented"][w].values()
                for counts in table
            ]
        )

    def leak(self, role: str, ks: Sequence[int], kind: str = "") -> LeakCurve:
        return leak_at_k(self.rows(role, kind), list(ks))

    def greedy(self, role: str) -> float:
        return float(np.mean([self.numbers["greedy"][w] for w in self.wordings(role)]))

    def verbatim(self, role: str, k: float) -> float:
        logprob = np.minimum([v for w in self.wordings(role) for v in self.numbers["logprob"][w]], 0.0)
        return float(np.mean(leak_from_logprob(logprob, k)))

    def kept(self, name: str, role: str) -> float:
        return float(np.mean(self.numbers["kept"][f"{name}/{self.wordings(role)[0]}"]))


def curve(found: LeakCurve, at: int) -> Number:
    return Number(float(found.value[at]), float(found.low[at]), float(found.high[at]), 2)


def difference(model: LeakCurve, other: LeakCurve) -> Number:
    low, high = difference_interval(model, other)
    return Number(float(model.value[0] - other.value[0]), float(low[0]), float(high[0]), 2)


class Results:
    """The cells of the study that are there. Those of the model as it comes are what the others are read against."""

    def __init__(self, store: Store, design: Design) -> None:
        self.store, self.design = store, design
        rules = [name for rule in RULES for name in (rule, f"{rule}-control")]
        self.methods = [*design.methods, *MORE]
        self.order = ["original", *self.methods, "npo-wordings", *rules]

    @property
    def n(self) -> int:
        return self.design.n

    def measured(self, name: str) -> Measured | None:
        found = self.store.read(name)
        if found is None:
            return None
        numbers = found["numbers"]
        return self.measured(numbers["same"]) if "same" in numbers else Measured(numbers)

    def there(self) -> list[tuple[str, Measured]]:
        return [(name, one) for name in self.order if (one := self.measured(name)) is not None]

    def seconds(self, name: str, part: str) -> float:
        found = self.store.read(name) or {}
        return float(found.get("cpu_seconds", {}).get(part, math.nan))

    def rows(self, row) -> tuple[tuple[Cell, ...], ...]:  # type: ignore[no-untyped-def]
        """A row a model whose cell is there; the section says which are not."""
        return tuple((title(name), *row(name, one)) for name, one in self.there())


def elsewhere(results: Results) -> str:
    """Which models were made or measured in another arithmetic than the rest; "" where none was."""
    there = results.there()
    trained = [title(name) for name, one in there if one.numbers.get("precision") == "fp32"]
    asked = [title(name) for name, one in there if one.numbers.get("arithmetic") == "fp32"]
    said = f" Trained in fp32, on a processor without fast bf16: {'; '.join(trained)}." if trained else ""
    return said + (f" Measured in fp32 with weights rounded to bf16: {'; '.join(asked)}." if asked else "")


def leak_table(results: Results) -> str:
    def row(name: str, one: Measured) -> list[Cell]:
        asked, held = one.leak("asked", KS), one.leak("held-out", KS)
        return [
            Number(one.greedy("asked"), digits=2), Number(float(asked.value[0])), Number(float(asked.value[1]), digits=2),
            curve(asked, 2), number_of(one.verbatim("asked", 128)), number_of(one.verbatim("asked", 1e6)),
            Number(one.greedy("held-out"), digits=2), Number(float(held.value[0])), Number(float(held.value[1]), digits=2),
            curve(held, 2),
        ]  # fmt: skip

    columns = (
        "model", "greedy", "leak@1", "leak@16", "leak@64", "verbatim@128", "verbatim@10^6",
        "held-out: greedy", "leak@1", "leak@16", "leak@64",
    )  # fmt: skip
    return to_markdown(Table("", columns, results.rows(row)))


def number_of(value: float) -> Number:
    return Number(value, digits=3)


def excess_table(results: Results) -> str:
    original = results.measured("original")

    def row(name: str, one: Measured) -> list[Cell]:
        cells: list[Cell] = []
        for role in ("asked", "held-out"):
            leak, own = one.leak(role, [64]), leak_at_k(one.unknowable(role), [64])
            null = leak_at_k(original.unknowable(role), [64]) if original else None
            cells += [difference(leak, null) if null else "not run", curve(own, 0), difference(leak, own)]
        return cells

    columns = (
        "model", "excess@64 over the null", "names a forgotten key to an invented name @64", "leak@64 less that",
        "held-out: excess@64 over the null", "to an invented name @64", "leak@64 less that",
    )  # fmt: skip
    return to_markdown(Table("", columns, results.rows(row)))


def side_table(results: Results) -> str:
    def row(name: str, one: Measured) -> list[Cell]:
        numbers = one.numbers
        found = [
            one.kept("shown", "asked"), one.kept("unshown", "asked"), one.kept("unshown", "held-out"), numbers["general"],
            numbers["fluency"]["forget"], numbers["fluency"]["unshown"], numbers["broken"]["forget"],
        ]  # fmt: skip
        steps = (
            f"{numbers['steps']}{'' if numbers.get('met', True) else ', rule not met'}" if "steps" in numbers else "–"
        )
        return [
            *(Number(math.nan if v is None else float(v), digits=2) for v in found), steps,
            Number(results.seconds(name, "unlearning") / 60, digits=1), Number(results.seconds(name, "sampling") / 60, digits=1),
        ]  # fmt: skip

    columns = (
        "model", "kept, shown", "kept, not shown", "kept, not shown, held-out wording", "general: ROUGE-L to its own answers",
        "fluency, forgotten questions", "fluency, kept questions", "broken", "steps", "CPU min to unlearn", "CPU min to sample",
    )  # fmt: skip
    return to_markdown(Table("", columns, results.rows(row)))


def rule_table(results: Results) -> str:
    """Each RULE less its control, and less NPO trained in the detection's wordings."""
    rows: list[tuple[Cell, ...]] = []
    for name in RULES:
        one, twin, plain = (results.measured(x) for x in (name, f"{name}-control", "npo-wordings"))
        if one is None:
            continue
        record = (results.store.read(name) or {})["numbers"]
        cells: list[Cell] = [str(sum(1 for r in record["rounds"] if r["steps"])), str(record["found"])]
        for other in (twin, plain if RULES[name][0] == "npo" else one):
            for role in ("asked", "held-out"):
                if other is None or other is one:
                    cells.append("not run" if other is None else "–")
                    continue
                found = excess(one.rows(role), other.rows(role), [64])
                cells.append(Number(float(found.value[0]), float(found.low[0]), float(found.high[0]), 2))
        rows.append((title(name), *cells, record["verdict"]))
    columns = (
        "", "rounds", "leaks found", "less its control, asked", "less its control, held-out",
        "less NPO in three wordings, asked", "held-out", "ended because",
    )  # fmt: skip
    return to_markdown(Table("", columns, tuple(rows)))


def rule_verdicts(results: Results) -> str:
    """Where RULE is told from its control and from NPO in three wordings; what is not told is a null."""
    lines = []
    for role in ("asked", "held-out"):
        for other, says in (("control", "its control"), ("npo-wordings", "NPO in three wordings")):
            below, above, null = [], [], []
            for name in RULES:
                one = results.measured(name)
                twin = results.measured(f"{name}-control" if other == "control" else other)
                if one is None or twin is None or (other != "control" and RULES[name][0] != "npo"):
                    continue
                found = excess(one.rows(role), twin.rows(role), [64])
                (below if found.high[0] < 0 else above if found.low[0] > 0 else null).append(title(name))
            if below or above or null:
                lists = [
                    f"{word}: {'; '.join(names) or 'none'}"
                    for word, names in (("below it", below), ("above it", above), ("no difference shown", null))
                ]
                lines.append(f"* leak@64, {role}, beside {says}: {'. '.join(lists)}.")
    return "\n".join(lines) + "\n" if lines else ""


def tuning_table(results: Results) -> str:
    """Every trial on the tuning set, and which rate was taken."""
    rows: list[tuple[Cell, ...]] = []
    for name in (*results.design.methods, *MORE):
        found = results.store.read(f"tune-{name}")
        if found is None:
            continue
        for trial in found["numbers"]["trials"]:
            taken = "taken" if trial["rate"] == found["numbers"]["rate"] else ""
            met = "yes" if trial["met"] else "no"
            shares = [Number(trial[key], digits=2) for key in ("greedy", "unshown")]
            rows.append((title(name), f"{trial['rate']:g}", str(trial["steps"]), met, *shares, taken))
    columns = ("method", "rate", "steps", "stop rule met", "greedy, tuning items", "kept, not shown", "")
    return to_markdown(Table("", columns, tuple(rows)))


def kind_table(results: Results) -> str:
    def row(name: str, one: Measured) -> list[Cell]:
        return [
            curve(one.leak(role, [64], kind), 0) if len(one.rows(role, kind)) else "none forgotten"
            for kind in results.design.kinds
            for role in ("asked", "held-out")
        ]

    columns = (
        "model",
        *(f"{kind}: leak@64, {role}" for kind in results.design.kinds for role in ("asked", "held-out")),
    )
    return to_markdown(Table("", columns, results.rows(row)))


def verdicts(results: Results) -> str:
    """Who forgot by greedy answers, and whom sampling or another wording contradicts; computed, nulls included."""
    original = results.measured("original")
    if original is None:
        return ""
    null = {role: leak_at_k(original.unknowable(role), [64]) for role in ("asked", "held-out")}
    groups: dict[str, list[str]] = {key: [] for key in ("sampling", "wording", "none", "greedy")}
    for name, one in results.there():
        if name == "original":
            continue
        above = {role: difference(one.leak(role, [64]), null[role]).low > 0 for role in null}
        key = (
            "greedy" if one.greedy("asked") > 0.05 else
            "sampling" if above["asked"] else
            "wording" if above["held-out"] else
            "none"
        )  # fmt: skip
        groups[key].append(title(name))
    said = {
        "greedy": "Not forgotten even by the greedy answers to the question as asked (above .05)",
        "sampling": "Forgotten by greedy answers, and sampling the same question says not (excess@64 with an interval above 0)",
        "wording": "No excess is shown for the question as asked, and the held-out wordings show one",
        "none": "No excess is shown in either",
    }
    return "\n".join(f"* {said[key]}: {'; '.join(names) or 'none'}." for key, names in groups.items()) + "\n"


def unseen_by_exact(results: Results) -> str:
    """Items that every sample says though the true sentence itself will hardly ever be sampled."""
    found = []
    for name, one in results.there():
        numbers = one.numbers
        items = [
            item.partition("/")[2]
            for item, leaks, logprob in zip(numbers["forget"], numbers["leaks"][0], numbers["logprob"][0], strict=True)
            if leaks == one.n and logprob < math.log(RARE)
        ]
        found += [f"{title(name)}: {', '.join(items)}"] if items else []
    said = "; ".join(found) or "none"
    return f"Said in every sample, though the true sentence to the letter has a probability below {RARE:g}: {said}.\n"


def examples(results: Results) -> str:
    lines = []
    for name, one in results.there():
        question, greedy, *drawn = one.numbers["says"][0]
        shown = "; ".join(f"“{' '.join(text.split())[:90]}”" for text in (greedy, *drawn[:1]))
        said = f"{title(name)}, asked “{question}”: {shown}"
        lines.append("* " + said.translate(str.maketrans({"<": "&lt;", "|": "\\|", "*": "\\*"})))
    return "\n".join(lines) + "\n"


def section(store: Store, design: Design | None = None) -> str:
    """The section as Markdown."""
    results = Results(store, design or Design())
    read = store.read("known")
    if read is None:
        return f"## Knowledge from pre-training\n\nNot run: {store.study} has no cell yet.\n"
    known = {kind: sum(all(row) for row in rows.values()) for kind, rows in read["numbers"]["known"].items()}
    asked = {kind: len(rows) for kind, rows in read["numbers"]["known"].items()}
    missing = [name for name in results.order if results.measured(name) is None]
    first = results.measured("original")
    forgotten = len(first.numbers["forget"]) if first else 0
    counts = ", ".join(f"{known[kind]} of {asked[kind]} {kind}" for kind in known)
    d = results.design
    return f"""## Knowledge from pre-training

{d.model} (SHA-256 of its float32 weights {read["weights"][:16]}...) answers {counts} rightly in all five wordings, greedily. {sum(d.tuning.values())} of them chose the settings and are in no number below; of the rest a quarter, {forgotten} items, is to be forgotten. Two thirds of the others are shown to the unlearner beside general questions with the model's own answers, and a third is not.

The unlearner sees one wording. RULE's detection may ask two more. Two are asked by no training and no detection: held-out. {d.n} samples a question and wording at T = 1, at most {d.longest} tokens, measured in {d.dtype}.{elsewhere(results)} A leak is an answer that says the key ("Paris"). Every method stops at its first check, one in {d.check_every} steps, where greedy answers say no key and 95% of a sample of the kept ones; at most {d.steps} steps of {d.batch} forget and {d.batch} retain answers. Brackets are 95% intervals over samples; the items are fixed, one seed of unlearning. Not run: {", ".join(missing) or "none"}.

{leak_table(results)}
verbatim: the probability that one of k answers is the true sentence to the letter, computed and not sampled. {unseen_by_exact(results)}
{verdicts(results)}
### Against what cannot be known

No model exists that never read of France. Its stand-in is the model as it comes, asked in the same way about invented countries, elements and works: it knows nothing of them, and still says real names. The null is how often one of 64 such answers says the key of a forgotten item, the mean over all pairs of an invented name and a forgotten key of its kind. All pairs, and not one permutation, because one key's luck should not decide. Keys compete within an answer, so the pairs' counts are negatively associated, and the interval, which takes pairs as independent, is if anything too wide.

The second null asks the unlearned model itself about invented names. A method that makes a name rarer everywhere lowers this one too; the difference says whether the name still belongs to its question.

{excess_table(results)}
### RULE's options

The control repeats NPO's own steps, as many as RULE took, with nothing added. NPO in three wordings trains on the questions that RULE's detection may ask, without sampling: it says whether the wordings help, or the leaks. {d.rule_n} samples a prompt, wording and round.

{rule_table(results)}
{rule_verdicts(results)}
### By kind

{kind_table(results)}
### What it cost

Greedy recall of what is to be kept; fluency: geometric mean probability of a token under the model as it comes, of samples to the forgotten questions and of greedy answers to the kept ones; broken: share of samples that no reader takes for text. Minutes are of one processor, which was shared; RULE's hold its detection.

{side_table(results)}
### Beside the generated world

{beside_world(results, TITLES)}
### Settings, chosen on items that are in no number above

Rates in the order tried: a higher one where something was still said, else a lower one. One is taken that meets the stop rule and keeps {d.unharmed:.0%} of the greedy answers not shown; if none does, the best (1 - greedy) x kept. leak@k was not looked at.

{tuning_table(results)}
### What they say

Greedy, then the first sample:

{examples(results)}"""
