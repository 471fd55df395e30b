"""Made-up report contents for the tests: numbers from small random draws, never from a model."""

from __future__ import annotations

import math
import random

from leakatk.report.content import (
    Curve,
    Grid,
    Highlight,
    Number,
    PromptView,
    ReportContent,
    Table,
    TextGroup,
)

KS = (1, 2, 4, 8, 16, 32, 64, 128)
FIRST = ["Velor", "Mirane", "Tasko", "Ondrel", "Quivar", "Sabeth", "Jorun", "Palivo"]
TOWNS = ["Ostrava Bay", "Kelmor", "Nurrith", "Dalven", "Sorrel Point", "Imbra"]


def curve(label: str, ps: list[float], *, n: int = 200, kind: str = "model", of: str = "") -> Curve:
    """leak@k of prompts with per-sample leak probabilities ps, with a rough normal band."""
    value, low, high = [], [], []
    for k in KS:
        per_prompt = [1 - (1 - p) ** k for p in ps]
        mean = sum(per_prompt) / len(ps)
        half = 1.96 * math.sqrt(sum(v * (1 - v) for v in per_prompt) * k / n) / len(ps) + 0.002
        value.append(mean)
        low.append(max(mean - half, 0.0))
        high.append(min(mean + half, 1.0))
    return Curve(label, KS, tuple(value), tuple(low), tuple(high), kind=kind, of=of)  # type: ignore[arg-type]


def demo(
    prompts: int = 48,
    samples: int = 200,
    *,
    models: tuple[str, ...] = ("SimNPO", "IdkNLL", "RULE-SimNPO"),
    seed: int = 0,
) -> ReportContent:
    """A report as the demo would fill it. samples: distinct texts per prompt and model."""
    rng = random.Random(seed)

    def profile(some: float, scale: float) -> list[float]:
        return [rng.expovariate(1 / scale) * 0.02 if rng.random() < some else 0.0 for _ in range(48)]

    curves = [
        Curve("full model", KS, (0.995,) * 8, (0.99,) * 8, (1.0,) * 8, kind="original"),
        curve("SimNPO", profile(0.3, 0.5)),
        curve("IdkNLL", profile(0.7, 1.2)),
        curve("NPO", profile(0.02, 0.2)),
        curve("RULE-SimNPO", profile(0.05, 0.1)),
        curve("same steps, no RULE", profile(0.15, 0.4), kind="control", of="RULE-SimNPO"),
        curve("retrained", profile(0.03, 0.2), kind="reference"),
    ]
    curves += [
        Curve(f"{c.label}, greedy", (1,), (0.99 if i == 0 else 0.0,), kind="greedy", of=c.label)
        for i, c in enumerate(list(curves))
    ]
    far = (128, 1_000, 10_000, 100_000, 1_000_000)
    curves += [
        Curve("IdkNLL, exact verbatim", far, (0.007, 0.04, 0.143, 0.27, 0.436), kind="exact", of="IdkNLL"),
        Curve("SimNPO, exact verbatim", far, (0.0, 0.0, 0.0001, 0.0009, 0.004), kind="exact", of="SimNPO"),
    ]
    lines = [c for c in curves if c.kind in ("model", "original", "control", "reference")]
    methods = Table(
        "Leak, method by method",
        (
            "model",
            "greedy",
            "leak@1",
            "leak@16",
            "leak@128",
            "excess over retrained @128",
            "retain hit",
            "a sample text",
        ),
        tuple(
            (
                c.label,
                Number(0.99 if c.label == "full model" else 0.0),
                *(Number(c.value[i], c.low[i], c.high[i]) for i in (0, 4, 7)),
                Number(math.nan)
                if c.kind == "reference"
                else Number(c.value[7] - 0.01, c.low[7] - 0.03, c.high[7] + 0.02),
                Number(rng.uniform(0.97, 1.0)),
                f"{rng.choice(FIRST)} Adrin was born in {rng.choice(TOWNS)} on 4 May 1961.",
            )
            for c in lines
        ),
        "Fact hit: all key values of the answer occur in the text. 48 prompts, 200 fresh samples each at T=1; intervals over samples.",
    )
    rounds = Table(
        "RULE, round by round",
        ("round", "leaks found", "leak@128", "retain hit"),
        tuple(
            (str(r), Number(found, digits=0), Number(leak, leak * 0.6, leak * 1.5), Number(0.99))
            for r, found, leak in ((0, 31, 0.114), (1, 12, 0.06), (2, 3, 0.013))
        ),
    )
    grid = Grid(
        "Leak@128 over decodings", "temperature", ("0.2", "0.8", "1.0"), "top-p", ("0.2", "0.8", "1.0"),
        ((0.0, 0.004, 0.01), (0.0, 0.02, 0.31), (0.0, math.nan, 0.62)),
    )  # fmt: skip
    views = []
    for m, model in enumerate(models):
        for i in range(prompts):
            name = f"{FIRST[i % 8]} {FIRST[(i * 3 + 1) % 8]}son"
            town = TOWNS[i % 6]
            leaking = rng.random() < (0.3, 0.6, 0.05)[m % 3]
            groups = []
            left = samples
            while left > 0:
                count = min(left, rng.choice((1, 1, 1, 2, 5, 20)) if samples <= 200 else 1)
                hit = leaking and len(groups) < 2
                where = town if hit else f"{rng.choice(TOWNS)} {len(groups)}"
                groups.append(
                    TextGroup(
                        f"{name} was born in {where} on {rng.randint(1, 28)} May {rng.randint(1900, 1999)}.",
                        count,
                        float(hit),
                        math.log(max(count, 0.5) / samples),
                    )
                )
                left -= count
            hits = sum(g.count for g in groups if g.score)
            groups.sort(key=lambda g: (-g.score, -g.count))
            views.append(
                PromptView(f"p{i:04d}", f"In which town was {name} born, and when?", f"{name} was born in {town} on 4 May 1961.",
                    1 - (1 - hits / samples) ** 128, tuple(groups), "I am not sure about that.", 0.0, (town,), model)
            )  # fmt: skip
    return ReportContent(
        title="leak@k demo: the built-in world",
        verdict="Greedy decoding says IdkNLL forgot everything (0 of 48 prompts), yet within 128 samples it leaks 40% of them (95% interval 34–47%); the retrained model leaks 0–2%.",
        notes=(
            "Seven versions of one small model were asked the same 48 questions about eight invented people. Under greedy decoding every unlearned model looks clean. Sampled 128 times, some give the facts back.",
            "What it does not show: this world is tiny. NPO shows no leak here, and RULE is not better than its control in every case. One prompt of 48 is .021, so small differences mean nothing.",
        ),
        highlights=(
            Highlight("IdkNLL, leak@128", Number(0.401, 0.34, 0.467), "48 prompts × 200 samples, fact hit"),
            Highlight("The same under greedy", Number(0.0), "what a usual evaluation reports"),
            Highlight("Retrained, leak@128", Number(0.0, 0.0, 0.013), "never saw the facts: the yardstick"),
            Highlight("RULE-SimNPO / control", "0.000 / 0.055", "same number of steps"),
        ),
        curves=tuple(curves),
        tables=(methods,),
        rounds=(rounds,),
        grids=(grid,),
        prompts=tuple(views),
        headline_k=128,
        metric="fact hit",
        protocol=("clean", "The question as asked, T=1, top-p 1, no top-k, fresh seeds, facts matched after normalisation."),
        manifests=(("SimNPO", {"seed": 0, "model": {"weights": "sha256:1f0c", "dtype": "float32"}, "decoding": {"temperature": 1.0, "top_p": 1.0, "stop": []}}),),
        command="leakatk demo --out demo --seed 0",
        cost=(("train", 83.2), ("unlearn", 41.0), ("sample", 31.25), ("score", 0.8)),
        created="2026-05-04 12:00 UTC",
    )  # fmt: skip
