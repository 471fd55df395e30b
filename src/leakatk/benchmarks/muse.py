"""MUSE News and Books. Shi et al., "MUSE: Machine Unlearning Six-Way Evaluation for Language Models", 2024.

forget and retain are the knowledge questions (KnowMem), sets["verbmem"] the passages to continue (VerbMem), texts the
passages of PrivLeak. Files: as in the datasets muse-bench/MUSE-News and MUSE-Books, or flat (forget_qa.json,
verbmem_forget.json, privleak_forget.json ...). ROUGE in MUSE is F1 without the stemmer.

muse/news:text is what MUSE unlearns, its forget corpus as passages; muse/news:scal-1 to 4 are forget corpora of growing
size (scalability: one run each), muse/news:sust-1 to 4 requests that come one after the other (sustainability).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from leakatk.benchmarks.base import Benchmark, Options, add
from leakatk.benchmarks.base import is_passages as is_passages
from leakatk.benchmarks.fetch import fetch, pinned, rows, texts
from leakatk.errors import InputError
from leakatk.prompts import Prompt, prompt_from_record

REPOSITORIES = {"news": "muse-bench/MUSE-News", "books": "muse-bench/MUSE-Books"}
KNOWMEM_TOKENS = 32  # new tokens of a knowledge answer
VERBMEM_TOKENS = 128  # new tokens of a continuation
QUESTIONS, EXAMPLES = 100, 10  # published rows
FOLDS = 4
PASSAGE_WORDS, GIVEN_WORDS = 256, 8  # of a passage to unlearn; words of it that are given
METRICS = ("verbmem", "knowmem", "membership", "privleak", "over_unlearned", "reference_attack")
SCORERS = ("rouge-l:stem=no",)
_WHAT = {"text": "the forget corpus", "scal": "growing corpus", "sust": "request in sequence"}
FOLD_NAMES = tuple(f"{kind}-{i}" for kind in ("scal", "sust") for i in range(1, FOLDS + 1))


def few_shot_template(examples: Sequence[Prompt]) -> str:
    """The published KnowMem prompt: solved questions, then the one asked; the space after "Answer:" is part of it."""
    shots = "".join(f"Question: {e.question}\nAnswer: {e.answer}\n\n" for e in examples)
    return shots + "Question: {question}\nAnswer: "


def load_muse(options: Options, *, corpus: str) -> Benchmark:
    """Knowledge questions to forget and to keep, passages to continue, and texts for the membership attack.

    templates["forget"] and ["retain"] hold the few-shot prompts; sets["retain_verbmem"] is there where it was published.
    """
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
        metrics=METRICS,
        scorers=SCORERS,
        origin=str(options.data) if options.data else f"hub:{REPOSITORIES[corpus]}@{options.revision}",
    )


def load_passages(options: Options, *, corpus: str, part: str) -> Benchmark:
    """A corpus to unlearn, cut into passages; retain holds those of the first retain corpus. Asked as plain text.

    part: "text", "scal-1" ... "sust-4". Each passage is `PASSAGE_WORDS` words, the first `GIVEN_WORDS` of which are the
    prompt (our reading: the published code trains on every token of 2,048-token passages).
    """
    kind, _, number = part.partition("-")
    names = ("raw/forget", "raw_forget") if part == "text" else (f"{kind}/forget_{number}", f"{kind}_forget_{number}")
    path = _get(options, corpus, *names)
    options = pinned(options, path)
    return Benchmark(
        name=f"muse/{corpus}:{part}",
        forget=passages(texts(path), f"{part}-forget"),
        retain=passages(texts(_get(options, corpus, "raw/retain1", "raw_retain1")), "retain"),
        templates={"forget": "{question}", "retain": "{question}"},
        passages=True,
        origin=str(options.data) if options.data else f"hub:{REPOSITORIES[corpus]}@{options.revision}",
    )


def passages(corpus: Sequence[str], prefix: str) -> tuple[Prompt, ...]:
    """Texts as prompts to continue: their first words, and the rest. What is too short to be continued is left out."""
    found = []
    for number, text in enumerate(corpus):
        words = text.split(" ")
        for start in range(0, len(words), PASSAGE_WORDS):
            given, rest = (
                " ".join(words[start:][:GIVEN_WORDS]), " ".join(words[start : start + PASSAGE_WORDS][GIVEN_WORDS:])
            )  # fmt: skip
            if given.strip() and rest.strip():
                found.append(
                    Prompt(f"{prefix}-{number:04d}-{start // PASSAGE_WORDS:03d}", given, rest, source=str(number))
                )
    return tuple(found)


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


_FACTS: dict[str, Any] = {
    "paper": "Shi et al. 2024, arXiv 2407.06460",
    "formula": "VerbMem, KnowMem on forget and retain, PrivLeak",
}
for _corpus in REPOSITORIES:
    add(
        f"muse/{_corpus}",
        f"MUSE {_corpus.title()}: knowledge questions, passages to continue, privacy texts.",
        partial(load_muse, corpus=_corpus),
        repository=REPOSITORIES[_corpus],
        rows=("7",),
        **_FACTS,
    )
    for _part in ("text", *(FOLD_NAMES if _corpus == "news" else ())):  # the folds were published for News
        add(
            f"muse/{_corpus}:{_part}",
            f"MUSE {_corpus.title()} as passages to unlearn: {_WHAT[_part.partition('-')[0]]} {_part[5:]}".rstrip()
            + ".",
            partial(load_passages, corpus=_corpus, part=_part),
            repository=REPOSITORIES[_corpus],
            **_FACTS,
            passages=True,
        )
