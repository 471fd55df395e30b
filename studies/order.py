"""The same stages in three orders: does what was learnt first unlearn as what was learnt last?

    python studies/order.py --work runs/order --seeds 0
    python studies/order.py --page docs/results-order.md

Row 21 of the paper index, in small: the benchmarks `order/first`, `/middle` and `/last`, unlearned by methods that see the forget
set alone, with the same steps. One cell a (seed, method, order): order/seed-N/METHOD-ORDER.json, kept in the repository. No
setting was tuned.
"""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from frequency import command, say, share
from scipy import stats

from leakatk.benchmarks.worlds.order import POSITIONS, make_order
from leakatk.estimate.leak import excess
from leakatk.files.writing import write_atomic
from leakatk.report.content import Number, Table
from leakatk.report.table import to_markdown

CELLS = Path(__file__).resolve().parent / "order"
METHODS = ("ga", "npo", "simnpo")
SIZES = {"forget": 10, "retain": 20, "retain_held": 6, "holdout": 2}
STEPS, EVERY, LONGEST, KEPT = 30, 3, 32, 40  # KEPT: questions about people kept that are asked at each check
QUICK_SIZES, QUICK_STEPS = {**SIZES, "forget": 2, "retain": 4, "pretraining": 60}, 6
SHOWN = (0, 6, 12, 30)  # steps on the page
KINDS = {
    "fact": "Forget questions whose greedy answer says the fact",
    "loss": "Loss of the forget answers, nats a token",
    "paraphrase": "Probability of a token of the same answers in other words",
    "kept": "Questions about people kept whose greedy answer says the fact",
}


def measured(loaded: Any, forget: Sequence[Any], kept: Sequence[Any]) -> dict[str, list[float]]:
    """By prompt: fact, loss and paraphrase of the forget prompts, kept of others."""
    from leakatk.models.token_stats import answer_pairs, token_stats
    from leakatk.unlearning.stop import greedy_scores

    def mean(texts: Sequence[str]) -> list[float]:
        found = token_stats(loaded, answer_pairs(loaded, [p.question for p in forget], texts))
        return [float(np.mean(one.logprob)) for one in found]

    found = {
        "fact": greedy_scores(loaded, forget, "fact", max_new_tokens=LONGEST).tolist(),
        "loss": [-value for value in mean([p.answer for p in forget])],
        "paraphrase": np.exp(mean([p.paraphrased_answer for p in forget])).tolist(),
        "kept": greedy_scores(loaded, kept, "fact", max_new_tokens=LONGEST).tolist(),
    }
    return {name: [round(float(value), 4) for value in values] for name, values in found.items()}


def training(seed: int, *, quick: bool) -> tuple[Any, Any]:
    """(the world, its models: base, one for each order stage after stage, and the retrained one)."""
    from leakatk.small.train import WORLD_RECIPE, staged_training

    made = {one: make_order(seed, position=one, **(QUICK_SIZES if quick else SIZES)) for one in POSITIONS}
    recipe = WORLD_RECIPE if not quick else replace(WORLD_RECIPE, finetune=replace(WORLD_RECIPE.finetune, steps=60))
    stages: dict[str, Any] = {}
    for position, one in made.items():
        whole = staged_training(one.pretraining, one.stages, one.stages_retained, recipe)
        for stage in whole.stages:
            named = replace(
                stage, name=stage.name.replace("full", position), start=stage.start.replace("full", position)
            )
            stages[named.name] = named
    return made[POSITIONS[0]].benchmark, replace(whole, stages=tuple(stages.values()), full=POSITIONS[-1])


def run(work: Path, out: Path, seeds: Sequence[int], *, quick: bool) -> None:
    import torch

    from leakatk.models.load import load_model
    from leakatk.small.train import train
    from leakatk.unlearning.methods import METHODS as KNOWN
    from leakatk.unlearning.settings import Check
    from leakatk.unlearning.trainer import unlearn

    torch.set_num_threads(1)
    for seed in seeds:
        world, models = training(seed, quick=quick)
        place, start = work / f"seed-{seed}", time.process_time()
        train(models, place, seed=seed, quiet=True)
        say(f"seed {seed}: trained, {time.process_time() - start:.0f} s of CPU")
        kept = list(world.retain)[:: max(1, len(world.retain) // KEPT)]
        for name in ("retrained", *METHODS):
            for position in POSITIONS if name != "retrained" else ("any",):
                path, start = out / f"seed-{seed}" / f"{name}-{position}.json", time.process_time()
                if path.exists():
                    continue
                loaded = load_model(place / (position if name != "retrained" else name))
                curve = {"0": measured(loaded, world.forget, kept)}
                if name != "retrained":

                    def look(
                        model: Any, step: int, curve: dict[str, Any] = curve, asked: Any = (world.forget, kept)
                    ) -> Check:
                        curve[str(step)] = measured(model, *asked)
                        return Check({})

                    method = KNOWN[name].for_small_models(found=False)
                    params = {key: 0.0 if key == "retain_weight" else value for key, value in method.params.items()}
                    settings = replace(method.settings, max_steps=QUICK_STEPS if quick else STEPS, check_every=EVERY)
                    unlearn(loaded, world.forget, world.retain, replace(method, params=params), settings=settings, seed=seed, quiet=True, on_check=look)  # fmt: skip
                spent = round(time.process_time() - start, 1)
                write_atomic(path, json.dumps({"seed": seed, "cpu_seconds": spent, "steps": curve}))
                said = {step: round(float(np.mean(found["fact"])), 2) for step, found in curve.items()}
                say(f"seed {seed} {name} {position}: {spent} s of CPU, {said}")


# -- the page


class Cells:
    """The cells on disk: (method, order) -> seed -> step -> score -> a number a prompt."""

    def __init__(self, out: Path) -> None:
        self.found: dict[tuple[str, str], dict[int, dict[str, dict[str, list[float]]]]] = {}
        for path in sorted(out.glob("seed-*/*.json")):
            name, _, position = path.stem.rpartition("-")
            cell = json.loads(path.read_text())
            self.found.setdefault((name, position), {})[cell["seed"]] = cell["steps"]

    @property
    def seeds(self) -> list[int]:
        """Those that have every cell."""
        wanted = [("retrained", "any"), *((name, position) for name in METHODS for position in POSITIONS)]
        every = {seed for found in self.found.values() for seed in found}
        return sorted(seed for seed in every if all(seed in self.found.get(key, {}) for key in wanted))

    def values(self, name: str, position: str, step: int, score: str) -> np.ndarray:
        """Of the prompts of all seeds, (prompts,)."""
        return np.concatenate([self.found[name, position][seed][str(step)][score] for seed in self.seeds])


def by_t(values: np.ndarray) -> Number:
    """The mean with its interval by Student's t, for numbers of any size."""
    half = float(stats.t.ppf(0.975, len(values) - 1) * values.std(ddof=1) / np.sqrt(len(values)))
    return Number(float(values.mean()), float(values.mean()) - half, float(values.mean()) + half)


def number(values: np.ndarray, score: str) -> Number:
    """The mean with its interval over questions."""
    return by_t(values) if score == "loss" else share(values)


def apart(cells: Cells, name: str, step: int, score: str) -> Number:
    """What was learnt first less what was learnt last, question by question."""
    first, last = (cells.values(name, position, step, score) for position in ("first", "last"))
    if score == "loss":
        return by_t(first - last)
    curve = excess(first[:, None], last[:, None], [1], over="prompts")
    return Number(float(curve.value[0]), float(curve.low[0]), float(curve.high[0]))


def table(cells: Cells, score: str) -> Table:
    rows: list[tuple[str | Number, ...]] = []
    for name in METHODS:
        for position in POSITIONS:
            found = (number(cells.values(name, position, step, score), score) for step in SHOWN)
            rows.append((name, position, *found))
        rows.append((name, "first - last", *(apart(cells, name, step, score) for step in SHOWN)))
    yardstick = number(cells.values("retrained", "any", 0, score), score)
    rows.append(("retrained", "", yardstick, *("–" for _ in SHOWN[1:])))
    return Table("", ("method", "learnt", *(f"{step} steps" for step in SHOWN)), tuple(rows))


def shown(cells: Cells) -> list[str]:
    """For each method and share: at which steps first and last part, interval and all."""
    lines = []
    for name in METHODS:
        parts = []
        for score, what in KINDS.items():
            found = {step: apart(cells, name, step, score) for step in SHOWN}
            above = [str(step) for step, one in found.items() if one.low > 0]
            below = [str(step) for step, one in found.items() if one.high < 0]
            said = [f"more for first at {', '.join(above)}"] if above else []
            said += [f"more for last at {', '.join(below)}"] if below else []
            parts.append(f"{what[0].lower()}{what[1:]}: {', '.join(said) or 'no difference is shown'}")
        lines.append(f"* {name}. {'; '.join(parts)}.")
    return lines


def page(cells: Cells) -> str:
    parts = [
        "# The same facts, learnt in three orders",
        "Written by `python studies/order.py --page` from its cells; no number is typed. After the impossibility of retrain equivalence "
        "(arXiv 2510.16629), row 21 of the [paper index](paper-index.md), in small.",
        f"Models of the benchmarks `order/first`, `/middle` and `/last`, {len(cells.seeds)} world{'s' * (len(cells.seeds) > 1)}: all "
        "read the same facts equally often, in stages whose order differs. Each is unlearned by methods that see the forget set alone (no retain "
        "loss), with the same steps and presets for small models; nothing is tuned. Brackets: the 95% interval over questions, six of "
        "which are about one person; differences are paired by question, and those of losses are by Student's t.",
        "Were the order of no account, one method would take all three to the same place. The retrained model, whose "
        "answers do not depend on it, is one and the same for all.",
        "## What it shows",
        "First and last part where the interval of their difference leaves out 0, after so many steps (0 is before unlearning):",
        "\n".join(shown(cells)),
    ]  # fmt: skip
    for score, what in KINDS.items():
        parts += [f"## {what}", to_markdown(table(cells, score))]
    return "\n\n".join(parts) + "\n"


def main() -> None:
    command(str(__doc__), CELLS, "0", run, lambda out: page(Cells(out)))


if __name__ == "__main__":
    main()
