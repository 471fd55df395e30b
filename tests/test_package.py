"""The package: what a wheel and a source distribution hold, and that a wheel works where nothing else is."""

import json
import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(1800),
    pytest.mark.skipif(not (ROOT / "pyproject.toml").exists(), reason="not in a checkout"),
]
CLEAN = {key: value for key, value in os.environ.items() if key not in ("PYTHONPATH", "VIRTUAL_ENV", "PYTHONHOME")}
METRIC_HALF = ("numpy", "scipy", "rapidfuzz", "pyarrow", "typer", "rich", "jinja2")


def run(*command, **options):
    done = subprocess.run(
        [str(part) for part in command], capture_output=True, text=True, env=CLEAN, check=False, **options
    )
    assert done.returncode == 0, (command, done.stdout[-2000:], done.stderr[-2000:])
    return done.stdout


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    out = tmp_path_factory.mktemp("dist")
    run(sys.executable, "-m", "build", "--outdir", out, ROOT)
    return next(out.glob("*.whl")), next(out.glob("*.tar.gz"))


def new_environment(place, interpreter=sys.executable):
    """The interpreter of a new virtual environment."""
    run(interpreter, "-m", "venv", place)
    return place / "bin" / "python"


def test_what_is_in_them(built):
    wheel, source = built
    names = set(zipfile.ZipFile(wheel).namelist())
    assert {
        "leakatk/py.typed",
        "leakatk/report/template.html",
        "leakatk/report/script.js",
        "leakatk/report/style.css",
    } <= names
    assert all(name.startswith(("leakatk/", "leak_at_k-")) for name in names)
    with tarfile.open(source) as archive:
        packed = {name.partition("/")[2] for name in archive.getnames()}
    assert {"README.md", "LICENSE", "CHANGELOG.md", "Makefile", "mkdocs.yml"} <= packed
    assert {"tests/tiny.py", "docs/quickstart.md", "constraints.txt", "CITATION.cff"} <= packed


@pytest.mark.parametrize("version", ["3.11", "3.12", "3.13"])
def test_the_metric_half_needs_no_torch(built, tmp_path, version):
    """Installed without torch, transformers and the like: a file of generations is scored and estimated."""
    found = shutil.which(f"python{version}")
    if not found or subprocess.run([found, "--version"], capture_output=True, check=False).returncode:
        pytest.skip(f"no Python {version} here")
    python = new_environment(tmp_path / "venv", found)
    run(python, "-m", "pip", "install", "-q", "--no-deps", built[0])
    run(python, "-m", "pip", "install", "-q", *METRIC_HALF)
    row = {
        "prompt": "Where?",
        "ground_truth": "in Zorvik",
        "responses": [{"response": "in Zorvik"}, {"response": "no"}],
    }
    (tmp_path / "g.json").write_text(json.dumps(row))
    out = run(python, "-m", "leakatk", "score", "g.json", "--scorer", "rouge-l", "--json", cwd=tmp_path)
    assert json.loads(out)["value"] == [0.5, 1.0]
    listed = run(python, "-m", "leakatk", "scorers", cwd=tmp_path)
    assert "rouge-l" in listed
    code = "import leakatk as lk, sys; print(lk.leak_at_k([[0, 1]], [2]).value, 'torch' in sys.modules)"
    assert run(python, "-c", code, cwd=tmp_path).split() == ["[1.]", "False"]


def test_a_wheel_runs_the_demo(built, tmp_path):
    python = new_environment(tmp_path / "venv")
    run(python, "-m", "pip", "install", "-q", "-c", ROOT / "constraints.txt", "torch")
    run(python, "-m", "pip", "install", "-q", "-c", ROOT / "constraints.txt", built[0])
    command = python.parent / "leakatk"
    run(command, "doctor", cwd=tmp_path)
    run(command, "demo", "--quiet", cwd=tmp_path)
    assert (tmp_path / "demo" / "report.html").stat().st_size > 100_000
