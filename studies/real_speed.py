"""Speed on a real chat model: sampling against `generate`, training against transformers' Trainer, and the demo's time.

    python studies/real_speed.py --run --model MODEL --work runs/real [--only sampling]
    python studies/real_page.py --page docs/results-real.md

Each cell runs a script of performance/ on one thread, or the demo as a user does, and keeps what it found. Nothing else should
run meanwhile: both engines of a comparison are in one run, but a busy machine changes what limits them. See
studies/real_cells.py for the options.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from real_cells import HERE, Cell, Clock, Numbers, Store, command, options

from leakatk.errors import InputError, RunError
from leakatk.files.writing import read_kept
from leakatk.small.realdemo_plan import MARKER

NAME = "speed"
PERFORMANCE = HERE.parent / "performance"
SAMPLING = {"dtype": "bf16", "n": 64, "runs": 2, "limit": 96, "calls": 2}
TRAINING = {"dtype": "bf16,fp32", "turns": 2, "steps": 4, "batch": 16}
ROWS = (8, 40, 800)
"""Rows of a step whose products are timed: a memorised model's, greedy answers', many samples'."""


def words(settings: dict[str, Any]) -> list[str]:
    return [word for name, value in settings.items() for word in (f"--{name}", str(value))]


class Speeds:
    """The cells: a measurement each."""

    def __init__(self, store: Store, model: Path | None) -> None:
        self.store, self._model = store, model

    @property
    def model(self) -> Path:
        if self._model is None:
            raise InputError("Give the model to measure: --model DIR.")
        return self._model

    def script(self, name: str, arguments: Sequence[str], out: Path) -> Any:
        """What a script of performance/ wrote, run on one thread unless it is there."""
        if not out.exists():
            made = [sys.executable, str(PERFORMANCE / name), *arguments, "--out", str(out.with_suffix(".part"))]
            if code := subprocess.run(made, env={**os.environ, "OMP_NUM_THREADS": "1"}, check=False).returncode:
                raise RunError(f"{name} ended with code {code}; its output is above.")
            out.with_suffix(".part").rename(out)
        return json.loads(out.read_text(encoding="utf-8"))

    def sampling(self, clock: Clock) -> Numbers:
        """Tokens a second of the engine and of `generate`, in three ways of being asked."""
        place = self.store.scratch("sampling")
        arguments = ["real", str(self.model), *words(SAMPLING), "--memorised", str(place / "memorised")]
        return {"rows": self.script("sampling.py", arguments, place / "sampling.json")["rows"]}

    def training(self, clock: Clock, methods: str) -> Numbers:
        """Tokens a second and peak memory of training, beside the Trainer where the method is one of its own."""
        place = self.store.scratch("training" if methods == "retrain" else f"training-{methods}")
        arguments = [str(self.model), *words(TRAINING), "--methods", methods]
        return {"rows": self.script("training.py", arguments, place / "training.json")}

    def products(self, clock: Clock) -> Numbers:
        """GFLOP/s of bf16 products on this processor: of one large square matrix, and of a step of the model."""
        import torch

        from leakatk.models.load import load_model

        torch.set_num_threads(1)
        loaded = load_model(self.model, dtype="bf16")
        inside = {name: m for name, m in loaded.model.named_modules() if isinstance(m, torch.nn.Linear)}
        shapes = [(m.in_features, m.out_features) for m in inside.values()]

        @torch.inference_mode()
        def rate(rows: int, weights: Sequence[torch.Tensor]) -> float:
            """The fastest of five rounds over all weights, each at least a fifth of a second."""
            given = {w.shape[1]: torch.randn(rows, w.shape[1], dtype=torch.bfloat16) for w in weights}
            flops = sum(2 * rows * w.numel() for w in weights)
            best = 0.0
            for _ in range(5):
                rounds, start = 0, time.perf_counter()
                while time.perf_counter() - start < 0.2 or not rounds:
                    for w in weights:
                        torch.nn.functional.linear(given[w.shape[1]], w)
                    rounds += 1
                best = max(best, rounds * flops / (time.perf_counter() - start) / 1e9)
            return best

        weights = [m.weight for m in inside.values()]
        return {
            "square": rate(2048, [torch.randn(2048, 2048, dtype=torch.bfloat16)]),
            "steps": {str(rows): rate(rows, weights) for rows in ROWS},
            "flops a token": sum(2 * a * b for a, b in shapes),
        }

    def demo(self, clock: Clock) -> Numbers:
        """The demo as a user runs it: what was forecast, its time, memory and leaks."""
        place = self.store.scratch("demo")
        out, log = place / "demo-real", place / "forecast.txt"
        place.mkdir(parents=True, exist_ok=True)
        made = [sys.executable, "-m", "leakatk", "demo", "--real", "--out", str(out)]
        ran = subprocess.run([*made, "--json"], capture_output=True, text=True, check=False)
        sys.stderr.write(ran.stderr)
        if ran.returncode:
            raise RunError(f"leakatk demo --real ended with code {ran.returncode}; its output is above.")
        if not log.exists():
            log.write_text(next(line for line in ran.stderr.splitlines() if " jobs in " in line), encoding="utf-8")
        report = json.loads(ran.stdout)
        return {
            "begun": read_kept(out / MARKER),
            "forecast": log.read_text(encoding="utf-8"),
            "spent": read_kept(out / "spent.json"),
            "verdict": report["verdict"],
            "notes": report["notes"],
            "table": report["tables"][0],
        }

    def cells(self) -> list[Cell]:
        return [
            Cell("products", {"rows": list(ROWS)}, self.products, 1),
            Cell("sampling", SAMPLING, self.sampling, 25),
            Cell("training", {**TRAINING, "methods": "retrain"}, lambda clock: self.training(clock, "retrain"), 15),
            Cell("training-npo", {**TRAINING, "methods": "npo"}, lambda clock: self.training(clock, "npo"), 15),
            Cell("demo", {"seed": 0}, self.demo, 25),
        ]


def main() -> int:
    parser = options(__doc__)
    parser.add_argument("--model", type=Path, help="directory of the model to measure")
    arguments = parser.parse_args()
    store = Store(NAME, root=arguments.cells, work=arguments.work)
    return command(store, Speeds(store, arguments.model).cells(), arguments)


if __name__ == "__main__":
    sys.exit(main())
