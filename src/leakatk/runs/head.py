"""Head of a run directory: its manifest and its prompts, written first and checked before anything else."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from leakatk import workdir
from leakatk.errors import InputError, RunError
from leakatk.files import tables as files
from leakatk.prompts import Prompt, check_unique, from_record, record
from leakatk.runs.manifest import Manifest, prompts_hash

OTHERWISE = "choose another directory"


def check_prompts(prompts: Sequence[Prompt], manifest: Manifest) -> None:
    check_unique(prompts)
    if prompts_hash(prompts) != manifest.prompts_sha256:
        raise InputError("The manifest was made for other prompts; make it with Manifest.create(prompts=...) of these.")
    for prompt in prompts:
        try:
            prompts_to_jsonl([prompt]).encode()
        except UnicodeEncodeError:
            raise InputError(
                f"Prompt {prompt.id!r} holds a surrogate, which is no valid text; save its file as UTF-8."
            ) from None


def prompts_to_jsonl(prompts: Sequence[Prompt]) -> str:
    return "".join(json.dumps(record(prompt), ensure_ascii=False) + "\n" for prompt in prompts)


def refuse_foreign(path: Path) -> None:
    """RunError unless the directory is a run, is empty, or is what a run killed at its very start left."""
    if (path / "manifest.json").exists():
        read_manifest(path)  # refuses one that is not ours
    workdir.refuse_foreign(path, "run", ("manifest.json",), begun=("prompts.jsonl", "generations"))


def read_manifest(path: Path) -> Manifest:
    return Manifest.from_json(files.read_text(path / "manifest.json", OTHERWISE), where=str(path / "manifest.json"))


def read_head(path: Path) -> tuple[Manifest, list[Prompt]]:
    if not (path / "manifest.json").exists():
        raise RunError(f"{path} is no run directory: it has no manifest.json; give one made by a leakatk run.")
    manifest = read_manifest(path)
    try:
        lines = files.read_text(path / "prompts.jsonl", OTHERWISE).split("\n")
        prompts = [from_record(json.loads(line)) for line in lines if line]
    except (json.JSONDecodeError, TypeError, AttributeError, KeyError, ValueError, RecursionError):
        prompts = []
    if not prompts or prompts_hash(prompts) != manifest.prompts_sha256:
        raise RunError(f"{path / 'prompts.jsonl'} is not the file this run was made with; restore it from a copy.")
    return manifest, prompts
