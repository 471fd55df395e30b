"""An audit under attack: one audit a rung, the first without an attack, each beside the retrained model attacked alike.

What `out` holds:

    none/model, none/retrained                    without an attack
    relearn-steps=50/fold-1/model, ...            a cross-fitted attack: trained on the other folds, measured on this one
    decoder/fold-1/model.json, ...                an attack that reads: scores, and no run
    none/turned, key-tokens/turned                greedy answers before and after (`turned`)
    rewrite/model.unasked.json                    an attack that found nothing to ask: no run
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
from leakatk.attacks.base import Alter, Ask, Attack, Floats, Read, Reading
from leakatk.attacks.gate import excess_verdict, verdict
from leakatk.attacks.rungs import (
    UNASKED,
    LadderSettings,
    Role,
    check_audited,
    groups_of,
    left_out,
    rungs_of,
    trail_of,
)
from leakatk.attacks.summary import summarise
from leakatk.attacks.trails import Trail
from leakatk.attacks.turned import Asked, draw
from leakatk.auditing.audit import audit, check_defined, default_scorers, powers_of_two
from leakatk.auditing.sample import as_sampler, sample
from leakatk.errors import InputError
from leakatk.files.strict_json import strict_json
from leakatk.files.writing import read_kept, write_kept
from leakatk.models.load import ModelSource, check_source
from leakatk.models.loaded import LoadedModel
from leakatk.prompts import Known, Prompt, check_unique
from leakatk.runs.results import GateVerdict
from leakatk.runs.store import Run
from leakatk.runs.verdicts import together
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
    audited: str | Path | None = None,
) -> dict[str, Any]:
    """Audit a model under every attack, and return what is written to `out`/attacks.json.

    prompts: what was to be forgotten.  attacks: as in `get_attack`.  known: what else an attack may be given; its `forget`
    is always `prompts`.  retrained: the model that never saw them: it is attacked in the same way, and the excess over it
    is paired by prompt. One model is in memory at a time, and while its weights are attacked one copy of them.
    audited: an audit of the same model, prompts and settings. It stands for the rung without an attack, each of its probes is
    a rung, and the worst case is over all of them.
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
    below = None if audited is None else Path(audited)
    if below is not None:
        check_audited(below, prompts, settings, paired=retrained is not None)
    rungs = rungs_of(attacks, known, settings, below)
    if settings.over != "samples" and len(prompts) < 2:
        raise InputError(
            "Intervals over prompts need at least 2 prompts; use over samples to speak of this prompt alone."
        )
    if settings.excess_gate and retrained is None:
        raise InputError("A gate on the excess needs the retrained model: it is a bound on what leaks above that.")
    scorers = settings.scorers or default_scorers(prompts)
    check_defined(scorers, prompts)
    settings = replace(settings, scorers=tuple(scorers), ks=settings.ks or tuple(powers_of_two(settings.n)))
    needed = {name for rung in rungs if rung.attack for name in rung.attack.uses}
    for source in (model, retrained, *([known.original] if known.original and "original" in needed else [])):
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
            if below is not None:
                _check_same(loaded, rungs[0].run(out, 0, role))
            for group in groups_of([rung for rung in rungs if rung.audited is None]):
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
        if settings.excess_gate is not None:
            summary["excess_gate"] = excess_verdict(rungs, out, settings, settings.excess_gate)
        gates = [GateVerdict.from_dict(summary[name]) for name in ("gate", "excess_gate") if name in summary]
        if found := together(gates):
            summary["verdict"] = found.as_dict()
        write_kept(out / SUMMARY, strict_json(summary, indent=2))
    return summary


def _name(source: Source) -> str:
    """The directory or hub id."""
    if isinstance(source, LoadedModel):
        return source.name
    return source.path if isinstance(source, ModelSource) else str(source)


def _check_same(loaded: LoadedModel, run: Path) -> None:
    """InputError unless this run is of this model."""
    theirs = Run.open(run).manifest.model.get("fingerprint")
    if theirs != loaded.fingerprint:
        raise InputError(f"{run} holds samples of another model than {loaded.name}; audit the model that is attacked.")


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
            asked = checked(attack, attack.asked(loaded, part), part)
            if not asked:
                return _unasked(loaded, role, attack, part, place)
            return _sampled(sampler, role, attack, asked, place, settings)
    asked = list(part.unseen)
    if isinstance(attack, Ask):
        asked = checked(attack, attack.prompts(loaded, part), part)
        if not asked:
            return _unasked(loaded, role, attack, part, place)
        (place / f"{role}.{UNASKED}").unlink(missing_ok=True)
    plain = as_sampler(loaded, settings.engine, **settings.engine_options)
    found = _sampled(plain, role, attack, asked, place, settings)
    if isinstance(attack, Ask) and not attack.fitted and (kept := attack.kept(loaded, part)):
        before = {"forget": part.unseen, "retain": part.retain}
        after = {"forget": asked, "retain": kept}
        draw(plain, role, Asked(before, after), place.parent, place, settings)
    return found


def checked(attack: Attack, asked: Sequence[Prompt], part: Known) -> list[Prompt]:
    """What an attack asks, which may be nothing. ValueError for an id that is none of the prompts'."""
    ids = {prompt.id for prompt in part.unseen}
    if strange := [prompt.id for prompt in asked if prompt.id not in ids]:
        raise ValueError(f"attack {attack.label} asks for {strange[0]!r}, which is no prompt's id")
    return list(asked)


def _unasked(loaded: LoadedModel, role: Role, attack: Attack, part: Known, place: Path) -> list[str]:
    """Kept in a file; what a person must know of it."""
    write_kept(place / f"{role}.{UNASKED}", strict_json({"model": loaded.name, "m": len(part.unseen)}))
    return [
        f"Not asked: attack {attack.label} finds nothing to ask {Path(loaded.name).name} for any of {len(part.unseen)} prompts; it says nothing of them."
    ]


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
    """What an attack that reads found, kept in a file: it is not read again for the same model, attack and data."""
    ids = [prompt.id for prompt in part.unseen]
    mark = {"model": loaded.name, "fingerprint": loaded.fingerprint, "attack": attack.identity(part), "ids": ids}
    kept = read_kept(path) if path.exists() else {}
    if {name: kept.get(name) for name in mark} != mark:
        found = attack.read(loaded, part)
        check_reading(attack, found, len(ids))
        kept = {
            **mark,
            "scores": np.asarray(found.scores, dtype=np.float64),
            "profile": dict(found.profile),
            "whole": dict(found.whole),
            "notes": list(found.notes),
        }
        write_kept(path, strict_json(kept))
    return [f"{attack.label}, {loaded.name}: {note}" for note in kept.get("notes", [])]


def check_reading(attack: Read, found: Reading, count: int) -> None:
    """ValueError unless each prompt has one score in [0, 1], or NaN, and one number or NaN at each place of the profile."""
    check_scores(attack, np.asarray(found.scores, dtype=np.float64), count)
    for place, values in found.profile.items():
        if np.shape(values) != (count,) or np.isinf(values).any():
            raise ValueError(f"attack {attack.label} must give ({count},) numbers at {place}, got {values!r:.80}")


def check_scores(attack: Read, scores: Floats, count: int) -> None:
    """ValueError unless there is one score in [0, 1], or NaN, for each prompt."""
    if scores.shape != (count,) or not (np.isnan(scores) | ((scores >= 0) & (scores <= 1))).all():
        raise ValueError(f"attack {attack.label} must give ({count},) scores in [0, 1], got {scores!r:.80}")
