"""leakatk attack: does this model still leak under attack?

It is fine-tuned, rounded, asked with its own key words, or read inside."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from leakatk.cli import attacking, gating, guarding, inputs, options
from leakatk.cli.config import Config, written_back
from leakatk.errors import InputError

if TYPE_CHECKING:
    from leakatk.attacks.rungs import LadderSettings, Rung
    from leakatk.prompts import Known

EXAMPLES = options.examples(
    "leakatk attack models/forgot --benchmark world --attack relearn:steps=50 --retrained models/retrained --out runs/attacked",
    "leakatk attack models/forgot --forget forget.jsonl --attack quantise:bits=4 --attack key-tokens --out runs/attacked",
    "leakatk attack models/forgot --forget forget.jsonl --retain retain.jsonl --attack decoder --out runs/read --dry-run",
    "leakatk attack models/forgot --benchmark world --attack relearn --out runs/gate --fail-above 64:0.05",
)


def add_to(app: typer.Typer) -> None:
    app.command("attack", short_help="Audit a model under attacks: relearning, quantising ...", epilog=EXAMPLES)(run)


def run(
    context: typer.Context,
    model: Annotated[str, typer.Argument(help="Model directory (full or LoRA adapter) or hub id.")],
    out: Annotated[Path, typer.Option(help="Directory to write; the same command resumes it.")],
    attack: attacking.Specs = None,
    benchmark: options.BenchmarkName = "",
    forget: Annotated[
        Path | None, typer.Option(help="Your own forget prompts (question, answer): JSONL, CSV, Parquet.")
    ] = None,
    retain: Annotated[Path | None, typer.Option(help="Your own retain prompts, for attacks that use some.")] = None,
    column: options.Columns = None,
    limit: options.Limit = None,
    retain_limit: options.RetainLimit = None,
    data: options.Data = None,
    retrained: Annotated[
        str,
        typer.Option(
            "--retrained", "--reference", help="The model that never saw the prompts; it is attacked in the same way."
        ),
    ] = "",
    original: attacking.Original = "",
    auxiliary: guarding.Auxiliary = None,
    text: attacking.Text = None,
    folds: attacking.Folds = 2,
    n: Annotated[int, typer.Option("--n", help="Samples a prompt.")] = 200,
    k: Annotated[str, typer.Option("--k", help="Comma-separated k values; default the powers of two up to n.")] = "",
    temperature: Annotated[float, typer.Option(help="0 is greedy.")] = 1.0,
    top_p: Annotated[float, typer.Option(help="1 is off.")] = 1.0,
    top_k: Annotated[int, typer.Option(help="0 is off.")] = 0,
    max_new_tokens: Annotated[int, typer.Option(help="Longest answer, in tokens.")] = 200,
    scorer: Annotated[
        list[str] | None,
        typer.Option(
            help="Core metric; may be repeated, the first is the headline.", autocompletion=options.named("scorers")
        ),
    ] = None,
    seed: options.Seed = 0,
    over: options.Over = "samples",
    fail_above: options.FailAbove = "",
    fail_excess_above: gating.FailExcessAbove = "",
    summary: gating.SummaryFile = None,
    junit: gating.JUnitFile = None,
    unscored: options.Unscored = "count",
    cut: options.Cut = "count",
    level: Annotated[float, typer.Option(help="Level at which the intervals of all attacks hold together.")] = 0.95,
    template: options.TemplateKind = "auto",
    template_arg: options.TemplateArgs = None,
    system: options.System = "",
    engine: options.Engine = "native",
    device: options.Device = "auto",
    dtype: options.Dtype = "auto",
    device_map: options.DeviceMap = "",
    load_in: options.LoadIn = "",
    dry_run: options.DryRun = False,
    as_json: options.AsJson = False,
    quiet: options.Quiet = False,
    config: Config = None,
) -> None:
    """Audit a model once without an attack and once under each; print leak@k and its excess over the retrained model.

    Attacks that are trained on forget prompts are measured on the others alone, and over all folds every prompt is measured
    once. The model's own files stay as they are. With `--fail-above` it is a gate over all attacks that are sampled. The numbers land in OUT/attacks.json, each audit in a directory of its own.
    """
    options.check_n(n)
    if not 0 < level < 1:
        raise InputError(f"--level must be between 0 and 1, got {level}.")
    ks = options.parse_ks(k, n)
    gate = options.parse_gate(
        fail_above, n, worst_case=False, ways=[], unscored=unscored, cut=cut, over=over, level=level
    )
    gates = gating.gates_of(
        gate, fail_excess_above, None, 0, n=n, ks=ks, retrained=retrained, refused={}, unscored=unscored, cut=cut, over=over,
        level=level,
    )  # fmt: skip
    gating.without_verdict(gates, summary, junit)
    if not attack:
        raise InputError("Give at least one --attack, such as relearn:steps=50 or quantise:bits=4.")
    from leakatk.attacks import LadderSettings, attack_ladder, get_attack
    from leakatk.attacks.rungs import rungs_of
    from leakatk.sampling.decoding import Decoding
    from leakatk.scorers.base import get_scorer

    made = [get_attack(one) for one in attack]  # an unknown name is an error before anything is loaded
    for name in scorer or []:
        get_scorer(name)
    decoding = Decoding(temperature=temperature, top_p=top_p, top_k=top_k, max_new_tokens=max_new_tokens)
    name, prompts, kept = inputs.prompts_of(
        benchmark, forget, retain, data, column=column, limit=limit, retain_limit=retain_limit
    )
    known = attacking.known(
        made, prompts, kept, original=original, retrained=retrained, auxiliary=auxiliary or [], text=text, folds=folds
    )
    settings = LadderSettings(
        n=n, ks=tuple(ks), decoding=decoding, seed=seed, scorers=tuple(scorer or ()), folds=folds, over=over, level=level,
        gate=gates.leak, excess_gate=gates.excess, engine=engine, benchmark=name, command=options.command(),
    )  # fmt: skip
    loading: dict[str, Any] = {"device": device, "dtype": dtype, "template": template, "system": system}
    loading |= {"device_map": device_map, "load_in": load_in}
    loading["args"] = inputs.template_args(template_arg or [])
    mine = inputs.source(model, **loading)
    other = inputs.source(retrained, **loading) if retrained else None
    if dry_run:
        plan(rungs_of(made, known, settings), mine, known, settings, paired=other is not None, out=out, as_json=as_json)
        return
    with written_back(context, out):
        ladder = attack_ladder(mine, prompts, made, out=out, known=known, retrained=other, settings=settings)
    if as_json:
        options.echo_json(ladder)
    else:
        attacking.show(ladder)
        typer.echo(f"Summary: {out / 'attacks.json'}")
    options.say_notes(attacking.notes(ladder))
    if gates:
        gating.write([gating.of_ladder(ladder, model)], summary=summary, junit=junit)
        gating.tell(ladder, f"it holds for these {ladder['m']:,} prompts, in one wording, under these attacks")


def plan(
    rungs: list[Rung], source: Any, known: Known, settings: LadderSettings, *, paired: bool, out: Path, as_json: bool
) -> None:
    """Say what would be sampled and read, what sampling costs, and what each attack computes before it."""
    from leakatk.attacks.attacked import check_engine
    from leakatk.auditing.sample import as_sampler
    from leakatk.cli.dry import memory_of, sampling_cost, says, says_memory

    check_engine(settings.engine)
    models, m = 2 if paired else 1, len(known.forget)
    sampler = as_sampler(source, settings.engine)
    planned = attacking.planned(rungs, sampler, known, n=settings.n, paired=paired)
    answers = m * (settings.n * models + 1) + planned.answers
    memory = memory_of(source)
    cost = sampling_cost(sampler, known.forget, answers, settings.decoding, seed=settings.seed, each=settings.n)
    if as_json:
        options.echo_json({"answers": answers, **memory, **cost, "models": models, "attacks": planned.attacks})
        return
    typer.echo(
        f"Would sample {m:,} prompts x {settings.n:,} answers of at most {settings.decoding.max_new_tokens} tokens "
        f"({settings.decoding.label}) from {models} {'models' if paired else 'model'} without an attack and under "
        f"{planned.sampled} attacks, and a greedy answer each: {answers:,} answers, into {out}: {says(cost)} (from a pilot of "
        f"{cost['pilot_answers']} answers, {cost['tokens_per_second']:,.0f} tokens/s). Making the attacks comes on top."
    )
    for line in [*says_memory(memory), *planned.lines]:
        typer.echo(line)
