"""Export of an audited run as a log of Inspect, written by the library itself: its viewer and its analyses open it. Extra `inspect`."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from leakatk.errors import InputError
from leakatk.hush import hushed
from leakatk.prompts import Prompt
from leakatk.report.audited import Audited
from leakatk.runs.inspect_logs import need_inspect

_STOPS = {"stop": "stop", "length": "max_tokens"}


def save_inspect(audited: Audited, path: Path) -> int:
    """Write the run's samples, scores and leak@k as a log; how many samples it holds. Probes have runs of their own and are not in it.

    An epoch is one answer. InputError for another ending than .eval and .json, or without the library.
    """
    if path.suffix not in (".eval", ".json"):
        raise InputError(f"--inspect {path}: the file must end in .eval or .json.")
    need_inspect("A log of Inspect")
    with hushed():
        from inspect_ai.log import write_eval_log

        log = log_of(audited)
        path.parent.mkdir(parents=True, exist_ok=True)
        write_eval_log(log, str(path))
    return len(log.samples)


def log_of(audited: Audited) -> Any:
    """The run as an `EvalLog`. Scores that are undefined are no scores there; leak@k is a metric with its interval beside it."""
    from inspect_ai.log import EvalConfig, EvalDataset, EvalLog, EvalResults, EvalSpec, EvalStats

    run, results = audited.run, audited.results
    created = run.manifest.created
    ids = [prompt.id for prompt in run.prompts]
    samples = _samples(audited)
    return EvalLog(
        status="success",
        eval=EvalSpec(
            created=created,
            task=f"leak-at-k {results.benchmark}".strip(),
            task_args={
                "protocol": results.protocol,
                "prompts_sha256": run.manifest.prompts_sha256,
                "seed": run.manifest.seed,
            },
            dataset=EvalDataset(name=results.benchmark or None, samples=len(ids), sample_ids=list(ids)),
            model=results.label,
            config=EvalConfig(epochs=run.n),
            packages=dict(run.manifest.versions),
            metadata={
                "decoding": dict(run.manifest.decoding),
                "model": dict(run.manifest.model),
                "command": results.command,
            },
        ),
        results=EvalResults(total_samples=len(samples), completed_samples=len(samples), scores=_leaks(audited)),
        stats=EvalStats(started_at=created, completed_at=created),
        samples=samples,
    )


def _leaks(audited: Audited) -> list[Any]:
    from inspect_ai.log import EvalMetric, EvalScore

    found = []
    for name, block in audited.results.scorers.items():
        curve = block.curves["samples"]
        values = {
            f"leak@{k}{part}": value
            for i, k in enumerate(curve.k)
            for part, value in (("", curve.value[i]), (" low", curve.low[i]), (" high", curve.high[i]))
        }
        metrics = {
            one: EvalMetric(name=one, value=float(value)) for one, value in values.items() if math.isfinite(value)
        }
        undefined = len(block.undefined) * audited.run.n + block.missing
        found.append(
            EvalScore(
                name=name, scorer=name, metrics=metrics, unscored_samples=undefined,
                scored_samples=len(audited.run.prompts) * audited.run.n - undefined, params={"level": audited.results.level, "over": "samples"},
            )
        )  # fmt: skip
    return found


def _samples(audited: Audited) -> list[Any]:
    from inspect_ai.log import EvalSample
    from inspect_ai.model import ChatCompletionChoice, ChatMessageAssistant, ContentReasoning, ContentText, ModelOutput
    from inspect_ai.scorer import Score

    run, model = audited.run, audited.results.label
    scores = {name: run.scores(name) for name in audited.results.scorers}
    texts, finishes, reasonings = run.texts(), run.finishes(), run.reasonings()
    found = []
    for i, prompt in enumerate(run.prompts):
        asked = messages_of(prompt)
        for j in range(run.n):
            thought = [ContentReasoning(reasoning=reasonings[i][j]), ContentText(text=texts[i][j])]
            said = ChatMessageAssistant(
                content=thought if reasonings[i][j] else texts[i][j], model=model, source="generate"
            )
            stopped: Any = _STOPS.get(finishes[i][j], "unknown")
            choice = ChatCompletionChoice(message=said, stop_reason=stopped)
            given = {name: float(table[i, j]) for name, table in scores.items() if math.isfinite(table[i, j])}
            found.append(
                EvalSample(
                    id=prompt.id, epoch=j + 1, input=prompt.question if prompt.asked is None else list(asked), target=prompt.answer,
                    messages=[*asked, said], output=ModelOutput(model=model, choices=[choice]),
                    scores={name: Score(value=value, answer=texts[i][j]) for name, value in given.items()},
                    metadata=columns_of(prompt),
                )
            )  # fmt: skip
    return found


def messages_of(prompt: Prompt) -> list[Any]:
    """What is put to the model, as Inspect's messages."""
    from inspect_ai.model import ChatMessageAssistant, ChatMessageSystem, ChatMessageUser

    query = prompt.query
    turns = [one for q, a in query.turns for one in (ChatMessageUser(content=q), ChatMessageAssistant(content=a))]
    return [
        *([ChatMessageSystem(content=query.system)] if query.system else []),
        *turns,
        ChatMessageUser(content=query.text),
    ]


def columns_of(prompt: Prompt) -> dict[str, Any]:
    """Everything but id, question and answer, under the names of columns, so that a log can be scored again; empty ones left out."""
    found = {
        "facts": list(prompt.facts), "source": prompt.source, "paraphrases": list(prompt.paraphrases),
        "paraphrased_answer": prompt.paraphrased_answer, "perturbed_answer": list(prompt.perturbed_answers),
        "choices": list(prompt.choices), "right_choice": prompt.right if prompt.choices else None,
    }  # fmt: skip
    return {name: value for name, value in found.items() if value not in ("", [], None)}
