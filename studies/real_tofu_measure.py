"""Measures of one model in the study of TOFU: what it leaks beside the retrained model, what it kept, whether it writes well."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from real_cells import Clock, Numbers
from real_measure import asked_greedily, probability
from real_tofu_design import Design
from real_tofu_sets import Sets, in_other_words, spaced

from leakatk.arrays import Floats
from leakatk.auditing.audit import audit
from leakatk.auditing.score import score
from leakatk.auditing.settings import AuditSettings
from leakatk.benchmarks.base import Benchmark
from leakatk.metrics.base import Evidence, MetricSettings, evaluate
from leakatk.metrics.fluency import broken_share
from leakatk.metrics.truth_ratio import truth_ratios
from leakatk.models.loaded import LoadedModel
from leakatk.prompts import Prompt
from leakatk.runs.store import Run
from leakatk.sampling.decoding import Decoding
from leakatk.scorers.base import get_scorer
from leakatk.scorers.encoder import PACKAGED

SCORERS = ("keys", "rouge-l")
ENCODER = f"similarity:model={PACKAGED}"
METRICS = ("membership", "model_utility", "truth_ratio")
SAYS = 4  # questions of which the cell keeps what the model said
SEED = 90_000  # of the samples that are reported: no detection draws them


@dataclass(frozen=True)
class Yardstick:
    """The retrained model: where its own audits are, and how it is loaded to judge fluency."""

    place: Path
    weights: str
    load: Callable[[], LoadedModel]


def measure(
    loaded: LoadedModel,
    sets: Sets,
    d: Design,
    *,
    place: Path,
    yardstick: Yardstick | None,
    clock: Clock,
    similarity: bool = True,
) -> Numbers:
    """Everything the page needs of a model; what is in `place` is not asked again.

    yardstick: None for the retrained model itself.  similarity: False where no encoder is at hand.
    """
    forget, reworded = sets.forget, in_other_words(sets.forget)
    with clock.part("sampling"):
        plain = audited(loaded, forget, d, d.n, place / "audit", yardstick and yardstick.place / "audit")
        other = (
            audited(
                loaded, reworded, d, d.paraphrased_n, place / "paraphrased", yardstick and yardstick.place / "paraphrased"
            )
            if reworded
            else None
        )  # fmt: skip
    run = Run.open(place / "audit")
    said = run.texts()
    with clock.part("similarity"):
        alike = similar(forget, said, d.similar) if similarity else None
    shown, held = spaced(sets.others, d.shown), spaced(sets.held, d.held)
    with clock.part("greedy"):
        texts = asked_greedily(loaded, {"shown": shown, "held": held}, d.longest)
    with clock.part("metrics"):
        values, ratios = metrics_of(loaded, sets, d, place / "evidence")
    with clock.part("fluency"):
        judge = loaded if yardstick is None else yardstick.load()
        drawn = [(p.question, text) for p, row in zip(forget, said, strict=True) for text in row[: d.read]]
        fluency = {
            "forget": probability(judge, drawn),
            "held": probability(judge, [(p.question, t) for p, t in zip(held, texts["held"], strict=True)]),
        }
    return {
        "n": d.n,
        "retrained": "" if yardstick is None else yardstick.weights,
        "forget": [p.id for p in forget],
        "keys": counts(run, "keys"),
        "paraphrased": None if other is None else {
            "n": d.paraphrased_n, "keys": counts(Run.open(place / "paraphrased"), "keys"),
            "greedy": other["scorers"]["keys"]["greedy"],
        },
        "scorers": {name: brief(plain["scorers"][name]) for name in SCORERS},
        "similarity": None if alike is None else np.round(alike, 4).tolist(),
        "exact": {"k": plain["exact"]["k"], "value": plain["exact"]["value"]},
        "answers": plain["answers"],
        "kept": {name: kept(group, texts[name]) for name, group in (("shown", shown), ("held", held))},
        "metrics": values,
        "truth_ratios": np.round(ratios, 6).tolist(),
        "fluency": fluency,
        "broken": {"forget": broken_share([t for row in said for t in row]), "held": broken_share(texts["held"])},
        "says": [[p.question, *row[:2]] for p, row in list(zip(forget, said, strict=True))[:SAYS]],
    }  # fmt: skip


def audited(
    loaded: LoadedModel, prompts: Sequence[Prompt], d: Design, n: int, out: Path, retrained: Path | None
) -> dict[str, Any]:
    """Results of an audit, with the excess over the retrained model's own audit."""
    settings = AuditSettings(
        n=n, decoding=Decoding(max_new_tokens=d.longest), seed=SEED + d.seed, scorers=SCORERS, paraphrases=False,
        benchmark="tofu/forget01",
    )  # fmt: skip
    return audit(
        loaded, prompts, out=out, settings=settings, quiet=True,
        retrained=None if retrained is None else Run.open(retrained),
    )  # fmt: skip


def brief(result: dict[str, Any]) -> Numbers:
    """What a cell keeps of one scorer: its curve over samples, the same over prompts, and the excess."""
    kept = {"m": result["m"], "greedy": result["greedy"], "curves": _ends(result["curves"])}
    return {**kept, "excess": _ends(result["excess"])} if "excess" in result else kept


def _ends(curves: dict[str, Any]) -> dict[str, Any]:
    return {
        over: {name: np.round(values, 5).tolist() if name != "k" else values for name, values in curve.items()}
        for over, curve in curves.items()
        if over in ("samples", "both")
    }


def counts(run: Run, scorer: str) -> list[int | None]:
    """Samples of each question that leak; None where the scorer cannot score it."""
    return [None if np.isnan(row).all() else int(np.nansum(row)) for row in score(run, scorer)]


def similar(prompts: Sequence[Prompt], texts: Sequence[Sequence[str]], few: int) -> Floats:
    """(prompts, few) cosine of the first samples with the true answer."""
    asked = [(prompt, text) for prompt, row in zip(prompts, texts, strict=True) for text in row[:few]]
    found = get_scorer(ENCODER).score([p for p, _ in asked], [text for _, text in asked])
    return np.asarray(found, dtype=np.float64).reshape(len(prompts), -1)


def kept(prompts: Sequence[Prompt], texts: Sequence[str]) -> Numbers:
    """Mean scores of greedy answers to what is to be kept."""
    found = {name: np.asarray(get_scorer(name).score(list(prompts), list(texts)), dtype=float) for name in SCORERS}
    return {name: float(np.nanmean(v)) if np.isfinite(v).any() else math.nan for name, v in found.items()}


def metrics_of(loaded: LoadedModel, sets: Sets, d: Design, keep: Path) -> tuple[Numbers, Floats]:
    """(the benchmark's numbers that are defined here, the truth ratios of the forget questions)."""
    bench = asked_of(sets.bench, d)
    evidence = Evidence(loaded, settings=MetricSettings(grad_norm=False), keep=keep)
    values = evaluate(evidence, bench, metrics=METRICS)
    return {name: value for name, value in values.items() if not math.isnan(value)}, truth_ratios(
        evidence, bench.forget
    )


def asked_of(bench: Benchmark, d: Design) -> Benchmark:
    """The benchmark that the metrics see: real authors and world facts as far as they are asked.

    Without retain rows: TOFU publishes wrong answers for its first 400 alone, which are not among these authors, so its model
    utility is not defined here.
    """
    sets = {name: tuple(spaced(prompts, d.facts)) for name, prompts in bench.sets.items() if name != "retain"}
    return replace(bench, retain=(), retain_held=(), sets=sets)
