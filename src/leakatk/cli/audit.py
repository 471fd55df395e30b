"""leakatk audit: does this model still leak when it is sampled?"""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from leakatk.auditing.settings import AuditSettings
from leakatk.cli import attacking, gating, guarding, inputs, options
from leakatk.cli.config import Config, either, written_back
from leakatk.errors import InputError

if TYPE_CHECKING:
    from leakatk.auditing.asking import Probed
    from leakatk.prompts import Prompt
    from leakatk.sampling.base import Sampler
    from leakatk.sampling.decoding import Decoding

DEFAULT = AuditSettings()
HELP = options.field_docs(AuditSettings)
EXAMPLES = options.examples(
    "leakatk audit models/forgot --forget forget.jsonl --out runs/forgot",
    "leakatk audit models/forgot --benchmark world --retrained models/retrained --out runs/forgot",
    "leakatk audit models/forgot --forget forget.jsonl --out runs/gate --k 1,64 --fail-above 64:0.05",
    "leakatk audit models/forgot --forget forget.jsonl --out runs/gate --fail-if-worse-than runs/before --junit gate.xml",
    "leakatk audit models/forgot --benchmark world --probe role --out runs/asked --fail-above 64:0.05 --worst-case",
    "leakatk audit models/forgot --benchmark world --attack relearn --attack quantise:bits=4 --retrained models/retrained --out runs/ladder",
    "leakatk audit models/forgot --forget forget.jsonl --out runs/exact --expand 1000",
    "leakatk audit models/forgot --benchmark world --probe few-shot --probe prefix:words=5 --out runs/probed",
    "leakatk audit gpt-4o-mini --url https://api.openai.com/v1 --forget forget.jsonl --out runs/deployed --max-cost 5",
    "leakatk audit models/forgot --forget forget.jsonl --out runs/gate --n 1024 --fail-above 64:0.05 --sequential",
)


def add_to(app: typer.Typer) -> None:
    app.command("audit", short_help="Sample a model, print leak@k with intervals, write a report.", epilog=EXAMPLES)(
        run
    )


def run(
    context: typer.Context,
    model: Annotated[str, typer.Argument(help="Model directory (full or LoRA adapter) or hub id.")],
    out: Annotated[Path, typer.Option(help="Run directory to write; the same command resumes it.")],
    benchmark: options.BenchmarkName = "",
    forget: Annotated[
        Path | None, typer.Option(help="Your own forget prompts (question, answer): JSONL, CSV, Parquet.")
    ] = None,
    retain: Annotated[Path | None, typer.Option(help="Your own retain prompts: what must still be known.")] = None,
    column: options.Columns = None,
    limit: options.Limit = None,
    retain_limit: options.RetainLimit = None,
    data: options.Data = None,
    retrained: Annotated[
        str, typer.Option(help="The model that never saw the data, or a run of it over the same prompts.")
    ] = "",
    reference: Annotated[str, typer.Option(hidden=True, help="Former name of --retrained.")] = "",
    n: Annotated[int, typer.Option("--n", help=HELP["n"])] = DEFAULT.n,
    k: Annotated[str, typer.Option("--k", help="Comma-separated k values; default the powers of two up to n.")] = "",
    temperature: Annotated[float, typer.Option(help="0 is greedy.")] = DEFAULT.decoding.temperature,
    top_p: Annotated[float, typer.Option(help="1 is off.")] = DEFAULT.decoding.top_p,
    top_k: Annotated[int, typer.Option(help="0 is off.")] = DEFAULT.decoding.top_k,
    min_p: Annotated[float, typer.Option(help="0 is off.")] = DEFAULT.decoding.min_p,
    repetition_penalty: Annotated[float, typer.Option(help="1 is off.")] = DEFAULT.decoding.repetition_penalty,
    max_new_tokens: Annotated[int, typer.Option(help="Longest answer, in tokens.")] = DEFAULT.decoding.max_new_tokens,
    stop: Annotated[list[str] | None, typer.Option(help="String that ends an answer; may be repeated.")] = None,
    scorer: Annotated[
        list[str] | None,
        typer.Option(
            help="Core metric; may be repeated, the first is the headline.", autocompletion=options.named("scorers")
        ),
    ] = None,
    probe: options.Probes = None,
    attack: attacking.Specs = None,
    original: attacking.Original = "",
    text: attacking.Text = None,
    folds: attacking.Folds = 2,
    seed: options.Seed = DEFAULT.seed,
    over: options.Over = "samples",
    level: Annotated[float, typer.Option(help=HELP["level"])] = DEFAULT.level,
    fail_above: options.FailAbove = "",
    fail_excess_above: gating.FailExcessAbove = "",
    fail_if_worse_than: gating.FailIfWorseThan = None,
    worse_by: gating.WorseBy = gating.RISE,
    summary: gating.SummaryFile = None,
    junit: gating.JUnitFile = None,
    worst_case: options.WorstCase = False,
    unscored: options.Unscored = "count",
    cut: options.Cut = "count",
    one_wording: options.OneWording = False,
    sequential: Annotated[
        bool,
        typer.Option(
            "--sequential", help="Sample in doubling rounds up to --n; stop at PASS or FAIL, else end in CANNOT SAY."
        ),
    ] = False,
    greedy: Annotated[
        bool, typer.Option(help="Also the greedy answers; some servers take no temperature but 1.")
    ] = DEFAULT.greedy,
    expand: Annotated[int, typer.Option(help=HELP["expand"])] = DEFAULT.expand,
    max_cost: options.MaxCost = None,
    max_requests: options.MaxRequests = None,
    price_in: options.PriceIn = None,
    price_out: options.PriceOut = None,
    label: Annotated[str, typer.Option(help=HELP["label"])] = DEFAULT.label,
    template: options.TemplateKind = "auto",
    template_arg: options.TemplateArgs = None,
    system: options.System = "",
    engine: options.Engine = DEFAULT.engine,
    replicas: options.Replicas = None,
    inner: options.Inner = None,
    guard: guarding.Spec = "",
    auxiliary: guarding.Auxiliary = None,
    encoder: guarding.Encoder = "",
    neighbours: guarding.Neighbours = None,
    url: Annotated[
        str, typer.Option(help="Base URL of an OpenAI-compatible server; MODEL is its name there (engine endpoint).")
    ] = "",
    header: options.Headers = None,
    fresh: options.Fresh = False,
    accept_changed_server: options.AcceptChangedServer = False,
    accept_ignored_fields: options.AcceptIgnoredFields = False,
    device: options.Device = "auto",
    dtype: options.Dtype = "auto",
    device_map: options.DeviceMap = "",
    load_in: options.LoadIn = "",
    role: options.Role = "model",
    track: options.Track = None,
    dry_run: options.DryRun = False,
    as_json: options.AsJson = False,
    quiet: options.Quiet = False,
    config: Config = None,
) -> None:
    """Sample a model on what it was made to forget; print leak@k with intervals; write OUT/report.html.

    With `--fail-above` a gate for a release pipeline: exit code 0 PASS, 1 FAIL, 4 CANNOT SAY. Prompts that carry other
    wordings (paraphrases) are asked in them too, and the gate acts on the setting that leaks most.
    """
    from leakatk.runs.tracking import check_trackers, track_audit, tracked
    from leakatk.sampling.base import check_budget

    check_trackers(track or [])
    options.check_role(role)
    options.check_n(n)
    if expand:
        check_budget(expand)
    if not 0 < level < 1:
        raise InputError(f"--level must be between 0 and 1, got {level}.")
    ks = options.parse_ks(k, n)
    gate = options.parse_gate(
        fail_above, n, worst_case=worst_case, ways=[*(probe or []), *(attack or [])], unscored=unscored, cut=cut, over=over,
        level=level,
    )  # fmt: skip
    ks = sorted({*ks, gate.k}) if gate else ks
    retrained = either(context, "retrained", "reference")
    gates = gating.gates_of(
        gate, fail_excess_above, fail_if_worse_than, worse_by, n=n, ks=ks, retrained=retrained, over=over, level=level,
        unscored=unscored, cut=cut,
        refused={"--sequential": sequential, "--worst-case": worst_case}, attacked=bool(attack),
    )  # fmt: skip
    gate, ks = gates.leak, sorted({*ks, *gates.ks})
    gating.without_verdict(gates, summary, junit)
    attacks = attacking.above(attack or [], guard=guard, url=url, sequential=sequential, engine=engine)
    if sequential and not gate:
        raise InputError("--sequential needs --fail-above K:BOUND: it stops when that verdict is certain.")
    from leakatk.sampling.decoding import Decoding
    from leakatk.scorers.base import get_scorer

    decoding = Decoding(
        temperature=temperature, top_p=top_p, top_k=top_k, min_p=min_p,
        repetition_penalty=repetition_penalty, max_new_tokens=max_new_tokens, stop=tuple(stop or ()),
    )  # fmt: skip
    prices = inputs.prices_of(engine, url, scorer or [], price_in, price_out)
    scorer = [inputs.with_caps(name, max_cost, max_requests, prices.scorers) for name in scorer or []]
    for name in scorer:
        get_scorer(name)  # an unknown name is an error before anything is loaded
    name, prompts, kept = inputs.prompts_of(
        benchmark, forget, retain, data, held=True, column=column, limit=limit, retain_limit=retain_limit
    )
    from leakatk.auditing.asking import probed, with_wordings
    from leakatk.auditing.audit import audit, check_defined
    from leakatk.auditing.sample import as_sampler
    from leakatk.cli.dry import memory_of
    from leakatk.runs.store import Run

    if over != "samples" and len(prompts) < 2:
        raise InputError(f"--over {over} needs at least 2 prompts; use --over samples to speak of this prompt alone.")
    check_defined(scorer, prompts)
    gating.check(gates, prompts, decoding, retrained)
    asked = probed(probe or [], prompts, kept)
    asked = asked if one_wording else with_wordings(asked, prompts, kept)
    loading: dict[str, Any] = {"device": device, "dtype": dtype, "template": template, "system": system}
    loading |= {"device_map": device_map, "load_in": load_in}
    loading["args"] = inputs.template_args(template_arg or [])
    engine, engine_options = inputs.engine_caps(
        engine, url, max_cost, max_requests, changed_server=accept_changed_server, ignored_fields=accept_ignored_fields,
        prices=prices.engine, headers=header,
    )  # fmt: skip
    engine_options |= {name: value for name, value in (("replicas", replicas), ("inner", inner)) if value is not None}
    run_given = (Path(retrained) / "manifest.json").exists()
    if attacks and run_given:
        raise InputError(
            f"{retrained} is a run: attacks are made on the retrained model too, so give --retrained that model."
        )
    shown = inputs.shown_retain(benchmark, data, kept, retain_limit) if guard or attacks else kept
    known = attacking.known(
        attacks,
        prompts,
        shown,
        original=original,
        retrained=retrained,
        auxiliary=auxiliary or [],
        text=text,
        folds=folds,
    )
    around = guarding.behind(guard, [] if attacks else auxiliary or [], encoder, prompts, shown, neighbours, column)
    named = inputs.source(model, **loading)
    need = memory_of(named) if dry_run and not url else {}
    sampler = around(as_sampler(named, engine, **engine_options))
    other = retrained if run_given or not retrained else inputs.source(retrained, **loading)
    if dry_run:
        sampled = n if other and not run_given else 0
        plan_audit(
            sampler, prompts, kept, asked, decoding, n=n, sampled=sampled, greedy=greedy, expand=expand, scorers=scorer, ks=ks,
            seed=seed, out=out, as_json=as_json, memory=need,
            above=attacking.rungs_above(attacks, sampler, known, n=n, folds=folds, paired=bool(other)),
        )  # fmt: skip
        return
    if fresh:
        options.move_aside(out)
    shared: dict[str, Any] = {"decoding": decoding, "seed": seed, "benchmark": name}
    about = {"model": model, "label": label, "seed": seed, "n": n, "decoding": decoding.label}
    with tracked(track or [], out, about), written_back(context, out):  # a tracker that does not start says so now
        if gate and sequential:
            gate, n = gating.sequential_gate(sampler, prompts, asked, gate, n, out, scorer, greedy=greedy, **shared)
            ks = [value for value in ks if value <= n]
        settings = AuditSettings(
            n=n, ks=tuple(ks), scorers=tuple(scorer), level=level, expand=expand, greedy=greedy, probes=tuple(probe or ()),
            paraphrases=not one_wording, gate=None if attacks else gate, label=label, role=role, engine=engine, engine_options=engine_options, **shared,
        )  # fmt: skip
        results: dict[str, Any] = audit(
            sampler,
            prompts,
            out=out,
            settings=settings,
            retain=kept,
            retrained=other or None,
            command=options.command(),
        )
        if attacks:
            ladder = attacking.climb(
                named, prompts, attacks, settings, out=out, known=known, retrained=other or None, folds=folds, over=over,
                gate=gate, excess_gate=gates.excess, command=options.command(),
            )  # fmt: skip
            if gates:
                results = Run.open(out).results()
        elif gates:
            results = gating.judge(gates, out, retrained)
        track_audit(results)
    from leakatk.files.writing import write_kept

    rounds = Path(model) / "rounds" / "rounds.json"
    if rounds.exists():  # RULE's record: the report shows it, and the model may be gone when the report is made again
        write_kept(out / "rounds.json", rounds.read_bytes())
    from leakatk.report.training import keep_training

    no_curves = keep_training(Path(model), out)
    from leakatk.report.assemble import print_runs, write_report
    from leakatk.report.headline import headline, holds
    from leakatk.runs.results import AuditResults

    page = write_report([out], out / "report.html", over=over)
    if as_json:
        options.echo_json({**results, "ladder": ladder} if attacks else results)
    else:
        print_runs([out], over=over)
        if attacks:
            attacking.show(ladder)
        typer.echo(headline(results))
        typer.echo(f"Report: {page}")
    options.say_notes([*filter(None, [no_curves]), *results["notes"], *(attacking.notes(ladder) if attacks else [])])
    if gates:
        gating.write([AuditResults.from_dict(results)], summary=summary, junit=junit)
        gating.tell(results, holds(results))


def plan_audit(
    sampler: Sampler,
    prompts: list[Prompt],
    kept: list[Prompt],
    asked: list[Probed],
    decoding: Decoding,
    *,
    n: int,
    sampled: int,
    greedy: bool,
    expand: int,
    scorers: list[str],
    ks: list[int],
    seed: int,
    out: Path,
    as_json: bool,
    memory: dict[str, Any],
    above: attacking.Planned | None,
) -> None:
    """Say what an audit would sample, expand and ask a judge, and what that costs. sampled: answers of the retrained model to a prompt."""
    from leakatk.cli.dry import expansion_cost, judging_cost, sampling_cost, says, says_memory
    from leakatk.progress import format_seconds
    from leakatk.sampling.base import Estimates, InProcess, check_prompts

    under = [variant for one in asked for variant in one.prompts]
    check_prompts(sampler, under)
    if isinstance(sampler, InProcess):
        sampler.loaded.template.describe(
            sampler.loaded.tokenizer
        )  # an argument that the chat template does not know is an error now, too
    answers = (len(prompts) + len(under)) * (n + sampled + greedy) + len(kept)
    cost: dict[str, Any] = {"answers": answers, **memory}
    lines = []
    if isinstance(sampler, Estimates):
        expected = sampler.estimate([*prompts, *under], answers, decoding)
        cost |= expected
        lines.append(f"Would ask for {answers:,} answers ({decoding.label}), into {out}. {sampler.says(expected)}")
    else:
        cost |= sampling_cost(sampler, [*prompts, *under], answers, decoding, seed=seed, each=n)
        lines.append(
            f"Would sample {len(prompts):,} prompts x {n:,} = {len(prompts) * n:,} answers of at most {decoding.max_new_tokens} tokens "
            f"({decoding.label}){f', {len(under):,} prompts x {n:,} = {len(under) * n:,} under {len(asked)} probes' if asked else ''}"
            f"{', as many of the retrained model' if sampled else ''}, {greedy * (len(prompts) + len(under)):,} greedy answers and "
            f"{len(kept):,} retain answers, k = {', '.join(map(str, ks))}, into {out}: {says(cost)} "
            f"(from a pilot of {cost['pilot_answers']} answers, {cost['tokens_per_second']:,.0f} tokens/s)."
        )
    if expand:
        cost["expansion"] = trees = expansion_cost(sampler, prompts, decoding, expand)
        time = (
            "" if math.isnan(trees["seconds"]) else f", at most about {format_seconds(trees['seconds'])} (from a pilot)"
        )
        lines.append(f"Would expand at most {trees['prefixes']:,} prefixes{time}; a peaked model needs far fewer.")
    if above:
        cost |= {"answers_under_attack": above.answers, "attacks": above.attacks}
        lines.append(
            f"Would then draw {above.answers:,} answers under {above.sampled} attacks, into {out / attacking.PLACE}."
        )
        lines += above.lines
    cost["judges"], asked_of_judges = judging_cost(scorers, prompts, answers)
    lines += asked_of_judges
    if as_json:
        options.echo_json(cost)
    else:
        typer.echo("\n".join([*lines, *says_memory(memory)]))
