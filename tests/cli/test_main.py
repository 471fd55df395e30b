"""The command itself: names, versions, completion, and how it ends."""

import importlib
import os
import pkgutil
import subprocess
import sys

import pytest
import typer
import typer.main

from leakatk import __version__, cli, errors
from leakatk.cli.main import app
from tests.cli.test_exit_codes import leakatk_process


def test_typos_are_answered_with_the_nearest_name(leakatk):
    code, _, err = leakatk("adit")
    assert code == 2
    assert "audit" in err
    code, _, err = leakatk("audit", "m", "--out", "o", "--benchmrk", "world")
    assert code == 2
    assert "--benchmark" in err


def test_a_shell_can_complete(tmp_path):
    def complete(words, position):
        environment = {**os.environ, "_LEAKATK_COMPLETE": "complete_bash", "COMP_WORDS": words, "COMP_CWORD": position}
        code = "import sys; sys.argv = ['leakatk']\nfrom leakatk.cli.main import main; main()"
        done = subprocess.run(
            [sys.executable, "-c", code], env=environment, capture_output=True, text=True, cwd=tmp_path, check=False
        )
        return done.stdout.split()

    assert complete("leakatk repo", "1") == ["report"]
    assert complete("leakatk audit --max-n", "2") == ["--max-new-tokens"]
    assert complete("leakatk score runs/a --scorer rou", "4") == ["rouge-1", "rouge-l"]
    assert complete("leakatk methods np", "2") == ["npo", "npo-ent", "npo-hybrid", "npo-sign", "npo-zeroth"]
    assert complete("leakatk bench tofu", "2") == ["tofu/forget01", "tofu/forget05", "tofu/forget10"]


def test_a_full_stdout_is_2_and_a_closed_one_changes_nothing():
    full = leakatk_process("plan", "--k", "8", "--certify", "0.1", shell="exec > /dev/full;")
    assert full.returncode == 2
    assert "No space left on device" in full.stderr
    assert "Traceback" not in full.stderr
    assert leakatk_process("plan", "--k", "8", "--certify", "0.1", shell="exec >&-;").returncode == 0


def test_every_module_of_a_command_is_in_the_root():
    """A command that is written and not added would be found by nobody."""
    bare = typer.Typer()
    for info in pkgutil.iter_modules(cli.__path__):
        module = importlib.import_module(f"leakatk.cli.{info.name}")
        if hasattr(module, "add_to"):
            module.add_to(bare)
    every = set(typer.main.get_command(bare).commands)
    assert len(every) > 15
    assert set(typer.main.get_command(app).commands) == every


def test_the_version_is_the_packages(leakatk):
    assert leakatk("--version") == (0, f"leakatk {__version__}\n", "")


def test_without_a_command_there_is_help(leakatk):
    code, out, err = leakatk()
    assert code == 2
    assert "Usage: leakatk" in out + err


def raises(error):
    def run(*_, **__):
        raise error

    return run


def caused_by(cause):
    abort = typer.Abort()
    abort.__cause__ = cause
    return abort


@pytest.mark.parametrize(
    "error", [KeyboardInterrupt(), typer.Abort(), caused_by(KeyboardInterrupt()), typer.Exit(130)], ids=repr
)
def test_an_interrupt_says_how_to_go_on(leakatk, forget, monkeypatch, error):
    monkeypatch.setattr("leakatk.benchmarks.files.check_file", raises(error))
    code, _, err = leakatk("benchmark", "check", forget, "--column", "question=a b")
    assert code == errors.INTERRUPTED == 130
    assert f"leakatk benchmark check {forget} --column 'question=a b'" in err


@pytest.mark.parametrize("code", [0, 1, 4])
def test_a_commands_own_code_is_kept(leakatk, forget, monkeypatch, code):
    monkeypatch.setattr("leakatk.benchmarks.files.check_file", raises(typer.Exit(code)))
    assert leakatk("benchmark", "check", forget)[0] == code


@pytest.mark.parametrize("own", [None, "0"])
def test_bars_of_the_hub_are_off_unless_asked_for(leakatk, forget, monkeypatch, own):
    seen = []
    monkeypatch.setattr(
        "leakatk.benchmarks.files.check_file", lambda *_: seen.append(os.environ["HF_HUB_DISABLE_PROGRESS_BARS"])
    )
    if own is None:
        monkeypatch.delenv("HF_HUB_DISABLE_PROGRESS_BARS", raising=False)
    else:
        monkeypatch.setenv("HF_HUB_DISABLE_PROGRESS_BARS", own)
    leakatk("benchmark", "check", forget)
    assert seen == [own or "1"]
