"""Memory that each method takes: the peak of a few of its steps and one check, beyond that of the loaded model.

    python studies/memory.py --work runs/world
    python studies/leaderboard.py --page docs/leaderboard.md --html docs/leaderboard.html

One cell a method: memory/NAME.json. Each is measured in a process of its own, after a step of gradient difference, so that
what a first step loads is not counted. The model is that of the world study, made where it is gone. Linux only.
"""

from __future__ import annotations

import argparse
import ctypes
import gc
import os
import traceback
from dataclasses import replace
from pathlib import Path

import torch
import world
from world import NOT_RUN, Seed, forget_by, prepared, say, write_json

from leakatk.unlearning.methods import METHODS, Method

CELLS = Path(__file__).resolve().parent / "memory"
STEPS = 3  # a check stands at the end; later steps take what these take


def status(key: str) -> float:
    """A field of this process's status, in MiB."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{key}:"):
            return int(line.split()[1]) / 1024
    raise KeyError(key)


def short(method: Method) -> Method:
    """The method with few steps, and a check after them."""
    return replace(method, settings=replace(method.settings, max_steps=STEPS, check_every=STEPS))


def peak(seed: Seed, name: str) -> float:
    """MiB above the loaded model while a method runs, in this process."""
    forget_by(seed, short(prepared("graddiff", 1.0)), seed.load("full"))
    loaded, method = seed.load("full"), short(prepared(name, 1.0))
    gc.collect()
    ctypes.CDLL("libc.so.6").malloc_trim(0)
    before = status("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")  # the peak starts anew
    forget_by(seed, method, loaded)
    return status("VmHWM") - before


def cell(seed: Seed, out: Path, name: str) -> None:
    """Measure one method in a child, and write its cell."""
    child = os.fork()
    if not child:
        try:
            found = peak(seed, name)
            write_json(out / f"{name}.json", {"mib": round(found, 1), "steps": STEPS, "seed": seed.seed})
            say(f"{name}: {found:.1f} MiB")
        except Exception:
            traceback.print_exc()
        finally:
            os._exit(0)  # nothing of the parent's is closed twice
    os.waitpid(child, 0)
    if not (out / f"{name}.json").exists():
        say(f"{name}: not measured, its run failed (see above)")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, required=True, help="scratch directory of studies/world.py")
    parser.add_argument("--out", type=Path, default=CELLS, help="where cells are kept")
    parser.add_argument("--seed", type=int, default=0, help="world seed")
    parser.add_argument("--methods", default="", help="comma-separated; default every preset that has a row")
    parser.add_argument("--quick", action="store_true", help="two people: a test of the script")
    arguments = parser.parse_args()
    names = [n for n in arguments.methods.split(",") if n] or [n for n in METHODS if n not in NOT_RUN]
    for name in names:
        METHODS[name]
    torch.set_num_threads(1)
    seed = Seed(world.CELLS, arguments.work, arguments.seed, quick=arguments.quick)
    for name in names:
        if not (arguments.out / f"{name}.json").exists():
            cell(seed, arguments.out, name)


if __name__ == "__main__":
    main()
