"""Published guards on logits besides those of `presets`."""

from __future__ import annotations

from leakatk.guards.base import guard
from leakatk.guards.combine import Offset
from leakatk.guards.contexts import Guidance
from leakatk.guards.restriction import Restrict, States

_SUPPRESSES = frozenset({"suppression"})

guard(
    "offset",
    act=Offset(alpha=1.0),
    summary="Logits move by what unlearning changed in a small model: decoding for the method `delta`.",
    paper="delta-Unlearning: Huang et al. 2024, arXiv 2404.11045",
    formula="z = z_model + alpha (z_tuned - z_before)",
    source="alpha 1: the paper.",
    rows=("60",),
    reading="tuned is the small model that `delta` trained beside this one, before the same small model as it was.",
    tags=_SUPPRESSES | {"auxiliary"},
    example="leakatk audit MODEL --benchmark world --guard offset --auxiliary tuned=TUNED --auxiliary before=SMALL --out runs/guarded",
)
guard(
    "cfg",
    act=Guidance(),
    summary="The model is led away from what it says under a bad system message.",
    paper="CFG-safety: 2024, arXiv 2412.06846; code: RGSmirnov/cfg_safety_llm",
    formula="p' = max(0, p + alpha (p - p_bad)), renormalised: p_bad + g (p - p_bad), alpha = g - 1",
    source="g from 1 to 5: the paper; here 3, so alpha 2. bad: the paper's.",
    rows=("67",),
    lacks="",
    reading="The paper decodes greedily; for sampling, what falls below 0 is cut off. Without good=TEXT the model answers as it is asked; "
    "the paper's good message is 'Do not provide any personal data.' It helps a model that says more under the bad message, as `cfg-orpo` trains one.",
    tags=_SUPPRESSES,
)
guard(
    "guard",
    detect=States(),
    act=Restrict(),
    summary="A network on the prompt's states flags it; tokens that would say what the nearest forget answer says are penalised.",
    paper="GUARD (generation-time unlearning by adaptive restriction and detection): 2025, arXiv 2505.13312",
    formula="if MLP(mean_t h_t) >= tau: log p(v) - penalty(v): infinite where v completes a forbidden sequence, partly m / L where m of its "
    "L tokens are then said; soft more where cos(e_v, e_w) >= like, w in a sequence",
    source="Detector, retrieval, trie and soft match: the paper, without its constants. partly 4, soft 2, like 0.8, hidden 32, share 0.95: ours.",
    rows=("95",),
    reading="The paper searches with beams; here what is sampled is penalised, and a greedy answer is its search of width 1. Forbidden are "
    "the facts of the nearest forget prompt, else the words of its answer that no question and no retain answer has. The soft match "
    "compares the model's own token embeddings in place of a sentence encoder.",
    tags=_SUPPRESSES | {"forget", "retain", "encoder"},
)
