"""Task, scorer and metric for Inspect: `inspect eval leakatk/leak_at_k -T prompts=forget.jsonl`. Extra `inspect`.

The library asks the model; our scorers say what an answer reveals, and our estimator gives leak@k with its interval from the epochs.
"""

from __future__ import annotations

import math
from typing import Any

from inspect_ai import Epochs, Task, task
from inspect_ai.dataset import MemoryDataset, Sample
from inspect_ai.model import GenerateConfig
from inspect_ai.scorer import SampleScore, Score, Target, metric, scorer
from inspect_ai.solver import TaskState, generate

from leakatk.errors import InputError
from leakatk.estimate.leak import leak_at_k as estimate
from leakatk.prompts import Prompt, columns_from, load_prompts, prompt_from_record
from leakatk.report.inspect_log import columns_of, messages_of
from leakatk.scorers.base import get_scorer
from leakatk.scorers.knows import default_scorers


@task  # type: ignore[untyped-decorator]
def leak_at_k(
    prompts: str,
    scorer: str = "",
    n: int = 16,
    ks: str = "",
    column: str = "",
    temperature: float = 1.0,
    max_tokens: int = 200,
) -> Task:
    """leak@k of a file of questions and true answers.

    prompts: the file, in any form that `load_prompts` reads.  scorer: a core metric, with options in its name; default that of the
    prompts.  n: answers a prompt (epochs).  ks: comma-separated values of k, at most n; default the powers of two.  column:
    FIELD=NAME, several separated by commas. InputError for what cannot be used.
    """
    wanted = _ks(ks, n)
    found = load_prompts(prompts, columns_from([one for one in column.split(",") if one]))
    samples = [
        Sample(
            id=prompt.id,
            input=prompt.question if prompt.asked is None else messages_of(prompt),
            target=prompt.answer,
            metadata=columns_of(prompt),
        )
        for prompt in found
    ]
    return Task(
        dataset=MemoryDataset(samples, name=str(prompts)),
        solver=generate(),
        scorer=revealed(scorer or default_scorers(found)[0], wanted),
        epochs=Epochs(n),
        config=GenerateConfig(temperature=temperature, max_tokens=max_tokens),
    )


def _ks(text: str, n: int) -> list[int]:
    try:
        found = [int(one) for one in str(text).strip("[]").split(",") if one.strip()]
    except ValueError:
        raise InputError(f"ks={text!r}: write whole numbers separated by commas, such as ks=1,4,16.") from None
    if not found:
        return [1 << i for i in range(n.bit_length()) if 1 << i <= n]
    if min(found) < 1 or max(found) > n:
        raise InputError(f"ks={text}: each must be at least 1 and at most n, which is {n}.")
    return sorted(set(found))


@metric(scores="unreduced")  # type: ignore[untyped-decorator]
def leak(ks: list[int] | None = None, level: float = 0.95) -> Any:
    """leak@k for each k, "leak@4", with the ends of its interval, "leak@4 low" and "leak@4 high", from all epochs of all samples.

    ks: default 1 and as many as every sample has. Answers that the scorer cannot judge are left out, "unscored" counts them.
    """

    def of(scores: list[SampleScore]) -> dict[str, float]:
        rows: dict[Any, list[float]] = {}
        for one in scores:
            rows.setdefault(one.sample_id, []).append(float(one.score.as_float()))
        kept = {name: [value for value in row if not math.isnan(value)] for name, row in rows.items()}
        judged = [row for row in kept.values() if row]
        unscored = float(sum(map(len, rows.values())) - sum(map(len, judged)))
        fewest = min(map(len, judged), default=0)
        usable = [k for k in (ks or [1, fewest]) if 1 <= k <= fewest]
        if not usable:
            return {"unscored": unscored}
        curve = estimate(judged, sorted(set(usable)), level=level)
        values = {"unscored": unscored}
        for k, value, low, high in zip(curve.k, curve.value, curve.low, curve.high, strict=True):
            values |= {f"leak@{k}": float(value), f"leak@{k} low": float(low), f"leak@{k} high": float(high)}
        return values

    return of


def revealed(name: str, ks: list[int] | None = None) -> Any:
    """Scorer of Inspect: what an answer reveals of its sample's target, by a core metric of ours. ks: of the metric `leak`."""

    @scorer(metrics=[leak(ks)], name="revealed")  # type: ignore[untyped-decorator]
    def of(core: str) -> Any:
        return _judging(core)

    return of(name)


def _judging(name: str) -> Any:
    judge = get_scorer(name)

    async def score(state: TaskState, target: Target) -> Score:
        question = state.input_text
        row = {**state.metadata, "question": question, "answer": target.text, "id": str(state.sample_id)}
        prompt: Prompt = prompt_from_record(row, where=f"sample {state.sample_id}", default_id="0")
        text = "\n\n".join(m.text for m in state.messages[_given(state) :] if m.role == "assistant" and m.text)
        value = float(judge.score([prompt], [text])[0])
        return Score(value=value, answer=text, explanation=f"core metric {judge.label}")

    return score


def _given(state: TaskState) -> int:
    """How many messages were there before the model said anything: those of the sample's input."""
    return 1 if isinstance(state.input, str) else len(state.input)
