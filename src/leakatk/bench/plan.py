"""Plan of a bench: what it measures, and how a model is asked for it."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from leakatk.benchmarks.base import Benchmark
from leakatk.benchmarks.protocols import Protocol
from leakatk.guards.base import Guard
from leakatk.metrics.base import MetricSettings
from leakatk.models.loaded import LoadedModel
from leakatk.prompts import Known, Prompt
from leakatk.sampling.decoding import Decoding
from leakatk.scorers.base import get_scorer
from leakatk.scorers.knows import default_scorers

RETAIN_N = 20  # samples of a retain prompt: usefulness is a mean, not a rare event


@dataclass(frozen=True, slots=True)
class Plan:
    """What is measured on every model, all of it checked."""

    benchmark: Benchmark
    rules: Protocol
    decodings: tuple[Decoding, ...]
    scorers: tuple[str, ...]
    """Core metrics of leak@k."""
    metrics: tuple[str, ...]
    """What is measured besides."""
    settings: MetricSettings
    compared: bool
    """There is a retrained model."""
    counts: Mapping[str, int]
    """Number of further models by part (`leakatk.metrics.base.FURTHER`)."""
    probes: tuple[str, ...]
    """Further ways of asking."""
    template: str
    """See `asked_as`."""
    n: int
    """Samples of a forget prompt."""
    retain_n: int
    """Samples of a retain prompt; 0: they are not sampled."""
    seed: int
    tasks: tuple[str, ...]
    """Of lm-eval."""
    task_dir: Path | None
    """Where task files of your own are."""
    out: Path
    quiet: bool
    guard: Guard | None = None
    """What stands before every model; then its weights are not looked at."""
    known: Known = field(default_factory=Known)
    """What the guard is fitted on."""

    @property
    def level(self) -> float:
        """Of every interval."""
        return self.settings.level


def label_of(decoding: Decoding, rules: Protocol) -> str:
    """The decoding's name, with its length where that is not the protocol's: rows that differ in it alone stay apart."""
    length = decoding.max_new_tokens
    return decoding.label + (f" {length} tokens" if length != rules.headline.max_new_tokens else "")


def scorers_of(benchmark: Benchmark) -> tuple[str, ...]:
    """The core metrics of leak@k: the benchmark's own, else what an audit takes by itself."""
    return benchmark.scorers or default_scorers(benchmark.forget)


def tried(name: str) -> str:
    """The scorer's name; one that needs a model is tried on one pair first. A judge is not: that would cost a request."""
    scorer = get_scorer(name)
    if scorer.needs_model and not scorer.retries_missing:
        scorer.score([Prompt("trial", "Say yes.", "yes")], ["yes"])
    return name


def asked_as(
    loaded: LoadedModel, benchmark: Benchmark, rules: Protocol, which: str, template: str = "auto"
) -> LoadedModel:
    """The model, asked as the protocol or the benchmark says where it is to be asked so.

    which: "forget" or "retain".  template: "auto" asks a base model in the benchmark's plain template (such as MUSE's
    few-shot prompt) and a chat model in its own, but multiple choice in the harness's plain prompt whatever the model;
    "chat" and "plain" decide for all. Passages to continue are always plain.
    """
    passages = benchmark.passages
    plain = benchmark.templates.get(which) if passages else rules.plain or benchmark.templates.get(which)
    chat = loaded.template.is_chat(loaded.tokenizer)
    if template == "chat" and not passages:
        loaded.template.__class__(kind="chat").is_chat(loaded.tokenizer)  # an error where there is none
        return loaded
    own = chat and template == "auto" and not passages and not any(prompt.choices for prompt in benchmark.forget)
    if not plain or own:
        return loaded
    return dataclasses.replace(loaded, template=dataclasses.replace(loaded.template, kind="plain", plain=plain))
