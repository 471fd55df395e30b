import sys

import pytest

from leakatk.cli.main import main
from leakatk.data import save_prompts
from tests.tiny import PROMPTS, save_tiny_model


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return save_tiny_model(tmp_path_factory.mktemp("model") / "tiny")


@pytest.fixture
def forget(tmp_path):
    save_prompts(PROMPTS, tmp_path / "forget.jsonl")
    return tmp_path / "forget.jsonl"


@pytest.fixture
def leakatk(monkeypatch, capsys):
    """Run the command line in this process; gives (exit code, stdout, stderr)."""

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["leakatk", *map(str, arguments)])
        code = 0
        try:
            main()
        except SystemExit as stop:
            code = stop.code or 0
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return run
