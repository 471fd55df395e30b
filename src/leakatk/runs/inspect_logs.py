"""Inspect's logs, read with the library itself: an epoch of a sample is one answer. Extra `inspect`."""

from __future__ import annotations

import re
import zipfile
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from leakatk.errors import InputError, first_line
from leakatk.files.reading import MAX_WHOLE, opened
from leakatk.hush import hushed
from leakatk.prompts import COLUMNS
from leakatk.runs.outputs import Said

FORM = "a log of Inspect"
_JSON = re.compile(rb'^(\xef\xbb\xbf)?\s*\{\s*"version"\s*:\s*\d+\s*,\s*"status"\s*:')


def is_log(path: Path) -> bool:
    """Whether a file is a log of Inspect, by how it begins. InputError for what is no file."""
    with opened(path, MAX_WHOLE << 2) as file:
        start = file.read(200)
    return bool(_JSON.match(start)) or (start.startswith(b"PK\x03\x04") and path.suffix == ".eval")


def need_inspect(what: str) -> None:
    """InputError with the command that installs the library where it is not there."""
    if find_spec("inspect_ai") is None:
        raise InputError(f'{what} needs inspect_ai: run `pip install "leak-at-k[inspect]"`.')


def said_in_log(path: Path) -> Iterator[Said]:
    """Each sample of a log (.eval or .json). InputError for a log that the library cannot read, or one without samples."""
    need_inspect(f"{path}: {FORM}; reading it")
    with hushed():
        from inspect_ai.log import read_eval_log

        try:
            if path.suffix == ".eval":
                with zipfile.ZipFile(path) as packed:
                    if sum(one.file_size for one in packed.infolist()) > MAX_WHOLE << 2:
                        raise InputError(
                            f"{path} unpacks to more than {MAX_WHOLE >> 18} MB, the most that is read; log fewer samples a file."
                        )
            log = read_eval_log(str(path), resolve_attachments=True)
        except InputError:
            raise
        except Exception as error:  # whatever the library raises about a file that is none of its own
            raise InputError(f"{path}: not a readable log of Inspect ({first_line(error)}); save it again.") from None
    if not log.samples:
        raise InputError(
            f"{path}: a log of Inspect without samples (its status: {log.status}); log samples, or run it again."
        )
    for sample in log.samples:
        yield _said(sample, f"{path}, sample {sample.id}, epoch {sample.epoch}")


def _said(sample: Any, place: str) -> Said:
    asked = sample.input
    question = asked if isinstance(asked, str) else next((m.text for m in reversed(asked) if m.role == "user"), "")
    target = sample.target if isinstance(sample.target, str) else next(iter(sample.target), "")
    kept = {name for names in COLUMNS.values() for name in names} & set(sample.metadata or {})
    row = {
        **{name: sample.metadata[name] for name in kept},
        "id": str(sample.id),
        "question": question,
        "answer": target,
    }
    texts = [] if sample.error else _texts(sample)
    reason = "failed in Inspect" if sample.error else "" if texts else "without an answer"
    return Said(
        place,
        FORM,
        texts,
        id=str(sample.id),
        sure=False,
        question=question,
        row=row,
        left_out=[reason] if reason else [],
    )


def _texts(sample: Any) -> list[str]:
    """The choices of the output; where the model spoke several times, as an agent does, all that it said is one answer."""
    before = 0 if isinstance(sample.input, str) else sum(message.role == "assistant" for message in sample.input)
    spoken = [message.text for message in sample.messages if message.role == "assistant"][before:]
    if len(spoken) > 1:
        return ["\n\n".join(text for text in spoken if text)]
    return [choice.message.text for choice in sample.output.choices] if sample.output else []
