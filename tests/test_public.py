"""The public face: `__all__`, what can be imported, what a type checker sees, and the page of public names agree."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import leakatk as lk

ROOT = Path(__file__).resolve().parents[1]
NAMES = set(lk.__all__) - {"__version__"}


def test_every_public_name_can_be_imported():
    assert all(getattr(lk, name) is not None for name in lk.__all__)
    assert dir(lk) == sorted(lk.__all__)


def test_a_type_checker_sees_the_same_names():
    tree = ast.parse(Path(lk.__file__).read_text(encoding="utf-8"))
    checked = next(node for node in tree.body if isinstance(node, ast.If))
    found = {alias.asname for node in checked.body if isinstance(node, ast.ImportFrom) for alias in node.names}
    assert found == NAMES


def test_a_public_name_comes_from_where_a_type_checker_thinks():
    tree = ast.parse(Path(lk.__file__).read_text(encoding="utf-8"))
    checked = next(node for node in tree.body if isinstance(node, ast.If))
    places = {
        alias.asname: node.module for node in checked.body if isinstance(node, ast.ImportFrom) for alias in node.names
    }
    assert places.pop("report") == "leakatk.report.notebook"
    assert {name: getattr(lk, name).__module__ for name in NAMES - {"report"}} == places


def test_the_page_of_public_names_lists_them_all_once():
    page = ROOT / "docs" / "api.md"
    listed = re.findall(r"^::: leakatk\.(\w+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    assert sorted(listed) == sorted(NAMES)


def test_no_public_name_is_hidden_by_a_room():
    """Importing `leakatk.x` puts the module x onto the package: a public name x would then be that module."""
    rooms = {path.stem for path in Path(lk.__file__).parent.iterdir()}
    assert NAMES & rooms == {"report"}, "and this room can be called"


def test_report_makes_a_report_before_and_after_its_room_was_imported():
    code = (
        "import leakatk as lk\n"
        "for _ in range(2):\n"
        "    try:\n        lk.report('nowhere')\n    except lk.LeakAtKError as error:\n        print(error)\n"
        "import leakatk.report.content\nprint(type(lk.report).__name__)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert done.splitlines() == ["nowhere: no such run directory; check the path."] * 2 + ["_Room"]


def test_an_unknown_name_is_an_attribute_error():
    code = "import leakatk\ntry:\n    leakatk.samle\nexcept AttributeError as error:\n    print(error)"
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert "samle" in said
    assert "sample" in said
