"""Lessons of relearning: which prompts or texts it trains on, none of them measured, and what they give away."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache

from leakatk.attacks.base import shuffled
from leakatk.errors import InputError
from leakatk.prompts import Known, Prompt
from leakatk.synthesis.base import written
from leakatk.synthesis.topics import Topic
from leakatk.synthesis.wordings import similarity

# What each choice of lessons needs.
NEEDS = {
    "forget": ("forget", "seen", "unseen"),
    "retain": ("retain",),
    "text": ("text",),
    "syntax": ("retain", "forget"),
    "topic": ("forget", "seen", "unseen"),
    "written": ("forget", "auxiliary writer"),
}
NEAREST = 4  # retain prompts that each measured one has in the lessons of `syntax`


def template_of(prompt: Prompt) -> str:
    """The question with its source's name left open, so that questions of one form are one."""
    return prompt.question.replace(prompt.source, "*") if prompt.source else prompt.question


def lessons(on: str, known: Known) -> list[Prompt]:
    """All that it may train on."""
    if on == "text":
        return passages(known.text)
    if on == "written":
        return passages([text for _, text in written_about(known.forget, known.auxiliary["writer"])])
    if on == "syntax":
        return nearest(known.unseen or known.forget, known.retain)
    if on == "topic":
        sources = {prompt.source for prompt in known.unseen}
        return [prompt for prompt in known.seen if prompt.source in sources]
    return list(known.seen if on == "forget" else known.retain)


@lru_cache(maxsize=4)
def written_about(forget: tuple[Prompt, ...], model: str) -> tuple[tuple[str, str], ...]:
    """(source, passage) as a language model writes them; kept, since every part and the retrained model are to get the same."""
    return tuple((row.source, row.answer) for row in written(Topic(), forget, Known(auxiliary={"writer": model})).rows)


def nearest(measured: Sequence[Prompt], pool: Sequence[Prompt], count: int = NEAREST) -> list[Prompt]:
    """Prompts about others in the same form: for each measured question the `count` of another source that are most like it.

    In the order of the pool; of equals the first ones. InputError where there is none of another source.
    """
    kept: set[str] = set()
    for prompt in measured:
        others = [one for one in pool if not one.source or one.source != prompt.source]
        others.sort(key=lambda one: -similarity(one.question, prompt.question))
        kept.update(one.id for one in others[:count])
    if not kept:
        raise InputError("Attack relearn:on=syntax needs retain prompts about others than those that are measured.")
    return [one for one in pool if one.id in kept]


def by_template(known: Known, seed: int, folds: int) -> list[Known]:
    """Parts of which each holds whole templates, so that what is seen of a measured source is of other templates.

    InputError with fewer templates than folds, or without the names of sources, which tell what a question is about.
    """
    who = "Attack relearn:on=topic"
    known.need(who, "forget")
    if nameless := [prompt.id for prompt in known.forget if not prompt.source]:
        raise InputError(
            f"{who} needs the source of each forget prompt, whom or what it is about; {len(nameless)} have none (the first: "
            f"{nameless[0]!r}): add a column source."
        )
    templates = {prompt.id: template_of(prompt) for prompt in known.forget}
    order = shuffled(sorted(set(templates.values())), f"fold {seed}")
    if not 2 <= folds <= len(order):
        raise InputError(f"{who} needs a template for each of its {folds} folds; the forget prompts have {len(order)}.")
    fold = {template: place % folds for place, template in enumerate(order)}
    parts = []
    for number in range(folds):
        unseen = tuple(prompt for prompt in known.forget if fold[templates[prompt.id]] == number)
        seen = tuple(prompt for prompt in known.forget if fold[templates[prompt.id]] != number)
        parts.append(replace(known, seen=seen, unseen=unseen))
        if not {prompt.source for prompt in seen} & {prompt.source for prompt in unseen}:
            raise InputError(f"{who} finds no source with two templates; take on=forget.")
    return parts


def passages(texts: Sequence[str]) -> list[Prompt]:
    """Texts as rows for `relearn.AS_TEXT`. InputError for one of fewer than two words."""
    rows = []
    for number, text in enumerate(texts, 1):
        first, _, rest = text.strip().partition(" ")
        if not rest.strip():
            raise InputError(f"Text {number} has fewer than two words and cannot be trained on: {text!r:.60}.")
        rows.append(Prompt(f"text/{number}", first, rest.strip()))
    return rows


def given_away(texts: Sequence[str], measured: Sequence[Prompt]) -> dict[str, float]:
    """How much of the measured answers stands in an attack's texts: minimal information is what an attack should bring.

    prompts: the share of prompts of which every key value (without any: the whole answer) stands in one of the texts.  words: the
    share of the words of the answers, those of their own questions apart, that stand anywhere in the texts.
    """
    there = [_words(text) for text in texts]
    lines = [f" {' '.join(words)} " for words in there]
    vocabulary = {word for words in there for word in words}
    whole, found, total = 0, 0, 0
    for prompt in measured:
        parts = [f" {' '.join(_words(part))} " for part in (prompt.facts or (prompt.answer,))]
        whole += any(all(part in line for part in parts) for line in lines)
        own = set(_words(prompt.answer)) - set(_words(prompt.question))
        found += len(own & vocabulary)
        total += len(own)
    return {"prompts": whole / max(1, len(measured)), "words": found / max(1, total)}


def _words(text: str) -> list[str]:
    return re.findall(r"\w+", text.lower())
