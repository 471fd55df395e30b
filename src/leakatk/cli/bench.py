"""leakatk bench, table, compare and benchmark: the field's tables, and a check of one's own prompts."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from leakatk.cli import bench_gate, gating, guarding, inputs, options
from leakatk.cli.config import Config, either, written_back
from leakatk.errors import InputError
from leakatk.registry import spec_name

if TYPE_CHECKING:
    from leakatk.benchmarks.base import Benchmark
    from leakatk.report.content import Table

BENCH_EXAMPLES = options.examples(
    "leakatk bench tofu/forget10 --model models/forgot --retrained models/retrained --data tofu --out results",
    "leakatk bench world --model models/forgot --retrained models/retrained --n 50 --grid --out results",
    "leakatk bench world --model models/forgot --decoding temperature=0.7,top_p=0.9 --task mmlu --out results",
    "leakatk bench world --model models/forgot --probe few-shot --probe prefix --out results",
    "leakatk bench world --model models/forgot --out results --fail-above 64:0.05",
    "leakatk bench world --model models/full --retrained models/retrained --guard curate --out results",
    "leakatk table results --layout tofu --style latex",
)
COMPARE_EXAMPLES = options.examples("leakatk compare runs/rule runs/control --scorer fact")
RECOMPUTE_EXAMPLES = options.examples("leakatk recompute TOFU_EVAL.json --retained RETAIN_EVAL.json")
CHECK_EXAMPLES = options.examples(
    "leakatk benchmark check forget.jsonl",
)
Style = Annotated[str, typer.Option(help="terminal, markdown, latex, csv or json.")]


def add_to(app: typer.Typer) -> None:
    app.command("bench", short_help="Every number of a benchmark for one model.", epilog=BENCH_EXAMPLES)(run)
    app.command("table", short_help="Benchmark results in a paper's layout.", epilog=BENCH_EXAMPLES)(table)
    app.command("compare", short_help="leak@k of two runs and their difference, paired.", epilog=COMPARE_EXAMPLES)(
        compare
    )
    app.command(
        "recompute", short_help="Recompute the aggregates of an OpenUnlearning log.", epilog=RECOMPUTE_EXAMPLES
    )(recompute)
    group = typer.Typer(
        no_args_is_help=True, add_help_option=False, help="Check a file of your own prompts.", epilog=CHECK_EXAMPLES
    )
    group.callback()(_group)
    group.command("check", epilog=CHECK_EXAMPLES)(check)
    app.add_typer(group, name="benchmark")


def _group(help_: options.Help = False) -> None:
    """A callback keeps the group a group although it has one command."""


def run(
    context: typer.Context,
    benchmark: Annotated[
        str,
        typer.Argument(
            help="Benchmark name (see leakatk benchmarks), or a path to your own prompts.",
            autocompletion=options.named("benchmarks"),
        ),
    ],
    model: Annotated[str, typer.Option(help="Model directory or hub id.")],
    out: Annotated[Path, typer.Option(help="Directory for results.parquet and the runs; the same command resumes.")],
    retrained: Annotated[str, typer.Option(help="The model trained without the forget data.")] = "",
    reference: Annotated[str, typer.Option(hidden=True, help="Former name of --retrained.")] = "",
    protocol: Annotated[
        str, typer.Option(help="clean or paper (see leakatk protocols).", autocompletion=options.named("protocols"))
    ] = "clean",
    label: Annotated[str, typer.Option(help="What tables call the model; default its name.")] = "",
    role: options.Role = "model",
    n: Annotated[int | None, typer.Option("--n", help="Samples a prompt; default the protocol's.")] = None,
    grid: Annotated[
        bool, typer.Option("--grid", help="Every decoding of the protocol's grid, not the headline alone.")
    ] = False,
    decoding: Annotated[
        list[str] | None,
        typer.Option(
            help="NAME=VALUE,... on top of the protocol's headline, such as temperature=0.7,top_p=0.9; may be repeated."
        ),
    ] = None,
    scorer: Annotated[
        str,
        typer.Option(
            help="Core metric; default the protocol's or the benchmark's.", autocompletion=options.named("scorers")
        ),
    ] = "",
    metric: Annotated[
        list[str] | None,
        typer.Option(
            help="Also this metric, besides the benchmark's own, such as extraction; may be repeated.",
            autocompletion=options.named("metrics"),
        ),
    ] = None,
    auxiliary: Annotated[
        list[str] | None,
        typer.Option(
            help="A further model that a metric looks at, as original=MODEL, earlier=MODEL, alike=MODEL or retrained=MODEL, or that the guard needs; may be repeated."
        ),
    ] = None,
    encoder: Annotated[
        str,
        typer.Option(
            help="Sentence encoder of the guard, or of the metric forget_efficacy with --nli: a directory or hub id."
        ),
    ] = "",
    nli: Annotated[
        str, typer.Option(help="Entailment model of the metric forget_efficacy: a directory or hub id; with --encoder.")
    ] = "",
    guard: guarding.Spec = "",
    probe: options.Probes = None,
    fail_above: options.FailAbove = "",
    fail_excess_above: gating.FailExcessAbove = "",
    fail_if_worse_than: bench_gate.FailIfWorseThan = None,
    worse_by: gating.WorseBy = gating.RISE,
    summary: gating.SummaryFile = None,
    junit: gating.JUnitFile = None,
    worst_case: options.WorstCase = False,
    unscored: options.Unscored = "count",
    cut: options.Cut = "count",
    one_wording: options.OneWording = False,
    template: Annotated[
        str,
        typer.Option(
            help="auto (a chat model in its own template, multiple choice and base models in the benchmark's), chat or plain."
        ),
    ] = "auto",
    text_tokens: Annotated[
        int, typer.Option(min=0, help="MUSE: cut the texts of the membership attack at so many tokens; 0 is nowhere.")
    ] = 0,
    ask: Annotated[
        str, typer.Option(help="TOFU's question or its paraphrase (question, paraphrased); default the protocol's.")
    ] = "",
    retain_n: Annotated[int, typer.Option(help="Samples of a retain prompt (0: greedy only).")] = 20,
    grad_norm: Annotated[
        bool,
        typer.Option(help="The gradient-norm attack: one backward pass a text, gradients of all parameters in memory."),
    ] = True,
    task: Annotated[
        list[str] | None,
        typer.Option(help="Also a task of lm-eval (extra eval), such as mmlu or mmlu@5; may be repeated."),
    ] = None,
    task_dir: Annotated[Path | None, typer.Option(help="Directory with lm-eval task files of your own.")] = None,
    column: options.Columns = None,
    limit: options.Limit = None,
    retain_limit: options.RetainLimit = None,
    data: options.Data = None,
    revision: Annotated[str, typer.Option(help="Commit or branch of the benchmark on the hub.")] = "main",
    template_arg: options.TemplateArgs = None,
    seed: options.Seed = 0,
    device: options.Device = "auto",
    dtype: options.Dtype = "auto",
    device_map: options.DeviceMap = "",
    load_in: options.LoadIn = "",
    dry_run: options.DryRun = False,
    as_json: options.AsJson = False,
    quiet: options.Quiet = False,
    config: Config = None,
) -> None:
    """Every number of a benchmark for one model: utility, forgetting, privacy, leak@k. Adds rows to OUT/results.parquet.

    `--fail-above` is a gate on all decodings and probes together; the first core metric counts, and prompts that carry other
    wordings are asked in them too. `--fail-excess-above` and `--fail-if-worse-than` are gates on a difference. The verdict
    (exit code 0 PASS, 1 FAIL, 4 CANNOT SAY) is kept in OUT/verdict.json.
    """
    from leakatk.auditing.audit import powers_of_two
    from leakatk.bench.bench import bench
    from leakatk.bench.named import metrics_table
    from leakatk.bench.plan import label_of
    from leakatk.bench.results import WORST, layouts_of, results_table, ways_of
    from leakatk.benchmarks.catalog import load_benchmark
    from leakatk.benchmarks.protocols import PROTOCOLS
    from leakatk.prompts import columns_from

    options.check_role(role)
    retrained = either(context, "retrained", "reference")
    if template not in ("auto", "chat", "plain"):
        raise InputError(f"--template {template!r}: use auto, chat or plain.")
    rules = PROTOCOLS[protocol].on(benchmark)
    count = rules.n if n is None else n
    gate = options.parse_gate(fail_above, count, worst_case=worst_case, ways=probe or [], unscored=unscored, cut=cut)
    gates = gating.gates_of(
        gate, fail_excess_above, fail_if_worse_than, worse_by, n=count, ks=powers_of_two(count), retrained=retrained,
        refused={"--worst-case": worst_case}, unscored=unscored, cut=cut,
    )  # fmt: skip
    gating.without_verdict(gates, summary, junit)
    bench_gate.check_powers(gates, count)
    if decoding and grid:
        raise InputError("Give either --grid or --decoding, not both.")
    used = rules.grid if grid else [options.parse_decoding(text, rules.headline) for text in decoding or [""]]
    beside = [] if guard else inputs.further_models(auxiliary or [], "original=models/full")
    models_of_guard = inputs.auxiliary_models(auxiliary or []) if guard else {}
    found: str | Benchmark = benchmark
    if dry_run or column or limit or retain_limit or fail_if_worse_than:
        loaded = load_benchmark(
            benchmark,
            data=inputs.data_of(benchmark, data),
            seed=seed,
            ask=ask or rules.ask,  # type: ignore[arg-type]
            revision=revision,
            columns=columns_from(column or ()),
        )
        found = limited(loaded, limit, retain_limit)
    before: dict[str, Path] = {}
    if gates.worse and gates.earlier:
        assert not isinstance(found, str)
        names, core = [label_of(one, rules) for one in used], scorer or rules.scorer
        before = bench_gate.earlier_runs(gates.earlier, found, names, label=label, scorer=core, k=gates.worse.k)
    if dry_run:
        from leakatk.cli.bench_plan import plan_bench

        assert not isinstance(found, str)
        if guard:
            from leakatk.guards import get_guard

            found, grad_norm = replace(found, metrics=()), False  # nothing that looks at the weights
            guarding.behind(guard, auxiliary or [], encoder, found.forget, found.retain)
            typer.echo(f"Every model behind guard {get_guard(guard).name}: the fit is not in the times.", err=True)
        plan_bench(
            found, model, rules, count, retain_n, probe or [], scorer,
            paraphrases=bool(gates) and not one_wording, template=template, decodings=used,
            grad_norm=grad_norm, tasks=task or [], seed=seed, models=2 if retrained else 1, device=device, dtype=dtype, device_map=device_map, load_in=load_in, as_json=as_json,
            template_args=inputs.template_args(template_arg or []), metrics=metric or [], text_tokens=text_tokens,
            auxiliary=beside,
        )  # fmt: skip
        return
    with written_back(context, out):
        rows = bench(
            model, found, out=out, retrained=retrained or None, protocol=protocol, n=n, scorer=scorer or None, decodings=used, retain_n=retain_n,
            ask=ask or None,  # type: ignore[arg-type]
            probes=probe or [], paraphrases=bool(gates) and not one_wording, template=template, text_tokens=text_tokens, grad_norm=grad_norm, tasks=task or [], task_dir=task_dir, data=inputs.data_of(benchmark, data), revision=revision,
            seed=seed, device=device, dtype=dtype, device_map=device_map, load_in=load_in, template_args=inputs.template_args(template_arg or []), metrics=metric or [],
            auxiliary=beside, encoder=encoder, nli=nli, label=label, role=role, guard=guard, guard_auxiliary=models_of_guard,
        )  # fmt: skip
    if as_json:
        options.echo_json(rows)
    else:
        layouts = layouts_of(rows)
        for layout in layouts if "grid" not in layouts else layouts[1:]:  # the grid says it in less space
            show(results_table(rows, layout), "terminal")
        if metric:
            show(metrics_table(rows, metric), "terminal")
        typer.echo(f"Results: {out / 'results.parquet'}")
    from leakatk.runs.store import Run

    options.say_notes(
        [
            f"{Path(row['model']).name}, {row['decoding']}: {note}"
            for row in rows
            for note in Run.open(row["run"]).results().get("notes", ())
        ]
    )
    if gates:
        from leakatk.report.headline import holds
        from leakatk.runs.results import AuditResults

        # A run may hold other ways of asking, from an earlier command: the gates look at those asked for now.
        asked = [name for name in ways_of(rows) if name != WORST]
        verdicts = bench_gate.judge(gates, rows, out, asked=asked, compared=bool(retrained), earlier=before)
        results = Run.open(rows[len(rows) // 2 if retrained else 0]["run"]).results()
        if not any(spec_name(name) == "paraphrase" for name in asked):  # whatever an earlier command asked
            results["wordings"] = {"one": results["m"], "several": 0}
        results |= verdicts
        gating.write([AuditResults.from_dict(results)], summary=summary, junit=junit)
        gating.tell(results, holds(results))


def limited(benchmark: Benchmark, limit: int | None, retain_limit: int | None) -> Benchmark:
    """The benchmark with so many prompts at most, which its origin says in every row of the results."""
    forget, retain, said = inputs.limited(benchmark.forget, benchmark.retain, limit, retain_limit)
    held = benchmark.retain_held
    if retain_limit is not None and held:
        held = tuple(inputs.drawn(held, retain_limit))
    origin = "; ".join(filter(None, (benchmark.origin, said)))
    return replace(benchmark, forget=tuple(forget), retain=tuple(retain), retain_held=held, origin=origin)


def table(
    results: Annotated[Path, typer.Argument(help="Directory or file that `leakatk bench` wrote.")],
    layout: Annotated[
        str,
        typer.Option(
            help="leak, excess, grid, probes, fluency, tofu, utility, privacy, muse, choices, sets or tasks; default leak, or grid where "
            "there are several decodings."
        ),
    ] = "",
    style: Style = "terminal",
    seeds: Annotated[
        bool, typer.Option("--over-seeds", help="Mean and standard deviation over seeds, a row a model.")
    ] = False,
    open_unlearning: Annotated[
        Path | None,
        typer.Option(help="Directory for each row as OpenUnlearning's TOFU_SUMMARY.json or MUSE_SUMMARY.json."),
    ] = None,
    as_json: options.AsJson = False,
) -> None:
    """Print benchmark results in a paper's layout."""
    from leakatk.bench.over_seeds import over_seeds
    from leakatk.bench.results import default_layout, read_rows, results_table

    with options.reading(results):
        rows = read_rows(results)
        if open_unlearning is not None:
            from leakatk.bench.summaries import write_summaries

            made_of = write_summaries(rows, open_unlearning)
            for path, said in made_of.items():
                typer.echo(f"{path}: {said}", err=True)
        rows = over_seeds(rows) if seeds else rows
        made = results_table(rows, layout or default_layout(rows))
    show(made, "json" if as_json else style)


def compare(
    a: Annotated[Path, typer.Argument(help="Run directory.")],
    b: Annotated[Path, typer.Argument(help="Run directory to subtract.")],
    scorer: Annotated[str, typer.Option(help="Core metric.", autocompletion=options.named("scorers"))] = "rouge-l",
    level: Annotated[float, typer.Option(help="Level of the intervals.")] = 0.95,
    style: Style = "terminal",
    as_json: options.AsJson = False,
) -> None:
    """leak@k of two runs and their difference, paired by prompt."""
    from leakatk.bench.results import compare as compared

    with options.reading(a, b):
        made = compared(a, b, scorer=scorer, level=level)
    show(made, "json" if as_json else style)


def recompute(
    log: Annotated[
        Path,
        typer.Argument(help="TOFU_EVAL.json or MUSE_EVAL.json of OpenUnlearning, or TOFU's eval_log_aggregated.json."),
    ],
    retained: Annotated[Path | None, typer.Option(help="The log of the retain-only model.")] = None,
    style: Style = "terminal",
    as_json: options.AsJson = False,
) -> None:
    """Recompute the aggregates of an OpenUnlearning log from its per-item values, beside what it says."""
    from leakatk.bench.logs import read_log
    from leakatk.bench.logs import recompute as recomputed
    from leakatk.report.content import Cell, Number, Table

    found = recomputed(read_log(log), read_log(retained) if retained else None)
    noted = any(item.note for item in found)
    rows: list[tuple[Cell, ...]] = [
        (item.name, Number(item.value, digits=6), Number(item.stored, digits=6), str(item.items), item.note)[
            : 4 + noted
        ]
        for item in found
    ]
    columns = ("metric", "recomputed", "in the log", "items", "note")[: 4 + noted]
    table = Table(title=str(log), columns=columns, rows=tuple(rows))
    show(table, "json" if as_json else style)


def check(
    file: Annotated[Path, typer.Argument(help="JSONL, CSV or Parquet: question, answer, and what else you have.")],
    column: options.Columns = None,
    as_json: options.AsJson = False,
) -> None:
    """Say what can be done with your own prompts and what is missing."""
    from leakatk.benchmarks.files import check_file
    from leakatk.prompts import columns_from

    report = check_file(file, columns_from(column or ()))
    if as_json:
        options.echo_json(asdict(report))
        return
    typer.echo(f"{report.path}: {report.prompts} prompts.")
    for title, lines in (("Usable", report.usable), ("Missing", report.missing), ("Look at", report.warnings)):
        for line in lines:
            typer.echo(f"  {title}: {line}")


def show(made: Table, style: str) -> None:
    """Print a table for people, or as markup."""
    from leakatk.report import table as tables
    from leakatk.report.terminal import print_table, terminal

    if style == "terminal":
        print_table(made, terminal())
        return
    if style == "json":
        options.echo_json(asdict(made))
        return
    from leakatk.bench.columns import short_names
    from leakatk.report.latex import fitted_latex

    writers: dict[str, Callable[[Table], str]] = {
        "markdown": tables.to_markdown, "latex": lambda one: fitted_latex(one, short_names(one)), "csv": tables.to_csv,
    }  # fmt: skip
    if style not in writers:
        raise InputError(f"--style {style!r}: use terminal, json, {', '.join(writers)}.")
    typer.echo(writers[style](made), nl=False)
