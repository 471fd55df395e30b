"""General utility (MMLU and the like) with lm-eval, the evaluation harness of EleutherAI: extra `eval`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

from scipy import stats

from leakatk.errors import InputError, first_line
from leakatk.hush import hushed
from leakatk.models.loaded import LoadedModel


def harness_version() -> str:
    """The version of lm-eval. InputError with the command that installs it where it is not there."""
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("lm_eval")
    except PackageNotFoundError:
        raise InputError('Further tasks need lm-eval: run `pip install "leak-at-k[eval]"`.') from None


def evaluate_tasks(
    loaded: LoadedModel,
    tasks: Sequence[str],
    *,
    task_dir: str | Path | None = None,
    level: float = 0.95,
    batch_size: int = 8,
) -> dict[str, float]:
    """ "task:NAME METRIC" -> value, with " low" and " high" where the harness gives a standard error (normal interval).

    tasks: lm-eval's names, such as mmlu or hellaswag; NAME@5 asks with five examples instead of the task's own number.
    task_dir: directory with task files of your own.  The model is the one in memory, asked as the harness does by
    default (no chat template). Task data come from the hub. InputError for an unknown task, or data out of reach.
    """
    harness_version()
    import lm_eval
    from lm_eval.models.huggingface import HFLM

    with hushed():
        asked = {task: _name_and_shots(task) for task in tasks}
        manager = _manager(str(task_dir) if task_dir else None, frozenset(name for name, _ in asked.values()))
        model = HFLM(
            pretrained=loaded.model, tokenizer=loaded.tokenizer, batch_size=batch_size, device=str(loaded.device)
        )
        values: dict[str, float] = {}
        for task, (name, shots) in asked.items():
            try:
                found = lm_eval.simple_evaluate(
                    model=model,
                    tasks=[name],
                    num_fewshot=shots,
                    task_manager=manager,
                    log_samples=False,
                    bootstrap_iters=1000,
                )
            except (OSError, ValueError, RuntimeError) as error:
                raise InputError(
                    f"lm-eval cannot run {name} ({type(error).__name__}: {first_line(error)}); "
                    "its data come from the hub: run it once with a connection, then set HF_DATASETS_OFFLINE=1."
                ) from error
            values |= _columns(task, found["results"][name], level)
    return values


def _manager(task_dir: str | None, names: frozenset[str]) -> Any:
    """The harness's task index: of your own files alone where they have every task, else of all of them."""
    if task_dir and names <= set((own := _index(task_dir, False)).all_tasks):
        return own
    every = _index(task_dir, True)
    if unknown := sorted(names - set(every.all_tasks)):
        raise InputError(
            f"lm-eval {harness_version()} has no task {unknown[0]!r}; `lm_eval ls tasks` lists them, --task-dir adds your own."
        )
    return every


@lru_cache
def _index(task_dir: str | None, defaults: bool) -> Any:
    """Reading the harness's thousands of task files takes seconds: once is enough."""
    from lm_eval.tasks import TaskManager

    return TaskManager(include_path=task_dir, include_defaults=defaults)


def _name_and_shots(task: str) -> tuple[str, int | None]:
    """ "mmlu@5" -> ("mmlu", 5)."""
    name, at, shots = task.partition("@")
    if at and not (shots.isdecimal() and len(shots) <= 6):
        raise InputError(f"Task {task!r}: write NAME@SHOTS with a whole number of examples, such as mmlu@5.")
    return name, int(shots) if at else None


def _columns(task: str, found: Mapping[str, Any], level: float) -> dict[str, float]:
    """The harness names a metric "acc,none" and its standard error "acc_stderr,none"."""
    wide = float(stats.norm.ppf(0.5 + level / 2))
    values: dict[str, float] = {}
    for key, value in found.items():
        metric, comma, filtered = key.partition(",")
        if not comma or metric.endswith("_stderr") or not isinstance(value, int | float):
            continue
        column = f"task:{task} {metric}" + ("" if filtered == "none" else f" {filtered}")
        values[column] = float(value)
        error = found.get(f"{metric}_stderr,{filtered}")
        if isinstance(error, int | float):
            values |= {f"{column} low": value - wide * error, f"{column} high": value + wide * error}
    return values
