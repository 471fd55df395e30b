"""RULE on the command line, `leakatk unlearn --method rule`: RULE and its control, or calibrated RULE and its verdict."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from leakatk.cli import inputs
from leakatk.errors import InputError, UnknownNameError

if TYPE_CHECKING:
    from leakatk.models.loaded import LoadedModel
    from leakatk.prompts import Prompt
    from leakatk.scorers.base import Scorer
    from leakatk.unlearning.methods import Method
    from leakatk.unlearning.rehearsal.budget import Budget
    from leakatk.unlearning.rule.presets import RulePreset
    from leakatk.unlearning.rule.rule import RuleResult
    from leakatk.unlearning.rule.settings import RuleSettings
    from leakatk.unlearning.settings import TrainSettings

DEFAULT = "default"  # the preset that is none


def check_options(
    method: str,
    base: str,
    preset: str,
    rule_preset: str,
    *,
    retrained: str,
    reference: str,
    judge: str,
    original: str,
    unseen: Path | None,
) -> tuple[str, RulePreset | None]:
    """(the retrained model, the preset of RULE or None), after refusing options that do not go together."""
    from leakatk.unlearning.rule.presets import RULE_PRESETS

    if rule_preset != DEFAULT and rule_preset not in RULE_PRESETS:
        raise UnknownNameError("RULE preset", rule_preset, [DEFAULT, *RULE_PRESETS])
    named = RULE_PRESETS[rule_preset] if rule_preset != DEFAULT else None
    if method == "rule" and not base and named is None:
        raise InputError("--method rule needs --base NAME, the method it wraps (see leakatk methods).")
    if method != "rule" and base:
        raise InputError(f"--base {base} only goes with --method rule.")
    if method != "rule" and named is not None:
        raise InputError(f"--rule-preset {rule_preset} only goes with --method rule.")
    if retrained and reference:
        raise InputError("--reference is the former name of --retrained; give --retrained alone.")
    option, retrained = ("--reference" if reference else "--retrained"), retrained or reference
    if retrained and method != "rule":
        raise InputError(f"{option} only goes with --method rule, which stops at that model's level.")
    if judge and not retrained:
        raise InputError(
            "--judge only goes with --retrained (formerly --reference): the verdict compares with that model."
        )
    if (original or unseen) and not (original and unseen and retrained):
        raise InputError(
            "--original and --unseen go together, with --retrained (formerly --reference): calibrated RULE that matches the "
            "unseen."
        )
    if named is not None and retrained:
        raise InputError(
            f"--rule-preset {rule_preset} does not go with {option}: calibrated RULE has settings of its own. Leave one out."
        )
    if named is not None and preset == "small":
        raise InputError(f"--rule-preset {rule_preset} brings its own training settings; leave out --preset small.")
    return retrained, named


def based_on(preset: RulePreset, base: str) -> tuple[Method, str]:
    """(the method to wrap with the preset's training settings, what a person should know about it)."""
    from leakatk.unlearning.methods import METHODS

    note = f"RULE preset {preset.name}: each value's evidence is in leakatk methods rule."
    if not base or base == preset.base:
        return replace(preset.method(), settings=preset.train), note
    return (
        replace(METHODS[base], settings=preset.train),
        f"{note} It is around {preset.base}; around {base} the formula's numbers are that method's own.",
    )


def settings_of(
    preset: RulePreset | None,
    *,
    rounds: int | None = None,
    n: int | None = None,
    max_new_tokens: int | None = None,
    target: float | None = None,
    **further: Any,
) -> tuple[RuleSettings, int]:
    """(the settings, tokens of an answer). None: what the preset says, or the default. further: other fields."""
    from leakatk.sampling.decoding import Decoding
    from leakatk.unlearning.rule.settings import RuleSettings

    start = preset.settings if preset is not None else RuleSettings()
    samples = start.n if n is None else n
    tokens = max_new_tokens if max_new_tokens is not None else start.decodings[0].max_new_tokens
    settings = replace(
        start, rounds=start.rounds if rounds is None else rounds, n=samples, k=min(samples, 128), target=target,
        decodings=(Decoding(max_new_tokens=tokens),), **{name: value for name, value in further.items() if value is not None},
    )  # fmt: skip
    return settings, tokens


def calibrated_settings(
    asked: RuleSettings, tokens: int, wordings: int | None, forget: Sequence[Prompt]
) -> RuleSettings:
    """What calibrated RULE detects by. wordings: as asked for; None: one paraphrase, where every prompt has one."""
    from leakatk.unlearning.rule.calibrated import detection

    count = wordings if wordings is not None else min(1, *(len(prompt.paraphrases) for prompt in forget))
    same = {
        name: getattr(asked, name) for name in ("rounds", "n", "k", "target", "leak_wordings", "reference", "chunk")
    }
    return detection(tokens, wordings=count, **same)


def check_wordings(wordings: int | None, forget: Sequence[Prompt]) -> None:
    """InputError where no prompt has the wordings that are asked for."""
    if wordings and not any(prompt.paraphrases for prompt in forget):
        raise InputError(
            f"--wordings {wordings} needs other wordings of the forget prompts, and these have none: give each a list in a column "
            "paraphrases (or name yours with --column paraphrases=NAME)."
        )


@dataclass(frozen=True)
class Rule:
    """What RULE starts from and how it samples, whichever kind it is. The model given is changed in place."""

    loaded: LoadedModel
    forget: list[Prompt]
    retain: list[Prompt]
    base: Method
    train: TrainSettings
    detector: Scorer
    out: Path
    settings: RuleSettings
    max_new_tokens: int
    seed: int
    to_stderr: bool
    quiet: bool = False
    rehearsal: float = 0.0
    """What asking the original may cost, in trainings of all rounds."""

    def say(self, text: str) -> None:
        typer.echo(text, err=self.to_stderr)


def budget_of(job: Rule, original: LoadedModel) -> Budget:
    """What asking the original may cost."""
    from leakatk.unlearning.rehearsal.budget import Budget, training_tokens

    rounds = job.settings.rounds
    return Budget(job.rehearsal * training_tokens(original, job.forget, job.retain, job.base, job.train, rounds=rounds))


def drawn(job: Rule) -> int:
    """How many questions of its own the original is asked: no more than the rounds draw retain answers."""
    from leakatk.unlearning.rehearsal.own import OWN_QUESTIONS

    steps = job.train.total_steps(len(job.forget))
    return min(OWN_QUESTIONS, job.settings.rounds * steps * job.train.retain_batch)


def expected(job: Rule, training: Mapping[str, float]) -> tuple[dict[str, Any], list[str]]:
    """What RULE costs beside the training of one round, from a pilot kept in memory: as values, and in sentences."""
    from leakatk.cli.dry import asking_cost, detection_cost
    from leakatk.progress import format_seconds
    from leakatk.unlearning.rule.detect import Asked

    asked = Asked.of(job.forget, job.settings.wordings)
    rounds, found = job.settings.rounds, detection_cost(job.loaded, job.forget, job.settings, seed=job.seed)
    seconds = rounds * (training["seconds"] + found["seconds"]) + found["seconds"]  # the last round is detected, too
    lines = [
        f"A detection draws {found['answers']:,.0f} answers, {found['tokens']:,.0f} tokens in "
        f"{format_seconds(found['seconds'])}; there are up to {rounds + 1}. {asked.says()}"
    ]
    values: dict[str, Any] = {"rounds": rounds, "detection": found, "wordings": asdict(asked)}
    if job.rehearsal:
        bound = budget_of(job, job.loaded).tokens
        rehearsal = asking_cost(
            job.loaded, job.retain, bound, drawn(job), found["tokens_per_second"], job.max_new_tokens
        )
        seconds += rehearsal["seconds"]
        values["rehearsal"] = rehearsal
        lines.append(
            f"The original is asked what it knows in at most {bound:,.0f} tokens, {job.rehearsal:g} times the training of all "
            f"rounds: at least {rehearsal['questions']:,.0f} questions if all of it is needed, at most "
            f"{format_seconds(rehearsal['seconds'])}. A chat model is asked at most {drawn(job):,} of its own. See --rehearsal."
        )
    lines.append(f"All rounds: at most about {format_seconds(seconds)}.")
    return values | {"all_seconds": seconds}, lines


def run_rule(job: Rule, *, control: bool) -> dict[str, Any]:
    """RULE from the model given (already unlearned); saves the model into `out`, the rounds into out/rounds."""
    from leakatk.models.load import save_model
    from leakatk.models.weights import put, weights_of
    from leakatk.unlearning.rule.detect import Asked
    from leakatk.unlearning.rule.rule import control as control_of
    from leakatk.unlearning.rule.rule import rule

    loaded, out = job.loaded, job.out
    start = weights_of(loaded.model, device=None) if control else {}

    def run(settings: RuleSettings, place: Path) -> RuleResult:
        result = rule(
            loaded, job.forget, job.retain, job.base, settings=settings, score=job.detector.score, train=job.train,
            seed=job.seed, out=place / "rounds", quiet=job.quiet,
        )  # fmt: skip
        save_model(loaded, place)
        return result

    job.say(Asked.of(job.forget, job.settings.wordings).says())
    result = run(job.settings, out)
    for record in result.rounds:
        job.say(
            f"round {record.round}: leak@{job.settings.k} {record.leak:.4f} before (certified at most {record.high:.4f}), "
            f"{record.added} new leaks, {record.steps} steps"
        )
    job.say(f"RULE around {job.base.name}: {result.verdict}; {result.steps} steps. Model: {out}")
    twin = control_of(job.settings, result) if control else None
    if control and twin is None:
        job.say("No control: RULE took no step.")
    if twin is not None:
        put(loaded.model, start)
        run(twin, out / "control")
        job.say(f"Control with the same {result.steps} steps and no augmentation: {out / 'control'}")
    return {name: value for name, value in asdict(result).items() if name != "leaks"}


def run_calibrated(
    job: Rule,
    retrained: str,
    loading: dict[str, Any],
    *,
    judge: str,
    original: str,
    unseen: Sequence[Prompt],
    floor: float,
) -> dict[str, Any]:
    """Calibrated RULE from the model given; saves the model into `out`, control/, rounds/ and verdict.json beside it.

    retrained, original: model directories.
    loading: how they are loaded.
    judge: another metric than the detector when not named.
    unseen: true answers for rounds that match them, with `original`; none: the rounds repeat the base.
    """
    import numpy as np

    from leakatk.models.load import save_model
    from leakatk.prompts import Prompt
    from leakatk.sampling.decoding import Decoding
    from leakatk.scorers.base import get_scorer
    from leakatk.scorers.knows import default_scorers
    from leakatk.unlearning.rehearsal.stored import stored_rehearsal
    from leakatk.unlearning.rule.calibrated import VerdictSettings, calibrated_rule
    from leakatk.unlearning.rule.calibration import match_unseen
    from leakatk.unlearning.rule.detect import Asked
    from leakatk.unlearning.stop import greedy_scores

    scorer = get_scorer(judge or next(name for name in default_scorers(job.forget) if name != job.detector.name))
    yardstick, strategy = inputs.load(retrained, **loading), None
    asked, tokens, about = job.settings, job.max_new_tokens, dict[str, Any]()
    job.say(Asked.of(job.forget, asked.wordings).says())
    if unseen:
        before = inputs.load(original, **loading)
        own, about["rehearsal"] = (
            list[Prompt](),
            {"says": "Rehearsal is off: what the unlearner is not shown is not kept."},
        )
        if job.rehearsal > 0:
            own, about["rehearsal"] = stored_rehearsal(
                job.out / "rehearsal.json", before, job.forget, job.retain, budget=budget_of(job, before),
                max_new_tokens=tokens, seed=job.seed, questions=drawn(job), quiet=job.quiet,
            )  # fmt: skip
        job.say(about["rehearsal"]["says"])
        target = match_unseen(before, job.forget, job.retain, unseen, retrained=yardstick, rehearsal=own, seed=job.seed)
        about["replay"] = target.replay_says()
        job.say(about["replay"])
        strategy = target.strategy()
    sample = job.retain[:: max(1, len(job.retain) // 64)][:64]

    def utility(model: LoadedModel) -> float:
        return float(np.nanmean(greedy_scores(model, sample, scorer, max_new_tokens=tokens)))

    done = calibrated_rule(
        job.loaded, job.forget, job.retain, job.base, detector=job.detector.score, judge=scorer.score, train=job.train,
        settings=replace(asked, utility_floor=floor),
        audit=VerdictSettings(
            decodings=tuple(Decoding(top_p=p, max_new_tokens=tokens) for p in (0.8, 1.0)), n=asked.n, k=asked.k
        ),
        retrained=yardstick, strategy=strategy, utility=utility if sample else None, out=job.out, seed=job.seed,
        quiet=job.quiet, about=about,
    )  # fmt: skip
    save_model(job.loaded, job.out)
    job.say(f"Calibrated RULE around {job.base.name}: {done.rule.verdict}; {done.rule.steps} steps.")
    for one in done.verdict["goals"]:
        number = one["found"]["value"] if isinstance(one["found"], dict) else one["found"]
        job.say(f"{'met' if one['met'] else 'NOT met'}: {one['asked']} ({number:.4f})")
    job.say(f"Model: {job.out}. Verdict: {job.out / 'verdict.json'}")
    return done.verdict
