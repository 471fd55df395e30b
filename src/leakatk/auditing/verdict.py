"""A gate's verdict: PASS, FAIL or CANNOT SAY, with what is unknown counted on both sides.

What was not measured (a prompt no scorer could score, an answer cut by the user's own limit, a judge's missing reply)
counts as no leak in the lower end of the interval and as a leak in the upper end. PASS: the upper end is at most the
bound, in every setting asked. FAIL: the lower end is above it, in any. Anything else: CANNOT SAY. The intervals of
several settings hold together (Bonferroni).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from leakatk.arrays import Floats
from leakatk.auditing.asking import owner_of, place_of
from leakatk.auditing.judging import judged
from leakatk.auditing.measured import Measured
from leakatk.auditing.score import Part, score
from leakatk.auditing.settings import Gate as Gate
from leakatk.errors import CANNOT_SAY, DONE, FAILED
from leakatk.probes import get_probe
from leakatk.runs.answers import cut, limit_is_own, thought
from leakatk.runs.results import GateVerdict, read_results
from leakatk.runs.store import Run
from leakatk.scorers.base import get_scorer

EXIT_CODES: Mapping[str, int] = {"PASS": DONE, "FAIL": FAILED, "CANNOT SAY": CANNOT_SAY}


@dataclass(frozen=True)
class Way:
    """One way of asking.

    name: the probe, "" for the question as it stands.  greedy: its greedy answers, where there are any.
    owners: variant id -> prompt id, under a probe.
    """

    name: str
    run: Run
    greedy: Run | None = None
    owners: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Setting:
    """One way of asking under one decoding, with the least and the most that each sample may score.

    low, high: prompt id -> (n,).  owners: as in `Way`.  exact: one deterministic answer, without sampling noise.
    unscored: prompts without any score.  missing: further samples without one.  cut: answers whose end is unknown.
    ignored: as `cut`, where the gate was told to ignore them.  scored: samples with a score.
    """

    name: str
    low: Mapping[str, Floats]
    high: Mapping[str, Floats]
    owners: Mapping[str, str]
    exact: bool
    unscored: int
    missing: int
    cut: int
    ignored: int
    scored: int

    @property
    def samples(self) -> int:
        return sum(row.size for row in self.low.values())


def setting_of(
    name: str,
    run: Run,
    scorer: str,
    gate: Gate,
    owners: Mapping[str, str],
    *,
    part: Part = "answer",
    exact: bool = False,
) -> Setting:
    """What the samples of a run may score, unknown ones at both ends of the scorer's range."""
    judge = get_scorer(scorer)
    scores = score(run, scorer, part=part)
    unknown = np.isnan(scores)
    nothing = unknown.all(axis=1)
    # Without a thought there is nothing to score in it, and nothing unknown.
    ended = cut(run) if part == "answer" else cut(run) & thought(run)
    open_ended = ended & ~unknown & (scores < judge.high) & (not limit_is_own(run))
    counted = open_ended & (gate.cut == "count")
    low = np.where(unknown, judge.low, scores)
    high = np.where(unknown | counted, judge.high, scores)
    kept = np.flatnonzero(~nothing | (gate.unscored == "count"))
    ids = [run.prompt_ids[i] for i in kept]
    return Setting(
        name=name,
        low=dict(zip(ids, low[kept], strict=True)),
        high=dict(zip(ids, high[kept], strict=True)),
        owners={i: owners.get(i, i) for i in ids},
        exact=exact,
        unscored=int(nothing.sum()),
        missing=int(unknown[~nothing].sum()),
        cut=int(counted.sum()),
        ignored=int((open_ended & ~counted).sum()),
        scored=int((~unknown).sum()),
    )


def settings_of(ways: Sequence[Way], scorer: str, gate: Gate, decoding: str) -> list[Setting]:
    """Every setting that a gate looks at. decoding: the name of the one that was sampled.

    Ways of asking that give the answer away are left out: what they show is not knowledge. Greedy answers have no j-th
    sample, so they stand beside the worst case over all ways.
    """
    honest = [way for way in ways if not (way.name and get_probe(way.name).gives_answer)]
    found = [one for way in honest for one in settings_of_way(way, scorer, gate, decoding)]
    return with_worst_case(found, f"{len(honest)} ways, {decoding}") if gate.worst_case else found


def settings_of_way(way: Way, scorer: str, gate: Gate, decoding: str) -> list[Setting]:
    """The settings of one way of asking: its samples and greedy answers, and what was thought before each."""
    found: list[Setting] = []
    before = f"{way.name}: " if way.name else ""
    asked = [(decoding, way.run, decoding == "greedy")]
    if way.greedy is not None and decoding != "greedy":
        asked.append(("greedy", way.greedy, True))
    for how, run, exact in asked:
        name = f"{before}{how}"
        found.append(setting_of(name, run, scorer, gate, way.owners, exact=exact))
        if thought(run).any():
            name += " in the reasoning"
            found.append(setting_of(name, run, scorer, gate, way.owners, part="reasoning", exact=exact))
    return found


def with_worst_case(settings: Sequence[Setting], over: str) -> list[Setting]:
    """The sampled settings as one, their worst case, and the others. over: what it is over, in words."""
    sampled = [one for one in settings if not one.exact]
    worst = [_union(sampled, f"worst case over {over}")] if sampled else []
    return [*worst, *(one for one in settings if one.exact)]


def _union(settings: Sequence[Setting], name: str) -> Setting:
    """Sample j of each prompt is the most leaking of the j-th samples in all settings."""

    def most(rows: Sequence[tuple[Mapping[str, Floats], Mapping[str, str]]]) -> dict[str, Floats]:
        found: dict[str, Floats] = {}
        for scores, owners in rows:
            for i, row in scores.items():
                owner = owners[i]
                n = min(row.size, found[owner].size) if owner in found else row.size
                found[owner] = np.maximum(found[owner][:n], row[:n]) if owner in found else row
        return found

    low = most([(one.low, one.owners) for one in settings])
    return Setting(
        name=name,
        low=low,
        high=most([(one.high, one.owners) for one in settings]),
        owners={i: i for i in low},
        exact=False,
        unscored=sum(one.unscored for one in settings),
        missing=sum(one.missing for one in settings),
        cut=sum(one.cut for one in settings),
        ignored=sum(one.ignored for one in settings),
        scored=sum(one.scored for one in settings),
    )


def judge(settings: Sequence[Setting], gate: Gate, *, advise: bool = True) -> GateVerdict:
    """The verdict on all settings together. InputError when none of them has anything to look at.

    advise: whether to compute what would settle a CANNOT SAY.
    """
    return judged([_alone(one) for one in settings if one.low], gate, advise=advise)


def _alone(one: Setting) -> Measured:
    """A setting by itself, compared with nothing."""
    least, most = list(one.low.values()), list(one.high.values())
    return Measured(
        name=one.name,
        least=(least, None),
        most=(most, None),
        clean=(least, None),
        clusters=clusters_of([one.owners[i] for i in one.low]),
        exact=one.exact,
        known=one.scored > 0,
        prompts=len(set(one.owners.values())),
        samples=one.samples,
        unscored=one.unscored,
        missing=one.missing,
        cut=one.cut,
        ignored=one.ignored,
    )


def clusters_of(owners: Sequence[str]) -> Sequence[str] | None:
    """The owners of rows as labels of what belongs together; None where each row has one of its own."""
    return owners if len(set(owners)) < len(owners) else None


def judge_audits(
    paths: Sequence[str | Path], scorer: str, gate: Gate, probes: Sequence[str] | None = None
) -> dict[str, Any]:
    """The verdict on audited run directories together, such as several decodings of one model: read from disk.

    As results.json keeps it (`runs.results.GateVerdict`).

    probes: the ways of asking to look at beside the question as it stands; None: all that the audits had.
    """
    settings: list[Setting] = []
    for path in paths:
        results = read_results(path)
        asked = results.probes or () if probes is None else probes
        ways = [way_on_disk(Path(path), probe) for probe in ("", *asked)]
        settings += settings_of(ways, scorer, gate, results.decoding)
    # Greedy answers are the same under every decoding.
    return judge(list({one.name: one for one in settings}.values()), gate).as_dict()


def way_on_disk(path: Path, probe: str) -> Way:
    """One way of asking as an audit left it in its directory."""
    place = path / place_of(probe) if probe else path
    run = Run.open(place)
    greedy = place / "greedy"
    there = (greedy / "manifest.json").exists()
    owners = {i: owner_of(i, probe) for i in run.prompt_ids} if probe else {}
    return Way(probe, run, Run.open(greedy) if there else None, owners)
