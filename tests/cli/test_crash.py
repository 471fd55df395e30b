"""How a command ends that does not end well."""

import errno
import os
import stat

import pytest

from leakatk.cli.crash import machine, report, write_traceback
from leakatk.errors import InputError


def raised(error, cause=None):
    """The error as an except clause sees it."""
    try:
        raise error from cause
    except BaseException as caught:
        return caught


@pytest.fixture(autouse=True)
def _crashes_stay_here(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.delenv("LEAKATK_DEBUG", raising=False)


def test_bad_input_is_its_sentence_alone(tmp_path):
    assert report(raised(InputError("no such file."))) == ("no such file.", 2)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "error", [KeyError("x"), ValueError("a\x1b[31mb"), RecursionError(), AssertionError(), SystemExit(1)]
)
def test_anything_else_is_3_and_its_traceback_is_kept_for_this_user_alone(tmp_path, error):
    sentence, code = report(raised(error))
    [path] = tmp_path.glob("leakatk-crash-*.txt")
    assert code == 3
    assert str(path) in sentence
    assert type(error).__name__ in sentence
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert "Traceback" in path.read_text()
    assert "\x1b" not in path.read_text()


def test_debug_prints_the_traceback(monkeypatch, capsys):
    monkeypatch.setenv("LEAKATK_DEBUG", "1")
    report(raised(ZeroDivisionError("by nothing")))
    assert "Traceback" in capsys.readouterr().err


def test_no_place_for_the_traceback_is_said(monkeypatch, tmp_path):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "absent"))
    assert write_traceback(raised(KeyError("x"))) == ""
    sentence, code = report(raised(KeyError("x")))
    assert (code, "not written" in sentence) == (3, True)


@pytest.mark.parametrize(
    ("error", "word"),
    [
        (MemoryError("of 5 GB"), "--max-new-tokens"),
        (OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "out/run"), "(out/run): free some space"),
        (OSError(errno.EMFILE, os.strerror(errno.EMFILE)), "ulimit"),
        (OSError(errno.ELOOP, os.strerror(errno.ELOOP), "a"), "links"),
        (RuntimeError("unable to mmap 8 bytes: Too many open files (24)"), "ulimit"),
        (RuntimeError("[enforce fail] write: No space left on device"), "free some space"),
        (ModuleNotFoundError("No module named 'scipy'", name="scipy.stats"), "The package scipy is not installed"),
    ],
)
def test_what_the_machine_refuses_is_2_wherever_it_stands_in_the_chain(error, word):
    for one in (raised(error), raised(RuntimeError("cell 3 failed"), cause=error)):
        sentence, code = report(one)
        assert code == 2
        assert word in sentence


def test_a_missing_module_of_our_own_and_other_errors_of_the_system_are_crashes():
    assert machine(raised(ModuleNotFoundError("No module named 'leakatk.no'", name="leakatk.no"))) is None
    assert machine(raised(FileNotFoundError(errno.ENOENT, "no", "x"))) is None
