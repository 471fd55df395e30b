"""LKF, Lesser-Known Facts (Singh et al., 2025): questions to forget and to keep, each in several wordings.

Every subset is a data set of its own on the hub, of rows question, answer; those for the evaluation have further columns, each another
wording. Give --data DIR with a file or a folder of each: forget_standard, retain_standard, forget_eval_para, retain_eval_para, and
if wanted forget_train_para and retain_train_para.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from leakatk.benchmarks.base import Benchmark, Options, add
from leakatk.benchmarks.fetch import FetchError, fetch, rows
from leakatk.errors import InputError
from leakatk.prompts import Prompt
from leakatk.scorers.text import words

OWNER = "nmndeep/LKF-"
COMMAND = f"hf download {OWNER}SUBSET --repo-type dataset --local-dir DIR/SUBSET"


def load_lkf(options: Options) -> Benchmark:
    """forget and retain are the standard questions, with the evaluation's wordings as `paraphrases`.

    sets: "forget_train" and "retain_train", the wordings to train on, where they are there.  InputError where the files do not belong together.
    """
    if options.data is None:
        raise FetchError(f"lkf is read from a directory: run `{COMMAND}` for each subset, then give DIR with --data.")
    parts, sets = {}, {}
    for side in ("forget", "retain"):
        parts[side] = _worded(options.data, side)
        path = _there(options.data, f"{side}_train_para")
        if path is not None:
            read = rows(path, columns=("question", "answer"))
            sets[f"{side}_train"] = tuple(
                Prompt(f"{side}-train-{i:04d}", *_pair(path, i, row)) for i, row in enumerate(read)
            )
    return Benchmark("lkf", parts["forget"], parts["retain"], sets=sets, origin=str(options.data))


def _there(data: Path, subset: str) -> Path | None:
    try:
        return fetch(OWNER + subset, subset, f"{subset}/data/train", data=data, revision="")
    except FetchError:
        if not data.is_dir():
            raise
        return None


def _file(data: Path, subset: str) -> Path:
    path = _there(data, subset)
    if path is None:
        raise FetchError(
            f"{data} has no {subset}; run `{COMMAND.replace('SUBSET', subset).replace('DIR', str(data))}`."
        )
    return path


def _worded(data: Path, side: str) -> tuple[Prompt, ...]:
    """The standard questions of a side, each with the wordings of the evaluation's row of the same question."""
    path, other = _file(data, f"{side}_standard"), _file(data, f"{side}_eval_para")
    worded: dict[tuple[str, ...], tuple[str, ...]] = {}
    for i, row in enumerate(rows(other, columns=("question", "answer"))):
        question, _ = _pair(other, i, row)
        texts = [value for name, value in row.items() if name not in ("question", "answer") and isinstance(value, str)]
        worded[tuple(words(question))] = tuple(
            text for text in dict.fromkeys(texts) if text.strip() and text != question
        )
    prompts = []
    for i, row in enumerate(rows(path, columns=("question", "answer"))):
        question, answer = _pair(path, i, row)
        found = worded.get(tuple(words(question)))
        if found is None:
            raise InputError(
                f"{other} has no wordings of {path}, row {i + 1}: {question!r:.60}; take all files from one download."
            )
        prompts.append(Prompt(f"{side}-{i:04d}", question, answer, paraphrases=found))
    return tuple(prompts)


def _pair(path: Path, i: int, row: dict[str, Any]) -> tuple[str, str]:
    question, answer = row.get("question"), row.get("answer")
    if not (isinstance(question, str) and question.strip() and isinstance(answer, str) and answer.strip()):
        raise InputError(
            f"{path}, row {i + 1}: question and answer must be non-empty strings, found {[question, answer]!r:.80}."
        )
    return question, answer


add(
    "lkf",
    "LKF: lesser-known facts to forget and to keep, each in several wordings, from its files.",
    load_lkf,
    paper="Singh et al. 2025 (JensUn), arXiv 2509.02820",
    rows=("77",),
    reading="written from the authors' scripts and not run on their files, which lie on the hub alone; every further text column of an "
    "evaluation row counts as a wording, as it does there",
    example="leakatk audit MODEL --benchmark lkf --data DIR --probe paraphrase --out runs/forgot",
)
