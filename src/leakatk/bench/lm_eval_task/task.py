"""Task for lm-eval: it asks the model n times, our scorers say what an answer reveals, our estimator gives leak@k. Extra `eval`."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from lm_eval.api.task import ConfigurableTask

from leakatk.errors import InputError
from leakatk.estimate.leak import leak_at_k
from leakatk.prompts import COLUMNS, columns_from, load_prompts, prompt_from_record, record
from leakatk.scorers.base import get_scorer
from leakatk.scorers.knows import default_scorers

NEEDED = 'Task leak_at_k needs its prompts: --metadata \'{"prompts": "forget.jsonl", "n": 64}\'.'


class LeakAtK(ConfigurableTask):  # type: ignore[misc]
    """leak@k of a file of questions and true answers, with its interval: metrics "leak@4", "leak@4 low", "leak@4 high".

    Told by --metadata: prompts, the file; n, samples a prompt (16); k, a list (the powers of two up to n); scorer, a core metric
    with options in its name (that of the prompts); column, a list of FIELD=NAME. Decoding by --gen_kwargs; by default the model
    is sampled at temperature 1. Saved samples can be scored again with `leakatk score`.
    """

    def __init__(self, config: Mapping[str, Any] | None = None) -> None:
        given = dict((config or {}).get("metadata") or {})
        if not given.get("prompts"):
            raise InputError(NEEDED)
        prompts = load_prompts(given["prompts"], columns_from(given.get("column") or []))
        if any(prompt.asked is not None for prompt in prompts):
            raise InputError(
                f"{given['prompts']}: prompts that stand in a chat are not asked by lm-eval's task; use `leakatk audit`."
            )
        n = int(given.get("n", 16))
        ks = [int(k) for k in given.get("k") or [1 << i for i in range(n.bit_length()) if 1 << i <= n]]
        if n < 1 or min(ks) < 1 or max(ks) > n:
            raise InputError(f"n = {n} and k = {ks}: n must be at least 1, and each k at least 1 and at most n.")
        judge = get_scorer(given.get("scorer") or default_scorers(prompts)[0])
        names = [f"leak@{k}{part}" for k in ks for part in ("", " low", " high")]
        own = {name: value for name, value in (config or {}).items() if name != "class"}

        def scored(doc: Mapping[str, Any], results: Sequence[Any]) -> dict[str, list[float]]:
            prompt = prompt_from_record(doc, where=f"document {doc['id']}", default_id="0")
            texts = [results[0]] if isinstance(results[0], str) else list(results[0])
            values = [float(value) for value in judge.score([prompt] * len(texts), texts)]
            return dict.fromkeys(names, values)

        def rows(**others: Any) -> dict[str, Any]:
            from datasets import Dataset

            return {"test": Dataset.from_list([_row(record(prompt)) for prompt in prompts])}

        super().__init__(
            config={
                "custom_dataset": rows,
                "test_split": "test", "output_type": "generate_until", "doc_to_text": "{{question}}", "doc_to_target": "{{answer}}",
                "generation_kwargs": {"do_sample": True, "temperature": 1.0, "max_gen_toks": 200, "until": []},
                **own,
                "repeats": n, "process_results": scored,
                "filter_list": [{"name": "none", "filter": [{"function": "take_first_k", "k": n}]}],
                "metric_list": [
                    {"metric": f"leak@{k}{part}", "aggregation": _aggregated(k, part), "higher_is_better": False}
                    for k in ks for part in ("", " low", " high")
                ],
                "metadata": {"version": 1.0, "scorer": judge.label, "n": n, "k": ks, "prompts": str(given["prompts"])},
            }
        )  # fmt: skip


def _row(values: Mapping[str, Any]) -> dict[str, Any]:
    """A prompt as a document, under the names of columns; one form for all, as a table needs it."""
    named = {COLUMNS["question" if key == "text" else key][0]: value for key, value in values.items() if key != "asked"}
    return {"choices": [], **named, "right_choice": named.get("right_choice")}


def _aggregated(k: int, part: str) -> Callable[[Sequence[Sequence[float]]], float]:
    """leak@k over the documents, or an end of its interval; answers without a score are left out, NaN where none has one."""

    def of(rows: Sequence[Sequence[float]]) -> float:
        judged = [[value for value in row if not math.isnan(value)] for row in rows]
        judged = [row for row in judged if row]
        if not judged or min(map(len, judged)) < k:
            return math.nan
        curve = leak_at_k(judged, [k])
        return float({"": curve.value, " low": curve.low, " high": curve.high}[part][0])

    return of
