"""Benchmarks by name: `benchmark("tofu/forget10")`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from leakatk.benchmarks import conceptvectors as conceptvectors
from leakatk.benchmarks import elude as elude
from leakatk.benchmarks import lkf as lkf
from leakatk.benchmarks import muse as muse
from leakatk.benchmarks import rwku as rwku
from leakatk.benchmarks import tofu as tofu
from leakatk.benchmarks import wmdp as wmdp
from leakatk.benchmarks.base import BENCHMARKS as BENCHMARKS
from leakatk.benchmarks.base import Ask, Benchmark, Options
from leakatk.benchmarks.fetch import FetchError
from leakatk.benchmarks.files import load_files
from leakatk.benchmarks.worlds import generators as generators

# Importing a module registers its benchmarks.
from leakatk.errors import InputError


def load_benchmark(
    name: str,
    *,
    data: str | Path | None = None,
    seed: int = 0,
    ask: Ask = "question",
    revision: str = "main",
    columns: Mapping[str, str] | None = None,
) -> Benchmark:
    """The benchmark `name` (a key of BENCHMARKS, or a path of your own: see `files.load_files`), its files checked.

    data: directory with the files as published; without it they come from the hub at `revision`.  ask: "question", or
    "paraphrased" for the published paraphrase of each forget question.  seed: of a generated benchmark.  columns: of files
    of your own, see `data.load_prompts`.
    Raises UnknownNameError (with the nearest names), or InputError that names the file and what is wrong with it.

    >>> world = load_benchmark("world")
    >>> len(world.forget), len(world.retain)
    (48, 168)
    """
    if ask not in ("question", "paraphrased"):
        raise InputError(f"ask must be question or paraphrased, got {ask!r}.")
    own = name not in BENCHMARKS and (Path(name).exists() or Path(name).suffix in (".json", ".jsonl"))
    if ask != "question" and (own or not BENCHMARKS[name].paraphrased):
        raise InputError(
            f"{name} has no published paraphrases to ask instead; leave --ask out (`--probe paraphrase` asks other wordings)."
        )
    if own:
        return load_files(name, columns)
    if columns:
        raise InputError(f"--column only goes with files of your own; {name} has its columns.")
    entry = BENCHMARKS[name]
    try:
        return entry.load(Options(data=Path(data) if data is not None else None, revision=revision, ask=ask, seed=seed))
    except FetchError:
        raise
    except InputError as error:  # a published file that is not what was published
        if not entry.repository:
            raise
        where = f"--local-dir {data}" if data is not None else "--force-download"
        raise InputError(
            f"{error} Get the published files again with `hf download {entry.repository} --repo-type dataset {where}`."
        ) from None


benchmark = load_benchmark
