"""Jobs with dependencies, run on a few processes. Each must be resumable: who stops them runs the same ones again."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from dataclasses import dataclass
from multiprocessing import active_children, connection, get_context, parent_process
from pathlib import Path
from threading import Thread
from typing import Any

import psutil

from leakatk.progress import format_seconds

LOOK = 1.0  # seconds between looks at the memory in use


@dataclass(frozen=True, slots=True)
class Job:
    """One unit of work: `call(place, seed)` in a worker process, after the jobs named in `after`.

    expected: seconds that it will take, 0 where nobody knows.
    """

    name: str
    call: Callable[[Path, int], Any]
    place: Path
    seed: int
    after: tuple[str, ...] = ()
    expected: float = 0.0


@dataclass
class Memory:
    """Bytes at most in use at one moment, looked at once a second: of one worker process, and of all of them together."""

    one: float = 0.0
    together: float = 0.0

    def look(self, processes: Sequence[int]) -> None:
        sizes = []
        for number in processes:
            try:
                sizes.append(float(psutil.Process(number).memory_info().rss))
            except psutil.Error:  # it has just ended
                continue
        self.one, self.together = max([self.one, *sizes]), max(self.together, sum(sizes))


def run_jobs(
    jobs: Sequence[Job], *, workers: int = 2, quiet: bool = False, memory: Memory | None = None
) -> dict[str, float]:
    """Run jobs as their dependencies allow; returns seconds by job name. The first failure ends the run.

    memory: is told what the workers use.
    """
    seconds: dict[str, float] = {}
    waiting = list(jobs)
    running: dict[Future[float], Job] = {}
    start = time.perf_counter()
    others = set(active_children())
    context = get_context("spawn")  # forked torch threads hang
    with ProcessPoolExecutor(workers, mp_context=context, initializer=_begin) as pool:
        try:
            while waiting or running:
                for job in [job for job in waiting if all(name in seconds for name in job.after)]:
                    waiting.remove(job)
                    running[pool.submit(_timed, job)] = job
                done, _ = wait(running, timeout=LOOK if memory else None, return_when=FIRST_COMPLETED)
                if memory:
                    memory.look([one.pid for one in set(active_children()) - others if one.pid])
                for future in done:
                    job = running.pop(future)
                    seconds[job.name] = future.result()
                    if not quiet:
                        spent = time.perf_counter() - start
                        left = _left(jobs, seconds, spent)
                        sys.stderr.write(
                            f"[{format_seconds(spent):>6}] {len(seconds)}/{len(jobs)} {job.name}: {seconds[job.name]:.0f} s{left}\n"
                        )
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            for worker in set(active_children()) - others:  # what they wrote is whole, whenever they end
                worker.terminate()
            raise
    return seconds


def _left(jobs: Sequence[Job], seconds: Mapping[str, float], spent: float) -> str:
    """What is left, at the pace so far; "" where the jobs do not say what they will take, or at the end."""
    done = sum(job.expected for job in jobs if job.name in seconds)
    rest = sum(job.expected for job in jobs) - done
    return f", about {format_seconds(spent * rest / done)} left" if done and rest else ""


def expected_seconds(jobs: Sequence[Job], workers: int) -> float:
    """Seconds until the last job ends, when each takes what it is expected to and starts as soon as it can."""
    ends: dict[str, float] = {}
    free = [0.0] * workers
    waiting = list(jobs)
    while waiting:
        ready = [job for job in waiting if all(name in ends for name in job.after)]
        able = {job.name: max([0.0, *(ends[name] for name in job.after)]) for job in ready}
        job = min(ready, key=lambda one: able[one.name])
        at = free.index(min(free))
        free[at] = max(free[at], able[job.name]) + job.expected
        ends[job.name] = free[at]
        waiting.remove(job)
    return max(ends.values(), default=0.0)


def _begin() -> None:
    """One thread a worker: two processes of one thread each beat one of two. It ends with the process that began it."""
    Thread(target=_end_with_parent, daemon=True).start()
    os.environ["OMP_NUM_THREADS"] = "1"
    import torch

    from leakatk.hush import silence

    silence()
    torch.set_num_threads(1)


def _end_with_parent() -> None:
    """A killed parent's workers would go on, and hold the directories that the same command wants next."""
    parent = parent_process()
    if parent is not None:
        connection.wait([parent.sentinel])
        os._exit(1)  # at once: what a job has written is whole


def _timed(job: Job) -> float:
    start = time.perf_counter()
    job.call(job.place, job.seed)
    return time.perf_counter() - start
