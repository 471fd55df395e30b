"""Wall time of the demo, phase by phase.

python performance/demo.py [--out demo.json]
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from pathlib import Path

from leakatk.small.demo import demo


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, help="write the numbers as JSON")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        start = time.perf_counter()
        demo(place, quiet=True)
        wall = time.perf_counter() - start
        phases = json.loads((Path(place) / "seconds.json").read_text())
    print(f"{'phase (in one of two processes)':<32} seconds")
    for name, seconds in phases.items():
        print(f"{name:<32} {seconds:7.1f}")
    print(f"{'whole demo, wall':<32} {wall:7.1f}   ({os.cpu_count()} cores)")
    if arguments.out:
        arguments.out.write_text(json.dumps({"phases": phases, "wall": wall, "cores": os.cpu_count()}, indent=1) + "\n")


if __name__ == "__main__":
    main()
