"""Calibrated RULE: as much unlearning as the yardstick asks for and no more, judged by what it was not trained against.

Ours, not the paper's. RULE runs with one scorer, some wordings and decodings, and exact probabilities, until its detection
sees the retrained model's level (or a certified bound) at a utility above the floor. The verdict comes from another
scorer, and from wordings, decodings and random streams that the run never used. Beside it stand the retrained model and
the control with exactly as many steps.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from leakatk.arrays import Floats
from leakatk.errors import InputError
from leakatk.estimate.certify import certify
from leakatk.estimate.leak import excess, leak_at_k
from leakatk.files.strict_json import strict_json
from leakatk.files.writing import write_kept
from leakatk.metrics.privacy import auc
from leakatk.models.load import save_model
from leakatk.models.loaded import LoadedModel
from leakatk.models.weights import put, weights_of
from leakatk.prompts import Prompt
from leakatk.sampling.base import Sampler, texts_of
from leakatk.sampling.decoding import Decoding
from leakatk.sampling.native import NativeSampler
from leakatk.unlearning.methods import Method
from leakatk.unlearning.rule.detect import Asked, Score, detected_level, wordings
from leakatk.unlearning.rule.likelihood import answer_likelihoods
from leakatk.unlearning.rule.rule import RuleResult, Utility, control, rule
from leakatk.unlearning.rule.settings import RuleSettings
from leakatk.unlearning.rule.strategy import Goal, Strategy, strategy_of
from leakatk.unlearning.settings import TrainSettings

FRESH = 1_000_003  # added to the seed: the verdict's samples are not those of the detection


@dataclass(frozen=True, slots=True)
class VerdictSettings:
    """What the verdict samples, and how near is near enough."""

    decodings: tuple[Decoding, ...] = (Decoding(top_p=0.8), Decoding())
    """Best ones that the detection did not use."""
    n: int = 128
    """Samples a prompt."""
    k: int = 128
    """The k of leak@k."""
    level: float = 0.95
    """Confidence of its intervals."""
    leak_margin: float = 0.01
    """How far from the retrained model's leak@k still counts as the same."""
    utility_margin: float = 0.02
    """How much of the original's utility may be lost."""
    auc_margin: float = 0.05
    """How far from an AUC of .5 still counts as the same."""

    def __post_init__(self) -> None:
        if not self.decodings:
            raise InputError("VerdictSettings.decodings is empty; give at least one Decoding.")
        if not 1 <= self.k <= self.n:
            raise InputError(f"VerdictSettings.k must be between 1 and n={self.n}, got {self.k}.")


@dataclass(frozen=True)
class Findings:
    """What the audit of one model saw."""

    scores: dict[tuple[int, str], Floats]
    """(wording number, decoding) -> (m, n)."""
    attack: dict[int, Floats]
    """Wording number -> (m,) Min-K%++ of the true answers."""
    utility: float = math.nan
    """NaN: not asked for."""


@dataclass(frozen=True)
class Calibrated:
    """What calibrated RULE did."""

    rule: RuleResult
    control: RuleResult | None
    """None: RULE took no step."""
    verdict: dict[str, Any] = field(repr=False)
    """As in verdict.json."""


def calibrated_rule(
    loaded: LoadedModel,
    forget: Sequence[Prompt],
    retain: Sequence[Prompt],
    base: str | Method,
    *,
    detector: Score,
    judge: Score,
    train: TrainSettings,
    settings: RuleSettings | None = None,
    audit: VerdictSettings | None = None,
    retrained: LoadedModel | None = None,
    strategy: Strategy | None = None,
    original_utility: float = math.nan,
    utility: Utility | None = None,
    sampler: Callable[[LoadedModel], Sampler] = NativeSampler,
    out: str | Path | None = None,
    seed: int = 0,
    quiet: bool = False,
    matching: Goal | None = None,
    about: Mapping[str, Any] | None = None,
) -> Calibrated:
    """Run calibrated RULE in place on `loaded.model` (already unlearned), then its control, and judge both.

    base: the method wrapped.
    detector, judge: two different scorers.
    train: the optimisation of one round.
    settings: default `detection()`. Without a target of its own the run stops at the retrained model's level.
    audit: what the verdict samples; default `VerdictSettings()`.
    retrained: the model that never saw the forget set; it or a target is needed.
    strategy: what a round trains (`match_unseen(...).strategy()` calibrates); the control repeats `base` all the same.
    original_utility: of the model before any unlearning; with it the floor is that less audit.utility_margin.
    utility: measured at the start, after every round and in the verdict.
    sampler: makes the sampler of a model: the run samples `loaded` and the retrained one.
    out: a directory for rounds/, control/ (the control's model) and verdict.json.
    matching: the former way to say strategy=matching.strategy().
    about: further entries of the record.

    Raises InputError without a goal, and what `rule` raises.
    """
    audit = audit or VerdictSettings()
    options, rounds = settings or detection(), strategy_of(strategy, matching)
    if options.target is None and options.yardstick is None:
        if retrained is None:
            raise InputError("Calibrated RULE needs a goal: give the retrained model, or RuleSettings(target=...).")
        level = detected_level(
            retrained, forget, score=detector, settings=options, sampler=sampler(retrained), seed=seed + FRESH
        )
        options = replace(options, yardstick=level)
    if utility is not None and not math.isnan(original_utility) and not options.utility_floor:
        options = replace(options, utility_floor=original_utility - audit.utility_margin)
    folder = Path(out) if out is not None else None
    start = weights_of(loaded.model)
    mine = sampler(loaded)
    shared: dict[str, Any] = {"train": train, "sampler": mine, "seed": seed, "quiet": quiet}
    result = rule(
        loaded, forget, retain, base, score=detector, settings=options, utility=utility, strategy=rounds,
        out=folder / "rounds" if folder else None, **shared,
    )  # fmt: skip
    used = options.wordings
    found = {"model": findings(loaded, forget, judge, audit, used=used, utility=utility, sampler=mine, seed=seed)}
    other = None
    if (twin := control(options, result)) is not None:
        kept = weights_of(loaded.model)
        put(loaded.model, start)
        other = rule(
            loaded, forget, retain, base, score=detector, settings=replace(twin, utility_floor=0.0),
            out=folder / "control-rounds" if folder else None, **shared,
        )  # fmt: skip
        found["control"] = findings(loaded, forget, judge, audit, used=used, utility=utility, sampler=mine, seed=seed)
        if folder is not None:
            save_model(loaded, folder / "control")
        put(loaded.model, kept)
    if retrained is not None:
        found["retrained"] = findings(
            retrained, forget, judge, audit, used=used, utility=utility, sampler=sampler(retrained), seed=seed
        )
    record = verdict(found, audit, original_utility=original_utility, target=options.target)
    record["rule"] = {"ended": result.verdict, "chosen": result.chosen, "steps": result.steps}
    record["yardstick"] = options.yardstick
    record["wordings"] = asdict(Asked.of(forget, used))
    record |= about or {}
    if folder is not None:
        write_kept(folder / "verdict.json", strict_json(record, indent=1))
    return Calibrated(result, other, record)


def detection(max_new_tokens: int = 200, **changes: Any) -> RuleSettings:
    """The detection of calibrated RULE: two decodings, the question and one paraphrase, answers that ten thousand
    samples would probably show, up to six rounds."""
    defaults: dict[str, Any] = {
        "rounds": 6,
        "n": 64,
        "k": 64,
        "threshold": 0.9,
        "wordings": 1,
        "exact_at": 10_000,
        "decodings": tuple(Decoding(temperature=t, max_new_tokens=max_new_tokens) for t in (1.0, 0.7)),
    }
    return RuleSettings(**{**defaults, **changes})


def findings(
    loaded: LoadedModel,
    forget: Sequence[Prompt],
    judge: Score,
    settings: VerdictSettings,
    *,
    used: int = 0,
    utility: Utility | None = None,
    sampler: Sampler | None = None,
    seed: int = 0,
) -> Findings:
    """Sample and score a model in the wordings after the first `used` paraphrases.

    Where none is left the question itself is asked (`fresh_wordings`).
    """
    sampler = sampler if sampler is not None else NativeSampler(loaded)
    scores: dict[tuple[int, str], Floats] = {}
    attack: dict[int, Floats] = {}
    for number in fresh_wordings(forget, used):
        asked = [wordings(prompt, number)[-1] for prompt in forget]
        attack[number] = answer_likelihoods(loaded, asked).surprise
        for index, decoding in enumerate(settings.decodings):
            n = 1 if decoding.greedy else settings.n
            texts = texts_of(sampler, asked, n, decoding, seed=(seed + FRESH) * 100 + index)
            flat = judge([p for p in asked for _ in range(n)], [text for row in texts for text in row])
            rows = np.asarray(flat, dtype=np.float64).reshape(len(asked), n)
            scores[number, decoding.label] = np.repeat(rows, settings.n, axis=1) if decoding.greedy else rows
    return Findings(scores, attack, utility(loaded) if utility is not None else math.nan)


def fresh_wordings(forget: Sequence[Prompt], used: int) -> list[int]:
    """Numbers of the wordings that every prompt has and the detection did not ask: 0 is the question itself."""
    count = min(len(prompt.paraphrases) for prompt in forget)
    return list(range(used + 1, count + 1)) or [0]


def verdict(
    found: dict[str, Findings],
    settings: VerdictSettings,
    *,
    original_utility: float = math.nan,
    target: float | None = None,
) -> dict[str, Any]:
    """The record of verdict.json.

    found: "model", and "retrained" and "control" where there are.

    Its goals: each says what was asked, what was found, and whether it is met; every wording and decoding must meet it. An
    interval is over samples.
    """
    k, mine = settings.k, found["model"]
    cells, goals = [], []
    for (wording, decoding), rows in mine.scores.items():
        cell: dict[str, Any] = {"wording": wording, "decoding": decoding}
        for name, one in found.items():
            curve = leak_at_k(one.scores[wording, decoding], [k], level=settings.level, missing="allow")
            cell[name] = _number(curve)
        for name in ("retrained", "control"):
            if name in found:
                difference = excess(
                    rows, found[name].scores[wording, decoding], [k], level=settings.level, missing="allow"
                )
                cell[f"minus {name}"] = _number(difference)
        if target is not None:
            kept = [row[~np.isnan(row)] for row in rows]
            cell["certified at most"] = float(certify([r for r in kept if len(r)], [k], level=settings.level).high[0])
        cells.append(cell)
    if "retrained" in found:
        gaps = [cell["minus retrained"] for cell in cells]
        worst = max(gaps, key=lambda gap: abs(gap["value"]))
        met = all(abs(g["value"]) <= settings.leak_margin and g["low"] <= 0 <= g["high"] for g in gaps)
        goals.append(
            _goal(f"leak@{k} within {settings.leak_margin:g} of the retrained model, interval with 0", worst, met)
        )
        areas = {number: auc(mine.attack[number], found["retrained"].attack[number]) for number in mine.attack}
        far = max(areas.values(), key=lambda a: abs(a - 0.5))
        met = abs(far - 0.5) <= settings.auc_margin
        goals.append(_goal(f"Min-K%++ AUC against the retrained model within {settings.auc_margin:g} of .5", far, met))
    if target is not None:
        bound = max(cell["certified at most"] for cell in cells)
        goals.append(_goal(f"leak@{k} certified at most {target:g}", bound, bound <= target))
    if not math.isnan(original_utility):
        met = mine.utility >= original_utility - settings.utility_margin
        asked = f"utility within {settings.utility_margin:g} of the original's {original_utility:.3f}"
        goals.append(_goal(asked, mine.utility, met))
    if "control" in found:
        gains = [cell["minus control"] for cell in cells]
        best = max(gains, key=lambda gain: gain["high"])
        goals.append(_goal(f"leak@{k} below the control's, interval without 0", best, best["high"] < 0))
    return {
        "met": all(goal["met"] for goal in goals),
        "goals": goals,
        "cells": cells,
        "utility": {name: one.utility for name, one in found.items()},
        "settings": {**asdict(settings), "decodings": [d.as_dict() for d in settings.decodings]},
    }


def _number(curve: Any) -> dict[str, float]:
    return {"value": float(curve.value[0]), "low": float(curve.low[0]), "high": float(curve.high[0])}


def _goal(asked: str, found: Any, met: bool) -> dict[str, Any]:
    return {"asked": asked, "found": found, "met": bool(met)}
