"""Facts seen once, four times or sixteen times: which are harder to unlearn, and do both kinds of scores say so?

    python studies/frequency.py --work runs/frequency --seeds 0,1
    python studies/frequency.py --page docs/results-frequency.md

Row 96 of the paper index, in small: the benchmark `frequency`, one request a count of repetitions, the same number of steps for
each. One cell a (seed, method, count): frequency/seed-N/METHOD-COUNT.json, kept in the repository. No setting was tuned.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from leakatk.estimate.leak import leak_at_k
from leakatk.files.writing import write_atomic
from leakatk.report.content import Number, Table
from leakatk.report.table import to_markdown

CELLS = Path(__file__).resolve().parent / "frequency"
COUNTS = (1, 4, 16)
METHODS = ("graddiff", "simnpo", "idknll")
SIZES = {"forget": 12, "retain": 20, "retain_held": 6, "holdout": 2}
TRAIN, STEPS, EVERY, LONGEST = 1000, 40, 5, 32
QUICK_SIZES, QUICK_TRAIN, QUICK_STEPS = {**SIZES, "forget": 3, "retain": 4, "pretraining": 100}, 60, 10
SHOWN = (0, 10, 20, 40)  # steps on the page
KINDS = {
    "fact": "greedy answers that say the fact",
    "rouge-l": "ROUGE-L recall of greedy answers",
    "chosen": "the true answer, in another form, is likelier than every perturbed one",
    "probability": "probability of a token of the true answer",
}


def measured(loaded: Any, prompts: Sequence[Any]) -> dict[str, list[float]]:
    """By prompt: two scores of the greedy answer (fact, rouge-l), two of probabilities (chosen, probability)."""
    from leakatk.models.token_stats import answer_pairs, token_stats
    from leakatk.sampling.greedy import greedy_texts
    from leakatk.scorers.base import get_scorer

    texts = greedy_texts(loaded, prompts, LONGEST)
    said = {name: get_scorer(name).score(list(prompts), texts) for name in ("fact", "rouge-l")}
    # Perturbed answers are in the other form of an answer, and so is the true one beside them.
    ways = [(p.answer, p.paraphrased_answer or p.answer, *p.perturbed_answers) for p in prompts]
    answers = [(p.question, text) for p, texts in zip(prompts, ways, strict=True) for text in texts]
    stats = token_stats(loaded, answer_pairs(loaded, *map(list, zip(*answers, strict=True))))
    mean = iter([float(np.mean(one.logprob)) for one in stats])
    rows = [[next(mean) for _ in texts] for texts in ways]
    return {
        **{name: [round(float(v), 4) for v in values] for name, values in said.items()},
        "chosen": [float(row[1] > max(row[2:])) for row in rows],
        "probability": [round(float(np.exp(row[0])), 4) for row in rows],
    }


def run(work: Path, out: Path, seeds: Sequence[int], *, quick: bool) -> None:
    import torch

    from leakatk.benchmarks.worlds.frequency import make_frequency
    from leakatk.models.load import load_model
    from leakatk.small.train import WORLD_RECIPE, train_pair
    from leakatk.unlearning.methods import METHODS as KNOWN
    from leakatk.unlearning.settings import Check
    from leakatk.unlearning.trainer import unlearn

    torch.set_num_threads(1)
    for seed in seeds:
        made = make_frequency(seed, counts=COUNTS, **(QUICK_SIZES if quick else SIZES))
        fine = replace(WORLD_RECIPE.finetune, steps=QUICK_TRAIN if quick else TRAIN, stop_loss=0.0)
        place, start = work / f"seed-{seed}", time.process_time()
        train_pair(made.pretraining, made.full, made.retained, place, replace(WORLD_RECIPE, finetune=fine), seed=seed, quiet=True)  # fmt: skip
        say(f"seed {seed}: trained, {time.process_time() - start:.0f} s of CPU")
        for name in ("retrained", *METHODS):
            for count in COUNTS:
                path = out / f"seed-{seed}" / f"{name}-{count}.json"
                if path.exists():
                    continue
                asked, start = made.benchmark.sets[f"seen_{count}"], time.process_time()
                if name == "retrained":
                    curve = {"0": measured(load_model(place / name), asked)}
                else:
                    loaded, method = load_model(place / "full"), KNOWN[name].for_small_models(found=False)
                    curve = {"0": measured(loaded, asked)}

                    def look(model: Any, step: int, curve: dict[str, Any] = curve, asked: Any = asked) -> Check:
                        curve[str(step)] = measured(model, asked)
                        return Check({})

                    settings = replace(method.settings, max_steps=QUICK_STEPS if quick else STEPS, check_every=EVERY)
                    unlearn(loaded, asked, made.benchmark.retain, method, settings=settings, seed=seed, quiet=True, on_check=look)  # fmt: skip
                spent = round(time.process_time() - start, 1)
                write_atomic(path, json.dumps({"seed": seed, "cpu_seconds": spent, "steps": curve}))
                said = {step: round(float(np.mean(found["fact"])), 2) for step, found in curve.items()}
                say(f"seed {seed} {name} seen {count}: {spent} s of CPU, {said}")


def say(text: str) -> None:
    print(time.strftime("%H:%M:%S"), text, file=sys.stderr, flush=True)


# -- the page


def share(values: np.ndarray) -> Number:
    """The mean of numbers between 0 and 1, one a question, with its interval over questions."""
    curve = leak_at_k(values[:, None], [1], over="prompts")
    return Number(float(curve.value[0]), float(curve.low[0]), float(curve.high[0]))


class Cells:
    """The cells on disk: (method, count) -> seed -> step -> score -> a number a prompt."""

    def __init__(self, out: Path) -> None:
        self.found: dict[tuple[str, int], dict[int, dict[str, dict[str, list[float]]]]] = {}
        for path in sorted(out.glob("seed-*/*.json")):
            name, _, count = path.stem.rpartition("-")
            cell = json.loads(path.read_text())
            self.found.setdefault((name, int(count)), {})[cell["seed"]] = cell["steps"]

    @property
    def seeds(self) -> list[int]:
        """Those that have every cell."""
        wanted = [(name, count) for name in ("retrained", *METHODS) for count in COUNTS]
        every = {seed for found in self.found.values() for seed in found}
        return sorted(seed for seed in every if all(seed in self.found.get(key, {}) for key in wanted))

    def values(self, name: str, count: int, step: int, score: str) -> np.ndarray:
        """Of the prompts of all seeds that the full model answers, by their greedy answer before the first step."""
        key, found = str(0 if name == "retrained" else step), []
        for seed in self.seeds:
            knew = np.array(self.found[METHODS[0], count][seed]["0"]["fact"]) == 1
            found.append(np.array(self.found[name, count][seed][key][score])[knew])
        return np.concatenate(found)

    def asked(self, count: int) -> int:
        return sum(len(self.found[METHODS[0], count][seed]["0"]["fact"]) for seed in self.seeds)

    def number(self, name: str, count: int, step: int, score: str) -> Number:
        """The mean with its interval over questions."""
        return share(self.values(name, count, step, score))


def table(cells: Cells, score: str) -> Table:
    """A row a method and count, a column a number of steps."""
    rows: list[tuple[str | Number, ...]] = [
        (name, str(count), *(cells.number(name, count, step, score) for step in SHOWN))
        for name in METHODS
        for count in COUNTS
    ]
    for count in COUNTS:
        rows.append(("retrained", str(count), cells.number("retrained", count, 0, score), *("–" for _ in SHOWN[1:])))
    return Table("", ("method", "seen", *(f"{step} steps" for step in SHOWN)), tuple(rows))


def shown(cells: Cells) -> list[str]:
    """What it shows: for each method and score, whether what was seen most is what is left most."""
    lines = []
    for name in METHODS:
        parts = []
        for score in ("fact", "chosen"):
            found = {step: [cells.number(name, count, step, score) for count in COUNTS] for step in SHOWN[1:]}
            apart = [s for s, (least, *_, most) in found.items() if most.low > least.high]
            turned = [s for s, (least, *_, most) in found.items() if least.low > most.high]
            what = (
                f"more is left of what was seen {COUNTS[-1]} times after {', '.join(map(str, apart))} steps"
                if apart
                else ""
            )
            other = f"less is left of it after {', '.join(map(str, turned))} steps" if turned else ""
            parts.append(f"{KINDS[score]}: {'; '.join(filter(None, (what, other))) or 'no difference is shown'}")
        end = SHOWN[-1]
        said, chosen = (cells.number(name, COUNTS[-1], end, score) for score in ("fact", "chosen"))
        floor = cells.number("retrained", COUNTS[-1], 0, "chosen")
        parts.append(
            f"after {end} steps greedy answers say {said} of what was seen {COUNTS[-1]} times, and the true answer is still likelier than the perturbed "
            f"ones for {chosen} of it (retrained: {floor})"
        )
        lines.append(f"* {name}: {'. '.join(one[0].upper() + one[1:] for one in parts)}.")
    return lines


def page(cells: Cells) -> str:
    known = ", ".join(f"{len(cells.values(METHODS[0], c, 0, 'fact'))} of {cells.asked(c)} seen {c}" for c in COUNTS)
    parts = [
        "# Facts seen once or many times",
        "Written by `python studies/frequency.py --page` from its cells; no number is typed. After Not All Data Are Unlearned Equally "
        "(arXiv 2504.05058), row 96 of the [paper index](paper-index.md), in small.",
        f"Models of the benchmark `frequency`, {len(cells.seeds)} world{'s' * (len(cells.seeds) > 1)}: facts of some people stand in training once, of others 4 and 16 times. "
        f"The people of one count are one request, with the same steps and presets for small models; nothing is tuned. Questions that the full model "
        f"answers: {known}; the others are left out. Brackets: the 95% interval over questions, six of which are about one person.",
        "## What it shows",
        "A difference is one between the least and the most seen facts, whose intervals do not meet.",
        "\n".join(shown(cells)),
    ]  # fmt: skip
    for score, what in KINDS.items():
        parts += [f"## {what[0].upper()}{what[1:]}", to_markdown(table(cells, score))]
    return "\n\n".join(parts) + "\n"


def command(said: str, cells: Path, seeds: str, study: Callable[..., None], written: Callable[[Path], str]) -> None:
    """The command line of a small study. said: its help.  cells, seeds: defaults.  study: makes the cells.  written: the page of them."""
    parser = argparse.ArgumentParser(description=said, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, help="scratch directory for models: run the study")
    parser.add_argument("--out", type=Path, default=cells, help="where cells are kept")
    parser.add_argument("--seeds", default=seeds, help="comma-separated world seeds")
    parser.add_argument("--quick", action="store_true", help="few people, few steps: a test of the script")
    parser.add_argument("--page", type=Path, help="write the page")
    arguments = parser.parse_args()
    if arguments.work:
        study(arguments.work, arguments.out, [int(seed) for seed in arguments.seeds.split(",")], quick=arguments.quick)
    if arguments.page:
        write_atomic(arguments.page, written(arguments.out))


def main() -> None:
    command(str(__doc__), CELLS, "0,1", run, lambda out: page(Cells(out)))


if __name__ == "__main__":
    main()
