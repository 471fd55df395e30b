"""Rehearsal on disk: a run that was killed does not ask the original again."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from leakatk.files.strict_json import strict_json
from leakatk.files.writing import read_kept, write_kept
from leakatk.models.loaded import LoadedModel
from leakatk.prompts import Prompt, from_record, record
from leakatk.unlearning.rehearsal.budget import Budget
from leakatk.unlearning.rehearsal.own import OWN_QUESTIONS, rehearsal_prompts
from leakatk.workdir import compared, made_otherwise

VERSION = 2  # of how the original is asked


def stored_rehearsal(
    path: Path,
    original: LoadedModel,
    forget: Sequence[Prompt],
    retain: Sequence[Prompt],
    *,
    budget: Budget,
    max_new_tokens: int = 64,
    seed: int = 0,
    questions: int = OWN_QUESTIONS,
    quiet: bool = False,
) -> tuple[list[Prompt], dict[str, Any]]:
    """`rehearsal_prompts` and what asking cost (`Budget.record`), from the file where they are there already.

    RunError where the file is of another rehearsal.
    """
    texts = strict_json([[record(p) for p in part] for part in (forget, retain)])
    wanted: dict[str, Any] = {
        "version": VERSION,
        "original": original.fingerprint,
        "prompts": hashlib.sha256(texts.encode()).hexdigest(),
        "tokens": budget.record()["tokens"],
        "max_new_tokens": max_new_tokens,
        "questions": questions,
        "seed": seed,
    }
    if path.exists():
        found = read_kept(path)
        there: Mapping[str, Any] = found["made"]
        if differ := [line for _, line in compared(there, wanted)]:
            raise made_otherwise(path.parent, "a rehearsal", differ)
        return [from_record(row) for row in found["kept"]], found["asked"]
    kept = rehearsal_prompts(
        original,
        forget,
        retain,
        max_new_tokens=max_new_tokens,
        seed=seed,
        quiet=quiet,
        budget=budget,
        questions=questions,
    )
    asked = {**budget.record(), "says": budget.says()}
    write_kept(path, strict_json({"made": wanted, "asked": asked, "kept": [record(p) for p in kept]}))
    return kept, asked
