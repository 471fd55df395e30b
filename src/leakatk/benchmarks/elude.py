"""ELUDe: real people to be forgotten whole, and their neighbours on Wikipedia (Choi et al. 2024).

Two files, forget_qa and retain_qa, of rows entity (whom it is about, or whose neighbour), question, answer, and wordings of the answer.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from leakatk.benchmarks.base import Benchmark, Options, add
from leakatk.benchmarks.fetch import fetch, pinned, rows
from leakatk.errors import InputError
from leakatk.prompts import Prompt, prompt_from_record

REPOSITORY = "6rightjade/ELUDe"
PEOPLE = (
    "Donald Trump", "Elizabeth II", "Barack Obama", "Cristiano Ronaldo", "Michael Jackson", "Elon Musk", "Lady Gaga", "Adolf Hitler",
    "Eminem", "Lionel Messi", "Justin Bieber", "Freddie Mercury", "Kim Kardashian", "Johnny Depp", "Steve Jobs", "Dwayne Johnson",
    "Michael Jordan", "Taylor Swift", "Stephen Hawking", "Kanye West",
)  # fmt: skip


def load_elude(options: Options, *, entity: str) -> Benchmark:
    """What is asked about one person, and about that person's neighbours: those for training in retain, for testing in retain_held.

    From the hub, or from --data: a directory with the published folders forget_qa and retain_qa, or with a file for each part, such
    as forget_qa.jsonl and retain_qa.jsonl; retain_qa_test alone may be missing.
    """
    parts = {"forget": ("forget_qa", "train"), "retain": ("retain_qa", "train"), "retain_held": ("retain_qa", "test")}
    sets: dict[str, tuple[Prompt, ...]] = {}
    origin = ""
    for name, (folder, split) in parts.items():
        path = _file(options, folder, split)
        if path is None:
            continue
        options, origin = pinned(options, path), origin or str(path.parent)
        records = rows(path, columns=("entity", "question", "answer"))
        sets[name] = _of(entity, records, path, f"elude-{folder}-{split}")
    if not sets["forget"]:
        raise InputError(f"The forget_qa of ELUDe has no row about {entity!r}; is this the published file?")
    return Benchmark(
        name=f"elude/{entity.replace(' ', '_')}",
        forget=sets["forget"],
        retain=sets["retain"],
        retain_held=sets.get("retain_held", ()),
        origin=origin if options.data else f"hub:{REPOSITORY}@{options.revision}",
    )


def _file(options: Options, folder: str, split: str) -> Path | None:
    """The file of a part; None where a directory has the training part alone."""
    data, name, flat = options.data, f"{folder}/{split}", folder if split == "train" else f"{folder}_{split}"
    if data is None:
        return fetch(REPOSITORY, name, data=None, revision=options.revision, hub_suffix="-00000-of-00001.parquet")
    if split != "train" and not any(data.glob(f"{name}*")) and not any(data.glob(f"{flat}.*")):
        return None
    return fetch(REPOSITORY, name, flat, data=data, revision=options.revision)


def _of(entity: str, records: Sequence[dict[str, Any]], path: Path, prefix: str) -> tuple[Prompt, ...]:
    return tuple(
        prompt_from_record({**row, "source": entity}, where=f"{path}, row {i + 1}", default_id=f"{prefix}-{i:05d}")
        for i, row in enumerate(records)
        if row["entity"] == entity
    )


for _entity in PEOPLE:
    add(
        f"elude/{_entity.replace(' ', '_')}",
        f"ELUDe: everything about {_entity}, beside neighbours on Wikipedia.",
        partial(load_elude, entity=_entity),
        repository=REPOSITORY,
        paper="Choi et al. 2024, arXiv 2406.12329",
        rows=("86",),
    )
