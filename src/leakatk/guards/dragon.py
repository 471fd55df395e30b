"""Detector of DRAGON: a name in the prompt, its nearness to stored prompts, and a classifier, added up."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np

from leakatk.guards.base import Floats, Threshold
from leakatk.guards.detectors import Classifier, encoder_mark, put, vectors
from leakatk.guards.targets import check_choice, mentions, plain, subjects
from leakatk.prompts import Known, Prompt
from leakatk.scorers.rouge import rouge_l

if TYPE_CHECKING:
    from leakatk.models.loaded import LoadedModel


@dataclass(frozen=True)
class Added(Threshold):
    """Privacy: 1[a name stands in x] + max cos(x, store) + 1[p(x) > sure].  Concept: 1[p(x) > sure] + max cos + max ROUGE-L.

    Stored are forget prompts and their other wordings, never answers. p: the logistic regression of `Classifier`.
    """

    needs: ClassVar[tuple[str, ...]] = ("forget", "retain")

    threshold: float = 1.5
    form: str = "privacy"
    """"privacy" knows names, "concept" compares words."""
    sure: float = 0.5
    """The classifier's probability from which on it counts."""
    encoder: str = ""
    """As in `Similarity`."""
    names: tuple[str, ...] = dataclasses.field(default=(), repr=False, compare=False)
    texts: tuple[str, ...] = dataclasses.field(default=(), repr=False, compare=False)
    store: Floats = dataclasses.field(default_factory=lambda: np.zeros((0, 0)), repr=False, compare=False)
    weights: Floats = dataclasses.field(default_factory=lambda: np.zeros(0), repr=False, compare=False)

    def __post_init__(self) -> None:
        super().__post_init__()
        check_choice("form", self.form, ("privacy", "concept"))

    def fit(self, known: Known, loaded: LoadedModel | None) -> Self:
        """With keep, every second retain prompt trains the classifier and the others calibrate."""
        learner = Classifier(encoder=self.encoder, keep=self.keep).fit(known, loaded)
        texts = [text for prompt in known.forget for text in (prompt.query.text, *prompt.paraphrases)]
        made = replace(
            self,
            encoder=learner.encoder,
            weights=learner.weights,
            names=tuple(map(plain, subjects(known.forget, known.retain))),
            texts=tuple(dict.fromkeys(texts)),
            store=vectors(list(dict.fromkeys(texts)), learner.encoder),
        )
        return made.fitted(known, known.retain[1::2] if self.keep else known.retain)

    def score(self, prompts: Sequence[Prompt]) -> Floats:
        if not prompts:
            return np.zeros(0)
        texts = put(prompts)
        rows = vectors(texts, self.encoder)  # the encoder is most of what the detector costs: asked once
        near = (rows @ self.store.T).max(axis=1)
        sure = Classifier(encoder=self.encoder, weights=self.weights).of_vectors(rows) > self.sure
        if self.form == "privacy":
            other = [float(any(mentions(name, text) for name in self.names)) for text in map(plain, texts)]
        else:
            other = [float(rouge_l(list(self.texts), [text] * len(self.texts)).f1.max()) for text in texts]
        found: Floats = near + sure + np.array(other)
        return found

    def describe(self) -> dict[str, Any]:
        return {**super().describe(), "encoder": encoder_mark(self.encoder)}
