"""`sample`: a model, prompts and a decoding into a run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from leakatk.auditing.settings import MAX_N as MAX_N
from leakatk.errors import InputError, LeakAtKError
from leakatk.progress import Progress
from leakatk.prompts import Prompt, check_unique
from leakatk.runs.manifest import Manifest
from leakatk.runs.store import Run
from leakatk.sampling.base import Request, Sampler, prepare, release
from leakatk.sampling.decoding import Decoding

if TYPE_CHECKING:
    from leakatk.models.load import ModelSource
    from leakatk.models.loaded import LoadedModel


def sample(
    model: str | Path | ModelSource | LoadedModel | Sampler,
    prompts: Sequence[Prompt],
    *,
    n: int = 200,
    decoding: Decoding | None = None,
    seed: int = 0,
    out: str | Path | None = None,
    engine: str = "native",
    engine_options: Mapping[str, Any] | None = None,
    benchmark: str = "custom",
    protocol: str = "clean",
    probe: str = "",
    label: str = "sampling",
    quiet: bool = False,
) -> Run:
    """Draw `n` samples of every prompt and return the run.

    model: a model directory or hub id, a `ModelSource`, a `LoadedModel`, or any engine.  out: the run directory; None
    keeps the run in memory. A directory that holds part of the same run is resumed at (prompt, sample); with a larger n
    it is extended; one that holds another run is refused with the fields that differ (RunError).
    probe: for the manifest, the probe that made these prompts.
    engine, engine_options: how a model that is not an engine yet is sampled (see `leakatk engines`).

    >>> from leakatk import load_prompts
    >>> run = sample("models/mine", load_prompts("forget.jsonl"), n=4, seed=1, quiet=True)
    >>> run.n
    4
    """
    if not 1 <= n <= MAX_N:
        raise InputError(f"n must be at least 1 and at most {MAX_N:,}, got {n}.")
    check_unique(prompts)
    decoding = decoding or Decoding()
    sampler = as_sampler(model, engine, **(engine_options or {}))
    manifest = Manifest.create(
        model=sampler.describe(),
        benchmark=benchmark,
        prompts=prompts,
        decoding=decoding.as_dict(),
        seed=seed,
        n=n,
        protocol=protocol,
        engine=sampler.name,
        probe=probe,
    )
    begun = out is not None and (Path(out) / "manifest.json").exists()
    made = out is not None and not Path(out).exists()
    with Run.temporary(manifest, prompts) if out is None else Run.create_or_resume(out, manifest, prompts) as run:
        try:
            prepare(sampler, run, decoding, n=n)
        except LeakAtKError:
            if out is not None and not begun:
                run.take_back(made=made)  # the same directory is free for other settings
            raise
        fill(run, sampler, decoding, n=n, seed=seed, label=label, quiet=quiet)
        run.finish()
    if sampler is not model:
        release(sampler)
    return run


def fill(run: Run, sampler: Sampler, decoding: Decoding, *, n: int, seed: int, label: str, quiet: bool) -> None:
    """Draw the samples a run still lacks."""
    by_id = {prompt.id: prompt for prompt in run.prompts}
    requests = [Request(by_id[i], samples) for i, samples in run.missing(n)]
    total, missing = n * len(by_id), sum(len(request.samples) for request in requests)
    if not missing:
        return
    with Progress(label, total, unit="samples", quiet=quiet, done=total - missing) as progress:
        for batch in sampler.sample(requests, decoding, seed=seed):
            run.append(batch)
            progress.advance(len(batch))


def as_sampler(model: Any, engine: str = "native", **options: Any) -> Sampler:
    """A path, a hub id, a `ModelSource`, a loaded model or an engine as an engine. options: the engine's own."""
    if isinstance(model, Sampler):
        return model
    from leakatk.sampling.engines import make_sampler

    return make_sampler(engine, model, **options)
