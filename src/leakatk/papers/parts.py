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
    summary="requests to forget, one after the other, with what is left of each after every one; or from one start, and then fused",
    paper="PULSE; Jang et al. 2022; EUL's fusing by RegMean",
    formula="theta_t = method(theta_t-1, request t); or W' = (sum X_i'X_i)^-1 sum X_i'X_i W_i' over models of one start",
    rows=("3", "4", "11"),
    example="leakatk unlearn MODEL --forget forget.jsonl --retain retain.jsonl --method npo --requests 5 --out models/five",
)
part(
    "calibrated-rule",
    "leakatk.unlearning.rule.calibrated",
    summary="RULE that stops at the retrained model's level",
    paper="ours",
    formula="rounds of RULE until leak@k is not above that of the retrained model, by a metric that does not detect",
    example="leakatk unlearn models/simnpo --benchmark world --method rule --base simnpo --retrained RETRAINED --out models/rule",
)
part(
    "grokking",
    "leakatk.small.grokking",
    summary="the same unlearning from a network that has memorised and from the same network once it generalises",
    paper="Grokked unlearning, arXiv 2512.03437",
    formula="NLL(retain) - NLL(forget) until at most 5 % of the forget pairs are said; steps, losses of retain and unseen pairs, cos(g_f, g_r)",
    source="the recipe; a + b mod 31 with 576 trained pairs, a network of 22,000 weights, AdamW with decay 1, and all numbers of it are ours",
    reading="A demonstration on one task, with three seeds: forgetting takes 42 steps (standard deviation 6) and .01 of the retain pairs from the memorised "
    "network; from the grokked one, 2,250 steps of training later, it does not come about in 400 steps, which take .45 of the retain and .74 of the unseen "
    "pairs. The rule says forget pairs again: here, generalising makes single facts harder to forget",
    rows=("82",),
    example="from leakatk.small.grokking import compare, table; said = table(compare(seeds=3))",
)
part(
    "repair",
    "leakatk.unlearning.repair",
    summary="fine-tuning on ever more of the retain set after unlearning: how little repairs, and what comes back with it",
    paper="Erase to Enhance (images from magnetic resonance)",
    formula="for p in percents: min NLL(first p % of the shuffled retain set) from the unlearned weights; scores of forget, shown and other retain prompts",
    source="the protocol; steps, rate and the order are ours",
    reading="The data-efficiency protocol alone, with our loss: measures of rebuilt images have no form for text. Steps are equal for all percents",
    rows=("49",),
    example="leakatk repair models/ga --benchmark world --percent 1,5,25,100 --out models/repaired",
)
