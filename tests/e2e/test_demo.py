"""The demo as the README tells it. Which method wins at this size is not asserted; what must hold in any world is."""

import re
from pathlib import Path

import pytest

from leakatk.errors import InputError, RunError
from leakatk.small.demo import MODELS, Job, audits_of, demo, run_jobs

README = Path(__file__).resolve().parents[2] / "README.md"


@pytest.mark.slow  # two minutes of a core; continuous integration runs `make demo` itself
@pytest.mark.timeout(1800)
def test_demo(tmp_path):
    page = demo(tmp_path / "demo", quiet=True)
    blocks = {
        name: audited.results.scorers["fact"].as_dict()
        for name, audited in zip(MODELS, audits_of(tmp_path / "demo", 0), strict=True)
    }
    leak = {name: block["curves"]["samples"]["value"][-1] for name, block in blocks.items()}
    assert leak["full"] > 0.95 > 0.05 > leak["retrained"]
    assert leak["idknll"] > blocks["idknll"]["greedy"]
    assert min(blocks[name]["retain"] for name in ("full", "retrained")) > 0.95
    named = re.findall(r'"(demo/[^"]+)"', README.read_text()) if README.exists() else []
    assert all((tmp_path / name).exists() for name in named)  # the Python example starts from them
    text = page.read_text()
    assert "RULE-SimNPO, round by round" in text
    assert "They stopped: SimNPO after" in text

    def made():
        kinds = ("*.safetensors", "generations.parquet")
        return {path: path.stat().st_mtime_ns for kind in kinds for path in (tmp_path / "demo").rglob(kind)}

    before = made()
    again = demo(tmp_path / "demo", quiet=True).read_text()
    trained = {path for path, when in made().items() if before[path] != when}
    # RULE and its control save their final model again from their finished rounds; nothing else is made twice.
    assert {path.parent.name for path in trained} <= {"rule", "control"}
    assert again.split("<h1")[1].split("</h1>")[0] == text.split("<h1")[1].split("</h1>")[0]


def append(place, seed):
    with (place / "order.txt").open("a") as file:
        file.write(f"{seed}\n")


def fail(place, seed):
    raise InputError("no such thing")


def test_jobs_run_after_what_they_need(tmp_path):
    jobs = [Job("c", append, tmp_path, 3, ("b",)), Job("b", append, tmp_path, 2, ("a",)), Job("a", append, tmp_path, 1)]
    assert set(run_jobs(jobs, quiet=True)) == {"a", "b", "c"}
    assert (tmp_path / "order.txt").read_text().split() == ["1", "2", "3"]


def test_a_failed_job_ends_the_run_with_its_error(tmp_path):
    jobs = [Job("a", fail, tmp_path, 0), Job("b", append, tmp_path, 1, ("a",))]
    with pytest.raises(InputError, match="no such thing"):
        run_jobs(jobs, quiet=True)
    assert not (tmp_path / "order.txt").exists()


def test_a_foreign_directory_is_refused(tmp_path):
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(RunError, match="holds no demo"):
        demo(tmp_path)
