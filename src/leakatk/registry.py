"""Registry of what has a name: a typed dictionary with "did you mean", and things named as NAME or NAME:option=value,option=value."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Generic, TypeVar

from leakatk.errors import InputError, UnknownNameError, nearest

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
    lacks: str | Mapping[str, str] = ""
    """What of the paper is not built: such a row is "in part". By row where they lack different things."""
    reading: str = ""
    """What is our reading of a text that leaves it open."""
    tags: frozenset[str] = frozenset()
    """"removal" or "suppression", and what it needs: forget, retain, retrained, auxiliary, encoder."""
    example: str = ""
    """A command that shows it, where the one of its kind would not."""


def facts_of(name: str, item: object) -> Facts:
    """The facts of a registered thing: its own, those of a class, or what its attributes of the same names say."""
    if isinstance(item, Facts):
        return item
    stated = getattr(item, "facts", None)
    if isinstance(stated, Facts) and stated.name == name:
        return stated
    said = {field.name: getattr(item, field.name, None) for field in dataclasses.fields(Facts)}
    return Facts(**{**{key: value for key, value in said.items() if value}, "name": name})


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

    def register(self, name: str, **facts: Any) -> Callable[[T], T]:
        """Decorate a class, such as a scorer: add it under a name. facts: see `Facts`; the class keeps them as `facts`."""

        def add(item: T) -> T:
            if facts:
                setattr(item, "facts", Facts(name=name, **facts))  # noqa: B010  (T is any class)
            return self.add(name, item)

        return add

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


def spec_name(spec: str) -> str:
    """ "rouge-l" from "rouge-l:part=f1"."""
    return spec.partition(":")[0].strip()


def read_spec(kind: str, spec: str) -> tuple[str, dict[str, str]]:
    """("rouge-l", {"part": "f1"}) from "rouge-l:part=f1". kind: the word used in errors ("scorer").

    InputError for what is no text, an option without value, or one given twice.
    """
    if not isinstance(spec, str):
        article = "An" if kind[0] in "aeiou" else "A"
        raise InputError(f"{article} {kind} is named by a text like NAME or NAME:option=value, got {spec!r:.60}.")
    name = spec_name(spec)
    return name, read_options(kind, name, spec.partition(":")[2])


def read_options(kind: str, name: str, text: str) -> dict[str, str]:
    """{"part": "f1", "stem": "no"} from "part=f1,stem=no". kind, name: of what has the options; name may be "".

    InputError for an option without value, or one given twice.
    """
    given = dict[str, str]()
    for part in filter(None, (part.strip() for part in text.split(","))):
        key, equals, value = (piece.strip() for piece in part.partition("="))
        whole = f"{name}:{text}" if name else text
        if not equals:
            again = f"{name}:{part}" if name else part
            raise InputError(f"{kind.capitalize()} option {part!r} in {whole!r} has no value; write {again}=VALUE.")
        if key in given:
            raise InputError(f"{kind.capitalize()} option {key!r} is given twice in {whole!r}.")
        given[key] = value
    return given


def typed_options(
    kind: str, name: str, written: Mapping[str, str], given: Mapping[str, Any], known: Mapping[str, Any]
) -> dict[str, Any]:
    """The options written in a name, read as the type of their defaults, and those given as values, which win.

    kind, name: of what has the options; name may be "".  known: option -> its default; see `typed`.
    Raises InputError for an option that is not known (with the nearest ones) or a value that does not fit.
    """
    for key in {**written, **given}:
        if key not in known:
            near = nearest(key, known)
            meant = f"; did you mean {' or '.join(near)}?" if near else "."
            names = ", ".join(known) or "none"
            what = f"{kind.capitalize()} {name!r}" if name else kind
            raise InputError(f"{what} has no option {key!r}; its options: {names}{meant}")
    where = f"{kind.capitalize()} option {name}:" if name else f"{kind} "
    return {key: typed(f"{where}{key}", text, known[key]) for key, text in written.items()} | dict(given)


def typed(where: str, text: str, default: object) -> Any:
    """An option written as text, read as the type of its default. where: starts the InputError of what does not fit.

    Without a default (None) yes and no, whole numbers and other numbers are told by how they are written.
    """
    if default is None:
        return _guessed(text)
    try:
        if isinstance(default, bool):
            return _YES_NO[text.lower()]
        return type(default)(text) if isinstance(default, int | float) else text
    except (KeyError, ValueError):
        need = "yes or no" if isinstance(default, bool) else f"a number like {default}"
        raise InputError(f"{where} must be {need}, got {text!r}.") from None


_YES_NO = {"yes": True, "true": True, "1": True, "no": False, "false": False, "0": False}


def _guessed(text: str) -> Any:
    if text.lower() in ("yes", "true", "no", "false"):
        return _YES_NO[text.lower()]
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text


def make(registry: Registry[type[T]], spec: str, options: dict[str, Any] | None = None) -> T:
    """The dataclass of that name, its fields set by the options written in the name and by `options`, which win.

    Raises UnknownNameError for an unknown name and InputError for an unknown option or a value it does not take.
    """
    name, written = read_spec(registry.kind, spec)
    item: Any = registry[name]
    defaults = {field.name: field.default for field in dataclasses.fields(item)}
    found = typed_options(registry.kind, name, written, options or {}, defaults)
    for key, value in (options or {}).items():
        kinds = (int, float) if type(defaults[key]) is float else type(defaults[key])
        if not isinstance(value, kinds) or (isinstance(value, bool) and kinds is not bool):
            raise InputError(
                f"{registry.kind.capitalize()} option {name}:{key} must be like {defaults[key]!r}, got {value!r:.60}."
            )
    made: T = item(**found)
    return made


class _Fact:
    """A field of the class's facts, read from the class as well as from its instances."""

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = name

    def __get__(self, instance: object, owner: type[Any]) -> Any:
        return getattr(owner.facts, self.name)


class Specified:
    """Base of frozen dataclasses whose fields are the options of something with a name.

    facts: what is known of it; `Registry.register` sets them. name, summary, paper: those of the facts.
    """

    facts: ClassVar[Facts]
    name: ClassVar[str] = _Fact()  # type: ignore[assignment]
    summary: ClassVar[str] = _Fact()  # type: ignore[assignment]
    paper: ClassVar[str] = _Fact()  # type: ignore[assignment]

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
