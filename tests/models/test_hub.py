"""A model by its id, on a hub of our own (HF_ENDPOINT) and where none answers."""

import json
import os
import subprocess
import sys

import pytest

from leakatk.prompts import save_prompts
from tests.benchmarks.hub import COMMIT, Hub, serving
from tests.tiny import PROMPTS, save_tiny_model


def test_a_mistyped_model_where_no_hub_answers_is_told_without_trying_again_and_again(tmp_path):
    save_prompts(PROMPTS, tmp_path / "forget.jsonl")
    command = ["audit", "models/nope", "--forget", "forget.jsonl", "--n", "4", "--out", "runs/nope"]
    done = subprocess.run(
        [sys.executable, "-m", "leakatk", *command], cwd=tmp_path, capture_output=True, text=True, timeout=200,
        env={**os.environ, "HF_ENDPOINT": "http://127.0.0.1:9", "HF_HOME": str(tmp_path), "HF_HUB_OFFLINE": "0"},
    )  # fmt: skip
    assert done.returncode == 2
    assert "models/nope: no such directory, and the Hugging Face hub cannot be reached" in done.stderr
    assert "Retrying" not in done.stderr
    assert not (tmp_path / "runs").exists()


@pytest.mark.slow
def test_a_model_by_its_hub_id(tmp_path):
    model = save_tiny_model(tmp_path / "tiny")
    hub = Hub({f"org/tiny/{file.name}": file.read_bytes() for file in model.iterdir()}, {})
    save_prompts(PROMPTS, tmp_path / "own.jsonl")
    command = ["bench", str(tmp_path / "own.jsonl"), "--n", "2", "--decoding", "max_new_tokens=4", "--json", "--quiet"]
    with serving(hub) as endpoint:
        environment = {
            **os.environ,
            "HF_ENDPOINT": endpoint,
            "HF_HOME": str(tmp_path),
            "HF_HUB_OFFLINE": "0",
            "HF_HUB_DISABLE_XET": "1",
        }
        done = [
            subprocess.run(
                [sys.executable, "-m", "leakatk", *command, "--model", name, "--out", str(tmp_path / "out")],
                env=environment, capture_output=True, text=True, timeout=250,
            )
            for name in ("org/tiny", "org/none")
        ]  # fmt: skip
    assert done[0].returncode == 0, done[0].stderr
    assert json.loads(done[0].stdout)[0]["model_sha256"] == f"org/tiny@{COMMIT}"
    assert done[1].returncode == 2
    assert "leakatk: Cannot load org/none" in done[1].stderr
