"""Cells of the studies on a real model: written whole, claimed, resumed, refused where they were made otherwise."""

import json

import pytest
import real_cells
from real_cells import Cell, Store, command, options, run_all, states

from leakatk.errors import InputError, RunError
from leakatk.workdir import claim


@pytest.fixture
def store(tmp_path):
    return Store("trial", root=tmp_path / "cells", work=tmp_path / "work")


def cell(name, *, settings=None, needs=(), made=None, numbers=None):
    def make(clock):
        if made is not None:
            made.append(name)
        with clock.part("thinking"):
            return {"value": 0.5, "missing": float("nan"), "weights": "ab12", **(numbers or {})}

    return Cell(name, settings or {"seed": 0}, make, 1.0, needs)


def run(store, cells, *words):
    return command(store, cells, options("").parse_args([*words]))


def test_a_cell_says_all_of_how_it_was_made(store):
    assert store.run(cell("a"))
    found = json.loads(store.path("a").read_text(), parse_constant=pytest.fail)
    assert found["numbers"] == {"value": 0.5, "missing": None}
    assert found["settings"] == {"seed": 0}
    assert found["weights"] == "ab12"
    assert {"thinking", "all"} <= set(found["seconds"])
    assert {"processor", "cores", "instruction_set", "bf16", "threads"} <= set(found["machine"])
    assert {"torch", "transformers", "leakatk", "code"} <= set(found["versions"])


def test_what_is_done_is_not_made_again_and_what_waits_comes_after(store):
    made = []
    cells = [cell("b", needs=("a",), made=made), cell("a", made=made)]
    assert run_all(store, cells) == []
    assert made == ["a", "b"]
    assert run_all(store, cells) == []
    assert made == ["a", "b"]


def test_what_a_cell_makes_possible_comes_before_what_stands_after_it(store):
    made = []
    cells = [cell("b", needs=("a",), made=made), cell("a", made=made), cell("c", made=made)]
    assert run_all(store, cells) == []
    assert made == ["a", "b", "c"]


def test_what_another_process_makes_is_waited_for(store, monkeypatch):
    made = []
    cells = [cell("a", made=made), cell("b", needs=("a",), made=made)]
    held = claim(store.scratch("a"))

    def over(seconds):
        held.close()

    monkeypatch.setattr(real_cells.time, "sleep", over)
    assert run_all(store, cells) == ["a", "b"]
    assert run_all(store, cells, wait=True) == []
    assert made == ["a", "b"]


def test_a_failure_is_not_waited_for(store, monkeypatch):
    def broken(clock):
        raise RunError("damaged")

    monkeypatch.setattr(real_cells.time, "sleep", lambda seconds: pytest.fail("it waits for nobody"))
    assert run_all(store, [Cell("a", {}, broken, 1.0)], wait=True) == ["a"]


def test_a_cell_that_failed_leaves_nothing(store):
    def broken(clock):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        store.run(Cell("a", {}, broken, 1.0))
    assert store.names() == []
    assert store.run(cell("a"))  # and its claim has ended


def test_a_cell_of_other_settings_is_refused_by_name(store):
    store.run(cell("a"))
    with pytest.raises(RunError, match="seed: 0, 1"):
        store.done(cell("a", settings={"seed": 1}))
    assert "unusable" in dict(states(store, [cell("a", settings={"seed": 1})]))["a"]


def test_what_another_process_makes_is_left_to_it(store, capsys):
    made = []
    with claim(store.scratch("a")):
        assert run_all(store, [cell("a", made=made), cell("b", made=made)]) == ["a"]
    assert made == ["b"]
    assert "left to another process" in capsys.readouterr().err


def test_a_file_that_is_no_cell_is_refused(store):
    store.root.mkdir(parents=True)
    store.path("a").write_text("{", encoding="utf-8")
    with pytest.raises(InputError, match="not JSON"):
        store.read("a")
    store.path("a").write_text('{"study": "another", "cell": "a"}', encoding="utf-8")
    with pytest.raises(InputError, match="not the cell a of trial"):
        store.read("a")


def test_numbers_of_a_missing_cell_say_which_to_run(store):
    with pytest.raises(InputError, match="--only a"):
        store.numbers("a")


def test_the_list_says_done_not_run_and_what_is_waited_for(store, capsys):
    store.run(cell("a"))
    assert run(store, [cell("a"), cell("b", needs=("c",)), cell("c")], "--list") == 0
    said = capsys.readouterr().out
    assert "done" in said
    assert "not run, about 1 min, after c" in said
    assert "1 of 3 done; left: 2 cells, about 2 min" in said


def test_a_dry_run_makes_nothing(store, capsys):
    made = []
    assert run(store, [cell("a", made=made)], "--dry-run") == 0
    assert made == []
    assert "about 1 min" in capsys.readouterr().out


def test_only_some_and_an_unknown_name(store, capsys):
    cells = [cell("rule-a"), cell("rule-b"), cell("c")]
    assert run(store, cells, "--run", "--only", "rule-*") == 0
    assert store.names() == ["rule-a", "rule-b"]
    assert run(store, cells, "--run", "--only", "d") == 2
    assert "No cell is called d" in capsys.readouterr().err


def test_a_cell_whose_needs_are_not_asked_for_stays_missing(store):
    cells = [cell("a"), cell("b", needs=("a",))]
    assert run(store, cells, "--run", "--only", "b") == 4


def test_models_need_a_place(tmp_path):
    store = Store("trial", root=tmp_path)
    with pytest.raises(InputError, match="--work"):
        store.run(cell("a"))
