"""TOFU: 200 fictitious authors with 20 questions each. Maini et al., "TOFU: A Task of Fictitious Unlearning", 2024.

Row i of `full` is prompt tofu-i in every split, so forget01, forget05 and forget10 share their ids; its source is author
i // 20. Files: as published in the dataset locuslab/TOFU (one JSON object a line, .json or .jsonl).
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from leakatk.benchmarks.base import Benchmark, Options, add
from leakatk.benchmarks.fetch import SUFFIXES, fetch, pinned, rows
from leakatk.errors import InputError
from leakatk.files.reading import read_text
from leakatk.prompts import Prompt, prompt_from_record

REPOSITORY = "locuslab/TOFU"
AUTHOR_ROWS = 20
FULL_ROWS = 4000
FORGET_ROWS = {"forget01": 40, "forget05": 200, "forget10": 400}
RETAIN = {"forget01": "retain99", "forget05": "retain95", "forget10": "retain90"}
PERTURBED = ("question", "answer", "paraphrased_question", "paraphrased_answer", "perturbed_answer")
OPTIONS = ("question", "answer", "perturbed_answer")


def load_tofu(options: Options, *, split: str) -> Benchmark:
    """forgetXX with retainXX, the holdout of the same size, and the sets of model utility.

    Checks the row counts, that the perturbed file asks the forget questions in order, and, where full is at hand, that
    it is retainXX followed by forgetXX. sets: "retain" (the 400 perturbed retain rows), "real_authors", "world_facts".
    """

    options = pinned(options, fetch(REPOSITORY, split, data=options.data, revision=options.revision))

    def get(file: str, count: int, columns: tuple[str, ...] = ("question", "answer")) -> list[dict[str, Any]]:
        path = fetch(REPOSITORY, file, data=options.data, revision=options.revision)
        return rows(path, count=count, columns=columns)

    size = FORGET_ROWS[split]
    first = FULL_ROWS - size
    forget = get(split, size)
    perturbed = get(f"{split}_perturbed", size, PERTURBED)
    retain = get(RETAIN[split], first)
    _same(perturbed, forget, f"{split}_perturbed", split)
    if options.data is None or any((options.data / f"full{suffix}").exists() for suffix in SUFFIXES):
        _same(get("full", FULL_ROWS), retain + forget, "full", f"{RETAIN[split]} followed by {split}")
    prompts = _prompts(perturbed, f"{split}_perturbed", first=first)
    if options.ask == "paraphrased":
        if bare := [i for i, prompt in enumerate(prompts) if not prompt.paraphrases]:
            raise InputError(f"{split}_perturbed, row {bare[0]}: no paraphrased_question to ask.")
        prompts = tuple(replace(p, question=p.paraphrases[0], paraphrases=(p.question,)) for p in prompts)
    holdout = get(split.replace("forget", "holdout"), size)
    return Benchmark(
        name=f"tofu/{split}" + ("" if options.ask == "question" else ":paraphrased"),
        forget=prompts,
        retain=_prompts(retain, RETAIN[split], first=0),
        holdout=_prompts(holdout, "holdout", prefix="holdout"),
        sets={
            "retain": _prompts(get("retain_perturbed", 400, PERTURBED), "retain_perturbed", first=0),
            "real_authors": _prompts(
                get("real_authors_perturbed", 100, OPTIONS), "real_authors_perturbed", prefix="real-authors"
            ),
            "world_facts": _prompts(
                get("world_facts_perturbed", 117, OPTIONS), "world_facts_perturbed", prefix="world-facts"
            ),
        },
        refusals=_refusals(options.data),
        origin=str(options.data) if options.data else f"hub:{REPOSITORY}@{options.revision}",
    )


def _prompts(
    records: list[dict[str, Any]], file: str, *, first: int | None = None, prefix: str = ""
) -> tuple[Prompt, ...]:
    """Rows of `full` from `first` on, or rows of another set with ids `prefix`-number."""
    prompts = []
    for i, row in enumerate(records):
        prompt = prompt_from_record(row, where=f"{file}, row {i}", default_id="")
        if first is None:
            prompts.append(replace(prompt, id=f"{prefix}-{i:03d}"))
        else:
            author = f"author-{(first + i) // AUTHOR_ROWS:03d}"
            prompts.append(replace(prompt, id=f"tofu-{first + i:04d}", source=author))
    return tuple(prompts)


def _same(left: list[dict[str, Any]], right: list[dict[str, Any]], name: str, other: str) -> None:
    """InputError unless both hold the same questions and answers in the same order."""
    for i, (a, b) in enumerate(zip(left, right, strict=True)):
        if (a["question"], a["answer"]) != (b["question"], b["answer"]):
            raise InputError(
                f"TOFU files disagree: row {i} of {name} is not row {i} of {other}; take all files from one download."
            )


def _refusals(data: Path | None) -> tuple[str, ...]:
    """The published "I don't know" answers where idontknow.jsonl is in the directory; they are not on the hub."""
    path = data / "idontknow.jsonl" if data else None
    if path is None or not path.exists():
        return ()
    return tuple(line.strip() for line in read_text(path).splitlines() if line.strip())


for _split, _size in FORGET_ROWS.items():
    add(
        f"tofu/{_split}",
        f"TOFU, forget {_size // AUTHOR_ROWS} of 200 fictitious authors ({_size} questions).",
        partial(load_tofu, split=_split),
        repository=REPOSITORY,
        paraphrased=True,
        paper="Maini et al. 2024, arXiv 2401.06121",
        formula="model utility (harmonic mean of nine), forget quality (p of a KS test of truth ratios), membership attacks",
        rows=("33",),
    )
