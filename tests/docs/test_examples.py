"""The examples of the add-a-... pages are code as ours: as printed they pass ruff and mypy --strict, each page as one module.

The first block of a page is the file that a contributor adds: it passes alone, word for word. What a page takes for granted (prompts, a loaded model, the Case of a test table) comes from a module beside it. Imports
stand where a block needs them, so they may be below other code, and more than once.
"""

import ast
import subprocess
import sys
from importlib.util import find_spec

import pytest

from tests.docs.desk import PAGES, ROOT, blocks

EXAMPLES = [page for page in PAGES if page.name.startswith("add-a")]
GIVEN = """from collections.abc import Sequence

from leakatk.models.loaded import LoadedModel
from leakatk.prompts import Prompt

forget: Sequence[Prompt]
loaded: LoadedModel
NAN: float
prompts: Sequence[Prompt]
retain: Sequence[Prompt]


def Case(name: str, rows: object = ()) -> None: ...
"""
TAKEN = """from given import NAN, Case, forget, loaded, prompts, retain

GIVEN = (NAN, Case, forget, loaded, prompts, retain)
"""
OURS = "lint.isort.known-first-party = ['leakatk']"  # as in the repository, where the package lies beside
# The project's settings; the package itself is checked by `make check`.
MYPY = """[mypy]
mypy_path = {src}
ignore_missing_imports = True
follow_imports = silent
strict = True
implicit_reexport = True
[mypy-scipy.*,pyarrow.*,transformers.*,peft.*,accelerate.*,sentence_transformers.*,openai.*,ray.*,vllm.*]
follow_imports = skip
"""
pytestmark = pytest.mark.skipif(not (ROOT / "docs").is_dir(), reason="the documentation is not beside the tests")


@pytest.fixture(scope="module")
def modules(tmp_path_factory):
    """A directory with a module for each page."""
    place = tmp_path_factory.mktemp("examples")
    (place / "given.py").write_text(GIVEN)
    (place / "mypy.ini").write_text(MYPY.format(src=ROOT / "src"))
    for page in EXAMPLES:
        text = "\n\n".join(block.strip("\n") for block in blocks(page, "python"))
        (place / f"{page.stem.replace('-', '_')}.py").write_text(f"{TAKEN}{text}\n")
    return place


def says(place, *command):
    done = subprocess.run([sys.executable, "-m", *command], cwd=place, capture_output=True, text=True)
    return f"{done.stdout}{done.stderr}" if done.returncode else ""


def test_every_page_shows_code():
    assert len(EXAMPLES) == 9
    for page in EXAMPLES:
        assert blocks(page, "python"), page.name


@pytest.mark.skipif(find_spec("ruff") is None, reason="ruff is not installed")
def test_ruff_finds_nothing(modules):
    pages = sorted(path.name for path in modules.glob("add_*.py"))
    config = ["--config", str(ROOT / "pyproject.toml"), "--config", OURS, "--no-cache"]
    assert not says(modules, "ruff", "check", *config, "--extend-ignore", "E402,F811", *pages)


@pytest.mark.skipif(find_spec("ruff") is None, reason="ruff is not installed")
def test_the_file_that_is_added_passes_ruff_word_for_word(tmp_path):
    for page in EXAMPLES:
        (tmp_path / f"{page.stem.replace('-', '_')}.py").write_text(blocks(page, "python")[0])
    assert not says(
        tmp_path, "ruff", "check", "--config", str(ROOT / "pyproject.toml"), "--config", OURS, "--no-cache", "."
    )


def test_the_file_that_is_added_says_what_it_is():
    for page in EXAMPLES:
        if page.name != "add-a-method.md":  # which goes into the file of its family
            assert ast.get_docstring(ast.parse(blocks(page, "python")[0])), page.name


@pytest.mark.skipif(find_spec("ruff") is None, reason="ruff is not installed")
@pytest.mark.parametrize("page", EXAMPLES, ids=lambda page: page.name)
def test_every_block_is_formatted(tmp_path, page):
    for number, block in enumerate(blocks(page, "python")):
        (tmp_path / f"block_{number}.py").write_text(block)
    config = ["--config", str(ROOT / "pyproject.toml"), "--no-cache", "--diff"]
    assert not says(tmp_path, "ruff", "format", *config, ".")


@pytest.mark.skipif(find_spec("mypy") is None, reason="mypy is not installed")
@pytest.mark.timeout(600)
def test_mypy_finds_nothing(modules):
    pages = sorted(path.name for path in modules.glob("add_*.py"))
    found = says(modules, "mypy", "--config-file", "mypy.ini", *pages)
    assert not found, found
