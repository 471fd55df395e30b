"""The two records everything else passes around, and the files they live in.

A `Prompt` has an id; a `Generation` has (prompt id, sample index). Arrays are keyed by them: order never carries meaning.
"""

from __future__ import annotations

import dataclasses
import json
import math
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from leakatk import checksums
from leakatk.errors import InputError, RunError, first_line
from leakatk.workdir import OWN, make


@dataclass(frozen=True, slots=True)
class Asked:
    """What is put to the model, where it is more than a question.

    text: the question as it is put.  turns: earlier (question, answer) turns of the conversation.  begin: words that
    the answer is made to start with; what the model adds is the generation.

    >>> print(Asked("And when?", turns=(("Where was Ada born?", "In Zorvik."),), begin="In"))
    Q: Where was Ada born?
    A: In Zorvik.
    Q: And when?
    A: In ...
    """

    text: str
    turns: tuple[tuple[str, str], ...] = ()
    begin: str = ""

    def __str__(self) -> str:
        if not self.turns and not self.begin:
            return self.text
        lines = [line for question, answer in self.turns for line in (f"Q: {question}", f"A: {answer}")]
        return "\n".join([*lines, f"Q: {self.text}", *([f"A: {self.begin} ..."] if self.begin else [])])

    @property
    def characters(self) -> int:
        return len(self.text) + len(self.begin) + sum(map(len, (part for turn in self.turns for part in turn)))


@dataclass(frozen=True, slots=True)
class Prompt:
    """One question about what is to be forgotten (or kept), and the truth.

    id: unique in its set.  text: the question as asked.  answer: the true answer (the reference of every scorer).
    paraphrases: other wordings of the question.  paraphrased_answer, perturbed_answers: TOFU's truth-ratio answers.
    facts: key values of the answer; the `fact` scorer asks for all of them.  source: the author, person or document it
    belongs to ("" if unknown); intervals can cluster on it.  asked: what a probe puts to the model in place of `text`;
    scorers read `text`.

    >>> Prompt("p0", "Where was Ada born?", "Ada was born in Zorvik.", facts=("Zorvik",)).answer
    'Ada was born in Zorvik.'
    """

    id: str
    text: str
    answer: str
    paraphrases: tuple[str, ...] = ()
    paraphrased_answer: str = ""
    perturbed_answers: tuple[str, ...] = ()
    facts: tuple[str, ...] = ()
    source: str = ""
    asked: Asked | None = None

    @property
    def question(self) -> Asked:
        """What is put to the model."""
        return Asked(self.text) if self.asked is None else self.asked


@dataclass(frozen=True, slots=True)
class Generation:
    """Sample number `sample` of prompt `prompt_id`.

    token_ids: generated ids, the end token included when it was drawn.  logprob: sum over token_ids of log p under the
    effective decoding distribution (after temperature, top-k, top-p ...); NaN where an engine cannot give it.
    finish: "stop" (end token or stop string) or "length".  reasoning: what the model thought before `text`, between its
    own think marks or in a server's reasoning field; "" where it does not think. `text` never holds it.

    >>> Generation("p0", sample=3, text="In Zorvik.", token_ids=(5, 2), logprob=-1.5, finish="stop").sample
    3
    """

    prompt_id: str
    sample: int
    text: str
    token_ids: tuple[int, ...]
    logprob: float
    finish: str
    reasoning: str = ""


# Accepted column names, in order of preference; the first is the one we write.
COLUMNS: Mapping[str, tuple[str, ...]] = {
    "text": ("question", "prompt", "text"),
    "answer": ("answer", "ground_truth", "gt"),
    "paraphrases": ("paraphrases", "paraphrased_question"),
    "paraphrased_answer": ("paraphrased_answer",),
    "perturbed_answers": ("perturbed_answer", "perturbed_answers"),
    "facts": ("facts",),
    "id": ("id",),
    "source": ("source", "author"),
}


def read_text(path: str | Path) -> str:
    """The file as UTF-8 text. InputError says what is wrong with the file and what to do."""
    path = Path(path)
    try:
        content = path.read_bytes()
        return content.decode("utf-8-sig")
    except FileNotFoundError:
        raise InputError(f"{path}: no such file; check the path.") from None
    except IsADirectoryError:
        raise InputError(f"{path} is a directory; give the file inside it.") from None
    except PermissionError:
        raise InputError(f"{path}: no permission to read it; check its owner and mode.") from None
    except UnicodeDecodeError as error:
        if content.startswith(b"\x1f\x8b"):
            raise InputError(f"{path}: compressed with gzip; unpack it first with `gunzip -c {path} > FILE`.") from None
        wide = content.startswith((b"\xff\xfe", b"\xfe\xff"))
        what, name = ("UTF-16, not UTF-8", "UTF-16") if wide else (f"not UTF-8 (byte {error.start})", "LATIN1")
        raise InputError(
            f"{path}: {what}; save the file as UTF-8, such as with `iconv -f {name} -t UTF-8 {path} > FILE`."
        ) from None


def parse_json(text: str, where: object) -> Any:
    """JSON that somebody wrote. InputError, starting with `where`, for what is none, or nested or long beyond reading."""
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        line = f", line {error.lineno}" if "\n" in text else ""
        raise InputError(f"{where}: not valid JSON ({error.msg}{line}); is it cut short?") from None
    except RecursionError:
        raise InputError(
            f"{where}: not usable JSON (nested too deeply); each record must be one plain object."
        ) from None
    except ValueError as error:  # a whole number of thousands of digits
        raise InputError(f"{where}: not usable JSON ({first_line(error)}).") from None


def read_kept(path: Path, remedy: str = "delete it and run the same command again") -> Any:
    """A JSON file that this library keeps for itself. RunError when it is damaged; remedy: what helps besides a copy."""
    checksums.verify(path, remedy)
    try:
        return parse_json(read_text(path), path)
    except InputError as error:
        raise RunError(f"{error} It is a file that leakatk keeps: restore it from a copy, or {remedy}.") from None


def read_records(path: str | Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """(line number, object) for each line of a JSONL file; a .json file holding a list of objects works too."""
    text = read_text(path)
    if not text.strip():
        raise InputError(f"{path} is empty; it needs one JSON object a line.")
    if text.lstrip().startswith("["):
        rows = parse_json(text, path)
        yield from enumerate((_as_object(path, i + 1, row) for i, row in enumerate(rows)), start=1)
        return
    # Split on newlines alone: JSON strings may hold other separators such as U+2028.
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        where = f"{path}, line {number}"
        try:
            row = parse_json(line, where)
        except InputError:
            if line.lstrip().startswith("{"):
                raise
            raise InputError(
                f'{where}: not valid JSON, found {line[:40]!r}; write one object a line, {{"question": ..., "answer": ...}}.'
            ) from None
        yield number, _as_object(path, number, row)


def _as_object(path: str | Path, number: int, row: object) -> dict[str, Any]:
    if not isinstance(row, dict):
        raise InputError(
            f'{path}, line {number}: expected a JSON object such as {{"question": ..., "answer": ...}}, found {row!r:.40}.'
        )
    return row


def prompt_from_record(row: Mapping[str, Any], *, where: str, default_id: str) -> Prompt:
    """One record with any of the accepted column names (`COLUMNS`) as a Prompt. `where` starts the error messages."""

    def pick(field: str) -> Any:
        return next((row[name] for name in COLUMNS[field] if row.get(name) is not None), None)

    values: dict[str, Any] = {}
    for field in ("text", "answer"):
        value = pick(field)
        if value is None:
            raise InputError(
                f"{where}: no {field}; expected a column named {' or '.join(COLUMNS[field])}, found {', '.join(row) or 'none'}."
            )
        if not isinstance(value, str) or not value.strip():
            raise InputError(f"{where}: the {COLUMNS[field][0]} must be a non-empty string, found {value!r:.60}.")
        values[field] = value
    identity = pick("id")
    if not isinstance(identity, str | int | float | None):
        raise InputError(f"{where}: the id must be a string or a number, found {identity!r:.60}.")
    for field in ("paraphrases", "perturbed_answers", "facts"):
        value = pick(field)
        items = [value] if isinstance(value, str) else (value or [])
        if not isinstance(items, list) or not all(isinstance(item, str) for item in items):
            raise InputError(f"{where}: {field} must be a string or a list of strings, found {value!r:.60}.")
        values[field] = tuple(items)
    prompt = Prompt(
        id=default_id if identity is None else str(identity),
        paraphrased_answer=str(pick("paraphrased_answer") or ""),
        source=str(pick("source") or ""),
        **values,
    )
    try:
        json.dumps(record(prompt), ensure_ascii=False).encode()
    except UnicodeEncodeError:
        raise InputError(
            f"{where}: holds half of a character (a lone surrogate), which is no valid text; write the file as UTF-8."
        ) from None
    return prompt


def load_prompts(path: str | Path) -> list[Prompt]:
    """Read prompts from JSONL (or a JSON list): question | prompt, answer, and optionally id, paraphrases, facts ...

    Rows without an id are numbered from 0 in file order. Raises InputError for a missing, empty, truncated or
    wrongly shaped file and for duplicate ids.

    >>> [prompt.id for prompt in load_prompts("forget.jsonl")]
    ['p0', 'p1', 'p2']
    """
    prompts: list[Prompt] = []
    seen: dict[str, int] = {}
    for number, row in read_records(path):
        prompt = prompt_from_record(row, where=f"{path}, line {number}", default_id=str(len(prompts)))
        if prompt.id in seen:
            raise InputError(
                f"{path}, line {number}: id {prompt.id!r} already stands on line {seen[prompt.id]}; ids must be unique."
            )
        seen[prompt.id] = number
        prompts.append(prompt)
    if not prompts:
        raise InputError(f"{path} holds no prompts; it needs one JSON object a line with a question and an answer.")
    return prompts


def record(prompt: Prompt) -> dict[str, Any]:
    """The prompt as plain values; `asked` only where a probe has set it, so that other prompts keep their hashes."""
    row = dataclasses.asdict(prompt)
    if row["asked"] is None:
        del row["asked"]
    return row


def save_prompts(prompts: Iterable[Prompt], path: str | Path) -> None:
    """Write prompts as JSONL in TOFU's column names; `load_prompts` reads them back unchanged.

    InputError for a probe's prompt: these columns cannot hold what it asks.

    >>> save_prompts([Prompt("a", "Who?", "Bo.")], "prompts.jsonl")
    >>> load_prompts("prompts.jsonl")[0].answer
    'Bo.'
    """
    lines = []
    for prompt in prompts:
        if prompt.asked is not None:
            raise InputError(f"Prompt {prompt.id!r} was made by a probe; save the prompt that it was made from.")
        row = {COLUMNS[key][0]: value for key, value in record(prompt).items() if value not in ("", (), [])}
        lines.append(json.dumps(row, ensure_ascii=False))
    write_atomic(path, "".join(line + "\n" for line in lines))


def check_unique(prompts: Sequence[Prompt]) -> None:
    """InputError when the set is empty or two prompts share an id."""
    if not prompts:
        raise InputError("The prompt set is empty; give at least one prompt.")
    ids = [prompt.id for prompt in prompts]
    if len(set(ids)) != len(ids):
        double = next(i for i in ids if ids.count(i) > 1)
        raise InputError(f"Two prompts share the id {double!r}; ids must be unique.")


def plain(value: Any) -> Any:
    """As JSON can hold it: NumPy values as Python's, tuples as lists, NaN and infinities as null."""
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, np.ndarray):
        return plain(value.tolist())
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, np.generic):
        return plain(value.item())
    return None if isinstance(value, float) and not math.isfinite(value) else value


def strict_json(value: Any, *, indent: int | None = None, default: Callable[[Any], Any] | None = None) -> str:
    """`plain` as JSON that every reader takes. default: what becomes of other objects (as in json.dumps)."""
    return json.dumps(plain(value), indent=indent, allow_nan=False, default=default)


def write_atomic(path: str | Path, content: str | bytes) -> None:
    """Write a whole file or nothing: a temporary file beside it, flushed to disk, then renamed over it.

    A link stays a link; into what is no file, such as a pipe, it is written as it comes. InputError names the file when the
    disk is full or the place cannot be written; what was there before stays. Where the directory keeps checksums
    (`leakatk.checksums`), that of the file joins them.
    """
    _write(Path(path), content, kept=False)


def write_kept(path: str | Path, content: str | bytes) -> None:
    """`write_atomic` for a file that is read back (`read_kept`): its directory keeps checksums from now on.

    A directory that is made for it is readable by its owner alone.
    """
    _write(Path(path), content, kept=True)


def _write(path: Path, content: str | bytes, *, kept: bool) -> None:
    data = content.encode() if isinstance(content, str) else content
    if path.exists() and not path.is_file() and not path.is_dir():
        try:
            path.write_bytes(data)
        except OSError as error:
            raise InputError(f"Cannot write to {path}: {error.strerror or error}; choose another place.") from error
        return
    path = path.resolve() if path.is_symlink() else path
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        if kept:
            make(path.parent)
        else:
            path.parent.mkdir(parents=True, exist_ok=True)
        _flushed(temporary, data)
        if kept or checksums.indexed(path.parent):
            checksums.add(path, data)  # known before it is there: a kill in between leaves the version before
        try:
            temporary.replace(path)
        except FileNotFoundError:  # another machine's writer, which cannot see this process, took it for a leftover
            _flushed(temporary, data)
            temporary.replace(path)
    except OSError as error:
        with suppress(OSError):
            temporary.unlink()
        if isinstance(error, FileExistsError | NotADirectoryError | IsADirectoryError):
            raise InputError(
                f"Cannot write {path}: a file stands where a directory is needed, or the other way round; choose another "
                "place. Nothing was overwritten."
            ) from error
        raise InputError(
            f"Cannot write {path}: {error.strerror or error}; free some space or choose another place. Nothing was overwritten."
        ) from error


def _flushed(path: Path, data: bytes) -> None:
    with path.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def leftover(name: str) -> bool:
    """Whether a file of this name is what a `write_atomic` killed half-way leaves: part of no result."""
    return name.startswith(".") and name.endswith(".tmp")


CONFIG = "config.toml"
CONFIG_MARK = "# leakatk "  # how the file of the resolved options begins


def contents(directory: str | Path) -> set[str]:
    """What a directory holds, but for leftovers, lock and checksums, and the resolved options that a command wrote before
    it began.
    """
    directory = Path(directory)
    there = [path.name for path in directory.iterdir()] if directory.is_dir() else []
    names = {name for name in there if not leftover(name)} - OWN
    if CONFIG in names and (directory / CONFIG).read_bytes().startswith(CONFIG_MARK.encode()):
        names.remove(CONFIG)
    return names


def occupied(directory: str | Path) -> bool:
    """Whether a directory holds anything that counts, so that a new run must not start in it."""
    return bool(contents(directory))
