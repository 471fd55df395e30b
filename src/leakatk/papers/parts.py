"""Facts of what is in no registry of its own kind: an estimator, a loop around other things."""

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
    "attack-ladder",
    "leakatk.attacks.ladder",
    summary="each attack also made on the model that never knew: what counts is the excess",
    paper="Evaluations are inconclusive",
    formula="leak@k of the attacked model minus that of the attacked retrained model, paired by prompt; gives away: share of the answers' "
    "words in what the attack brings",
    source="minimal information: what an attack is trained on is never measured; the shares are ours",
    rows=("26",),
    tags=frozenset({"retrained"}),
    example="leakatk attack MODEL --benchmark world --attack relearn --retrained RETRAINED --out runs/attacked",
)
part(
    "memorised-stop",
    "leakatk.unlearning.stop",
    summary="the stop once a forget set is extracted no better than unseen texts",
    paper="Jang et al. 2022, arXiv 2210.01504",
    formula="stop at the first check with EL_n(forget) <= EL_n(unseen) and MA(forget) <= MA(unseen)",
    rows=("3",),
    tags=frozenset({"holdout"}),
    example="leakatk unlearn MODEL --forget forget.jsonl --method ga --stop-memorised --unseen unseen.jsonl --out models/ga",
)
part(
    "requests",
    "leakatk.unlearning.requests",
    summary="requests to forget in a row, each audited by sampling after its own turn and all later ones; or from one start, and then fused",
    paper="PULSE; Jang et al. 2022; EUL's fusing by RegMean",
    formula="theta_t = method(theta_t-1, request t); or W' = (sum X_i'X_i)^-1 sum X_i'X_i W_i' over models of one start",
    rows=("3", "4", "11"),
    example="leakatk unlearn MODEL --forget forget.jsonl --retain retain.jsonl --method npo --requests 5 --out models/five",
)
part(
    "s3t",
    "leakatk.unlearning.exact.slices",
    summary="fine-tuning in shards and slices, each slice in adapter layers of its own; a deletion switches off what came after it",
    paper="S3T: Basu Roy Chowdhury et al. 2025, arXiv 2406.16257",
    formula="theta(s_1 ... s_j) = theta(s_1 ... s_j-1) + B A in the layers of place j, trained on all of s_1 ... s_j; orders by rotation, or by matching on "
    "sum_n n (1 - sum_i<=n p_i)^t; served is the longest beginning left",
    source="the authors' code: layers from the last down, data of all slices so far, the score with t 100; their adapters have rank 32, and lr 2e-5 to "
    "1e-4. Steps and rates for small models are ours",
    reading="Which slice a prompt is in is a hash of its source, or of its id. Kept are the merged matrices of a place's layers, not its adapter: a model's "
    "size for each order. The matching is the authors' of one slice at a time. A deleted slice is not learned again by itself",
    rows=("19",),
    tags=frozenset({"removal"}),
    example="leakatk exact train BASE --benchmark world --out models/sliced",
)
part(
    "calibrated-rule",
    "leakatk.unlearning.rule.calibrated",
    summary="RULE that stops at the retrained model's level",
    paper="ours",
    formula="rounds of RULE until leak@k is not above that of the retrained model, by a metric that does not detect",
    example="leakatk unlearn models/simnpo --benchmark world --method rule --base simnpo --retrained RETRAINED --out models/rule",
)
