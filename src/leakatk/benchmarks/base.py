"""What a benchmark is once it is loaded, and the registry of those that can be loaded."""

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
    """Prompts by the part they play.

    forget: to be forgotten.  retain: to be kept; an unlearner may train on them.  retain_held: known to the model and
    to be kept, but never shown to an unlearner: utility measured on them is not training-set recall.  holdout: like the
    forget set, but no model was trained on it.  sets: further named evaluation sets, such as TOFU's real_authors.
    texts: named lists of plain passages (MUSE's privacy texts).  templates: for a set that is asked in a published way,
    the plain template with {question} in it, such as few-shot examples.  refusals: answers that say "I do not
    know".  origin: where the files came from.  metrics: names of what is measured on it besides leak@k.  scorers: the
    core metrics of leak@k; () takes those that fit the prompts.  passages: the prompts are beginnings of plain passages,
    which no template may dress up as a question.
    """

    name: str
    forget: tuple[Prompt, ...]
    retain: tuple[Prompt, ...] = ()
    retain_held: tuple[Prompt, ...] = ()
    holdout: tuple[Prompt, ...] = ()
    sets: Mapping[str, tuple[Prompt, ...]] = field(default_factory=dict)
    texts: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    templates: Mapping[str, str] = field(default_factory=dict)
    refusals: tuple[str, ...] = ()
    origin: str = ""
    metrics: tuple[str, ...] = DEFAULT_METRICS
    scorers: tuple[str, ...] = ()
    passages: bool = False

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
    """What a loader may be told. data: directory with the files as published; None takes them from the hub.

    revision: of the hub repository.  ask: "paraphrased" asks the published paraphrase of each forget question instead.
    seed: of generated benchmarks.
    """

    data: Path | None = None
    revision: str = "main"
    ask: Ask = "question"
    seed: int = 0


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
