"""Follow the README and the quickstart word for word, in a fresh copy of the repository and a new virtual environment.

    python scripts/follow_readme.py [--suite] [--keep DIR]

Every command of a block is run as it is written; the first that fails ends the script with its output. Not run, and said
so: commands that need a model from the hub, and `make test` unless --suite is given. Uses the files as committed.
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
HUB = re.compile(r"\b[\w-]+/tofu_Llama|tofu/|models/npo|models/rule|runs/npo|gpt-")


def blocks(text: str, *languages: str) -> list[str]:
    found = re.findall(r"^```(\w*)\n(.*?)^```", text, flags=re.DOTALL | re.MULTILINE)
    return [body for language, body in found if language in languages]


def lines(text: str) -> list[str]:
    """The commands in a page's blocks of shell, without their comments."""
    every = [line.split("  #")[0].strip() for body in blocks(text, "", "console") for line in body.splitlines()]
    return [line for line in every if re.match(r"(make|leakatk|pip) ", line)]


def run(command: str, place: Path, environment: dict[str, str]) -> None:
    print(f"$ {command}", flush=True)
    start = time.perf_counter()
    done = subprocess.run(command, shell=True, cwd=place, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"{done.stdout[-4000:]}\n{done.stderr[-4000:]}\nFailed with exit code {done.returncode}: {command}")
    print(f"  {time.perf_counter() - start:.0f} s", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--suite", action="store_true", help="run `make test` too")
    parser.add_argument("--keep", type=Path, help="work here, and leave it there")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        place = options.keep or Path(temporary) / "leak-at-k"
        place.mkdir(parents=True)
        archive = subprocess.run(["git", "archive", "HEAD"], cwd=ROOT, check=True, capture_output=True).stdout
        subprocess.run(["tar", "-x", "-C", str(place)], input=archive, check=True)
        environment = {key: value for key, value in os.environ.items() if not key.startswith(("PYTHON", "VIRTUAL_ENV"))}
        environment["PATH"] = f"{place / '.venv' / 'bin'}{os.pathsep}{environment['PATH']}"

        readme = (place / "README.md").read_text(encoding="utf-8")
        first = lines(readme)
        for command in [line for line in first if line.startswith("make ")]:
            if command == "make test" and not options.suite:
                print(f"not run: {command} (give --suite)")
            else:
                run(command, place, environment)
        assert (place / "demo" / "report.html").stat().st_size > 100_000, "the demo wrote no report"

        for command in lines((place / "docs" / "quickstart.md").read_text(encoding="utf-8")):
            run(command, place, environment)

        # What the README calls the reader's own model and prompts.
        run("cp -r models/simnpo models/mine && cp models/forget.jsonl models/retain.jsonl .", place, environment)
        for command in [line for line in first if line.startswith("leakatk ")]:
            if HUB.search(command):
                print(f"not run: {command} (needs the hub)")
            else:
                run(command, place, environment)
        for body in blocks(readme, "python"):
            (place / "readme_example.py").write_text(body, encoding="utf-8")
            run("python readme_example.py", place, environment)
    print("The README works as written.")


if __name__ == "__main__":
    main()
