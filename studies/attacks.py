"""Attacks and guards on the generated world: models that forgot by several methods, beside the retrained one attacked alike.

    python studies/world.py --work runs/world --tune-only
    python studies/attacks.py --work runs/world --seeds 0
    python studies/attacks_tables.py --page docs/results-attacks.md

One cell a (seed, model, attack) and a (seed, guard): seed-N/NAME/ATTACK.json under studies/attacks, kept in the repository.
Models are those of studies/world.py, made again where they are gone, at the learning rates that it chose. A stopped run goes on
at the first missing cell, and several processes share the work.
"""

from __future__ import annotations

import argparse
import json
import time
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
import world
from world import Seed, claimed, first_model, say, write_json

from leakatk.attacks import LadderSettings, attack_ladder, get_attack
from leakatk.auditing.audit import audit
from leakatk.auditing.score import score
from leakatk.files.strict_json import plain as plain_values
from leakatk.guards import get_guard
from leakatk.guards.sampler import guarded
from leakatk.prompts import Known, Prompt
from leakatk.runs.store import Run
from leakatk.sampling.decoding import Decoding
from leakatk.sampling.native import NativeSampler
from leakatk.unlearning.methods import METHODS

CELLS = Path(__file__).resolve().parent / "attacks"
KNOWN = ("full", "retrained")  # models that the world itself makes
MODELS = ("npo", "simnpo", "idknll", "rmu", "graddiff", "me", "wga", "undial", "task-vector", "rule-npo")
ATTACKS = (
    "relearn", "relearn:on=retain", "relearn:tuning=lora", "quantise:bits=4", "quantise:how=gptq", "prune", "merge-back", "graft",
    "soft-prompt", "token-search", "key-tokens", "self-correction", "decoder", "generative-decoder", "patch", "depth",
)  # fmt: skip
GUARDS = ("curate", "eco", "dragon", "alu", "guard", "dd", "ucd", "icul")
N, KS, QUICK_N = 64, (1, 2, 4, 8, 16, 32, 64), 8
DECODING = Decoding(max_new_tokens=world.LONGEST)
DRAW = 90_000  # of the samples; the world study's are others


def known_of(seed: Seed) -> Known:
    """What attacks and guards are given: the world's own people, its full model as original and as the dirty one."""
    models = seed.place / "models"
    return Known(
        forget=tuple(seed.world.forget),
        retain=tuple(seed.world.retain),
        holdout=tuple(seed.world.holdout),
        original=str(models / "full"),
        retrained=str(models / "retrained"),
        auxiliary={"clean": str(models / "retrained"), "dirty": str(models / "full")},
        text=tuple(p.answer for p in seed.world.retain_held),
    )


def n_of(seed: Seed) -> int:
    return QUICK_N if seed.quick else N


def plain(seed: Seed, name: str) -> Path:
    """The audit of a model without an attack; drawn once for all attacks."""
    out = seed.place / "attacked" / name / "plain"
    audit(
        str(seed.place / "models" / name), list(seed.world.forget), out=out, n=n_of(seed), decoding=DECODING, seed=DRAW + seed.seed,
        scorers=["fact"], exact=False, paraphrases=False, benchmark="world", quiet=True,
    )  # fmt: skip
    return out


def counts_of(runs: list[Run]) -> dict[str, int]:
    """Prompt id -> leaking samples, over the folds of a rung."""
    found: dict[str, int] = {}
    for run in runs:
        found.update(zip(run.prompt_ids, (int(c) for c in score(run, "fact").sum(axis=1)), strict=True))
    return found


def attacked(seed: Seed, name: str, attack: str) -> dict[str, Any]:
    """One model under one attack: leaking samples by prompt, or what an attack that reads gives."""
    below, out = plain(seed, name), seed.place / "attacked" / name
    made = get_attack(attack)
    settings = LadderSettings(
        n=n_of(seed), ks=tuple(k for k in KS if k <= n_of(seed)), decoding=DECODING, seed=DRAW + seed.seed, scorers=("fact",),
        benchmark="world", quiet=True,
    )  # fmt: skip
    place = out / attack.replace(":", "-")
    summary = attack_ladder(
        str(seed.place / "models" / name), list(seed.world.forget), [made], out=place, known=known_of(seed),
        settings=settings, audited=below,
    )  # fmt: skip
    about = {"kind": made.facts.kind, "access": made.facts.access, "n": n_of(seed), "label": made.label}
    if summary["reads"]:
        return {**about, "chance": summary["reads"][0]["chance"], "read": summary["reads"][0]["per_prompt"]}
    runs = [Run.open(path.parent) for path in sorted(place.rglob("model/manifest.json"))]
    greedy = [Run.open(path.parent) for path in sorted(place.rglob("model/greedy/manifest.json"))]
    return {**about, "fact": counts_of(runs), "greedy": counts_of(greedy), "notes": summary["notes"]}


def as_asked(seed: Seed, name: str) -> dict[str, Any]:
    """One model without an attack."""
    out = plain(seed, name)
    counts, greedy = counts_of([Run.open(out)]), counts_of([Run.open(out / "greedy")])
    utility = seed.utility(seed.load(name))
    return {
        "kind": "none",
        "access": "questions",
        "n": n_of(seed),
        "fact": counts,
        "greedy": greedy,
        "utility": utility,
    }


def guard_cell(seed: Seed, name: str) -> dict[str, Any]:
    """The full model behind one guard: leaks as asked and in a wording that it was not given, and whom it refuses wrongly."""
    sampler = guarded(NativeSampler(seed.load("full")), known_of(seed), name)
    found: dict[str, Any] = {"n": n_of(seed), "summary": get_guard(name).summary}
    for wording in ("asked", "held-out"):
        prompts = seed.asked(wording)
        out = seed.place / "guarded" / name.replace(":", "-") / wording
        cpu = time.process_time()
        audit(
            sampler, prompts, out=out, n=n_of(seed), decoding=DECODING, seed=DRAW + seed.seed, scorers=["fact"], exact=False,
            paraphrases=False, benchmark="world", quiet=True,
        )  # fmt: skip
        found[wording] = counts_of([Run.open(out)])
        found[f"cpu {wording}"] = round(time.process_time() - cpu, 2)
        found[f"flagged {wording}"] = share(sampler, prompts)
    for group, prompts in seed.sets().items():
        found[f"flagged {group}"] = share(sampler, prompts)
    return found


def share(sampler: Any, prompts: list[Prompt]) -> float:
    """Of the prompts that the guard acts on."""
    return float(np.mean(sampler.guard.detector.flags(prompts)))


def model_cell(seed: Seed, maker: Seed, name: str, attack: str, rates: dict[str, float]) -> dict[str, Any]:
    """One model as asked ("none") or under one attack. maker: the same seed, with the cells of the world study."""
    made(maker, name, rates)
    return as_asked(seed, name) if attack == "none" else attacked(seed, name, attack)


def made(seed: Seed, name: str, rates: dict[str, float]) -> None:
    """The model, where it is not on disk."""
    if name in KNOWN or (seed.place / "models" / name / "config.json").exists():
        return
    if name.startswith("rule-"):
        base = name.removeprefix("rule-")
        world.rule_model(seed, base, rates[base], calibrated=False, twin=False)
    else:
        first_model(seed, name, rates[name])


def run(path: Path, make: Any) -> None:
    """Make one cell and write it."""
    if path.exists():
        return
    start, cpu = time.time(), time.process_time()
    found = make()
    write_json(path, plain_values({**found, "cpu_seconds": round(time.process_time() - cpu, 2)}))  # undefined: null
    say(f"{path.parent.parent.name} {path.parent.name} {path.stem}: {time.time() - start:.0f} s")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, required=True, help="scratch directory of studies/world.py")
    parser.add_argument("--out", type=Path, default=CELLS, help="where cells are kept")
    parser.add_argument("--tuned", type=Path, default=world.CELLS, help="where studies/world.py keeps its tuning")
    parser.add_argument("--seeds", default="0,1,2,3,4", help="comma-separated world seeds")
    parser.add_argument("--models", default=",".join(MODELS), help="methods, or rule-METHOD")
    parser.add_argument("--attacks", default=";".join(ATTACKS), help="attacks, with a semicolon between them")
    parser.add_argument("--guards", default=";".join(GUARDS), help="guards, with a semicolon between them")
    parser.add_argument("--quick", action="store_true", help="two people, 8 samples: a test of the script")
    arguments = parser.parse_args()
    names = [n for n in arguments.models.split(",") if n]
    attacks = [a for a in arguments.attacks.split(";") if a]
    for attack in attacks:
        get_attack(attack)
    guards = [g for g in arguments.guards.split(";") if g]
    bases = {n.removeprefix("rule-") for n in names} - set(KNOWN)
    for name in bases:
        METHODS[name]
    torch.set_num_threads(1)
    tuned = {
        n: json.loads(path.read_text())["rate"]
        for n in bases
        if (path := arguments.tuned / "tuning" / f"{n}.json").exists()
    }
    rates = {name: float(tuned.get(name, 1.0)) for name in bases}
    write_json(
        arguments.out / "study.json", {"n": QUICK_N if arguments.quick else N, "ks": KS, "decoding": DECODING.label}
    )
    for number in map(int, arguments.seeds.split(",")):
        seed = Seed(arguments.out, arguments.work, number, quick=arguments.quick)
        maker = Seed(arguments.tuned, arguments.work, number, quick=arguments.quick)
        for name in [*KNOWN, *names]:
            for attack in ["none", *attacks]:
                path = seed.kept / name / f"{attack.replace(':', '-')}.json"
                make = partial(model_cell, seed, maker, name, attack, rates)
                claimed(seed.place / "attacking" / name, partial(run, path, make))
        for guard in guards:
            path = seed.kept / "guards" / f"{guard.replace(':', '-')}.json"
            claimed(seed.place / "attacking" / "guards", partial(run, path, partial(guard_cell, seed, guard)))


if __name__ == "__main__":
    main()
