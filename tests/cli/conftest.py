import pytest

from leakatk.prompts import save_prompts
from tests.tiny import PROMPTS, save_tiny_model


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return save_tiny_model(tmp_path_factory.mktemp("model") / "tiny")


@pytest.fixture
def forget(tmp_path):
    save_prompts(PROMPTS, tmp_path / "forget.jsonl")
    return tmp_path / "forget.jsonl"


@pytest.fixture(autouse=True)
def _short_pilots(monkeypatch):
    monkeypatch.setattr("leakatk.cli.dry.PILOT_SECONDS", 0.1)
    monkeypatch.setattr("leakatk.cli.dry.PILOT_PREFIXES", 8)
