"""External generations, published by others: the `generations_n*.json` files of the Leak@k authors."""

from __future__ import annotations

from pathlib import Path

from leakatk.errors import InputError
from leakatk.files.reading import read_records
from leakatk.prompts import Prompt, prompt_from_record
from leakatk.runs.shards import clean_text


def read_generations(path: str | Path) -> tuple[list[Prompt], list[list[str]]]:
    """Prompts and, for each, its generations in file order; prompts may have different numbers of them.

    The format: one JSON object a line with prompt, ground_truth and responses, a list of objects with a `response`
    text each. Other fields (stored scores) are left aside. Prompts without an id are numbered from 0.
    Raises InputError naming the line for anything else.
    """
    prompts: list[Prompt] = []
    texts: list[list[str]] = []
    seen: set[str] = set()
    for number, row in read_records(path):
        where = f"{path}, line {number}"
        prompt = prompt_from_record(row, where=where, default_id=str(len(prompts)))
        if prompt.id in seen:
            raise InputError(f"{where}: id {prompt.id!r} occurs twice; ids must be unique.")
        responses = row.get("responses")
        if not isinstance(responses, list) or not responses:
            raise InputError(f"{where}: responses must be a non-empty list of objects with a response text.")
        for index, item in enumerate(responses):
            if not isinstance(item, dict) or not isinstance(item.get("response"), str):
                raise InputError(
                    f"{where}: responses[{index}] must be an object with a response text, got {item!r:.60}."
                )
        seen.add(prompt.id)
        prompts.append(prompt)
        texts.append([clean_text(item["response"]) for item in responses])
    if not prompts:
        raise InputError(f"{path} holds no generations; it needs one JSON object a line.")
    return prompts, texts
