"""Paper index, what of the 121 rows is here: computed from what is registered, so that nothing is said twice.

A row works when something registered serves it, nothing that serves it lacks anything of it, and nothing of another kind is
owed (`rows.OWED`). It is in part where something lacks. Tests hold the other half: what makes a row work stands in the contract tests of its kind.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from importlib.resources import files
from itertools import groupby
from typing import Any, Literal, get_args

from leakatk.errors import UnknownNameError
from leakatk.papers.kinds import KINDS, Kind
from leakatk.papers.rows import OWED, ROWS, TAGS, Row
from leakatk.registry import Facts

Status = Literal["works", "in part", "described", "not yet"]
STATUSES: tuple[Status, ...] = get_args(Status)


@dataclass(frozen=True)
class Use:
    """Something registered that serves a row."""

    kind: Kind
    facts: Facts

    @property
    def command(self) -> str:
        return self.kind.command(self.facts)

    def lacks(self, row: str) -> str:
        """What it lacks of a row."""
        lacks = self.facts.lacks
        return lacks if isinstance(lacks, str) else lacks.get(row, "")


@dataclass(frozen=True)
class Listed:
    """A row with everything that serves it."""

    row: Row
    uses: tuple[Use, ...]

    @property
    def lacks(self) -> str:
        """What is not built of it, as one sentence; "" where nothing is built."""
        if not self.uses:
            return ""
        said = [use.lacks(self.row.number) for use in self.uses]
        serve = {use.kind.name for use in self.uses}
        owed = [words for kind, words in OWED.get(self.row.number, {}).items() if kind not in serve]
        return "; ".join(dict.fromkeys(filter(None, [*owed, *said])))

    @property
    def status(self) -> Status:
        if self.uses:
            return "in part" if self.lacks else "works"
        return "described" if self.row.described else "not yet"

    @property
    def tags(self) -> frozenset[str]:
        return self.row.tags.union(*(use.facts.tags for use in self.uses))

    def names(self, quote: str = "") -> str:
        """ "methods me, idk-ap; scorers entailment": by kind."""
        found = []
        for kind, uses in groupby(self.uses, key=lambda use: use.kind):
            names = [f"{quote}{use.facts.name}{quote}" for use in uses]
            found.append(f"{kind.one if len(names) == 1 else kind.name} {', '.join(names)}")
        return "; ".join(found)

    def as_dict(self) -> dict[str, Any]:
        row = self.row
        return {
            "row": row.number, "system": row.system, "arxiv": row.arxiv, "about": row.about, "tags": sorted(self.tags),
            "needs": sorted(row.needs), "status": self.status, "lacks": self.lacks,
            "uses": [
                {
                    "kind": use.kind.one, "name": use.facts.name, "summary": use.facts.summary,
                    "reading": use.facts.reading, "command": use.command,
                }
                for use in self.uses
            ],
        }  # fmt: skip


def listed(kinds: Iterable[Kind] = tuple(KINDS.values())) -> tuple[Listed, ...]:
    """All rows in their order. A thing that names a row which does not exist is an error."""
    uses: dict[str, list[Use]] = {row.number: [] for row in ROWS}
    for kind in kinds:
        for facts in kind.facts():
            for number in dict.fromkeys((*facts.rows, *(facts.lacks if isinstance(facts.lacks, Mapping) else ()))):
                if number not in facts.rows:
                    raise ValueError(f"{kind.one} {facts.name!r} lacks something of row {number} and does not serve it")
                if number not in uses:
                    raise ValueError(f"{kind.one} {facts.name!r} serves row {number!r}, and there is no such row")
                uses[number].append(Use(kind, facts))
    return tuple(Listed(row, tuple(uses[row.number])) for row in ROWS)


def find(rows: Iterable[Listed], asked: str) -> list[Listed]:
    """The rows that a number, a system's name (or words of it) or a registered name means; UnknownNameError if none."""
    rows, wanted = list(rows), " ".join(asked.lower().split())
    named = {one.row.number: [use.facts.name.lower() for use in one.uses] for one in rows}
    found = (
        [one for one in rows if wanted in (one.row.number, one.row.arxiv or None)],
        [one for one in rows if wanted in (one.row.system.lower(), *named[one.row.number])],
        [one for one in rows if wanted and f" {wanted} " in f" {_words(one.row.system)} "],
    )
    if any(found):
        return next(filter(None, found))
    known = {one.row.number for one in rows} | {name for names in named.values() for name in names}
    known |= {word for one in rows for word in (one.row.system.lower(), *_words(one.row.system).split()[:1])}
    raise UnknownNameError("row", asked, known)


def _words(system: str) -> str:
    return " ".join("".join(char if char.isalnum() or char in "-@+" else " " for char in system.lower()).split())


def chosen(rows: Iterable[Listed], *, tags: Iterable[str] = (), status: str = "") -> list[Listed]:
    """The rows with all these tags and this status; UnknownNameError for a tag or a status that does not exist."""
    rows, tags = list(rows), list(tags)
    known = set(TAGS).union(*(one.tags for one in rows))
    for tag in tags:
        if tag not in known:
            raise UnknownNameError("tag", tag, known)
    if status and status not in STATUSES:
        raise UnknownNameError("status", status, STATUSES)
    return [one for one in rows if one.tags.issuperset(tags) and status in ("", one.status)]


def counts(rows: Iterable[Listed]) -> str:
    """ "121 rows: 8 works, 11 in part, 5 described, 97 not yet"."""
    found = Counter(one.status for one in rows)
    return f"{found.total()} rows: " + ", ".join(f"{found[status]} {status}" for status in STATUSES)


def page() -> str:
    """docs/paper-index.md: the prose of `page.md` with the tables of methods, tags and rows in it."""
    rows = listed()
    text = files("leakatk.papers").joinpath("page.md").read_text(encoding="utf-8")
    tables = {"METHODS": _methods(), "TAGS": _tags(rows), "ROWS": _rows(rows), "COUNTS": [f"{counts(rows)}."]}
    for name, lines in tables.items():
        text = text.replace(f"<!-- {name} -->", "\n".join(lines))
    return text


def _methods() -> Iterator[str]:
    yield "| method | paper | formula's defaults | source of the defaults |"
    yield "|---|---|---|---|"
    items = KINDS["methods"].load()
    for facts in sorted(KINDS["methods"].facts(), key=lambda facts: facts.name):
        item = items[facts.name]
        defaults = ", ".join(f"{key} {_plain(value)}" for key, value in _numbers(item).items())
        said = (facts.source, getattr(item, "note", ""), facts.reading and f"Our reading: {facts.reading}")
        source = " ".join(part.rstrip(".") + "." for part in said if part)
        yield f"| `{facts.name}` | {_cell(facts.paper)} | {_cell(defaults)} | {_cell(source)} |"


def _numbers(method: Any) -> Mapping[str, Any]:
    """The numbers of a method's formula; what all methods have and it does not change is left out."""
    found: Mapping[str, Any] = getattr(method, "identity", method.params)
    return found


def _tags(rows: Iterable[Listed]) -> Iterator[str]:
    found = Counter(tag for one in rows for tag in one.tags)
    yield "| tag | rows | what it says |"
    yield "|---|---|---|"
    yield from (f"| `{tag}` | {found[tag]} | {meaning} |" for tag, meaning in TAGS.items())


def _rows(rows: Iterable[Listed]) -> Iterator[str]:
    yield "| # | system | arXiv | status | where | what it is |"
    yield "|---|---|---|---|---|---|"
    for one in rows:
        lacks = f"; lacks: {one.lacks}" if one.lacks else ""
        where = _cell(one.names("`") + lacks)
        row = one.row
        yield f"| {row.number} | {row.system} | {row.arxiv} | {one.status} | {where} | {_cell(row.about)} |"


def _plain(value: object) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def _cell(text: str) -> str:
    return " ".join(text.replace("|", "\\|").split())
