"""Running of a sweep: what waits for what, what fails, what another process holds, and what is not run again."""

import sys
import threading

import pytest

from leakatk.cli import sweep_run
from leakatk.cli.sweep_plan import Cell, Sweep, Task
from leakatk.cli.sweep_run import Runner, environments, place_of, run_words, state_of, state_of_cell
from leakatk.workdir import claim


class Commands:
    """Stands in for processes: notes what is run, and ends as told."""

    def __init__(self, **codes):
        self.codes, self.done, self.lock = codes, [], threading.Lock()

    def __call__(self, words, log, env):
        with self.lock:
            self.done.append(words[0])
        code = self.codes.get(words[0], 0)
        log.write_text(f"begun\n\x1b[31m{words[0]} says why\n\n")
        if code is KeyboardInterrupt:
            raise code
        return code


def sweep_of(tmp_path, *tasks):
    return Sweep(tmp_path, tasks={task.name: task for task in tasks})


def tasks(*, verdict=False):
    return (
        Task("first", ("first",)),
        Task("made", ("made",)),
        Task("measured", ("measured",), needs=("made",), after=("first",), verdict=verdict),
    )


@pytest.mark.parametrize("workers", [1, 3])
def test_tasks_wait_for_what_they_need(tmp_path, workers):
    commands = Commands()
    states = Runner(sweep_of(tmp_path, *reversed(tasks())), lambda _: None, commands).work([{}] * workers)
    assert {state.state for state in states.values()} == {"done"}
    assert sorted(commands.done) == ["first", "made", "measured"]
    assert commands.done[-1] == "measured"
    # Again: nothing is run.
    again = Commands()
    assert Runner(sweep_of(tmp_path, *tasks()), lambda _: None, again).work([{}]) == states
    assert again.done == []


def test_a_failure_stops_what_starts_from_it_and_nothing_else(tmp_path):
    said, commands = [], Commands(made=2)
    sweep = sweep_of(tmp_path, *tasks())
    states = Runner(sweep, said.append, commands).work([{}])
    assert {name: state.state for name, state in states.items()} == {
        "first": "done",
        "made": "failed",
        "measured": "not run",
    }
    assert states["made"].reason.startswith("exit code 2, bad input: ")
    assert states["made"].reason.endswith("made says why")
    assert "\x1b" not in states["made"].reason
    assert states["measured"].reason == "made did not end well"
    assert any("failed" in line for line in said)
    cell = Cell("a", "m", "a", "", 0, ("made", "measured"), ())
    assert state_of_cell(cell, states) == states["made"]
    # The same command tries what failed, and no more.
    again = Commands()
    states = Runner(sweep, said.append, again).work([{}])
    assert again.done == ["made", "measured"]
    assert state_of_cell(cell, states).state == "done"


def test_what_comes_after_runs_whatever_came_of_the_first(tmp_path):
    commands = Commands(first=3)
    states = Runner(sweep_of(tmp_path, *tasks()), lambda _: None, commands).work([{}])
    assert states["first"].state == "failed"
    assert states["measured"].state == "done"


@pytest.mark.parametrize(("verdict", "state"), [(True, "done"), (False, "failed")])
@pytest.mark.parametrize("code", [1, 4])
def test_a_gate_that_fails_is_a_result(tmp_path, verdict, state, code):
    states = Runner(sweep_of(tmp_path, *tasks(verdict=verdict)), lambda _: None, Commands(measured=code)).work([{}])
    assert states["measured"].state == state


def test_a_killed_process_is_said(tmp_path):
    states = Runner(sweep_of(tmp_path, *tasks()), lambda _: None, Commands(first=-9)).work([{}])
    assert states["first"].reason.startswith("killed by signal 9: ")


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("how", [130, KeyboardInterrupt])
def test_an_interrupt_ends_the_sweep_and_is_no_failure(tmp_path, workers, how):
    sweep = sweep_of(tmp_path, Task("stopped", ("stopped",)), Task("later", ("later",), needs=("stopped",)))
    commands = Commands(stopped=how)
    with pytest.raises(KeyboardInterrupt):
        Runner(sweep, lambda _: None, commands).work([{}] * workers)
    assert commands.done == ["stopped"]
    assert state_of(sweep, sweep.tasks["stopped"]).state in ("stopped", "open")
    states = Runner(sweep, lambda _: None, Commands()).work([{}])
    assert {state.state for state in states.values()} == {"done"}


def test_what_another_sweep_runs_is_waited_for_and_its_result_taken(tmp_path, monkeypatch):
    monkeypatch.setattr(sweep_run, "POLL", 0.01)
    sweep, said, mine = sweep_of(tmp_path, *tasks()), [], Commands()
    theirs = claim(place_of(sweep, sweep.tasks["made"]))

    def other():
        """The other process ends what it runs, once we wait for it."""
        (place_of(sweep, sweep.tasks["made"]) / "state.json").write_text('{"state": "done", "seconds": 3.0}')
        theirs.close()

    def say(text):
        said.append(text)
        if text.startswith("Waiting"):
            other()

    states = Runner(sweep, say, mine).work([{}])
    assert mine.done == ["first", "measured"]
    assert said.count("Waiting for 1 that another process runs.") == 1
    assert states["made"].seconds == 3.0


def test_a_model_that_is_gone_is_made_again(tmp_path):
    task = Task("made", ("made",), place=tmp_path / "model")
    sweep, commands = sweep_of(tmp_path, task), Commands()
    Runner(sweep, lambda _: None, commands).work([{}])
    Runner(sweep, lambda _: None, commands).work([{}])
    assert commands.done == ["made", "made"], "it left no model"
    task.place.mkdir()
    Runner(sweep, lambda _: None, commands).work([{}])
    assert commands.done == ["made", "made"]


def test_workers_share_gpus_and_cores(monkeypatch):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr(sweep_run.os, "sched_getaffinity", lambda _: set(range(8)), raising=False)
    assert environments(2, ["0", "3"]) == [{"CUDA_VISIBLE_DEVICES": one} for one in ("0", "0", "3", "3")]
    assert environments(4, []) == [{"OMP_NUM_THREADS": "2"}] * 4
    assert environments(1, []) == [{}]
    monkeypatch.setenv("OMP_NUM_THREADS", "5")
    assert environments(4, []) == [{}] * 4


def test_a_process_of_its_own(tmp_path, monkeypatch):
    """The real way of running: what it prints is in the log, its environment is ours and the worker's."""
    (tmp_path / "leakatk.py").write_text(
        "import os, sys\nprint(sys.argv[1:], os.environ['CUDA_VISIBLE_DEVICES'])\nprint('no', file=sys.stderr)\nsys.exit(4)\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    assert run_words(["bench", "a b"], tmp_path / "log", {"CUDA_VISIBLE_DEVICES": "7"}) == 4
    assert "['bench', 'a b'] 7" in (tmp_path / "log").read_text()
    assert "no" in (tmp_path / "log").read_text()
    assert sys.executable
