import os
import sys
from pathlib import Path

import pytest

# Two workers on two cores: one thread each is faster than four threads fighting.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ.setdefault("HF_HUB_OFFLINE", "1")


def pytest_configure(config):
    """LEAKATK_DEPRECATIONS=error: what dependencies announce is an error, unless they announce it to themselves."""
    if os.environ.get("LEAKATK_DEPRECATIONS") == "error":
        for line in (
            "error::FutureWarning",
            r"error::DeprecationWarning:(leakatk|tests)\b.*",
            r"ignore::FutureWarning:(transformers|peft|accelerate)\..*",
        ):
            config.addinivalue_line("filterwarnings", line)


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """The published data files, where they are at hand: LEAKATK_DATA, or shared/data beside the checkout."""
    named = os.environ.get("LEAKATK_DATA")
    path = Path(named) if named else Path(__file__).resolve().parents[2] / "shared" / "data"
    if not path.is_dir():
        pytest.skip("no published data at hand (set LEAKATK_DATA)")
    return path


@pytest.fixture
def leakatk(monkeypatch, capsys):
    """Run the command line in this process; gives (exit code, stdout, stderr)."""

    from leakatk.cli.main import main

    monkeypatch.setattr("leakatk.progress.silent", False)  # put back what --quiet set

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
