"""Audits of requests in a row: after each one, it and all former ones are sampled and scored, each on its own."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from leakatk.auditing.audit import audit
from leakatk.auditing.settings import AuditSettings
from leakatk.models.fingerprint import identity_of
from leakatk.models.loaded import LoadedModel
from leakatk.prompts import Prompt
from leakatk.report.content import Number, Table
from leakatk.sampling.decoding import Decoding
from leakatk.text import percent

AUDITS = "audits"


@dataclass(frozen=True)
class RequestAudit:
    """What is left of one request after another. after, request: their numbers, from 1.

    k, value, low, high: leak@k with its interval over samples.  prompts: those that were scored, of `asked`.  cut: share of the answers
    whose end was cut off, so that nobody knows what they would have said next.  out: the audited run.
    """

    after: int
    request: int
    asked: int
    prompts: int
    k: Sequence[int]
    value: Sequence[float]
    low: Sequence[float]
    high: Sequence[float]
    greedy: float
    cut: float
    out: str

    def as_dict(self) -> dict[str, Any]:
        """For requests.json."""
        return dict(vars(self))


def audit_requests(
    loaded: LoadedModel,
    requests: Sequence[Sequence[Prompt]],
    after: int,
    model: str | Path,
    out: str | Path,
    *,
    scorer: str,
    n: int,
    max_new_tokens: int,
    seed: int = 0,
    benchmark: str = "custom",
    quiet: bool = False,
) -> list[RequestAudit]:
    """Audit the requests 1 to `after` after request `after`, each into OUT/audits/after-00T/request-00S; what is there is not asked again.

    model: the directory that the model was saved in, which tells audits of several models apart.  scorer: by its name with options.
    The wording of the prompts alone is asked. Errors as in `audit`.
    """
    identity = identity_of(str(model))
    now = replace(
        loaded, name=str(model), fingerprint=identity.fingerprint, weights={"weights_sha256": identity.weights_sha256}
    )
    settings = AuditSettings(
        n=n, decoding=Decoding(max_new_tokens=max_new_tokens), seed=seed, scorers=(scorer,), paraphrases=False,
        benchmark=benchmark, label=f"after request {after}",
    )  # fmt: skip
    found = []
    for number, prompts in enumerate(requests[:after], 1):
        place = Path(out) / AUDITS / f"after-{after:03d}" / f"request-{number:03d}"
        results = audit(now, prompts, out=place, settings=settings, quiet=quiet)
        [one] = results["scorers"].values()
        curve, answers = one["curves"]["samples"], results["answers"]
        found.append(
            RequestAudit(
                after,
                number,
                len(prompts),
                one["m"],
                curve["k"],
                curve["value"],
                curve["low"],
                curve["high"],
                math.nan if one["greedy"] is None else one["greedy"],
                answers["cut"] / answers["answers"],
                str(place.relative_to(out)),
            )
        )
    return found


def request_table(audits: Sequence[RequestAudit], requests: int, retain: Sequence[float]) -> Table:
    """A row after each request, a column for each: leak@n with its interval. retain: greedy on what is kept, before the first and after each."""
    most = max(one.k[-1] for one in audits)
    by_place = {(one.after, one.request): one for one in audits}
    done = max(one.after for one in audits)

    def cell(after: int, request: int) -> Number:
        one = by_place.get((after, request))
        return Number(math.nan) if one is None else Number(one.value[-1], one.low[-1], one.high[-1])

    rows: tuple[tuple[str | Number, ...], ...] = tuple(
        (f"after {after}", *(cell(after, request) for request in range(1, requests + 1)), Number(retain[after]))
        for after in range(1, done + 1)
    )
    unscored = {one.request: one.asked - one.prompts for one in audits if one.asked > one.prompts}
    left_out = "".join(f" Request {name}: {count} prompts have no score." for name, count in sorted(unscored.items()))
    if cut := max(one.cut for one in audits):
        left_out += (
            f" Up to {percent(cut)} of an audit's answers were cut off: what they would have said next is unknown."
        )
    return Table(
        title=f"leak@{most} of each request after every one",
        columns=("", *(f"request {number}" for number in range(1, requests + 1)), "kept, greedy"),
        rows=rows,
        caption=f"Intervals over samples, 95%. A request is first sampled after its own turn.{left_out}",
        better=("", *["lower"] * requests, "higher"),
    )
