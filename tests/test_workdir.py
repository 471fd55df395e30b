"""One writer at a time, private directories, no leftovers, and nothing that only one system has."""

import ast
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

import leakatk
from leakatk import workdir
from leakatk.errors import RunError
from leakatk.files.writing import make_private, write_kept
from leakatk.workdir import HOLDER, LOCK, claim, clear, compared, contents, refuse_foreign, settle

SOURCE = Path(leakatk.__file__).parent
POSIX = {"fcntl", "resource", "pwd", "grp", "termios", "tty", "pty", "syslog", "posix", "spwd", "nis", "curses"}
NAMES = {
    "signal": {"SIGKILL", "SIGHUP", "SIGALRM", "SIGUSR1", "SIGUSR2", "SIGQUIT", "SIGCHLD", "alarm", "setitimer", "pthread_kill"},
    "os": {"fork", "getuid", "geteuid", "getgid", "sysconf", "uname", "mkfifo", "killpg", "setsid", "getloadavg", "O_NONBLOCK",
           "sched_getaffinity", "wait", "waitpid", "nice", "statvfs", "chown", "posix_fadvise"},
}  # fmt: skip


def posix_only(tree: ast.AST) -> list[str]:
    """What runs when the module is imported and exists on POSIX systems alone."""
    found = []
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            continue  # runs when it is called, behind a guard of its own
        if isinstance(node, ast.Import):
            found += [one.name for one in node.names if one.name.partition(".")[0] in POSIX]
        if isinstance(node, ast.ImportFrom):
            root = (node.module or "").partition(".")[0]
            found += [root] if root in POSIX else []
            found += [f"{root}.{one.name}" for one in node.names if one.name in NAMES.get(root, ())]
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            found += [f"{node.value.id}.{node.attr}"] if node.attr in NAMES.get(node.value.id, ()) else []
        found += posix_only(node)
    return found


@pytest.mark.parametrize("path", sorted(SOURCE.rglob("*.py")), ids=lambda path: str(path.relative_to(SOURCE)))
def test_every_module_can_be_imported_on_windows(path: Path) -> None:
    assert posix_only(ast.parse(path.read_text(encoding="utf-8"))) == []


def test_what_only_posix_has_is_found() -> None:
    for text, name in (
        ("import fcntl", "fcntl"),
        ("try:\n    from resource import getrlimit\nexcept ImportError: pass", "resource"),
        ("import signal\nKILL = signal.SIGKILL", "signal.SIGKILL"),
        ("from signal import SIGALRM", "signal.SIGALRM"),
        ("class A:\n    pages = os.sysconf('x')", "os.sysconf"),
    ):
        assert posix_only(ast.parse(text)) == [name]
    assert posix_only(ast.parse("def f():\n    import fcntl")) == []


HOLD = """
import sys, time
from pathlib import Path
from leakatk.workdir import claim
held = claim(Path(sys.argv[1]))
print("held", flush=True)
sys.stdin.read()
"""


def holding(path: Path) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    return process


def test_the_lock_names_its_holder_and_ends_with_the_process(tmp_path: Path) -> None:
    other = holding(tmp_path)
    for _ in range(2):  # being refused leaves the name where it is
        with pytest.raises(RunError, match=rf"is being written by process {other.pid} on .*; wait for it to end"):
            claim(tmp_path)
    other.kill()
    other.communicate()
    with claim(tmp_path, wait=10):
        assert f"process {os.getpid()} on" in (tmp_path / HOLDER).read_text()
    claim(tmp_path).close()


def test_a_second_claim_in_the_same_process_is_refused(tmp_path: Path) -> None:
    with claim(tmp_path), pytest.raises(RunError, match=f"being written by process {os.getpid()}"):
        claim(tmp_path)


def test_waiting_ends_when_the_other_is_done(tmp_path: Path) -> None:
    other = holding(tmp_path)
    other.communicate("", timeout=60)
    claim(tmp_path, wait=30).close()


def test_a_directory_is_for_its_owner_alone(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        make_private(tmp_path / "a" / "b")
        write_kept(tmp_path / "c" / "d.json", "1")
        with claim(tmp_path / "e"):
            pass
        (tmp_path / "shared").mkdir(mode=0o755)
        make_private(tmp_path / "shared")
    finally:
        os.umask(before)
    modes = {name: stat.S_IMODE((tmp_path / name).stat().st_mode) for name in ("a/b", "c", "e", "shared")}
    assert modes == {"a/b": 0o700, "c": 0o700, "e": 0o700, "shared": 0o755}  # what was there stays as it was


def test_leftovers_of_the_dead_go_and_those_of_the_living_stay(tmp_path: Path) -> None:
    other = subprocess.Popen([sys.executable, "-c", "import sys; sys.stdin.read()"], stdin=subprocess.PIPE)
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    for name in (
        f".a.json.{dead.pid}.tmp",
        f".a.json.{other.pid}.tmp",
        f".a.json.{os.getpid()}.tmp",
        ".mine",
        "x.1.tmp",
    ):
        (tmp_path / name).write_text("half")
    for name in (".saving", ".full.part", f".greedy.{dead.pid}.tmp", f".retain.{other.pid}.tmp", ".git"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "file").write_text("half")
    claim(tmp_path).close()
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted(
        [f".a.json.{other.pid}.tmp", ".mine", "x.1.tmp", f".retain.{other.pid}.tmp", ".git", HOLDER, LOCK]
    )
    other.communicate(b"", timeout=60)
    clear(tmp_path)
    assert not list(tmp_path.glob(".*.tmp"))


def test_lock_and_checksums_do_not_make_a_directory_occupied(tmp_path: Path) -> None:
    with claim(tmp_path):
        assert contents(tmp_path) == set()


def test_no_locks_there_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import filelock

    def refused(self: object, *_: object, **__: object) -> None:
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr(filelock.FileLock, "acquire", refused)
    with pytest.raises(RunError, match=r"Cannot lock .*Operation not supported; .* file system that has locks"):
        claim(tmp_path)


def test_a_command_that_is_refused_takes_its_claim_back_but_not_another_ones(tmp_path: Path) -> None:
    path = tmp_path / "out"
    claim(path).close()
    workdir.abandon(path, made=True)
    assert not path.exists()
    other = holding(path)
    workdir.abandon(path, made=True)
    assert (path / LOCK).exists()
    with pytest.raises(RunError, match=f"process {other.pid}"):
        claim(path)
    other.communicate("", timeout=60)


# --- whose it is ------------------------------------------------------------------------------------------------------


def test_a_directory_is_free_for_a_run_or_holds_one(tmp_path: Path) -> None:
    refuse_foreign(tmp_path / "new", "model", ("model.json",))
    refuse_foreign(tmp_path, "model", ("model.json",))
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(RunError, match=r"not empty and holds no model \(it holds notes.txt\); choose another"):
        refuse_foreign(tmp_path, "model", ("model.json",))
    (tmp_path / "model.json").write_text("{}")
    refuse_foreign(tmp_path, "model", ("model.json",))


def test_what_a_run_killed_at_its_start_left_is_its_own(tmp_path: Path) -> None:
    begun = {"markers": ("manifest.json",), "begun": ("prompts.jsonl",)}
    (tmp_path / "prompts.jsonl").write_text("")
    with pytest.raises(RunError, match=r"holds prompts\.jsonl"):  # nothing says that it is ours
        refuse_foreign(tmp_path, "run", **begun)
    claim(tmp_path).close()
    refuse_foreign(tmp_path, "run", **begun)
    (tmp_path / "more").mkdir()
    with pytest.raises(RunError, match=r"it holds more\)"):
        refuse_foreign(tmp_path, "run", **begun)


def test_a_directory_is_marked_once_and_others_are_refused_by_field(tmp_path: Path) -> None:
    identity = {"method": "npo", "params": {"beta": 0.1, "gamma": (1, 2)}, "off": None}
    assert not settle(tmp_path, "run.json", identity, "a model")
    kept = (tmp_path / "run.json").read_bytes()
    assert settle(tmp_path, "run.json", identity, "a model")
    assert settle(tmp_path, "run.json", {**identity, "newer": None}, "a model"), "what is off may have been unknown"
    with pytest.raises(RunError, match=r"holds a model made otherwise \(there, now\): params\.beta: 0\.1, 0\.2\. Use"):
        settle(tmp_path, "run.json", {**identity, "params": {"beta": 0.2, "gamma": [1, 2]}}, "a model")
    with pytest.raises(RunError, match=r"off: absent, 1"):
        settle(tmp_path, "run.json", {**identity, "off": 1}, "a model")
    assert (tmp_path / "run.json").read_bytes() == kept
    more = {**identity, "added": 3}
    assert settle(tmp_path, "run.json", more, "a model", former=lambda found: {"added": 3, **found})


def test_a_mark_that_is_damaged(tmp_path: Path) -> None:
    settle(tmp_path, "run.json", {"a": 1}, "a model")
    (tmp_path / "run.json").write_text("[]")
    with pytest.raises(RunError, match=r"run\.json"):
        settle(tmp_path, "run.json", {"a": 1}, "a model")


def test_fields_are_compared_by_name() -> None:
    there, now = {"a": 1, "b": {"c": 2, "d": [1]}, "e": 0}, {"a": 1, "b": {"c": 3, "d": [1]}, "f": 0}
    assert dict(compared(there, now)) == {"b.c": "b.c: 2, 3", "e": "e: 0, absent", "f": "f: absent, 0"}
    assert list(compared(there, there)) == []
