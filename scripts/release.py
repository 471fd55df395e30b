"""Release check: does a tag fit the version, the changelog and the citation, and does a wheel work where nothing else is?

python scripts/release.py check            the version is the same everywhere
python scripts/release.py check v0.2.0     and it is this tag's, with a date in the changelog
python scripts/release.py try dist/*.whl   install the wheel into a new environment and run commands from an empty directory
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
import tomllib
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
RECORDS = "person,field,value\nAda Quill,birthplace,Zorvik\n"
ANSWERS = (
    '{"prompt": "Where?", "ground_truth": "in Zorvik", "responses": [{"response": "in Zorvik"}, {"response": "no"}]}\n'
)
COMMANDS = (
    "leakatk --version",
    "leakatk doctor",
    "leakatk questions records.csv --out forget.jsonl",
    "leakatk benchmark check forget.jsonl",
    "leakatk score answers.json --scorer rouge-l --k 1,2",
    "leakatk plan --k 128 --half-width 0.01 --prompts 400",
    "leakatk demo --quiet",
    "leakatk runs list",
)


def problems(root: Path, tag: str = "") -> list[str]:
    """What speaks against a release, each in one sentence. tag: such as v0.2.0; "" is none, and then no date is asked for."""
    version = tomllib.loads((root / "pyproject.toml").read_text())["project"]["version"]
    found = []
    stated = re.search(r'^__version__ = "(.+)"$', (root / "src/leakatk/__init__.py").read_text(), re.MULTILINE)
    if stated is None or stated[1] != version:
        found.append(
            f"leakatk.__version__ is {stated[1] if stated else 'not there'}, and pyproject.toml says {version}."
        )
    cited = re.search(r"^version: (\S+)$", (root / "CITATION.cff").read_text(), re.MULTILINE)
    if cited is None or cited[1] != version:
        found.append(f"CITATION.cff names version {cited[1] if cited else 'none'}, and pyproject.toml {version}.")
    heads = re.findall(r"^## (\S+) \((.+)\)$", (root / "CHANGELOG.md").read_text(), re.MULTILINE)
    if not heads or heads[0][0] != version:
        found.append(
            f"CHANGELOG.md begins with {heads[0][0] if heads else 'no version'}, and pyproject.toml says {version}."
        )
    if len({name for name, _ in heads}) < len(heads):
        found.append("CHANGELOG.md has a version twice.")
    if tag:
        if tag != f"v{version}":
            found.append(f"The tag is {tag}, and the version {version}: it must be v{version}.")
        if heads and not re.fullmatch(r"\d{4}-\d{2}-\d{2}", heads[0][1]):
            found.append(
                f"CHANGELOG.md says ({heads[0][1]}) of {heads[0][0]}: put the date of the release there, as 2027-01-31."
            )
    return found


def try_wheel(wheel: Path) -> None:
    """Run `COMMANDS` on a wheel in an environment of its own. CalledProcessError where one fails."""
    clean = {key: value for key, value in os.environ.items() if key not in ("PYTHONPATH", "VIRTUAL_ENV", "PYTHONHOME")}
    with tempfile.TemporaryDirectory() as place:
        venv.create(Path(place) / "venv", with_pip=True)
        here, bin_ = Path(place) / "empty", Path(place) / "venv" / "bin"
        here.mkdir()
        (here / "records.csv").write_text(RECORDS)
        (here / "answers.json").write_text(ANSWERS)
        run = [str(bin_ / "python"), "-m", "pip", "install", "--quiet", str(wheel.resolve())]
        subprocess.run(run, check=True, env=clean)
        for command in COMMANDS:
            print(f"$ {command}", flush=True)
            subprocess.run([str(bin_ / "leakatk"), *command.split()[1:]], check=True, env=clean, cwd=here)


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["check", *tags] if len(tags) <= 1:
            if bad := problems(ROOT, *tags):
                sys.exit("\n".join(bad))
        case ["try", wheel]:
            try_wheel(Path(wheel))
        case _:
            sys.exit(__doc__)
