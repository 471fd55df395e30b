"""Detectors of guards: they compare a prompt's text with what is to be forgotten.

They read the message that is put to the model last, as a server would see it, without earlier turns.
"""

from __future__ import annotations

import dataclasses
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np
from scipy.optimize import minimize

from leakatk.errors import InputError
from leakatk.guards.base import Floats, Threshold
from leakatk.models.fingerprint import fingerprint, model_identity
from leakatk.prompts import Known, Prompt
from leakatk.scorers.encoder import PACKAGED, has_packaged, load_encoder, packaged_path, sentence_vectors
from leakatk.scorers.text import plain_characters, well_formed

if TYPE_CHECKING:
    from leakatk.models.loaded import LoadedModel

WORDS = "words"  # the encoder that needs no weights: letters and words, counted
_BUCKETS = 4096
_GRAMS = (3, 5)  # letters
_BATCH = 64


def encoder_for(who: str, option: str, known: Known) -> str:
    """The name of the encoder to use: the option, else `known.encoder`, else the packaged one where it is installed.

    InputError where there is none.
    """
    name = option or known.encoder or (PACKAGED if has_packaged() else "")
    if not name:
        known.need(who, "encoder")
    return name


def vectors(texts: Sequence[str], encoder: str) -> Floats:
    """(len(texts), d) unit vectors. encoder: "words", the packaged encoder's name, or any directory or hub id.

    "words" counts runs of 3 to 5 letters in 4096 buckets: it sees spelling alone, so another wording escapes it.
    """
    distinct = list(dict.fromkeys(texts))
    if encoder == WORDS:
        made = np.stack([_letters(text) for text in distinct]) if distinct else np.zeros((0, _BUCKETS))
    elif encoder == PACKAGED:
        made = sentence_vectors(distinct)
    else:
        made = np.asarray(
            load_encoder(encoder).encode(
                [well_formed(text) for text in distinct],
                batch_size=_BATCH,
                normalize_embeddings=True,
                convert_to_numpy=True,
                show_progress_bar=False,
            ),
            dtype=np.float64,
        )
    place = {text: row for row, text in enumerate(distinct)}
    found: Floats = made[[place[text] for text in texts]]
    return found


def _letters(text: str) -> Floats:
    text = f" {' '.join(plain_characters(text).casefold().split())} "
    row = np.zeros(_BUCKETS)
    for size in range(_GRAMS[0], _GRAMS[1] + 1):
        for at in range(len(text) - size + 1):
            row[zlib.crc32(text[at : at + size].encode("utf-8", "replace")) % _BUCKETS] += 1
    row = np.log1p(row)
    length = float(np.linalg.norm(row))
    return row / length if length else row


def encoder_mark(name: str) -> str:
    """What the encoder is, wherever it lies: for a manifest."""
    if name == WORDS:
        return f"{WORDS}, {_GRAMS[0]} to {_GRAMS[1]} letters in {_BUCKETS} buckets"
    place = packaged_path() if name == PACKAGED else None
    if place is not None:
        return fingerprint(place)
    if Path(name).is_dir():
        return _directory_mark(Path(name))
    return model_identity(name)


def _directory_mark(path: Path) -> str:
    """Sentence encoders keep parts in folders of their own (1_Pooling, 2_Dense): these count too."""
    folders = [path, *sorted(folder for folder in path.iterdir() if folder.is_dir())]
    return "-".join(fingerprint(folder)[:16] for folder in folders)


def put(prompts: Sequence[Prompt]) -> list[str]:
    """The message of each prompt that the model is to answer."""
    return [prompt.query.text for prompt in prompts]


@dataclass(frozen=True)
class Similarity(Threshold):
    """The largest cosine of the prompt to any forget prompt that is stored; other wordings of these are not stored."""

    needs: ClassVar[tuple[str, ...]] = ("forget",)

    threshold: float = 0.8
    encoder: str = ""
    """Directory or hub id of a sentence encoder; "words" needs no weights; "" is `Known.encoder`, else the packaged one."""
    store: Floats = dataclasses.field(default_factory=lambda: np.zeros((0, 0)), repr=False, compare=False)

    def fit(self, known: Known, loaded: LoadedModel | None) -> Self:
        """Store the forget prompts' vectors; nothing is trained. With keep, all retain prompts calibrate."""
        known.need("A similarity detector", *self.needs)
        name = encoder_for("A similarity detector", self.encoder, known)
        stored = replace(self, encoder=name, store=vectors(put(known.forget), name))
        return stored.fitted(known, known.retain)

    def score(self, prompts: Sequence[Prompt]) -> Floats:
        if not prompts:
            return np.zeros(0)
        found: Floats = (vectors(put(prompts), self.encoder) @ self.store.T).max(axis=1)
        return found

    def describe(self) -> dict[str, Any]:
        return {**super().describe(), "encoder": encoder_mark(self.encoder)}


@dataclass(frozen=True)
class Classifier(Threshold):
    """Probability that a prompt is one to be forgotten: a logistic regression on sentence vectors, forget against retain.

    Both classes weigh the same. With keep, every second retain prompt trains and the others calibrate.
    """

    needs: ClassVar[tuple[str, ...]] = ("forget", "retain")

    encoder: str = ""
    """As in `Similarity`."""
    penalty: float = 0.001
    """Half of it times |weights|^2 is added to the mean loss."""
    weights: Floats = dataclasses.field(default_factory=lambda: np.zeros(0), repr=False, compare=False)

    def fit(self, known: Known, loaded: LoadedModel | None) -> Self:
        known.need("A classifier of prompts", *self.needs)
        if not self.penalty > 0:
            raise InputError(f"The classifier's penalty must be above 0, got {self.penalty}.")
        name = encoder_for("A classifier of prompts", self.encoder, known)
        train, held = (known.retain[::2], known.retain[1::2]) if self.keep else (known.retain, known.retain)
        texts = put([*known.forget, *train])
        label = np.array([1.0] * len(known.forget) + [0.0] * len(train))
        made = replace(self, encoder=name, weights=logistic(vectors(texts, name), label, self.penalty))
        return made.fitted(known, held)

    def score(self, prompts: Sequence[Prompt]) -> Floats:
        if not prompts:
            return np.zeros(0)
        return self.of_vectors(vectors(put(prompts), self.encoder))

    def of_vectors(self, rows: Floats) -> Floats:
        """(m,) of prompts whose vectors are known already."""
        found: Floats = _sigmoid(rows @ self.weights[:-1] + self.weights[-1])
        return found

    def describe(self) -> dict[str, Any]:
        return {**super().describe(), "encoder": encoder_mark(self.encoder)}


def _sigmoid(x: Floats) -> Floats:
    found: Floats = 0.5 * (1 + np.tanh(x / 2))
    return found


def logistic(features: Floats, label: Floats, penalty: float) -> Floats:
    """(d + 1,) weights and intercept of a logistic regression in which both classes weigh the same.

    features (m, d), label (m,) of 0 and 1. Minimises mean loss + penalty / 2 |weights|^2; the intercept is free.
    """
    share = np.where(label == 1, 0.5 / max(1, label.sum()), 0.5 / max(1, (1 - label).sum()))
    sign = 2 * label - 1

    def loss(weights: Floats) -> tuple[float, Floats]:
        margin = sign * (features @ weights[:-1] + weights[-1])
        pull = -share * sign * _sigmoid(-margin)
        slope = np.append(features.T @ pull + penalty * weights[:-1], pull.sum())
        value = float((share * np.logaddexp(0, -margin)).sum() + penalty / 2 * weights[:-1] @ weights[:-1])
        return value, slope

    start = np.zeros(features.shape[1] + 1)
    found: Floats = minimize(loss, start, jac=True, method="L-BFGS-B", options={"maxiter": 1000, "gtol": 1e-8}).x
    return found
