"""Several processes in one directory: no row is lost, and the second of two is refused by a sentence that names the first."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from leakatk.bench.results import read_rows, write_rows
from leakatk.errors import RunError

ROWS = """
import sys, time
from pathlib import Path
from leakatk.bench import results
from tests.faults.test_processes import row
write = results.write_table
# Between reading and writing, where another's rows would be lost, there is time for another.
results.write_table = lambda *given: (time.sleep(0.05), write(*given))
out, name, start = Path(sys.argv[1]), sys.argv[2], Path(sys.argv[3])
print("ready", flush=True)
sys.stdin.readline()
for i in range(6):
    results.write_rows(out / "results.parquet", [row(f"{name}-{i}")])
"""


def row(model: str) -> dict[str, object]:
    return {
        "model": model, "role": "model", "model_sha256": model, "benchmark": "b", "benchmark_sha256": "b", "protocol": "clean",
        "decoding": "T1", "seed": 0, "scorer": "fact", "leak@1": 0.5,
    }  # fmt: skip


def together(code: str, *arguments: list[str]) -> list[tuple[int, str]]:
    """Processes of the same code that begin at the same moment; exit code and what each said last."""
    workers = [
        subprocess.Popen(
            [sys.executable, "-W", "ignore", "-c", code, *words],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )
        for words in arguments
    ]  # fmt: skip
    for worker in workers:
        assert worker.stdout is not None
        assert worker.stdout.readline() == "ready\n", worker.communicate()[1]
    for worker in workers:
        assert worker.stdin is not None
        worker.stdin.write("\n")
        worker.stdin.flush()
    found = []
    for worker in workers:
        _, said = worker.communicate(timeout=240)
        found.append((worker.returncode, (said.strip().splitlines() or [""])[-1]))
    return found


def test_no_row_is_lost_in_a_race(tmp_path: Path) -> None:
    write_rows(tmp_path / "results.parquet", [row("first")])
    ended = together(ROWS, *([str(tmp_path), f"m{i}", ""] for i in range(4)))
    assert ended == [(0, "")] * 4
    names = {str(one["model"]) for one in read_rows(tmp_path)}
    assert names == {"first", *(f"m{w}-{i}" for w in range(4) for i in range(6))}


TWICE = """
import json, sys
from pathlib import Path
from tests.faults.kinds import kinds
from tests.tiny import save_tiny_model
from leakatk.errors import LeakAtKError
import leakatk.workdir as workdir

folder, name, place = Path(sys.argv[1]), sys.argv[2], Path(sys.argv[3])
kind = next(kind for kind in kinds(folder) if kind.name == name)
print("ready", flush=True)
sys.stdin.readline()
try:
    found = kind.make(place)
    print("\\n" + json.dumps(found), file=sys.stderr)
except LeakAtKError as error:
    print(f"\\n{type(error).__name__}: {error}", file=sys.stderr)
    sys.exit(2)
"""


@pytest.mark.slow
def test_two_that_unlearn_one_model_at_a_time(tmp_path: Path) -> None:
    """Whoever is second is refused, or comes when the first is done; the model is that of one alone."""
    alone = together(TWICE, [str(tmp_path / "a"), "RULE", str(tmp_path / "alone")])
    both = together(TWICE, *([str(tmp_path / f"m{i}"), "RULE", str(tmp_path / "shared")] for i in range(2)))
    assert 0 in {code for code, _ in both}
    for code, said in both:
        if code:
            assert code == 2
            assert said.startswith(f"RunError: {tmp_path / 'shared'}")
            assert "is being written by process" in said
        else:
            assert json.loads(said) == json.loads(alone[0][1])


def test_a_damaged_results_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "results.parquet"
    write_rows(path, [row("first")])
    for place in (5, path.stat().st_size // 2, -5):
        content = bytearray(path.read_bytes())
        content[place] ^= 1
        path.write_bytes(content)
        with pytest.raises(
            RunError, match=r"results\.parquet is damaged: .*move it away and run the same benches again"
        ):
            read_rows(path)
        content[place] ^= 1
        path.write_bytes(content)
    assert len(read_rows(path)) == 1
