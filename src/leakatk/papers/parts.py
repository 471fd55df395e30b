"""The facts of what is in no registry of its own kind: an estimator, a loop around other things."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from leakatk.registry import Facts, Registry


@dataclass(frozen=True, kw_only=True)
class Part(Facts):
    """A part of the library. where: its module."""

    where: str


PARTS: Registry[Part] = Registry("part")


def part(name: str, where: str, **facts: Any) -> Part:
    """State the facts of a part. where: its module; facts: see `Facts`, with the command that shows it as `example`."""
    return PARTS.add(name, Part(name=name, where=where, **facts))


part(
    "leak@k",
    "leakatk.estimate.leak",
    summary="the largest score among k answers, expected, from n >= k of them",
    paper="Leak@k, arXiv 2511.04934",
    formula="sum over j = k..n of C(j-1, k-1) s_(j) / C(n, k), scores s ascending",
    rows=("88",),
    example="leakatk score runs/forgot --k 1,16,128",
)
part(
    "rule",
    "leakatk.unlearning.rule.rule",
    summary="RULE: what the model leaks when it is sampled is unlearned, in rounds around another method",
    paper="Leak@k, arXiv 2511.04934: RULE around another method; our reconstruction",
    formula="""A: leaks found so far, none at first. Each round: n answers to every forget prompt; those that leak (score >= threshold)
and are new join A, at most `cap` a prompt; then steps of the base method on forget + A, with R on retain.
Ends when a round finds no leak, at the target (upper bound of leak@k on fresh samples), or after the last round""",
    rows=("88",),
    reading="the rounds, from the paper's description",
    example="leakatk unlearn models/simnpo --benchmark world --method rule --base simnpo --out models/rule",
)
part(
    "calibrated-rule",
    "leakatk.unlearning.rule.calibrated",
    summary="RULE that stops at the retrained model's level",
    paper="ours",
    formula="rounds of RULE until leak@k is not above that of the retrained model, by a metric that does not detect",
    example="leakatk unlearn models/simnpo --benchmark world --method rule --base simnpo --reference RETRAINED --out models/rule",
)
