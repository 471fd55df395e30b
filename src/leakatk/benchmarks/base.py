"""Benchmark as it is loaded, and the registry of those that can be."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol

from leakatk.prompts import Prompt, record
from leakatk.registry import Facts, Registry

Ask = Literal["question", "paraphrased"]

# What is measured on a benchmark that does not say otherwise (`leakatk.metrics`), such as a file of your own.
DEFAULT_METRICS = (
    "forgetting", "truth_ratio", "fluency", "memorisation", "model_utility", "sets", "membership", "forget_quality",
    "privleak", "over_unlearned", "reference_attack",
)  # fmt: skip
# What of a benchmark is not its content: where it came from, and what is measured on it.
_ABOUT = ("origin", "metrics", "scorers", "passages")


@dataclass(frozen=True, slots=True)
class Benchmark:
    """Prompts by the part they play."""

    name: str
    """Under which it is registered, or that of a file."""
    forget: tuple[Prompt, ...]
    """What is to be forgotten."""
    retain: tuple[Prompt, ...] = ()
    """What is to be kept; an unlearner may train on it."""
    retain_held: tuple[Prompt, ...] = ()
    """Known to the model and to be kept, but never shown to an unlearner: utility measured on it is not training-set
    recall."""
    holdout: tuple[Prompt, ...] = ()
    """Like the forget set, but no model was trained on it."""
    sets: Mapping[str, tuple[Prompt, ...]] = field(default_factory=dict)
    """Further named evaluation sets, such as TOFU's real_authors."""
    texts: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Named lists of plain passages (MUSE's privacy texts)."""
    templates: Mapping[str, str] = field(default_factory=dict)
    """For a set that is asked in a published way: the plain template with {question} in it, such as few-shot examples."""
    refusals: tuple[str, ...] = ()
    """Answers that say "I do not know"."""
    origin: str = ""
    """Where the files came from."""
    metrics: tuple[str, ...] = DEFAULT_METRICS
    """Names of what is measured on it besides leak@k."""
    scorers: tuple[str, ...] = ()
    """The core metrics of leak@k; none given: those that fit the prompts."""
    passages: bool = False
    """The prompts are beginnings of plain passages, which no template may dress up as a question."""

    @property
    def fingerprint(self) -> str:
        """SHA-256 of the whole content, names included; where it came from and what is measured do not count."""
        content = {
            field.name: getattr(self, field.name) for field in dataclasses.fields(self) if field.name not in _ABOUT
        }
        text = json.dumps(content, sort_keys=True, ensure_ascii=False, default=record)
        return hashlib.sha256(text.encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class Options:
    """What a loader may be told."""

    data: Path | None = None
    """Directory with the files as published; None takes them from the hub."""
    revision: str = "main"
    """Of the hub repository."""
    ask: Ask = "question"
    """"paraphrased" asks the published paraphrase of each forget question instead."""
    seed: int = 0
    """Of generated benchmarks."""


class Loader(Protocol):
    def __call__(self, options: Options) -> Benchmark: ...


@dataclass(frozen=True, kw_only=True)
class Entry(Facts):
    """A benchmark that can be loaded by name. Its formula says what `leakatk bench` computes besides leak@k."""

    load: Loader
    repository: str = ""
    """Its dataset on the hub; "" where there is none."""
    paraphrased: bool = False
    """Whether it publishes paraphrases of its questions."""
    generated: bool = False
    """Whether it is made here, so that nothing is downloaded."""
    passages: bool = False
    """Whether its prompts are beginnings of plain passages."""


BENCHMARKS: Registry[Entry] = Registry("benchmark")


# What is computed of any benchmark of questions and answers.
QUESTIONS = "mean probability, ROUGE-L and truth ratio of forget answers; membership attacks where there is a holdout"


def add(name: str, summary: str, load: Loader, *, formula: str = QUESTIONS, **more: Any) -> None:
    """Register a benchmark. more: further fields of `Entry`, its facts among them."""
    BENCHMARKS.add(name, Entry(name=name, summary=summary, load=load, formula=formula, **more))


def is_passages(name: str) -> bool:
    """True for the benchmarks that hold plain passages, by name."""
    return name in BENCHMARKS and BENCHMARKS[name].passages
