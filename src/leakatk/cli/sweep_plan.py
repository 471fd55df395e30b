"""Plan of a sweep: its TOML file as the commands of every cell (model, method, settings, seed), and what waits for what.

A task is one command with a place of its own, named after its cell and marked with a hash of its options: other options are
another task, and what is done stays done. A method may be a chain, "simnpo > rule": the second starts from the model of the
first, which is the same task wherever it occurs.
"""

from __future__ import annotations

import hashlib
import json
import re
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from leakatk.cli.config import MAX_CONFIG
from leakatk.errors import InputError, UnknownNameError, first_line
from leakatk.registry import read_spec, spec_name

KEYS = ("out", "benchmark", "methods", "seeds", "models", "settings", "unlearn", "bench")
OF_A_MODEL = ("model", "retrained", "benchmark")
# What the sweep sets itself.
OWN = {"model", "method", "base-model", "out", "seed", "benchmark", "retrained", "reference", "label", "role", "config", "dry-run",
       "json", "quiet", "help"}  # fmt: skip
Options = Mapping[str, Any]


@dataclass(frozen=True)
class Known:
    """The options of a command: name -> the words that give it a value, or switch it on and off."""

    command: str
    flags: Mapping[str, tuple[str, str]]
    """Name -> the word that switches it on, and the one that switches it off ("": none)."""
    valued: frozenset[str]

    def words(self, options: Options, where: str) -> list[str]:
        """The options as typed. InputError for one that the command does not have or that a sweep sets itself."""
        found: list[str] = []
        for key, value in options.items():
            name = key.replace("_", "-")
            if name in OWN:
                raise InputError(f"{key} in {where} is set by the sweep itself, for every cell; leave it out.")
            if name in self.flags and isinstance(value, bool):
                found += [word for word in (self.flags[name][0 if value else 1],) if word]
            elif name in self.valued and isinstance(value, list):
                found += [word for one in value for word in (f"--{name}", _text(one, f"{key} in {where}"))]
            elif name in self.valued:
                found += [f"--{name}", _text(value, f"{key} in {where}")]
            elif name in self.flags:
                raise InputError(f"{key} in {where} is switched on or off: give true or false, got {value!r}.")
            else:
                raise UnknownNameError(f"option of leakatk {self.command} in {where}", key, [*self.flags, *self.valued])
        return found


@dataclass(frozen=True)
class Task:
    """One command. needs: tasks whose result it starts from.  after: tasks that must have ended, however they did."""

    name: str
    words: tuple[str, ...]
    place: Path | None = None
    """The model that it makes."""
    needs: tuple[str, ...] = ()
    after: tuple[str, ...] = ()
    verdict: bool = False
    """Whether it has a gate, so that exit codes 1 and 4 are answers."""
    sized: tuple[str, ...] = ()
    """The same command on a model that is there already, for a dry run."""


@dataclass(frozen=True)
class Cell:
    """One line of the result: a model, unlearned by a method under some settings with a seed, and measured."""

    label: str
    model: str
    method: str
    setting: str
    seed: int
    tasks: tuple[str, ...]
    measured: tuple[str, ...]
    """Paths of the models whose rows it makes, as in the column model of the results."""


@dataclass
class Sweep:
    """All cells, and their tasks by name in the order they are begun."""

    out: Path
    cells: list[Cell] = field(default_factory=list)
    tasks: dict[str, Task] = field(default_factory=dict)

    @property
    def results(self) -> Path:
        return self.out / "results"


def read_sweep(path: Path) -> dict[str, Any]:
    """The file's content. InputError for anything but TOML with the keys of a sweep."""
    from leakatk.files.reading import read_text

    try:
        found = tomllib.loads(read_text(path, most=MAX_CONFIG))
    except InputError:
        raise
    except (ValueError, OverflowError, RecursionError) as error:
        raise InputError(f"{path} is not valid TOML: {first_line(error)}.") from None
    for key in found:
        if key not in KEYS:
            raise UnknownNameError(f"key in {path}", key, KEYS)
    return found


def plan_sweep(given: Mapping[str, Any], out: Path, unlearn: Known, bench: Known, params: Mapping[str, Iterable[str]]) -> Sweep:  # fmt: skip
    """The cells and tasks of a file's content.

    params: method -> the numbers of its formula, which an option in a method's name may set beside options of the command.

    Raises InputError for what is missing, twice there, or no option.
    """
    models = _tables(given, "models")
    if not models:
        raise InputError('A sweep needs a model: a table [models.NAME] with model = "DIRECTORY".')
    methods, seeds = _list(given, "methods", str), _list(given, "seeds", int)
    settings = _tables(given, "settings") or {"": {}}
    sweep = Sweep(out)
    last: dict[str, str] = {}  # model that several benches ask -> the last of these: none asks it at the same time
    for name, about in models.items():
        strange = [key for key in about if key not in OF_A_MODEL]
        if strange:
            raise UnknownNameError(f"key in [models.{name}]", strange[0], OF_A_MODEL)
        for seed in seeds:
            for key in ("model", "retrained", "benchmark"):
                if not isinstance(about.get(key, ""), str):
                    raise InputError(f"{key} in [models.{name}] must be a text, got {about[key]!r}.")
            start, retrained = (_seeded(about.get(key, ""), seed) for key in ("model", "retrained"))
            benchmark = _seeded(about.get("benchmark", given.get("benchmark", "")), seed)
            if not start or not benchmark:
                raise InputError(
                    f"[models.{name}] needs model and benchmark (or benchmark at the top): give the one that is missing."
                )
            made = _Maker(sweep, name, len(models) > 1, start, retrained, benchmark, seed, unlearn, bench)
            same = sorted({last[path] for path in (start, retrained) if path in last})
            first = made.measured(start, "original", "original", given.get("bench", {}), after=same)
            last |= {path: first for path in (start, retrained) if path}
            sweep.cells.append(Cell(made.label("original"), name, "", "", seed, (first,), (start, retrained)))
            for method in methods:
                for setting, more in settings.items():
                    shared = {**given.get("unlearn", {}), **more}
                    made.cell(method, setting, shared, given.get("bench", {}), params, first)
    return sweep


@dataclass
class _Maker:
    """Tasks of one model and seed."""

    sweep: Sweep
    model: str
    several: bool
    start: str
    retrained: str
    benchmark: str
    seed: int
    unlearn: Known
    bench: Known

    def label(self, *parts: str) -> str:
        return ", ".join(part for part in (self.model if self.several else "", *parts) if part)

    def add(self, what: str, words: Sequence[str], **more: Any) -> str:
        mark = hashlib.sha256(json.dumps(list(words)).encode()).hexdigest()[:8]
        readable = re.sub(r"[^\w.+-]+", "-", f"{self.model}-{what}-seed-{self.seed}").strip("-")[:80]
        name = f"{readable}-{mark}"
        if name not in self.sweep.tasks:
            place = self.sweep.out / "models" / name if more.pop("makes", False) else None
            out = ("--out", str(place or self.sweep.results))
            if "sized" in more:
                more["sized"] = (*more["sized"], *out)
            self.sweep.tasks[name] = Task(name, (*words, *out), place, **more)
        return name

    def measured(self, model: str, label: str, role: str, options: Options, needs: Sequence[str] = (), after: Sequence[str] = ()) -> str:  # fmt: skip
        if not isinstance(options, Mapping):
            raise InputError(f"[bench] must be a table of options, got {options!r}.")
        rest = [
            *(("--retrained", self.retrained) if self.retrained else ()),
            "--label",
            self.label(label),
            "--role",
            role,
        ]
        rest += ["--seed", str(self.seed), *self.bench.words(_seeded_all(options, self.seed), "[bench]"), "--quiet"]
        start = ["bench", self.benchmark, "--model"]
        gate = any(key.replace("_", "-") == "fail-above" for key in options)
        return self.add(
            f"bench-{label}-{role}", [*start, model, *rest], needs=tuple(needs), after=tuple(after), verdict=gate,
            sized=(*start, self.start, *rest),
        )  # fmt: skip

    def cell(self, method: str, setting: str, shared: Options, bench: Options, params: Mapping[str, Iterable[str]], first: str) -> None:  # fmt: skip
        where = f"[unlearn] or [settings.{setting}]" if setting else "[unlearn]"
        common = self.unlearn.words(_seeded_all(shared, self.seed), where)
        common = ["--benchmark", self.benchmark, "--seed", str(self.seed), *common]
        model, before, chain = self.start, list[str](), [part.strip() for part in method.split(">")]
        for i, part in enumerate(chain):
            name, written = read_spec("method", part)
            own = _method_words(name, written, self.unlearn, set(params.get(name, ())))
            if name == "rule" and "base" not in written and i:
                own += ["--base", spec_name(chain[i - 1])]
            words = ["--method", name, *own, *common, "--quiet"]
            task = self.add(
                f"{' then '.join(chain[: i + 1])}{f'-{setting}' if setting else ''}", ["unlearn", model, *words],
                needs=tuple(before[-1:]), makes=True, sized=("unlearn", self.start, *words),
            )  # fmt: skip
            before.append(task)
            model = str(self.sweep.tasks[task].place)
        label = ", ".join(filter(None, (method, setting)))
        tasks = [*before, self.measured(model, label, "model", bench, before[-1:], [first])]
        places = [model]
        if "--control" in words:
            places.append(str(Path(model) / "control"))
            tasks.append(self.measured(places[-1], f"{label}, control", "control", bench, before[-1:], [first]))
        self.sweep.cells.append(
            Cell(self.label(label), self.model, method, setting, self.seed, tuple(tasks), tuple(places))
        )


def _method_words(name: str, written: Mapping[str, str], unlearn: Known, params: set[str]) -> list[str]:
    """Options in a method's name: numbers of its formula, else options of the command."""
    found: list[str] = []
    for key, value in written.items():
        option = key.replace("_", "-")
        if key in params:
            found += ["--param", f"{key}={value}"]
        elif option in unlearn.flags and option not in OWN:
            if value not in ("yes", "no", "true", "false"):
                raise InputError(f"Method option {name}:{key} must be yes or no, got {value!r}.")
            found += [word for word in (unlearn.flags[option][value in ("no", "false")],) if word]
        elif option in unlearn.valued and option not in OWN:
            found += [f"--{option}", value]
        else:
            raise UnknownNameError(f"option of method {name}", key, [*params, *(unlearn.valued - OWN)])
    return found


def _tables(given: Mapping[str, Any], key: str) -> dict[str, dict[str, Any]]:
    found = given.get(key, {})
    if not isinstance(found, dict) or not all(isinstance(one, dict) for one in found.values()):
        raise InputError(f"{key} must be tables with names, such as [{key}.first].")
    return found


def _list(given: Mapping[str, Any], key: str, kind: type) -> list[Any]:
    found = given.get(key)
    good = isinstance(found, list) and all(isinstance(one, kind) and not isinstance(one, bool) for one in found)
    if not good or not found:
        such = '["npo", "simnpo > rule"]' if kind is str else "[0, 1, 2]"
        raise InputError(f"A sweep needs {key} as a list, such as {key} = {such}.")
    twice = [one for i, one in enumerate(found) if one in found[:i]]
    if twice:
        raise InputError(f"{key} has {twice[0]!r} twice; keep one.")
    return list(found)


def _seeded(text: Any, seed: int) -> Any:
    return text.replace("{seed}", str(seed)) if isinstance(text, str) else text


def _seeded_all(options: Options, seed: int) -> dict[str, Any]:
    return {
        key: [_seeded(one, seed) for one in value] if isinstance(value, list) else _seeded(value, seed)
        for key, value in options.items()
    }


def _text(value: Any, where: str) -> str:
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise InputError(f"{where}: give a text or a number (or a list of them), got {value!r}.")
    return str(value)
