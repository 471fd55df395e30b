"""Is a metric to be trusted? Faithfulness and robustness of each, on models of the generated world whose knowledge is known.

    python studies/trust.py --work runs/world --seeds 0,1,2,3,4
    python studies/trust_tables.py --page docs/which-metric.md

Faithfulness: does the metric tell models that were trained on the people from models that never saw them? The pools are the full
and the retrained model of every seed, each also with its weights rounded. Robustness: does what the metric says of an unlearned model hold when that model is relearned on the people, or rounded?
One cell a (seed, model, change): seed-N/MODEL/CHANGE.json under studies/trust, kept in the repository. A stopped run goes on at the first
missing cell, and several processes share the work.
"""

from __future__ import annotations

import argparse
import json
import time
from functools import partial
from pathlib import Path
from typing import Any

import torch
import world
from attacks import made
from world import Seed, claimed, measure, say, write_json

from leakatk.attacks.quantise import Quantise
from leakatk.prompts import Known
from leakatk.unlearning.settings import TrainSettings
from leakatk.unlearning.trainer import unlearn

CELLS = Path(__file__).resolve().parent / "trust"
KNOWN = ("full", "retrained")
MODELS = ("npo", "simnpo", "idknll", "rmu", "graddiff", "me", "wga", "undial")
RELEARNING = {"learning_rate": 1e-3, "retain_batch": 8, "max_steps": 8}  # an epoch of 60 questions
CHANGES = ("none", "quantised", "relearned")


def changed(seed: Seed, name: str, change: str) -> dict[str, Any]:
    """Everything that the world study measures, of one model after a change of its weights."""
    loaded = seed.load(name)
    if change == "quantised":
        Quantise(bits=4).apply(loaded, Known())
    if (
        change == "relearned"
    ):  # on the very people that are measured: on the retrained model that shows what they teach anew
        unlearn(loaded, (), seed.world.forget, "retrain", settings=TrainSettings(**RELEARNING), quiet=True)
    return measure(seed, loaded)


def cell(seed: Seed, maker: Seed, name: str, change: str, rates: dict[str, float]) -> dict[str, Any]:
    """The cell of one model after one change; the world study's own where that is the same."""
    there = maker.cell(name)
    if change == "none" and there.exists() and "leak" in (kept := json.loads(there.read_text())):
        return {key: kept[key] for key in ("greedy", "leak", "logprob", "attack", "auc", "utility")}
    made(maker, name, rates)
    return changed(seed, name, change)


def run(path: Path, make: Any) -> None:
    """Make one cell and write it."""
    if path.exists():
        return
    start = time.time()
    write_json(path, make())
    say(f"{path.parent.parent.name} {path.parent.name} {path.stem}: {time.time() - start:.0f} s")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, required=True, help="scratch directory of studies/world.py")
    parser.add_argument("--out", type=Path, default=CELLS, help="where cells are kept")
    parser.add_argument("--tuned", type=Path, default=world.CELLS, help="where studies/world.py keeps its cells")
    parser.add_argument("--seeds", default="0,1,2,3,4", help="comma-separated world seeds")
    parser.add_argument("--models", default=",".join(MODELS), help="methods")
    parser.add_argument("--quick", action="store_true", help="two people, few samples: a test of the script")
    arguments = parser.parse_args()
    names = [n for n in arguments.models.split(",") if n]
    torch.set_num_threads(1)
    tuned = {
        n: json.loads(p.read_text())["rate"] for n in names if (p := arguments.tuned / "tuning" / f"{n}.json").exists()
    }
    rates = {name: float(tuned.get(name, 1.0)) for name in names}
    write_json(arguments.out / "study.json", {"n": 16 if arguments.quick else world.N, "relearning": RELEARNING})
    for number in map(int, arguments.seeds.split(",")):
        seed = Seed(arguments.out, arguments.work, number, quick=arguments.quick)
        maker = Seed(arguments.tuned, arguments.work, number, quick=arguments.quick)
        for name in [*KNOWN, *names]:
            for change in CHANGES:
                make = partial(cell, seed, maker, name, change, rates)
                claimed(seed.place / "changing" / name, partial(run, seed.kept / name / f"{change}.json", make))


if __name__ == "__main__":
    main()
