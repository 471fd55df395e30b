"""What the methods of `leakatk unlearn` may be given besides prompts: alternate answers, margins; and when they stop."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from leakatk.errors import InputError
from leakatk.files.reading import read_records

if TYPE_CHECKING:
    from leakatk.models.loaded import LoadedModel
    from leakatk.prompts import Known, Prompt
    from leakatk.scorers.base import Scorer
    from leakatk.synthesis import Writer
    from leakatk.unlearning.methods import Method
    from leakatk.unlearning.settings import OnCheck


FILES = (".jsonl", ".json", ".csv", ".tsv", ".parquet")


def margins(path: Path | None, prompts: Sequence[Prompt]) -> dict[str, float]:
    """Prompt id -> margin, from rows with id and margin. InputError for a row without, a number that is none, or a prompt left out."""
    if path is None:
        return {}
    found: dict[str, float] = {}
    for number, row in read_records(path):
        value = row.get("margin")
        if "id" not in row or not isinstance(value, int | float) or isinstance(value, bool) or not math.isfinite(value):
            raise InputError(f'{path}, row {number}: write {{"id": a prompt\'s id, "margin": a finite number}}.')
        found[str(row["id"])] = float(value)
    if missing := [prompt.id for prompt in prompts if prompt.id not in found]:
        raise InputError(
            f"{path} has no margin for {len(missing)} of {len(prompts)} prompts (the first: {missing[0]!r}); give one for each."
        )
    return found


def needs_alternates(method: Method) -> bool:
    return any(name.endswith("alternate") for stage in method.trains for name in stage.streams)


def _is_file(spec: str) -> bool:
    # A writer's options may hold a dot: alternates:temperature=0.5
    return bool(spec) and (Path(spec).is_file() or Path(spec).suffix.lower() in FILES)


def writing(spec: str, method: Method, known: Known) -> None:
    """InputError where --alternates names a writer that lacks something, before a model is loaded."""
    from leakatk.synthesis import get_writer

    if needs_alternates(method) and not _is_file(spec):
        writer = get_writer(spec or method.writer)
        known.need(f"Writer {writer.label}", *(name for name in writer.needs if name != "original"))


def with_alternates(
    spec: str,
    method: Method,
    forget: Sequence[Prompt],
    loaded: LoadedModel,
    out: Path,
    seed: int,
    known: Known | None = None,
) -> tuple[list[Prompt], dict[str, str]]:
    """(the forget prompts, each as often as it has alternates; prompt id -> alternate answer). Both as they are for a method that wants none.

    spec: a file of question and answer, or a writer, by default the method's own; "alternates" is the model itself. What a writer made is kept in OUT/alternates-*.jsonl,
    which the same command takes up: the name tells the writer, its options and the prompts.
    """
    from leakatk.prompts import Known, load_prompts, record, save_prompts
    from leakatk.synthesis import pairs, written
    from leakatk.synthesis.base import get_writer
    from leakatk.unlearning.checkpoint import ALTERNATES
    from leakatk.workdir import claim

    if not needs_alternates(method):
        if spec:
            raise InputError(f"--alternates is for methods that prefer other answers; {method.name} does not.")
        return list(forget), {}
    file = Path(spec)
    if _is_file(spec):
        return _from_file(load_prompts(file), forget, file)
    writer = get_writer(spec or method.writer)
    own: Any = writer if "original" in writer.needs else None  # the model to be unlearned writes, or is asked
    known = replace(known or Known(), forget=tuple(forget))
    if own is not None:
        writer = own = replace(own, seed=seed)
    what = repr((writer, [record(prompt) for prompt in forget]))
    kept = out / ALTERNATES.format(hashlib.sha256(what.encode()).hexdigest()[:12])
    if kept.is_file():
        return pairs(forget, load_prompts(kept), reworded=writer.facts.rewords)
    if own is not None:
        from leakatk.sampling.native import NativeSampler

        rows = own.write_with(NativeSampler(loaded), forget, known)
    else:
        rows = list(written(writer, forget, known).rows)
    there = {row.id.rsplit("/", 2)[0] for row in rows}
    if missing := [prompt.id for prompt in forget if prompt.id not in there]:
        raise InputError(
            f"Writer {writer.label} has no alternate answer for {len(missing)} of {len(forget)} prompts (the first: {missing[0]!r}); take "
            "another writer, or give a file with --alternates FILE."
        )
    with claim(out):  # so that the run knows it for its own
        save_prompts(rows, kept)
    typer.echo(f"Writer {writer.label} wrote {len(rows)} other answers to {len(forget)} questions: {kept}.", err=True)
    return pairs(forget, rows, reworded=writer.facts.rewords)


def _from_file(rows: Sequence[Prompt], forget: Sequence[Prompt], path: Path) -> tuple[list[Prompt], dict[str, str]]:
    """A row belongs to the prompt of its id, or else to that of its question; a prompt may have several."""
    by_id = {prompt.id: prompt for prompt in forget}
    by_question = {prompt.question: prompt for prompt in forget}
    found, alternates = [], {}
    for number, row in enumerate(rows, 1):
        prompt = by_id.get(row.id) or by_question.get(row.question)
        if prompt is not None:
            found.append(replace(prompt, id=f"{prompt.id}/alternates/{number}"))
            alternates[found[-1].id] = row.answer
    if len(found) < len(rows):
        typer.echo(
            f"Note: {len(rows) - len(found)} of {len(rows)} rows of {path} belong to no forget prompt.", err=True
        )
    there = {prompt.id.rsplit("/", 2)[0] for prompt in found}
    if missing := [prompt.id for prompt in forget if prompt.id not in there]:
        raise InputError(
            f"{path} has no alternate answer for {len(missing)} of {len(forget)} forget prompts (the first: {missing[0]!r}); give each a row "
            "with its id or its question."
        )
    return found, alternates


def asking(spec: str, known: Known, model: str) -> Writer | None:
    """The writer of --forget-as, None without. InputError for one whose rows are neither other ways of asking nor tell the same, or that lacks something.

    model: what is to be unlearned, which such a writer may ask.
    """
    from leakatk.synthesis import WRITERS, get_writer

    if not spec:
        return None
    found = get_writer(spec)
    if not (found.facts.asks or found.facts.tells):
        names = ", ".join(name for name in WRITERS if WRITERS[name].facts.asks or WRITERS[name].facts.tells)
        raise InputError(
            f"--forget-as takes a writer that asks or tells in another way ({names}); {found.name} does not."
        )
    replace(known, original=model).need(f"Writer {found.label}", *found.needs)
    return found


def as_written(spec: str, forget: Sequence[Prompt], known: Known, model: str = "") -> list[Prompt]:
    """The forget prompts as a writer asks or tells them, to be trained on; one that it writes nothing for stays as it is, and is counted."""
    from leakatk.synthesis import reasked, retold, written
    from leakatk.synthesis.textbook import variety

    found = asking(spec, known, model)
    if found is None:
        return list(forget)
    made = written(found, forget, replace(known, original=model))
    if found.facts.tells:
        put = retold(forget, made.rows)
        kept = len(put) - len(made.rows)
        typer.echo(
            f"Writer {found.label} wrote {len(made.rows)} texts in place of {len(forget) - kept} of {len(forget)} forget prompts; {kept} stay as they are. "
            f"Different runs of three words: {variety([row.answer for row in made.rows]):.2f} of all.",
            err=True,
        )
        return put
    left = f"; {len(made.left_out)} stay as they are" if made.left_out else ""
    typer.echo(
        f"Writer {found.label} put {len(forget) - len(made.left_out)} of {len(forget)} forget prompts in {len(made.rows)} other ways{left}.",
        err=True,
    )
    return reasked(forget, made.rows)


def memorised_check(loaded: LoadedModel, forget: Sequence[Prompt], unseen: Sequence[Prompt]) -> OnCheck:
    """Stop where the forget answers are extracted no better than unseen ones are before the first step."""
    from leakatk.metrics.memorisation import memorised
    from leakatk.unlearning.stop import memorised_stop

    level = memorised(loaded, unseen)
    if math.isnan(level.extraction_likelihood):
        raise InputError(
            "No answer in --unseen has more than ten tokens, so extraction likelihood is undefined; give longer ones."
        )
    return memorised_stop(forget, level)


def grouped(parts: Sequence[Sequence[Prompt]], wanted: Sequence[Prompt]) -> list[list[Prompt]]:
    """The prompts of each request as often as they are wanted: one with several alternates stands several times."""
    owner = {prompt.id: number for number, part in enumerate(parts) for prompt in part}
    found: list[list[Prompt]] = [[] for _ in parts]
    for prompt in wanted:
        found[owner[_owner(prompt.id, owner)]].append(prompt)
    return found


def _owner(name: str, owner: Mapping[str, int]) -> str:
    """The prompt that a row was written for, perhaps from what was written for it before."""
    while name not in owner:
        name = name.rsplit("/", 2)[0]
    return name


def check_stops(method: str, memorised: bool, greedy: bool, unseen: Path | None, requests: int) -> None:
    """InputError for stop rules and requests that do not go together."""
    if memorised and greedy:
        raise InputError("Give either --stop-greedy or --stop-memorised.")
    if memorised and unseen is None:
        raise InputError("--stop-memorised needs --unseen FILE, answers that no model was trained on.")
    if method == "rule" and (memorised or requests != 1):
        raise InputError(
            "--stop-memorised and --requests do not go with --method rule, which has rounds and a stop of its own."
        )


def unscored(detector: Scorer, prompts: Sequence[Prompt]) -> list[str]:
    """Ids of the prompts that a scorer is undefined on, tried on their true answers; one with a model is not tried."""
    if detector.needs_model:
        return []
    scores = detector.score(prompts, [prompt.answer for prompt in prompts])
    return [prompt.id for prompt, value in zip(prompts, scores, strict=True) if value != value]
