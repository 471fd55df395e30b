"""Checks of an audit before anything is sampled: an error after hours of sampling is one too late."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from leakatk.auditing.asking import Probed, probed, with_wordings
from leakatk.auditing.sample import as_sampler
from leakatk.auditing.scorer_results import check_covers
from leakatk.auditing.settings import AuditSettings
from leakatk.errors import InputError
from leakatk.prompts import Prompt, check_unique
from leakatk.runs.store import Run
from leakatk.sampling.base import InProcess, Sampler, check_budget, check_expands, check_prompts
from leakatk.scorers.base import get_scorer
from leakatk.scorers.knows import default_scorers

if TYPE_CHECKING:
    from leakatk.models.load import ModelSource
    from leakatk.models.loaded import LoadedModel


@dataclass(frozen=True)
class Runs:
    """The samples of one model on the prompts as they stand, and under each probe that it was asked with, by its label."""

    plain: Run
    probes: Mapping[str, Run]


@dataclass(frozen=True)
class Checked:
    """An audit that can begin."""

    sampler: Sampler
    prompts: Sequence[Prompt]
    retain: Sequence[Prompt]
    settings: AuditSettings
    """With the scorers that the prompts ask for, where none were given."""
    asked: Sequence[Probed]
    """The further ways of asking: the probes, and the prompts' other wordings."""
    retrained: Runs | str | Path | ModelSource | LoadedModel | Sampler | None
    """The runs of the model that never saw the data, or that model, which is still to be sampled."""
    notes: Sequence[str]

    @property
    def scorers(self) -> dict[str, str]:
        """Label -> the name it was given by."""
        return {get_scorer(name).label: name for name in self.settings.scorers}


def check(
    model: str | Path | ModelSource | LoadedModel | Sampler,
    prompts: Sequence[Prompt],
    settings: AuditSettings,
    *,
    retain: Sequence[Prompt] = (),
    retrained: str | Path | ModelSource | LoadedModel | Sampler | Run | None = None,
) -> Checked:
    """Everything that can be found wrong before the first sample. Raises a LeakAtKError."""
    check_unique(prompts)
    scorers = settings.scorers or default_scorers(prompts)
    check_defined(scorers, prompts)
    if isinstance(retrained, str | Path) and (Path(retrained) / "manifest.json").exists():
        retrained = Run.open(retrained)
    if isinstance(retrained, Run):
        check_covers(retrained, [prompt.id for prompt in prompts])
    given = probed(settings.probes, prompts, retain)
    asked = with_wordings(given, prompts, retain) if settings.paraphrases else given
    runs, notes = retrained_runs(retrained, given, asked[len(given) :]) if isinstance(retrained, Run) else (None, [])
    sampler = as_sampler(model, settings.engine, **settings.engine_options)
    for one in asked:
        check_prompts(sampler, one.prompts)
    if isinstance(sampler, InProcess):  # a server or a worker looks for the retrained model itself
        from leakatk.models.load import check_source

        check_source(retrained)
    if settings.expand:
        check_budget(settings.expand)
        check_expands(sampler)
    settings = dataclasses.replace(settings, scorers=tuple(scorers))
    other: Any = retrained if runs is None else runs
    return Checked(sampler, prompts, retain, settings, asked, other, notes)


def check_defined(scorers: Sequence[str], prompts: Sequence[Prompt]) -> None:
    """InputError for a scorer that has nothing to score on any of the prompts, tried on their true answers.

    One that needs a model is not tried.
    """
    for name in scorers:
        scorer = get_scorer(name)
        if not scorer.needs_model and np.isnan(scorer.score(prompts, [prompt.answer for prompt in prompts])).all():
            raise InputError(f"Scorer {name} is undefined on every prompt; choose another with --scorer.")


def retrained_runs(run: Run, given: Sequence[Probed], wordings: Sequence[Probed]) -> tuple[Runs, list[str]]:
    """The run with those of the probes beside it, and what is lacking in words.

    InputError where a probe of `given` is lacking. `wordings` were not asked for by name: a run without them will do.
    """
    found, notes = {one.label: one.retrained(run) for one in given}, []
    for one in wordings:
        try:
            found[one.label] = one.retrained(run)
        except InputError as error:
            notes.append(f"No excess in other wordings: {error}")
    return Runs(run, found), notes
