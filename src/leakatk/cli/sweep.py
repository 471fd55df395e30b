"""leakatk sweep: models x methods x settings x seeds, each unlearned and measured, with mean and spread over the seeds."""

from __future__ import annotations

import json
import shlex
import tempfile
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from leakatk.cli import options
from leakatk.errors import InputError, RunError

if TYPE_CHECKING:
    from leakatk.cli.sweep_plan import Known, Sweep, Task
    from leakatk.cli.sweep_run import Run, State

EXAMPLES = options.examples(
    "leakatk sweep sweep.toml --out runs/sweep --dry-run",
    "leakatk sweep sweep.toml --out runs/sweep --jobs 2",
    "leakatk sweep sweep.toml --out runs/sweep --gpus 0,1,2,3",
    "leakatk table runs/sweep/results --over-seeds --style latex",
)


def add_to(app: typer.Typer) -> None:
    app.command("sweep", short_help="Methods x seeds x settings x models, in one table.", epilog=EXAMPLES)(run)


def run(
    file: Annotated[Path, typer.Argument(metavar="CONFIG.toml", help="What to run: models, methods, settings, seeds.")],
    out: Annotated[
        Path | None, typer.Option(help="Directory of models, results and tables; the same command resumes.")
    ] = None,
    jobs: Annotated[int, typer.Option(min=1, help="Cells at a time; with --gpus, on each of them.")] = 1,
    gpus: Annotated[str, typer.Option(help="GPUs by number, such as 0,1,2: cells run on all of them at once.")] = "",
    dry_run: options.DryRun = False,
    as_json: options.AsJson = False,
    quiet: options.Quiet = False,
) -> None:
    """Unlearn each model by each method under each settings with each seed, and measure what comes out.

    Each cell is a `leakatk unlearn` and a `leakatk bench` in processes of their own. A cell that fails stops no other; it is
    counted and named, and the exit code is 2. Several sweeps may work on one OUT at once.
    """
    from leakatk.cli.sweep_plan import plan_sweep, read_sweep
    from leakatk.cli.sweep_run import Runner, environments

    given = read_sweep(file)
    place = out or (Path(given["out"]) if isinstance(given.get("out"), str) and given["out"] else None)
    if place is None:
        raise InputError(f'Give --out DIR, or out = "DIR" in {file}: where the models and results go.')
    devices = [one.strip() for one in gpus.split(",") if one.strip()]
    if gpus and not all(one.isdecimal() for one in devices):
        raise InputError(f"--gpus {gpus!r}: give numbers separated by commas, such as 0,1.")
    unlearn, bench = commands()
    from leakatk.unlearning.methods import METHODS

    sweep = plan_sweep(given, place, unlearn, bench, {name: METHODS[name].params for name in METHODS})
    check(sweep)
    from leakatk import progress

    runner = Runner(sweep, lambda text: None if progress.silent else typer.echo(text, err=True))
    workers = environments(jobs, devices)
    if dry_run:
        _dry(sweep, runner, len(workers), as_json=as_json)
        return
    runner.work(workers)
    _tell(sweep, runner.states, as_json=as_json)


def commands() -> tuple[Known, Known]:
    """The options of `leakatk unlearn` and `leakatk bench`."""
    from leakatk.cli.sweep_plan import Known

    found, group = [], _group()
    for name in ("unlearn", "bench"):
        flags: dict[str, tuple[str, str]] = {}
        valued = set()
        for parameter in group.commands[name].params:
            longest = max((word.lstrip("-") for word in parameter.opts), key=len)
            if getattr(parameter, "is_flag", False):
                flags[longest] = (f"--{longest}", next(iter(parameter.secondary_opts), ""))
            else:
                valued.add(longest)
        found.append(Known(name, flags, frozenset(valued)))
    return found[0], found[1]


def _group() -> Any:
    """The parsers of the commands that cells are made of."""
    from typer.main import get_command

    from leakatk.cli import bench, unlearn

    app = typer.Typer()
    unlearn.add_to(app)
    bench.add_to(app)
    return get_command(app)


def check(sweep: Sweep) -> None:
    """InputError for a command that its own parser refuses: before anything is run."""
    from leakatk import progress
    from leakatk.unlearning.methods import METHODS

    group, silent = _group(), progress.silent
    for task in sweep.tasks.values():
        name, *words = task.words
        try:
            parsed = group.commands[name].make_context(name, list(words), resilient_parsing=False)
        except InputError:
            raise
        except Exception as error:
            if not hasattr(error, "format_message"):
                raise
            raise InputError(
                f"{task.name}: {error.format_message()} ({shlex.join(['leakatk', name, *words])})"
            ) from None
        finally:
            progress.silent = silent  # --quiet of a cell is not ours
        method = parsed.params.get("method", "rule")
        if isinstance(method, str) and method != "rule":
            METHODS[method]  # an unknown one is an error with the nearest names
        elif name == "unlearn" and not parsed.params["base"] and parsed.params["rule_preset"] == "default":
            raise InputError(f'{task.name}: RULE needs a method to wrap: write "simnpo > rule" or "rule:base=simnpo".')


def _dry(sweep: Sweep, runner: Any, workers: int, *, as_json: bool) -> None:
    """What would be run, and what it costs by one timed cell a model."""
    from leakatk.cli.sweep_run import OPEN, State, state_of, state_of_cell
    from leakatk.progress import format_seconds

    states = {name: state_of(sweep, task) for name, task in sweep.tasks.items()}
    left = [task for task in sweep.tasks.values() if states[task.name].state != "done"]
    costs: dict[tuple[str, str], float | None] = {}
    seconds, untimed = 0.0, 0
    for task in left:
        kind = (task.words[0], task.sized[2] if task.words[0] == "bench" else task.sized[1])
        if kind not in costs:
            costs[kind] = _timed(task, runner.run)
        cost = costs[kind]
        seconds += cost or 0.0
        untimed += cost is None
    cells = [(cell, state_of_cell(cell, states)) for cell in sweep.cells]
    done = sum(state.state == "done" for _, state in cells)
    about = {
        "cells": len(cells), "done": done, "tasks_left": len(left), "seconds": seconds, "untimed": untimed, "workers": workers,
        "commands": [["leakatk", *task.words] for task in left],
    }  # fmt: skip
    if as_json:
        options.echo_json(about)
        return
    for cell, state in cells:
        typer.echo(f"{cell.label}, seed {cell.seed}: {state.state if state != State(OPEN) else 'to be run'}")
    typer.echo(
        f"{len(cells)} cells, {done} done. Would run {len(left)} commands, about {format_seconds(seconds)} of work in "
        f"{workers} at a time (by one of each kind and model, timed here; other methods may take longer), and a few seconds each "
        "to begin."
    )
    if untimed:
        typer.echo(f"{untimed} of them could not be timed: run one by hand with --dry-run to see why.")
    for task in left[:2]:
        typer.echo(f"  {shlex.join(['leakatk', *task.words])}")


def _timed(task: Task, run: Run) -> float | None:
    """Seconds that the command says it would take; None where it says nothing."""
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "log.txt"
        if run((*task.sized, "--dry-run", "--json"), log, {}) != 0:
            return None
        text = log.read_text(encoding="utf-8", errors="replace")
    try:
        found = json.JSONDecoder().raw_decode(text[text.index("\n{") + 1 if "\n{" in text else text.index("{") :])[0]
        return float(found.get("all_seconds", found["seconds"])) + float(found.get("forced", {}).get("seconds", 0.0))
    except (ValueError, KeyError, TypeError):
        return None


def _tell(sweep: Sweep, states: Mapping[str, State], *, as_json: bool) -> None:
    from leakatk.cli.sweep_run import place_of, state_of_cell

    cells = [(cell, state_of_cell(cell, states)) for cell in sweep.cells]
    counts = Counter(state.state for _, state in cells)
    bad = [(cell, state) for cell, state in cells if state.state != "done"]
    tables = _tables(sweep, as_json=as_json)
    if as_json:
        rows = [
            {"label": cell.label, "model": cell.model, "method": cell.method, "setting": cell.setting, "seed": cell.seed,
             "state": state.state, "reason": state.reason, "seconds": state.seconds}
            for cell, state in cells
        ]  # fmt: skip
        options.echo_json({"cells": rows, "counts": dict(counts), "results": str(sweep.results), "tables": tables})
    else:
        typer.echo(f"Cells: {', '.join(f'{count} {state}' for state, count in counts.items())}, of {len(cells)}.")
        typer.echo(f"Results: {sweep.results}; tables: {sweep.out / 'tables'}")
    for cell, state in bad:
        first = next(name for name in cell.tasks if states[name].state != "done")
        log = place_of(sweep, sweep.tasks[first]) / "log.txt"
        typer.echo(f"{cell.label}, seed {cell.seed}: {state.state}, {state.reason}. Log: {log}", err=True)
    if bad:
        raise RunError(
            f"{len(bad)} of {len(cells)} cells are not done, and no table has them; mend what they say, then run the same command: "
            "it tries them again and repeats nothing else."
        )


def _tables(sweep: Sweep, *, as_json: bool) -> list[str]:
    """Print the tables, and write each as Markdown, CSV and LaTeX; the files. Rows of this sweep's cells alone."""
    from leakatk.bench.columns import short_names
    from leakatk.bench.over_seeds import over_seeds
    from leakatk.bench.results import RESULTS, layouts_of, read_rows, results_table
    from leakatk.cli.bench import show
    from leakatk.files.writing import write_atomic
    from leakatk.report.latex import fitted_latex
    from leakatk.report.table import to_csv, to_markdown

    if not (sweep.results / RESULTS).exists():
        return []
    ours = {(path, cell.seed) for cell in sweep.cells for path in cell.measured}
    rows = [row for row in read_rows(sweep.results) if (row["model"], row["seed"]) in ours]
    if not rows:
        return []
    averaged = over_seeds(rows)
    layouts = layouts_of(averaged)
    folder = sweep.out / "tables"
    folder.mkdir(exist_ok=True)
    made = []
    for layout in layouts:
        table = results_table(averaged, layout)
        if not as_json and (layout != "leak" or "grid" not in layouts):
            show(table, "terminal")
        for end, text in (
            ("md", to_markdown(table)),
            ("csv", to_csv(table)),
            ("tex", fitted_latex(table, short_names(table))),
        ):
            write_atomic(folder / f"{layout}.{end}", text)
            made.append(str(folder / f"{layout}.{end}"))
    return made
