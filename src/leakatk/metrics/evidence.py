"""Evidence that metrics are computed from: each piece is found out once, kept, and its cost known before anything is run.

A metric asks for pieces (`leakatk.metrics.pieces`: token statistics of an answer, a greedy answer, a gradient norm ...) and
turns their values into numbers. To know what will be asked, the metrics are run once on stand-ins (`Evidence.wanted`): that
needs no second list of needs beside the metrics, so a plan cannot differ from the run. What a metric asks for must therefore
not depend on the values it gets.
"""

from __future__ import annotations

import hashlib
import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from leakatk.errors import InputError

if TYPE_CHECKING:
    from leakatk.models.loaded import LoadedModel

Pairs = Sequence[tuple[Sequence[int], Sequence[int]]]  # (prompt ids, ids that are scored) of each text


@dataclass(frozen=True, slots=True)
class Passes:
    """What is computed with one model: its cost before it is run."""

    forward: Pairs = ()
    """The texts of a forward pass."""
    backward: Pairs = ()
    """Those of the gradient-norm attack, forward and backward."""
    answers: int = 0
    """Greedy answers drawn."""

    def __add__(self, other: Passes) -> Passes:
        return Passes([*self.forward, *other.forward], [*self.backward, *other.backward], self.answers + other.answers)


@dataclass(frozen=True, slots=True, kw_only=True)
class MetricSettings:
    """What a user decides about metrics."""

    grad_norm: bool = False
    """Also the gradient-norm attack: one backward pass a text, with the gradients of all parameters in memory."""
    text_tokens: int = 0
    """Texts of the membership attack are cut to so many tokens; 0, as published, is nowhere."""
    level: float = 0.95
    """Level of the intervals."""
    ngram: int = 10
    """Tokens of an n-gram of extraction likelihood."""
    noise: float = 0.01
    """Standard deviation of the noise in the weights, for MRD."""
    draws: int = 8
    """Draws of that noise."""
    encoder: str = ""
    """Sentence encoder of forget efficacy: a directory or hub id."""
    nli: str = ""
    """Entailment model of forget efficacy: a directory or hub id."""

    def __post_init__(self) -> None:
        if not 0 < self.level < 1:
            raise InputError(f"The level must be between 0 and 1, got {self.level!r}.")
        if self.text_tokens < 0:
            raise InputError(f"text_tokens must be at least 0, got {self.text_tokens}.")
        if self.ngram < 1:
            raise InputError(f"ngram must be at least 1, got {self.ngram}.")
        if not self.noise > 0:
            raise InputError(f"noise must be above 0, got {self.noise!r}.")
        if self.draws < 1:
            raise InputError(f"draws must be at least 1, got {self.draws}.")
        if bool(self.encoder) != bool(self.nli):
            raise InputError(
                "Forget efficacy takes a sentence encoder and an entailment model; give both (--encoder, --nli) or neither."
            )


@dataclass(frozen=True)
class Piece(ABC):
    """One thing to be found out about a model. Its fields are all that decides the value, the model aside."""

    @property
    def key(self) -> str:
        """Under which the value is kept."""
        content = json.dumps([type(self).__name__, asdict(self)], sort_keys=True, ensure_ascii=False)
        return hashlib.sha256(content.encode()).hexdigest()[:32]

    @property
    def batch(self) -> object:
        """Pieces of one class and one such value are computed in one call."""
        return None

    @classmethod
    @abstractmethod
    def compute(cls, loaded: LoadedModel, pieces: Sequence[Self]) -> list[Any]:
        """The value of each."""

    @classmethod
    @abstractmethod
    def passes(cls, loaded: LoadedModel, pieces: Sequence[Self]) -> Passes:
        """What `compute` costs."""

    @abstractmethod
    def stand_in(self) -> Any:
        """Something that metrics can be run on before the value is known."""

    @staticmethod
    def row(value: Any) -> Mapping[str, Any]:
        """The value as columns of a table, and back (`read`)."""
        return {"value": value}

    @staticmethod
    def read(row: Mapping[str, Any]) -> Any:
        return row["value"]


class Evidence:
    """The pieces of one model, asked in one way (its template).

    keep: directory in which values are kept, of this model, template and version alone; what it holds is not computed
    again.  retrained: the evidence of the model trained without the forget data, where there is one.  beside: that of further
    models, in order, by the part they play (`leakatk.metrics.base.FURTHER`).
    """

    def __init__(
        self,
        loaded: LoadedModel,
        *,
        settings: MetricSettings | None = None,
        retrained: Evidence | None = None,
        keep: Path | None = None,
        beside: Mapping[str, Sequence[Evidence]] | None = None,
    ) -> None:
        self.settings = settings or MetricSettings()
        self.retrained = retrained
        self.beside = {part: tuple(models) for part, models in (beside or {}).items()}
        self.tokenizer = loaded.tokenizer
        self.source, self.identity = loaded.name, loaded.fingerprint
        self.ends = loaded.template.end_id(loaded.tokenizer) is not None
        """Whether the last id of an answer is an end token."""
        self._loaded: LoadedModel | None = loaded
        self._keep = keep
        self._values: dict[Piece, Any] = {}
        self._rows = _kept_rows(keep)

    def get(self, pieces: Iterable[Piece]) -> list[Any]:
        """The value of each piece, in order; what is not known yet is computed, and kept."""
        pieces = list(pieces)
        missing = []
        for piece in dict.fromkeys(pieces):
            if piece not in self._values:
                if piece.key in self._rows:
                    self._values[piece] = piece.read(self._rows[piece.key])
                else:
                    missing.append(piece)
        for group in _groups(missing):
            values = type(group[0]).compute(self._model, group)
            self._values |= dict(zip(group, values, strict=True))
            self._write(group, values)
        return [self._values[piece] for piece in pieces]

    def wanted(
        self,
        metrics: Callable[[Evidence], object],
        *,
        compared: bool,
        counts: Mapping[str, int] | None = None,
        others: bool = False,
    ) -> list[Piece]:
        """The pieces that the metrics will ask for, of any model.

        compared: also those they ask of the retrained model.  counts: number of further models by part (default: those beside).
        others: only what they ask of other models than this one.
        """
        counts = {part: len(models) for part, models in self.beside.items()} if counts is None else counts
        rehearsal = _Rehearsal(self, {})
        other: dict[Piece, None] = {}
        rehearsal.retrained = _Rehearsal(self, other) if compared else None
        for part, count in counts.items():
            known = self.beside.get(part, ())
            around = [known[i] if i < len(known) else self for i in range(count)]
            rehearsal.beside[part] = tuple(_Rehearsal(self, other, like=one) for one in around)
        metrics(rehearsal)
        return list(other) if others else list(rehearsal.asked | other)

    def passes(self, pieces: Sequence[Piece]) -> Passes:
        """What computing these pieces costs, kept or not."""
        return sum((type(group[0]).passes(self._model, group) for group in _groups(pieces)), Passes())

    def close(self) -> None:
        """Let go of the model: what was computed stays."""
        self._loaded = None

    @property
    def _model(self) -> LoadedModel:
        if self._loaded is None:
            raise RuntimeError("a metric asks the retrained model for what no rehearsal asked for")
        return self._loaded

    def _write(self, pieces: Sequence[Piece], values: Sequence[Any]) -> None:
        if self._keep is None:
            return
        import pyarrow

        from leakatk.files.tables import write_table

        rows = [{"key": one.key, **one.row(value)} for one, value in zip(pieces, values, strict=True)]
        mark = hashlib.sha256(" ".join(row["key"] for row in rows).encode()).hexdigest()[:16]
        name = f"{type(pieces[0]).__name__.lower()}-{mark}.parquet"
        write_table(pyarrow.Table.from_pylist(rows), self._keep / name)


class _Rehearsal(Evidence):
    """Gives stand-ins and notes what is asked for."""

    def __init__(self, mine: Evidence, asked: dict[Piece, None], *, like: Evidence | None = None) -> None:
        """like: whose name and fingerprint it has."""
        super().__init__(mine._model, settings=mine.settings)
        self.source, self.identity = (like or mine).source, (like or mine).identity
        self.asked = asked

    def get(self, pieces: Iterable[Piece]) -> list[Any]:
        pieces = list(pieces)
        self.asked |= dict.fromkeys(pieces)
        return [piece.stand_in() for piece in pieces]


def _groups(pieces: Iterable[Piece]) -> list[list[Any]]:
    """The pieces that are computed together."""
    found: dict[object, list[Piece]] = {}
    for piece in dict.fromkeys(pieces):
        found.setdefault((type(piece), piece.batch), []).append(piece)
    return list(found.values())


def _kept_rows(keep: Path | None) -> dict[str, Mapping[str, Any]]:
    if keep is None or not keep.is_dir():
        return {}
    from leakatk.files.tables import read_table

    return {row["key"]: row for path in sorted(keep.glob("*.parquet")) for row in read_table(path).to_pylist()}
