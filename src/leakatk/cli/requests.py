"""Requests of `leakatk unlearn`: one after the other, and what is left of each after every one (PULSE's second protocol)."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

if TYPE_CHECKING:
    from leakatk.models.loaded import LoadedModel
    from leakatk.prompts import Prompt
    from leakatk.scorers.base import Scorer
    from leakatk.unlearning.methods import Method
    from leakatk.unlearning.settings import OnCheck

FILE = "requests.json"
LEGEND = "mean greedy scores; before: of the requests before this one; to come: of those after it"


def run_requests(
    loaded: LoadedModel,
    parts: Sequence[Sequence[Prompt]],
    retain: Sequence[Prompt],
    method: Method,
    out: Path,
    scorer: Scorer,
    *,
    asked: Sequence[Sequence[Prompt]],
    check: Callable[[Sequence[Prompt]], OnCheck | None],
    max_new_tokens: int,
    n: int,
    benchmark: str,
    to_stderr: bool,
    **options: Any,
) -> dict[str, Any]:
    """Unlearn the parts in turn into OUT/request-001 and so on; a line and a row of OUT/requests.json for each. The same command resumes.

    asked: the prompts of each request as they are asked; the parts may hold them in other ways, to be trained on.  check: what the run of
    a request is stopped by.  n: samples of each prompt of a request and of all former ones, after it; 0: greedy answers alone.
    options: those of `unlearn`.
    """
    from leakatk.files.strict_json import plain, strict_json
    from leakatk.files.writing import write_atomic
    from leakatk.report.terminal import print_table, terminal
    from leakatk.unlearning.request_audits import RequestAudit, audit_requests, request_table
    from leakatk.unlearning.requests import in_turn

    rows: list[dict[str, Any]] = [
        {"request": 0, "prompts": 0, "steps": 0, **left(0, loaded, asked, retain, scorer, max_new_tokens)}
    ]
    audits: list[RequestAudit] = []

    def done(number: int, steps: int, stopped: str) -> None:
        found = left(number, loaded, asked, retain, scorer, max_new_tokens)
        rows.append({"request": number, "prompts": len(asked[number - 1]), "steps": steps, "stopped": stopped, **found})
        if n:
            mine = audit_requests(
                loaded, asked, number, out / f"request-{number:03d}", out, scorer=scorer.label, n=n,
                max_new_tokens=max_new_tokens, seed=options["seed"], benchmark=benchmark or "custom",
            )  # fmt: skip
            audits.extend(mine)
            rows[-1]["audits"] = [one.as_dict() for one in mine]
        write_atomic(
            out / FILE,
            strict_json(plain({"method": method.name, "scorer": scorer.label, "n": n, "rows": rows}), indent=2) + "\n",
        )
        typer.echo(
            f"Request {number} of {len(parts)}: {steps} steps ({stopped or 'all steps done'}); {said(found)}",
            err=to_stderr,
        )

    typer.echo(f"Before: {said(rows[0])} ({LEGEND}).", err=to_stderr)
    in_turn(loaded, parts, retain, method, out=out, check=check, on_done=done, **options)
    if audits and not to_stderr:
        print_table(request_table(audits, len(parts), [row["retain"] for row in rows]), terminal())
    return {"requests": rows, "legend": LEGEND}


def left(
    number: int,
    loaded: LoadedModel,
    parts: Sequence[Sequence[Prompt]],
    retain: Sequence[Prompt],
    scorer: Scorer,
    longest: int,
) -> dict[str, float]:
    """After request `number` (0: before the first) the mean greedy score of its prompts, of those before and to come, and of what is kept."""
    from leakatk.unlearning.stop import greedy_scores

    sets = {
        "this": [prompt for part in parts[max(number - 1, 0) : number] for prompt in part],
        "before": [prompt for part in parts[: max(number - 1, 0)] for prompt in part],
        "to come": [prompt for part in parts[number:] for prompt in part],
        "retain": list(retain),
    }
    found = {}
    for name, prompts in sets.items():
        scores = greedy_scores(loaded, prompts, scorer, max_new_tokens=longest).tolist() if prompts else []
        known = [score for score in scores if math.isfinite(score)]
        found[name] = sum(known) / len(known) if known else math.nan
    return found


def said(found: dict[str, Any]) -> str:
    names = ("this", "before", "to come", "retain")
    return ", ".join(f"{name} {found[name]:.3f}" for name in names if not math.isnan(found[name]))
