"""Plotting of leak@k by matplotlib, for notebooks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from leakatk.arrays import Floats, Ints
from leakatk.errors import InputError


def axes_for(ax: Any) -> Any:
    """The axes that are given, else new ones. InputError without matplotlib."""
    if ax is not None:
        return ax
    try:
        from matplotlib import pyplot
    except ImportError:
        raise InputError("A plot needs matplotlib; run: pip install 'leak-at-k[plots]'.") from None
    return pyplot.subplots(figsize=(7, 4.2), layout="constrained")[1]


def draw_curve(
    ax: Any,
    k: Sequence[int] | Ints,
    value: Sequence[float] | Floats,
    low: Sequence[float] | Floats,
    high: Sequence[float] | Floats,
    *,
    label: str = "",
    y_name: str = "leak@k",
) -> None:
    """A line with its band over a logarithmic axis of k. k, value, low, high: equally long."""
    [line] = ax.plot(k, value, marker="o", ms=4, lw=1.6, label=label.replace("$", r"\$").lstrip("_") or None)
    ax.fill_between(k, low, high, color=line.get_color(), alpha=0.15, linewidth=0)
    ax.set_xscale("log", base=2)
    ax.set_xticks([int(one) for one in k], [f"{int(one):,}" for one in k])
    ax.minorticks_off()
    ax.set_xlabel("k: samples drawn per prompt")
    ax.set_ylabel(y_name)
    if label:
        ax.legend(frameon=False, fontsize=9)
