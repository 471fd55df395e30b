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
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import numpy as np

from leakatk import checksums
from leakatk.errors import InputError, RunError, UnknownNameError
from leakatk.reading import check_shape, rows_of
from leakatk.reading import parse_json as parse_json
from leakatk.reading import read_text as read_text
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


def read_kept(path: Path, remedy: str = "delete it and run the same command again") -> Any:
    """A JSON file that this library keeps for itself. RunError when it is damaged; remedy: what helps besides a copy."""
    checksums.verify(path, remedy)
    try:
        return parse_json(read_text(path), path)
    except InputError as error:
        raise RunError(f"{error} It is a file that leakatk keeps: restore it from a copy, or {remedy}.") from None


def read_records(path: str | Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """(line number, object) for each row of a file: see `reading.rows_of`."""
    return ((number, row) for number, _, row in rows_of(path))


def columns_from(specs: Sequence[str]) -> dict[str, str]:
    """{"text": "MyQ"} from ["question=MyQ"]: which column of a file holds which field. InputError for an unknown field."""
    fields = {name: field for field, names in COLUMNS.items() for name in names}
    found: dict[str, str] = {}
    for spec in specs:
        name, equals, column = (part.strip() for part in spec.partition("="))
        if not equals or not column:
            raise InputError(f"--column {spec!r}: write FIELD=NAME, such as question=MyQuestion.")
        if name not in fields:
            raise UnknownNameError("field of a prompt", name, fields)
        if fields[name] in found:
            raise InputError(f"--column {spec!r}: {name} is given twice.")
        found[fields[name]] = column
    return found


def prompt_from_record(
    row: Mapping[str, Any],
    *,
    where: str,
    default_id: str,
    columns: Mapping[str, str] | None = None,
    strict: bool = True,
) -> Prompt:
    """One record with any of the accepted column names (`COLUMNS`) as a Prompt. `where` starts the error messages.

    columns: field -> the column that holds it, instead of those, or before those when not strict.
    """
    named = columns or {}

    def names(field: str) -> tuple[str, ...]:
        mine = (named[field],) if field in named else ()
        return mine if mine and strict else (*mine, *COLUMNS[field])

    def pick(field: str) -> Any:
        value = next((row[name] for name in names(field) if row.get(name) is not None), None)
        # An empty cell of a table is no value; a question or an answer must be one.
        return None if value == "" and field not in ("text", "answer") else value

    values: dict[str, Any] = {}
    for field in ("text", "answer"):
        value = pick(field)
        if value is None:
            check_shape(row, where)
            if empty := [name for name in names(field) if name in row]:
                raise InputError(
                    f"{where}: the {empty[0]} is null; every prompt needs one: fill it in, or leave this line out."
                )
            raise InputError(
                f"{where}: no {field}; expected a column named {' or '.join(names(field))}, "
                f"found {', '.join(map(str, row)) or 'none'}.{_hint(field, names(field), row)}"
            )
        if not isinstance(value, str) or not value.strip():
            raise InputError(
                f"{where}: the {COLUMNS[field][0]} must be a non-empty string, found {value!r:.60}; "
                "fill it in, or leave this line out."
            )
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


def _hint(field: str, names: Sequence[str], row: Mapping[str, Any]) -> str:
    """Which column may have been meant, and how to name it."""
    there = [name for name in row if isinstance(name, str)]
    near = dict.fromkeys(close for name in names for close in get_close_matches(name, there, n=2, cutoff=0.6))
    if not near:
        return f" Name yours with --column {COLUMNS[field][0]}=NAME." if there else ""
    return f" Did you mean {' or '.join(near)}? Then give --column {COLUMNS[field][0]}={next(iter(near))}."


def load_prompts(path: str | Path, columns: Mapping[str, str] | None = None, *, strict: bool = True) -> list[Prompt]:
    """Read prompts from JSONL, a JSON list, CSV, TSV or Parquet: question | prompt, answer, and optionally id, facts ...

    columns: field of `Prompt` -> the column that holds it, where that has a name of its own (`columns_from`); unless strict,
    a file may also use the usual names. Rows without an id are numbered from 0 in file order. Raises InputError for a missing, empty, truncated or wrongly shaped file, for
    a column that is not there, and for duplicate ids.

    >>> [prompt.id for prompt in load_prompts("forget.jsonl")]
    ['p0', 'p1', 'p2']
    """
    columns = columns or {}
    prompts: list[Prompt] = []
    seen: dict[str, str] = {}
    there: set[str] = set()
    known = {*(name for names in COLUMNS.values() for name in names), *columns.values(), "messages", "conversations"}
    for _, place, row in rows_of(path, known):
        there.update(row)
        prompt = prompt_from_record(row, where=place, default_id=str(len(prompts)), columns=columns, strict=strict)
        if prompt.id in seen:
            raise InputError(f"{place}: id {prompt.id!r} already stands on {seen[prompt.id]}; ids must be unique.")
        seen[prompt.id] = place.removeprefix(f"{path}, ")
        prompts.append(prompt)
    if not prompts:
        raise InputError(f"{path} holds no prompts; it needs one row a prompt with a question and an answer.")
    for column in columns.values() if strict else ():
        if column not in there:
            raise UnknownNameError(f"column of {path}", column, there)
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
    if CONFIG in names and ours(directory / CONFIG):
        names.remove(CONFIG)
    return names


def ours(config: Path) -> bool:
    """Whether a command wrote this file of resolved options; a pipe of that name is not even opened."""
    if not config.is_file():
        return False
    with config.open("rb") as file:
        return file.read(len(CONFIG_MARK)) == CONFIG_MARK.encode()


def occupied(directory: str | Path) -> bool:
    """Whether a directory holds anything that counts, so that a new run must not start in it."""
    return bool(contents(directory))
