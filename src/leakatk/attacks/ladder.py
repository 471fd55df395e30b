"""An audit under attack: one audit a rung, the first without an attack, each beside the retrained model attacked alike.

What `out` holds:

    none/model, none/retrained                    without an attack
    relearn-steps=50/fold-1/model, ...            a cross-fitted attack: trained on the other folds, measured on this one
    decoder/fold-1/model.json, ...                an attack that reads: scores, and no run
    attacks.json                                  the summary
"""

from __future__ import annotations

import gc
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from leakatk import progress, workdir
from leakatk.attacks.attacked import AttackedSampler, check_engine
from leakatk.attacks.base import Alter, Ask, Attack, Floats, Read
from leakatk.attacks.gate import verdict
from leakatk.attacks.rungs import LadderSettings, Role, groups_of, left_out, rungs_of, trail_of
from leakatk.attacks.summary import summarise
from leakatk.attacks.trails import Trail
from leakatk.auditing.audit import audit, check_defined, default_scorers, powers_of_two
from leakatk.auditing.sample import as_sampler, sample
from leakatk.errors import InputError
from leakatk.files.strict_json import strict_json
from leakatk.files.writing import read_kept, write_kept
from leakatk.models.load import ModelSource, check_source
from leakatk.models.loaded import LoadedModel
from leakatk.prompts import Known, Prompt, check_unique
from leakatk.runs.store import Run
from leakatk.sampling.base import notes_of

if TYPE_CHECKING:
    from leakatk.sampling.base import Sampler

ROLES: tuple[Role, ...] = ("retrained", "model")  # in this order: the audit of the model is paired with what is there
SUMMARY = "attacks.json"
Source = str | Path | ModelSource | LoadedModel


def attack_ladder(
    model: Source,
    prompts: Sequence[Prompt],
    attacks: Sequence[str | Attack],
    *,
    out: str | Path,
    known: Known | None = None,
    retrained: Source | None = None,
    settings: LadderSettings | None = None,
) -> dict[str, Any]:
    """Audit a model under every attack, and return what is written to `out`/attacks.json.

    prompts: what was to be forgotten.  attacks: as in `get_attack`.  known: what else an attack may be given; its `forget`
    is always `prompts`.  retrained: the model that never saw them: it is attacked in the same way, and the excess over it
    is paired by prompt. One model is in memory at a time, and while its weights are attacked one copy of them.
    Resumes what `out` holds of the same audits; a part that is whole is not attacked again.
    Raises a LeakAtKError for anything that cannot be used, before anything is computed where that can be known.

    >>> from leakatk.attacks import LadderSettings
    >>> from leakatk.prompts import load_prompts
    >>> few = LadderSettings(n=4, quiet=True)
    >>> summary = attack_ladder("models/mine", load_prompts("forget.jsonl"), ["quantise"], out="runs/attacked", settings=few)
    >>> [rung["name"] for rung in summary["rungs"]]
    ['none', 'quantise']
    """
    settings = settings or LadderSettings()
    check_unique(prompts)
    check_engine(settings.engine)
    known = replace(known or Known(), forget=tuple(prompts))
    if retrained is not None and not known.retrained:
        known = replace(known, retrained=_name(retrained))
    rungs = rungs_of(attacks, known, settings)
    if settings.over != "samples" and len(prompts) < 2:
        raise InputError(
            "Intervals over prompts need at least 2 prompts; use over samples to speak of this prompt alone."
        )
    scorers = settings.scorers or default_scorers(prompts)
    check_defined(scorers, prompts)
    settings = replace(settings, scorers=tuple(scorers), ks=settings.ks or tuple(powers_of_two(settings.n)))
    for source in (model, retrained):
        check_source(source)
        altered = next((one for one in (rung.attack for rung in rungs) if isinstance(one, Alter)), None)
        if altered is not None and isinstance(source, ModelSource) and (source.load_in or source.device_map):
            raise InputError(
                f"Attack {altered.label} changes weights, which are codes or spread over devices with --load-in and --device-map; "
                "leave these out, or use attacks that ask or read."
            )
    out = Path(out)
    if (out / "manifest.json").exists():
        raise InputError(
            f"{out} holds an audit; an audit under attack needs a directory of its own: choose another --out."
        )
    sources: dict[Role, Source] = {"model": model, **({} if retrained is None else {"retrained": retrained})}
    names: dict[Role, str] = {}
    notes = left_out(attacks)
    with workdir.claim(out), _silent(settings.quiet):
        for role in ROLES:
            if role not in sources:
                continue
            loaded = _load(sources[role])
            names[role] = loaded.name
            for group in groups_of(rungs):
                for number in range(len(group[0].parts)):
                    with trail_of(group, out) as trail:
                        for rung in group:
                            part, place = rung.parts[number], out / rung.place(number)
                            notes += _measure(loaded, role, rung.attack, part, place, settings, trail)
            del loaded
            gc.collect()  # before the next model comes
        summary = summarise(rungs, out, names, settings, notes)
        if settings.gate is not None:
            summary["gate"] = verdict(rungs, out, settings, settings.gate)
        write_kept(out / SUMMARY, strict_json(summary, indent=2))
    return summary


def _name(source: Source) -> str:
    """The directory or hub id."""
    if isinstance(source, LoadedModel):
        return source.name
    return source.path if isinstance(source, ModelSource) else str(source)


def _load(source: Source) -> LoadedModel:
    if isinstance(source, LoadedModel):
        return source
    return (source if isinstance(source, ModelSource) else ModelSource(str(source))).load()


@contextmanager
def _silent(quiet: bool) -> Iterator[None]:
    """Attacks report their own progress; here is where they are told to be quiet."""
    before = progress.silent
    progress.silent = before or quiet
    try:
        yield
    finally:
        progress.silent = before


def _measure(
    loaded: LoadedModel,
    role: Role,
    attack: Attack | None,
    part: Known,
    place: Path,
    settings: LadderSettings,
    trail: Trail | None,
) -> list[str]:
    """Audit one model under one attack on one part; what a person must know of it."""
    if isinstance(attack, Read):
        return _read(loaded, attack, part, place / f"{role}.json")
    if isinstance(attack, Alter):
        with AttackedSampler(loaded, attack, part, settings.engine, settings.engine_options, trail) as sampler:
            return _sampled(sampler, role, attack, part.unseen, place, settings)
    asked: Sequence[Prompt] = part.unseen
    if isinstance(attack, Ask):
        asked = checked(attack, attack.prompts(loaded, part), part)
    plain = as_sampler(loaded, settings.engine, **settings.engine_options)
    return _sampled(plain, role, attack, asked, place, settings)


def checked(attack: Ask, asked: Sequence[Prompt], part: Known) -> list[Prompt]:
    """What an attack asks. ValueError for an id that is none of the prompts', InputError where nothing is asked."""
    ids = {prompt.id for prompt in part.unseen}
    if strange := [prompt.id for prompt in asked if prompt.id not in ids]:
        raise ValueError(f"attack {attack.label} asks for {strange[0]!r}, which is no prompt's id")
    if not asked:
        raise InputError(f"Attack {attack.label} finds nothing to ask for any of the {len(ids)} prompts; leave it out.")
    return list(asked)


def _sampled(
    sampler: Sampler, role: Role, attack: Attack | None, asked: Sequence[Prompt], place: Path, settings: LadderSettings
) -> list[str]:
    shared: dict[str, Any] = {
        "n": settings.n,
        "decoding": settings.decoding,
        "seed": settings.seed,
        "out": place / role,
        "benchmark": settings.benchmark,
        "quiet": settings.quiet,
    }
    under = f" under {attack.label}" if attack else ""
    if role == "retrained":
        run = sample(sampler, asked, label=f"retrained model{under}", **shared)
        found = [*run.notes, *(f"Retrained model: {note}" for note in notes_of(sampler))]
    else:
        beside = place / "retrained"
        results = audit(
            sampler, asked, ks=settings.ks, scorers=settings.scorers, level=settings.level, exact=False, paraphrases=False,
            reference=Run.open(beside) if (beside / "manifest.json").exists() else None,
            label=f"{Path(str(sampler.describe()['model'])).name}{under if isinstance(attack, Ask) else ''}",
            command=settings.command, **shared,
        )  # fmt: skip
        found = list(results["notes"])
    return [f"{attack.label if attack else 'Without an attack'}: {note}" for note in found]


def _read(loaded: LoadedModel, attack: Read, part: Known, path: Path) -> list[str]:
    """Scores of an attack that reads, kept in a file: they are not read again for the same model, attack and data."""
    ids = [prompt.id for prompt in part.unseen]
    mark = {"model": loaded.name, "fingerprint": loaded.fingerprint, "attack": attack.identity(part), "ids": ids}
    if path.exists() and {**read_kept(path), "scores": 0} == {**mark, "scores": 0}:
        return []
    scores = np.asarray(attack.scores(loaded, part), dtype=np.float64)
    check_scores(attack, scores, len(ids))
    write_kept(path, strict_json({**mark, "scores": scores}))
    return []


def check_scores(attack: Read, scores: Floats, count: int) -> None:
    """ValueError unless there is one score in [0, 1], or NaN, for each prompt."""
    if scores.shape != (count,) or not (np.isnan(scores) | ((scores >= 0) & (scores <= 1))).all():
        raise ValueError(f"attack {attack.label} must give ({count},) scores in [0, 1], got {scores!r:.80}")
