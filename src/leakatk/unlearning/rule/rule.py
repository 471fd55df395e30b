"""RULE loop: find what still leaks by sampling, add it to the forget set, unlearn again, in rounds (arXiv 2511.04934, v2).

Our reconstruction. Published: leaked generations found by sampling augment the forget set, with generation in the loop,
in rounds (three on TOFU), around NPO, GradDiff, SimNPO or RMU, with a retain term, from an already unlearned model.
Samples a prompt, threshold, cap, warm or fresh start, reference model and stop rule are not published: each is an option.

Our additions: several decodings and wordings in the detection, exact probabilities beside samples, a stop at a certified
bound or at the retrained model's level, a utility floor, the choice of the round that meets all of them, other strategies
for a round (`leakatk.unlearning.rule.strategy`), and a control with exactly as many gradient steps and no augmentation.

Another method has the same name (Reinforcement UnLEarning, arXiv 2506.07171); it is not meant here.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from torch import Tensor

from leakatk.errors import RunError
from leakatk.files.strict_json import strict_json
from leakatk.files.writing import read_kept, write_kept
from leakatk.models.loaded import LoadedModel
from leakatk.models.weights import put, weights_of
from leakatk.prompts import Prompt
from leakatk.runs.tracking import go_on, track
from leakatk.sampling.base import Sampler
from leakatk.sampling.native import NativeSampler
from leakatk.unlearning.checkpoint import begun_in, dtype_as_now, precise
from leakatk.unlearning.methods import Method, resolve
from leakatk.unlearning.precision import precision_of
from leakatk.unlearning.rule.detect import Asked, Detection, Detector, Leak, Score
from leakatk.unlearning.rule.settings import RuleSettings
from leakatk.unlearning.rule.strategy import Goal, RoundStart, Strategy, Training, strategy_of
from leakatk.unlearning.settings import OnCheck, TrainSettings
from leakatk.unlearning.trainer import Unlearned, unlearn
from leakatk.workdir import claim, settle

Utility = Callable[[LoadedModel], float]


@dataclass(frozen=True, slots=True)
class Round:
    """One round's record."""

    round: int
    """From 1."""
    leak: float
    """leak@k of the model at its start, as the detection saw it; NaN: not measured."""
    high: float
    """Its certified upper bound."""
    found: int
    """Leaks of the detection."""
    added: int
    """Those that joined the forget set."""
    hidden: int
    """Answers counted as leaks by their exact probability."""
    steps: int
    """Gradient steps; 0 in the last record where its detection met the stop rule."""
    utility: float
    """Of the model at its end; NaN: not asked for."""
    sampling_seconds: float
    training_seconds: float
    metrics: Mapping[str, float] = field(default_factory=dict)
    """What the strategy measured of the model at its start."""


@dataclass(frozen=True)
class RuleResult:
    """What a run did."""

    rounds: tuple[Round, ...]
    """The last may be a detection without training: it met the stop rule, or the rounds were over."""
    chosen: int
    """The number of the round whose model was kept; 0: the start."""
    steps: int
    """Gradient steps up to the model kept."""
    verdict: str
    """Why it ended."""
    leaks: tuple[Leak, ...] = field(default=(), repr=False)

    @property
    def trained(self) -> int:
        """Rounds that trained up to the chosen one: the control's `rounds`."""
        return self.chosen


def rule(
    loaded: LoadedModel,
    forget: Sequence[Prompt],
    retain: Sequence[Prompt],
    base: str | Method,
    *,
    score: Score,
    settings: RuleSettings | None = None,
    train: TrainSettings,
    first: TrainSettings | None = None,
    first_check: OnCheck | None = None,
    strategy: Strategy | None = None,
    utility: Utility | None = None,
    sampler: Sampler | None = None,
    out: str | Path | None = None,
    seed: int = 0,
    resume: bool = True,
    quiet: bool = False,
    refusals: Sequence[str] | None = None,
    matching: Goal | None = None,
) -> RuleResult:
    """Run RULE in place on `loaded.model` and leave it at the chosen round.

    base: the method wrapped.
    score: the detector.
    settings: default `RuleSettings()`.
    train: the optimisation of one round.
    first: that of the initial unlearning; None when the model given is already unlearned.
    first_check: its stop rule.
    strategy: what a round trains; default `RepeatBase()`, the paper's.
    utility: measured at the start and after every round.
    sampler: default the native one.
    out: a directory with one folder a round; a killed run continues within the round it was in.
    refusals: answers for the methods that train on them.
    matching: the former way to say strategy=matching.strategy().

    Raises what `unlearn` raises; RunError also when `out` holds another run or another process runs RULE there.

    >>> from leakatk import load_model, load_prompts
    >>> from leakatk.scorers.base import get_scorer
    >>> prompts, few = load_prompts("forget.jsonl"), RuleSettings(rounds=1, n=4, k=4)
    >>> result = rule(
    ...     load_model("models/mine"), prompts, prompts, "npo", score=get_scorer("fact").score,
    ...     settings=few, train=TrainSettings(max_steps=2), quiet=True,
    ... )
    >>> len(result.rounds)
    1
    """
    options = settings or RuleSettings()
    method = resolve(base)
    folder = Path(out) if out is not None else None
    sampler = sampler or NativeSampler(loaded)
    run = _Run(
        loaded, forget, retain, method, score, options, sampler, strategy_of(strategy, matching), folder, seed, resume, quiet,
        refusals,
    )  # fmt: skip
    with claim(folder) if folder is not None else nullcontext():
        return _rule(run, train, first, first_check, utility)


def _rule(
    run: _Run, train: TrainSettings, first: TrainSettings | None, first_check: OnCheck | None, utility: Utility | None
) -> RuleResult:
    loaded, forget, options, strategy = run.loaded, run.forget, run.options, run.strategy
    run.open(train, first)
    if first is not None:
        run.train(0, Training(list(forget), run.retain, run.method), first, first_check)
    strategy.begin(loaded, forget)
    started = run.weights() if options.start == "restart" else None
    original = run.weights() if options.reference == "original" else None

    rounds: list[Round] = []
    leaks: list[Leak] = []
    verdict = f"ended after {options.rounds} rounds"
    aimed = options.augment and (options.target is not None or options.yardstick is not None)
    value = utility(loaded) if utility is not None else math.nan
    chosen, nearest = 0, (math.inf, 0)
    best = run.weights() if aimed or utility is not None else None
    for number in range(1, options.rounds + 2):
        found = run.detect(number, leaks) if options.augment else Detection()
        metrics = strategy.measure(loaded, forget)
        go_on(sum(one.steps for one in rounds))
        if options.augment:
            track(
                {
                    "round": number,
                    "leak": found.leak,
                    "certified": found.high,
                    "new_leaks": len(found.leaks),
                    **metrics,
                },
                0,
                "rule",
            )
        missing = strategy.missing(metrics)
        met = _met(options, found, value) if options.augment and not missing else ""
        above, hidden = _distance(options, found)
        distance = (above + missing, hidden)
        if aimed and not value < options.utility_floor and distance <= nearest:
            chosen, nearest, best = number - 1, distance, run.weights()
        record = Round(
            number, found.leak, found.high, len(found.leaks), 0, found.hidden, 0, math.nan, found.seconds, 0.0, metrics
        )
        if met or number > options.rounds:
            if options.augment:
                rounds.append(record)
            verdict = met or verdict
            break
        new = list(found.leaks)
        leaks = leaks + new if options.keep == "cumulative" else new
        if started is not None:
            put(loaded.model, started)
        start = RoundStart(number, loaded, forget, run.retain, run.method, leaks, options, run.seed, original)
        done = run.train(number, strategy.training(start), train, None)
        before, value = value, utility(loaded) if utility is not None else math.nan
        rounds.append(replace(record, added=len(new), steps=done.steps, utility=value, training_seconds=done.seconds))
        if not strategy.mends and value < options.utility_floor and not value > before:
            verdict = f"utility {value:.3f} fell below the floor {options.utility_floor:g} in round {number}"
            break
        if not aimed and not value < options.utility_floor:
            chosen, best = number, run.weights() if best is not None else None
    if best is not None:
        put(loaded.model, best)
    result = RuleResult(tuple(rounds), chosen, sum(r.steps for r in rounds if r.round <= chosen), verdict, tuple(leaks))
    run.close(result)
    return result


def control(settings: RuleSettings, result: RuleResult) -> RuleSettings | None:
    """The settings of the no-augmentation control with exactly the gradient steps of `result`; None when it had none."""
    return replace(settings, augment=False, rounds=result.trained) if result.trained else None


def _met(options: RuleSettings, found: Detection, utility: float) -> str:
    """Why the run may stop at the model just sampled, "" when it may not."""
    if found.hidden or utility < options.utility_floor:
        return ""
    if options.target is not None:
        reached = found.high <= options.target
        asked = f"leak@{options.k} certified at most {found.high:.4f} (target {options.target:g})"
        return f"{asked}{_conditions(options, found)}" if reached else ""
    if options.yardstick is not None:
        reached = found.leak <= options.yardstick
        level = f"leak@{options.k} {found.leak:.4f} is at the yardstick {options.yardstick:g}"
        return f"{level}{_conditions(options, found)}" if reached else ""
    return f"no leak was found{_conditions(options, found)}" if not found.leaks and found.leak == 0 else ""


def _conditions(options: RuleSettings, found: Detection) -> str:
    """What a detection's verdict holds for, and what it did not see."""
    said = [f"{options.wordings + 1} wordings asked" if options.wordings else "one wording asked"]
    said += [f"{found.unasked} wordings never asked"] if found.unasked else []
    said += [f"{found.unscored} prompts without a score"] if found.unscored else []
    said += [f"{found.cut:.1%} of the samples cut"] if found.cut else []
    return f", {', '.join(said)}"


def _distance(options: RuleSettings, found: Detection) -> tuple[float, int]:
    """How far the model just sampled is above the target or the yardstick (infinite where nothing was measured), and
    how many answers it hides."""
    if options.target is not None:
        above = found.high - options.target
    else:
        above = found.leak - (options.yardstick or 0.0)
    return (math.inf if math.isnan(above) else max(above, 0.0)), found.hidden


@dataclass
class _Run:
    loaded: LoadedModel
    forget: Sequence[Prompt]
    retain: Sequence[Prompt]
    method: Method
    score: Score
    options: RuleSettings
    sampler: Sampler
    strategy: Strategy
    folder: Path | None
    seed: int
    resume: bool
    quiet: bool
    refusals: Sequence[str] | None
    dtype: Literal["", "bf16", "fp32"] = ""
    """What new rounds train in where that is not the settings' own."""

    def open(self, train: TrainSettings, first: TrainSettings | None) -> None:
        """Write rule.json, or refuse a directory that holds another run."""
        if self.folder is None:
            return
        wanted = {
            "method": self.method.name,
            "params": self.method.identity,
            "rule": self.options.as_dict(),
            "train": train.as_dict(),
            "first": first.as_dict() if first else None,
            "seed": self.seed,
            **self.strategy.identity(),
        }
        kind = self.loaded.device.type
        here = precision_of(train.dtype, self.loaded.model, self.loaded.device)
        kept, said = begun_in(self.folder / "rule.json", train.dtype, here, kind)
        if said:  # rounds that are begun here are as those before them
            self.loaded.note(said)
            self.dtype = "bf16" if kept == "bf16" else "fp32"
        wanted |= precise(train.dtype, kept, kind)
        if not self.resume and (self.folder / "rule.json").exists():
            raise RunError(f"{self.folder} already holds a RULE run and resume is off; choose another directory.")
        former = lambda found: dtype_as_now(found, wanted, "train", kind)  # noqa: E731
        settle(self.folder, "rule.json", wanted, "a RULE run", former=former)

    def close(self, result: RuleResult) -> None:
        if self.folder is not None:
            worded = Asked.of(self.forget, self.options.wordings) if self.options.augment else None
            record = {
                "wordings": dataclasses.asdict(worded) if worded else None,
                "rounds": [dataclasses.asdict(r) for r in result.rounds],
                "chosen": result.chosen,
                "steps": result.steps,
                "verdict": result.verdict,
            }
            write_kept(self.folder / "rounds.json", strict_json(record, indent=1))

    def weights(self) -> dict[str, Tensor]:
        return weights_of(self.loaded.model)

    def train(self, number: int, what: Training, settings: TrainSettings, check: OnCheck | None) -> Unlearned:
        """Round `number`; 0 is the initial unlearning."""
        place = self.folder / f"round-{number}" if self.folder else None
        return unlearn(
            self.loaded,
            what.forget,
            what.retain,
            what.method,
            out=place,
            settings=settings
            if place is None or place.exists() or not self.dtype
            else replace(settings, dtype=self.dtype),
            seed=self.seed * 1000 + number,
            resume=self.resume,
            quiet=self.quiet,
            on_check=check,
            weights=what.weights,
            reference_weights=what.reference,
            label=f"{self.method.name} round {number}" if number else self.method.name,
            **({"refusals": self.refusals} if self.refusals is not None else {}),  # type: ignore[arg-type]
        )

    def detect(self, number: int, known: Sequence[Leak]) -> Detection:
        """Sample the model of the moment, or read what was found before a restart."""
        place = self.folder / f"round-{number}-leaks.json" if self.folder else None
        if place is not None and place.exists():
            stored = read_kept(place)
            values: dict[str, Any] = {key: math.nan if value is None else value for key, value in stored.items()}
            return Detection(**{**values, "leaks": tuple(Leak(**leak) for leak in stored["leaks"])})
        detector = Detector(self.loaded, self.forget, self.score, self.options, self.sampler)
        found = detector.detect(known, seed=self.seed * 1000 + number)
        if place is not None:
            write_kept(place, strict_json(dataclasses.asdict(found), indent=1))
        return found
