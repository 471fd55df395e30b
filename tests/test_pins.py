"""What `make` and continuous integration install and run, and which warnings are errors there."""

import os
import re
import shutil
import subprocess
import sys
import tomllib
from importlib import metadata
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
pytestmark = pytest.mark.skipif(not (ROOT / "Makefile").exists(), reason="not in a checkout")
requirements = pytest.importorskip("packaging.requirements")
utils = pytest.importorskip("packaging.utils")
NEWEST = os.environ.get("LEAKATK_DEPRECATIONS") == "error"


def project():
    return tomllib.loads((ROOT / "pyproject.toml").read_text())


def group(name):
    """Requirements of a dependency group, those of the groups in it included."""
    for item in project()["dependency-groups"][name]:
        if isinstance(item, dict):
            yield from group(item["include-group"])
        else:
            yield item


def needed(lines):
    """Names of all that these requirements bring, as far as it is installed here. What torch pins itself is its own."""
    found, todo = set(), [requirements.Requirement(line) for line in lines]
    while todo:
        one = todo.pop()
        name = utils.canonicalize_name(one.name)
        extras = {"", *one.extras}
        if (name, frozenset(extras)) in found:
            continue
        found.add((name, frozenset(extras)))
        try:
            below = metadata.requires(name) or []
        except metadata.PackageNotFoundError:
            continue
        for line in below:
            other = requirements.Requirement(line)
            applies = other.marker is None or any(other.marker.evaluate({"extra": extra}) for extra in extras)
            if applies and not (name == "torch" and str(other.specifier).startswith("==")):
                todo.append(other)
    return {name for name, _ in found}


def pins():
    lines = [line for line in (ROOT / "constraints.txt").read_text().splitlines() if not line.startswith("#")]
    assert all(re.fullmatch(r"[A-Za-z0-9_.-]+==[^=\s;]+( ; .+)?", line) for line in lines)
    found = {utils.canonicalize_name(line.partition("==")[0]): line.partition("==")[2] for line in lines}
    assert len(found) == len(lines)
    return found


@pytest.mark.skipif(NEWEST, reason="the newest releases may need what nobody has pinned yet")
def test_all_that_make_installs_is_pinned():
    build = project()["build-system"]["requires"]
    wanted = needed([*project()["project"]["dependencies"], *group("dev"), *build, "editables", "pip"])
    assert {"torch", "transformers", "tokenizers", "hatchling", "mkdocs-material", "filelock"} <= wanted
    assert wanted - pins().keys() == set()


def test_pins_lie_in_the_ranges_of_the_project():
    held = pins()
    for line in [*project()["project"]["dependencies"], *group("dev"), *project()["build-system"]["requires"]]:
        one = requirements.Requirement(line)
        assert one.specifier.contains(held[utils.canonicalize_name(one.name)]), line


def test_the_documentation_needs_no_engine():
    brought = needed(group("docs"))
    assert "mkdocs" in brought
    assert not brought & {"torch", "transformers", "numpy", "scipy", "pyarrow", "ray"}
    for line in group("docs"):
        assert line in set(group("dev"))  # the tests build it too


def made(*words):
    """The commands that make would run, all targets made anew."""
    if not shutil.which("make"):
        pytest.skip("no make here")
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("MAKE", "VERSIONS"))}
    done = subprocess.run(
        ["make", "-nB", *words], cwd=ROOT, capture_output=True, text=True, env=environment, check=True
    )
    return done.stdout


def test_make_installs_the_pins_and_uses_both_cores():
    commands = made("test")
    installs = [line for line in commands.splitlines() if "pip install" in line]
    assert len(installs) == 3
    assert all("--constraint constraints.txt" in line for line in installs)
    assert "--build-constraint constraints.txt" in installs[-1]
    assert '-n 2 --dist loadfile -m "not slow"' in commands
    assert "LEAKATK_DEPRECATIONS" not in commands


def test_make_installs_the_newest_releases_elsewhere():
    commands = made("test", "VERSIONS=newest")
    assert "constraint constraints.txt" not in commands
    assert 'grep "^torch==" constraints.txt > .venv-newest/torch.txt' in commands
    assert "LEAKATK_DEPRECATIONS=error .venv-newest/bin/python -m pytest" in commands
    assert ".venv/" not in commands


def test_make_docs_installs_the_documentation_alone():
    commands = made("docs")
    assert "--group docs" in commands
    assert not re.search(r"--group dev|--editable|install [^\n]*torch$", commands, re.MULTILINE)


def test_continuous_integration_runs_what_the_readme_says():
    yaml = pytest.importorskip("yaml")
    [command] = re.findall(r"^(make test)\b", (ROOT / "README.md").read_text(), re.MULTILINE)
    script = (ROOT / ".ci" / "run").read_text().splitlines()
    assert script[-1] == command
    assert [line for line in script if re.match("make|.*pytest", line)] == [command]
    jobs = yaml.safe_load((ROOT / ".github" / "workflows" / "ci.yml").read_text())["jobs"]
    steps = {name: [step.get("run") for step in job["steps"]] for name, job in jobs.items()}
    assert "bash .ci/run" in steps["test"]
    assert jobs["test"]["timeout-minutes"] <= 45
    assert "continue-on-error" not in jobs["test"]
    assert f"{command} VERSIONS=newest" in steps["newest"]
    assert jobs["newest"]["continue-on-error"] is True
    assert "make docs" in steps["docs"]
    assert "make demo" in steps["test"]  # its test is a slow one


WARNS = """
import warnings
import numpy
import pytest

@pytest.mark.parametrize("kind", ["FutureWarning", "DeprecationWarning", "PendingDeprecationWarning"])
def test_announced(kind):
    category = getattr(__import__("builtins"), kind)
    warnings.warn_explicit("a dependency renames", category, "x.py", 1, module="leakatk.sampling.kv_cache")

def test_to_itself():
    warnings.warn_explicit("a dependency renames", FutureWarning, "x.py", 1, module="transformers.models.llama")

def test_user():
    warnings.warn("something is wrong", UserWarning)

def test_runtime():
    numpy.float64(1) / numpy.float64(0)

def test_resource():
    warnings.warn("not closed", ResourceWarning)
"""
OURS = {"test_user", "test_runtime", "test_resource"}


@pytest.mark.parametrize(
    ("deprecations", "red"),
    [("", OURS), ("error", OURS | {"test_announced[FutureWarning]", "test_announced[DeprecationWarning]"})],
)
def test_which_warnings_are_errors(deprecations, red, tmp_path):
    (tmp_path / "test_it.py").write_text(WARNS)
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("PYTEST", "PYTHONWARN"))}
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-c", ROOT / "pyproject.toml", "--rootdir", tmp_path, "-p", "tests.conftest",
         "-p", "no:xdist", "-p", "no:cacheprovider", "-q", tmp_path / "test_it.py"],
        cwd=ROOT, capture_output=True, text=True, check=False, env={**environment, "LEAKATK_DEPRECATIONS": deprecations},
    )  # fmt: skip
    assert set(re.findall(r"^FAILED \S*::(\S+)", done.stdout, re.MULTILINE)) == red, done.stdout
    if not deprecations:
        assert "a dependency renames" in done.stdout  # not fatal, and not hidden
