"""Unlearning of the study of TOFU: methods at a rate, RULE with its control, calibrated RULE."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from real_cells import Numbers
from real_sampler import RoundedSampler
from real_tofu_design import Design
from real_tofu_sets import spaced

from leakatk.arrays import Floats
from leakatk.errors import InputError
from leakatk.models.loaded import LoadedModel
from leakatk.prompts import Known, Prompt
from leakatk.sampling.decoding import Decoding
from leakatk.scorers.base import get_scorer
from leakatk.synthesis import pairs, written
from leakatk.unlearning.losses.targets import REFUSALS
from leakatk.unlearning.methods import METHODS, Method
from leakatk.unlearning.rehearsal.budget import Budget, training_tokens
from leakatk.unlearning.rehearsal.own import OWN_QUESTIONS, rehearsal_prompts
from leakatk.unlearning.rule.calibrated import detection
from leakatk.unlearning.rule.calibration import match_unseen
from leakatk.unlearning.rule.detect import detected_level
from leakatk.unlearning.rule.rule import RuleResult, rule
from leakatk.unlearning.rule.settings import RuleSettings
from leakatk.unlearning.settings import TrainSettings
from leakatk.unlearning.stop import greedy_scores, greedy_stop
from leakatk.unlearning.trainer import unlearn

ALTERNATE = "alternates:count=1,tries=8,max_new_tokens=64"
FRESH = 40_000  # added to the seed of the yardstick's samples: no detection and no audit draws them


def recall(loaded: LoadedModel, prompts: Sequence[Prompt], scorer: str, longest: int) -> float:
    """Mean score of greedy answers over the prompts that the scorer can score."""
    return float(np.nanmean(greedy_scores(loaded, prompts, scorer, max_new_tokens=longest)))


def method_at(name: str, rate: float, d: Design) -> Method:
    """The method's preset at a learning rate, with the study's steps and batches."""
    method = METHODS[name].with_params(**d.params.get(name, {}))
    settings = replace(
        method.settings, learning_rate=rate, epochs=None, max_steps=d.steps, forget_batch=d.batch, retain_batch=d.batch,
        gradient_accumulation=1, check_every=d.check_every, warmup_epochs=0.0, warmup_steps=0, schedule="constant",
    )  # fmt: skip
    return replace(method, settings=settings)


def forget_by(
    loaded: LoadedModel,
    method: Method,
    forget: Sequence[Prompt],
    retain: Sequence[Prompt],
    d: Design,
    *,
    kept_at_least: float,
    seed: int,
    refusals: Sequence[str] = (),
    writer: Callable[[], LoadedModel] | None = None,
) -> Numbers:
    """Unlearn in place until greedy answers say at most `d.said` of the keys and keep the retain answers.

    kept_at_least: mean ROUGE-L recall of a sample of the retain answers.  writer: gives the model that writes the alternate
    answers of AltPO.
    """
    check = greedy_stop(
        forget, retain, "keys", forget_at_most=d.said, utility_at_least=kept_at_least, utility_scorer="rouge-l",
        max_new_tokens=d.longest, retain_sample=d.stop_sample,
    )  # fmt: skip
    trained, alternates, about = list(forget), None, {}
    if method.name == "altpo":
        if writer is None:
            raise InputError("AltPO needs a model that writes alternate answers.")
        trained, alternates, about = alternates_for(forget, writer(), seed)
    done = unlearn(
        loaded, trained, retain, method, settings=method.settings, seed=seed, quiet=True, on_check=check,
        refusals=refusals or REFUSALS, alternates=alternates,
    )  # fmt: skip
    return {
        "steps": done.steps, "met": bool(done.stopped), "rate": method.settings.learning_rate, "params": dict(method.params),
        "checks": list(done.checks), "precision": done.precision, "peak_memory": dict(done.peak_memory), **about,
    }  # fmt: skip


def alternates_for(
    forget: Sequence[Prompt], writer: LoadedModel, seed: int
) -> tuple[list[Prompt], Mapping[str, str], Numbers]:
    """(the prompts that have one, their alternate answers, how many have none). InputError where none has."""
    rows: list[Prompt] = []
    for prompt in forget:
        try:
            rows += written(f"{ALTERNATE},seed={seed}", [prompt], Known(original=writer)).rows
        except InputError:  # a small model does not always follow: what it leaves out is counted
            continue
    if not rows:
        raise InputError("The writer gave no alternate answer to any question; take one that follows instructions.")
    trained, alternates = pairs(forget, rows)
    return trained, alternates, {"without_alternate": len(forget) - len(trained)}


def climb(
    ladder: Sequence[float], start: int, trials: int, attempt: Callable[[float], Numbers]
) -> tuple[float, list[Numbers]]:
    """(the rate taken, what was tried): up the ladder while too little is forgotten, down while too much is lost.

    attempt: says "met" (forgotten by greedy answers), "unharmed" and "value". The first rate that is both is taken; else the
    best value of at most so many trials.
    """
    tried: dict[int, Numbers] = {}
    at = start
    while len(tried) < trials and 0 <= at < len(ladder) and at not in tried:
        tried[at] = found = {"rate": ladder[at], **attempt(ladder[at])}
        if found["met"] and found["unharmed"]:
            return ladder[at], list(tried.values())
        at += -1 if not found["unharmed"] else 1
    best = max(tried.values(), key=lambda one: one["value"])
    return float(best["rate"]), list(tried.values())


def rule_settings(d: Design) -> RuleSettings:
    """RULE as published, in our reconstruction: keys detect, at T = 1, in the wording asked."""
    return RuleSettings(rounds=d.rule_rounds, n=d.rule_n, k=d.rule_n, decodings=(Decoding(max_new_tokens=d.longest),))


def rule_round(method: Method, d: Design) -> TrainSettings:
    """The optimisation of one round of RULE."""
    return replace(method.settings, max_steps=d.round_steps, check_every=0)


def calibrated_round(method: Method, d: Design, *, own: bool) -> TrainSettings:
    """The same of calibrated RULE. own: at its own rate; its control goes on at the method's."""
    train = replace(method.settings, max_steps=d.calibrated_steps, check_every=0, retain_batch=2 * d.batch)
    return replace(train, learning_rate=d.calibrated_rate, schedule="linear", weight_decay=0.0) if own else train


def by_rule(
    loaded: LoadedModel,
    method: Method,
    forget: Sequence[Prompt],
    retain: Sequence[Prompt],
    d: Design,
    *,
    seed: int,
    train: TrainSettings,
    refusals: Sequence[str] = (),
    rounds: int | None = None,
) -> Numbers:
    """RULE in place from an unlearned model.  train: of a round.  rounds: its control, so many of the method's own steps."""
    settings = rule_settings(d)
    if rounds is not None:
        settings = replace(settings, rounds=rounds, augment=False)
    result = rule(
        loaded, forget, retain, method, score=get_scorer("keys").score, settings=settings, train=train,
        sampler=RoundedSampler(loaded, d.dtype), seed=seed, quiet=True, refusals=refusals or None,
    )  # fmt: skip
    return rule_record(result)


def by_calibrated_rule(
    loaded: LoadedModel,
    method: Method,
    forget: Sequence[Prompt],
    retain: Sequence[Prompt],
    unseen: Sequence[Prompt],
    d: Design,
    *,
    original: Callable[[], LoadedModel],
    retrained: Callable[[], LoadedModel],
    floor: float,
    seed: int,
) -> Numbers:
    """Calibrated RULE in place: rounds that draw the forget answers to the retrained model's level of unseen ones.

    original: gives the model before any unlearning.  floor: ROUGE-L recall of retain answers that no round may end below.
    """
    settings = detection(
        rounds=d.calibrated_rounds, n=d.rule_n, k=d.rule_n, wordings=0, decodings=(Decoding(max_new_tokens=d.longest),)
    )  # fmt: skip
    yardstick, before = retrained(), original()
    level = detected_level(
        yardstick, forget, score=near_verbatim_or_keys, settings=settings, sampler=RoundedSampler(yardstick, d.dtype),
        seed=seed + FRESH,
    )  # fmt: skip
    train = calibrated_round(method, d, own=True)
    budget = Budget(d.rehearsal * training_tokens(before, forget, retain, method, train, rounds=d.calibrated_rounds))
    drawn = d.calibrated_rounds * d.calibrated_steps * train.retain_batch
    own = rehearsal_prompts(
        before, forget, retain, max_new_tokens=d.longest, seed=seed, quiet=True, budget=budget,
        questions=min(OWN_QUESTIONS, drawn),
    )  # fmt: skip
    target = match_unseen(before, forget, retain, unseen, retrained=yardstick, rehearsal=own, seed=seed)
    del yardstick, before
    kept = spaced(retain, d.stop_sample)
    result = rule(
        loaded, forget, retain, method, score=near_verbatim_or_keys, train=train, strategy=target.strategy(),
        settings=replace(settings, yardstick=level, utility_floor=floor),
        utility=lambda model: recall(model, kept, "rouge-l", d.longest),
        sampler=RoundedSampler(loaded, d.dtype), seed=seed, quiet=True,
    )  # fmt: skip
    about = {"yardstick": level, "rehearsal": budget.says(), "replay": target.replay_says()}
    return {**rule_record(result), **about}


def near_verbatim_or_keys(prompts: Sequence[Prompt], texts: Sequence[str]) -> Floats:
    """The detector of calibrated RULE: ROUGE-L recall, or 1 where every name and number of the answer is said."""
    return np.fmax(get_scorer("rouge-l").score(prompts, texts), get_scorer("keys").score(prompts, texts))


def rule_record(result: RuleResult) -> Numbers:
    """What a cell keeps of a run of RULE."""
    fields = ("round", "leak", "found", "added", "steps", "utility", "sampling_seconds", "training_seconds", "metrics")
    rounds: list[dict[str, Any]] = [{name: getattr(one, name) for name in fields} for one in result.rounds]
    return {
        "steps": result.steps, "chosen": result.chosen, "verdict": result.verdict, "found": len(result.leaks),
        "rounds": rounds,
    }  # fmt: skip
