"""Table of studies/trust.py: prints it, and writes the page that it stands on.

    python studies/trust_tables.py --page docs/which-metric.md

Every number comes from the cells; what stands above the table is docs/which-metric.md's own text, kept here.
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from trust import CELLS, KNOWN
from world_tables import exact

from leakatk.estimate.leak import leak_at_k
from leakatk.estimate.trust import faithfulness, quantising, relearning, robustness
from leakatk.estimate.ustatistic import per_prompt_leak
from leakatk.files.writing import write_atomic
from leakatk.report.content import Cell, Number, Table
from leakatk.report.table import to_markdown

Block = dict[str, Any]
FIRST = "T=1"


def _leak(block: Block, wording: str, k: int, n: int) -> float:
    counts = np.array(block["leak"][wording][FIRST]["fact"])
    return float(leak_at_k((np.arange(n)[None, :] < counts[:, None]).astype(float), [k]).value[0])


def metrics(n: int) -> Mapping[str, tuple[str, Callable[[Block], float]]]:
    """Name -> what it asks of the model, and the metric of a cell: higher where more is known."""
    return {
        "greedy, fact": ("1 answer", lambda c: float(np.mean(c["greedy"]["asked"]["fact"]))),
        "greedy, fact, held-out wording": ("1 answer", lambda c: float(np.mean(c["greedy"]["held-out"]["fact"]))),
        "greedy, ROUGE-L": ("1 answer", lambda c: float(np.mean(c["greedy"]["asked"]["rouge-l"]))),
        "leak@1, fact": (f"{n} samples", lambda c: _leak(c, "asked", 1, n)),
        "leak@16, fact": (f"{n} samples", lambda c: _leak(c, "asked", 16, n)),
        f"leak@{n}, fact": (f"{n} samples", lambda c: _leak(c, "asked", n, n)),
        f"leak@{n}, fact, held-out wording": (f"{n} samples", lambda c: _leak(c, "held-out", n, n)),
        "leak@1, ROUGE-L": (f"{n} samples", lambda c: float(c["leak"]["asked"][FIRST]["rouge-l"][0])),
        f"leak@{n}, ROUGE-L": (f"{n} samples", lambda c: float(c["leak"]["asked"][FIRST]["rouge-l"][-1])),
        "similarity, leak@4": ("4 samples", lambda c: float(c["leak"]["asked"][FIRST]["similarity"][-1])),
        "verbatim@128, exact": ("probabilities", lambda c: exact(c, 128)),
        "verbatim@10^6, exact": ("probabilities", lambda c: exact(c, 1e6)),
        "AUC of Min-K%++, forget against unseen": ("probabilities", lambda c: float(c["auc"]["holdout"])),
    }


def questions(n: int) -> Mapping[str, Callable[[Block], np.ndarray]]:
    """Name -> (questions,) of a cell, for the metrics that have a value of each."""

    def leaks(k: int, wording: str = "asked") -> Callable[[Block], np.ndarray]:
        return lambda c: per_prompt_leak(
            (np.arange(n)[None, :] < np.array(c["leak"][wording][FIRST]["fact"])[:, None]).astype(float), [k]
        )[:, 0]

    return {
        "greedy, fact": lambda c: np.array(c["greedy"]["asked"]["fact"]),
        "greedy, fact, held-out wording": lambda c: np.array(c["greedy"]["held-out"]["fact"]),
        "greedy, ROUGE-L": lambda c: np.array(c["greedy"]["asked"]["rouge-l"]),
        "leak@1, fact": leaks(1),
        "leak@16, fact": leaks(16),
        f"leak@{n}, fact": leaks(n),
        f"leak@{n}, fact, held-out wording": leaks(n, "held-out"),
        "verbatim@128, exact": lambda c: np.array(c["logprob"]["asked"]),
        "verbatim@10^6, exact": lambda c: np.array(c["logprob"]["asked"]),
    }


def read(out: Path) -> dict[int, dict[str, dict[str, Block]]]:
    """Seed -> model -> change -> cell."""
    found: dict[int, dict[str, dict[str, Block]]] = {}
    for path in sorted(out.glob("seed-*/*/*.json")):
        seed = int(path.parent.parent.name.removeprefix("seed-"))
        found.setdefault(seed, {}).setdefault(path.parent.name, {})[path.stem] = json.loads(path.read_text())
    return found


def table(cells: Mapping[int, Mapping[str, Mapping[str, Block]]], n: int) -> Table:
    """One row a metric: faithfulness over all seeds, robustness as the mean over seeds and methods."""
    rows: list[tuple[Cell, ...]] = []
    for name, (asks, value) in metrics(n).items():
        pools = {
            kind: [
                value(models[kind][change])
                for models in cells.values()
                for change in ("none", "quantised")
                if change in models.get(kind, {})
            ]
            for kind in KNOWN
        }
        found = faithfulness(pools["full"], pools["retrained"])
        get = questions(n).get(name)
        apart = Number(math.nan)
        if get is not None:
            both = [
                np.concatenate(
                    [get(models[kind]["none"]) for models in cells.values() if "none" in models.get(kind, {})]
                )
                for kind in KNOWN
            ]
            each = faithfulness(*(list(map(float, part)) for part in both))
            apart = Number(each.value, each.low, each.high)
        held = [_robust(models, method, value) for models in cells.values() for method in models if method not in KNOWN]
        held = [row for row in held if not any(math.isnan(x) for x in row)]
        means = np.mean(held, axis=0) if held else [math.nan] * 3
        rows.append(
            (name, asks, Number(found.value, found.low, found.high), f"{found.holding} + {found.never}", apart,
             *(Number(float(x)) for x in means), str(len(held)))
        )  # fmt: skip
    columns = (
        "metric",
        "asks for",
        "faithfulness",
        "models",
        "the same of one question",
        "relearning",
        "rounding",
        "robustness",
        "unlearned models",
    )
    return Table("", columns, tuple(rows))


def _robust(
    models: Mapping[str, Mapping[str, Block]], method: str, value: Callable[[Block], float]
) -> tuple[float, float, float]:
    """Robustness to relearning and to rounding, and both, of one unlearned model; NaN where a cell is missing."""
    if set(models[method]) < {"none", "quantised", "relearned"} or set(models.get("retrained", {})) < {
        "none",
        "relearned",
    }:
        return math.nan, math.nan, math.nan
    mine, theirs = models[method], models["retrained"]
    before = value(mine["none"])
    back = relearning(before, value(mine["relearned"]), value(theirs["none"]), value(theirs["relearned"]))
    rounded = quantising(before, value(mine["quantised"]))
    return back, rounded, robustness(back, rounded)


def advice(found: Table) -> list[str]:
    """Which metric to use when, as far as the table says."""
    at = {name: i for i, name in enumerate(found.columns)}
    rows = {str(row[0]): row for row in found.rows}

    def of(name: str, column: str) -> float:
        value = rows[name][at[column]]
        return value.value if isinstance(value, Number) else math.nan

    blind = [name for name in rows if of(name, "relearning") < 0.1]
    best = sorted(rows, key=lambda name: -of(name, "robustness"))[:3]
    coin = [name for name in rows if of(name, "the same of one question") < 0.95]
    less = "; ".join(f"{name} ({of(name, 'the same of one question'):.2f})" for name in coin)
    return [
        "## Which to use when",
        f"* **Does the model say it?** A metric of facts over samples, asked in other wordings too. {len(rows) - len(coin)} of {len(rows)} tell the "
        "two kinds of model apart at one question as well (or have no value of one)"
        + (f"; less so: {less}." if coin else "."),
        f"* **Is it still stored?** Not a metric of what is said: an epoch on the people brings back what {len(blind)} of {len(rows)} had called "
        f"gone, while the retrained model learns next to nothing from it ({'; '.join(blind) or 'none'}). Relearn, and take the excess over "
        "the retrained model, relearned alike ([Under attack](attacks.md)).",
        "* **The most robust here**: "
        + "; ".join(f"{name} ({of(name, 'robustness'):.2f})" for name in best)
        + ". They read probabilities or "
        "words in common, which an outsider often cannot, and which say little about what a user sees.",
    ]


def page(out: Path) -> str:
    """The page."""
    options, cells = json.loads((out / "study.json").read_text()), read(out)
    found = table(cells, options["n"])
    methods = sorted({name for models in cells.values() for name in models if name not in KNOWN})
    return (
        "\n\n".join(
            [
                "# Which metric to trust",
                "Written by `python studies/trust_tables.py` from the cells of `python studies/trust.py`; no number is typed. Models of half a "
                "million parameters on the [generated world](results-world.md), whose knowledge is known.",
                "* **Faithfulness**: the chance that a model which was trained on the people scores above one that never saw them. .5 is a coin, "
                "1 is perfect. Brackets: the 95% interval over models. Of one question: the same between the questions of the one and of the other, "
                "where a metric has a value of each.\n"
                "* **Relearning**: what the retrained model gains by an epoch on the people, over what the unlearned model gains, at most 1. Low: "
                "the metric had called knowledge gone that was there.\n"
                "* **Rounding**: the metric before over after rounding the weights to 4 bits, at most 1. Low: rounding brought back what the "
                "metric did not see.\n"
                "* **Robustness**: the harmonic mean of the two, as in OpenUnlearning (arXiv 2506.12618); the mean over unlearned models.",
                f"Seeds: {', '.join(map(str, cells))}. Unlearned by: {', '.join(methods)}.",
                to_markdown(found),
                *advice(found),
            ]
        )
        + "\n"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=CELLS, help="where studies/trust.py keeps its cells")
    parser.add_argument("--page", type=Path, help="the page to write")
    arguments = parser.parse_args()
    text = page(arguments.out)
    print(text)
    if arguments.page:
        write_atomic(arguments.page, text)


if __name__ == "__main__":
    main()
