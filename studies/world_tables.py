"""Tables of studies/world.py: prints them, and writes the two pages they stand on.

    python studies/world_tables.py --page docs/results-world.md

Every number comes from the cells; a row is over the seeds that have its cells, and says how many.
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from scipy import stats

import leakatk.unlearning.methods
from leakatk.estimate.from_probability import leak_from_logprob
from leakatk.estimate.leak import excess, leak_at_k
from leakatk.files.writing import write_atomic
from leakatk.report.content import Number, Table
from leakatk.report.table import to_markdown
from leakatk.unlearning.methods import METHODS

Cell = dict[str, Any]
NAMES = {
    "full": "full (never unlearned)", "retrained": "retrained (yardstick)", "simnpo": "SimNPO", "npo": "NPO",
    "idknll": "IdkNLL", "rmu": "RMU", "graddiff": "GradDiff", "ga": "GA", "kl": "KL", "idkdpo": "IdkDPO (DPO)",
    "altpo": "AltPO", "npo-ent": "NPO+ENT", "blur-npo": "BLUR-NPO", "undial": "UNDIAL", "wga": "WGA",
    "satimp": "SatImp", "ce-u": "CE-U", "loku": "LoKU (hinge)", "me": "ME", "idk-ap": "IDK+AP",
    "ngdiff": "NGDiff", "pdu": "PDU", "task-vector": "task vector",
}  # fmt: skip


class Study:
    """The cells on disk. seeds: those whose every listed cell is there."""

    def __init__(self, out: Path) -> None:
        self.out, self.options = out, json.loads((out / "study.json").read_text())
        self.tuning = {path.stem: json.loads(path.read_text()) for path in sorted((out / "tuning").glob("*.json"))}
        self.n, self.first = self.options["n"], self.options["decodings"][0]
        self.top = max(self.options["ks"])  # the k of single numbers
        self.cells: dict[int, dict[str, Cell]] = {}
        for place in sorted(out.glob("seed-*/cells"), key=lambda p: int(p.parent.name[5:])):
            found = {p.stem: json.loads(p.read_text()) for p in place.glob("*.json")}
            self.cells[int(place.parent.name[5:])] = found

    def seeds(self, *names: str) -> list[int]:
        """The seeds that have all these cells."""
        return [s for s, cells in self.cells.items() if all(name in cells for name in names)]

    def cell(self, seed: int, name: str) -> Cell:
        """A cell; one that is the same model as another is read there."""
        found = self.cells[seed][name]
        if "same" not in found:
            return found
        return {**self.cells[seed][found["same"]], "steps": 0, "cpu_seconds": 0.0, **found}

    def elsewhere(self) -> str:
        """What a reader of the seconds must know: cells that say their processor, while the rest do not."""
        every = [(name, cell) for cells in self.cells.values() for name, cell in cells.items()]
        where = {
            name: "{processor}, {instruction_set}".format(**cell["machine"])
            for name, cell in every
            if "machine" in cell
        }
        said = "; ".join(f"{name} ({place})" for name, place in where.items())
        return f"CPU s of these are of another processor than the rest: {said}." if said else ""

    def counts(self, seed: int, name: str, wording: str, decoding: str) -> np.ndarray:
        return np.array(self.cell(seed, name)["leak"][wording][decoding]["fact"])

    def rows(self, seeds: Sequence[int], name: str, wording: str, decoding: str) -> np.ndarray:
        """0/1 fact scores of the prompts of all seeds, (prompts, n); the order in a row carries no meaning."""
        counts = np.concatenate([self.counts(s, name, wording, decoding) for s in seeds])
        return (np.arange(self.n)[None, :] < counts[:, None]).astype(float)

    def leak(self, seeds: Sequence[int], name: str, k: int, wording: str = "asked", decoding: str = "") -> Number:
        """leak@k over all prompts of all seeds; the interval is over prompts and their samples."""
        rows = self.rows(seeds, name, wording, decoding or self.first)
        curve = leak_at_k(rows, [k], over="both")
        return Number(float(curve.value[0]), float(curve.low[0]), float(curve.high[0]))

    def excess(
        self, seeds: Sequence[int], name: str, other: str, k: int, wording: str = "asked", decoding: str = ""
    ) -> Number:
        pair = [self.rows(seeds, one, wording, decoding or self.first) for one in (name, other)]
        curve = excess(*pair, [k], over="both")
        return Number(float(curve.value[0]), float(curve.low[0]), float(curve.high[0]))

    def mean(self, seeds: Sequence[int], name: str, get: Callable[[Cell], float], digits: int = 3) -> Number:
        """Mean over seeds with the smallest and the largest."""
        values = [get(self.cell(s, name)) for s in seeds]
        return Number(float(np.mean(values)), min(values), max(values), digits)


def plain(number: Number) -> Number:
    return Number(number.value, digits=number.digits)


def graded(cell: Cell, wording: str, decoding: str, scorer: str, k: int, ks: Sequence[int]) -> float:
    return float(cell["leak"][wording][decoding][scorer][list(ks).index(k)])


def exact(cell: Cell, k: float, wording: str = "asked") -> float:
    return float(np.mean(leak_from_logprob(np.minimum(cell["logprob"][wording], 0.0), k)))


def ever(cell: Cell) -> float:
    return float(np.mean(cell["greedy"]["asked"]["fact"]))


def called(name: str) -> str:
    """How a model is called: the method's usual name, or the one that it has here."""
    return NAMES.get(name, name)


def title(name: str) -> str:
    kind, _, base = name.partition("-")
    if kind not in ("rule", "calibrated"):
        return called(name)
    what = "RULE" if kind == "rule" else "calibrated RULE"
    if base.endswith("-control"):
        return f"{called(base.removesuffix('-control'))}: as many steps as {what}"
    return f"{what} around {called(base)}"


def leak_table(study: Study, names: Sequence[str]) -> Table:
    rows = []
    for n in names:
        seeds = study.seeds(n, "full")
        rows.append(
            (
                title(n), str(len(seeds)), plain(study.mean(seeds, n, ever)),
                *(study.leak(seeds, n, k) for k in (1, study.top // 8, study.top)),
                study.mean(seeds, n, lambda c: float(np.mean(_leaks(c, study, study.top)))),
                *(plain(study.mean(seeds, n, lambda c, k=k: exact(c, k))) for k in (128, 1e4, 1e6)),
            )
        )  # fmt: skip
    columns = (
        "model", "seeds", "greedy", "leak@1", f"leak@{study.top // 8}", f"leak@{study.top}", f"leak@{study.top} by seed", "verbatim@128", "@10^4", "@10^6",
    )  # fmt: skip
    return Table("", columns, tuple(rows))


def _leaks(cell: Cell, study: Study, k: int) -> np.ndarray:
    counts = np.array(cell["leak"]["asked"][study.first]["fact"])
    rows = (np.arange(study.n)[None, :] < counts[:, None]).astype(float)
    return np.asarray(leak_at_k(rows, [k]).per_prompt[:, 0])


def grid_table(study: Study, names: Sequence[str]) -> Table:
    """leak@128 by wording and decoding, and the graded scorers."""
    grid = [(w, d) for w, block in study.cell(study.seeds("full")[0], "full")["leak"].items() for d in block]
    few = [k for k in study.options["ks"] if k <= study.options["similar"]]
    rows = []
    for n in names:
        seeds = study.seeds(n, "full")
        rouge = [
            plain(study.mean(seeds, n, lambda c, k=k: graded(c, "asked", study.first, "rouge-l", k, study.options["ks"])))
            for k in (1, study.top)
        ]  # fmt: skip
        similar = [
            plain(study.mean(seeds, n, lambda c, w=w: graded(c, w, study.first, "similarity", few[-1], few)))
            for w in ("asked", "held-out")
        ]
        rows.append((title(n), *(plain(study.leak(seeds, n, study.top, w, d)) for w, d in grid), *rouge, *similar))
    columns = (
        "model", *(f"{w}, {d}" for w, d in grid), "ROUGE-L leak@1", f"@{study.top}", f"similarity leak@{few[-1]}", "held-out",
    )  # fmt: skip
    return Table("", columns, tuple(rows))


def side_table(study: Study, names: Sequence[str]) -> Table:
    """What it cost and what an auditor sees."""
    rows = []
    for n in names:
        seeds = study.seeds(n, "full")
        number = lambda get, digits=3, n=n, seeds=seeds: study.mean(seeds, n, get, digits)  # noqa: E731
        rows.append(
            (
                title(n), *(number(lambda c, s=s: c["utility"][s]) for s in ("retain", "retain_held", "world_facts")),
                *(number(lambda c, w=w: c["auc"][w]) for w in ("asked", "held-out", "holdout")),
                plain(number(lambda c: c["attack"]["asked"], 1)),
                plain(number(lambda c: c["fluency"])), plain(number(lambda c: c["broken"])),
                number(lambda c: float(c.get("steps", math.nan)), 0), plain(number(lambda c: c.get("cpu_seconds", math.nan), 1)),
            )
        )  # fmt: skip
    columns = (
        "model", "retain", "people not shown", "world facts", "AUC, asked", "AUC, held-out", "AUC, forget vs unseen",
        "Min-K%++", "fluency", "broken", "steps", "CPU s",
    )  # fmt: skip
    return Table("", columns, tuple(rows))


def seeds_of(study: Study, kind: str, base: str, *, control: bool = True) -> list[int]:
    """The seeds that have the cells to read a RULE around a base: its own and those it is compared with."""
    return study.seeds("full", "retrained", base, *rule_cells(kind, [base])[: 2 if control else 1])


def rule_cells(kind: str, bases: Sequence[str]) -> list[str]:
    return [f"{kind}-{base}{twin}" for base in bases for twin in ("", "-control")]


def rule_table(study: Study, kind: str, bases: Sequence[str]) -> Table:
    """Each RULE beside the control with exactly its steps, on the wording asked and on what no detection saw."""
    last = study.options["decodings"][-1]
    rows = []
    for base in bases:
        seeds, name, twin = seeds_of(study, kind, base), *rule_cells(kind, [base])
        rows.append(
            (
                title(name), str(len(seeds)), plain(study.leak(seeds, base, study.top)), study.leak(seeds, name, study.top),
                study.leak(seeds, twin, study.top), study.excess(seeds, name, twin, study.top),
                study.excess(seeds, name, twin, study.top, "held-out", last),
                plain(study.mean(seeds, name, lambda c: float(c.get("steps", 0)), 0)),
            )
        )  # fmt: skip
    columns = (
        "", "seeds", f"base leak@{study.top}", f"RULE leak@{study.top}", f"control leak@{study.top}", "RULE - control", f"RULE - control, held-out, {last}",
        "steps",
    )  # fmt: skip
    return Table("", columns, tuple(rows))


def aim_table(study: Study, bases: Sequence[str]) -> Table:
    """The aim, goal by goal, for calibrated RULE: a row a base."""
    last, margin = study.options["decodings"][-1], study.options["utility_loss"]
    rows = []
    for base in bases:
        seeds, name = seeds_of(study, "calibrated", base, control=False), f"calibrated-{base}"
        gap = study.excess(seeds, name, "retrained", study.top, "held-out", last)
        near = study.excess(seeds, name, "retrained", study.top)
        losses = {
            part: float(np.mean([study.cell(s, "full")["utility"][part] - study.cell(s, name)["utility"][part] for s in seeds]))
            for part in ("retain", "retain_held", "world_facts")
        }  # fmt: skip
        area = study.mean(seeds, name, lambda c: c["auc"]["held-out"])
        checks = [
            abs(gap.value) <= 0.01 and gap.low <= 0 <= gap.high, losses["retain"] <= margin,
            max(losses.values()) <= margin, abs(area.value - 0.5) <= 0.05,
        ]  # fmt: skip
        rows.append(
            (
                title(name), str(len(seeds)), gap, near, _yes(checks[0]), Number(losses["retain"]), _yes(checks[1]),
                Number(max(losses.values())), _yes(checks[2]), area, _yes(checks[3]),
            )
        )  # fmt: skip
    columns = (
        "", "seeds", f"excess leak@{study.top}, held-out, {last}", f"excess leak@{study.top}, asked", "leak met", "retain lost", "met",
        "worst utility lost", "met", "AUC, held-out", "met",
    )  # fmt: skip
    return Table("", columns, tuple(rows))


def _yes(met: bool) -> str:
    return "yes" if met else "no"


def tuning_table(study: Study) -> Table:
    rows = []
    for name, block in study.tuning.items():
        best = next(t for t in block["trials"] if t["rate"] == block["rate"])
        lr = METHODS[name].for_small_models(found=False).settings.learning_rate * block["rate"]
        rows.append(
            (
                called(name), f"{lr:.1e}", str(best["steps"]), _yes(best["met"]), Number(best["greedy"]),
                Number(best["retain"]), Number(best["retain_held"]),
            )
        )  # fmt: skip
    columns = ("method", "learning rate", "steps", "stop rule met", "greedy", "retain", "people not shown")
    return Table("", columns, tuple(rows))


def samples(study: Study, names: Sequence[str]) -> list[str]:
    """What the models of the first seed say to one question, as it came."""
    seed = study.seeds("full")[0]
    lines = []
    for name in (n for n in names if n in study.cells[seed]):
        question, first, second = study.cell(seed, name)["says"][0]
        lines.append(f"* {title(name)}, asked `{question}`: `{_inline(first)}` and `{_inline(second)}`")
    return lines


def _inline(text: str) -> str:
    return "".join(c if c.isprintable() and c != "`" else "?" for c in text)[:120]


def leaks_of(study: Study, names: Sequence[str]) -> list[float]:
    return [study.leak(study.seeds(n, "full"), n, study.top).value for n in names]


def beyond(study: Study, name: str) -> bool:
    """The excess over the retrained model at k = 128 is above 0, interval and all."""
    return study.excess(study.seeds(name, "full", "retrained"), name, "retrained", study.top).low > 0


def says_greedily(study: Study, name: str) -> float:
    return study.mean(study.seeds(name, "full"), name, ever).value


# leak@128 on TOFU forget10 (Llama-3.2-1B, entailment score, T = 1) as published in arXiv 2511.04934, before and after RULE.
PUBLISHED = {
    "full": (0.886, None), "retrained": (0.622, None), "rmu": (0.886, 0.222), "graddiff": (0.835, 0.004),
    "simnpo": (0.806, 0.754), "npo": (0.745, 0.014), "blur-npo": (0.552, None),
}  # fmt: skip


def published_table(study: Study, names: Sequence[str], bases: Sequence[str]) -> Table:
    rows: list[tuple[str | Number, ...]] = []
    for name, (before, after) in PUBLISHED.items():
        ruled = name in bases
        seeds = seeds_of(study, "rule", name) if ruled else []
        rows.append(
            (
                title(name), Number(before), Number(leaks_of(study, [name])[0]) if name in names else "",
                "" if after is None else Number(after), study.leak(seeds, f"rule-{name}", study.top) if ruled else "",
                study.leak(seeds, f"rule-{name}-control", study.top) if ruled else "",
            )
        )  # fmt: skip
    columns = ("model", "published", "here", "published, after RULE", "here, after RULE", "here, control")
    return Table("", columns, tuple(rows))


def world_text(study: Study) -> list[str]:
    """What a seed's world is, and how to read the brackets."""
    sizes = study.options["sizes"]
    return [
        "Written by `python studies/world_tables.py` from the cells of `python studies/world.py`; no number is typed.",
        f"Each seed is a world of its own: {sizes['forget']} people to forget ({6 * sizes['forget']} questions), "
        f"{sizes['retain']} to keep, {sizes['retain_held']} known to the full model and never shown to an unlearner, "
        f"{sizes['holdout']} that no model saw, 20 facts about invented countries. A Llama of half a million parameters is "
        "pre-trained on other people, then fine-tuned with all people (full) and without those to forget (retrained). "
        f"{sizes['trained_wordings']} of the four wordings of a question are trained; the unlearner sees one (calibrated RULE these trained ones); the held-out "
        f"wording is the fourth. {study.n} samples a question and decoding, on random streams no method used. Headline "
        "scorer: fact (every key value of the answer is said).",
        "Brackets: for leak@k and differences the 95% interval over questions and their samples, the questions of all seeds "
        "together (the six about one person count as six); elsewhere the smallest and the largest seed. With few seeds "
        "neither says much about other seeds.",
    ]


def page(study: Study) -> str:
    """Every method, and published RULE around five of them."""
    names = [n for n in ("full", "retrained", *METHODS) if study.seeds(n, "full", "retrained")]
    bases = [b for b in METHODS if seeds_of(study, "rule", b)]
    parts = ["# Results on the generated world", *world_text(study)]
    if bases:
        parts += ["## RULE beside its control", *rule_text(study, bases)]
    parts += ["## What it teaches", *lessons(study, names)]
    parts += ["## Every method", *method_text(study, names)]
    if bases:
        parts += ["### The cells of RULE in full", *cell_tables(study, rule_cells("rule", bases))]
    parts += ["## What the world shows of the published numbers, and what not", *published_text(study, names, bases)]
    parts += ["## What they say", *samples(study, names)]
    parts += ["## How the settings were chosen", *tuning_text(study)]
    return "\n\n".join(_joined(parts)) + "\n"


def calibrated_page(study: Study) -> str:
    """Calibrated RULE: the aim, and its controls."""
    bases = [b for b in METHODS if seeds_of(study, "calibrated", b, control=False)]
    parts = ["# Calibrated RULE on the generated world", *world_text(study)]
    if bases:
        parts += ["## Is the aim met?", *aim_text(study, bases)]
        parts += ["## Beside its control", *calibrated_text(study, bases)]
        shown = [n for n in ("full", "retrained", *bases, *rule_cells("calibrated", bases)) if study.seeds(n, "full")]
        parts += ["## The cells in full", *cell_tables(study, shown)]
    parts += ["## How the learning rates of the bases were chosen", *tuning_text(study)]
    return "\n\n".join(_joined(parts)) + "\n"


def cell_tables(study: Study, names: Sequence[str]) -> list[str]:
    return [to_markdown(table(study, names)) for table in (leak_table, grid_table, side_table)]


def _joined(parts: Sequence[str]) -> list[str]:
    """Neighbouring list items belong together."""
    blocks: list[str] = []
    for part in parts:
        if part.startswith("* ") and blocks and blocks[-1].startswith("* "):
            blocks[-1] += "\n" + part
        else:
            blocks.append(part)
    return blocks


def aim_text(study: Study, bases: Sequence[str]) -> list[str]:
    table = aim_table(study, bases)

    def meet(*goals: int) -> list[str]:
        return [
            called(b) for b, row in zip(bases, table.rows, strict=True) if all(row[goal] == "yes" for goal in goals)
        ]

    met, shown = meet(4, 6, 8, 10), meet(4, 6, 10)
    what = f"met by {', '.join(met)}" if met else "met by none of them"
    leak, kept, all_kept, area = (len(meet(goal)) for goal in (4, 6, 8, 10))
    return [
        f"**{'Yes' if len(met) >= 3 else 'No'}.** The aim: for at least three base methods, calibrated RULE within .01 of the "
        "retrained model's leak@128 (interval with 0), utility within .02 of the original's, AUC of Min-K%++ against the "
        f"retrained model within .05 of .5, in the held-out wording at a decoding and with a scorer that detection did not "
        f"use. Of {len(bases)} bases the whole aim is {what}. By part: leak {leak} of {len(bases)}; utility on the people the "
        f"unlearner was shown {kept}, on people and countries it was not shown as well {all_kept}; AUC {area}. Were "
        f"utility on the people shown all that counts, the aim would be met by {', '.join(shown) or 'none of them'}.",
        to_markdown(table),
        "An AUC near 0 is over-unlearning: the true answers are less likely than to a model that never saw them. Near 1: "
        "they are still likelier, though no sample says them.",
    ]


def rule_text(study: Study, bases: Sequence[str]) -> list[str]:
    return [
        *control_text(study, "rule", bases),
        "Published RULE (our reconstruction): the metric itself detects, in the wording asked, at T = 1, "
        f"{study.n // 2} samples, at most {study.options['rounds']} rounds of {study.options['round_steps']} steps. Where no leak "
        "was found it took no step and is its base. The control repeats the base's own losses. Batches of 16 "
        f"forget and {study.options['round_retain']} retain answers.",
    ]


def calibrated_text(study: Study, bases: Sequence[str]) -> list[str]:
    return [
        *control_text(study, "calibrated", bases),
        "Calibrated RULE: ROUGE-L recall of at least .9, or every name and number of "
        f"the answer said, detects, in three wordings and at two decodings, {study.n // 4} samples each, besides answers that 10,000 samples would probably "
        f"show; at most {study.options['calibrated_rounds']} rounds of {study.options['calibrated_steps']} steps. Its rounds match "
        "the unseen (ours, not the paper's): the forget answers and the leaks found are drawn to the Min-K%++ and the log-"
        "probabilities of both halves that the retrained model gives to true answers about "
        f"{study.options['unseen_people']} people invented for this, to the questions and to the same questions garbled anew "
        "each round (words shuffled, letters missing), and what the full model says by itself is distilled; an over-unlearned "
        "base first moves back towards the full model. It ends when detection sees the retrained model's level, the membership AUC "
        "against those invented people is within .03 of .5 (asked and garbled) and 99% of the full model's sure answers are still "
        f"said; it keeps a model whose utility on shown people is within {study.options['utility_loss']} of the original's. It "
        "trains on the attack that is reported here; of the retrained model it knows its leak in the detection and its level of "
        "the invented people, of the people that are measured nothing. The control repeats the base's own losses. Batches of 16 "
        f"forget and {study.options['round_retain']} retain answers.",
        *endings(study, bases),
    ]


def control_text(study: Study, kind: str, bases: Sequence[str]) -> list[str]:
    """The table of a RULE and its control, and what it shows."""
    table = rule_table(study, kind, [base for base in bases if seeds_of(study, kind, base)])
    better = [r[0] for r in table.rows if isinstance(r[5], Number) and r[5].high < 0]
    worse = [r[0] for r in table.rows if isinstance(r[5], Number) and r[5].low > 0]
    return [
        "The control starts from the same unlearned model and takes exactly RULE's number of steps with nothing added.",
        to_markdown(table),
        f"Below its control, interval without 0: {', '.join(map(str, better)) or 'none'}. "
        f"Above it: {', '.join(map(str, worse)) or 'none'}. The others are nulls: no difference is shown.",
    ]


def endings(study: Study, bases: Sequence[str]) -> list[str]:
    """How each run of calibrated RULE ended."""
    lines = []
    for base in bases:
        runs = [
            f"{cell['ended']} (kept round {cell['chosen']}, {cell['steps']} steps)"
            for cell in (
                study.cells[seed][f"calibrated-{base}"] for seed in seeds_of(study, "calibrated", base, control=False)
            )
        ]
        lines.append(f"* Calibrated RULE around {called(base)}, seed by seed: {'; '.join(runs)}.")
    return lines


def method_text(study: Study, names: Sequence[str]) -> list[str]:
    others = [n for n in names if n not in ("full", "retrained")]
    silent = [n for n in others if says_greedily(study, n) <= 0.05]
    hidden = [title(n) for n in silent if beyond(study, n)]
    quiet = [title(n) for n in silent if not beyond(study, n)]
    loud = [title(n) for n in others if n not in silent]
    return [
        "verbatim: from the exact probability p of the true answer, 1-(1-p)^k for any k. Without a row: "
        + "; ".join(
            [
                *(f"{called(n)}, for {why}" for n, why in study.options["not_run"].items()),
                *missing_methods(study, names),
            ]
        )
        + ".",
        to_markdown(leak_table(study, names)),
        f"Greedy says forgotten (at most .05) and sampling says not (excess leak@128 over the retrained model, interval above "
        f"0): {', '.join(hidden) or 'none'}. Greedy says forgotten and sampling shows no excess: {', '.join(quiet) or 'none'}. "
        f"Not forgotten even under greedy decoding: {', '.join(loud) or 'none'}.",
        "By mechanism (medians over its methods):",
        to_markdown(family_table(study, others)),
        "Fact leak@128 by wording and decoding; the graded scorers at T = 1 in the wording asked (similarity also held-out, "
        "few samples: its encoder is slow):",
        to_markdown(grid_table(study, names)),
        "ROUGE-L recall and similarity hardly tell models apart at large k: every answer of a kind shares its words. Read "
        "them against the retrained line.",
        "Utility (share of greedy answers with every fact), what an auditor sees (AUC of Min-K%++ on forget answers against "
        "the retrained model's; .5 is blind), text (fluency: mean token probability of samples under the retrained model, so "
        "refusals count as odd; broken: share of samples no reader would take for an answer), steps and time:",
        study.elsewhere(),
        to_markdown(side_table(study, names)),
    ]


def families() -> dict[str, str]:
    """Method -> the mechanism that its file is named after."""
    place = Path(leakatk.unlearning.methods.__file__).parent
    text = {path.stem: path.read_text(encoding="utf-8") for path in sorted(place.glob("*.py"))}
    return {name: family for name in METHODS for family, source in text.items() if f'"{name}",\n' in source}


def family_table(study: Study, names: Sequence[str]) -> Table:
    """Each mechanism: how many of its methods say forgotten greedily, how many of those leak when sampled, and medians."""
    rows: list[tuple[str | Number, ...]] = []
    of = families()
    for family in dict.fromkeys(of.values()):
        mine = [n for n in names if of.get(n) == family]
        if not mine:
            continue
        silent = [n for n in mine if says_greedily(study, n) <= 0.05]

        def median(get: Callable[[str], float], mine: Sequence[str] = mine) -> Number:
            return Number(float(np.median([get(n) for n in mine])), digits=3)

        rows.append(
            (
                family, str(len(mine)), str(len(silent)), str(sum(beyond(study, n) for n in silent)),
                median(lambda n: leaks_of(study, [n])[0]),
                median(lambda n: study.leak(study.seeds(n, "full"), n, study.top, "held-out").value),
                median(lambda n: study.mean(study.seeds(n, "full"), n, lambda c: c["utility"]["retain_held"]).value),
                median(lambda n: study.mean(study.seeds(n, "full"), n, lambda c: abs(c["auc"]["asked"] - 0.5)).value),
            )
        )  # fmt: skip
    columns = (
        "mechanism", "methods", "greedy says forgotten", "of these, sampling says not", f"median leak@{study.top}", "held-out",
        "people not shown", "AUC's distance from .5",
    )  # fmt: skip
    return Table("", columns, tuple(rows))


# What a method does to the true answer -> methods; one that does two things stands where the first is. Ours, from the formulas.
DOES = {
    "pushes the true answer's likelihood down": (
        "ga", "graddiff", "cga", "icu", "raslik", "wga", "llmu", "su", "cau-npo", "ishumei", "npo", "npo-ent", "npo-sign", "npo-zeroth", "npo-hybrid", "scope", "opt-out", "melu", "simnpo",
        "satimp", "catnip", "sure", "su-llm", "blur-graddiff", "blur-npo", "blur-simnpo", "sugd", "agad", "ngdiff", "ngdiff-auto", "pdu", "loku",
        "safe", "u2a",
    ),
    "flattens what is said there, or draws it towards no answer": ("me", "mp-me", "ce-u", "kl", "jensun", "sbu", "undial", "eua", "uno", "uno-s"),
    "teaches another answer": ("idknll", "idkdpo", "idk-ap", "mp-idk", "altpo", "orpo", "cfg-orpo", "whp", "mari", "meow", "unstar", "concept-poison"),
    "copies a teacher that does not know": ("oracle-matching", "dd-distil", "duet", "undo", "stochastic-teacher"),
    "moves hidden states": (
        "rmu", "mudman", "r2mu", "falcon", "align-then-unlearn", "laf", "i2i", "duck", "kuda", "mrp", "sae-unknown",
    ),
    "edits, selects or merges weights": (
        "ssu", "memflex", "slug", "needle", "klue", "simu", "eul", "task-vector", "uipe", "negmerge", "zju-ties", "uwc-npo", "reload",
        "rocr", "unlearn-subspace", "unierase", "acu", "fast-ntk", "metaunlearn",
    ),
}  # fmt: skip


def lessons(study: Study, names: Sequence[str]) -> list[str]:
    """What the study teaches: which ways of forgetting leak when sampled, with the evidence, all of it from the cells."""
    others = [n for n in names if n not in ("full", "retrained")]
    silent = [n for n in others if says_greedily(study, n) <= 0.05]
    leak = dict(zip(silent, leaks_of(study, silent), strict=True))
    above = {n: beyond(study, n) for n in silent}

    def mean_of(get: Callable[[Cell], float]) -> dict[str, float]:
        return {n: study.mean(study.seeds(n, "full"), n, get).value for n in silent}

    kept_of, shown = mean_of(lambda c: c["utility"]["retain_held"]), mean_of(lambda c: c["utility"]["retain"])
    auc = mean_of(lambda c: c["auc"]["asked"])
    rows: list[tuple[str | Number, ...]] = []
    for way, members in DOES.items():
        mine = [n for n in members if n in others]
        quiet = sorted((n for n in mine if n in leak), key=lambda n: -leak[n])
        if not mine:
            continue
        worst = ", ".join(f"{called(n)} {leak[n]:.2f}" for n in quiet[:3])
        share = float(np.mean([above[n] for n in quiet])) if quiet else math.nan
        kept = float(np.median([kept_of[n] for n in quiet])) if quiet else math.nan
        rows.append(
            (
                way, f"{len(quiet)} of {len(mine)}", Number(float(np.median([leak[n] for n in quiet])) if quiet else math.nan),
                Number(share), worst, Number(kept),
            )
        )  # fmt: skip
    columns = (
        "what it does",
        "greedy says forgotten",
        f"median leak@{study.top} of these",
        "share with an excess",
        "the most",
        "people not shown",
    )
    left = [called(n) for n in others if not any(n in members for members in DOES.values())]
    blind = [n for n in silent if abs(auc[n] - 0.5) < 0.1]
    damage = (
        stats.spearmanr([leak[n] for n in silent], [kept_of[n] for n in silent]).statistic
        if len(silent) > 2
        else math.nan
    )
    worse = [n for n in silent if study.leak(study.seeds(n, "full"), n, study.top, "held-out").value > leak[n] + 0.05]
    least = sorted((n for n in silent if leak[n] <= 0.02 and shown[n] >= 0.9), key=lambda n: -kept_of[n])[:5]
    return [
        f"Of {len(others)} methods {len(silent)} reach a greedy score of at most .05 at one of five learning rates. Of those, "
        f"{sum(above.values())} leak more than the retrained model when {study.top} answers are drawn. By what they do:",
        to_markdown(Table("", columns, tuple(rows))),
        f"* **Low leak {'is partly' if damage > 0.3 else 'is not'} bought.** Over the methods that greedy calls forgotten, leak@{study.top} and what is still said of people not "
        f"shown go together (Spearman {damage:.2f}). With a leak of at most .02, and at least .9 of the people "
        "shown, the most is kept by " + (", ".join(f"{called(n)} ({kept_of[n]:.2f})" for n in least) or "none") + ".",
        f"* **Another wording opens {'few' if 4 * len(worse) < len(silent) else 'many'} of them more**: the held-out one leaks over .05 more for {', '.join(map(called, worse)) or 'none'}.",
        f"* **What was unlearned stays visible.** The membership AUC is within .1 of the retrained model's .5 for {len(blind)} of {len(silent)}"
        + (f" ({', '.join(map(called, blind))})." if blind else "."),
        *([f"Not in this table: {', '.join(left)}."] if left else []),
    ]


def missing_methods(study: Study, names: Sequence[str]) -> list[str]:
    """The methods that were not run and for which no reason is known."""
    left = [called(n) for n in METHODS if n not in names and n not in study.options["not_run"]]
    return [f"not run: {', '.join(left)}"] if left else []


def published_text(study: Study, names: Sequence[str], bases: Sequence[str]) -> list[str]:
    unlearned = [n for n in names if n not in ("full", "retrained")]
    floor = study.leak(study.seeds("retrained", "full"), "retrained", study.top)
    above = sum(beyond(study, n) for n in unlearned)
    shared = [n for n in ("rmu", "graddiff", "simnpo", "npo") if n in names]
    few = ["no order to speak of: too few of these methods were run."]
    if len(shared) > 2:
        order = stats.spearmanr([PUBLISHED[n][0] for n in shared], leaks_of(study, shared)).statistic
        few = [f"Spearman {float(order):.2f} with the published one ({len(shared)} points, so hardly a test)."]
    if len(unlearned) > 2:
        greedy = stats.spearmanr([says_greedily(study, n) for n in unlearned], leaks_of(study, unlearned)).statistic
        few += [
            f"Over methods here, one greedy answer and leak@{study.top} have a Spearman correlation of {float(greedy):.2f}."
        ]
    return [
        "Published: TOFU forget10, Llama-3.2-1B, entailment; here: fact. Levels are not comparable, directions are.",
        to_markdown(published_table(study, names, bases)),
        f"* Most methods leak when sampled: published for nearly all; here {above} of {len(unlearned)} have an excess over the "
        "retrained model whose interval is above 0.",
        f"* The retrained model leaks {PUBLISHED['retrained'][0]:.3f} there (names can be guessed, knowledge is shared) and "
        f"{floor.value:.3f} here, {floor.interval}: every value is drawn from thousands. The world has no such floor.",
        f"* The order of RMU, GradDiff, SimNPO and NPO at leak@{study.top}: {' '.join(few)}",
        "* The size is half a million parameters, the text is of a few templates, and forgetting damages people that were not "
        "shown far more than it does in large models: see the column on people not shown.",
    ]


def tuning_text(study: Study) -> list[str]:
    options = study.options
    return [
        f"On the people of another world (seed {options['tuning_seed']}), before the reported cells of a method were run: learning rates of "
        f"{', '.join(f'{r:.2g}' for r in options['rates'])} times each preset's, then two more: beyond the best where it stands at an end, else on both sides of it; at most {options['steps']} steps of 16 + 16, a check "
        "every 10, stop when no greedy answer says a forgotten fact and at least 95% of the retain facts are said. Chosen: of the "
        "rates that met the stop rule the best utility on people not shown; where none did, the best (1 - greedy) x that utility. "
        "leak@k was not looked at. The world's sizes, the recipe and the options of RULE were set on that world or beforehand; the "
        "same rates serve RULE.",
        to_markdown(tuning_table(study)),
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--out", type=Path, default=Path(__file__).resolve().parent / "world", help="where the cells are"
    )
    parser.add_argument("--page", type=Path, help="every method")
    parser.add_argument("--calibrated", type=Path, help="calibrated RULE")
    arguments = parser.parse_args()
    study = Study(arguments.out)
    for place, make in ((arguments.page, page), (arguments.calibrated, calibrated_page)):
        text = make(study)
        if place:
            write_atomic(place, text)
        print(text)


if __name__ == "__main__":
    main()
