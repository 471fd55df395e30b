"""Options that several commands share, and --fresh: what OUT holds is moved aside whole, or stays where it is."""

from __future__ import annotations

import dataclasses
import json
import math
import os
from pathlib import Path

import pytest
import typer

from leakatk.auditing.settings import Gate
from leakatk.cli import options
from leakatk.cli.options import move_aside
from leakatk.errors import InputError, LeakAtKError, RunError
from leakatk.files.checksums import INDEX
from leakatk.runs.manifest import Manifest
from leakatk.runs.store import Run
from leakatk.sampling.decoding import Decoding
from leakatk.sampling.engines import ENGINES
from leakatk.workdir import claim
from tests.tiny import PROMPTS


@pytest.fixture
def begun(tmp_path: Path) -> Path:
    manifest = Manifest.create(
        model={"fingerprint": "f"}, prompts=PROMPTS, decoding=Decoding().as_dict(), seed=0, n=1, engine="e"
    )
    Run.create_or_resume(tmp_path / "run", manifest, PROMPTS).close()
    return tmp_path / "run"


def beside(path: Path) -> list[Path]:
    return [other for other in path.parent.iterdir() if other.name.startswith(f"{path.name}-before-")]


def test_runs_of_the_same_second_do_not_take_each_others_place(begun: Path) -> None:
    text = (begun / "manifest.json").read_text()
    move_aside(begun)
    [first] = beside(begun)
    begun.mkdir()
    (begun / "manifest.json").write_text(text)
    (begun / "prompts.jsonl").write_bytes((first / "prompts.jsonl").read_bytes())
    move_aside(begun)
    assert {path.name for path in beside(begun)} == {first.name, f"{first.name}-1"}
    assert (first / "manifest.json").read_text() == text


def test_a_run_that_is_being_written_stays(begun: Path) -> None:
    with claim(begun), pytest.raises(RunError, match="is being written by"):
        move_aside(begun)
    assert beside(begun) == []


def test_where_nothing_is_nothing_moves(tmp_path: Path) -> None:
    move_aside(tmp_path / "none")
    (tmp_path / "none").mkdir()
    (tmp_path / "none" / "notes.txt").write_text("mine")
    move_aside(tmp_path / "none")
    assert [path.name for path in tmp_path.iterdir()] == ["none"]


def test_what_cannot_be_moved_is_said(begun: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(self: Path, target: Path) -> Path:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(Path, "rename", refused)
    with pytest.raises(InputError, match=r"--fresh cannot move .*: Operation not permitted; .* Nothing was changed"):
        move_aside(begun)


def test_quiet_is_quiet_for_everything_that_runs(leakatk, model, forget, tmp_path):
    from leakatk.progress import Progress

    common = ("audit", model, "--forget", forget, "--n", "2", "--max-new-tokens", "3", "--out", tmp_path / "run")
    code, _, err = leakatk(*common, "--quiet")
    assert code == 0
    assert err.startswith("Note: ")  # what a person must know is not progress
    assert err.count("\n") == 1
    assert Progress("judge", 3).quiet
    code, _, err = leakatk(*common)
    assert code == 0
    assert not Progress("judge", 3).quiet


def test_a_key_in_an_address_stays_out_of_results_and_reports(monkeypatch):
    words = [
        "leakatk",
        "audit",
        "m",
        "--url",
        "https://me:secret@host:8443/v1?key=secret",
        "--url=http://h/v1?k=secret",
        "x y",
    ]
    monkeypatch.setattr("sys.argv", words)
    assert options.command() == "leakatk audit m --url https://host:8443/v1 --url=http://h/v1 'x y'"
    monkeypatch.setattr("sys.argv", ["leakatk", "--url", "http://[secret"])
    assert "secret" not in options.command()


@pytest.mark.parametrize(
    ("text", "n", "found"),
    [("", 20, [1, 2, 4, 8, 16]), ("", 1, [1]), ("4,1,4", 4, [1, 4]), (" 8 , ,2", 8, [2, 8]), ("128", 128, [128])],
)
def test_ks(text: str, n: int, found: list[int]) -> None:
    assert options.parse_ks(text, n) == found


@pytest.mark.parametrize(
    ("text", "drawn", "words"),
    [
        ("two", False, "whole numbers separated by commas"),
        ("1.5", False, "whole numbers"),
        ("0,1", False, "every k must be at least 1"),
        (",", False, "every k must be at least 1"),
        ("9", False, "--n is 8: raise --n or lower --k"),
        ("9", True, "there are 8 a prompt: lower --k"),
    ],
)
def test_ks_that_cannot_be(text: str, drawn: bool, words: str) -> None:
    with pytest.raises(InputError, match=words):
        options.parse_ks(text, 8, drawn=drawn)


def test_a_gate_is_k_and_bound_and_how_it_looks() -> None:
    assert options.parse_gate("", 8, worst_case=False, ways=[]) is None
    gate = options.parse_gate("4:0.25", 8, worst_case=True, ways=["role"], cut="ignore", level=0.9)
    assert gate == Gate(4, 0.25, worst_case=True, unscored="count", cut="ignore", level=0.9)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("4", "give K:BOUND"),
        ("a:0.1", "give K:BOUND"),
        ("4:x", "give K:BOUND"),
        ("0:0.1", "K must be at least 1 and BOUND between 0 and 1"),
        ("4:1.1", "BOUND between 0 and 1"),
        ("4:nan", "between 0 and 1"),
        ("16:0.1", "k = 16 needs at least as many samples, but --n is 8"),
    ],
)
def test_gates_that_cannot_be(text: str, words: str) -> None:
    with pytest.raises(InputError, match=words):
        options.parse_gate(text, 8, worst_case=False, ways=[])


@pytest.mark.parametrize(("text", "probes"), [("", ["role"]), ("4:0.1", []), ("", [])])
def test_a_worst_case_needs_a_gate_and_a_probe(text: str, probes: list[str]) -> None:
    with pytest.raises(InputError, match="--worst-case needs --fail-above K:BOUND and a --probe"):
        options.parse_gate(text, 8, worst_case=True, ways=probes)


@pytest.mark.parametrize(("answer", "code"), [("PASS", None), ("FAIL", 1), ("CANNOT SAY", 4)])
def test_a_verdict_is_told_and_is_the_exit_code(answer: str, code: int | None, capsys: pytest.CaptureFixture) -> None:
    told = {"answer": answer, "reason": "because"}
    if code is None:
        options.tell_gate(told, "it holds for T=1")
    else:
        with pytest.raises(typer.Exit) as left:
            options.tell_gate(told, "it holds for T=1")
        assert left.value.exit_code == code
    assert capsys.readouterr() == ("", f"Gate: {answer}: because; it holds for T=1.\n")


def test_a_decoding_changes_the_fields_that_are_named() -> None:
    base = Decoding(0.7, max_new_tokens=9, stop=("x",))
    assert options.parse_decoding("top_p=0.9, top_k=5", base) == Decoding(0.7, 0.9, 5, max_new_tokens=9, stop=("x",))
    assert options.parse_decoding("", base) == base
    for text, words in (
        ("stop=a", "has no option 'stop'"),
        ("top_k=a", "must be a number"),
        ("top_p=2", "Decoding.top_p"),
    ):
        with pytest.raises(InputError, match=words):
            options.parse_decoding(text, base)


@pytest.mark.parametrize(("n", "fits"), [(1, True), (10**6, True), (0, False), (-3, False), (10**6 + 1, False)])
def test_numbers_of_samples(n: int, fits: bool) -> None:
    if fits:
        options.check_n(n)
    else:
        with pytest.raises(InputError, match="at least 1 and at most 1,000,000"):
            options.check_n(n)


@dataclasses.dataclass
class Documented:
    """Not this one."""

    first: int = 1
    """The first
    of two."""
    second: str = ""
    third: float = 0.0
    """The last."""

    def method(self) -> None:
        """Nor this."""


def test_fields_are_documented_by_what_stands_under_them() -> None:
    assert options.field_docs(Documented) == {"first": "The first of two.", "third": "The last."}


def test_names_are_completed_from_what_is_registered() -> None:
    assert options.named("scorers")("rou") == ["rouge-1", "rouge-l"]
    assert options.named("engines")("") == sorted(ENGINES)
    assert options.named("scorers")("zz") == []


def test_what_is_missing_is_null_in_json(capsys: pytest.CaptureFixture) -> None:
    options.echo_json({"a": math.nan, "b": [math.inf, 1.5], "c": Path("x/y")})
    assert json.loads(capsys.readouterr().out) == {"a": None, "b": [None, 1.5], "c": "x/y"}


def test_notes_are_said_once_each(capsys: pytest.CaptureFixture) -> None:
    options.say_notes(["one", "two", "one"])
    assert capsys.readouterr() == ("", "Note: one\nNote: two\n")


def test_examples_end_with_the_exit_codes() -> None:
    assert options.examples("leakatk a", "leakatk b --c") == (
        f"\b\nExamples:\n  leakatk a\n  leakatk b --c\n\n{options.EXIT_CODES}"
    )


@pytest.mark.parametrize(
    "error", [KeyError("x"), TypeError("t"), ValueError("v"), AttributeError("a"), ZeroDivisionError()]
)
def test_files_that_make_no_sense_are_the_runs_unless_checksums_vouch(tmp_path: Path, error: Exception) -> None:
    run = tmp_path / "run"
    run.mkdir()
    with (
        pytest.raises(RunError, match=rf"{run} holds a file that makes no sense \({type(error).__name__}"),
        options.reading(run),
    ):
        raise error
    (run / INDEX).write_text("{}")
    with pytest.raises(type(error)), options.reading(run):
        raise error


def test_errors_of_our_own_and_of_the_system_stay_what_they_are(tmp_path: Path) -> None:
    for error in (InputError("said"), OSError("disk")):
        with pytest.raises(type(error), match=str(error)), options.reading(tmp_path):
            raise error
    with pytest.raises(KeyError), options.reading(tmp_path / "none"):
        raise KeyError("x")


def test_a_pipe_in_the_place_of_a_file_is_refused_unread(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "results.json")
    entered = False
    with pytest.raises(LeakAtKError), options.reading(tmp_path):
        entered = True
    assert not entered
