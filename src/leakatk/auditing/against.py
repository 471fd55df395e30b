"""Gates on a difference: leak@k above that of the retrained model, or of an earlier run, paired by prompt.

Both are audited run directories, so nothing is sampled. What is unknown counts on both sides in either model: a question that
nobody scored may leak in one and not in the other.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from leakatk.arrays import Floats
from leakatk.auditing.asking import place_of
from leakatk.auditing.judging import judged
from leakatk.auditing.measured import Measured
from leakatk.auditing.settings import Gate
from leakatk.auditing.verdict import Setting, Way, clusters_of, settings_of, way_on_disk
from leakatk.errors import InputError
from leakatk.prompts import Prompt
from leakatk.runs.results import GateVerdict, read_results
from leakatk.runs.store import Run
from leakatk.sampling.decoding import Decoding


def check_earlier(path: str | Path, prompts: Sequence[Prompt], decoding: Decoding, k: int) -> Run:
    """The earlier run, once it is known that this audit can be compared with it. InputError before anything is sampled."""
    path = Path(path)
    if not (path / "manifest.json").exists():
        raise InputError(f"{path} is no audited run (it has no manifest.json); give the directory of an earlier audit.")
    run = Run.open(path)
    theirs = {prompt.id: prompt.query for prompt in run.prompts}
    for prompt in prompts:
        if prompt.id not in theirs:
            lacking = sum(one.id not in theirs for one in prompts)
            raise InputError(
                f"The earlier run {path} lacks {lacking} of {len(prompts)} prompts (the first: {prompt.id!r}); "
                "audit that model on the same prompts, or leave them out here."
            )
        if theirs[prompt.id] != prompt.query:
            raise InputError(
                f"The earlier run {path} asks {prompt.id!r} otherwise; compare audits of the same questions."
            )
    now = decoding.as_dict()
    if differ := [name for name, value in now.items() if run.manifest.decoding.get(name, value) != value]:
        was, name = run.manifest.decoding[differ[0]], differ[0]
        raise InputError(
            f"The earlier run {path} was sampled with {name} {was}, this audit has {now[name]}; compare audits with the same decoding."
        )
    if run.n < k:
        raise InputError(
            f"The earlier run {path} has {run.n} samples a prompt, but k = {k}: lower k, or raise its --n."
        )
    return run


def judge_against(
    path: str | Path, other: str | Path, scorer: str, gate: Gate, *, compared: str, probes: Sequence[str] | None = None
) -> GateVerdict:
    """The verdict on what an audited run leaks above another one: `judge_all_against` with one pair."""
    return judge_all_against([(path, other)], scorer, gate, compared=compared, probes=probes)


def judge_all_against(
    pairs: Sequence[tuple[str | Path, str | Path]],
    scorer: str,
    gate: Gate,
    *,
    compared: str,
    probes: Sequence[str] | None = None,
) -> GateVerdict:
    """The verdict on what audited runs leak above other ones, all read from disk.

    pairs: a run and the other one with the same decoding, for each decoding.
    scorer: by which all are scored.
    compared: what the other model is called in sentences.
    probes: the ways of asking to look at beside the question as it stands; None: all that an audit had.

    Compared is every setting that both of a pair have. What one of them lacks stands in `GateVerdict.not_measured`. InputError
    when nothing is left, or another run has fewer than k samples.
    """
    found: dict[str, Setting] = {}
    known: dict[str, Setting] = {}
    left_out: list[str] = []
    for path, other in pairs:
        mine, theirs, told = _ways_of_both(Path(path), Path(other), gate, compared, probes)
        decoding = read_results(path).decoding
        found |= {one.name: one for one in settings_of(mine, scorer, gate, decoding) if one.low}
        known |= {one.name: one for one in settings_of(theirs, scorer, gate, decoding) if one.low}
        left_out += [said for said in told if said not in left_out]
    return judge_pairs(found, known, gate, compared=compared, left_out=left_out)


def _ways_of_both(
    path: Path, other: Path, gate: Gate, compared: str, probes: Sequence[str] | None
) -> tuple[list[Way], list[Way], list[str]]:
    """The ways of asking that both runs have, of each, and sentences on what cannot be compared."""
    wanted = ["", *(read_results(path).probes or () if probes is None else probes)]
    left_out: list[str] = []
    mine, theirs = [], []
    for probe in wanted:
        way = way_on_disk(path, probe)
        if not ((other / place_of(probe) if probe else other) / "manifest.json").exists():
            left_out.append(f"{probe}: not compared, {compared} was not asked so")
            continue
        beside = way_on_disk(other, probe)
        if beside.run.n < gate.k:
            raise InputError(
                f"k = {gate.k} needs as many samples a prompt, but {compared} has {beside.run.n}: lower k."
            )
        if odd := _asked_otherwise(way, beside):
            left_out.append(
                f"{probe or 'as it stands'}: not compared, {compared} was asked {odd!r} otherwise or not at all"
            )
            continue
        mine.append(way)
        theirs.append(beside)
        if gone := len(set(beside.run.prompt_ids) - set(way.run.prompt_ids)):
            left_out.append(f"{gone} prompts of {compared} are not asked here{f' ({probe})' if probe else ''}")
    return mine, theirs, left_out


def judge_pairs(
    mine: Mapping[str, Setting],
    theirs: Mapping[str, Setting],
    gate: Gate,
    *,
    compared: str,
    left_out: Sequence[str] = (),
) -> GateVerdict:
    """The verdict on the settings, by name, that both have. left_out: sentences on what could not be compared."""
    told = [*left_out, *(f"{name}: not compared, {compared} lacks it" for name in mine if name not in theirs)]
    pairs = [_pair(one, theirs[name]) for name, one in mine.items() if name in theirs]
    pairs = [one for one in pairs if one.least[0]]
    if not pairs:
        raise InputError(f"Nothing can be compared with {compared}: {'; '.join(told) or 'no prompt could be scored'}.")
    return judged(pairs, gate, compared=compared, left_out=told)


def _asked_otherwise(mine: Way, theirs: Way) -> str:
    """The first prompt that the other run lacks or asks in other words; "" where it has all."""
    queries = {prompt.id: prompt.query for prompt in theirs.run.prompts}
    return next((prompt.id for prompt in mine.run.prompts if queries.get(prompt.id) != prompt.query), "")


def _pair(mine: Setting, theirs: Setting) -> Measured:
    """One setting of both, prompt by prompt: the least difference is the least of one and the most of the other."""
    ids = [i for i in mine.low if i in theirs.low]

    def rows(one: Mapping[str, Floats]) -> list[Floats]:
        return [one[i] for i in ids]

    return Measured(
        name=mine.name,
        least=(rows(mine.low), rows(theirs.high)),
        most=(rows(mine.high), rows(theirs.low)),
        clean=(rows(mine.low), rows(theirs.low)),
        clusters=clusters_of([mine.owners[i] for i in ids]),
        exact=mine.exact,
        known=mine.scored > 0 and theirs.scored > 0,
        prompts=len({mine.owners[i] for i in ids}),
        samples=mine.samples + theirs.samples,
        unscored=max(mine.unscored, theirs.unscored),  # mostly the same prompts: those that the scorer cannot judge
        missing=mine.missing + theirs.missing,
        cut=mine.cut + theirs.cut,
        ignored=mine.ignored + theirs.ignored,
    )
