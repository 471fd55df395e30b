"""Methods on a real model beside the generated world: what forgot there, does it here? From the cells of both studies."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from scipy import stats
from world_tables import Study

from leakatk.report.content import Cell, Number, Table
from leakatk.report.table import to_markdown

if TYPE_CHECKING:
    from real_knowledge_page import Results

WORLD = Path(__file__).resolve().parent / "world"
LEAST = 5  # methods that a rank correlation is told of


def beside_world(results: Results, titles: dict[str, str]) -> str:
    """A table of the methods that both studies have, those that leak least in the world first, and what it says."""
    world, k = Study(WORLD), results.n
    both = [(name, one) for name, one in results.there() if name in results.methods and world.seeds(name)]
    leak = {name: world.leak(world.seeds(name), name, world.top) for name, _ in both}
    kept = {
        name: float(np.mean([world.cell(s, name)["utility"]["retain_held"] for s in world.seeds(name)]))
        for name, _ in both
    }
    rows: list[tuple[Cell, ...]] = []
    here: dict[str, float] = {}
    for name, one in sorted(both, key=lambda pair: leak[pair[0]].value):
        found = one.leak("asked", [k])
        here[name] = float(found.value[0])
        rows.append(
            (
                titles[name], leak[name], Number(kept[name], digits=2),
                Number(here[name], float(found.low[0]), float(found.high[0]), 2), Number(one.kept("unshown", "asked"), digits=2),
            )
        )  # fmt: skip
    columns = (
        "method", f"world: leak@{world.top}", "people not shown", f"here: leak@{k}, asked", "kept, not shown",
    )  # fmt: skip
    text = (
        "What is the best on the [generated world](results-world.md), is it here too? There a model of half a million parameters was taught "
        "what it then forgot; here a chat model forgets what it read in its pre-training, in other words and many times.\n\n"
        + to_markdown(Table("", columns, tuple(rows)))
    )
    quiet = [name for name in here if leak[name].value <= 0.05 < here[name]]
    text += f"\n* At most .05 there and more here: {'; '.join(titles[name] for name in quiet) or 'none'}.\n"
    if len(here) >= LEAST:
        order = list(here)
        rank = float(stats.spearmanr([leak[name].value for name in order], [here[name] for name in order]).statistic)
        text += f"* Order of leaks in both, Spearman over {len(order)} methods: {rank:.2f}. One model and one seed here: read it as a hint.\n"
    return text
