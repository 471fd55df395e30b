"""Run on disk: prompts, manifest, generations, scores, results.

    run/
      manifest.json             what it was made with; written last, so a directory that has one is a run
      prompts.jsonl             the prompts with their answers: re-scoring needs nothing else
      generations/*.jsonl       append-only shards while sampling
      generations.parquet       all of them, compacted by `finish`
      scores/<name>/scores.parquet
      results.json
      run.checksums             of each file beside it (scores/<name> has its own); a shard has one in each line
      run.lock, run.holder      held by the one writer, and who that is

Every file is whole or absent, except the last line of a shard, which its checksum guards. A damaged file is an error, never
another number (`leakatk.files.checksums`). A prompt has an id and a generation (prompt id, sample); arrays have one row a prompt in the order of `prompt_ids`, one column a sample.
"""

from __future__ import annotations

import dataclasses
import hashlib
import math
import shutil
import tempfile
import weakref
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from leakatk import workdir
from leakatk.arrays import Floats, Ints
from leakatk.errors import InputError, RunError, UnknownNameError
from leakatk.files import checksums
from leakatk.files import tables as files
from leakatk.files.reading import parse_json
from leakatk.files.strict_json import strict_json
from leakatk.files.writing import make_private, write_kept
from leakatk.prompts import Generation, Prompt
from leakatk.runs import score_files, shards
from leakatk.runs.generations import next_shard, parquet, read_generations_of, rows_of, shard_paths
from leakatk.runs.head import check_prompts, prompts_to_jsonl, read_head, refuse_foreign
from leakatk.runs.manifest import Manifest, canonical_json, differences, notes


class Run:
    """The generations of one manifest, kept in a directory. `create_or_resume` to write, `open` to read.

    path: the directory.  manifest: what it was made with.  prompts: in row order.
    notes: sentences a person should see (other versions than before, damaged lines left out).

    >>> from leakatk import load_prompts, sample
    >>> path = sample("models/mine", load_prompts("forget.jsonl"), n=2, out="runs/two", quiet=True).path
    >>> run = Run.open(path)
    >>> run.prompt_ids, [len(texts) for texts in run.texts()]
    (('p0', 'p1', 'p2'), [2, 2, 2])
    """

    def __init__(
        self, path: Path, manifest: Manifest, prompts: Sequence[Prompt], *, held: workdir.Claim | None = None
    ) -> None:
        """Not for callers: use `create_or_resume`, `temporary` or `open`."""
        self.path = path
        self.manifest = manifest
        self.prompts = tuple(prompts)
        self.notes: list[str] = [note] if (note := checksums.note(path)) else []
        self._row = {prompt.id: row for row, prompt in enumerate(self.prompts)}
        self._lock = held
        self._shard: shards.ShardWriter | None = None
        self._done: list[set[int]] = [set() for _ in self.prompts]
        table = self._table
        for row, sample in zip(self._rows_of(table).tolist(), table["sample"].to_pylist(), strict=True):
            self._done[row].add(sample)

    # --- opening and closing -------------------------------------------------------------------------------------

    @classmethod
    def create_or_resume(cls, path: str | Path, manifest: Manifest, prompts: Sequence[Prompt]) -> Run:
        """Start a run in a new or empty directory, or go on with the one that is there. Use as a context manager.

        RunError, with nothing changed, when the directory holds something else, a run with a different manifest
        (the fields are named), or a run another process is writing. n may be larger than before: the run grows.
        """
        path = Path(path)
        check_prompts(prompts, manifest)
        try:
            make_private(path)
            refuse_foreign(path)
        except OSError as error:
            raise RunError(
                f"Cannot use {path} as a run directory: {error.strerror or error}; choose a directory you can write."
            ) from error
        held = workdir.claim(path)
        try:
            if (path / "manifest.json").exists():
                return cls._resume(path, manifest, held)
            write_kept(path / "prompts.jsonl", prompts_to_jsonl(prompts))
            (path / "generations").mkdir(exist_ok=True)
            write_kept(path / "manifest.json", manifest.to_json())
            return cls(path, manifest, prompts, held=held)
        except BaseException:
            held.close()
            raise

    @classmethod
    def _resume(cls, path: Path, manifest: Manifest, held: workdir.Claim) -> Run:
        before, prompts = read_head(path)
        if differ := differences(before, manifest):
            raise workdir.made_otherwise(path, "a run", differ)
        noted, unchecked = notes(before, manifest), checksums.note(path)
        merged = dataclasses.replace(before, n=max(before.n, manifest.n))
        if merged != before:
            write_kept(path / "manifest.json", merged.to_json())
        for folder in (path / "scores").glob("*/"):
            workdir.clear(folder)
        run = cls(path, merged, prompts, held=held)
        if unchecked and unchecked not in run.notes:  # its index was begun just now
            run.notes.append(unchecked)
        if noted:
            run.notes.append(f"{path} is resumed with (before, now): {'; '.join(noted)}.")
        return run

    @classmethod
    def temporary(cls, manifest: Manifest, prompts: Sequence[Prompt]) -> Run:
        """A run for the life of the object: a directory in the system's temporary place, removed with it."""
        path = Path(tempfile.mkdtemp(prefix="leakatk-"))
        try:
            run = cls.create_or_resume(path, manifest, prompts)
        except BaseException:
            shutil.rmtree(path, ignore_errors=True)
            raise
        weakref.finalize(run, shutil.rmtree, path, True)
        return run

    @classmethod
    def open(cls, path: str | Path) -> Run:
        """Read a run, finished or not, without locking it. RunError when it is none, or damaged."""
        path = Path(path)
        if not path.is_dir():
            raise RunError(f"{path}: no such run directory; check the path.")
        return cls(path, *read_head(path))

    def __enter__(self) -> Run:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Release the lock. Reading goes on working."""
        shard, self._shard = self._shard, None
        held, self._lock = self._lock, None
        try:
            if shard:
                shard.close()
        finally:
            if held:
                held.close()

    def take_back(self, *, made: bool) -> None:
        """Remove a run that was begun just now and in which nothing is to be drawn; made: its directory too."""
        self._need_lock()
        self.close()
        with suppress(OSError):
            (self.path / "generations").rmdir()
            for name in ("prompts.jsonl", "manifest.json"):
                (self.path / name).unlink()
        workdir.abandon(self.path, made=made)

    # --- writing -------------------------------------------------------------------------------------------------

    def missing(self, n: int | None = None) -> list[tuple[str, list[int]]]:
        """(prompt id, sample numbers below n still to be drawn) for each prompt that lacks some; n: the manifest's."""
        wanted = range(self.manifest.n if n is None else n)
        lacking = (
            (id, [j for j in wanted if j not in done]) for id, done in zip(self.prompt_ids, self._done, strict=True)
        )
        return [(id, samples) for id, samples in lacking if samples]

    @property
    def missing_count(self) -> int:
        """Samples of the manifest's n per prompt that are not there yet."""
        return sum(len(samples) for _, samples in self.missing())

    def append(self, generations: Sequence[Generation]) -> int:
        """Store a batch; what is there already (same prompt and sample) is left as it is. Returns the number added.

        When this returns, a kill of the process no longer loses the batch. Lone surrogates, which UTF-8 cannot hold,
        become U+FFFD.
        """
        self._need_lock()
        new: dict[tuple[int, int], Generation] = {}
        for generation in generations:
            row = self._row.get(generation.prompt_id)
            if row is None or not 0 <= generation.sample < 2**31:
                raise InputError(
                    f"Sample {generation.sample} of prompt {generation.prompt_id!r} does not belong to the run {self.path}; "
                    "append generations of its own prompts, numbered from 0."
                )
            if generation.sample not in self._done[row]:
                new.setdefault((row, generation.sample), generation)
        if not new:
            return 0
        self._need_shard()
        try:
            if self._shard is None:
                self._shard = shards.ShardWriter(next_shard(self.path))
            self._shard.append(list(new.values()))
        except OSError as error:
            if self._shard:
                self._shard.abandon()
            self._shard = None  # the next batch starts a new shard, whatever state this one is in
            raise RunError(
                f"Cannot write to {self.path}: {error.strerror or error}; free some space and start again with the same "
                "settings: all earlier samples are safe."
            ) from error
        for row, sample in new:
            self._done[row].add(sample)
        self._forget()
        return len(new)

    def finish(self) -> None:
        """Compact the shards into generations.parquet (zstd). The run can be opened and extended afterwards."""
        self._need_lock()
        self._need_shard()
        old = shard_paths(self.path)
        if not old:
            return
        files.write_table(self._load(tokens=True), parquet(self.path))
        shard, self._shard = self._shard, None
        if shard:
            shard.close()
        for path in old:
            path.unlink()

    def _need_lock(self) -> None:
        if self._lock is None:
            raise RunError(f"The run {self.path} is open for reading only; open it with create_or_resume to write.")

    def _need_shard(self) -> None:
        """A writer does not notice by itself that its file has no name any more."""
        if self._shard and not self._shard.there():
            self._shard.abandon()
            self._shard = None
            raise RunError(
                f"{self.path} was removed or moved away while it was being written; start again with the same settings: "
                "what is still there is used."
            )

    # --- reading -------------------------------------------------------------------------------------------------

    @cached_property
    def prompt_ids(self) -> tuple[str, ...]:
        """The rows of every array."""
        return tuple(prompt.id for prompt in self.prompts)

    @property
    def n(self) -> int:
        """Samples every prompt has: 0 .. n-1 are there for all of them. Columns of every array."""
        return min(next(j for j in range(len(done) + 1) if j not in done) for done in self._done)

    def generations(self) -> Iterator[Generation]:
        """All generations, by prompt (in row order) and sample; an unfinished run has some beyond `n`."""
        for batch in self._load(tokens=True).to_batches(max_chunksize=1024):
            for row in batch.to_pylist():
                yield Generation(finish_reason=row.pop("finish"), **{**row, "token_ids": tuple(row["token_ids"])})

    def texts(self) -> list[list[str]]:
        """m rows of n texts."""
        n, flat = self.n, self._grid("text").to_pylist()
        return [flat[row * n : (row + 1) * n] for row in range(len(self.prompts))]

    def logprobs(self) -> Floats:
        """(m, n), natural log of the whole sample's probability under the decoding; NaN where unknown."""
        return np.asarray(self._grid("logprob"), dtype=np.float64).reshape(len(self.prompts), self.n)

    def finishes(self) -> list[list[str]]:
        """m rows of n finish reasons: "stop" or "length"."""
        n, flat = self.n, self._grid("finish").to_pylist()
        return [flat[row * n : (row + 1) * n] for row in range(len(self.prompts))]

    def reasonings(self) -> list[list[str]]:
        """m rows of n texts that the model thought before its answers; "" where it did not."""
        n, flat = self.n, self._grid("reasoning").to_pylist()
        return [flat[row * n : (row + 1) * n] for row in range(len(self.prompts))]

    @cached_property
    def generations_hash(self) -> str:
        """SHA-256 over the (m, n) texts and thoughts with their prompt ids: what a score file belongs to."""
        digest = hashlib.sha256()
        for id, row, thought in zip(self.prompt_ids, self.texts(), self.reasonings(), strict=True):
            digest.update(canonical_json([id, row, thought] if any(thought) else [id, row]))
        return digest.hexdigest()

    def _grid(self, column: str) -> pa.ChunkedArray:
        """The first n samples of every prompt, row by row."""
        table = self._table
        return table[column].filter(pa.array(np.asarray(table["sample"]) < self.n))

    @cached_property
    def _table(self) -> pa.Table:
        return self._load(tokens=False)

    def _forget(self) -> None:
        self.__dict__.pop("_table", None)
        self.__dict__.pop("generations_hash", None)

    def _load(self, *, tokens: bool) -> pa.Table:
        """Everything on disk, sorted by (row, sample), the first of each kept."""
        table, damaged = read_generations_of(self.path, self._row, tokens=tokens)
        if damaged:
            note = f"{self.path}: {damaged} half-written or damaged line(s) left out; a resumed run samples them again."
            self.notes = [*(text for text in self.notes if text != note), note]
        return table

    def _rows_of(self, table: pa.Table) -> Ints:
        return rows_of(table, self._row, self.path)

    # --- scores and results --------------------------------------------------------------------------------------

    def save_scores(self, name: str, scores: npt.ArrayLike, info: Mapping[str, Any] | None = None) -> None:
        """Keep the (m, n) scores of one scorer, NaN where missing, with what should be known of it (`info`, JSON)."""
        values = np.asarray(scores, dtype=np.float64)
        shape = (len(self.prompts), self.n)
        if values.shape != shape:
            raise InputError(
                f"Scores {name!r} have shape {values.shape}, the run {self.path} has {shape[0]} prompts x {shape[1]} samples; "
                "give one score for each."
            )
        about = {"name": name, "generations_sha256": self.generations_hash, "info": dict(info or {})}
        score_files.write(self.path, name, self.prompt_ids, values, about)

    def scores(self, name: str) -> Floats:
        """(m, n) scores kept under `name`. RunError when they belong to other generations than the run has now."""
        table, about = score_files.read(self.path, name)
        if about["generations_sha256"] != self.generations_hash:
            raise RunError(
                f"The scores {name!r} in {self.path} belong to other generations ({table.num_rows} scored, "
                f"{len(self.prompts) * self.n} there now); score the run again."
            )
        rows = self._rows_of(table)
        values = np.full((len(self.prompts), self.n), math.nan)
        values[rows, np.asarray(table["sample"])] = np.asarray(table["score"])
        return values

    def has_scores(self, name: str) -> bool:
        """True when `scores(name)` will succeed: kept, whole, and of the generations the run has now."""
        try:
            return bool(score_files.read(self.path, name)[1]["generations_sha256"] == self.generations_hash)
        except UnknownNameError:
            return False
        except RunError as error:
            self.notes.append(f"Scores {name!r} are made anew: {error}")
            return False

    def score_info(self, name: str) -> dict[str, Any]:
        """What was kept with the scores."""
        info: dict[str, Any] = score_files.read(self.path, name)[1]["info"]
        return info

    def score_names(self) -> list[str]:
        """Names under which scores are kept, current or not."""
        return score_files.names(self.path)

    def write_results(self, results: Mapping[str, Any]) -> None:
        """Keep results.json. NumPy numbers and arrays are fine; what is not finite becomes null."""
        write_kept(self.path / "results.json", strict_json(results, indent=1) + "\n")

    def results(self) -> dict[str, Any]:
        """What `write_results` kept. RunError when there is nothing, or it is damaged."""
        path = self.path / "results.json"
        try:
            again = "delete it and run the same audit again: nothing is sampled twice"
            found: dict[str, Any] = parse_json(files.read_text(path, again), path)
        except InputError as error:
            raise RunError(
                f"{error} The file is damaged: run the same audit again, nothing is sampled twice."
            ) from None
        return found
