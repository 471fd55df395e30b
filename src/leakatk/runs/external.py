"""External generations, made by other tools: which prompt each belongs to, and what was left out, counted."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from leakatk.errors import InputError
from leakatk.files.reading import values_of
from leakatk.prompts import Prompt, prompt_from_record
from leakatk.runs.outputs import Said, said_in
from leakatk.runs.shards import clean_text

UNMATCHED = "of no prompt"
NUMBERED = re.compile(r"[-_:/#. ](?:sample|epoch)?[-_]?\d+$")  # what a request's own name may add to the prompt's


@dataclass(frozen=True)
class External:
    """What a file of generations holds. texts: of each prompt, in file order; prompts may have different numbers of them.

    form: of the file, in words.  rows: how many it has.  left_out: reason -> how many rows or answers are in no number.
    unanswered: ids of the prompts given that have no answer here.
    """

    path: str
    prompts: Sequence[Prompt]
    texts: Sequence[Sequence[str]]
    form: str
    rows: int
    left_out: Mapping[str, int]
    unanswered: Sequence[str] = ()

    def counts(self) -> dict[str, Any]:
        """As plain values."""
        return {
            "form": self.form, "rows": self.rows, "prompts": len(self.prompts), "answers": sum(map(len, self.texts)),
            "left_out": dict(self.left_out), "unanswered": list(self.unanswered),
        }  # fmt: skip

    def says(self) -> str:
        """What was read and what was left out, in one or two sentences."""
        said = f"{self.path}: {self.form}, {self.rows:,} rows; {sum(map(len, self.texts)):,} answers of {len(self.prompts):,} prompts."
        if self.left_out:
            said += f" Left out: {', '.join(f'{count:,} {reason}' for reason, count in self.left_out.items())}."
        if self.unanswered:
            total = len(self.prompts) + len(self.unanswered)
            said += f" Without any answer, and in no number: {len(self.unanswered):,} of {total:,} prompts (the first: {self.unanswered[0]})."
        return said


def read_outputs(path: str | Path, prompts: Sequence[Prompt] = ()) -> External:
    """The generations in a file of any form that `runs.outputs` knows, or in a log of Inspect.

    prompts: what was asked, for files that do not hold the true answers. A row belongs to the prompt of its id or its question;
    where rows are texts alone, to the prompt of the same line. Without prompts, question and true answer stand in the file.
    Rows without an answer, and those of no prompt, are counted. InputError, naming the line, for anything else.
    """
    path = Path(path)
    said = list(_said(path))
    if not said:
        raise InputError(f"{path} holds no generations; it needs one JSON object a line.")
    left_out = Counter(reason for one in said for reason in one.left_out)
    found = _matched(said, prompts, left_out, path) if prompts else _own(said)
    by_id = {prompt.id: (prompt, texts) for prompt, texts in found if texts}
    kept = [by_id[prompt.id] for prompt in prompts if prompt.id in by_id] if prompts else list(by_id.values())
    forms = list(dict.fromkeys(one.form for one in said))
    external = External(
        str(path), [prompt for prompt, _ in kept], [[clean_text(text) for text in texts] for _, texts in kept],
        " and ".join(forms), len(said), dict(left_out), [prompt.id for prompt in prompts if prompt.id not in by_id],
    )  # fmt: skip
    if not kept:
        hint = (
            " A row is matched by the prompt's id (custom_id of a batch) or its question."
            if left_out[UNMATCHED]
            else ""
        )
        raise InputError(f"{external.says()} Nothing is left to be scored.{hint}")
    return external


def _said(path: Path) -> Iterator[Said]:
    from leakatk.runs.inspect_logs import is_log, said_in_log

    if is_log(path):
        yield from said_in_log(path)
        return
    kept: object = None
    for number, place, value in values_of(path):
        if isinstance(value, dict) and "resps" in value:  # lm-eval writes a sample once for each of its filters
            kept = value.get("filter") if kept is None else kept
            if value.get("filter") != kept:
                yield Said(place, "samples of lm-eval", [], id=str(number), left_out=["again, under another filter"])
                continue
        yield from said_in(value, place)


def _own(said: Sequence[Said]) -> list[tuple[Prompt, list[str]]]:
    """By the prompts that the rows themselves hold: rows of one id are of one prompt, or of one question where there is none."""
    found: dict[str, tuple[Prompt, list[str]]] = {}
    ids: set[str] = set()
    for one in said:
        if one.left_out and not one.texts and not one.row:
            continue
        if not one.row:
            raise InputError(
                f"{one.place}: {one.form}, without the true answers; give the prompts with --prompts FILE, a file of questions and answers."
            )
        whole = "responses" in one.row  # of a prompt, all in one row
        key = one.id if one.id is not None else f"\0{len(found)}" if whole else one.question
        if key in found and not whole:
            found[key][1].extend(one.texts)
            continue
        try:
            prompt = prompt_from_record(
                one.row, where=one.place, default_id=str(len(found)) if one.id is None else one.id
            )
        except InputError as error:
            if whole:
                raise
            raise InputError(f"{error} Or give the prompts with --prompts FILE.") from None
        if prompt.id in ids:
            raise InputError(f"{one.place}: id {prompt.id!r} occurs twice; ids must be unique.")
        ids.add(prompt.id)
        found[key] = (prompt, [*one.texts])
    return list(found.values())


def _matched(
    said: Sequence[Said], prompts: Sequence[Prompt], left_out: Counter[str], path: Path
) -> list[tuple[Prompt, list[str]]]:
    """By the prompts given."""
    found: list[tuple[Prompt, list[str]]] = [(prompt, []) for prompt in prompts]
    bare = [one for one in said if one.id is None and not one.question and not one.row]
    if bare:
        if len(bare) != len(said) or len(said) != len(prompts):
            raise InputError(
                f"{path} has {len(said):,} rows of texts alone and there are {len(prompts):,} prompts: of which prompt is each? Write one "
                "row a prompt in the order of the prompts, a list of its texts, or rows with an id."
            )
        for one, (_, texts) in zip(said, found, strict=True):
            texts += one.texts
        return found
    by_id = {prompt.id: row for row, prompt in enumerate(prompts)}
    by_question: dict[str, list[int]] = {}
    for row, prompt in enumerate(prompts):
        by_question.setdefault(prompt.question.strip(), []).append(row)
    for one in said:
        place = _row_of(one, by_id, by_question)
        if place is None:
            left_out[UNMATCHED] += 1
        else:
            found[place][1].extend(one.texts)
    return found


def _row_of(one: Said, by_id: Mapping[str, int], by_question: Mapping[str, Sequence[int]]) -> int | None:
    """The prompt of a row: of its id, where somebody chose that, and else of its question."""
    if one.id is not None and one.sure:
        if one.id in by_id:
            return by_id[one.id]
        if (name := NUMBERED.sub("", one.id)) in by_id:
            return by_id[name]
    asked = one.question.strip()
    same = by_question.get(asked, ()) if asked else ()
    if len(same) == 1:
        return same[0]
    # As a chat template or an instruction puts it, where that holds one of the questions and no other.
    within = (
        [row for question, rows in by_question.items() if question in asked for row in rows]
        if asked and not same
        else []
    )
    return within[0] if len(within) == 1 else None
