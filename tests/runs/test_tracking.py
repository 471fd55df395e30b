"""Trackers: what is logged at which step, read back with the real libraries where they are installed."""

import json
import math
import sys

import pytest

from leakatk.errors import InputError, UnknownNameError
from leakatk.prompts import save_prompts
from leakatk.runs import tracking
from leakatk.runs.tracking import check_trackers, go_on, track, track_audit, tracked, under
from tests.tiny import PROMPTS, save_tiny_model


class Kept:
    """A tracker that keeps what it is given."""

    def __init__(self, fails=False):
        self.rows, self.fails, self.ended = [], fails, False

    def log(self, values, step):
        if self.fails:
            raise ConnectionError("no network")
        self.rows += [(name, step, value) for name, value in values.items()]

    def finish(self):
        self.ended = True


@pytest.fixture
def kept(monkeypatch):
    """The trackers that are started, by name; "mlflow" fails."""
    made = {}
    monkeypatch.setattr(tracking, "_installed", lambda name: True)
    monkeypatch.setattr(tracking, "_started", lambda name, *_: made.setdefault(name, Kept(fails=name == "mlflow")))
    return made


def test_nothing_is_logged_where_no_tracker_is_on(tmp_path):
    track({"a": 1.0}, 3, "train")
    with tracked([], tmp_path, {}), under("x"):
        track({"a": 1.0}, 3, "train")
        go_on()


def test_mlflow_gets_names_that_it_takes(kept, tmp_path):
    kept["mlflow"] = Kept()
    with tracked(["mlflow", "wandb"], tmp_path, {}):
        track({"leak": 1.0}, 1, "leak@k/rouge-l-part=f1")
    assert kept["mlflow"].rows == [("leak_at_k/rouge-l-part_f1/leak", 1, 1.0)]
    assert kept["wandb"].rows == [("leak@k/rouge-l-part=f1/leak", 1, 1.0)]


def test_steps_go_on_from_training_to_training(kept, tmp_path):
    with tracked(["wandb"], tmp_path / "npo", {}):
        track({"forget": 0.5, "step": 9, "none": None, "nan": math.nan, "flag": True}, 1, "train")
        track({"forget": 0.25}, 2, "train")
        go_on()
        track({"forget": 0.125}, 1, "train")
        go_on(20)
        with under("full"):
            track({"retain": 0.0}, 0, "check")
    assert kept["wandb"].rows == [
        ("train/forget", 1, 0.5), ("train/forget", 2, 0.25), ("train/forget", 3, 0.125), ("full/check/retain", 20, 0.0),
    ]  # fmt: skip
    assert kept["wandb"].ended
    track({"a": 1.0}, 3, "train")
    assert len(kept["wandb"].rows) == 4, "it is off again"


def test_a_tracker_that_fails_is_said_and_stops_nothing(kept, tmp_path, capsys):
    with tracked(["mlflow", "wandb"], tmp_path, {}):
        track({"a": 1.0}, 1, "train")
        track({"a": 2.0}, 2, "train")
    assert [value for *_, value in kept["wandb"].rows] == [1.0, 2.0]
    assert capsys.readouterr().err.count("Note: tracker mlflow failed (ConnectionError: no network)") == 1


def test_an_audit_is_a_curve_over_k(kept, tmp_path):
    curve = {"k": [1, 4], "value": [0.1, 0.3], "low": [0.0, 0.2], "high": [0.2, 0.4]}
    results = {"scorers": {"rouge-l:part=f1": {"curves": {"samples": curve}, "greedy": 0.05, "retain": None}}}
    with tracked(["wandb"], tmp_path, {}):
        track({"forget": 0.5}, 100, "train")
        track_audit(results)
    rows = kept["wandb"].rows[1:]
    assert [(step, value) for name, step, value in rows if name.endswith("/leak")] == [(1, 0.1), (4, 0.3)]
    assert ("audit/rouge-l-part=f1/greedy", 0, 0.05) in rows
    assert len(rows) == 7, "what is missing is not logged as 0"


def test_what_is_wrong_is_said_before_anything(monkeypatch):
    with pytest.raises(UnknownNameError, match="tensorboard"):
        check_trackers(["tensorbord"])
    monkeypatch.setattr(tracking, "_installed", lambda name: False)
    with pytest.raises(InputError, match=r"pip install 'leak-at-k\[track\]'"):
        check_trackers(["trackio"])
    monkeypatch.setattr(tracking, "_installed", lambda name: True)
    with pytest.raises(InputError, match="twice"):
        check_trackers(["wandb", "wandb"])


def test_a_folder_of_that_name_is_no_library(tmp_path, monkeypatch):
    (tmp_path / "tensorboards").mkdir()
    monkeypatch.syspath_prepend(str(tmp_path))
    assert not tracking._installed("tensorboards")
    assert not tracking._installed("no_such_package")
    assert tracking._installed("pytest")


@pytest.fixture
def place(tmp_path, monkeypatch):
    save_tiny_model(tmp_path / "tiny")
    save_prompts(PROMPTS[:2], tmp_path / "forget.jsonl")
    save_prompts(PROMPTS[2:], tmp_path / "retain.jsonl")
    monkeypatch.setenv("TRACKIO_DIR", str(tmp_path / "trackio"))
    for name in [name for name in sys.modules if name.split(".")[0] == "trackio"]:
        monkeypatch.delitem(sys.modules, name)  # it reads its directory once
    return tmp_path


# What both libraries warn of themselves is not ours.
@pytest.mark.filterwarnings("ignore")
def test_real_trackers_hold_the_log_of_the_training(leakatk, place):
    """Every step's loss and rate, RULE's rounds, and an audit's curve: as unlearning.json, rounds.json and results.json say."""
    pytest.importorskip("tensorboard")
    pytest.importorskip("trackio")
    files = ("--forget", place / "forget.jsonl", "--retain", place / "retain.jsonl", "--quiet")
    both = ("--track", "tensorboard", "--track", "trackio")
    train = (*files, *both, "--steps", "3", "--batch", "1", "--max-new-tokens", "4", "--json")
    code, out, err = leakatk("unlearn", place / "tiny", *train, "--method", "npo", "--out", place / "npo")
    assert code == 0, err
    assert json.loads(out), "what the trackers print does not mix with the record"
    log = json.loads((place / "npo" / "unlearning.json").read_text())["log"]
    wanted = {name: [(row["step"], row[name]) for row in log] for name in ("forget", "retain", "lr")}
    assert len(wanted["forget"]) == 3
    board = scalars(place / "tensorboard" / "npo")
    from trackio.sqlite_storage import SQLiteStorage

    rows = SQLiteStorage.get_logs("leakatk", "npo")
    for name, values in wanted.items():
        assert board[f"train/{name}"] == [(step, pytest.approx(value, rel=1e-6)) for step, value in values]
        told = [(row["step"], row[f"train/{name}"]) for row in rows if f"train/{name}" in row]
        assert told == [(step, pytest.approx(value)) for step, value in values]

    code, _, err = leakatk(
        "unlearn", place / "npo", *train, "--method", "rule", "--base", "npo", "--rounds", "2", "--n", "4", "--out", place / "rule"
    )  # fmt: skip
    assert code == 0, err
    rounds = json.loads((place / "rule" / "rounds" / "rounds.json").read_text())["rounds"]
    board = scalars(place / "tensorboard" / "rule")
    begun = [sum(one["steps"] for one in rounds[:i]) for i in range(len(rounds))]
    assert board["rule/leak"] == [(step, pytest.approx(one["leak"])) for step, one in zip(begun, rounds, strict=True)]
    steps = [step for step, _ in board.get("train/forget", [])]
    assert steps == list(range(1, sum(one["steps"] for one in rounds) + 1)), "rounds follow one another on one axis"

    words = (
        "--n",
        "4",
        "--max-new-tokens",
        "4",
        "--scorer",
        "rouge-l",
        "--json",
        "--role",
        "control",
        "--label",
        "twin",
    )
    code, out, err = leakatk("audit", place / "npo", *files, *both, *words, "--out", place / "audit")
    assert code == 0, err
    results = json.loads(out)
    assert (results["role"], results["label"]) == ("control", "twin")
    curve = results["scorers"]["rouge-l"]["curves"]["samples"]
    board = scalars(place / "tensorboard" / "audit")
    assert board["leak@k/rouge-l/leak"] == [
        (k, pytest.approx(value, rel=1e-6)) for k, value in zip(curve["k"], curve["value"], strict=True)
    ]


def scalars(folder):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    read = EventAccumulator(str(folder))
    read.Reload()
    return {name: [(one.step, one.value) for one in read.Scalars(name)] for name in read.Tags()["scalars"]}
