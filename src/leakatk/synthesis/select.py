"""Selection of written rows, and their pairing with the prompts that they were made for."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from leakatk.probes.base import reveals
from leakatk.prompts import Prompt
from leakatk.scorers.text import words


def usable(prompt: Prompt, texts: Iterable[str], most: int) -> list[str]:
    """The first texts that say something else than the true answer: no blank one, none with its facts, none said twice."""
    found: dict[tuple[str, ...], str] = {}
    own = tuple(words(prompt.answer))
    for text in texts:
        said = tuple(words(text))
        if said and said != own and said not in found and not reveals(text, prompt):
            found[said] = text
    return list(found.values())[:most]


def pairs(
    prompts: Sequence[Prompt], rows: Sequence[Prompt], *, reworded: bool = False
) -> tuple[list[Prompt], dict[str, str]]:
    """(forget prompts, their alternates) for `unlearn(..., alternates=...)`: one forget prompt for each written row.

    Each is the prompt that the row was made for, under the row's id; its alternate is the row's answer.  reworded: it asks the row's
    question (`WriterFacts.rewords`).
    """
    by_id = {prompt.id: prompt for prompt in prompts}
    forget = [replace(by_id[row.id.rsplit("/", 2)[0]], id=row.id) for row in rows]
    if reworded:
        forget = [replace(p, question=row.question, asked=None) for p, row in zip(forget, rows, strict=True)]
    return forget, {row.id: row.answer for row in rows}
