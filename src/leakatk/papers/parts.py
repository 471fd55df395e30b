"""The facts of what is in no registry of its own kind: an estimator, a loop around other things."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from leakatk.registry import Facts, Registry
from leakatk.unlearning.rule.settings import RULE_FACTS


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
PARTS.add("rule", Part(where="leakatk.unlearning.rule.rule", **vars(RULE_FACTS)))
part(
    "calibrated-rule",
    "leakatk.unlearning.rule.calibrated",
    summary="RULE that stops at the retrained model's level",
    paper="ours",
    formula="rounds of RULE until leak@k is not above that of the retrained model, by a metric that does not detect",
    example="leakatk unlearn models/simnpo --benchmark world --method rule --base simnpo --retrained RETRAINED --out models/rule",
)
