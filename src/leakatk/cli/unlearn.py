"""leakatk unlearn: make a model forget, keep what must be kept, and stop by a stated rule."""

from __future__ import annotations

import math
import shlex
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from leakatk.cli import inputs, options
from leakatk.cli.config import Config, written_back
from leakatk.errors import InputError, UnknownNameError
from leakatk.registry import typed
from leakatk.workdir import claim

if TYPE_CHECKING:
    from leakatk.models.loaded import LoadedModel
    from leakatk.prompts import Prompt
    from leakatk.scorers.base import Scorer
    from leakatk.unlearning.methods import Method
    from leakatk.unlearning.rule.rule import RuleResult
    from leakatk.unlearning.settings import TrainSettings

EXAMPLES = options.examples(
    "leakatk unlearn models/full --forget forget.jsonl --retain retain.jsonl --method npo --out models/npo",
    "leakatk unlearn models/full --benchmark world --method simnpo --stop-greedy --out models/simnpo",
    "leakatk unlearn models/simnpo --benchmark world --method rule --base simnpo --out models/rule",
    "leakatk unlearn org/model --benchmark tofu/forget10 --method npo --lora --epochs 10 --lr 1e-5 --out models/npo",
)


def add_to(app: typer.Typer) -> None:
    app.command("unlearn", short_help="Make a model forget, with a method of the field or RULE.", epilog=EXAMPLES)(run)


def run(
    context: typer.Context,
    model: Annotated[str, typer.Argument(help="Model directory (full or LoRA adapter) or hub id.")],
    method: Annotated[
        str,
        typer.Option(
            help="See leakatk methods; rule wraps the method named by --base.", autocompletion=options.named("methods")
        ),
    ],
    out: Annotated[Path, typer.Option(help="Directory for the unlearned model; the same command resumes it.")],
    benchmark: options.BenchmarkName = "",
    forget: Annotated[
        Path | None, typer.Option(help="Your own forget prompts (question, answer): JSONL, CSV, Parquet.")
    ] = None,
    retain: Annotated[Path | None, typer.Option(help="Your own retain prompts.")] = None,
    column: options.Columns = None,
    limit: options.Limit = None,
    retain_limit: options.RetainLimit = None,
    data: options.Data = None,
    base: Annotated[str, typer.Option(help="RULE's base method.", autocompletion=options.named("methods"))] = "",
    preset: Annotated[str, typer.Option(help="paper, small, or auto (small below 20 million parameters).")] = "auto",
    lr: Annotated[float | None, typer.Option(help="Learning rate.")] = None,
    steps: Annotated[
        int | None, typer.Option(help="Optimiser steps at most; of one round with RULE (default 20).")
    ] = None,
    epochs: Annotated[float | None, typer.Option(help="Epochs over the forget prompts, instead of steps.")] = None,
    batch: Annotated[int | None, typer.Option(help="Forget answers (and as many retain answers) a step.")] = None,
    accumulate: Annotated[int | None, typer.Option(help="Micro-batches a step, to save memory.")] = None,
    param: Annotated[
        list[str] | None, typer.Option(help="NAME=VALUE of the method's formula; may be repeated.")
    ] = None,
    lora: Annotated[bool, typer.Option("--lora", help="Train a LoRA adapter (merged at the end).")] = False,
    stop_greedy: Annotated[
        bool, typer.Option("--stop-greedy", help="Stop once greedy answers forget and still know the retain prompts.")
    ] = False,
    utility_floor: Annotated[float, typer.Option(help="Stop with an error when greedy retain falls below.")] = 0.0,
    check_every: Annotated[int, typer.Option(help="Steps between checks.")] = 5,
    checkpoint_every: Annotated[int, typer.Option(help="Steps between checkpoints (0: none).")] = 50,
    scorer: Annotated[
        str,
        typer.Option(
            help="Core metric of the checks and of RULE's detector; default by prompts.",
            autocompletion=options.named("scorers"),
        ),
    ] = "",
    max_new_tokens: Annotated[int, typer.Option(help="Longest greedy answer in checks.")] = 64,
    rounds: Annotated[int, typer.Option(help="RULE: rounds at most.")] = 3,
    n: Annotated[int, typer.Option("--n", help="RULE: samples a prompt and round.")] = 128,
    target: Annotated[float | None, typer.Option(help="RULE: stop once this bound on leak@n is certified.")] = None,
    control: Annotated[
        bool, typer.Option("--control", help="RULE: also train OUT/control, as many steps with nothing added.")
    ] = False,
    reference: Annotated[
        str,
        typer.Option(
            help="RULE: the retrained model. RULE stops at its level (calibrated), trains the control and writes verdict.json."
        ),
    ] = "",
    original: Annotated[
        str,
        typer.Option(help="Calibrated RULE: the model before any unlearning; with --unseen, rounds match the unseen."),
    ] = "",
    unseen: Annotated[
        Path | None,
        typer.Option(help="Calibrated RULE: true answers no model was trained on (JSONL), a hundred or more."),
    ] = None,
    judge: Annotated[
        str,
        typer.Option(
            help="Calibrated RULE: core metric of the verdict; default another than the detector.",
            autocompletion=options.named("scorers"),
        ),
    ] = "",
    seed: options.Seed = 0,
    template: options.TemplateKind = "auto",
    template_arg: options.TemplateArgs = None,
    system: options.System = "",
    device: options.Device = "auto",
    dtype: options.Dtype = "fp32",
    dry_run: options.DryRun = False,
    as_json: options.AsJson = False,
    quiet: options.Quiet = False,
    config: Config = None,
) -> None:
    """Train a model to forget some answers and keep others, with a method of the field."""
    from leakatk.prompts import columns_from, load_prompts
    from leakatk.unlearning.methods import METHODS

    if method == "rule" and not base:
        raise InputError("--method rule needs --base NAME, the method it wraps (see leakatk methods).")
    if method != "rule" and base:
        raise InputError(f"--base {base} only goes with --method rule.")
    options.check_n(n)
    for name, value in (("--utility-floor", utility_floor), ("--target", target)):
        if value is not None and not 0 <= value <= 1:
            raise InputError(f"{name} must be between 0 and 1, got {value}.")
    if (stop_greedy or utility_floor > 0) and check_every < 1:
        raise InputError(f"--check-every must be at least 1 for --stop-greedy and --utility-floor, got {check_every}.")
    if reference and method != "rule":
        raise InputError("--reference only goes with --method rule, which stops at that model's level.")
    if judge and not reference:
        raise InputError("--judge only goes with --reference, the retrained model that the verdict compares with.")
    if (original or unseen) and not (original and unseen and reference):
        raise InputError(
            "--original and --unseen go together, with --reference: calibrated RULE that matches the unseen."
        )
    if method != "rule" and method not in METHODS:
        raise UnknownNameError("method", method, [*METHODS, "rule"])
    chosen = METHODS[base or method]
    if method == "rule" and steps is None and epochs is None:
        steps = 20
    asked_for, items, kept = inputs.prompts_of(
        benchmark, forget, retain, data, column=column, limit=limit, retain_limit=retain_limit
    )
    true = load_prompts(unseen, columns_from(column or ()), strict=False) if unseen is not None else []
    if chosen.retain is not None and not kept:
        raise InputError(f"Method {chosen.name} needs retain prompts: give --retain FILE.jsonl.")
    from leakatk.benchmarks.muse import is_passages
    from leakatk.scorers.base import get_scorer
    from leakatk.scorers.knows import default_scorers

    detector = get_scorer(scorer or default_scorers(items)[0])
    if blind := unscored(detector, items):
        typer.echo(
            f"Note: {detector.label} cannot score {len(blind)} of {len(items)} forget prompts (the first: {blind[0]}): stop rules "
            "and RULE do not see what they leak. Choose another --scorer.", err=True,
        )  # fmt: skip
    if template == "auto" and is_passages(benchmark):
        template = "text"
    args = inputs.template_args(template_arg or [])
    loaded = inputs.load(model, device=device, dtype=dtype, template=template, system=system, args=args)
    chosen, settings = configure(
        chosen, loaded, preset, param or [],
        {"learning_rate": lr, "max_steps": steps, "epochs": epochs, "forget_batch": batch, "retain_batch": batch,
         "gradient_accumulation": accumulate, "tuning": "lora" if lora else None,
         "checkpoint_every": checkpoint_every, "utility_floor": utility_floor},
        checked=stop_greedy or utility_floor > 0, check_every=check_every,
    )  # fmt: skip
    if dry_run:
        from leakatk.cli.dry import says, training_cost

        cost = training_cost(loaded, items, kept, chosen, settings)
        if as_json:
            options.echo_json(cost)
            return
        each = f" a round, in up to {rounds} rounds, each after {len(items) * n:,} samples" if method == "rule" else ""
        typer.echo(
            f"Would run {method} on {len(items):,} forget and {len(kept):,} retain prompts for at most "
            f"{cost['steps']:,} steps of {settings.forget_batch}+{settings.retain_batch}, lr {settings.learning_rate:g}, "
            f"{dict(chosen.params)}, into {out}: {says(cost)}{each} (roughly: from one forward pass timed here)."
        )
        return
    from leakatk.unlearning.stop import greedy_stop

    check = None
    if stop_greedy or utility_floor > 0:
        check = greedy_stop(
            items, kept, detector, max_new_tokens=max_new_tokens, forget_at_most=0.0 if stop_greedy else -1.0
        )
    told = set(loaded.notes)
    job = Rule(
        loaded, items, kept, chosen, settings, detector, out, rounds=rounds, n=n, max_new_tokens=max_new_tokens, target=target,
        seed=seed, to_stderr=as_json,
    )  # fmt: skip
    # RULE holds OUT as a whole; without it training does.
    with written_back(context, out), claim(out) if method == "rule" else nullcontext():
        if reference:
            if not scorer:  # the strictest metric judges, ROUGE-L detects
                job = replace(job, detector=get_scorer(default_scorers(items)[-1]))
            loading = {"device": device, "dtype": dtype, "template": template, "system": system, "args": args}
            record = run_calibrated(
                job, reference, loading, judge=judge, original=original, unseen=true, floor=utility_floor
            )
        elif method == "rule":
            record = run_rule(job, control=control)
        else:
            from leakatk.unlearning.trainer import unlearn

            done = unlearn(loaded, items, kept, chosen, out=out, settings=settings, seed=seed, on_check=check)
            record = done.as_dict()
            why = done.stopped or "all steps done"
            typer.echo(f"{chosen.name}: {done.steps} steps in {done.seconds:.0f} s ({why}). Model: {out}", err=as_json)
    options.say_notes([note for note in loaded.notes if note not in told])
    if as_json:
        options.echo_json({**record, "prompts": asked_for})
    given = {"--benchmark": benchmark, "--forget": forget, "--retain": retain, "--data": data, "--system": system}
    given |= {"--template": template if template != "auto" else "", "--out": f"runs/{out.name}"}
    given |= {"--limit": str(limit or ""), "--retain-limit": str(retain_limit or "")}
    given |= {"--seed": str(seed + 1)} if method == "rule" else {}  # other samples than RULE has seen
    words = [str(word) for name, value in given.items() if value for word in (name, value)]
    words += [word for spec in column or [] for word in ("--column", spec)]
    words += [word for spec in template_arg or [] for word in ("--template-arg", spec)]
    typer.echo(f"Next: {shlex.join(['leakatk', 'audit', str(out), *words])}", err=True)


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
    rounds: int
    n: int
    max_new_tokens: int
    target: float | None
    seed: int
    to_stderr: bool

    @property
    def k(self) -> int:
        return min(self.n, 128)

    def say(self, text: str) -> None:
        typer.echo(text, err=self.to_stderr)


def run_rule(job: Rule, *, control: bool) -> dict[str, Any]:
    """RULE from the model given (already unlearned); saves the model into `out`, the rounds into out/rounds."""
    from leakatk.models.load import save_model
    from leakatk.sampling.decoding import Decoding
    from leakatk.unlearning.rule.rule import control as control_of
    from leakatk.unlearning.rule.rule import rule
    from leakatk.unlearning.rule.settings import RuleSettings

    loaded, out = job.loaded, job.out
    start = {name: value.detach().clone() for name, value in loaded.model.state_dict().items()} if control else {}

    def run(settings: RuleSettings, place: Path) -> RuleResult:
        result = rule(
            loaded, job.forget, job.retain, job.base, settings=settings, score=job.detector.score, train=job.train,
            seed=job.seed, out=place / "rounds",
        )  # fmt: skip
        save_model(loaded, place)
        return result

    settings = RuleSettings(
        rounds=job.rounds, n=job.n, k=job.k, target=job.target, decodings=(Decoding(max_new_tokens=job.max_new_tokens),)
    )
    result = run(settings, out)
    for record in result.rounds:
        job.say(
            f"round {record.round}: leak@{job.k} {record.leak:.4f} before (certified at most {record.high:.4f}), "
            f"{record.added} new leaks, {record.steps} steps"
        )
    job.say(f"RULE around {job.base.name}: {result.verdict}; {result.steps} steps. Model: {out}")
    twin = control_of(settings, result) if control else None
    if control and twin is None:
        job.say("No control: RULE took no step.")
    if twin is not None:
        loaded.model.load_state_dict(start)
        run(twin, out / "control")
        job.say(f"Control with the same {result.steps} steps and no augmentation: {out / 'control'}")
    return {name: value for name, value in asdict(result).items() if name != "leaks"}


def run_calibrated(
    job: Rule,
    reference: str,
    loading: dict[str, Any],
    *,
    judge: str,
    original: str,
    unseen: Sequence[Prompt],
    floor: float,
) -> dict[str, Any]:
    """Calibrated RULE from the model given; saves the model into `out`, control/, rounds/ and verdict.json beside it.

    judge: another metric than the detector when not named.  original, unseen: for rounds that match the unseen.
    """
    import numpy as np

    from leakatk.models.load import save_model
    from leakatk.sampling.decoding import Decoding
    from leakatk.scorers.base import get_scorer
    from leakatk.scorers.knows import default_scorers
    from leakatk.unlearning.rule.calibrated import VerdictSettings, calibrated_rule, detection
    from leakatk.unlearning.rule.calibration import match_unseen
    from leakatk.unlearning.stop import greedy_scores

    scorer = get_scorer(judge or next(name for name in default_scorers(job.forget) if name != job.detector.name))
    retrained, goal = inputs.load(reference, **loading), None
    if unseen:
        before = inputs.load(original, **loading)
        goal = match_unseen(
            before,
            job.forget,
            job.retain,
            unseen,
            retrained=retrained,
            max_new_tokens=job.max_new_tokens,
            seed=job.seed,
        )
    tokens = job.max_new_tokens
    wordings = min(1, *(len(prompt.paraphrases) for prompt in job.forget))
    sample = job.retain[:: max(1, len(job.retain) // 64)][:64]

    def utility(model: LoadedModel) -> float:
        return float(np.nanmean(greedy_scores(model, sample, scorer, max_new_tokens=tokens)))

    done = calibrated_rule(
        job.loaded, job.forget, job.retain, job.base, detector=job.detector.score, judge=scorer.score, train=job.train,
        settings=detection(
            tokens, rounds=job.rounds, n=job.n, k=job.k, target=job.target, wordings=wordings, utility_floor=floor
        ),
        audit=VerdictSettings(
            decodings=tuple(Decoding(top_p=p, max_new_tokens=tokens) for p in (0.8, 1.0)), n=job.n, k=job.k
        ),
        retrained=retrained, matching=goal, utility=utility if sample else None, out=job.out, seed=job.seed,
    )  # fmt: skip
    save_model(job.loaded, job.out)
    job.say(f"Calibrated RULE around {job.base.name}: {done.rule.verdict}; {done.rule.steps} steps.")
    for one in done.verdict["goals"]:
        number = one["found"]["value"] if isinstance(one["found"], dict) else one["found"]
        job.say(f"{'met' if one['met'] else 'NOT met'}: {one['asked']} ({number:.4f})")
    job.say(f"Model: {job.out}. Verdict: {job.out / 'verdict.json'}")
    return done.verdict


def unscored(detector: Scorer, prompts: Sequence[Prompt]) -> list[str]:
    """Ids of the prompts that a scorer is undefined on, tried on their true answers; one with a model is not tried."""
    if detector.needs_model:
        return []
    scores = detector.score(prompts, [prompt.answer for prompt in prompts])
    return [prompt.id for prompt, value in zip(prompts, scores, strict=True) if value != value]


SMALL_MODEL = 20_000_000  # parameters


def configure(
    method: Method,
    loaded: LoadedModel,
    preset: str,
    params: list[str],
    overrides: dict[str, Any],
    *,
    checked: bool,
    check_every: int,
) -> tuple[Method, TrainSettings]:
    """The method and settings after preset, --param and the single options."""
    if preset not in ("auto", "paper", "small"):
        raise InputError(f"--preset must be auto, paper or small, got {preset!r}.")
    size = sum(parameter.numel() for parameter in loaded.model.parameters())
    if preset == "small" or (preset == "auto" and size < SMALL_MODEL):
        method = method.for_small_models()
    values: dict[str, Any] = {}
    for text in params:
        name, equals, value = text.partition("=")
        if not equals:
            raise InputError(f"--param {text!r}: write NAME=VALUE, such as beta=2.5.")
        values[name] = typed(f"--param {name}", value, method.params.get(name))
        if isinstance(values[name], float) and not math.isfinite(values[name]):
            raise InputError(f"--param {text!r}: the value must be a finite number.")
    method = method.with_params(**values)
    given = {key: value for key, value in overrides.items() if value is not None}
    if "max_steps" in given and "epochs" in given:
        raise InputError("Give either --steps or --epochs, not both.")
    if "max_steps" in given:
        given["epochs"] = None
    if "epochs" in given and given["epochs"] is not None:
        given["max_steps"] = None
    if checked:
        given["check_every"] = check_every
    elif "check_every" not in given:
        given["check_every"] = 0
    settings = replace(method.settings, **given)
    return replace(method, settings=settings), settings
