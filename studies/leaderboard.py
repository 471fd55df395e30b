"""Leaderboard of every method on the generated world: asked once, sampled, attacked, with what it keeps and what it costs.

    python studies/leaderboard.py --page docs/leaderboard.md --html docs/leaderboard.html

Every number comes from the cells of studies/world.py, studies/attacks.py and studies/memory.py; a row says how many worlds it
rests on. What was not measured is said in its cell, and counted.
"""

from __future__ import annotations

import argparse
import base64
import hashlib
import json
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path

import numpy as np
from attacks_tables import Cells, beyond
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from world_tables import Study, called, families, rule_cells, title

from leakatk.estimate.leak import leak_at_k
from leakatk.files.writing import write_atomic
from leakatk.papers.rows import CHANGES_WEIGHTS, INTENTS, NEEDS, ROWS
from leakatk.registry import facts_of
from leakatk.report.content import Number
from leakatk.report.table import escaped
from leakatk.text import number
from leakatk.unlearning.methods import METHODS

HERE = Path(__file__).resolve().parent
YARDSTICKS = ("full", "retrained")
MISSING = "not measured"
SAMPLED = 60  # studies/world.py asks about as many of the people kept
WORLD, ATTACK, MEMORY = "world", "relearn", "memory"  # which command makes a cell
Value = str | Number


@dataclass(frozen=True)
class Column:
    """A column: its head, what it says, what is better, and by which command its cells are made."""

    head: str
    says: str
    better: str
    made: str


@dataclass(frozen=True)
class Row:
    """One model. worlds, attacked: the seeds that its cells rest on. values: one a column. tags: what it can be found by."""

    name: str
    worlds: tuple[int, ...]
    attacked: tuple[int, ...]
    tags: tuple[str, ...]
    values: tuple[Value, ...]

    @property
    def rests_on(self) -> str:
        """ "2", or "2; 1 attacked"."""
        return f"{len(self.worlds)}; {len(self.attacked)} attacked" if self.attacked else str(len(self.worlds))

    def commands(self) -> dict[str, str]:
        """What makes the cells, by the words that a column has for it."""
        return {made: command for made in (WORLD, ATTACK, MEMORY) if (command := self._command(made))}

    def _command(self, made: str) -> str:
        base = self.name.partition("-")[2] if is_rule(self.name) else self.name
        seeds = ",".join(map(str, self.worlds))
        if made == WORLD:
            ruled = f"--bases {base}{' --calibrated' if self.name.startswith('calibrated-') else ''}"
            names = "ga" if self.name in YARDSTICKS else base  # the study makes both beside whichever method
            around = ruled if is_rule(self.name) else '--bases ""'
            return f"python studies/world.py --work runs/world --seeds {seeds} --methods {names} {around}"
        if made == ATTACK:
            seeds, models = ",".join(map(str, self.attacked)), '""' if self.name in YARDSTICKS else self.name
            command = f'python studies/attacks.py --work runs/world --seeds {seeds} --models {models} --attacks relearn --guards ""'
            return command if self.attacked else ""
        known = self.name in METHODS
        return f"python studies/memory.py --work runs/world --methods {self.name}" if known else ""


def is_rule(name: str) -> bool:
    return name.startswith(("rule-", "calibrated-"))


# -- what the cells say


def columns(study: Study, cells: Cells) -> tuple[Column, ...]:
    top, stored = study.top, stored_at(cells)
    return (
        Column("greedy", "share of forget questions whose greedy answer says the fact", "lower", WORLD),
        Column("leak@1", "chance that one sample says the fact", "lower", WORLD),
        Column(f"leak@{top}", f"chance that one of {top} samples does", "lower", WORLD),
        Column(f"excess@{top}", f"leak@{top} less that of the retrained model, question by question", "lower", WORLD),
        Column(
            "stored",
            f"leak@{stored} after relearning on the other half of the questions, less that of the retrained model relearned alike",
            "lower",
            ATTACK,
        ),
        Column("people shown", "share of greedy answers with every fact, on people that the unlearner saw", "higher", WORLD),
        Column("people not shown", "the same, on people that the full model knew and the unlearner never saw", "higher", WORLD),
        Column("AUC", "membership, by Min-K%++ on forget answers against the retrained model: .5 is blind", ".5", WORLD),
        Column("CPU s", "seconds of CPU that unlearning took; RULE's with its base's", "lower", WORLD),
        Column("memory", "peak memory of unlearning beyond that of the loaded model, in MiB", "lower", MEMORY),
    )  # fmt: skip


def stored_at(cells: Cells) -> int:
    """The largest k of the study of attacks."""
    return int(max(k for k in cells.options["ks"] if k <= cells.options["n"]))


def memory_of(place: Path) -> dict[str, float]:
    """Method -> MiB, of those that studies/memory.py has measured."""
    return {path.stem: float(json.loads(path.read_text())["mib"]) for path in sorted(place.glob("*.json"))}


def row(study: Study, cells: Cells, memory: dict[str, float], name: str) -> Row:
    seeds = study.seeds(name, *YARDSTICKS)
    attacked = cells.seeds("relearn", name, YARDSTICKS[1])
    values = (
        share(np.concatenate([study.cell(s, name)["greedy"]["asked"]["fact"] for s in seeds])),
        study.leak(seeds, name, 1),
        study.leak(seeds, name, study.top),
        "yardstick" if name == "retrained" else study.excess(seeds, name, "retrained", study.top),
        "yardstick" if name == "retrained" else _stored(cells, attacked, name),
        *(share(answered(study, seeds, name, group)) for group in ("retain", "retain_held")),
        study.mean(seeds, name, lambda cell: cell["auc"]["asked"]),
        "nothing done" if name in YARDSTICKS else time_of(study, seeds, name),
        "nothing done" if name in YARDSTICKS else _memory(memory, name),
    )
    return Row(name, tuple(seeds), tuple(attacked), tags_of(name, values), values)


def _stored(cells: Cells, seeds: Sequence[int], name: str) -> Value:
    return beyond(cells, seeds, name, "relearn", stored_at(cells)) if seeds else MISSING


def _memory(memory: dict[str, float], name: str) -> Value:
    return Number(memory[name], digits=1) if name in memory else MISSING


def share(answers: np.ndarray) -> Number:
    """Mean of 0/1 scores of questions with the interval over questions."""
    curve = leak_at_k(np.asarray(answers, dtype=float)[:, None], [1], over="prompts")
    return Number(float(curve.value[0]), float(curve.low[0]), float(curve.high[0]))


def answered(study: Study, seeds: Sequence[int], name: str, group: str) -> np.ndarray:
    """0/1 scores of the questions of a group, of all seeds: a cell keeps their mean, and how many were asked is known."""
    asked = asked_of(study, group)
    found = []
    for seed in seeds:
        told = study.cell(seed, name)["utility"][group] * asked
        if abs(told - round(told)) > 1e-6:
            raise ValueError(f"{name}, seed {seed}: {group} is no share of {asked} questions.")
        found.append(np.arange(asked) < round(told))
    return np.concatenate(found).astype(float)


def asked_of(study: Study, group: str) -> int:
    """How many questions of a group studies/world.py asks: all, or about 60 of the people kept."""
    seed = study.seeds("full")[0]
    people = study.options["sizes"]
    each = len(study.counts(seed, "full", "asked", study.first)) // people["forget"]
    total = each * people[group]
    return math.ceil(total / max(1, total // SAMPLED)) if group == "retain" else total


def time_of(study: Study, seeds: Sequence[int], name: str) -> Value:
    """CPU seconds, mean over seeds with the least and the most."""
    base = name.partition("-")[2] if is_rule(name) else ""
    if base and any(base not in study.cells[s] for s in seeds):
        return MISSING
    spent: dict[int, float] = {
        s: study.cell(s, name)["cpu_seconds"] + (study.cell(s, base)["cpu_seconds"] if base else 0.0) for s in seeds
    }
    found = list(spent.values())
    return Number(float(np.mean(found)), min(found), max(found), 1)


@cache
def mechanisms() -> dict[str, str]:
    """Method -> the mechanism that its file is named after."""
    return families()


def tags_of(name: str, values: Sequence[Value]) -> tuple[str, ...]:
    """Mechanism, intent, needs, the kinds of the method's rows in the paper index, and what the table shows of it."""
    result = []
    greedy, beyond_it = values[0], values[3]
    if isinstance(greedy, Number) and greedy.value <= 0.05:
        result.append("greedy-forgotten")
    if isinstance(beyond_it, Number):
        result.append("no-excess" if beyond_it.low <= 0 else "excess")
    if name in YARDSTICKS:
        return ("yardstick", *result)
    base = name.partition("-")[2] if is_rule(name) else name
    facts = facts_of(base, METHODS[base])
    kinds = {kind for one in ROWS if one.number in facts.rows for kind in one.kinds & CHANGES_WEIGHTS}
    family = mechanisms().get(base, "")
    ruled = ("rule",) if is_rule(name) else ()
    return (*ruled, *filter(None, (family,)), *sorted((kinds | facts.tags) - {family}), *result)


def board(study: Study, cells: Cells, memory: dict[str, float]) -> tuple[Row, ...]:
    """Yardsticks; methods without an excess, most kept first; the others, least excess first."""
    ruled = [name for kind in ("rule", "calibrated") for name in rule_cells(kind, list(METHODS))[::2]]
    names = [n for n in (*METHODS, *ruled) if study.seeds(n, *YARDSTICKS)]
    rows = [row(study, cells, memory, name) for name in names]

    def place(one: Row) -> tuple[bool, float, str]:
        beyond_it, kept = one.values[3], one.values[6]
        assert isinstance(beyond_it, Number) and isinstance(kept, Number)  # noqa: PT018
        return (True, beyond_it.value, one.name) if beyond_it.low > 0 else (False, -kept.value, one.name)

    return (*(row(study, cells, memory, name) for name in YARDSTICKS), *sorted(rows, key=place))


# -- the pages


def counted(study: Study, heads: Sequence[Column], rows: Sequence[Row]) -> list[str]:
    """What the rows rest on, and what is missing, in sentences."""
    worlds = sorted({len(one.worlds) for one in rows})
    lacking = {column.head: sum(one.values[i] == MISSING for one in rows) for i, column in enumerate(heads)}
    missing = ", ".join(f"{head} {count}" for head, count in lacking.items() if count)
    without = [n for n in METHODS if n not in {one.name for one in rows}]
    why = study.options["not_run"]
    said = [f"{called(n)} ({why[n]})" if n in why else f"{called(n)} (not run)" for n in without]
    several = " or ".join(map(str, worlds))
    return [
        f"{len(rows) - len(YARDSTICKS)} models, {sum(one.name in METHODS for one in rows)} of {len(METHODS)} methods among them, "
        f"each over {several} worlds; {sum(bool(one.attacked) for one in rows)} of all {len(rows)} rows were relearned. "
        f"Not measured: {missing or 'nothing'}; together {sum(lacking.values())} of {len(rows) * len(heads)} cells. "
        + study.elsewhere(),
        f"Without a row: {'; '.join(said) or 'none'}. Controls of RULE stand on the [page of the study](results-world.md).",
    ]


INTRO = (
    "Small models that knew ten people and were made to forget them, by every method, beside the model that never saw them "
    "(retrained) and the one that was left alone (full). One greedy answer, {top} samples, an attack: three looks at the same "
    "forgetting.",
    "Order: models without an excess over the retrained one come first, those that keep most of people not shown on top. The "
    "others follow by their excess.",
    "Brackets of shares, leak@k and differences: the 95% interval over questions and their samples, those of all worlds together; "
    "the six about one person count as six. Brackets of AUC and time: the smallest and the largest world. With few worlds neither "
    "says much about others, and a model of half a million parameters says little about large ones; "
    "[results-real.md](results-real.md#beside-the-generated-world) has a chat model beside it.",
)  # fmt: skip


def markdown(study: Study, heads: Sequence[Column], rows: Sequence[Row]) -> str:
    """docs/leaderboard.md."""
    first, *later = counted(study, heads, rows)
    parts = [
        "# Leaderboard",
        "Written by `python studies/leaderboard.py`; no number is typed. [The same table, to sort and to filter by tag](leaderboard.html).",
        *(text.format(top=study.top) for text in INTRO),
        first,
        *later,
        "A number leads to the command that makes it.",
        "\n".join(_lines(heads, rows)),
        "## Columns",
        "\n".join(f"* **{escaped(one.head)}**: {one.says} ({one.better}{' is better' if one.better != '.5' else ''})." for one in heads),
        "## Commands",
        "Cells that are there already stay: to make one anew, delete it, or name another place with `--out`.",
        "\n".join(_command_lines(one) for one in rows),
    ]  # fmt: skip
    return "\n\n".join(parts) + "\n"


def _lines(heads: Sequence[Column], rows: Sequence[Row]) -> list[str]:
    lines = [
        f"| model | worlds | {' | '.join(escaped(one.head) for one in heads)} | tags |",
        f"| --- | --- | {' | '.join('---:' for _ in heads)} | --- |",
    ]
    for one in rows:
        cells = [_linked(value, f"{one.name}-{head.made}") for head, value in zip(heads, one.values, strict=True)]
        lines.append(
            f"| {escaped(title(one.name))} | {one.rests_on} | {' | '.join(cells)} | {',&nbsp;'.join(one.tags)} |"
        )  # one line each: a narrow column would make rows tall
    return lines


def _linked(value: Value, anchor: str) -> str:
    if isinstance(value, str):
        return value
    interval = escaped(value.interval).replace(" ", "&nbsp;")
    return f"[{number(value.value, value.digits)}](#{anchor})" + (f"<br>{interval}" if interval else "")


def _command_lines(one: Row) -> str:
    said = (f'<a id="{one.name}-{made}"></a>`{command}`' for made, command in one.commands().items())
    return f"* {escaped(title(one.name))}: " + ", ".join(said)


def html(study: Study, heads: Sequence[Column], rows: Sequence[Row]) -> str:
    """docs/leaderboard.html: one file that fetches nothing."""
    environment = Environment(
        loader=FileSystemLoader(HERE / "leaderboard"), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )  # fmt: skip
    environment.tests["number"] = lambda value: isinstance(value, Number)
    environment.filters["digits"] = number
    script = (HERE / "leaderboard" / "script.js").read_text(encoding="utf-8")
    used = {tag for one in rows for tag in one.tags}
    groups = {
        "result": ["greedy-forgotten", "no-excess", "excess"],
        "mechanism": [*dict.fromkeys(mechanisms().values()), *sorted(CHANGES_WEIGHTS), "rule"],
        "intent and needs": [*INTENTS, *NEEDS],
    }
    shown = {name: [tag for tag in dict.fromkeys(tags) if tag in used] for name, tags in groups.items()}
    listed = {tag for tags in shown.values() for tag in tags}
    shown["other"] = sorted(used - listed - {"yardstick"})
    return environment.get_template("page.html").render(
        style=files("leakatk.report").joinpath("style.css").read_text(encoding="utf-8"),
        more=(HERE / "leaderboard" / "style.css").read_text(encoding="utf-8"),
        script=script,
        digest=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
        intro=[unlinked(text.format(top=study.top)) for text in INTRO],
        counted=[unlinked(text) for text in counted(study, heads, rows)],
        heads=heads, rows=rows, title=title, groups={name: tags for name, tags in shown.items() if tags},
    )  # fmt: skip


def unlinked(text: str) -> str:
    """Markdown with the words of its links alone: the page stands by itself, where others may not be beside it."""
    return re.sub(r"\[([^]]+)\]\([^)]+\)", r"\1", text)


def pages(world: Path, attacks: Path, memory: Path) -> tuple[str, str]:
    """Both pages, as Markdown and as HTML, from the places of the cells."""
    study, cells = Study(world), Cells(attacks)
    heads, rows = columns(study, cells), board(study, cells, memory_of(memory))
    return markdown(study, heads, rows), html(study, heads, rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--world", type=Path, default=HERE / "world", help="cells of studies/world.py")
    parser.add_argument("--attacks", type=Path, default=HERE / "attacks", help="cells of studies/attacks.py")
    parser.add_argument("--memory", type=Path, default=HERE / "memory", help="cells of studies/memory.py")
    parser.add_argument("--page", type=Path, help="where to write the page; without it, it is printed")
    parser.add_argument("--html", type=Path, help="where to write the page that sorts and filters")
    arguments = parser.parse_args()
    made = pages(arguments.world, arguments.attacks, arguments.memory)
    for place, text in zip((arguments.page, arguments.html), made, strict=True):
        if place:
            write_atomic(place, text)
    if not arguments.page:
        print(made[0])


if __name__ == "__main__":
    main()
