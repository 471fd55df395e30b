"""A release: version, changelog and citation fit, the workflow and the container run what is there, and deprecation is as promised."""

import importlib.util
import json
import re
import shlex
import shutil
from pathlib import Path

import pytest

import leakatk as package
from tests.cli.test_help import parse

ROOT = Path(__file__).resolve().parents[1]
pytestmark = pytest.mark.skipif(not (ROOT / "scripts" / "release.py").exists(), reason="not in a checkout")


@pytest.fixture
def release():
    spec = importlib.util.spec_from_file_location("release", ROOT / "scripts" / "release.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def copy(tmp_path):
    """The four files that say which version it is."""
    for name in ("pyproject.toml", "CITATION.cff", "CHANGELOG.md", "src/leakatk/__init__.py"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, tmp_path / name)
    return tmp_path


def change(path, old, new):
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))


def test_the_version_is_the_same_everywhere(release):
    assert release.problems(ROOT) == []


@pytest.mark.parametrize("name", ["pyproject.toml", "CITATION.cff", "CHANGELOG.md", "src/leakatk/__init__.py"])
def test_one_that_differs_is_named(release, copy, name):
    change(copy / name, package.__version__, "9.9.9")
    assert any("9.9.9" in line for line in release.problems(copy))


def test_a_tag_needs_its_version_and_a_date(release, copy):
    tag = f"v{package.__version__}"
    head = f"## {package.__version__} ("
    text = (copy / "CHANGELOG.md").read_text()
    (copy / "CHANGELOG.md").write_text(re.sub(re.escape(head) + r".+\)", head + "not released)", text, count=1))
    assert any("put the date" in line for line in release.problems(copy, tag))
    change(copy / "CHANGELOG.md", "(not released)", "(2027-01-31)")
    assert release.problems(copy, tag) == []
    assert release.problems(copy, "v9.9.9") == [
        f"The tag is v9.9.9, and the version {package.__version__}: it must be {tag}."
    ]


def test_what_the_wheel_is_tried_with_parses(release):
    assert all(parse(line) for line in release.COMMANDS if line != "leakatk --version")
    assert json.loads(release.ANSWERS)["responses"]


def test_the_wheel_is_tried_with_what_works(release, leakatk, tmp_path, monkeypatch):
    """All but the demo, which has a test of its own, and what needs no file."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "records.csv").write_text(release.RECORDS)
    (tmp_path / "answers.json").write_text(release.ANSWERS)
    for line in (one for one in release.COMMANDS if not re.search("demo|doctor", one)):
        code, _, err = leakatk(*shlex.split(line)[1:])
        assert code == 0, (line, err)


def test_the_workflow_publishes_what_was_tried():
    text = (ROOT / ".github" / "workflows" / "release.yml").read_text()
    yaml = pytest.importorskip("yaml")
    flow = yaml.safe_load(text)
    jobs = flow["jobs"]
    assert flow[True] == {"push": {"tags": ["v*"]}}  # YAML reads "on" as true
    assert jobs["wheel"]["needs"] == "build"
    assert jobs["publish"]["needs"] == "wheel"
    # Only the job that publishes may ask for a token of PyPI's, and it runs nothing of ours.
    assert jobs["publish"]["permissions"] == {"id-token": "write"}
    assert flow["permissions"] == {"contents": "read"}
    assert not [step for step in jobs["publish"]["steps"] if "run" in step]
    assert "secrets." not in text
    for script in re.findall(r"scripts/\S+\.py", text):
        assert (ROOT / script).exists()


class TestContainer:
    def of(self, word):
        lines = (ROOT / "Containerfile").read_text().splitlines()
        return [line.partition(" ")[2] for line in lines if line.startswith(f"{word} ")]

    def test_it_copies_what_is_there_and_no_folder_whole(self):
        sources = [name for line in self.of("COPY") for name in line.split()[:-1]]
        assert all((ROOT / name).exists() for name in sources)
        assert not {".", "./"} & set(sources)
        wanted = re.search(r'^readme = "(.+)"$', (ROOT / "pyproject.toml").read_text(), re.MULTILINE)[1]
        assert {wanted, "LICENSE", "src", "pyproject.toml"} <= set(sources)  # what a build reads

    def test_it_takes_the_pinned_torch(self):
        [pin] = re.findall(r"^torch==\S+$", (ROOT / "constraints.txt").read_text(), re.MULTILINE)
        assert self.of("RUN")[0].endswith(pin)

    def test_what_it_runs_works_here(self, leakatk):
        [entry], [default] = self.of("ENTRYPOINT"), self.of("CMD")
        command = [*json.loads(entry), *json.loads(default)]
        code, out, err = leakatk(*command[1:])
        assert (command[0], code) == ("leakatk", 0), err
        assert "Usage: leakatk" in out
        said = (ROOT / "Containerfile").read_text()
        [line] = re.findall(r"^#   podman run .+ leakatk (.+)$", said, re.MULTILINE)
        parse(f"leakatk {line}")


def test_former_names_are_called_that():
    """The page's promise: what has a new name says so in its help."""
    from tests.cli.test_help import COMMANDS

    context = COMMANDS[("audit",)].params
    [former] = [one for one in context if "--reference" in one.opts]
    assert "former name" in (former.help or "").lower() or former.hidden
