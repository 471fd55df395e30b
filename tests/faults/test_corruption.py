"""A flipped bit or digit never changes a number unnoticed, in any file of any kind of run, and never ends in a traceback."""

import os
from pathlib import Path

import pytest

from tests.faults.corruption import Kind, attack
from tests.faults.kinds import kinds

SEED = int(os.environ.get("LEAKATK_FAULTS_SEED", "0"))
COUNT = int(os.environ.get("LEAKATK_FAULTS_COUNT", "200"))  # tries of each way of each kind, in the long form
# Tries of the short form: (reading, resuming); each file is damaged once at least where reading is fast.
SHORT = {
    "audit": (24, 4), "interrupted run": (0, 6), "RULE": (10, 10), "small models": (0, 6), "judge": (60, 0),
    "unlearning, interrupted": (0, 12), "unlearning, finished": (6, 6), "bench": (20, 3),
}  # fmt: skip


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Kind, Path]]:
    folder = tmp_path_factory.mktemp("faults")
    return {kind.name: (kind, folder / kind.name) for kind in kinds(folder)}


def run(made: dict[str, tuple[Kind, Path]], name: str, tries: tuple[int, int], tmp_path: Path) -> list[str]:
    kind, whole = made[name]
    if not whole.exists():
        kind.make(whole)
    failures = []
    for way, use, count in (("read", kind.read, tries[0]), ("resumed", kind.resume, tries[1])):
        if use is not None and count:
            tally = attack(whole, use, count, SEED, tmp_path / way, mend=way == "resumed")
            print(tally.line(f"{name}, {way}"))
            failures += tally.failures
    return failures


def check(
    made: dict[str, tuple[Kind, Path]],
    name: str,
    tries: tuple[int, int],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    failures = run(made, name, tries, tmp_path)
    said = capsys.readouterr().out
    with capsys.disabled():
        print("\n" + said.strip())
    assert failures == []


@pytest.mark.parametrize("name", SHORT)
def test_no_number_changes_unnoticed(
    made: dict[str, tuple[Kind, Path]], name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    check(made, name, SHORT[name], tmp_path, capsys)


@pytest.mark.slow
@pytest.mark.timeout(7200)
@pytest.mark.parametrize("name", SHORT)
def test_no_number_changes_unnoticed_in_many_tries(
    made: dict[str, tuple[Kind, Path]], name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    check(made, name, (COUNT, COUNT), tmp_path, capsys)
