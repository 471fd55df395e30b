"""RWKU, KnowUnDo and PISTOL files: each a mapping of its columns onto prompts.

RWKU (Jin et al., 2024): one folder a person with forget_level1..3 and neighbor_level1..2, rows query, answer, level,
type, subject. KnowUnDo (Tian et al., 2024): unlearn and retention, {"train": [...], "val": [...]} of rows text, labels.
PISTOL (Qiu et al., 2024): one file of contracts, rows question, answer, edge. Give --data; PISTOL also loads from the hub.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

from leakatk.benchmarks.base import Benchmark, Options, add
from leakatk.benchmarks.fetch import FetchError, fetch, pinned, rows
from leakatk.errors import InputError
from leakatk.files.reading import parse_json, read_text
from leakatk.prompts import Prompt

RWKU_REPOSITORY = "jinzhuoran/RWKU"
KNOWUNDO_REPOSITORY = "zjunlp/KnowUnDo"
PISTOL_REPOSITORY = "xinchiqiu/PISTOL"


def load_rwku(options: Options) -> Benchmark:
    """One target's probes from its folder (DIR/Target/1_Stephen_King): level 1 fill-in, 2 question, 3 adversarial.

    forget holds levels 1 to 3, retain the neighbour questions; sets gives each file alone.
    """
    data = _directory(options, "rwku", f"hf download {RWKU_REPOSITORY} --repo-type dataset --local-dir DIR")
    sets: dict[str, tuple[Prompt, ...]] = {}
    for name in ("forget_level1", "forget_level2", "forget_level3", "neighbor_level1", "neighbor_level2"):
        path = fetch(RWKU_REPOSITORY, name, data=data, revision=options.revision)
        records = rows(path, columns=("query", "answer"))
        sets[name] = tuple(_prompt(path, name, i, row, "query", "answer", "subject") for i, row in enumerate(records))
    return Benchmark(
        name=f"rwku/{data.name}",
        forget=tuple(p for name, prompts in sets.items() if name.startswith("forget") for p in prompts),
        retain=tuple(p for name, prompts in sets.items() if name.startswith("neighbor") for p in prompts),
        sets=sets,
        origin=str(data),
    )


def load_knowundo(options: Options) -> Benchmark:
    """Unlearn scope and retention scope of one domain (DIR/privacy or DIR/copyright).

    forget and retain are the train rows; sets holds the validation rows as forget_val and retain_val.
    """
    data = _directory(options, "knowundo", f"hf download {KNOWUNDO_REPOSITORY} --repo-type dataset --local-dir DIR")
    sets: dict[str, tuple[Prompt, ...]] = {}
    for ours, file in (("forget", "unlearn"), ("retain", "retention")):
        path = fetch(KNOWUNDO_REPOSITORY, file, data=data, revision=options.revision)
        for part in ("train", "val"):
            records = _part(path, part)
            name = f"{ours}_{part}"
            sets[name] = tuple(_prompt(path, name, i, row, "text", "labels", "") for i, row in enumerate(records))
    return Benchmark(
        name=f"knowundo/{data.name}",
        forget=sets.pop("forget_train"),
        retain=sets.pop("retain_train"),
        sets=sets,
        origin=str(data),
    )


def load_pistol(options: Options, *, sample: int, forget_edge: str = "A_B") -> Benchmark:
    """Contracts as questions; the contract `forget_edge` is forgotten, the others are kept (source: the edge)."""
    path = fetch(PISTOL_REPOSITORY, f"sample_data_{sample}", data=options.data, revision=options.revision)
    options = pinned(options, path)
    records = rows(path, columns=("question", "answer", "edge"))
    prompts = [_prompt(path, "pistol", i, row, "question", "answer", "edge") for i, row in enumerate(records)]
    forget = tuple(p for p in prompts if p.source == forget_edge)
    if not forget:
        edges = ", ".join(sorted({p.source for p in prompts}))
        raise InputError(f"{path} has no contract {forget_edge!r}; its contracts: {edges}.")
    return Benchmark(
        name=f"pistol/{sample}",
        forget=forget,
        retain=tuple(p for p in prompts if p.source != forget_edge),
        origin=str(path) if options.data else f"hub:{PISTOL_REPOSITORY}@{options.revision}",
    )


def _directory(options: Options, name: str, command: str) -> Path:
    if options.data is None:
        raise FetchError(f"{name} is read from a directory: run `{command}`, then give one of its folders with --data.")
    return options.data


def _prompt(path: Path, prefix: str, i: int, row: dict[str, Any], question: str, answer: str, source: str) -> Prompt:
    values = [row.get(question), row.get(answer)]
    if not all(isinstance(value, str) and value.strip() for value in values):
        raise InputError(
            f"{path}, row {i + 1}: {question} and {answer} must be non-empty strings, found {values!r:.80}."
        )
    return Prompt(
        id=f"{prefix}-{i:04d}",
        question=str(values[0]),
        answer=str(values[1]),
        source=str(row.get(source) or "") if source else "",
    )


def _part(path: Path, part: str) -> list[dict[str, Any]]:
    """The rows of "train" or "val" of a file {"train": [...], "val": [...]} (or a list that holds that one object)."""
    content = parse_json(read_text(path), path)
    if isinstance(content, list) and len(content) == 1:
        content = content[0]
    found = content.get(part) if isinstance(content, dict) else None
    if not isinstance(found, list) or not all(isinstance(row, dict) for row in found):
        raise InputError(f"{path}: no list of rows named {part!r}.")
    return found


# Their --data is one folder of the download, so that no command can be named that gets a damaged file again in its place.
add(
    "rwku",
    "RWKU: probes about one real person, from its folder.",
    load_rwku,
    paper="Jin et al. 2024, arXiv 2406.10890",
    example="leakatk audit MODEL --benchmark rwku --data DIR --out runs/forgot",
)
add(
    "knowundo",
    "KnowUnDo: unlearn and retention scope of one domain, from its folder.",
    load_knowundo,
    paper="Tian et al. 2024, arXiv 2407.01920",
    rows=("114",),
    example="leakatk audit MODEL --benchmark knowundo --data DIR --out runs/forgot",
)
for _sample in (1, 2):
    add(
        f"pistol/{_sample}",
        f"PISTOL sample {_sample}: linked contracts.",
        partial(load_pistol, sample=_sample),
        repository=PISTOL_REPOSITORY,
        paper="Qiu et al. 2024, arXiv 2406.16810",
        rows=("58",),
    )
