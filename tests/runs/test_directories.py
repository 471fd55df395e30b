"""Run directories are found, described and removed, and nothing else is."""

import dataclasses
import json
import shutil
from datetime import UTC, datetime
from pathlib import Path

import pytest

from leakatk.errors import InputError, RunError
from leakatk.files.writing import write_kept
from leakatk.prompts import Generation, Prompt
from leakatk.runs.directories import KINDS, below, check_removable, look, remove
from leakatk.runs.manifest import Manifest
from leakatk.runs.store import Run
from leakatk.workdir import claim

GOLDEN = Path(__file__).resolve().parents[1] / "golden" / "runs_9daaaed"
PROMPTS = [Prompt("a", "Where?", "Here."), Prompt("b", "When?", "Now.")]


def drawn(path, n=2, there=2):
    """A run of n samples a prompt, of which the first `there` are drawn."""
    manifest = Manifest.create(
        prompts=PROMPTS, model={"model": "models/mine"}, decoding={}, seed=0, n=n, engine="native"
    )
    with Run.create_or_resume(path, manifest, PROMPTS) as run:
        run.append([Generation(p.id, j, "x", (), 0.0, "stop") for p in PROMPTS for j in range(there)])
        if there == n:
            run.finish()
    return path


def config(path, command):
    path.mkdir(parents=True, exist_ok=True)
    (path / "config.toml").write_text(f"# leakatk {command} --config {path}/config.toml\n")


def test_what_older_versions_wrote_is_known():
    found = {one.path.name: one for one in below(GOLDEN)}
    assert {name: (one.kind, one.finished) for name, one in found.items()} == {
        "audit": ("audit", True), "bench": ("benchmark", True), "endpoint": ("audit", True), "expansion": ("audit", True),
        "interrupted": ("unlearned model", False), "rule": ("model by RULE", True), "sampled": ("samples", True),
        "unfinished": ("samples", False), "unlearned": ("unlearned model", True),
    }  # fmt: skip
    assert found["audit"].model == "model"
    assert found["audit"].created == datetime(2026, 11, 28, 11, 13, 21, tzinfo=UTC)
    assert found["unlearned"].model == "model by npo"
    assert found["unfinished"].samples == (11, 12)
    assert all(not one.foreign and not one.damaged for one in found.values())
    files = [file for file in (GOLDEN / "audit").rglob("*") if file.is_file()]
    assert (found["audit"].size, found["audit"].files) == (sum(file.stat().st_size for file in files), len(files))


@pytest.mark.parametrize(("n", "there"), [(3, 3), (3, 1)])
def test_samples_are_counted(tmp_path, n, there):
    found = look(drawn(tmp_path / "run", n, there))
    assert (found.kind, found.samples, found.finished) == ("samples", (2 * there, 2 * n), n == there)
    assert found.model == "models/mine"


def test_an_audit_is_finished_with_its_results(tmp_path):
    """Its samples alone are not the end of it; the options that it wrote say that it is one."""
    place = drawn(tmp_path / "run")
    config(place, "audit")
    assert (look(place).kind, look(place).finished) == ("audit", False)
    write_kept(place / "results.json", "{}")
    assert (look(place).kind, look(place).finished) == ("audit", True)


@pytest.mark.parametrize(
    ("command", "kind"), [("audit", "audit"), ("bench", "benchmark"), ("attack", "audit under attack")]
)
def test_a_run_killed_before_its_first_file_is_known_by_its_options(tmp_path, command, kind):
    config(tmp_path / "run", command)
    found = look(tmp_path / "run")
    if kind == "audit":
        assert found.damaged  # it lacks its manifest
    assert (found.kind, found.finished) == (kind, False)


def test_requests_are_finished_when_each_is(tmp_path):
    for number in (1, 2):
        write_kept(tmp_path / "m" / f"request-00{number}" / "run.json", json.dumps({"model": "x", "method": "npo"}))
        write_kept(tmp_path / "m" / f"request-00{number}" / "unlearning.json", "{}")
    [found] = below(tmp_path)
    assert (found.kind, found.finished) == ("unlearned models", True)
    (tmp_path / "m" / "request-002" / "unlearning.json").unlink()
    assert not look(tmp_path / "m").finished


def test_a_damaged_run_is_listed_as_such(tmp_path):
    place = drawn(tmp_path / "run")
    (place / "manifest.json").write_text("{")
    [found] = below(tmp_path)
    assert found.damaged
    assert not found.finished


def test_what_is_of_nobody_is_not_listed(tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "config.toml").write_text("a = 1\n")
    (tmp_path / "mine" / "manifest").write_text("{}")
    assert below(tmp_path) == []
    with pytest.raises(InputError, match="no such directory"):
        below(tmp_path / "none")


def test_a_run_inside_a_run_is_listed_unless_it_is_a_part(tmp_path):
    outer = drawn(tmp_path / "outer")
    drawn(outer / "greedy")
    drawn(outer / "mine")
    (tmp_path / "link").symlink_to(outer)
    assert [one.path.relative_to(tmp_path).as_posix() for one in below(tmp_path)] == ["outer", "outer/mine"]
    assert look(outer).foreign == ("mine",)


def test_a_removal_takes_the_whole_run_and_nothing_else(tmp_path):
    place, other = drawn(tmp_path / "run"), drawn(tmp_path / "other")
    drawn(place / "greedy")
    found = remove(place)
    assert (found.path, found.kind) == (place, "samples")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["other"]
    assert Run.open(other).n == 2


def refused(place, match):
    before = sorted(place.rglob("*")) if place.is_dir() else []
    with pytest.raises((InputError, RunError), match=match):
        remove(place)
    assert (sorted(place.rglob("*")) if place.is_dir() else []) == before


def test_what_may_not_be_removed(tmp_path):
    place = drawn(tmp_path / "run")
    drawn(place / "greedy")
    refused(tmp_path, "nothing that leakatk made")
    refused(tmp_path / "none", "no such directory")
    refused(place / "greedy", "is a part of")
    refused(place / "generations", "is a part of")
    (tmp_path / "link").symlink_to(place)
    refused(tmp_path / "link", "is a link")
    (place / "notes.md").write_text("mine")
    refused(place, "also holds notes.md")
    (place / "notes.md").unlink()
    (place / ".git").mkdir()
    refused(place, "also holds .git")


def test_a_run_that_is_being_written_stays(tmp_path):
    place = drawn(tmp_path / "run")
    drawn(place / "greedy")
    with claim(place / "greedy"):
        refused(place, "is being written")
    remove(place)


def test_a_file_with_a_checksum_is_ours(tmp_path):
    place = drawn(tmp_path / "run")
    write_kept(place / "curve.svg", "<svg/>")
    assert check_removable(place).foreign == ()
    unlearned = tmp_path / "m"
    write_kept(unlearned / "run.json", json.dumps({"model": "x", "method": "npo"}))
    (unlearned / "mine.json").write_text("{}")  # a model's other files have names like this, where there is no index
    assert look(unlearned).foreign == ("mine.json",)
    (unlearned / "run.checksums").unlink()
    assert look(unlearned).foreign == ()


def test_a_link_inside_is_removed_and_not_what_it_leads_to(tmp_path):
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "kept.txt").write_text("kept")
    place = drawn(tmp_path / "run")
    (place / "retrained").symlink_to(elsewhere)
    remove(place)
    assert (elsewhere / "kept.txt").read_text() == "kept"


def test_a_removal_that_is_cut_short_says_where_the_rest_is(tmp_path, monkeypatch):
    place = drawn(tmp_path / "run")

    def fails(path):
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(shutil, "rmtree", fails)
    with pytest.raises(RunError, match=r"not wholly removed: Input/output error; the rest is in .*\.run\."):
        remove(place)
    assert not place.exists()


def test_each_kind_has_a_mark_of_its_own():
    assert len({kind.marker for kind in KINDS}) == len({kind.name for kind in KINDS}) == len(KINDS)


def test_plain_values(tmp_path):
    found = look(drawn(tmp_path / "run", 2, 1))
    row = json.loads(json.dumps(found.as_dict()))
    assert row["samples"] == {"there": 2, "wanted": 4}
    assert row["bytes"] == found.size
    assert dataclasses.replace(found, samples=()).as_dict()["samples"] is None
