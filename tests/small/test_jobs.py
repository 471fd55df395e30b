"""Jobs: what is expected of them, what they use, and what is left. Their order and their failures: tests/e2e/test_demo.py."""

import os
import subprocess
import sys
import time

import psutil
import pytest

from leakatk.small import jobs
from leakatk.small.jobs import Job, Memory, expected_seconds, run_jobs


def nothing(place, seed):
    pass


def large(place, seed):
    held = bytearray(200_000_000)
    held[::4096] = b"x" * len(held[::4096])
    time.sleep(4)


def test_the_expected_end_follows_dependencies_and_workers():
    def job(name, takes, *after):
        return Job(name, nothing, None, 0, after, expected=takes)

    some = [job("a", 3), job("b", 5), job("c", 2, "a"), job("d", 1, "b", "c")]
    assert expected_seconds(some, 1) == 11
    assert expected_seconds(some, 2) == 6  # a c | b, then d
    assert expected_seconds([job("a", 3), job("b", 5, "a")], 4) == 8
    assert expected_seconds([], 2) == 0


def test_memory_is_that_of_one_process_and_of_all_together(monkeypatch):
    sizes = {1: 3e9, 2: 4e9}

    class Process:
        def __init__(self, number):
            if number not in sizes:
                raise psutil.NoSuchProcess(number)
            self.number = number

        def memory_info(self):
            return type("Info", (), {"rss": sizes[self.number]})

    monkeypatch.setattr(jobs.psutil, "Process", Process)
    memory = Memory()
    memory.look([1, 2])
    memory.look([2, 7])  # 7 has ended
    assert (memory.one, memory.together) == (4e9, 7e9)


@pytest.mark.skipif(os.name != "posix", reason="memory as Linux and macOS count it")
def test_what_workers_use_is_seen(tmp_path):
    memory = Memory()
    run_jobs([Job("a", large, tmp_path, 0)], workers=1, quiet=True, memory=memory)
    assert memory.one > 200e6
    assert memory.together >= memory.one


def forever(place, seed):
    (place / "worker").write_text(str(os.getpid()))
    time.sleep(600)


def test_workers_end_with_a_killed_parent(tmp_path):
    """Else they would hold what the same command wants next."""
    code = (
        "from pathlib import Path; from tests.small.test_jobs import forever; from leakatk.small.jobs import Job, run_jobs\n"
        f"if __name__ == '__main__': run_jobs([Job('a', forever, Path({str(tmp_path)!r}), 0)], workers=1)"
    )
    (tmp_path / "run.py").write_text(code)
    where = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    parent = subprocess.Popen([sys.executable, str(tmp_path / "run.py")], env=where)
    worker = tmp_path / "worker"
    until(lambda: worker.exists() and worker.read_text())
    number = int(worker.read_text())
    assert psutil.pid_exists(number)
    parent.kill()
    parent.wait()
    until(lambda: not psutil.pid_exists(number) or psutil.Process(number).status() == psutil.STATUS_ZOMBIE)


def until(there, seconds=240):
    end = time.monotonic() + seconds
    while not there():
        assert time.monotonic() < end, "it took too long"
        time.sleep(0.1)


def test_what_is_left_is_said(tmp_path, capsys):
    run_jobs([Job("a", nothing, tmp_path, 0, expected=30.0), Job("b", nothing, tmp_path, 0, ("a",), expected=60.0)])
    first, last = capsys.readouterr().err.splitlines()
    assert "1/2 a: 0 s, about " in first
    assert first.endswith("left")
    assert last.endswith("2/2 b: 0 s")
