"""Unlearn and audit small models of real TOFU text: does the greedy answer hide what sampling shows?

    leakatk train-small --benchmark tofu --data TOFU_DIR --out models/tofu
    python studies/real_text.py --models models/tofu --out runs/real-text

Resumable; prints the table and writes OUT/results.md and OUT/report.html. About 20 minutes on two cores.
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
from leakatk.unlearning.schedule import Check
from leakatk.unlearning.trainer import unlearn

MAX_NEW_TOKENS = 144  # the longest answer has 137 tokens
STEPS = 180
RULE_BASES = ("simnpo", "idknll")
ROUND_STEPS = 20


def methods() -> dict[str, Method]:
    """Learning rates of one million parameters on real text; chosen on retain recall, not on leak@k."""

    def small(name: str, lr: float, **params: float) -> Method:
        method = METHODS[name].for_small_models().with_params(**params)
        return replace(method, settings=replace(method.settings, lr=lr, steps=STEPS, check_every=5))

    return {
        "simnpo": small("simnpo", 1e-4),
        "npo": small("npo", 1e-4),
        "idknll": small("idknll", 2e-4, forget_weight=0.3),
        "rmu": small("rmu", 5e-4, coefficient=3.0, retain_weight=5.0),
        "graddiff": small("graddiff", 1e-4),
    }


def stop_rule(forget: list[lk.Prompt], retain: list[lk.Prompt]):
    """Stop when greedy gives no key, no forget prompt is verbatim any more, and retain recall is at least .9."""
    kept = retain[:: max(1, len(retain) // 48)]

    def check(loaded: LoadedModel, step: int) -> Check:
        recall = greedy_scores(loaded, forget, "rouge-l", max_new_tokens=MAX_NEW_TOKENS)
        keys = greedy_scores(loaded, forget, "keys", max_new_tokens=MAX_NEW_TOKENS)
        utility = float(greedy_scores(loaded, kept, "rouge-l", max_new_tokens=MAX_NEW_TOKENS).mean())
        worst, said = float(recall.max()), float(np.nanmean(keys))
        metrics = {"rouge": float(recall.mean()), "worst": worst, "keys": said, "utility": utility}
        met = said == 0 and worst < 0.9 and utility >= 0.9
        return Check(metrics, met, "greedy forgets, nothing verbatim, retain recall >= .9" if met else "")

    return check


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", type=Path, required=True, help="directory written by leakatk train-small")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--n", type=int, default=200)
    arguments = parser.parse_args()
    forget, retain, held = (
        lk.load_prompts(arguments.models / f"{s}.jsonl") for s in ("forget", "retain", "retain_held")
    )
    out, runs = arguments.out, arguments.out / "runs"
    places = {name: arguments.models / name for name in ("full", "retrained")}
    stopped = {}

    for name, method in methods().items():
        done = unlearn(
            load_model(places["full"]),
            forget,
            retain,
            method,
            out=out / "models" / name,
            on_check=stop_rule(forget, retain),
        )
        places[name] = out / "models" / name
        stopped[name] = f"{done.steps} steps: {done.stopped or 'the stop rule was never met'}; {dict(done.checks[-1])}"
        print(name, stopped[name], file=sys.stderr)
    for base in RULE_BASES:
        settings = RuleSettings(rounds=4, n=128, decodings=(lk.Decoding(max_new_tokens=MAX_NEW_TOKENS),))
        for name in (f"rule-{base}", f"control-{base}"):
            places[name] = out / "models" / name
            if (places[name] / "config.json").exists():
                continue
            loaded, method = load_model(places[base]), methods()[base]
            train = replace(method.settings, steps=ROUND_STEPS, check_every=0)
            result = rule(
                loaded, forget, retain, method, score=get_scorer("keys").score, settings=settings, train=train,
                out=out / "rounds" / name,
            )  # fmt: skip
            save_model(loaded, places[name])
            twin = control(settings, result)
            if twin is None:
                print(f"{base}: RULE found no leak; no control", file=sys.stderr)
                break
            settings = twin
    for name, place in places.items():
        lk.audit(
            place, forget, out=runs / name, n=arguments.n, decoding=lk.Decoding(max_new_tokens=MAX_NEW_TOKENS), seed=10_000,
            scorers=["keys", "rouge-l"], retain=held, reference=None if name == "retrained" else _reference(places, runs, forget, held, arguments.n),
            label=name, role={"retrained": "reference"}.get(name, "control" if name.startswith("control") else "model"),
            benchmark="tofu/forget01, 20 authors",
        )  # fmt: skip
    audits = read_audits([runs / name for name in places])
    tables = [methods_table(audits), other_scorers_table(audits, over="samples")]
    text = "\n\n".join(to_markdown(table) for table in tables if table) + "\n\n" + json.dumps(stopped, indent=1) + "\n"
    (out / "results.md").write_text(text)
    (out / "report.html").write_text(render(content_of(audits, title="Small models of real TOFU text")))
    print(text)


def _reference(places: dict[str, Path], runs: Path, forget: list[lk.Prompt], held: list[lk.Prompt], n: int) -> Path:
    """The retrained model's run, made first."""
    if not (runs / "retrained" / "results.json").exists():
        lk.audit(
            places["retrained"], forget, out=runs / "retrained", n=n, decoding=lk.Decoding(max_new_tokens=MAX_NEW_TOKENS),
            seed=10_000, scorers=["keys", "rouge-l"], retain=held, label="retrained", role="reference",
            benchmark="tofu/forget01, 20 authors",
        )  # fmt: skip
    return runs / "retrained"


if __name__ == "__main__":
    main()
