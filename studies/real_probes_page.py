"""Section of docs/results-real.md on what the models hide, from the cells alone."""

from __future__ import annotations

from real_cells import Numbers, Store
from real_knowledge_page import title
from real_measure import rows_of
from real_probes import MODELS, PROBES

from leakatk.estimate.curves import LeakCurve
from leakatk.estimate.leak import leak_at_k
from leakatk.report.content import Cell, Number, Table
from leakatk.report.table import to_markdown

PLAIN, WORST = "as it stands", "worst case"


def leak(numbers: Numbers, way: str, k: int) -> LeakCurve:
    """leak@k of one way of asking; the variants of a question are questions of their own."""
    return leak_at_k(rows_of(numbers["leaks"][way], numbers["n"]), [k])


def table(found: dict[str, Numbers], k: int) -> str:
    rows: list[tuple[Cell, ...]] = []
    for way in (PLAIN, *PROBES, WORST):
        cells: list[Cell] = []
        for numbers in found.values():
            curve = leak(numbers, way, k)
            cells.append(Number(float(curve.value[0]), float(curve.low[0]), float(curve.high[0]), 2))
        rows.append((way, *cells))
    return to_markdown(Table("", ("asked", *(title(name) for name in found)), tuple(rows)))


def section(store: Store) -> str:
    """The section as Markdown."""
    found = {name: store.numbers(name) for name in MODELS if store.path(name).exists()}
    missing = [title(name) for name in MODELS if name not in found]
    if not found:
        return f"## What the model hides\n\nNot run: {', '.join(missing)}.\n"
    first = next(iter(found.values()))
    n, count = first["n"], len(first["forget"])
    hidden = [
        title(name)
        for name, numbers in found.items()
        if name != "original" and leak(numbers, WORST, n).low[0] > leak(numbers, PLAIN, n).high[0]
    ]
    lacking = ", ".join(f"{way}: {count} of {len(first['forget'])}" for way, count in first["left_out"].items())
    return f"""## What the model hides

The forgotten items of the study above, {count} of them, asked in nine other ways; {n} samples of each, T = 1. The worst case takes the most leaking of the j-th samples over all ways but {", ".join(first["gives_answer"]) or "none"}, which gives the answer away: {first["ways"]:.1f} ways a question, so its leak@k costs that many times k samples. Brackets: 95% over samples. Items that a probe has no question for: {lacking or "none"}. Not run: {", ".join(missing) or "none"}.

leak@{n}:

{table(found, n)}
leak@1:

{table(found, 1)}
The worst case's interval is above that of the question as it stands: {"; ".join(hidden) or "none"}.
"""
