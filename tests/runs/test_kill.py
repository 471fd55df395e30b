"""kill -9 at random moments of a real writer process: what a resume ends with is what an undisturbed run gives."""

import os
import random
import signal
import subprocess
import sys
from pathlib import Path
from types import FrameType

from leakatk.prompts import Generation, Prompt
from leakatk.runs.manifest import Manifest
from leakatk.runs.store import Run

PROMPTS = [Prompt(f"p{i}", f"Question {i}?", f"Answer {i}.") for i in range(20)]
N = 100


def sample(prompt_id: str, j: int) -> Generation:
    """What a sampler gives: a function of the prompt and the sample number alone."""
    rng = random.Random(f"{prompt_id}/{j}")
    ids = tuple(rng.choices(range(50_000), k=30))
    return Generation(prompt_id, j, " ".join(map(str, ids)) + "\u2028\n", ids, -rng.random(), "stop")


def write(path: Path) -> None:
    """The whole life of a run, in small batches; goes on with what is there."""
    made = Manifest.create(
        prompts=PROMPTS, model={"fingerprint": "f"}, decoding={"temperature": 1.0}, seed=0, n=N, engine="native"
    )
    with Run.create_or_resume(path, made, PROMPTS) as run:
        for prompt, samples in run.missing():
            for start in range(0, len(samples), 10):
                run.append([sample(prompt, j) for j in samples[start : start + 10]])
        run.finish()


def write_until(path: Path, line: int) -> None:
    """`write`, ended by SIGKILL when the given number of lines of the library have run (0: not at all); prints how many did."""
    ran = 0

    def on_line(frame: FrameType, event: str, _: object) -> object:
        nonlocal ran
        if "leakatk" not in frame.f_code.co_filename:
            return None
        if event == "line":
            ran += 1
            if ran == line:
                os.kill(os.getpid(), signal.SIGKILL)
        return on_line

    sys.settrace(on_line)  # type: ignore[arg-type]
    write(path)
    sys.settrace(None)
    print(ran)


def run(path: Path, line: int) -> subprocess.CompletedProcess[str]:
    code = f"import pathlib; from tests.runs.test_kill import write_until; write_until(pathlib.Path({str(path)!r}), {line})"
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)


def test_killed_at_24_random_moments_ends_as_if_it_had_not_been(tmp_path: Path) -> None:
    whole = tmp_path / "whole"
    lines = int(run(whole, 0).stdout)
    want = (whole / "generations.parquet").read_bytes()

    # Random lines of the whole life, and of its first and last moments: the start of the run and its compaction.
    rng = random.Random(20)
    moments = [rng.randint(1, lines) for _ in range(12)]
    moments += [rng.randint(1, 600) for _ in range(6)] + [rng.randint(lines - 150, lines) for _ in range(6)]
    left = []
    for trial, moment in enumerate(moments):
        path = tmp_path / str(trial)
        assert run(path, moment).returncode == -signal.SIGKILL
        # Readable as it was left, unless it never became a run.
        left.append(Run.open(path).missing_count if (path / "manifest.json").exists() else -1)
        write(path)
        assert (path / "generations.parquet").read_bytes() == want
        assert sorted(f.name for f in path.iterdir()) == sorted(f.name for f in whole.iterdir())
        assert not list((path / "generations").iterdir())
        assert Run.open(path).missing_count == 0
    assert {-1, 0} < set(left)  # some were killed before there was a run, some after all was sampled
    assert len(set(left)) >= 8
