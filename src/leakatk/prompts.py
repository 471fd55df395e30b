"""Prompts and generations, the records that everything passes around, and the files they live in.

A `Prompt` has an id; a `Generation` has (prompt id, sample index). Arrays are keyed by them: order never carries meaning.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from leakatk.errors import InputError, UnknownNameError
from leakatk.files import forms
from leakatk.files.reading import check_shape, rows_of
from leakatk.files.writing import write_atomic


@dataclass(frozen=True, slots=True)
class Query:
    """What is put to the model, where it is more than a question.

    >>> print(Query("And when?", turns=(("Where was Ada born?", "In Zorvik."),), begin="In"))
    Q: Where was Ada born?
    A: In Zorvik.
    Q: And when?
    A: In ...
    """

    text: str
    """The question as it is put."""
    turns: tuple[tuple[str, str], ...] = ()
    """Earlier (question, answer) turns of the conversation."""
    begin: str = ""
    """Words that the answer is made to start with; what the model adds is the generation."""
    system: str = ""
    """Put after the system message that all prompts have, for this one alone; before a plain prompt it is a paragraph."""

    def __str__(self) -> str:
        if not self.turns and not self.begin and not self.system:
            return self.text
        lines = [f"System: {self.system}"] if self.system else []
        lines += [line for question, answer in self.turns for line in (f"Q: {question}", f"A: {answer}")]
        return "\n".join([*lines, f"Q: {self.text}", *([f"A: {self.begin} ..."] if self.begin else [])])

    @property
    def characters(self) -> int:
        own = len(self.text) + len(self.begin) + len(self.system)
        return own + sum(map(len, (part for turn in self.turns for part in turn)))


@dataclass(frozen=True, slots=True)
class Prompt:
    """One question about what is to be forgotten (or kept), and the truth.

    >>> Prompt("p0", "Where was Ada born?", "Ada was born in Zorvik.", facts=("Zorvik",)).answer
    'Ada was born in Zorvik.'
    """

    id: str
    """Unique in its set."""
    question: str
    """The question as asked."""
    answer: str
    """The true answer, which every scorer compares with."""
    paraphrases: tuple[str, ...] = ()
    """Other wordings of the question."""
    paraphrased_answer: str = ""
    """The true answer in other words, of TOFU's truth ratio."""
    perturbed_answers: tuple[str, ...] = ()
    """Wrong answers of the same form, of TOFU's truth ratio."""
    facts: tuple[str, ...] = ()
    """Key values of the answer; the `fact` scorer asks for all of them."""
    source: str = ""
    """The author, person or document it belongs to, "" if unknown; intervals can cluster on it."""
    asked: Query | None = None
    """What a probe puts to the model in place of `question`; scorers read `question`."""
    choices: tuple[str, ...] = ()
    """The options of a multiple-choice question as they stand lettered in it."""
    right: int = -1
    """The index of the right one; -1 where there are none."""

    @property
    def text(self) -> str:
        """The former name of `question`."""
        return self.question

    @property
    def query(self) -> Query:
        """What is put to the model."""
        return Query(self.question) if self.asked is None else self.asked


@dataclass(frozen=True, slots=True)
class Generation:
    """Sample number `sample` of prompt `prompt_id`.

    >>> Generation("p0", sample=3, text="In Zorvik.", token_ids=(5, 2), logprob=-1.5, finish_reason="stop").sample
    3
    """

    prompt_id: str
    """Whose answer it is."""
    sample: int
    """Number of the sample, from 0."""
    text: str
    """The answer, without thoughts."""
    token_ids: tuple[int, ...]
    """Generated ids, the end token included when it was drawn."""
    logprob: float
    """Sum over token_ids of log p under the effective decoding distribution (after temperature, top-k, top-p ...); NaN
    where an engine cannot give it."""
    finish_reason: str
    """"stop" (end token or stop string) or "length"."""
    reasoning: str = ""
    """What the model thought before `text`, between its own think marks or in a server's reasoning field; "" where it does
    not think."""

    @property
    def finish(self) -> str:
        """The former name of `finish_reason`."""
        return self.finish_reason


@dataclass(frozen=True, slots=True)
class Known:
    """What guards, attacks and writers may be given. One that needs what is not here is an error before anything is computed."""

    forget: tuple[Prompt, ...] = ()
    """What is to be forgotten."""
    retain: tuple[Prompt, ...] = ()
    """What is to be kept; disjoint from `forget`."""
    holdout: tuple[Prompt, ...] = ()
    """Like `forget`, but no model was trained on it."""
    neighbours: tuple[Prompt, ...] = ()
    """Near `forget`, and to be answered all the same; a guard is measured on them and fitted on none."""
    seen: tuple[Prompt, ...] = ()
    """The part of `forget` that a cross-fitted attack is trained on."""
    unseen: tuple[Prompt, ...] = ()
    """The part of `forget` that it is measured on."""
    retrained: str = ""
    """Directory or hub id of the model that never saw `forget`."""
    original: str = ""
    """Directory or hub id of the model before unlearning."""
    auxiliary: Mapping[str, str] = dataclasses.field(default_factory=dict)
    """Name -> directory or hub id of another model: a small clean or dirty one, a reinforced one."""
    encoder: str = ""
    """Directory or hub id of a sentence encoder."""
    text: tuple[str, ...] = ()
    """General text without labels."""
    refused: tuple[Prompt, ...] = ()
    """Prompts that the model refuses to answer: harmful ones, or ones about what nobody can know."""
    margins: Mapping[str, float] = dataclasses.field(default_factory=dict)
    """Prompt id -> the mean margin of its answer under a model that never saw `forget`, as a datamodel predicts it."""

    def need(self, who: str, *names: str) -> None:
        """InputError naming the first of these fields, or "auxiliary NAME", that is missing, and how to give it."""
        for name in names:
            kind, _, key = name.partition(" ")
            if kind == "auxiliary":
                if key not in self.auxiliary:
                    there = ", ".join(sorted(self.auxiliary)) or "none"
                    raise InputError(
                        f"{who} needs an auxiliary model named {key!r} (given: {there}); give it with --auxiliary {key}=MODEL."
                    )
            elif not getattr(self, name):
                raise InputError(f"{who} needs {_NEEDED[name]}")


# What is missing, and the option that gives it.
_NEEDED = {
    "forget": "the forget prompts; give them with --forget or --benchmark.",
    "retain": "retain prompts; give them with --retain or --benchmark.",
    "holdout": "prompts that no model was trained on; take a benchmark that has them.",
    "neighbours": "prompts near the forgotten ones that must be answered; give them with --neighbours FILE.",
    "seen": "a part of the forget prompts to train on; give at least two forget prompts.",
    "unseen": "a part of the forget prompts to measure on; give at least two forget prompts.",
    "retrained": "the model trained without the forget data; give it with --retrained MODEL.",
    "original": "the model before unlearning; give it with --original MODEL.",
    "encoder": "a sentence encoder; give it with --encoder MODEL.",
    "text": "general text; give it with --text FILE.",
    "refused": "prompts that the model refuses to answer; give them with --refused FILE.",
    "margins": "the margins that a datamodel predicts; give them with --margins FILE.",
}


# Accepted column names, in order of preference; the first is the one we write.
COLUMNS: Mapping[str, tuple[str, ...]] = {
    "question": ("question", "prompt", "text"),
    "answer": ("answer", "ground_truth", "gt"),
    "paraphrases": ("paraphrases", "paraphrased_question"),
    "paraphrased_answer": ("paraphrased_answer",),
    "perturbed_answers": ("perturbed_answer", "perturbed_answers"),
    "facts": ("facts",),
    "id": ("id",),
    "source": ("source", "author"),
    "choices": ("choices",),
    "right": ("right_choice",),
}


def columns_from(specs: Sequence[str]) -> dict[str, str]:
    """{"question": "MyQ"} from ["question=MyQ"]: which column of a file holds which field. InputError for an unknown field."""
    fields = {name: field for field, names in COLUMNS.items() for name in names} | {"messages": "messages"}
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
        return None if value == "" and field not in ("question", "answer") else value

    values: dict[str, Any] = {}
    for field in ("question", "answer"):
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
    if (right := pick("right")) is not None:  # options without it are read from the question, as they always were
        options = pick("choices")
        if not isinstance(options, list) or not all(isinstance(option, str) for option in options):
            raise InputError(f"{where}: choices must be a list of strings, found {options!r:.60}.")
        if type(right) is not int or not 0 <= right < len(options) or options[right] != values["answer"]:
            raise InputError(
                f"{where}: right_choice must be the index of the answer among the choices, found {right!r:.20}."
            )
        values |= {"choices": tuple(options), "right": right}
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
    """Read prompts from JSONL, a JSON list, CSV, TSV, Parquet or Arrow: question | prompt, answer, and optionally id, facts ...

    Rows may also have the form of a data set for chats or instructions (`files.forms`). A chat is a prompt for each of its
    answers, ID/1, ID/2 ... where it has several, each asked after what goes before it (`Prompt.asked`).
    columns: field of `Prompt` -> the column that holds it, where that has a name of its own (`columns_from`); unless strict,
    a file may also use the usual names. Rows without an id are numbered from 0 in file order. Raises InputError for a missing,
    empty, truncated or wrongly shaped file, for a column that is not there, and for duplicate ids.

    >>> [prompt.id for prompt in load_prompts("forget.jsonl")]
    ['p0', 'p1', 'p2']
    """
    columns = columns or {}
    prompts: list[Prompt] = []
    seen: dict[str, str] = {}
    there: set[str] = set()
    known = {*(name for names in COLUMNS.values() for name in names), *columns.values(), *forms.COLUMNS, *forms.CHATS}
    for _, place, row in rows_of(path, known):
        there.update(row)
        parts, first = forms.exchanges(row, place, columns, strict=strict), str(len(prompts))
        for number, part in enumerate(parts, start=1):
            prompt = prompt_from_record(part.row, where=place, default_id=first, columns=columns, strict=strict)
            if len(parts) > 1:
                prompt = dataclasses.replace(prompt, id=f"{prompt.id}/{number}", source=prompt.source or prompt.id)
            if part.turns or part.system:
                asked = Query(prompt.question, turns=part.turns, system=part.system)
                prompt = dataclasses.replace(prompt, asked=asked)
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
    """The prompt as plain values; `asked`, its `system` and `choices` only where they are set, so that other prompts keep their hashes."""
    row = dataclasses.asdict(prompt)
    row = {"id": row.pop("id"), "text": row.pop("question"), **row}  # the names that hashes of former versions hold
    if row["asked"] is None:
        del row["asked"]
    elif not row["asked"]["system"]:
        del row["asked"]["system"]
    if not row["choices"]:
        del row["choices"], row["right"]
    return row


def from_record(row: Mapping[str, Any]) -> Prompt:
    """The prompt that `record` made plain."""
    fields: dict[str, Any] = {name: tuple(value) if isinstance(value, list) else value for name, value in row.items()}
    if asked := fields.pop("asked", None):
        fields["asked"] = Query(**{**asked, "turns": tuple((question, answer) for question, answer in asked["turns"])})
    return Prompt(question=fields.pop("text"), **fields)


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
        row = {
            COLUMNS["question" if key == "text" else key][0]: value
            for key, value in record(prompt).items()
            if value not in ("", (), [])
        }
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
