"""RULE: find what still leaks by sampling, add it to the forget set, unlearn again, in rounds (arXiv 2511.04934, v2).

Our reconstruction. The paper says that leaked generations found by sampling augment the forget set, with generation in
the loop, in rounds (three on TOFU), around NPO, GradDiff, SimNPO or RMU, with a retain term, from an already unlearned
model. Samples a prompt, threshold, cap, warm or fresh start, reference model and stop rule are not published: each is
an option here. Our additions: several decodings and wordings in the detection, exact probabilities beside samples, a
stop at a certified bound or at the retrained model's level, a utility floor, the choice of the round that meets all of
them, rounds that match the unseen (`leakatk.unlearning.rule.calibration`), and a control with exactly the same number of gradient
steps and no augmentation.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from torch import Tensor

from leakatk.errors import RunError
from leakatk.files.strict_json import strict_json
from leakatk.files.writing import read_kept, write_kept
from leakatk.models.loaded import LoadedModel
from leakatk.prompts import Prompt
from leakatk.sampling.base import Sampler
from leakatk.sampling.native import NativeSampler
from leakatk.unlearning.methods import Method, resolve
from leakatk.unlearning.rehearsal.perturb import garbled
from leakatk.unlearning.rule.calibration import Unseen
from leakatk.unlearning.rule.detect import Detection, Detector, Leak, Score, wordings
from leakatk.unlearning.rule.settings import RuleSettings
from leakatk.unlearning.settings import OnCheck, TrainSettings
from leakatk.unlearning.trainer import Unlearned, unlearn
from leakatk.workdir import claim, settle

Utility = Callable[[LoadedModel], float]


@dataclass(frozen=True, slots=True)
class Round:
    """One round's record. The detection, the exposure and the fidelity (NaN: nothing to match) are of the model at its start,
    utility of the one at its end (NaN: not asked).
    """

    round: int
    leak: float
    high: float
    found: int
    added: int
    hidden: int
    steps: int
    utility: float
    sampling_seconds: float
    training_seconds: float
    exposure: float = math.nan
    fidelity: float = math.nan


@dataclass(frozen=True)
class RuleResult:
    """rounds: the records; the last may be a detection without training (it met the stop rule).  chosen: the number of
    the round whose model was kept (0: the start).  steps: gradient steps up to it.  verdict: why it ended.
    """

    rounds: tuple[Round, ...]
    chosen: int
    steps: int
    verdict: str
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
    matching: Unseen | None = None,
    utility: Utility | None = None,
    sampler: Sampler | None = None,
    out: str | Path | None = None,
    seed: int = 0,
    resume: bool = True,
    quiet: bool = False,
    refusals: Sequence[str] | None = None,
) -> RuleResult:
    """Run RULE in place on `loaded.model` and leave it at the chosen round.

    score: the detector.  train: the optimisation of one round.  first: that of the initial unlearning; None when the
    model given is already unlearned.  first_check: its stop rule.  utility: measured at the start and after every round.
    matching: rounds match the unseen instead of repeating `base`, on every wording of the detection and the same garbled, from
    the blend of the model given with the original; the run goes on until exposure and fidelity are right as well.
    out: a directory with one folder a round; a killed run continues within the round it was in.

    Raises what `unlearn` raises; RunError also when another process runs RULE in `out`.

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
    run = _Run(loaded, forget, retain, method, score, options, sampler, folder, seed, resume, quiet, refusals, matching)
    with claim(folder) if folder is not None else nullcontext():
        return _rule(run, train, first, first_check, utility)


def _rule(
    run: _Run, train: TrainSettings, first: TrainSettings | None, first_check: OnCheck | None, utility: Utility | None
) -> RuleResult:
    loaded, forget, options, matching, seed = run.loaded, run.forget, run.options, run.matching, run.seed
    run.open(train, first)
    if first is not None:
        run.train(0, list(forget), None, first, first_check)
    if matching is not None:
        matching.blend(loaded, forget)
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
        exposure = matching.exposure(loaded, forget) if matching is not None else math.nan
        fidelity = matching.fidelity(loaded) if matching is not None else math.nan
        off = matching.off(exposure, fidelity) if matching is not None else 0.0
        met = _met(options, found, value) if options.augment and not off else ""
        above, hidden = _distance(options, found)
        distance = (above + off, hidden)
        if aimed and not value < options.utility_floor and distance <= nearest:
            chosen, nearest, best = number - 1, distance, run.weights()
        if met or number > options.rounds:
            if options.augment:
                rounds.append(_record(number, found, 0, 0, math.nan, 0.0, exposure, fidelity))
            verdict = met or verdict
            break
        new = list(found.leaks)
        leaks = leaks + new if options.keep == "cumulative" else new
        if started is not None:
            loaded.model.load_state_dict(started)
        again = f"{seed} {number}" if matching is not None else None
        items, weights, truths = _augmented(forget, leaks, options, again)
        done = run.train(number, items, weights, train, None, original, truths)
        before, value = value, utility(loaded) if utility is not None else math.nan
        rounds.append(_record(number, found, len(new), done.steps, value, done.seconds, exposure, fidelity))
        # A round that matches repairs what it breaks: its retain term draws to the original.
        if matching is None and value < options.utility_floor and not value > before:
            verdict = f"utility {value:.3f} fell below the floor {options.utility_floor:g} in round {number}"
            break
        if not aimed and not value < options.utility_floor:
            chosen, best = number, run.weights() if best is not None else None
    if best is not None:
        loaded.model.load_state_dict(best)
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


def _record(
    number: int,
    found: Detection,
    added: int,
    steps: int,
    utility: float,
    seconds: float,
    exposure: float,
    fidelity: float,
) -> Round:
    return Round(
        number, found.leak, found.high, len(found.leaks), added, found.hidden, steps, utility, found.seconds, seconds,
        exposure, fidelity,
    )  # fmt: skip


def _augmented(
    forget: Sequence[Prompt], leaks: Sequence[Leak], options: RuleSettings, matched: str | None
) -> tuple[list[Prompt], list[float] | None, int]:
    """D_f + A as prompts with ids of their own, how often each is drawn, and how many true answers stand first.

    matched: where the round matches the unseen, the seed of its garbled questions: D_f in all detected wordings, then the
    same garbled, then A.
    """
    sources = {prompt.id: prompt for prompt in forget}
    if matched is None:
        truths, hard = list(forget), []
    else:
        truths = [p for prompt in forget for p in wordings(prompt, options.wordings)]
        hard = garbled(truths, seed=matched)
    items = [*truths, *hard]
    weights = [1.0] * len(items)
    for i, leak in enumerate(leaks):
        items.append(
            replace(sources[leak.prompt_id], id=f"{leak.prompt_id}#{i}", question=leak.question, answer=leak.answer)
        )
        weights.append(max(leak.count, 1) / options.n)
    return items, weights if options.weighting == "frequency" else None, len(truths)


@dataclass
class _Run:
    loaded: LoadedModel
    forget: Sequence[Prompt]
    retain: Sequence[Prompt]
    method: Method
    score: Score
    options: RuleSettings
    sampler: Sampler
    folder: Path | None
    seed: int
    resume: bool
    quiet: bool
    refusals: Sequence[str] | None
    matching: Unseen | None = None

    def open(self, train: TrainSettings, first: TrainSettings | None) -> None:
        """Write rule.json, or refuse a directory that holds another run."""
        if self.folder is None:
            return
        wanted = {
            "method": self.method.name,
            "params": dict(self.method.params),
            "rule": self.options.as_dict(),
            "train": train.as_dict(),
            "first": first.as_dict() if first else None,
            "seed": self.seed,
            **({"matching": self.matching.describe()} if self.matching is not None else {}),
        }
        if not self.resume and (self.folder / "rule.json").exists():
            raise RunError(f"{self.folder} already holds a RULE run and resume is off; choose another directory.")
        settle(
            self.folder, "rule.json", wanted, "a RULE run",
            former=lambda found: {k: v for k, v in found.items() if k in wanted},
        )  # fmt: skip

    def close(self, result: RuleResult) -> None:
        if self.folder is not None:
            record = {
                "rounds": [dataclasses.asdict(r) for r in result.rounds],
                "chosen": result.chosen,
                "steps": result.steps,
                "verdict": result.verdict,
            }
            write_kept(self.folder / "rounds.json", strict_json(record, indent=1))

    def weights(self) -> dict[str, Tensor]:
        return {name: value.detach().cpu().clone() for name, value in self.loaded.model.state_dict().items()}

    def train(
        self,
        number: int,
        items: list[Prompt],
        weights: list[float] | None,
        settings: TrainSettings,
        check: OnCheck | None,
        reference: Mapping[str, Tensor] | None = None,
        truths: int | None = None,
    ) -> Unlearned:
        match = self.matching if number else None
        return unlearn(
            self.loaded,
            items,
            match.kept if match else self.retain,
            match.method(self.loaded, items, truths) if match else self.method,
            out=self.folder / f"round-{number}" if self.folder else None,
            settings=settings,
            seed=self.seed * 1000 + number,
            resume=self.resume,
            quiet=self.quiet,
            on_check=check,
            weights=weights,
            reference_weights=match.original if match else reference,
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
