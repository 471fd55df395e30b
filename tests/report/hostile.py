"""Text as a hostile model could write it, and a report with it in every place a string can stand."""

from __future__ import annotations

from collections.abc import Callable

from leakatk.report.content import Curve, Grid, Highlight, Number, PromptView, ReportContent, Table, TextGroup

# Each would set window.owned if it ran.
HOSTILE = (
    "</script><script>window.owned=1</script>",
    "<script>window.owned=1</script>",
    "<img src=x onerror=window.owned=1>",
    '"><svg/onload=window.owned=1>',
    "' onmouseover='window.owned=1",
    "<!--<script>window.owned=1",
    "]]><style>*{display:none}</style>",
    "javascript:window.owned=1",
    "{{ 7*7 }}{% raw %}${window.owned=1}",
    '<a href="javascript:window.owned=1" autofocus onfocus=window.owned=1>x</a>',
    "&lt;script&gt;window.owned=1&lt;/script&gt;",
    "\x1b[2J\x1b]0;title\x07 \x9b31m",
    "nul\x00 del\x7f \u202eoverride\u202c \u2066isolate\u2069",
    "sep\u2028line\u2029para \ufeff\u200b\U000e0041",
    "\ud800 lone surrogate",
    "zalgo e" + "\u0301" * 300,
    "[link](javascript:x) [bold]rich[/bold] | `code` \\end{tabular} =1+1",
    "x" * 200_000,
)


def hostile_report(put: Callable[[str], str]) -> ReportContent:
    """A report with every hostile text (passed through `put`) in every field."""
    bad = put(" ".join(HOSTILE[:-1]))
    number = Number(0.5, 0.4, 0.6)
    table = Table(bad, (bad, bad), ((bad, number), (bad, number)), bad)
    curves = (
        Curve(bad, (1, 2, 4), (0.1, 0.2, 0.3), (0.0, 0.1, 0.2), (0.2, 0.3, 0.4)),
        Curve(bad + " greedy", (1,), (0.0,), kind="greedy", of=bad),
        Curve(bad + " exact", (1, 1_000_000), (0.0, 0.4), kind="exact", of=bad),
    )
    views = tuple(
        PromptView(
            bad,
            bad,
            bad,
            1.0 - i,
            tuple(TextGroup(put(text), 1, float(i == 0)) for text in HOSTILE),
            bad,
            1.0,
            facts,
            bad,
        )
        for i, facts in enumerate([tuple(put(t) for t in HOSTILE), ()])
    )
    return ReportContent(
        title=bad,
        verdict=bad,
        notes=(bad,),
        highlights=(Highlight(bad, bad, bad), Highlight(bad, number, bad)),
        curves=curves,
        tables=(table,),
        rounds=(table,),
        grids=(Grid(bad, bad, (bad,), bad, (bad,), ((0.5,),), bad),),
        prompts=views,
        metric=bad,
        protocol=(bad, bad),
        manifests=((bad, {bad: bad, "nested": {bad: [bad]}}),),
        command=bad,
        cost=((bad, 1.0),),
        created=bad,
    )
