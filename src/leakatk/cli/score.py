"""leakatk score: score a run, or a file of generations somebody else made."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from leakatk.cli import options
from leakatk.cli.config import Config
from leakatk.errors import InputError

if TYPE_CHECKING:
    from leakatk.data import Prompt
    from leakatk.scorers.base import Scorer

EXAMPLES = options.examples(
    "leakatk score runs/forgot --scorer rouge-l",
    "leakatk score generations_n200.json --scorer rouge-l --k 1,16,128",
    "leakatk score runs/forgot --scorer judge:model=gpt-4o-mini --max-cost 5 --dry-run",
)


def add_to(app: typer.Typer) -> None:
    app.command("score", short_help="Score a run or stored generations; no model needed.", epilog=EXAMPLES)(run)


def run(
    source: Annotated[
        Path, typer.Argument(help="A run directory, or a generations_n*.json file (prompt, ground_truth, responses).")
    ],
    scorer: Annotated[
        str, typer.Option(help="Core metric (see leakatk scorers).", autocompletion=options.named("scorers"))
    ] = "rouge-l",
    k: Annotated[str, typer.Option("--k", help="Comma-separated k values; default the powers of two up to n.")] = "",
    over: options.Over = "samples",
    level: Annotated[float, typer.Option(help="Level of the interval.")] = 0.95,
    max_cost: options.MaxCost = None,
    max_requests: options.MaxRequests = None,
    per_prompt: Annotated[bool, typer.Option("--per-prompt", help="One line a prompt too.")] = False,
    dry_run: options.DryRun = False,
    as_json: options.AsJson = False,
    quiet: options.Quiet = False,
    config: Config = None,
) -> None:
    """Score stored generations and print leak@k. The model is never needed.

    A judge's replies are kept beside what is scored, in judge-replies.jsonl: none is paid for twice.
    """
    import numpy as np

    from leakatk.api import score, scored
    from leakatk.estimate.leak import leak_at_k
    from leakatk.runs.external import read_generations
    from leakatk.runs.store import Run
    from leakatk.scorers.base import get_scorer

    scorer = options.with_caps(scorer, max_cost, max_requests)
    with options.reading(source):
        opened = Run.open(source) if source.is_dir() else None
    judge = get_scorer(scorer).keeping(source if opened else source.parent)
    if opened and not dry_run:  # a run reads its texts only where it lacks the scores
        with options.reading(source):
            ids, rows = list(opened.prompt_ids), list(score(opened, scorer))
    else:
        prompts, texts = (opened.prompts, opened.texts()) if opened else read_generations(source)
        ids = [prompt.id for prompt in prompts]
        references = [prompt for prompt, row in zip(prompts, texts, strict=True) for _ in row]
        flat = [text for row in texts for text in row]
        if dry_run:
            kept = opened is not None and scored(opened, judge)
            say_cost(judge, references, flat, kept=kept, as_json=as_json)
            return
        rows = np.split(judge.score(references, flat), np.cumsum([len(row) for row in texts])[:-1])
    keep = [i for i, row in enumerate(rows) if not np.isnan(row).all()]
    if not keep:
        raise InputError(f"Scorer {scorer} is undefined on every prompt of {source}; choose another.")
    ks = options.parse_ks(k, min(len(rows[i]) for i in keep), drawn=True)
    curve = leak_at_k([rows[i] for i in keep], ks, over=over, level=level, missing="allow")
    kept_ids = [ids[i] for i in keep]
    if as_json:
        options.echo_json(
            {
                "scorer": judge.name, "over": over, "level": level, "prompts": len(keep),
                "undefined": [ids[i] for i in range(len(rows)) if i not in set(keep)], "missing": curve.missing,
                "k": [int(v) for v in curve.k], "value": curve.value.tolist(),
                "low": curve.low.tolist(), "high": curve.high.tolist(),
                "per_prompt": dict(zip(kept_ids, curve.per_prompt.tolist(), strict=True)),
            }
        )  # fmt: skip
        return
    typer.echo(
        f"{judge.name}: {len(keep)} prompts, {level:.0%} interval over {over}; {len(rows) - len(keep)} undefined."
    )
    typer.echo(f"{'k':>8}  leak@k   low     high")
    for i, value in enumerate(curve.k):
        typer.echo(f"{value:>8}  {curve.value[i]:.4f}  {curve.low[i]:.4f}  {curve.high[i]:.4f}")
    if per_prompt:
        from leakatk.report.text import visible

        for name, row in zip(kept_ids, curve.per_prompt, strict=True):
            typer.echo(f"{visible(name)}  " + " ".join(f"{v:.4f}" for v in row))


def say_cost(scorer: Scorer, prompts: Sequence[Prompt], texts: Sequence[str], *, kept: bool, as_json: bool) -> None:
    """Say what scoring these pairs would ask a judge, or how long it takes; kept: all scores are there already."""
    from leakatk.cli.dry import scoring_cost
    from leakatk.progress import format_seconds
    from leakatk.scorers.judge import Judge

    pairs = 0 if kept else len({(prompt.id, text) for prompt, text in zip(prompts, texts, strict=True)})
    cost: dict[str, float] = {"answers": len(texts), "distinct": pairs}
    if kept:
        says = "the scores are there already."
    elif isinstance(scorer, Judge):
        expected = scorer.expected(prompts, texts)
        cost |= expected
        says = f"would ask {scorer.says(expected)}."
    else:
        cost["seconds"] = scoring_cost(scorer, prompts, texts)
        says = f"would score {pairs:,} distinct ones, about {format_seconds(cost['seconds'])} (from a pilot)."
    if as_json:
        options.echo_json(cost)
    else:
        typer.echo(f"{scorer.label}: {len(texts):,} answers; {says}")
