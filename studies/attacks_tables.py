"""Tables of studies/attacks.py: prints them, and writes the page that they stand on.

    python studies/attacks_tables.py --page docs/results-attacks.md

Every number comes from the cells; a row is over the seeds that have its cells, and says how many.
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from attacks import CELLS
from world_tables import DOES, called

from leakatk.estimate.leak import excess, leak_at_k
from leakatk.files.writing import write_atomic
from leakatk.report.content import Cell, Number, Table
from leakatk.report.table import to_markdown

Block = dict[str, Any]
YARDSTICK = "retrained"
STORED = ("none", "relearn")  # what every method is measured under


class Cells:
    """The cells on disk: seed -> model or "guards" -> attack or guard -> what was found."""

    def __init__(self, out: Path) -> None:
        self.options = json.loads((out / "study.json").read_text())
        self.found: dict[int, dict[str, dict[str, Block]]] = {}
        for path in sorted(out.glob("seed-*/*/*.json")):
            seed = int(path.parent.parent.name.removeprefix("seed-"))
            self.found.setdefault(seed, {}).setdefault(path.parent.name, {})[path.stem] = json.loads(path.read_text())

    def models(self) -> list[str]:
        names = dict.fromkeys(name for cells in self.found.values() for name in cells if name != "guards")
        return [name for name in ("full", YARDSTICK) if name in names] + sorted(set(names) - {"full", YARDSTICK})

    def laddered(self) -> list[str]:
        """The models that were attacked in several ways, and not relearned alone."""
        return [
            name
            for name in self.models()
            if any(len(cells.get(name, {})) > len(STORED) for cells in self.found.values())
        ]

    def attacks(self, *, read: bool) -> list[str]:
        found: dict[str, None] = {}
        for cells in self.found.values():
            for name, blocks in cells.items():
                if name != "guards":
                    found |= {key: None for key, block in blocks.items() if ("read" in block) == read}
        return sorted(found, key=lambda name: (name != "none", name))

    def seeds(self, attack: str, *models: str) -> list[int]:
        """The seeds in which all these models were measured under this attack."""
        return [s for s, cells in self.found.items() if all(attack in cells.get(name, {}) for name in models)]

    def rows(self, seeds: Sequence[int], model: str, attack: str, like: str = "") -> np.ndarray:
        """0/1 scores of the prompts of all seeds, (prompts, n). like: the model whose prompts are taken, for pairs."""
        rows = []
        for seed in seeds:
            counts = self.found[seed][model][attack]["fact"]
            ids = sorted(i for i in counts if not like or i in self.found[seed][like][attack]["fact"])
            rows += [np.arange(self.options["n"]) < counts[i] for i in ids]
        return np.array(rows, dtype=float)


def at(cells: Cells, seeds: Sequence[int], model: str, attack: str, k: int) -> Number:
    """leak@k over the prompts and samples of these seeds."""
    curve = leak_at_k(cells.rows(seeds, model, attack), [k], over="both")
    return Number(float(curve.value[0]), float(curve.low[0]), float(curve.high[0]))


def beyond(cells: Cells, seeds: Sequence[int], model: str, attack: str, k: int) -> Number:
    """Excess over the retrained model under the same attack, paired by prompt."""
    mine = cells.rows(seeds, model, attack, like=YARDSTICK)
    theirs = cells.rows(seeds, YARDSTICK, attack, like=model)
    curve = excess(mine, theirs, [k], over="both")
    return Number(float(curve.value[0]), float(curve.low[0]), float(curve.high[0]))


def ladder_table(cells: Cells, k: int) -> Table:
    """Excess of each model under each attack that is sampled, and as asked."""
    attacks = cells.attacks(read=False)
    rows: list[tuple[Cell, ...]] = []
    for model in [name for name in cells.laddered() if name != YARDSTICK]:
        row: list[Cell] = [called(model)]
        for attack in attacks:
            seeds = cells.seeds(attack, model, YARDSTICK)
            row.append(beyond(cells, seeds, model, attack, k) if seeds else "not run")
        rows.append(tuple(row))
    floor: list[Cell] = [called(YARDSTICK) + ", its own leak"]
    for attack in attacks:
        seeds = cells.seeds(attack, YARDSTICK)
        floor.append(at(cells, seeds, YARDSTICK, attack, k) if seeds else "not run")
    columns = ("model", *("as asked" if name == "none" else name for name in attacks))
    return Table("", columns, (*rows, tuple(floor)))


def rests_on(cells: Cells) -> str:
    """How many worlds each column of the ladder rests on."""
    groups: dict[int, list[str]] = {}
    for attack in cells.attacks(read=False):
        groups.setdefault(len(cells.seeds(attack, YARDSTICK)), []).append("as asked" if attack == "none" else attack)
    return (
        "; ".join(f"{', '.join(names)}: {count} world{'s' * (count > 1)}" for count, names in sorted(groups.items()))
        + "."
    )


def shown(cells: Cells, k: int) -> list[str]:
    """What the ladder shows, in sentences: who seems clean as asked, and what each attack brings back from those."""
    models = [name for name in cells.laddered() if name not in ("full", YARDSTICK)]
    apart = {
        (model, attack): beyond(cells, seeds, model, attack, k)
        for model in models
        for attack in cells.attacks(read=False)
        if (seeds := cells.seeds(attack, model, YARDSTICK))
    }
    clean = [model for model in models if (model, "none") in apart and apart[model, "none"].low <= 0]
    counts: dict[str, list[str]] = {}
    for attack in cells.attacks(read=False)[1:]:
        back = [model for model in clean if (model, attack) in apart and apart[model, attack].low > 0]
        counts[attack] = [called(model) for model in sorted(back, key=lambda one: -apart[one, attack].value)]
    found = sorted((name for name in counts if counts[name]), key=lambda name: -len(counts[name]))
    nothing = [name for name in counts if not counts[name]]
    lines = [
        f"Of {len(models)} unlearned models {len(clean)} show no excess as asked within {k} samples: {', '.join(map(called, clean))}. "
        "What the attacks bring back from these:",
        "\n".join(f"* `{name}`: {len(counts[name])} of {len(clean)} ({', '.join(counts[name])})." for name in found),
    ]
    if nothing:
        lines.append(f"Nulls, on these models: {', '.join(f'`{name}`' for name in nothing)}.")
    same = [
        m
        for m in models
        if m.startswith("rule-") and all(apart[m, a] == apart.get((m[5:], a)) for n, a in apart if n == m)
    ]
    if same:
        lines.append(
            f"RULE around {', '.join(called(m[5:]) for m in same)} found no leak and took no step: the same model."
        )
    return lines


def stored_lines(cells: Cells, k: int) -> list[str]:
    """What relearning on one half of the questions brings back of the other half, of every model without an excess as asked."""
    apart: dict[str, float] = {}
    others = [name for name in cells.models() if name not in ("full", YARDSTICK)]
    measured = [name for name in others if all(cells.seeds(attack, name, YARDSTICK) for attack in STORED)]
    for name in measured:
        asked, relearned = (beyond(cells, cells.seeds(attack, name, YARDSTICK), name, attack, k) for attack in STORED)
        if asked.low <= 0:
            apart[name] = relearned.value
    rows: list[tuple[Cell, ...]] = []
    for way, members in DOES.items():
        found = sorted((apart[name], name) for name in members if name in apart)
        if found:
            values = [value for value, _ in found]
            ends = (f"{called(name)} {value:.2f}" for value, name in (found[0], found[-1]))
            rows.append((way, str(len(found)), Number(float(np.median(values))), *ends))
    columns = ("what it does", f"without excess as asked, k = {k}", "median brought back", "least", "most")
    little = sorted((name for name in apart if apart[name] <= 0.1), key=lambda name: apart[name])
    said = ", ".join(f"{called(name)} ({_kept(cells, name):.2f})" for name in little)
    return [
        f"{len(apart)} of {len(measured)} models show no excess as asked. Relearned on one half of the questions and asked the other, they give "
        f"back, above the retrained model: a median of {np.median(list(apart.values())):.2f}."
        if apart
        else "No model is without an excess as asked.",
        to_markdown(Table("", columns, tuple(rows))),
        "At most .1 is brought back of, with what is still said of people not shown: "
        + (f"{said}." if said else "none."),
        "Each method's number stands on the [leaderboard](leaderboard.md).",
    ]


def _kept(cells: Cells, name: str) -> float:
    """Greedy recall of people not shown, over the seeds."""
    return float(
        np.mean([cells.found[seed][name]["none"]["utility"]["retain_held"] for seed in cells.seeds("none", name)])
    )


def read_table(cells: Cells) -> Table:
    """What attacks that read find: mean score, less the retrained model's."""
    attacks = cells.attacks(read=True)
    rows: list[tuple[Cell, ...]] = []
    for model in cells.laddered():
        row: list[Cell] = [called(model)]
        for attack in attacks:
            seeds = cells.seeds(attack, model, YARDSTICK)
            row += [_mean(cells, seeds, model, attack), _difference(cells, seeds, model, attack)]
        rows.append(tuple(row))
    return Table("", ("model", *(part for name in attacks for part in (name, "less retrained"))), tuple(rows))


def _scores(cells: Cells, seeds: Sequence[int], model: str, attack: str) -> dict[tuple[int, str], float]:
    return {
        (seed, i): value
        for seed in seeds
        for i, value in cells.found[seed][model][attack]["read"].items()
        if value is not None
    }


def _mean(cells: Cells, seeds: Sequence[int], model: str, attack: str) -> Number:
    found = list(_scores(cells, seeds, model, attack).values())
    return Number(float(np.mean(found)) if found else math.nan)


def _difference(cells: Cells, seeds: Sequence[int], model: str, attack: str) -> Number:
    mine, theirs = (_scores(cells, seeds, name, attack) for name in (model, YARDSTICK))
    pairs = [(mine[key], theirs[key]) for key in mine if key in theirs]
    if len(pairs) < 2:
        return Number(math.nan)
    a, b = ([[pair[i]] for pair in pairs] for i in (0, 1))
    curve = excess(a, b, [1], over="prompts")
    return Number(float(curve.value[0]), float(curve.low[0]), float(curve.high[0]))


def guard_table(cells: Cells, k: int) -> Table:
    """leak@k behind each guard, and the share of prompts that it acts on."""
    groups: dict[str, list[Block]] = {}
    for blocks in cells.found.values():
        for name, block in blocks.get("guards", {}).items():
            groups.setdefault(name, []).append(block)
    rows: list[tuple[Cell, ...]] = []
    for name, blocks in sorted(groups.items()):
        row: list[Cell] = [name, str(len(blocks))]
        for wording in ("asked", "held-out"):
            scores = np.array([np.arange(b["n"]) < c for b in blocks for c in b[wording].values()], dtype=float)
            curve = leak_at_k(scores, [k], over="both")
            row.append(Number(float(curve.value[0]), float(curve.low[0]), float(curve.high[0])))
        shares = ("flagged asked", "flagged held-out", "flagged retain", "flagged retain_held", "flagged world_facts")
        rows.append((*row, *(Number(float(np.mean([b[key] for b in blocks]))) for key in shares)))
    columns = (
        "guard", "seeds", f"leak@{k}, asked", f"leak@{k}, held-out wording", "acts on asked", "on held-out wording",
        "on kept people", "on people not shown", "on countries",
    )  # fmt: skip
    return Table("", columns, tuple(rows))


def page(cells: Cells) -> str:
    """The page."""
    top = max(k for k in cells.options["ks"] if k <= cells.options["n"])
    parts = [
        "# Results under attack, and behind guards",
        "Written by `python studies/attacks_tables.py` from the cells of `python studies/attacks.py`; no number is typed.",
        "The models are those of the [world study](results-world.md). Every attack is made on the retrained model too: a number is "
        "the excess over it, paired by question. Brackets: the 95% interval over questions and their samples, those of all seeds "
        "together; six questions are about one person.",
        "## What it shows",
        *shown(cells, top),
        "## Forgotten or hidden?",
        *stored_lines(cells, top),
        f"## The ladder: excess at k = {top}",
        f"{cells.options['n']} samples a question, {cells.options['decoding']}. [Attacks](attacks.md) says what each assumes. {rests_on(cells)}",
        to_markdown(ladder_table(cells, top)),
        "## The same at k = 1",
        to_markdown(ladder_table(cells, 1)),
    ]
    if cells.attacks(read=True):
        parts += ["## What the inside still holds", to_markdown(read_table(cells))]
    if any("guards" in blocks for blocks in cells.found.values()):
        parts += [
            "## Behind a guard",
            "The full model, which forgot nothing, behind each guard. Acts on: the share of prompts that its detector flags; of all but "
            "the first two groups that is a false alarm.",
            to_markdown(guard_table(cells, top)),
        ]
    return "\n\n".join(parts) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=CELLS, help="where studies/attacks.py keeps its cells")
    parser.add_argument("--page", type=Path, help="the page to write")
    arguments = parser.parse_args()
    text = page(Cells(arguments.out))
    print(text)
    if arguments.page:
        write_atomic(arguments.page, text)


if __name__ == "__main__":
    main()
