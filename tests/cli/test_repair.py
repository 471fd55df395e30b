"""leakatk repair: the curve that is printed and kept, and what is refused."""

import json

import pytest

from leakatk.prompts import save_prompts
from tests.tiny import PROMPTS


@pytest.fixture
def files(tmp_path):
    save_prompts(PROMPTS[:1], tmp_path / "f.jsonl")
    save_prompts(PROMPTS[1:], tmp_path / "r.jsonl")
    return ("--forget", tmp_path / "f.jsonl", "--retain", tmp_path / "r.jsonl")


def test_a_curve(leakatk, model, files, tmp_path):
    words = ("repair", model, *files, "--percent", "1,100", "--steps", "1", "--max-new-tokens", "2")
    code, said, err = leakatk(*words, "--retrained", model, "--out", tmp_path / "o", "--quiet")
    assert code == 0, err
    lines = [line.split(":")[0].strip() for line in said.splitlines() if "%" in line]
    assert lines == [f"{p}% ({n} prompts)" for p, n in ((0, 0), (1, 1), (100, len(PROMPTS) - 1))] * 2
    assert "retain, shown -" in said
    kept = json.loads((tmp_path / "o" / "repair.json").read_text())
    assert kept["curves"]["model"] == kept["curves"]["retrained"]
    assert kept["curves"]["model"][2]["not_shown"] is None
    code, said, err = leakatk(*words, "--json", "--out", tmp_path / "p", "--quiet")
    assert code == 0, err
    assert json.loads(said)["curves"] == {"model": kept["curves"]["model"]}


def test_a_dry_run_writes_nothing(leakatk, files, tmp_path):
    words = (
        "repair",
        "no-such-model",
        *files,
        "--percent",
        "1,100",
        "--steps",
        "7",
        "--out",
        tmp_path / "o",
        "--dry-run",
    )
    code, said, err = leakatk(*words)
    assert code == 0, err
    there = len(PROMPTS)
    assert (
        f"Would train 1 x 2 models for 7 steps of 16 answers each, on 1 (1%), {there - 1} (100%) retain prompts" in said
    )
    assert f"ask {3 * there:,} prompts" in said
    code, said, _ = leakatk(*words, "--retrained", "no-such-model", "--json")
    assert json.loads(said) == {"prompts": {"1": 1, "100": there - 1}, "models": 2, "steps": 28, "asked": 6 * there}
    assert not (tmp_path / "o").exists()


def test_what_is_refused(leakatk, model, files, tmp_path):
    for more, words in (
        (("--percent", "a"), "--percent must be numbers with commas"),
        (("--percent", "0"), "Percents must be above 0"),
        (("--percent", "5,5"), "each given once"),
    ):
        code, _, err = leakatk("repair", model, *files, *more, "--out", tmp_path / "o", "--quiet")
        assert code == 2
        assert words in err
    code, _, err = leakatk("repair", model, *files[:2], "--out", tmp_path / "o", "--quiet")
    assert code == 2
    assert "nothing to repair with" in err
