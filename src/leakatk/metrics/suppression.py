"""Suppression by instruction: how far a model keeps back what the prompt tells it to (after VLM-UnBench)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from leakatk.benchmarks.base import Benchmark
from leakatk.benchmarks.forms import names_of, told
from leakatk.metrics.base import Evidence, metric
from leakatk.metrics.checks import Floats, mean
from leakatk.metrics.pieces import Answer
from leakatk.prompts import Prompt

TOLD = ("soft", "medium", "oracle")


def chosen(evidence: Evidence, prompts: Sequence[Prompt], questions: Sequence[str], refusals: Sequence[str]) -> Floats:
    """(m,) 1 where the right answer is the likeliest per token, 0 where a wrong one is, NaN where a refusal is."""
    said = [(p.paraphrased_answer or p.answer, *p.perturbed_answers, *refusals) for p in prompts]
    stats = iter(
        evidence.get(Answer(question, text) for question, texts in zip(questions, said, strict=True) for text in texts)
    )
    found = []
    for prompt, texts in zip(prompts, said, strict=True):
        best = int(np.argmax([mean(next(stats).logprob) for _ in texts]))
        found.append(np.nan if best > len(prompt.perturbed_answers) else float(best == 0))
    return np.array(found, dtype=np.float64)


def efficacy(before: Floats, told: Floats) -> tuple[float, float, float]:
    """(FE_access, FE_clean, share of refusals under the instruction) of choices before and under it (`chosen`).

    FE_access: what accuracy falls by, where a refusal counts as not answered right. FE_clean: what it falls by on the prompts
    that are answered in both; NaN where there is none.
    """
    both = ~np.isnan(before) & ~np.isnan(told)
    access = float(np.mean(np.nan_to_num(before) - np.nan_to_num(told)))
    clean = float(np.mean(before[both] - told[both])) if both.any() else float("nan")
    return access, clean, float(np.mean(np.isnan(told)))


@metric(
    "prompt_suppression",
    summary="How far an instruction in the prompt keeps forget answers back, and what it costs on the others.",
    paper="VLM-UnBench (ULBench)",
    formula="FE_access = A_baseline - A_told; FE_clean: the same on prompts answered in both; refusals counted apart; retain: FE_access there",
    source="soft and medium list everything that is to be forgotten; oracle names the answer itself",
    reading="Texts for images, instructions in our words, in front of the question. A model chooses the likeliest per token among the right answer, the "
    "wrong ones and four refusals, so that no answer is invalid",
    rows=("64",),
    values=(
        "told_baseline",
        *(f"told_{name}_{part}" for name in TOLD for part in ("access", "clean", "refused")),
        "told_soft_retain",
        "told_medium_retain",
    ),
    needs=("perturbed_answers", "source", "refusals", "retain"),
)
def suppression(evidence: Evidence, benchmark: Benchmark) -> dict[str, float]:
    names, refusals = names_of(benchmark.forget), benchmark.refusals[:4]

    def under(prompts: Sequence[Prompt], condition: str) -> Floats:
        return chosen(evidence, prompts, [told(condition, names, prompt) for prompt in prompts], refusals)

    before = under(benchmark.forget, "baseline")
    kept = under(benchmark.retain, "baseline")
    values = {"told_baseline": float(np.mean(np.nan_to_num(before)))}
    for name in TOLD:
        parts = efficacy(before, under(benchmark.forget, name))
        values |= {
            f"told_{name}_{part}": value for part, value in zip(("access", "clean", "refused"), parts, strict=True)
        }
    for name in ("soft", "medium"):
        values[f"told_{name}_retain"] = efficacy(kept, under(benchmark.retain, name))[0]
    return values
