"""Pictures of the chart for papers and slides: .svg from our own drawing, .png and .pdf through matplotlib."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from leakatk.errors import InputError
from leakatk.files.writing import write_atomic
from leakatk.report.chart import DASHES, PALETTE, series_classes, standalone_svg
from leakatk.report.content import Curve
from leakatk.text import percent, visible

_MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")


def save_chart(
    curves: Sequence[Curve], path: str | Path, *, y_name: str = "leak@k", threshold: float = math.nan
) -> None:
    """Write the curves to `path`; its suffix chooses the format: .svg, .png or .pdf.

    threshold: the bound of a gate, drawn as a line across; NaN without one.

    InputError for another suffix, for no curves, and when .png or .pdf is asked for without matplotlib.
    """
    path = Path(path)
    if not curves:
        raise InputError(f"Nothing to draw in {path}: there are no curves; audit a model first.")
    if path.suffix.lower() == ".svg":
        write_atomic(path, standalone_svg(curves, y_name=y_name, threshold=threshold))
    elif path.suffix.lower() in (".png", ".pdf"):
        _with_matplotlib(curves, path, y_name, threshold)
    else:
        raise InputError(
            f"{path}: a chart can be written as .svg, .png or .pdf, not {path.suffix or 'without a suffix'!r}."
        )


def _with_matplotlib(curves: Sequence[Curve], path: Path, y_name: str, threshold: float) -> None:
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError:
        raise InputError(
            f"{path}: {path.suffix} needs matplotlib; run: pip install 'leak-at-k[plots]', or ask for .svg, which needs nothing."
        ) from None

    figure = Figure(figsize=(7, 4.2), layout="constrained")
    FigureCanvasAgg(figure)
    draw(curves, figure.add_subplot(), y_name, threshold)
    try:
        figure.savefig(path, dpi=200)
    except OSError as error:
        raise InputError(f"Cannot write {path}: {error.strerror or error}; choose another place.") from error


def draw(curves: Sequence[Curve], axes: Any, y_name: str = "leak@k", threshold: float = math.nan) -> None:
    """Draw the curves on matplotlib's axes. threshold: the bound of a gate, drawn as a line across; NaN without one."""
    classes = series_classes(curves)
    markers = {css: _MARKERS[i % len(_MARKERS)] for i, css in enumerate(dict.fromkeys(classes.values()))}
    greedy_at = 0.5 if any(c.kind == "greedy" for c in curves) else None
    for curve in curves:
        css = classes[curve.label]
        colour = {"ref": "#1c1e21", "orig": "#7a7f86"}.get(css) or PALETTE[int(css[1:])]
        if curve.kind == "greedy":
            axes.plot([greedy_at], [curve.value[0]], markers[css], color=colour, fillstyle="none", clip_on=False)
            continue
        line = _dash(DASHES.get(curve.kind, "5 5" if curve.dashed else ""))
        hollow = "full" if curve.kind in ("model", "reference", "original") else "none"
        # A "$" would start matplotlib's own formula language.
        label = visible(curve.label, lines=False).replace("$", r"\$").lstrip("_")
        axes.plot(
            curve.k,
            curve.value,
            marker=markers[css],
            ms=5,
            fillstyle=hollow,
            lw=1.6,
            ls=line,
            color=colour,
            label=label,
        )
        if curve.low and curve.kind != "control":
            axes.fill_between(curve.k, curve.low, curve.high, color=colour, alpha=0.14, linewidth=0)
    if math.isfinite(threshold):
        axes.axhline(
            threshold, color="#b3261e", lw=1.2, ls=(0.0, (4.0, 2.0)), label=f"gate: at most {percent(threshold)}"
        )
    axes.set_xscale("log", base=2)
    ks = sorted({k for c in curves if c.kind != "greedy" for k in c.k})
    ticks: list[float] = [*ks[:: -(-len(ks) // 12)]]
    names = [f"{k:,}" for k in ticks]
    if greedy_at is not None:
        ticks, names = [greedy_at, *ticks], ["greedy", *names]
    axes.set_xticks(ticks, names)
    axes.minorticks_off()
    axes.set_ylim(bottom=0)
    axes.set_xlabel("k: samples drawn per prompt")
    axes.set_ylabel(visible(y_name, lines=False).replace("$", r"\$"))
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="y", color="#dfe2e6", linewidth=0.8)
    axes.set_axisbelow(True)
    if axes.get_legend_handles_labels()[1]:
        axes.legend(frameon=False, fontsize=9)


def _dash(dash: str) -> str | tuple[float, tuple[float, ...]]:
    return (0.0, tuple(float(part) / 2 for part in dash.split())) if dash else "-"
