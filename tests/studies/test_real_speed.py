"""The cells of speed keep what the scripts found, and the page computes its ratios from them."""

import json

import pytest
import real_speed
from real_cells import Clock, Store
from real_speed import SAMPLING, Speeds
from real_speed_page import section

from leakatk.errors import RunError

PROFILE = {"layers: linear products": 0.5, "output head": 0.3, "drawing": 0.2}


def timed(engine, rate, peak, dtype="bf16"):
    return {"dtype": dtype, "engine": engine, "tokens/CPU s": rate, "peak GB": peak}


@pytest.fixture
def speeds(tmp_path, monkeypatch):
    """Cells whose script writes its own arguments as its one row."""
    monkeypatch.setattr(real_speed, "PERFORMANCE", tmp_path / "scripts")
    (tmp_path / "scripts").mkdir()
    store = Store("speed", root=tmp_path / "cells", work=tmp_path / "work")
    store.scratch("sampling").mkdir(parents=True)

    def script(after=""):
        (tmp_path / "scripts" / "sampling.py").write_text(
            "import json, sys\n"
            "open(sys.argv[sys.argv.index('--out') + 1], 'w').write(json.dumps({'rows': [sys.argv[1:]]}))\n" + after
        )
        return Speeds(store, tmp_path / "model")

    return script


def test_a_cell_asks_for_what_its_settings_say_and_keeps_the_rows(speeds, tmp_path):
    one = speeds()
    words = one.sampling(Clock())["rows"][0]
    assert words[:2] == ["real", str(tmp_path / "model")]
    for name, value in SAMPLING.items():
        assert words[words.index(f"--{name}") + 1] == str(value)
    speeds("raise SystemExit(1)")
    assert one.sampling(Clock())["rows"][0] == words  # what is there is not measured again


def test_a_script_that_fails_leaves_nothing_that_is_taken_for_whole(speeds):
    one = speeds("raise SystemExit(3)")
    with pytest.raises(RunError, match=r"sampling\.py ended with code 3"):
        one.sampling(Clock())
    assert speeds().sampling(Clock())["rows"]


def store_of(tmp_path, **cells):
    store = Store("speed", root=tmp_path)
    store.root.mkdir(parents=True)
    for name, numbers in cells.items():
        row = {
            "study": "speed",
            "cell": name,
            "settings": {"batch": 16, "turns": 2},
            "seconds": {"all": 1.0},
            "numbers": numbers,
        }
        store.path(name).write_text(json.dumps(row))
    return store


def test_what_was_not_run_is_said(tmp_path):
    text = section(store_of(tmp_path))
    for name in ("sampling", "training", "demo"):
        assert f"{name}: not run" in text


def test_the_ratio_without_all_but_products(tmp_path):
    row = {
        "model": "greedy", "prompts": 40, "n": 1, "runs": 2, "dtype": "bf16", "native tok/s": 200.0, "generate tok/s": 50.0,
        "ratio": 4.0, "tokens a row-step": 1.0, "profile": PROFILE,
    }  # fmt: skip
    text = section(store_of(tmp_path, sampling={"rows": [row]}))
    assert "greedy answers to 40 prompts | 200 | 50 | 4.0 |" in text
    assert "the ratios would be: greedy 5.0." in text  # 4 / (.5 + .3)


def test_training_is_compared_turn_by_turn(tmp_path):
    rows = [
        timed("ours: retrain", 30.0, 3.9),
        timed("Trainer", 20.0, 5.0),
        timed("Trainer", 10.0, 5.2),
        timed("ours: retrain", 20.0, 4.1),
    ]
    text = section(
        store_of(tmp_path, training={"rows": rows}, **{"training-npo": {"rows": [timed("ours: npo", 9.0, 4.4)]}})
    )
    assert "| ours: retrain | 25 | 1.75 | 4.1 |" in text  # 1.5 and 2
    assert "| transformers' Trainer | 15 | – | 5.2 |" in text
    assert "| ours: npo | 9 | – | 4.4 |" in text


def test_the_demo_gives_its_forecast_beside_its_time(tmp_path):
    found = {
        "forecast": "about 26m", "spent": {"wall": 1200.0, "seconds": {"full": 300.0}}, "verdict": "It leaks.", "notes": ["One."],
        "table": {"title": "", "caption": "", "columns": ["model", "leak"], "rows": [["NPO", {"value": 0.5, "low": 0.4, "high": 0.6, "digits": 2}], ["full", {"value": 1.0, "low": None, "high": None, "digits": 2}]]},
    }  # fmt: skip
    text = section(store_of(tmp_path, demo=found))
    for part in ("20m00s", "about 26m", "full 5m00s", r"0.50 \[0.40, 0.60\]", "It leaks.", "* One.", "| full | 1.00 |"):
        assert part in text
