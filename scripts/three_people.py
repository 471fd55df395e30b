"""Three people follow the pages word for word: a student, a privacy engineer, a contributor. Each step's time is written down.

    python scripts/three_people.py [student] [engineer] [contributor] [--keep DIR]

The student fills TOFU's tables (docs/tutorial-tofu.md; TOFU's files from the hub or LEAKATK_DATA), the engineer builds a release
gate (docs/tutorial-gate.md), the contributor adds a scorer (docs/add-a-scorer.md) to a copy of the repository as committed. Every
command of a block is run as it is written, in the environment that this script is started in; the first that fails ends it. A gate
that says FAIL or CANNOT SAY has answered. It takes an hour of one core, most of it the student's models.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PAGES = {"student": "tutorial-tofu.md", "engineer": "tutorial-gate.md", "contributor": "add-a-scorer.md"}
ANSWERS = {1: "FAIL", 4: "CANNOT SAY"}  # of a gate


def blocks(page: str, language: str) -> list[str]:
    text = (ROOT / "docs" / page).read_text(encoding="utf-8")
    return re.findall(rf"^```{language}\n(.*?)^```", text, flags=re.DOTALL | re.MULTILINE)


def steps(page: str) -> list[str]:
    return [line.strip() for block in blocks(page, "console") for line in block.splitlines() if line.strip()]


def played(who: str, place: Path, environment: dict[str, str]) -> list[tuple[float, str, str]]:
    """(seconds, how it ended, command) of each step."""
    found = []
    for command in steps(PAGES[who]):
        print(f"{who} $ {command}", flush=True)
        start = time.perf_counter()
        done = subprocess.run(
            command, shell=True, cwd=place, env=environment, capture_output=True, text=True, check=False
        )
        seconds = time.perf_counter() - start
        end = "done"
        if done.returncode:
            end = ANSWERS.get(done.returncode, "") if "--fail-" in command and "Gate: " in done.stderr else ""
            if not end:
                sys.exit(f"{done.stdout[-3000:]}\n{done.stderr[-3000:]}\nExit code {done.returncode}: {command}")
        print(f"  {end}, {seconds:.0f} s", flush=True)
        found.append((seconds, end, command))
    return found


def contribute(place: Path) -> None:
    """What the page says to write: the file, its import, its row of the test table."""
    archive = subprocess.run(["git", "archive", "HEAD"], cwd=ROOT, check=True, capture_output=True).stdout
    subprocess.run(["tar", "-x", "-C", str(place)], input=archive, check=True)
    page = PAGES["contributor"]
    code = blocks(page, "python")
    room = place / "src" / "leakatk" / "scorers"
    (room / "trigrams.py").write_text(code[0], encoding="utf-8")
    [line] = [line for block in blocks(page, "text") for line in block.splitlines() if line.startswith("from ")]
    after(room / "__init__.py", "from leakatk.scorers.similarity import Similarity\n", f"{line}\n")
    after(room / "__init__.py", '    "Similarity",\n', '    "Trigrams",\n')
    [row] = [block.strip() for block in code if block.startswith("Case(")]
    after(place / "tests" / "scorers" / "test_contract.py", "CASES = [\n", f"    {row},\n")


def after(path: Path, line: str, new: str) -> None:
    text = path.read_text(encoding="utf-8")
    if text.count(line) != 1:
        sys.exit(f"{path} has {line.strip()!r} {text.count(line)} times, not once: the page and the package differ.")
    path.write_text(text.replace(line, line + new), encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("who", nargs="*", choices=[*PAGES, []], help="default: all three")
    parser.add_argument("--keep", type=Path, help="work here, and leave it there")
    options = parser.parse_args()
    times = []
    with tempfile.TemporaryDirectory() as temporary:
        for who in options.who or PAGES:
            place = (options.keep or Path(temporary)).resolve() / who
            place.mkdir(parents=True)
            source = place if who == "contributor" else ROOT
            environment = dict(os.environ, PYTHONPATH=str(source / "src"))
            if who == "contributor":
                contribute(place)
            times += [(who, *step) for step in played(who, place, environment)]
    print("\n| who | seconds | how it ended | command |\n|---|---:|---|---|")
    for who, seconds, end, command in times:
        print(f"| {who} | {seconds:.0f} | {end} | `{command}` |")


if __name__ == "__main__":
    main()
