"""An audit: sample a model on what it was made to forget, score, estimate leak@k, and compare with the retrained model.

Three steps, each a file: `checking.check` says what is to be done, `drawing.draw` asks the models, `summary.summarise` reads
the samples. All lands in one run directory, so the report can be made again without the model.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from leakatk.auditing.checking import check
from leakatk.auditing.checking import check_defined as check_defined
from leakatk.auditing.drawing import draw
from leakatk.auditing.settings import AuditSettings
from leakatk.auditing.settings import powers_of_two as powers_of_two
from leakatk.auditing.summary import alone, summarise
from leakatk.errors import InputError
from leakatk.prompts import Prompt
from leakatk.sampling.base import Sampler
from leakatk.scorers.knows import default_scorers as default_scorers  # its old place

if TYPE_CHECKING:
    from leakatk.models.load import ModelSource
    from leakatk.models.loaded import LoadedModel
    from leakatk.report.notebook import Results
    from leakatk.runs.store import Run


def audit(
    model: str | Path | ModelSource | LoadedModel | Sampler,
    prompts: Sequence[Prompt],
    *,
    out: str | Path,
    settings: AuditSettings | None = None,
    retain: Sequence[Prompt] = (),
    retrained: str | Path | ModelSource | LoadedModel | Sampler | Run | None = None,
    reference: str | Path | ModelSource | LoadedModel | Sampler | Run | None = None,
    command: str = "",
    quiet: bool = False,
    **former: Any,
) -> Results:
    """Audit one model and return what is written to `out`/results.json (plain values, keyed by prompt id where it matters).

    It is a dictionary that shows itself in a notebook and has `plot()` and `report()`.

    model: a model directory or hub id, a `ModelSource`, a `LoadedModel`, or any engine.
    prompts: what the model was made to forget.
    out: the run directory; what it already holds of the same audit is not asked again.
    settings: everything else, field by field (`AuditSettings`).
    retain: prompts whose greedy answers measure what is still useful.
    retrained: a model that never saw the prompts (sampled here in the same settings), or a run of it over the same
        prompts; the excess over it is paired by prompt.
    reference: the former name of `retrained`.
    command: what was typed, for the report.
    quiet: no progress.
    former: fields of `AuditSettings` by name, in place of `settings`.

    Raises a LeakAtKError for anything that cannot be used. `runs.results.read_results` reads the results with their types.

    >>> from leakatk import load_prompts
    >>> results = audit("models/mine", load_prompts("forget.jsonl"), out="runs/audit", n=4, quiet=True)
    >>> results["scorers"]["fact"]["curves"]["samples"]["k"]
    [1, 2, 4]
    """
    if settings is not None and former:
        raise InputError(
            f"Give settings or {', '.join(former)}, not both; dataclasses.replace(settings, ...) changes a field."
        )
    if retrained is not None and reference is not None:
        raise InputError("Give retrained or reference, not both: reference is the former name of retrained.")
    settings = settings or AuditSettings.of(**former)
    checked = check(model, prompts, settings, retain=retain, retrained=reference if retrained is None else retrained)
    drawn = draw(checked, Path(out), quiet=quiet)
    results = summarise(checked, drawn, command=command)
    plain, *others = drawn.ways
    for way in others:
        way.run.write_results(alone(results, way.name).as_dict())
    found = results.as_dict()
    plain.run.write_results(found)
    from leakatk.report.notebook import Results

    return Results(found, out)
