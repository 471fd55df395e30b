"""The paper index is computed from what is registered, says what is there, and is proven by tests that exist."""

import json
import os
import subprocess
import sys
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from leakatk.errors import UnknownNameError
from leakatk.papers.index import STATUSES, Listed, Use, chosen, counts, find, listed, page
from leakatk.papers.kinds import KINDS, Kind
from leakatk.papers.rows import ROWS
from leakatk.registry import Facts, Registry, facts_of
from tests.cli.test_help import parse
from tests.papers.contract import BY_NAME, CONTRACTS, PROOFS, proofs_of

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "paper-index.md"
# Statuses that were reached; a row may rise, and none may fall unseen.
REACHED = dict.fromkeys(
    (
        *(
            "4",
            "7",
            "13",
            "21",
            "31",
            "33",
            "34",
            "36",
            "41",
            "43",
            "50",
            "52",
            "57",
            "58",
            "59",
            "65",
            "88",
            "97",
            "98",
        ),
        *("104", "109", "110"),
    ),
    "works",
)
REACHED |= dict.fromkeys(
    (
        *("3", "9", "17", "20", "26", "30", "35", "45", "46", "48", "61x", "63", "64", "76", "77", "83", "84"),
        *("89", "92", "106", "111", "114"),
    ),
    "in part",
)
REACHED |= dict.fromkeys(("63", "68", "69", "75", "86", "111", "117"), "works")


@pytest.fixture(scope="module")
def rows():
    return listed()


@pytest.fixture(scope="module")
def collected(tmp_path_factory):
    """Test id without parameters -> all texts that it is parametrised by, of the contract tests and of PROOFS."""
    asked = {path for kind in KINDS for path in CONTRACTS.get(kind, ()) if (ROOT / path).exists()}
    asked |= {test.partition("::")[0] for tests in PROOFS.values() for test in tests}
    file = tmp_path_factory.mktemp("collected") / "tests.json"
    command = [
        sys.executable,
        "-m",
        "pytest",
        "--collect-only",
        "-q",
        "-p",
        "tests.papers.collecting",
        "-p",
        "no:cacheprovider",
    ]
    done = subprocess.run(
        [*command, *sorted(asked)], cwd=ROOT, env={**os.environ, "COLLECTED": str(file)}, capture_output=True, text=True, check=False
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    found = {}
    for test, texts in json.loads(file.read_text()).items():
        found.setdefault(test.partition("[")[0], set()).update(texts)
    return found


def unproven(rows, collected):
    """What serves a row, is in no contract test of its kind and has no tests of its own, or names some that do not exist."""
    for one in rows:
        for use in one.uses:
            kind, name = use.kind.name, use.facts.name
            named, where = proofs_of(kind, name), CONTRACTS.get(kind, ())
            tests = [test for test in collected if where and test.startswith(where)]
            run = any(text.partition(":")[0] == name for test in tests for text in collected[test])
            if (
                not set(named) <= set(collected)
                or (where and not run)
                or (not named and (kind in BY_NAME or not where))
            ):
                yield f"{kind} {name} (row {one.row.number})"


def test_what_serves_a_row_is_proven(rows, collected):
    assert not list(unproven(rows, collected)), "no test is named for these in tests/papers/contract.py"


def test_what_has_no_test_is_found(rows, collected):
    thing = Facts(name="filler-of-nobody", rows=("90",))
    assert list(unproven(listed([invented(thing)]), collected)) == ["gadgets filler-of-nobody (row 90)"]
    for kind in ("probes", "methods", "guards", "metrics"):
        assert list(unproven(listed([replace(invented(thing), name=kind)]), collected)), kind
    # Neither the contract of its kind alone proves a guard, nor a test of its formula alone.
    for gone, lost in (
        ("guards/test_contract", "curate"),
        ("test_a_refusal_is_exact", "curate"),
        ("attacks/test_quantise", "quantise"),
    ):
        left = {test: texts for test, texts in collected.items() if gone not in test}
        assert any(lost in one for one in unproven(rows, left)), gone
    left = {test: texts for test, texts in collected.items() if "test_pistol" not in test}
    assert set(unproven(rows, left)) - set(unproven(rows, collected)) == {
        "benchmarks pistol/1 (row 58)",
        "benchmarks pistol/2 (row 58)",
    }


def test_proofs_are_of_things_that_serve_a_row(rows):
    assert all(isinstance(tests, tuple) and tests for tests in PROOFS.values())
    served = {f"{use.kind.name} {use.facts.name}" for one in rows for use in one.uses}
    for pattern in PROOFS:
        assert any(name.startswith(pattern.rstrip("*")) for name in served), pattern


def test_no_status_falls(rows):
    status = {one.row.number: one.status for one in rows}
    for row, reached in REACHED.items():
        assert STATUSES.index(status[row]) <= STATUSES.index(reached), row
    assert [row for row, what in status.items() if what == "described"] == ["5", "40", "91", "101"]


def test_every_command_parses(rows):
    for one in rows:
        for use in one.uses:
            parse(use.command)


@dataclass(frozen=True)
class Gadgets(Kind):
    """A kind with a registry of its own."""

    registry: Registry[Facts] = field(default_factory=lambda: Registry("gadget"))

    def load(self):
        return self.registry


def invented(*things):
    kind = Gadgets("gadgets", "nowhere:NONE", "gadgets", "leakatk gadgets {}")
    for thing in things:
        kind.registry.add(thing.name, thing)
    return kind


def status_of(number, *things):
    return next(one for one in listed([invented(*things)]) if one.row.number == number)


def test_a_row_works_only_if_nothing_that_serves_it_lacks_something():
    whole, half = Facts(name="whole", rows=("90",)), Facts(name="half", rows=("90", "91"), lacks="the projection")
    mixed = Facts(name="mixed", rows=("90", "93"), lacks={"93": "the projection of each request"})
    assert status_of("90").status == "not yet"
    assert status_of("91").status == "described"
    assert status_of("90", whole).status == "works"
    assert status_of("90", whole, half).status == "in part"
    assert status_of("90", whole, half).lacks == "the projection"
    assert status_of("91", half).status == "in part"
    assert status_of("90", mixed).status == "works"
    assert status_of("93", mixed).lacks == "the projection of each request"
    assert (
        status_of("90", whole, mixed).names("`") == "gadgets `mixed`, `whole`"
    )  # by name, whatever was imported first


def test_what_is_owed_of_a_row_is_owed_until_something_of_that_kind_serves_it():
    attack, method = invented(Facts(name="round", rows=("92",))), invented(Facts(name="sure", rows=("92",)))
    kinds = replace(attack, name="attacks"), replace(method, name="methods")

    def row(*kinds):
        return next(one for one in listed(kinds) if one.row.number == "92")

    assert (row().status, row().lacks) == ("not yet", "")
    assert (row(kinds[0]).status, row(kinds[0]).lacks) == ("in part", "the method SURE")
    assert (row(kinds[1]).status, row(*kinds).status) == ("works", "works")


@pytest.mark.parametrize(
    ("facts", "words"),
    [
        ({"rows": ("120",)}, "no such row"),
        ({"rows": ("90",), "lacks": {"91": "x"}}, "does not serve"),
    ],
)
def test_rows_that_do_not_exist_are_refused(facts, words):
    with pytest.raises(ValueError, match=words):
        status_of("90", Facts(name="wrong", **facts))


@pytest.mark.parametrize(
    ("asked", "numbers"),
    [
        ("61x", ["61x"]), ("61", ["61"]), ("tofu", ["33"]), ("2405.15662", ["115"]), ("few-shot", ["17", "77", "83"]),
        ("agents", ["27"]), ("rule", ["88"]), ("EUL", ["11"]), ("survey", ["91", "101"]),
    ],
)  # fmt: skip
def test_a_row_is_found_by_number_system_arxiv_or_name(rows, asked, numbers):
    assert [one.row.number for one in find(rows, asked)] == numbers


def test_what_is_not_there_is_answered_with_the_nearest(rows):
    with pytest.raises(UnknownNameError, match=r"did you mean .*undial"):
        find(rows, "undail")
    with pytest.raises(UnknownNameError, match="did you mean guard"):
        chosen(rows, tags=["gard"])
    with pytest.raises(UnknownNameError, match="did you mean works"):
        chosen(rows, status="work")


def test_rows_are_chosen_by_tags_and_status(rows):
    found = chosen(rows, tags=["attack"], status="works")
    assert "98" in [one.row.number for one in found]
    assert all("attack" in one.tags and one.status == "works" for one in found)
    assert len(chosen(rows, tags=["guard", "encoder"])) < len(chosen(rows, tags=["guard"]))


def test_counts_are_of_all_rows(rows):
    assert counts(rows).startswith("121 rows: ")
    assert sum(int(part.split()[0]) for part in counts(rows).partition(": ")[2].split(", ")) == 121


def test_tags_of_what_serves_a_row_count_too():
    use = Use(KINDS["probes"], Facts(name="x", tags=frozenset({"retrained"})))
    assert "retrained" in Listed(ROWS[0], (use,)).tags


def test_every_method_is_on_the_page_with_its_paper_and_defaults():
    lines = [line.split(" | ") for line in page().splitlines() if line.startswith("| `")]
    listed_methods = {line[0].strip("| `"): line for line in lines if len(line) == 4}
    methods = KINDS["methods"].load()
    assert set(listed_methods) == set(methods)
    for name in methods:
        assert listed_methods[name][1] == facts_of(name, methods[name]).paper
        for key, value in getattr(methods[name], "identity", methods[name].params).items():
            shown = f"{value:g}" if isinstance(value, float) else str(value)
            assert f"{key} {shown}" in listed_methods[name][2].replace("\\|", "|")


@pytest.mark.skipif(not PAGE.exists(), reason="the documentation is not beside the tests")
def test_the_page_is_what_is_generated():
    assert PAGE.read_text(encoding="utf-8") == page(), "run: leakatk papers --markdown > docs/paper-index.md"
