"""Table of the metrics that a person named: a line a number, a column a model."""

from __future__ import annotations

import math
from collections.abc import Sequence

from leakatk.bench.results import Row
from leakatk.metrics.base import METRICS
from leakatk.report.content import Cell, Number, Table


def metrics_table(rows: Sequence[Row], metrics: Sequence[str]) -> Table:
    """The numbers of these metrics in the rows of one bench. A number that is not defined is shown as such.

    metrics: names; those whose numbers depend on the benchmark ("sets") have a layout of their own and are left out.
    """
    # Such numbers are the same for every decoding and core metric: one row a model.
    models = list({row["role"]: row for row in rows}.values())
    body: list[tuple[Cell, ...]] = [
        (name, value, *(_number(row, value) for row in models))
        for name in dict.fromkeys(metrics)
        for value in METRICS[name].values
    ]
    return Table(
        title="Metrics by name",
        columns=("metric", "number", *(row["role"] for row in models)),
        rows=tuple(body),
        caption=" ".join(f"{name}: {METRICS[name].summary}" for name in dict.fromkeys(metrics)),
    )


def _number(row: Row, value: str) -> Number:
    found = row.get(value)
    return Number(math.nan if found is None else float(found))
