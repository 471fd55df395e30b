"""Unlearn and audit small models of real TOFU text: does the greedy answer hide what sampling shows?

    leakatk train-small --benchmark tofu --data TOFU_DIR --authors 20 --out models/tofu
    python studies/real_text.py --models models/tofu --out runs/real-text

With 60 authors and --forget-authors 10 the larger settings are taken. Resumable; writes OUT/results.md and OUT/report.html
anew after every model. About 20 minutes of one core for 20 authors, an hour for 60.
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

import leakatk as lk
from leakatk.models.load import load_model, save_model
from leakatk.models.loaded import LoadedModel
from leakatk.report.assemble import content_of
from leakatk.report.audited import read_audits
from leakatk.report.html import render
from leakatk.report.leak_tables import methods_table, other_scorers_table
from leakatk.report.table import to_markdown
from leakatk.scorers.base import get_scorer
from leakatk.unlearning.methods import METHODS, Method
from leakatk.unlearning.rule.rule import control, rule
from leakatk.unlearning.rule.settings import RuleSettings
from leakatk.unlearning.settings import Check, OnCheck
from leakatk.unlearning.stop import greedy_scores
from leakatk.unlearning.trainer import unlearn

SCORERS = ("keys", "rouge-l")


@dataclass(frozen=True)
class Scale:
    """Settings of one size. lr, params: of each method, chosen on retain recall, not on leak@k.

    like_retrained: greedy may say as many keys as the retrained model (else none, and no answer verbatim).  every: only
    every so many-th forget prompt is audited; all are unlearned.
    """

    lr: dict[str, float]
    params: dict[str, dict[str, float]]
    rule_bases: tuple[str, ...]
    max_new_tokens: int
    steps: int
    check_every: int
    round_steps: int
    rounds: int
    rule_n: int
    n: int
    every: int
    like_retrained: bool

    def methods(self) -> dict[str, Method]:
        made = {}
        for name, lr in self.lr.items():
            method = METHODS[name].for_small_models().with_params(**self.params.get(name, {}))
            settings = replace(method.settings, learning_rate=lr, max_steps=self.steps, check_every=self.check_every)
            made[name] = replace(method, settings=settings)
        return made

    @property
    def decoding(self) -> lk.Decoding:
        return lk.Decoding(max_new_tokens=self.max_new_tokens)


RMU = {"coefficient": 3.0, "retain_weight": 5.0}
SMALL = Scale(
    lr={"simnpo": 1e-4, "npo": 1e-4, "idknll": 2e-4, "rmu": 5e-4, "graddiff": 1e-4},
    params={"idknll": {"forget_weight": 0.3}, "rmu": RMU},
    rule_bases=("simnpo", "idknll"), max_new_tokens=144, steps=180, check_every=5, round_steps=20, rounds=4, rule_n=128,
    n=200, every=1, like_retrained=False,
)  # fmt: skip
LARGE = Scale(
    lr={"simnpo": 3e-4, "npo": 2e-4, "graddiff": 2e-4, "rmu": 1e-3},
    params={"rmu": RMU},
    rule_bases=("simnpo", "npo"), max_new_tokens=96, steps=200, check_every=20, round_steps=30, rounds=3, rule_n=32,
    n=128, every=2, like_retrained=True,
)  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", type=Path, required=True, help="directory written by leakatk train-small")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seed", type=int, default=0, help="of unlearning and of RULE's samples")
    parser.add_argument("--methods", help="comma-separated; default all of the size")
    arguments = parser.parse_args()
    study = Study(arguments.models, arguments.out, arguments.seed)
    only = arguments.methods.split(",") if arguments.methods else list(study.methods)
    study.audit("retrained", study.models / "retrained")
    study.audit("full", study.models / "full")
    for name in only:
        study.unlearn(name)
    for base in (name for name in study.scale.rule_bases if name in only):
        study.rule(base)
    print((study.out / "results.md").read_text())


class Study:
    """The prompts, where things are, and one method a step; each is skipped where its result is there."""

    def __init__(self, models: Path, out: Path, seed: int) -> None:
        self.models, self.out, self.seed = models, out, seed
        self.forget, self.retain, self.held = (
            lk.load_prompts(models / f"{split}.jsonl") for split in ("forget", "retain", "retain_held")
        )
        authors = {prompt.source for prompt in (*self.forget, *self.retain, *self.held)}
        self.label = f"TOFU, {len(authors)} authors"
        self.scale = SMALL if len(authors) <= 20 else LARGE
        self.methods = self.scale.methods()
        self.asked = self.forget[:: self.scale.every]
        self.stopped: dict[str, str] = {}
        self.audited: list[str] = []

    def stop_rule(self) -> OnCheck:
        """Stop when greedy answers look forgotten and recall on retain prompts is at least .9."""
        asked, scale = self.asked, self.scale
        kept = self.retain[:: max(1, len(self.retain) // 48)]
        retrained = load_model(self.models / "retrained")

        def greedy(loaded: LoadedModel, prompts: list[lk.Prompt], scorer: str) -> np.ndarray:
            return greedy_scores(loaded, prompts, scorer, max_new_tokens=scale.max_new_tokens)

        allowed = float(np.nanmean(greedy(retrained, asked, "keys"))) if scale.like_retrained else 0.0

        def check(loaded: LoadedModel, step: int) -> Check:
            recall, keys = greedy(loaded, asked, "rouge-l"), greedy(loaded, asked, "keys")
            utility = float(greedy(loaded, kept, "rouge-l").mean())
            worst, said = float(recall.max()), float(np.nanmean(keys))
            metrics = {"rouge": float(recall.mean()), "worst": worst, "keys": said, "utility": utility}
            met = said <= allowed and (scale.like_retrained or worst < 0.9) and utility >= 0.9
            return Check(metrics, met, f"greedy keys <= {allowed:.3f}, retain recall >= .9" if met else "")

        return check

    def audit(self, name: str, place: Path) -> None:
        """leak@k with excess over the retrained model, and the tables of all models so far."""
        reference = None if name == "retrained" else self.out / "runs" / "retrained"
        if not (self.out / "runs" / name / "results.json").exists():
            lk.audit(
                place, self.asked, out=self.out / "runs" / name, n=self.scale.n, decoding=self.scale.decoding,
                seed=10_000, scorers=list(SCORERS), retain=self.held, reference=reference, label=name,
                role={"retrained": "reference", "full": "original"}.get(name, "control" if name.startswith("control") else "model"),
                benchmark=self.label, paraphrases=False,
            )  # fmt: skip
        self.audited.append(name)
        audits = read_audits([self.out / "runs" / name for name in self.audited])
        tables = [methods_table(audits), other_scorers_table(audits, over="samples")]
        text = "\n\n".join(to_markdown(table) for table in tables if table)
        (self.out / "results.md").write_text(text + "\n\n" + json.dumps(self.stopped, indent=1) + "\n")
        (self.out / "report.html").write_text(render(content_of(audits, title="Small models of real TOFU text")))

    def unlearn(self, name: str) -> None:
        done = unlearn(
            load_model(self.models / "full"), self.forget, self.retain, self.methods[name], out=self.out / "models" / name,
            on_check=self.stop_rule(), seed=self.seed,
        )  # fmt: skip
        self.stopped[name] = f"{done.steps} steps: {done.stopped or 'stop rule never met'}; {dict(done.checks[-1])}"
        print(name, self.stopped[name], file=sys.stderr, flush=True)
        self.audit(name, self.out / "models" / name)

    def rule(self, base: str) -> None:
        """RULE from the unlearned model, and its control with as many steps and nothing added."""
        scale, method = self.scale, self.methods[base]
        settings = RuleSettings(
            rounds=scale.rounds, n=scale.rule_n, k=min(128, scale.rule_n), decodings=(scale.decoding,)
        )
        train = replace(method.settings, max_steps=scale.round_steps, check_every=0)
        for name in (f"rule-{base}", f"control-{base}"):
            place = self.out / "models" / name
            loaded = load_model(self.out / "models" / base)
            result = rule(
                loaded, self.forget, self.retain, method, score=get_scorer("keys").score, settings=settings, train=train,
                out=self.out / "rounds" / name, seed=self.seed,
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
