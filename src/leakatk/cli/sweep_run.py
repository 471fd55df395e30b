"""Running of a sweep: tasks in processes of their own, several at a time, by several sweeps at once; none is lost in silence.

Each task has a directory, OUT/tasks/NAME, with a lock, log.txt and, once it has ended, state.json. What is done is not run
again; what failed or was stopped is. A lock ends with its process, so another sweep on the same OUT takes over.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from leakatk.cli.sweep_plan import Cell, Sweep, Task
from leakatk.errors import CANNOT_SAY, DONE, EXIT_CODES, FAILED, INTERRUPTED, RunError
from leakatk.text import visible

POLL = 2.0  # seconds between looks at what another sweep runs
DONE_STATE, FAILED_STATE, STOPPED, HELD, OPEN, BLOCKED = "done", "failed", "stopped", "elsewhere", "open", "not run"
Run = Callable[[Sequence[str], Path, Mapping[str, str]], int]


@dataclass(frozen=True)
class State:
    """How a task ended. reason: the last line of what it printed, where it failed."""

    state: str
    code: int = 0
    seconds: float = 0.0
    reason: str = ""


def run_words(words: Sequence[str], log: Path, env: Mapping[str, str]) -> int:
    """Run `leakatk WORDS` in a process of its own, everything printed into `log`; its exit code (-N: killed by signal N)."""
    with log.open("wb") as out:
        return subprocess.run(
            [sys.executable, "-m", "leakatk", *words], stdout=out, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL,
            env={**os.environ, **env}, check=False,
        ).returncode  # fmt: skip


def place_of(sweep: Sweep, task: Task) -> Path:
    return sweep.out / "tasks" / task.name


def state_of(sweep: Sweep, task: Task) -> State:
    """How the task ended, as far as its directory says; a model that is gone is to be made again."""
    path = place_of(sweep, task) / "state.json"
    with suppress(OSError, ValueError, TypeError):
        found = State(**json.loads(path.read_text(encoding="utf-8")))
        gone = task.place is not None and not task.place.is_dir()
        return State(OPEN) if gone and found.state == DONE_STATE else found
    return State(OPEN)


def environments(jobs: int, gpus: Sequence[str]) -> list[dict[str, str]]:
    """What each worker adds to the environment: its GPU, and its share of the cores where several work on CPUs."""
    if gpus:
        return [{"CUDA_VISIBLE_DEVICES": gpu} for gpu in gpus for _ in range(jobs)]
    cores = max(1, len(os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else ()) or os.cpu_count() or 1)
    share = {} if jobs == 1 or "OMP_NUM_THREADS" in os.environ else {"OMP_NUM_THREADS": str(max(1, cores // jobs))}
    return [dict(share) for _ in range(jobs)]


class Runner:
    """Workers over the tasks of a sweep."""

    def __init__(self, sweep: Sweep, say: Callable[[str], None], run: Run | None = None) -> None:
        self.sweep, self.say, self.run = sweep, say, run or run_words
        self.states: dict[str, State] = {}
        self.begun: set[str] = set()
        self.waited = False
        self.over: BaseException | None = None
        self._turn = threading.Condition()
        for task in sweep.tasks.values():
            found = state_of(sweep, task)
            if found.state == DONE_STATE:
                self.states[task.name] = found

    def work(self, workers: Sequence[Mapping[str, str]]) -> dict[str, State]:
        """Run what is to be run; the state of every task. KeyboardInterrupt once those that run have ended."""
        if len(workers) == 1:
            self._worker(workers[0])
        else:
            threads = [threading.Thread(target=self._safely, args=(env,)) for env in workers]
            for thread in threads:
                thread.start()
            try:
                for thread in threads:
                    while thread.is_alive():
                        thread.join(0.2)
            except KeyboardInterrupt as stop:  # those that run are interrupted by the same key, and end
                self.over = stop
                for thread in threads:
                    thread.join()
        if self.over is not None:
            raise self.over
        return self.states

    def _safely(self, env: Mapping[str, str]) -> None:
        try:
            self._worker(env)
        except BaseException as error:
            self.over = self.over or error
            with self._turn:
                self._turn.notify_all()

    def _worker(self, env: Mapping[str, str]) -> None:
        while self.over is None:
            with self._turn:
                found = self._next()
                if found is None:
                    if not self._left():
                        return
                    self._turn.wait(POLL)
                    continue
                task, held = found
            with held:
                state = self._run(task, env)
            with self._turn:
                self.states[task.name] = state
                self._turn.notify_all()
            if state.state == STOPPED:
                raise KeyboardInterrupt

    def _left(self) -> bool:
        return any(name not in self.states for name in self.sweep.tasks)

    def _next(self) -> tuple[Task, Any] | None:
        """A task that may begin, and its claim; None where all that is left waits for others."""
        from leakatk.workdir import claim

        elsewhere = 0
        for task in self.sweep.tasks.values():
            if task.name in self.states or task.name in self.begun:
                continue
            lacking = [name for name in task.needs if self.states.get(name, State(DONE_STATE)).state != DONE_STATE]
            if lacking:
                self.states[task.name] = State(BLOCKED, reason=f"{lacking[0]} did not end well")
                continue
            if any(name not in self.states for name in (*task.needs, *task.after)):
                continue
            try:
                held = claim(place_of(self.sweep, task))
            except RunError:
                elsewhere += 1
                continue
            found = state_of(self.sweep, task)
            if found.state == DONE_STATE:  # by another sweep, meanwhile
                self.states[task.name] = found
                held.close()
                continue
            self.begun.add(task.name)
            return task, held
        if elsewhere and not self.waited:
            self.waited = True
            self.say(f"Waiting for {elsewhere} that another process runs.")
        return None

    def _run(self, task: Task, env: Mapping[str, str]) -> State:
        place = place_of(self.sweep, task)
        start = time.monotonic()
        self.say(f"{task.name} ...")
        code = self.run(task.words, place / "log.txt", env)
        seconds = round(time.monotonic() - start, 1)
        good = code == DONE or (task.verdict and code in (FAILED, CANNOT_SAY))
        stopped = code in (INTERRUPTED, -2)
        reason = "" if good else _reason(place / "log.txt", code)
        state = State(DONE_STATE if good else STOPPED if stopped else FAILED_STATE, code, seconds, reason)
        from leakatk.files.writing import write_atomic

        write_atomic(place / "state.json", json.dumps(asdict(state)) + "\n")
        self.say(f"{task.name}: {state.state} in {seconds:.0f} s{f' ({reason})' if reason else ''}")
        return state


def _reason(log: Path, code: int) -> str:
    lines = log.read_text(encoding="utf-8", errors="replace").splitlines() if log.exists() else []
    said = next((line.strip() for line in reversed(lines) if line.strip()), "it printed nothing")
    how = f"killed by signal {-code}" if code < 0 else f"exit code {code}, {EXIT_CODES.get(code, 'unknown')}"
    return f"{how}: {visible(said, lines=False)[:300]}"


def state_of_cell(cell: Cell, states: Mapping[str, State]) -> State:
    """Of a cell: done when all its tasks are, else the first that is not."""
    for name in cell.tasks:
        state = states.get(name, State(OPEN))
        if state.state != DONE_STATE:
            return state
    return State(DONE_STATE, seconds=sum(states[name].seconds for name in cell.tasks))
