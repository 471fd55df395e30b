"""Labels in a judge's reply: what it thinks first, drafts, explains and quotes is not its verdict.

The verdict is the last whole JSON value that labels the items: a list, an object, or one object a line.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

from leakatk.models.reasoning import split

_LONGEST = 200_000  # characters at the end of a reply that are looked at
_MOST_TRIES = 2_000  # brackets that begin no JSON
_DEEPEST = 4
_START = re.compile(r"[\[{]")
_BETWEEN = re.compile(r"[\s,;]*")


def read_labels(reply: str, count: int, labels: Mapping[int, float]) -> dict[int, float]:
    """Index of the item (from 0) -> score, from a reply that names items 1..count. Anything doubtful is left out.

    Entries may come in any order, as [{"id": "1", "label": 1}, ...], {"1": 1, ...} or one object a line. The last value that
    labels all items counts, else the last that labels any. An unknown id, a label that is not allowed and an item labelled
    twice differently do not count; nor does a value that is not whole.
    """
    last: dict[int, set[float | None]] = {}
    for group in _groups(split(reply)[1]):
        found: dict[int, set[float | None]] = {}
        for name, label in (entry for value in group for entry in _entries(value)):
            index = _whole(name)
            if index is not None and 1 <= index <= count:
                allowed = _whole(label)
                found.setdefault(index - 1, set()).add(None if allowed is None else labels.get(allowed))
        if found and (len(found) == count or len(last) < count):
            last = found
    only = {index: next(iter(values)) for index, values in last.items() if len(values) == 1}
    return {index: score for index, score in only.items() if score is not None}


def _whole(value: Any) -> int | None:
    """A whole number, as 1, "1", 1.0 or "1.0"; None for anything else."""
    if not isinstance(value, int | float | str) or isinstance(value, bool):
        return None
    try:
        number = float(value)
    except (ValueError, OverflowError):
        return None
    return int(number) if number.is_integer() else None


def _groups(text: str) -> Iterator[list[Any]]:
    """The whole JSON lists and objects of a text; objects that follow each other directly belong together."""
    text, at, tries = text[-_LONGEST:], 0, 0
    decoder = json.JSONDecoder()
    group: list[Any] = []
    while (start := _START.search(text, at)) and tries < _MOST_TRIES:
        if group and not (text[start.start()] == "{" and _BETWEEN.fullmatch(text, at, start.start())):
            yield group
            group = []
        try:
            value, end = decoder.raw_decode(text, start.start())
        except RecursionError:
            break
        except json.JSONDecodeError as error:
            if error.msg.startswith("Unterminated") or error.pos >= len(text.rstrip()):
                break  # cut short: what stands in it is no whole value
            tries, at = tries + 1, start.end()
        except ValueError:  # a number of thousands of digits
            tries, at = tries + 1, start.end()
        else:
            at = end
            group.append(value)
            if isinstance(value, list):
                yield group
                group = []
    if group:
        yield group


def _entries(value: Any, depth: int = 0) -> Iterator[tuple[Any, Any]]:
    """(id, label) pairs in a JSON value."""
    if depth > _DEEPEST:
        return
    if isinstance(value, dict) and "label" in value:
        yield value.get("id"), value["label"]
    elif isinstance(value, dict):
        for name, item in value.items():
            if isinstance(item, dict) and "label" in item and "id" not in item:
                yield name, item["label"]
            elif isinstance(item, dict | list):
                yield from _entries(item, depth + 1)
            else:
                yield name, item
    elif isinstance(value, list):
        for item in value:
            if isinstance(item, dict | list):
                yield from _entries(item, depth + 1)
