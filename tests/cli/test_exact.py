"""leakatk exact train and delete, as they are typed."""

import json

import pytest

from leakatk.prompts import save_prompts
from tests.cli.test_bad_input import refused
from tests.tiny import PROMPTS


def test_learned_in_slices_and_deleted(leakatk, model, forget, tmp_path):
    out, gone = tmp_path / "sliced", tmp_path / "gone.jsonl"
    save_prompts(PROMPTS[:1], gone)
    code, said, err = leakatk(
        "exact", "train", model, "--forget", forget, "--steps", "1", "--lora-rank", "2", "--out", out, "--quiet"
    )
    assert code == 0, err
    assert f"Learned {len(PROMPTS)} of {len(PROMPTS)} prompts in 1 x 2 slices, 2 orders." in said
    assert (out / "served" / "shard-001" / "model.safetensors").exists()
    code, said, err = leakatk("exact", "delete", out, "--forget", gone, "--json")
    assert code == 0, err
    found = json.loads(said)
    assert (found["prompts"], found["left"], found["there"]) == (1, len(PROMPTS) - 1, 4)
    assert found["lost"] == 3
    refused(leakatk("exact", "delete", out, "--forget", gone), "has not learned 1 of 1 prompts")
    rest = tmp_path / "rest.jsonl"
    save_prompts(PROMPTS[1:], rest)
    code, said, err = leakatk("exact", "delete", out, "--forget", rest)
    assert code == 0, err
    assert "no slice is left; it is the base" in said
    assert "have learned from 0 of the 0 prompts left" in said


def test_what_is_no_directory_of_slices(leakatk, forget, tmp_path):
    refused(leakatk("exact", "delete", tmp_path / "nothing", "--forget", forget), "slices.json")
    refused(leakatk("exact", "train", "m", "--out", tmp_path / "out"), "--benchmark")


def test_dry_runs_say_what_the_runs_do_and_change_nothing(leakatk, model, forget, tmp_path):
    out, gone = tmp_path / "sliced", tmp_path / "gone.jsonl"
    save_prompts(PROMPTS[:1], gone)
    train = ("exact", "train", model, "--forget", forget, "--steps", "1", "--lora-rank", "2", "--out", out, "--quiet")
    code, said, err = leakatk(*train, "--dry-run", "--json")
    assert code == 0, err
    would = json.loads(said)
    assert (would["trainings"], would["steps"], would["prompts"]) == (4, 4, len(PROMPTS))
    assert not out.exists()
    code, said, err = leakatk(*train, "--dry-run")
    assert "Would train 4 adapters" in said, err

    leakatk(*train)
    weights = [file for place in ("weights", "served") for file in (out / place).rglob("*.safetensors")]
    assert would["disk"] == pytest.approx(sum(file.stat().st_size for file in weights), rel=0.2)
    before = {file: file.read_bytes() for file in out.rglob("*") if file.is_file()}
    delete = ("exact", "delete", out, "--forget", gone)
    code, said, err = leakatk(*delete, "--dry-run", "--json")
    assert code == 0, err
    assert {file: file.read_bytes() for file in out.rglob("*") if file.is_file()} == before
    assert "Would delete 1 prompts: 3 of 4 trained slices" in leakatk(*delete, "--dry-run")[1]
    assert json.loads(leakatk(*delete, "--json")[1]) == json.loads(said)
    refused(leakatk(*delete, "--dry-run"), "has not learned 1 of 1 prompts")
