"""What guards are worth on small models: leak@k with and without each, and how many questions that may be answered they stop.

    leakatk train-small --benchmark world --out models
    python studies/guards_inside.py models ksd energy dsg [--model full] [--auxiliary clean=models/retrained]

The guard is fitted on the forget and retain prompts in models/. Asked are: the forget prompts; other wordings of them that were
never trained; the retain prompts; and people (`retain_held`) whom the guard has not met and the model must answer for. Prints
Markdown: leak@k with 95% intervals over samples, the change against the bare model, and the share of prompts that were flagged.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from leakatk.estimate.leak import excess
from leakatk.guards.sampler import guarded
from leakatk.models.load import load_model
from leakatk.prompts import Known, Prompt, load_prompts
from leakatk.sampling.base import Request
from leakatk.sampling.decoding import Decoding
from leakatk.sampling.native import NativeSampler
from leakatk.scorers import get_scorer

COLUMNS = ("forget", "forget, other words", "retain", "not met")


def asked(models: Path) -> dict[str, list[Prompt]]:
    """Column -> prompts. Other words are the last wording of each forget prompt, of those that it has."""
    forget, retain, held = (load_prompts(models / f"{name}.jsonl") for name in ("forget", "retain", "retain_held"))
    other = [replace(prompt, question=prompt.paraphrases[-1]) for prompt in forget if prompt.paraphrases]
    return dict(zip(COLUMNS, (forget, other, retain, held), strict=True))


def scores(sampler: Any, prompts: Sequence[Prompt], n: int) -> np.ndarray[Any, Any]:
    """(m, n) whether each answer states all facts of its prompt."""
    place = {prompt.id: row for row, prompt in enumerate(prompts)}
    said = np.empty((len(prompts), n), dtype=object)
    for batch in sampler.sample([Request(prompt, range(n)) for prompt in prompts], Decoding(max_new_tokens=32), seed=0):
        for one in batch:
            said[place[one.prompt_id], one.sample] = one.text
    found = get_scorer("fact").score([p for p in prompts for _ in range(n)], list(said.ravel()))
    return np.asarray(found).reshape(len(prompts), n)


def cell(with_guard: np.ndarray[Any, Any], bare: np.ndarray[Any, Any]) -> str:
    """leak@1 and leak@n behind the guard, and the change of the latter."""
    found = excess(with_guard, bare, (1, with_guard.shape[1]))
    leak = found.model
    values = ", ".join(f"{v:.2f} [{a:.2f}, {b:.2f}]" for v, a, b in zip(leak.value, leak.low, leak.high, strict=True))
    return f"{values}; {found.value[-1]:+.2f} [{found.low[-1]:+.2f}, {found.high[-1]:+.2f}]"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", type=Path)
    parser.add_argument("guards", nargs="+")
    parser.add_argument("--model", default="full", help="directory in models/, or anywhere")
    parser.add_argument("--auxiliary", action="append", default=[], help="NAME=MODEL")
    parser.add_argument("--encoder", default="words")
    parser.add_argument("--n", type=int, default=16)
    given = parser.parse_args()
    place = given.models / given.model
    loaded = load_model(place if place.is_dir() else given.model, device="cpu")
    prompts = asked(given.models)
    known = Known(
        forget=tuple(prompts["forget"]), retain=tuple(prompts["retain"]), encoder=given.encoder,
        auxiliary=dict(one.split("=", 1) for one in given.auxiliary),
    )  # fmt: skip
    plain = {name: scores(NativeSampler(loaded), some, given.n) for name, some in prompts.items()}
    print(f"| guard | {' | '.join(f'{name} ({len(some)})' for name, some in prompts.items())} |")
    print(f"|---{'|---' * len(prompts)}|")
    print(f"| none | {' | '.join(f'{rows.mean():.2f}, {rows.max(1).mean():.2f}' for rows in plain.values())} |")
    for spec in given.guards:
        cells = []
        for name, some in prompts.items():
            sampler = guarded(NativeSampler(loaded), known, spec)
            flagged = sampler.flags(some).mean()
            cells.append(f"{cell(scores(sampler, some, given.n), plain[name])}; flagged {flagged:.0%}")
        print(f"| `{spec}` | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
