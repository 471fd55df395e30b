"""MUSE News and Books (Shi et al., "MUSE: Machine Unlearning Six-Way Evaluation for Language Models", 2024).

forget and retain are the knowledge questions (KnowMem), sets["verbmem"] the passages to continue (VerbMem), texts the
passages of PrivLeak. Files: as in the datasets muse-bench/MUSE-News and MUSE-Books, or flat (forget_qa.json,
verbmem_forget.json, privleak_forget.json ...). ROUGE in MUSE is F1 without the stemmer.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Literal

from leakatk.benchmarks.base import Benchmark, Options, add
from leakatk.benchmarks.fetch import fetch, pinned, rows, texts
from leakatk.data import Prompt, prompt_from_record
from leakatk.errors import InputError

REPOSITORIES = {"news": "muse-bench/MUSE-News", "books": "muse-bench/MUSE-Books"}
KNOWMEM_TOKENS = 32  # new tokens of a knowledge answer
VERBMEM_TOKENS = 128  # new tokens of a continuation
QUESTIONS, EXAMPLES = 100, 10  # published rows
FOLDS = 4


def few_shot_template(examples: Sequence[Prompt]) -> str:
    """The published KnowMem prompt: solved questions, then the one asked."""
    shots = "".join(f"Question: {e.text}\nAnswer: {e.answer}\n\n" for e in examples)
    return shots + "Question: {question}\nAnswer:"


def load_muse(options: Options, *, corpus: str) -> Benchmark:
    """Knowledge questions to forget and to keep, passages to continue, and texts for the membership attack.

    templates["forget"] and ["retain"] hold the few-shot prompts; sets["retain_verbmem"] is there where it was published.
    """
    if options.ask != "question":
        raise InputError(f"muse/{corpus} has no published paraphrases; ask the questions as they are.")
    options = pinned(options, _get(options, corpus, "knowmem/forget_qa", "forget_qa"))
    get = partial(_get, options, corpus)
    forget = _questions(get("knowmem/forget_qa", "forget_qa"), "forget", QUESTIONS)
    retain = _questions(get("knowmem/retain_qa", "retain_qa", "knowmem/retain2_qa"), "retain", QUESTIONS)
    shots = {
        "forget": _questions(get("knowmem/forget_qa_icl", "forget_qa_icl"), "example", EXAMPLES),
        "retain": _questions(
            get("knowmem/retain_qa_icl", "retain_qa_icl", "knowmem/retain2_qa_icl"), "example", EXAMPLES
        ),
    }
    return Benchmark(
        name=f"muse/{corpus}",
        forget=forget,
        retain=retain,
        sets={"verbmem": _questions(get("verbmem/forget", "verbmem_forget"), "verbmem")},
        texts={
            "privleak_forget": texts(get("privleak/forget", "privleak_forget")),
            "privleak_retain": texts(get("privleak/retain", "privleak_retain", "privleak/retain2")),
            "privleak_holdout": texts(get("privleak/holdout", "privleak_holdout")),
        },
        templates={"verbmem": "{question}", **{name: few_shot_template(examples) for name, examples in shots.items()}},
        origin=str(options.data) if options.data else f"hub:{REPOSITORIES[corpus]}@{options.revision}",
    )


def load_folds(
    corpus: str, kind: Literal["scal", "sust"], *, data: Path | None = None, revision: str = "main"
) -> tuple[tuple[str, ...], ...]:
    """Forget texts of four folds. scal: growing forget sets, one a run. sust: requests that come one after the other."""
    if kind not in ("scal", "sust"):
        raise InputError(f"MUSE folds are scal (scalability) or sust (sustainability), got {kind!r}.")
    options = Options(data=data, revision=revision)
    return tuple(texts(_get(options, corpus, f"{kind}/forget_{i}", f"{kind}_forget_{i}")) for i in range(1, FOLDS + 1))


def _get(options: Options, corpus: str, *names: str) -> Path:
    if corpus not in REPOSITORIES:
        raise InputError(f"MUSE has the corpora {' and '.join(REPOSITORIES)}, got {corpus!r}.")
    data = options.data
    if data is not None and (data / corpus).is_dir():
        data = data / corpus
    suffix = "-00000-of-00001.parquet"
    return fetch(REPOSITORIES[corpus], *names, data=data, revision=options.revision, hub_suffix=suffix)


def _questions(path: Path, prefix: str, count: int | None = None) -> tuple[Prompt, ...]:
    records = rows(path, count=count)
    prompts = (
        prompt_from_record(row, where=f"{path}, row {i}", default_id="") for i, row in enumerate(records, start=1)
    )
    return tuple(replace(prompt, id=f"{prefix}-{i:03d}") for i, prompt in enumerate(prompts))


for _corpus in REPOSITORIES:
    add(
        f"muse/{_corpus}",
        f"MUSE {_corpus.title()}: knowledge questions, passages to continue, privacy texts.",
        partial(load_muse, corpus=_corpus),
    )
