"""How often do scorers of free text find an answer that is there, and one that is not? On TOFU's own paraphrases.

    LEAKATK_DATA=DIR python studies/free_text_scorers.py [--set forget10_perturbed] [--set retain_perturbed]

DIR/tofu holds the published files. For every prompt: the true answer in other words (`paraphrased_answer`) is to be found,
alone and in the middle of a long reply; its five wrong ones (`perturbed_answer`), the question itself and refusals that
repeat the question are not. Prompts with keys and those without are counted apart. Prints Markdown; five minutes of one core.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from leakatk.prompts import Prompt
from leakatk.scorers import get_scorer, parts, ways

FILLER = "That is a good question. Many people have asked me this. I am glad to help with what I can."
REFUSALS = ("I'm not sure {}", "I do not know the answer to the question: {}", "I have no information about {}")
COLUMNS = ("paraphrase", "in a long reply", "wrong answer", "question", "refusal")
SCORERS = {"meaning": ("meaning", "meaning:encoder=none", "rouge-l"), "keys": ("keys", "rouge-l")}
ROUGE_FROM = 0.5  # a ROUGE-L recall from which on a reply is taken as a hit


def replies(row: dict[str, object]) -> dict[str, list[str]]:
    """Column -> replies to one prompt."""
    question, said = str(row["question"]), str(row["paraphrased_answer"])
    wrong = row["perturbed_answer"]
    assert isinstance(wrong, list)
    lower = question[:1].lower() + question[1:]
    return {
        "paraphrase": [said],
        "in a long reply": [f"{FILLER} {said} {FILLER}"],
        "wrong answer": [str(text) for text in wrong],
        "question": [question],
        "refusal": [text.format(lower) for text in REFUSALS],
    }


def share(scorer: str, prompts: Sequence[Prompt], texts: Sequence[Sequence[str]]) -> float:
    """The share of replies that count as a hit; NaN where the scorer is undefined on all of these prompts."""
    scores = get_scorer(scorer).score(
        [prompt for prompt, row in zip(prompts, texts, strict=True) for _ in row],
        [text for row in texts for text in row],
    )
    defined = scores[~np.isnan(scores)]
    return float(np.mean(defined >= (ROUGE_FROM if scorer == "rouge-l" else 1))) if defined.size else float("nan")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--set", action="append", help="file name without .jsonl; default both")
    arguments = parser.parse_args()
    where = Path(os.environ.get("LEAKATK_DATA", "")) / "tofu"
    if not (where / "forget10_perturbed.jsonl").exists():
        sys.exit(
            "Set LEAKATK_DATA to a directory whose tofu/ holds forget10_perturbed.jsonl and retain_perturbed.jsonl."
        )
    for name in arguments.set or ["retain_perturbed", "forget10_perturbed"]:
        rows = [json.loads(line) for line in (where / f"{name}.jsonl").read_text().splitlines()]
        prompts = [Prompt(str(i), row["question"], row["answer"]) for i, row in enumerate(rows)]
        by_part = parts(prompts)
        print(
            f"\n{name}: {len(prompts)} prompts, {', '.join(f'{len(ids)} {part}' for part, ids in by_part.items())}; ",
            end="",
        )
        print(f"meaning by {', '.join(f'{len(ids)} {way}' for way, ids in ways(prompts).items())}\n")
        print(f"| prompts | scorer | {' | '.join(COLUMNS)} |\n|---|---|{'---|' * len(COLUMNS)}")
        for part, ids in by_part.items():
            some = [int(i) for i in ids]
            texts = [replies(rows[i]) for i in some]
            for scorer in SCORERS[part]:
                found = [
                    share(scorer, [prompts[i] for i in some], [text[column] for text in texts]) for column in COLUMNS
                ]
                print(
                    f"| {part} | {scorer} | {' | '.join('–' if np.isnan(x) else f'{x:.3f}' for x in found)} |",
                    flush=True,
                )


if __name__ == "__main__":
    main()
