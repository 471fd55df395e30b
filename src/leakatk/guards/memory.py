"""Memory of an agent: records that rest on one another, and what goes, stays or is marked when an entity is to be forgotten.

A conversation is such a memory: its turns and the paragraphs of its system message are records. The guard cuts out of it what is
about a target before the model sees it, so that what was said earlier cannot be asked back.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar, Self

import numpy as np

from leakatk.guards.base import Action, Floats
from leakatk.guards.instructions import told
from leakatk.guards.targets import Mentions, asked_about, mentions, names_in, nearest, plain, subjects
from leakatk.prompts import Known, Prompt, Query

if TYPE_CHECKING:
    from leakatk.models.loaded import LoadedModel

INVALID = "(This is no longer valid.)"
_TURN = "turn"
_SENTENCES = re.compile(r"(?<=[.!?])\s+")
NOTHING = "Nothing is remembered about {list}."


@dataclass(frozen=True)
class Record:
    """One thing remembered. of: the entities it is about.  needs: ids of the records that it was made from."""

    id: str
    of: frozenset[str] = frozenset()
    needs: tuple[str, ...] = ()


@dataclass(frozen=True)
class Memory:
    """Records by id, in their order; the block-list; and the records that are kept but not valid any more."""

    records: tuple[Record, ...]
    blocked: frozenset[str] = frozenset()
    invalid: frozenset[str] = frozenset()

    def forget(self, entities: Collection[str]) -> Memory:
        """The memory without these entities.

        Removed is a record that is about blocked entities alone, or, being about none of its own, was made from removed records
        alone. What is about others too, or was made from other records too, is shared: it stays and is invalid. So is what was
        made from an invalid record.
        """
        blocked = self.blocked | frozenset(entities)
        by_id = {record.id: record for record in self.records}
        gone: set[str] = set()
        invalid = set(self.invalid)
        changed = True
        while changed:
            changed = False
            for record in self.records:
                if record.id in gone:
                    continue
                made_from = [one for one in record.needs if one in by_id]
                lost = [one for one in made_from if one in gone]
                alone = bool(record.of) and record.of <= blocked
                orphan = not record.of and bool(made_from) and len(lost) == len(made_from)
                if alone or orphan:
                    gone.add(record.id)
                    invalid.discard(record.id)
                    changed = True
                elif record.id not in invalid and (
                    record.of & blocked or lost or any(one in invalid for one in made_from)
                ):
                    invalid.add(record.id)
                    changed = True
        return Memory(tuple(one for one in self.records if one.id not in gone), blocked, frozenset(invalid - gone))

    @property
    def index(self) -> Mapping[str, tuple[str, ...]]:
        """Entity -> ids of the valid records about it: what can be looked up."""
        found: dict[str, list[str]] = {}
        for record in self.records:
            for entity in sorted(record.of) if record.id not in self.invalid else ():
                found.setdefault(entity, []).append(record.id)
        return {entity: tuple(ids) for entity, ids in found.items()}

    def references(self, id_: str) -> int:
        """How many records were made from this one."""
        return sum(id_ in record.needs for record in self.records)


def parts_of(query: Query) -> Iterator[tuple[str, str]]:
    """(id, text) of all that a conversation remembers: paragraphs of its system message, then its turns."""
    for i, text in enumerate(filter(None, query.system.split("\n\n"))):
        yield f"system {i}", text
    for i, (question, answer) in enumerate(query.turns):
        yield f"{_TURN} {i}", f"{question} {answer}"


def memory_of(query: Query, targets: Sequence[str]) -> Memory:
    """A conversation as a memory. Entities are targets and other names; a turn without any was made from the turn before it.

    targets: as `targets.plain` gives them.
    """
    records: list[Record] = []
    for id_, text in parts_of(query):
        words = plain(text)
        of = {name for name in targets if mentions(name, words)}
        names = {plain(name) for sentence in _SENTENCES.split(text) for name in names_in(sentence)}
        of |= {name for name in names if not any(mentions(name, one) or mentions(one, name) for one in of)}
        before = records[-1].id if records and not of and id_.startswith(_TURN) else ""
        records.append(Record(id_, frozenset(of), (before,) if before.startswith(_TURN) else ()))
    return Memory(tuple(records))


def kept(query: Query, memory: Memory) -> Query:
    """The conversation with what its memory holds; an invalid record leaves a mark in its place."""
    there = {record.id for record in memory.records}

    def shown(id_: str, text: str) -> str:
        return INVALID if id_ in memory.invalid else text

    paragraphs = [shown(id_, text) for id_, text in parts_of(query) if id_ in there and not id_.startswith(_TURN)]
    turns = tuple(
        (shown(id_, question), shown(id_, answer))
        for i, (question, answer) in enumerate(query.turns)
        if (id_ := f"{_TURN} {i}") in there
    )
    return replace(query, system="\n\n".join(paragraphs), turns=turns)


@dataclass(frozen=True)
class Remembered(Mentions):
    """As `Mentions`, of the whole conversation: the message, the turns before it, and the system message."""

    def score(self, prompts: Sequence[Prompt]) -> Floats:
        def best(query: Query) -> float:
            texts = [query.text, *(text for _, text in parts_of(query))]
            return max(nearest(self.targets, text) for text in texts)

        return np.array([best(prompt.query) for prompt in prompts])


@dataclass(frozen=True)
class Forgotten(Action):
    """What the conversation remembers of a target is cut out, and a system message says that nothing is remembered."""

    needs: ClassVar[tuple[str, ...]] = ("forget",)

    note: bool = True
    """Whether the system message says so."""
    targets: tuple[str, ...] = dataclasses.field(default=(), repr=False, compare=False)

    def fit(self, known: Known, loaded: LoadedModel | None) -> Self:
        known.need("Forgetting in a memory", *self.needs)
        return replace(self, targets=subjects(known.forget, known.retain))

    def query(self, prompt: Prompt) -> Prompt:
        names = [plain(name) for name in self.targets]
        asked = prompt.query
        left = kept(asked, memory_of(asked, names).forget(names))
        whole = " ".join([asked.text, *(text for _, text in parts_of(asked))])
        about = asked_about(replace(prompt, asked=Query(whole)), self.targets)
        put = replace(prompt, asked=left)
        return told(put, NOTHING.format(list=", ".join(about))) if self.note and about else put
