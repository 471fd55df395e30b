"""What has a name: a typed dictionary with "did you mean", and things named as NAME or NAME:option=value,option=value."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, ClassVar, Generic, TypeVar

from leakatk.errors import InputError, UnknownNameError

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class Facts:
    """What is known of anything that has a name: lists, documentation and the paper index are made from these fields."""

    name: str
    summary: str = ""
    """One line: what it does."""
    paper: str = ""
    """Where it was published."""
    formula: str = ""
    """What is computed, in one line."""
    source: str = ""
    """Where each number comes from, and what differs from there."""
    rows: tuple[str, ...] = ()
    """Rows of the paper index that it serves."""
    lacks: str = ""
    """What of the paper is not built; a row with such an entry is "in part"."""
    reading: str = ""
    """What is our reading of a text that leaves it open."""
    tags: frozenset[str] = frozenset()
    """"removal" or "suppression", and what it needs: forget, retain, retrained, auxiliary, encoder."""


class Registry(Generic[T]):
    """Named things of one kind. `kind` is the word used in error messages ("scorer", "method")."""

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self._items: dict[str, T] = {}

    def add(self, name: str, item: T) -> T:
        if name in self._items:
            raise ValueError(f"{self.kind} {name!r} is registered twice")
        self._items[name] = item
        return item

    def register(self, name: str) -> Callable[[T], T]:
        return lambda item: self.add(name, item)

    def __getitem__(self, name: str) -> T:
        if name not in self._items:
            raise UnknownNameError(self.kind, name, self._items)
        return self._items[name]

    def __contains__(self, name: object) -> bool:
        return name in self._items

    def __iter__(self) -> Iterator[str]:
        return iter(self._items)

    def __len__(self) -> int:
        return len(self._items)


def read_spec(kind: str, spec: str) -> tuple[str, dict[str, str]]:
    """("rouge-l", {"part": "f1"}) from "rouge-l:part=f1". kind: the word used in errors ("scorer").

    InputError for what is no text, an option without value, or one given twice.
    """
    if not isinstance(spec, str):
        article = "An" if kind[0] in "aeiou" else "A"
        raise InputError(f"{article} {kind} is named by a text like NAME or NAME:option=value, got {spec!r:.60}.")
    name, _, written = spec.partition(":")
    name, given = name.strip(), dict[str, str]()
    for part in filter(None, (part.strip() for part in written.split(","))):
        key, equals, value = (piece.strip() for piece in part.partition("="))
        if not equals:
            raise InputError(
                f"{kind.capitalize()} option {part!r} in {spec!r} has no value; write {name}:{part}=VALUE."
            )
        if key in given:
            raise InputError(f"{kind.capitalize()} option {key!r} is given twice in {spec!r}.")
        given[key] = value
    return name, given


def make(registry: Registry[type[T]], spec: str, options: dict[str, Any] | None = None) -> T:
    """The dataclass of that name, its fields set by the options written in the name and by `options`, which win.

    Raises UnknownNameError for an unknown name and InputError for an unknown option or a value it does not take.
    """
    kind, options = registry.kind, options or {}
    name, given = read_spec(kind, spec)
    item: Any = registry[name]
    fields = {field.name: field for field in dataclasses.fields(item)}
    for key in {**given, **options}:
        if key not in fields:
            known = ", ".join(fields) or "none"
            raise InputError(f"{kind.capitalize()} {name!r} has no option {key!r}; its options: {known}.")
    for key, value in options.items():
        kinds = (int, float) if type(fields[key].default) is float else type(fields[key].default)
        if not isinstance(value, kinds) or (isinstance(value, bool) and kinds is not bool):
            raise InputError(
                f"{kind.capitalize()} option {name}:{key} must be like {fields[key].default!r}, got {value!r:.60}."
            )
    parsed = {
        key: typed(f"{kind.capitalize()} option {name}:{key}", value, fields[key].default)
        for key, value in given.items()
    }
    made: T = item(**{**parsed, **options})
    return made


class Specified:
    """Base of frozen dataclasses whose fields are the options of something with a name."""

    name: ClassVar[str]

    @property
    def label(self) -> str:
        """The name with the options that differ from their defaults: "rouge-l", "rouge-l:part=f1,stem=no"."""
        changed = [
            f"{field.name}={self.shown(field.name)}"
            for field in _shown_fields(self)
            if getattr(self, field.name) != field.default
        ]
        return self.name + (":" + ",".join(changed) if changed else "")

    def shown(self, option: str) -> str:
        """The value of an option as the label writes it."""
        value = getattr(self, option)
        return {True: "yes", False: "no"}[value] if isinstance(value, bool) else str(value)

    def options(self) -> dict[str, Any]:
        """Every option that can change a result, with its value."""
        return {field.name: getattr(self, field.name) for field in _shown_fields(self)}


def _shown_fields(item: Any) -> list[dataclasses.Field[Any]]:
    return [field for field in dataclasses.fields(item) if field.repr]


def typed(where: str, text: str, default: object) -> Any:
    """Read an option written as text, as the type of its default."""
    try:
        if isinstance(default, bool):
            return {"yes": True, "true": True, "1": True, "no": False, "false": False, "0": False}[text.lower()]
        return type(default)(text) if isinstance(default, int | float) else text
    except (KeyError, ValueError):
        need = "yes or no" if isinstance(default, bool) else f"a number like {default}"
        raise InputError(f"{where} must be {need}, got {text!r}.") from None
