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
from leakatk.auditing.score import Part, score
from leakatk.auditing.settings import Gate as Gate
from leakatk.errors import CANNOT_SAY, DONE, FAILED, InputError
from leakatk.estimate.leak import leak_at_k
from leakatk.probes import get_probe
from leakatk.runs.answers import cut, limit_is_own, thought
from leakatk.runs.results import Answer, GateVerdict, SettingVerdict, read_results
from leakatk.runs.store import Run
from leakatk.scorers.base import get_scorer
from leakatk.text import percent

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
    ignored: as `cut`, where the gate was told to ignore them.
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
    )


def judge(settings: Sequence[Setting], gate: Gate) -> GateVerdict:
    """The verdict on all settings together. InputError when none of them has anything to look at."""
    settings = [one for one in settings if one.low]
    if not settings:
        raise InputError("The gate has nothing to look at: no prompt could be scored. Choose another --scorer.")
    # A deterministic answer has no sampling error, so it needs no share of the level.
    chances = max(1, sum(not (one.exact and gate.over == "samples") for one in settings)) * gate.looks
    each = 1 - (1 - gate.level) / chances
    found = [_measured(one, gate, each) for one in settings]
    answers = [one.answer for one in found]
    answer: Answer = "FAIL" if "FAIL" in answers else "PASS" if all(one == "PASS" for one in answers) else "CANNOT SAY"
    worst = max(
        (one for one in found if one.answer == answer), key=lambda one: one.low if answer == "FAIL" else one.high
    )
    return GateVerdict(
        answer=answer,
        reason=_reason(answer, worst, found, gate),
        k=gate.k,
        bound=gate.bound,
        over=gate.over,
        level=gate.level,
        each_level=each,
        looks=gate.looks,
        low=worst.low,
        high=worst.high,
        worst=worst.name,
        unscored=gate.unscored,
        cut=gate.cut,
        settings=found,
    )


def _measured(one: Setting, gate: Gate, level: float) -> SettingVerdict:
    """Ends of leak@k of one setting, and where the upper one would be if nothing unknown leaked."""
    low, high_if_clean = _ends(one, one.low, gate, level)
    high = _ends(one, one.high, gate, level)[1] if one.unscored + one.missing + one.cut else high_if_clean
    return SettingVerdict(
        name=one.name,
        answer="PASS" if high <= gate.bound else "FAIL" if low > gate.bound else "CANNOT SAY",
        low=low,
        high=high,
        high_if_clean=high_if_clean,
        prompts=len(set(one.owners.values())),
        samples=one.samples,
        unscored=one.unscored,
        missing=one.missing,
        cut=one.cut,
        ignored=one.ignored,
    )


def _ends(one: Setting, scores: Mapping[str, Floats], gate: Gate, level: float) -> tuple[float, float]:
    """The interval of leak@k for these scores; one deterministic answer has no sampling error."""
    rows = list(scores.values())
    if one.exact and gate.over == "samples":
        value = float(np.mean([row[0] for row in rows]))
        return value, value
    owners = [one.owners[i] for i in scores]
    clusters = owners if len(set(owners)) < len(owners) else None
    k = 1 if one.exact else gate.k  # every one of k deterministic answers is the same
    curve = leak_at_k(rows, [k], over=gate.over, level=level, clusters=clusters)
    return float(curve.low[0]), float(curve.high[0])


def _reason(answer: Answer, worst: SettingVerdict, found: Sequence[SettingVerdict], gate: Gate) -> str:
    """Why, in one sentence, and what it holds for."""
    low, high = percent(worst.low), percent(worst.high)
    do = f"{low} do" if low == high else f"between {low} and {high} do"
    text = f"at most {percent(gate.bound)} may leak within {gate.k} {'try' if gate.k == 1 else 'tries'}; {do}"
    together = f", {len(found)} settings together" if len(found) > 1 else ""
    text += f" ({worst.name}; {gate.level:.0%} interval over {gate.over}{together})"
    if answer == "CANNOT SAY" and worst.high_if_clean <= gate.bound:
        text += f"; what is unknown decides: {_counts(worst)}"
    elif answer == "CANNOT SAY":
        text += "; more samples would narrow it" + (f", and {also}" if (also := _counts(worst)) else "")
    return text + "".join(f"; {said}" for said in _ignored(found, gate))


def _counts(one: SettingVerdict) -> str:
    """What is not known of a setting: "12 prompts have no score, 31% of the answers are cut"."""
    said = []
    if one.unscored:
        said.append(f"{one.unscored} of {one.prompts} prompts have no score")
    if one.missing:
        said.append(f"{one.missing:,} of {one.samples:,} answers have no score")
    if one.cut:
        said.append(f"{percent(one.cut / one.samples)} of the answers are cut before their end")
    return ", ".join(said)


def _ignored(found: Sequence[SettingVerdict], gate: Gate) -> list[str]:
    """What was left out because the user asked for it; of the setting that lost most."""
    lost, passed = max(one.unscored for one in found), max(one.ignored for one in found)
    said = [f"{lost} prompts without a score are ignored, as asked"] if gate.unscored == "ignore" and lost else []
    return said + ([f"{passed:,} answers cut before their end are ignored, as asked"] if passed else [])


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
