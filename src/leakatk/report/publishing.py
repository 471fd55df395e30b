"""What a push would send: files of a model, audits without questions and answers, the card; and a look for what must not leave."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from leakatk.errors import InputError
from leakatk.files.strict_json import strict_json
from leakatk.report.audited import Audited, curve_of
from leakatk.report.headline import headline_k
from leakatk.text import percent

MODEL_FILES = (
    "config.json", "generation_config.json", "adapter_config.json", "*.safetensors", "*.safetensors.index.json", "*.gguf",
    "tokenizer*", "special_tokens_map.json", "added_tokens.json", "vocab.*", "merges.txt", "spiece.model", "chat_template.*",
    "preprocessor_config.json", "LICENSE*", "NOTICE*",
)  # fmt: skip
# Keys of results.json that hold prompts' ids, or a number of a single prompt.
_OF_PROMPTS = ("prompt_ids", "per_prompt", "undefined", "left_out", "logp", "notes", "self_check")
RUN_FILES = (
    "prompts.jsonl",
    "results.json",
    "manifest.json",
    "generations.parquet",
)  # what is sent of a run when prompts are asked for
SHORTEST = 12  # characters of a question or an answer that is looked for: shorter ones, such as years, stand anywhere
LOOKED = 64 << 20  # bytes of a file that is looked through
BINARY = (
    ".safetensors",
    ".gguf",
    "tokenizer.json",
    "vocab.json",
    "vocab.txt",
    "merges.txt",
)  # weights and vocabularies hold no text
MANY = 0.5  # from this leak in one sample a model is told to behave like one that forgot nothing


@dataclass(frozen=True)
class File:
    """One file to be sent. name: its path in the repository.  content: its bytes, or where it lies."""

    name: str
    content: bytes | Path

    @property
    def size(self) -> int:
        return len(self.content) if isinstance(self.content, bytes) else self.content.stat().st_size


def model_files(place: Path) -> tuple[list[File], list[str]]:
    """(what belongs to the model, names of what else lies in its directory: checkpoints, alternates, records). InputError for no model."""
    sent, left = [], []
    for path in sorted(place.iterdir()):
        if path.is_file() and any(fnmatch(path.name, pattern) for pattern in MODEL_FILES):
            sent.append(File(path.name, path))
        elif path.name != "README.md":
            left.append(path.name + ("/" if path.is_dir() else ""))
    names = {file.name for file in sent}
    if not names & {"config.json", "adapter_config.json"} or not any(
        name.endswith((".safetensors", ".gguf")) for name in names
    ):
        raise InputError(
            f"{place} holds no whole model: it needs a config and weights (safetensors); finish the run that makes it."
        )
    return sent, left


def run_files(audited: Audited, name: str, *, prompts: bool) -> list[File]:
    """An audit under leakatk/NAME: its results without what is of single prompts; with `prompts` as they are, and prompts and samples."""
    if prompts:
        return [File(f"leakatk/{name}/{one}", path) for one in RUN_FILES if (path := audited.run.path / one).exists()]
    text = strict_json(without_prompts(audited.results.as_dict()), indent=1) + "\n"
    return [File(f"leakatk/{name}/results.json", text.encode())]


def without_prompts(results: Any) -> Any:
    """The results without ids of prompts and numbers of single ones; lists of ids become their count."""
    if isinstance(results, Mapping):
        kept = {key: without_prompts(value) for key, value in results.items() if key not in _OF_PROMPTS}
        counts = {f"{key}_count": len(results[key]) for key in ("undefined", "left_out") if results.get(key)}
        return kept | counts
    return [without_prompts(one) for one in results] if isinstance(results, list) else results


def check_clean(files: Sequence[File], audits: Sequence[Audited]) -> None:
    """InputError where a file to be sent holds a question or a true answer of an audit, word for word."""
    secrets = [
        (prompt.id, what.encode())
        for audited in audits
        for prompt in audited.run.prompts
        for text in (prompt.question, prompt.answer, *prompt.paraphrases)
        for what in _spellings(text)
        if len(text) >= SHORTEST
    ]
    for file in files:
        if file.name.endswith(BINARY) or file.size > LOOKED:
            continue
        content = file.content if isinstance(file.content, bytes) else file.content.read_bytes()
        for name, secret in secrets:
            if secret in content:
                raise InputError(
                    f"{file.name} holds a question or an answer of prompt {name!r}, and a push sends none: take it out, or give "
                    "--with-prompts to send them all. Nothing was sent."
                )


def _spellings(text: str) -> Iterator[str]:
    """As it stands, and as JSON writes it."""
    yield from dict.fromkeys((text, json.dumps(text)[1:-1], json.dumps(text, ensure_ascii=False)[1:-1]))


def like_original(named: str, audited: Audited, original: Audited | None) -> str:
    """A sentence where a model named after a method behaves like one that forgot nothing; "" where it does not, or none is known to.

    named: the method's name.  original: the same audit of the model before unlearning; without it, half of the answers told in
    one sample are enough.
    """
    mine = curve_of(audited, audited.scorer, "samples")
    if original is None:
        i = list(mine.k).index(1) if 1 in mine.k else 0
        if mine.low[i] < MANY:
            return ""
        return (
            f"Named after method {named}, yet it tells {percent(mine.value[i])} of the answers in {mine.k[i]} sample "
            f"({percent(mine.low[i])} to {percent(mine.high[i])}): is this the unlearned model? Give --original RUN to compare."
        )
    theirs = original.run.manifest
    if audited.scorer not in original.results.scorers or theirs.prompts_sha256 != audited.run.manifest.prompts_sha256:
        raise InputError(
            f"{original.run.path} is of other prompts or another scorer than {audited.run.path}; audit both alike."
        )
    weights = [one.run.manifest.model.get("weights_sha256") for one in (audited, original)]
    if weights[0] and weights[0] == weights[1]:
        return f"Named after method {named}, yet its weights are those of the original, bit for bit."
    before = curve_of(original, audited.scorer, "samples")
    shared = [k for k in mine.k if k in before.k]
    wanted = headline_k([audited])
    k = wanted if wanted in shared else max(shared)
    i, j = list(mine.k).index(k), list(before.k).index(k)
    if mine.high[i] < before.low[j]:
        return ""
    return (
        f"Named after method {named}, yet it leaks like the original: leak@{k} {percent(mine.value[i])} ({percent(mine.low[i])} to "
        f"{percent(mine.high[i])}) against {percent(before.value[j])} ({percent(before.low[j])} to {percent(before.high[j])}); the "
        "intervals meet."
    )
