"""Unlearn and audit small models of real TOFU text: does the greedy answer hide what sampling shows?

    leakatk train-small --benchmark tofu --data TOFU_DIR --authors 60 --forget-authors 10 --out models/tofu
    python studies/real_text.py --models models/tofu --out runs/real-text

Resumable; writes OUT/results.md and OUT/report.html anew after every model. About an hour of one core.
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np

import leakatk as lk
from leakatk.checks import greedy_scores
from leakatk.models import LoadedModel, load_model, save_model
from leakatk.report.assemble import content_of, methods_table, other_scorers_table, read_audits
from leakatk.report.html import render
from leakatk.report.table import to_markdown
from leakatk.scorers.base import get_scorer
from leakatk.unlearning.methods import METHODS, Method
from leakatk.unlearning.rule import RuleSettings, control, rule
from leakatk.unlearning.schedule import Check, OnCheck
from leakatk.unlearning.trainer import unlearn

MAX_NEW_TOKENS = 96  # the longest answer of 60 authors has 91 tokens
STEPS = 200
CHECK_EVERY = 20
RULE_BASES = ("simnpo", "npo")
ROUND_STEPS = 30
RULE = RuleSettings(rounds=3, n=32, k=32, decodings=(lk.Decoding(max_new_tokens=MAX_NEW_TOKENS),))
SCORERS = ("keys", "rouge-l")


def methods() -> dict[str, Method]:
    """Learning rates of one million parameters on real text; chosen on retain recall, not on leak@k."""

    def small(name: str, lr: float, **params: float) -> Method:
        method = METHODS[name].for_small_models().with_params(**params)
        return replace(method, settings=replace(method.settings, lr=lr, steps=STEPS, check_every=CHECK_EVERY))

    return {
        "simnpo": small("simnpo", 3e-4),
        "npo": small("npo", 2e-4),
        "graddiff": small("graddiff", 2e-4),
        "rmu": small("rmu", 1e-3, coefficient=3.0, retain_weight=5.0),
    }


def stop_rule(forget: list[lk.Prompt], retain: list[lk.Prompt], retrained: LoadedModel) -> OnCheck:
    """Stop when greedy answers give no more keys than the retrained model's, and retain recall is at least .9."""
    kept = retain[:: max(1, len(retain) // 48)]
    yardstick = float(np.nanmean(greedy_scores(retrained, forget, "keys", max_new_tokens=MAX_NEW_TOKENS)))

    def check(loaded: LoadedModel, step: int) -> Check:
        recall = greedy_scores(loaded, forget, "rouge-l", max_new_tokens=MAX_NEW_TOKENS)
        keys = greedy_scores(loaded, forget, "keys", max_new_tokens=MAX_NEW_TOKENS)
        utility = float(greedy_scores(loaded, kept, "rouge-l", max_new_tokens=MAX_NEW_TOKENS).mean())
        worst, said = float(recall.max()), float(np.nanmean(keys))
        metrics = {"rouge": float(recall.mean()), "worst": worst, "keys": said, "utility": utility}
        met = said <= yardstick and utility >= 0.9
        return Check(metrics, met, f"greedy keys <= {yardstick:.3f} (retrained), retain recall >= .9" if met else "")

    return check


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", type=Path, required=True, help="directory written by leakatk train-small")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--n", type=int, default=128)
    parser.add_argument("--every", type=int, default=2, help="audit every so many-th forget prompt (all are unlearned)")
    arguments = parser.parse_args()
    study = Study(arguments.models, arguments.out, arguments.n, arguments.every)
    study.audit("retrained", study.models / "retrained")
    study.audit("full", study.models / "full")
    for name, method in methods().items():
        study.unlearn(name, method)
    for base in RULE_BASES:
        study.rule(base, methods()[base])
    print((study.out / "results.md").read_text())


class Study:
    """The prompts, where things are, and one method a step; each is skipped where its result is there."""

    def __init__(self, models: Path, out: Path, n: int, every: int) -> None:
        self.models, self.out, self.n = models, out, n
        self.forget, self.retain, self.held = (
            lk.load_prompts(models / f"{split}.jsonl") for split in ("forget", "retain", "retain_held")
        )
        self.asked = self.forget[::every]
        self.stopped: dict[str, str] = {}
        self.audited: list[str] = []

    def audit(self, name: str, place: Path) -> None:
        """leak@k with excess over the retrained model, and the tables of all models so far."""
        reference = None if name == "retrained" else self.out / "runs" / "retrained"
        if not (self.out / "runs" / name / "results.json").exists():
            lk.audit(
                place, self.asked, out=self.out / "runs" / name, n=self.n, decoding=lk.Decoding(max_new_tokens=MAX_NEW_TOKENS),
                seed=10_000, scorers=list(SCORERS), retain=self.held, reference=reference, label=name,
                role={"retrained": "reference", "full": "original"}.get(name, "control" if name.startswith("control") else "model"),
                benchmark="TOFU, small models",
            )  # fmt: skip
        self.audited.append(name)
        audits = read_audits([self.out / "runs" / name for name in self.audited])
        tables = [methods_table(audits), other_scorers_table(audits, over="samples")]
        text = "\n\n".join(to_markdown(table) for table in tables if table)
        (self.out / "results.md").write_text(text + "\n\n" + json.dumps(self.stopped, indent=1) + "\n")
        (self.out / "report.html").write_text(render(content_of(audits, title="Small models of real TOFU text")))

    def unlearn(self, name: str, method: Method) -> None:
        check = stop_rule(self.asked, self.retain, load_model(self.models / "retrained"))
        done = unlearn(
            load_model(self.models / "full"), self.forget, self.retain, method, out=self.out / "models" / name, on_check=check
        )  # fmt: skip
        self.stopped[name] = f"{done.steps} steps: {done.stopped or 'stop rule never met'}; {dict(done.checks[-1])}"
        print(name, self.stopped[name], file=sys.stderr, flush=True)
        self.audit(name, self.out / "models" / name)

    def rule(self, base: str, method: Method) -> None:
        """RULE from the unlearned model, and its control with as many steps and nothing added."""
        settings = RULE
        train = replace(method.settings, steps=ROUND_STEPS, check_every=0)
        for name in (f"rule-{base}", f"control-{base}"):
            place = self.out / "models" / name
            loaded = load_model(self.out / "models" / base)
            result = rule(
                loaded, self.forget, self.retain, method, score=get_scorer("keys").score, settings=settings, train=train,
                out=self.out / "rounds" / name,
            )  # fmt: skip
            save_model(loaded, place)
            self.stopped[name] = f"{result.steps} steps: {result.verdict}"
            print(name, self.stopped[name], file=sys.stderr, flush=True)
            self.audit(name, place)
            twin = control(settings, result)
            if twin is None:
                self.stopped[f"control-{base}"] = "RULE took no step: no control"
                break
            settings = twin


if __name__ == "__main__":
    main()
