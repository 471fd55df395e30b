"""leakatk score: score a run, or a file of generations somebody else made."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from leakatk.cli import inputs, options
from leakatk.cli.config import Config
from leakatk.errors import InputError

if TYPE_CHECKING:
    from leakatk.arrays import Floats
    from leakatk.estimate.curves import Over
    from leakatk.prompts import Prompt
    from leakatk.runs.store import Run
    from leakatk.scorers.base import Scorer

EXAMPLES = options.examples(
    "leakatk score runs/forgot",
    "leakatk score generations_n200.json --scorer rouge-l --scorer keys --k 1,16,128",
    "leakatk score batch_output.jsonl --prompts forget.jsonl",
    "leakatk score runs/forgot --scorer judge:model=gpt-4o-mini --max-cost 5 --dry-run",
)


def add_to(app: typer.Typer) -> None:
    app.command("score", short_help="Score a run or stored generations; no model needed.", epilog=EXAMPLES)(run)


def run(
    source: Annotated[
        Path,
        typer.Argument(
            help="A run directory, or what another tool wrote: Leak@k's generations, samples of lm-eval, a log of Inspect, OpenAI "
            "batch or vLLM outputs, rows with an answer, chats, texts."
        ),
    ],
    prompts_file: Annotated[
        Path | None,
        typer.Option(
            "--prompts", metavar="FILE", help="Questions and true answers, where the source does not hold them."
        ),
    ] = None,
    column: options.Columns = None,
    scorer: Annotated[
        list[str] | None,
        typer.Option(
            help="Core metric (see leakatk scorers); may be repeated. Default: the run's own headline, else by its prompts.",
            autocompletion=options.named("scorers"),
        ),
    ] = None,
    k: Annotated[str, typer.Option("--k", help="Comma-separated k values; default the powers of two up to n.")] = "",
    over: options.Over = "samples",
    level: Annotated[float, typer.Option(help="Level of the interval.")] = 0.95,
    max_cost: options.MaxCost = None,
    max_requests: options.MaxRequests = None,
    price_in: options.PriceIn = None,
    price_out: options.PriceOut = None,
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

    from leakatk.auditing.score import score
    from leakatk.runs.external import read_outputs
    from leakatk.runs.store import Run
    from leakatk.scorers.base import get_scorer

    with options.reading(source):
        opened = Run.open(source) if source.is_dir() else None
        given = prompts_given(prompts_file, column, opened=opened is not None)
        outputs = None if opened else read_outputs(source, given)
        prompts, read = (
            (opened.prompts, None) if opened else (outputs.prompts, outputs.texts) if outputs else ((), None)
        )
        names = list(dict.fromkeys(scorer or [headline(opened, prompts)]))
    if outputs:
        typer.echo(outputs.says(), err=True)
    prices = inputs.prices_of("", "", names, price_in, price_out)
    names = [inputs.with_caps(name, max_cost, max_requests, prices.scorers) for name in names]
    judges = [get_scorer(name).keeping(source if opened else source.parent) for name in names]
    if dry_run:
        texts = opened.texts() if opened else read or []
        targets = [prompt for prompt, row in zip(prompts, texts, strict=True) for _ in row]
        flat = [text for row in texts for text in row]
        costs = [say_cost(judge, targets, flat, run=opened, as_json=as_json) for judge in judges]
        if as_json:
            options.echo_json(costs[0] if len(costs) == 1 else {"scorers": costs})
        return
    blocks, refused = list[dict[str, Any]](), list[str]()
    for name, judge in zip(names, judges, strict=True):
        rows = list(score(opened, name)) if opened else rows_of(judge, prompts, read or [])
        if all(np.isnan(row).all() for row in rows):
            refused.append(f"Scorer {name} is undefined on every prompt of {source}; choose another.")
            continue
        ks = options.parse_ks(k, min(len(row) for row in rows if not np.isnan(row).all()), drawn=True)
        block = block_of(judge, prompts, rows, ks, over=over, level=level)
        blocks.append(block | ({"read": outputs.counts()} if outputs else {}))
    if not blocks:
        raise InputError(" ".join(refused))
    for line in refused:
        typer.echo(line, err=True)
    if as_json:
        options.echo_json(blocks[0] if len(names) == 1 else {"scorers": blocks})
        return
    for i, block in enumerate(blocks):
        typer.echo(("\n" if i else "") + "\n".join(lines_of(block, per_prompt=per_prompt)))


def prompts_given(file: Path | None, column: Sequence[str] | None, *, opened: bool) -> list[Prompt]:
    from leakatk.prompts import columns_from, load_prompts

    columns = columns_from(column or ())
    if columns and file is None:
        raise InputError("--column only goes with --prompts FILE: it names a column of that file.")
    if file is not None and opened:
        raise InputError("--prompts is for what other tools wrote; a run directory has its prompts.")
    return load_prompts(file, columns) if file is not None else []


def headline(run: Run | None, prompts: Sequence[Prompt]) -> str:
    """The first scorer of the run's results.json; without one, the default for its prompts."""
    from leakatk.scorers.knows import default_scorers

    stored = run.results().get("scorers") if run and (run.path / "results.json").exists() else None
    return next(iter(stored)) if isinstance(stored, dict) and stored else default_scorers(prompts)[0]


def rows_of(judge: Scorer, prompts: Sequence[Prompt], texts: Sequence[Sequence[str]]) -> list[Floats]:
    """The scores of every prompt, as many as it has texts."""
    import numpy as np

    targets = [prompt for prompt, row in zip(prompts, texts, strict=True) for _ in row]
    scores = judge.score(targets, [text for row in texts for text in row])
    return np.split(scores, np.cumsum([len(row) for row in texts])[:-1])


def block_of(
    judge: Scorer, prompts: Sequence[Prompt], rows: Sequence[Floats], ks: Sequence[int], *,
    over: Over, level: float,
) -> dict[str, Any]:  # fmt: skip
    """leak@k of one scorer as plain values, with what it could not score."""
    import numpy as np

    from leakatk.estimate.leak import leak_at_k
    from leakatk.scorers.knows import parts, parts_sentence, ways

    keep = [i for i, row in enumerate(rows) if not np.isnan(row).all()]
    curve = leak_at_k([rows[i] for i in keep], ks, over=over, level=level, missing="allow")
    kept = set(keep)
    sentence = parts_sentence(prompts, judge.label)
    return {
        "scorer": judge.name, "label": judge.label, "over": over, "level": level, "prompts": len(keep),
        "undefined": [prompts[i].id for i in range(len(rows)) if i not in kept], "missing": curve.missing,
        "answers": sum(len(row) for row in rows), "scored": int(sum((~np.isnan(row)).sum() for row in rows)),
        **({"parts": parts(prompts, judge.label), "ways": ways(prompts, judge.label), "says": sentence} if sentence else {}),
        "k": [int(v) for v in curve.k], "value": curve.value.tolist(),
        "low": curve.low.tolist(), "high": curve.high.tolist(),
        "per_prompt": {prompts[i].id: row for i, row in zip(keep, curve.per_prompt.tolist(), strict=True)},
    }  # fmt: skip


def lines_of(block: Mapping[str, Any], *, per_prompt: bool) -> Iterator[str]:
    from leakatk.text import bound, visible

    yield (
        f"{block['label']}: {block['prompts']} prompts, {block['level']:.0%} interval over {block['over']}; "
        f"{len(block['undefined'])} undefined. {block['scored']:,} of {block['answers']:,} answers scored, "
        f"{block['missing']:,} missing."
    )
    if block.get("says"):
        yield block["says"]
    yield f"{'k':>8}  leak@k   low     high"
    for k, value, low, high in zip(block["k"], block["value"], block["low"], block["high"], strict=True):
        yield f"{k:>8}  {value:.4f}  {bound(low):<7} {bound(high)}"
    if per_prompt:
        for name, row in block["per_prompt"].items():
            yield f"{visible(name)}  " + " ".join(f"{v:.4f}" for v in row)


def say_cost(
    scorer: Scorer, prompts: Sequence[Prompt], texts: Sequence[str], *, run: Run | None, as_json: bool
) -> dict[str, Any]:
    """What scoring these pairs would ask a judge, or how long it takes; said in words unless `as_json`."""
    from leakatk.auditing.score import scored
    from leakatk.cli.dry import scoring_cost
    from leakatk.progress import format_seconds
    from leakatk.scorers.base import Priced

    kept = run is not None and scored(run, scorer)
    pairs = 0 if kept else len({(prompt.id, text) for prompt, text in zip(prompts, texts, strict=True)})
    cost: dict[str, Any] = {"scorer": scorer.label, "answers": len(texts), "distinct": pairs}
    if kept:
        says = "the scores are there already."
    elif isinstance(scorer, Priced):
        expected = scorer.expected(prompts, texts)
        cost |= expected
        says = f"would ask {scorer.says(expected)}."
    else:
        cost["seconds"] = scoring_cost(scorer, prompts, texts)
        says = f"would score {pairs:,} distinct ones, about {format_seconds(cost['seconds'])} (from a pilot)."
    if not as_json:
        typer.echo(f"{scorer.label}: {len(texts):,} answers; {says}")
    return cost
