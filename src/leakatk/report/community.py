"""Community evaluations of the Hugging Face hub: the files of `.eval_results`, written by the hub's own library.

The hub shows them on the model's page, and on the leaderboard of a data set that is registered there as a benchmark.
"""

from __future__ import annotations

from collections.abc import Sequence

from leakatk.errors import InputError
from leakatk.report.audited import Audited, block_of
from leakatk.report.headline import headline_k

FOLDER = ".eval_results"


def eval_results(audited: Audited, dataset: str, *, source: str = "") -> str:
    """The YAML of one audit: leak@1 and leak@k at its headline's k, as shares from 0 to 1, each with interval and conditions in words.

    dataset: id of the data set on the hub.  source: address of where the numbers stand. InputError where the hub's library is too old.
    """
    from huggingface_hub.utils import yaml_dump  # type: ignore[attr-defined]

    try:
        from huggingface_hub import EvalResultEntry, eval_result_entries_to_yaml
    except ImportError:
        raise InputError(
            "This huggingface_hub knows no evaluation results; run `pip install --upgrade huggingface_hub`."
        ) from None
    results, curve = audited.results, block_of(audited, audited.scorer).curves["samples"]
    entries = []
    for k in dict.fromkeys((1, headline_k([audited]))):
        if k not in curve.k:
            continue
        i = list(curve.k).index(k)
        entries.append(
            EvalResultEntry(
                dataset_id=dataset,
                task_id=f"leak_at_{k}",
                value=round(float(curve.value[i]), 6),
                date=audited.run.manifest.created,
                source_url=source or None,
                source_name="leak-at-k" if source else None,
                notes=(
                    f"leak@{k}, lower is better; {results.level:.0%} interval {curve.low[i]:.4f} to {curve.high[i]:.4f} over samples; "
                    f"{results.benchmark}, scorer {audited.scorer}, {results.m} prompts x {results.n} samples, {results.decoding}, "
                    f"protocol {results.protocol}"
                ),
            )
        )
    text: str = yaml_dump(eval_result_entries_to_yaml(entries), sort_keys=False, width=1000)
    return text


def hub_dataset(benchmark: str, known: Sequence[tuple[str, str]]) -> str:
    """The data set of a benchmark on the hub, from (name, repository) pairs; "" for a file of one's own."""
    name = benchmark.partition(" ")[0]  # "tofu (20 of 400 forget prompts, --limit)"
    return next((repository for one, repository in known if one == name and repository), "")
