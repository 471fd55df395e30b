"""The page on the architecture is that of the package: its tree, its levels, and every file that it names."""

import importlib.util
import re
from pathlib import Path

import pytest

from tests.test_house import LEVELS

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "architecture.md"
SCRIPT = ROOT / "scripts" / "package_tree.py"
PACKAGE = ROOT / "src" / "leakatk"
pytestmark = pytest.mark.skipif(
    not (PAGE.is_file() and SCRIPT.is_file()), reason="the documentation is not beside the tests"
)


@pytest.fixture(scope="module")
def script():
    spec = importlib.util.spec_from_file_location("package_tree", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def between(page, name):
    return re.search(rf"<!-- {name} -->\n```text\n(.*?)```\n<!-- /{name} -->", page, flags=re.DOTALL)[1].splitlines()


def test_the_tree_is_that_of_the_package(script):
    shown, there = between(PAGE.read_text(), "tree"), script.tree().splitlines()
    stale = [line for line in shown if line not in there] + [line for line in there if line not in shown]
    assert shown == there, "python scripts/package_tree.py --write; stale: " + " | ".join(stale)


def test_every_file_is_in_the_tree(script):
    names = [line.split()[0] for line in script.tree().splitlines()]
    files = [path.name for path in PACKAGE.rglob("*.py") if path.name != "__init__.py"]
    rooms = [f"{path.parent.name}/" for path in PACKAGE.glob("**/*/__init__.py")]
    assert sorted(names) == sorted(files + rooms)


def test_every_file_says_what_it_is_in_half_a_line(script):
    for name, what in script.rows():
        assert what, f"{name.strip()} has no docstring"
        assert len(what) <= script.LONGEST, f"{name.strip()}: {what}"


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("Step: one micro-batch.", "Step: one micro-batch"),
        ("Leaks? Found here.\n\nMore.", "Leaks?"),
        ("Checks" + " of all" * 8 + ": " + "what is " * 9 + ".", "Checks" + " of all" * 8),
        ("A list of things," + " and more" * 7 + ", and still more.", "A list of things," + " and more" * 7),
        ("After A. b (X, 2024) as there.", "After A. b (X, 2024) as there"),
        ("word" * 30, "word" * 30),
        ("", ""),
    ],
)
def test_a_description_is_the_beginning_of_a_docstring(script, text, what):
    assert script.described(text) == what


def test_the_levels_are_those_that_are_tested():
    assert between(PAGE.read_text(), "levels") == LEVELS.strip().splitlines()


def test_every_file_that_is_named_exists():
    text = PAGE.read_text().split("<!-- tree -->")[0]
    named = re.findall(r"`([\w/]+\.py|tests/[\w/]+/)`", text)
    assert len(named) > 60
    own = [path.as_posix() for path in PACKAGE.rglob("*.py")]
    examples = ("NAME.py", "FAMILY.py", "KIND.py")
    for name in named:
        there = (ROOT / name).exists() or any(path.endswith(f"/{name}") for path in own)
        assert there or (name.endswith(examples) and (PACKAGE / name).parent.is_dir()), name
