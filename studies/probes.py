"""leak@k of unlearned small models by the way of asking, beside the full and the retrained model.

    python studies/world.py --out runs/world --seeds 0,1           # trains and unlearns the models
    python studies/probes.py --models runs/world --out runs/probes --page docs/probes.md
    python studies/probes.py --models runs/world --out runs/probes-framed --framed --seeds 0 --page docs/probes.md

Those models have only ever been asked plain questions, and most probes keep even the full one from answering. With --framed
others are trained that were asked about the people to be kept, never about those to be forgotten, in every way as well; the
unlearner sees plain questions still.

Every model is audited under every probe (a stopped study goes on where it was). The table pools the prompts of all seeds:
leak@K with its interval over samples; the file beside it has each seed.
"""

from __future__ import annotations

import argparse
import json
import re
from pathlib import Path

import numpy as np
import torch
from world import RECIPE, SIZES, Seed, forget_by, prepared  # the study beside this one

from leakatk.auditing.asking import probed, worst_case
from leakatk.auditing.audit import audit
from leakatk.auditing.score import score
from leakatk.benchmarks.worlds.people import make_world
from leakatk.estimate.leak import leak_at_k
from leakatk.files.reading import read_text
from leakatk.files.strict_json import strict_json
from leakatk.files.writing import write_atomic
from leakatk.models.load import save_model
from leakatk.probes import get_probe, variants
from leakatk.prompts import Query
from leakatk.report.content import Number, Table
from leakatk.report.table import to_markdown
from leakatk.runs.store import Run
from leakatk.sampling.decoding import Decoding
from leakatk.small.train import train_pair

MODELS = ("full", "retrained", "idknll", "simnpo", "npo", "rmu")
PROBES = (
    "paraphrase",
    "trigger",
    "role",
    "typos",
    "filler",
    "few-shot",
    "dialogue",
    "prefix:words=1",
    "prefix",
    "context",
)
FRAMED = ("full", "retrained", "idknll", "simnpo")
FRAMES = ("trigger", "role", "typos", "filler", "few-shot", "dialogue", "context")
N, K, FRESH = 64, 16, 80_000
PLAIN, WORST = "as it stands", "worst case"


def train_framed(out: Path, number: int, tuned: Path) -> Path:
    """Models that were asked about the kept people under every frame: full, retrained, and two unlearned ones."""
    world, place = make_world(number, **SIZES), out / "models" / f"seed-{number}" / "models"
    if not (place / "retrained" / "config.json").exists():
        framed = [
            (as_trained(prompt.query), prompt.answer)
            for name in FRAMES
            for made in variants(get_probe(name), world.retain, world.retain_held).values()
            for prompt in made
        ]
        pairs = [[*world.training_pairs(forget=forget), *framed] for forget in (True, False)]
        train_pair(world.pretraining, *pairs, place, RECIPE, seed=number, quiet=True)
    rates = json.loads((tuned / "tuning.json").read_text())
    seed = Seed(out / "models", number, quick=False)
    for name in FRAMED[2:]:
        if not (place / name / "config.json").exists():
            loaded = seed.load("full")
            forget_by(seed, prepared(name, float(rates[name]["rate"])), loaded)
            save_model(loaded, place / name)
    return out / "models"


def as_trained(question: Query) -> str:
    """The small models' conversation up to the question; training puts <bos> before it and <sep> behind."""
    return "".join(f"{asked}<sep>{answer}<eos><bos>" for asked, answer in question.turns) + question.text


def measure(models: Path, out: Path, seed: int, name: str, n: int) -> dict[str, tuple[np.ndarray, float]]:
    """Way of asking -> (scores by prompt and sample, share of greedy answers that leak)."""
    world = make_world(seed, **SIZES)
    place = out / f"seed-{seed}" / name
    results = audit(
        models / f"seed-{seed}" / "models" / name, world.forget, out=place, n=n, seed=FRESH + seed, scorers=["fact"],
        probes=PROBES, paraphrases=False, retain=world.retain_held, decoding=Decoding(max_new_tokens=32), exact=False, label=name, quiet=True,
    )  # fmt: skip
    asked = probed(PROBES, world.forget, world.retain_held)
    rows = {one.label: scores(place / one.place) for one in asked}
    found = {one.label: (np.array(list(rows[one.label].values())), results["probes"][one.label]["scorers"]["fact"]["greedy"]) for one in asked}  # fmt: skip
    plain = scores(place)
    found[PLAIN] = (np.array(list(plain.values())), results["scorers"]["fact"]["greedy"])
    worst = worst_case(plain, [(one, rows[one.label]) for one in asked])
    found[WORST] = (np.array(list(worst.values())), float("nan"))
    return found


def scores(place: Path) -> dict[str, np.ndarray]:
    run = Run.open(place)
    return dict(zip(run.prompt_ids, score(run, "fact"), strict=True))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", type=Path, required=True, help="what studies/world.py wrote")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seeds", default="0,1")
    parser.add_argument("--names", default="", help="comma-separated")
    parser.add_argument(
        "--framed", action="store_true", help="train models that were asked in every way, and take those"
    )
    parser.add_argument("--n", type=int, default=N, help=f"samples a prompt, at least {K}")
    parser.add_argument("--page", type=Path, help="page whose table is replaced")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    seeds = [int(seed) for seed in arguments.seeds.split(",")]
    names = arguments.names.split(",") if arguments.names else list(FRAMED if arguments.framed else MODELS)
    models = arguments.models
    if arguments.framed:
        for seed in seeds:
            models = train_framed(arguments.out, seed, arguments.models)
    found = {(seed, name): measure(models, arguments.out, seed, name, arguments.n) for seed in seeds for name in names}
    ways = (PLAIN, *PROBES, WORST)
    cells = {way: [pooled([found[seed, name][way] for seed in seeds]) for name in names] for way in ways}
    leak, greedy = (
        to_markdown(Table("", ("asked", *names), tuple((way, *(pair[i] for pair in cells[way])) for way in rows)))
        for i, rows in ((0, ways), (1, ways[:-1]))
    )
    ks = [1, K, arguments.n]
    every = [
        {"seed": seed, "model": name, "asked": way, "greedy": first, "leak": leak_at_k(rows, ks).value, "k": ks}
        for (seed, name), block in found.items()
        for way, (rows, first) in block.items()
    ]  # fmt: skip
    write_atomic(arguments.out / "probes.json", strict_json(every, indent=1) + "\n")
    text = f"leak@{K}:\n\n{leak}\nGreedy:\n\n{greedy}"
    print(text)
    if arguments.page:
        begin, end = f"<!-- {'framed' if arguments.framed else 'plain'} -->\n", "<!-- end -->"
        page = re.sub(
            f"({begin}).*?({end})", lambda match: match[1] + text + match[2], read_text(arguments.page), flags=re.DOTALL
        )
        write_atomic(arguments.page, page)


def pooled(blocks: list[tuple[np.ndarray, float]]) -> tuple[Number, Number]:
    """(leak@K of all seeds' prompts with its interval over samples, mean greedy share)."""
    curve = leak_at_k(np.concatenate([rows for rows, _ in blocks]), K, missing="allow")
    return (
        Number(curve.value[0], curve.low[0], curve.high[0], digits=2),
        Number(float(np.mean([first for _, first in blocks])), digits=2),
    )


if __name__ == "__main__":
    main()
