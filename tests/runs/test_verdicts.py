"""All gates of an audit together: one that fails decides, and only all of them pass."""

from dataclasses import replace
from itertools import permutations

import pytest

from leakatk.runs.results import AuditResults, GateVerdict, Verdict
from leakatk.runs.verdicts import gates_of, together

PASS = GateVerdict(
    answer="PASS", reason="all of it", why="short", not_measured=["1 prompt has no score"], settles="", k=8, bound=0.1,
    over="samples", level=0.95, each_level=0.95, looks=1, low=0.0, high=0.05, worst="T=1", unscored="count", cut="count",
)  # fmt: skip
FAIL = replace(
    PASS, answer="FAIL", why="too much", not_measured=[], against="retrained", compared="the retrained model"
)
OPEN = replace(PASS, answer="CANNOT SAY", why="who knows", settles="About 90 samples.", against="earlier", compared="x")


@pytest.mark.parametrize(
    ("gates", "answer"),
    [((PASS,), "PASS"), ((FAIL,), "FAIL"), ((OPEN,), "CANNOT SAY"), ((PASS, FAIL), "FAIL"), ((PASS, OPEN), "CANNOT SAY"),
     ((OPEN, FAIL), "FAIL"), ((PASS, OPEN, FAIL), "FAIL"), ((PASS, PASS), "PASS")],
)  # fmt: skip
def test_one_that_fails_decides_and_only_all_of_them_pass(gates, answer):
    for order in permutations(gates):
        assert together(order).answer == answer


def test_the_gate_that_decides_says_why():
    found = together([PASS, OPEN])
    assert found == Verdict(
        answer="CANNOT SAY", why="who knows", not_measured=["1 prompt has no score"], settles="About 90 samples."
    )
    assert together([OPEN, FAIL]).settles == "", "more samples change no FAIL"
    assert together([OPEN, replace(OPEN, settles="About 5 prompts.")]).settles == (
        "Earlier run: About 90 samples. Earlier run: About 5 prompts."
    )
    lost = replace(FAIL, answer="CANNOT SAY", not_measured=["1 prompt has no score", "role: not compared"])
    assert together([PASS, lost]).not_measured == ["1 prompt has no score", "role: not compared (excess)"]
    assert together([lost]).not_measured == ["1 prompt has no score", "role: not compared"]


def test_without_a_gate_there_is_no_verdict():
    assert together([]) is None


def test_gates_of_former_versions_say_why_in_their_own_words():
    row = {key: value for key, value in PASS.as_dict().items() if key not in ("why", "not_measured", "settles")}
    old = GateVerdict.from_dict(row)
    assert old.as_dict() == row, "nothing is added to what was read"
    assert together([old]) == Verdict(answer="PASS", why="all of it", not_measured=[])


def test_the_gates_stand_in_the_results():
    least = AuditResults(label="a", decoding="T=1", m=1, n=8, level=0.95, scorers={})
    assert gates_of(least) == []
    full = replace(least, gate=PASS, excess_gate=FAIL, earlier_gate=OPEN)
    full = replace(full, verdict=together(gates_of(full)))
    kept = full.as_dict()
    assert [kept[name]["answer"] for name in ("gate", "excess_gate", "earlier_gate", "verdict")] == [
        "PASS", "FAIL", "CANNOT SAY", "FAIL",
    ]  # fmt: skip
    assert AuditResults.from_dict(kept).as_dict() == kept
