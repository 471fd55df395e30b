"""Plan of the demo on a real model: which models it makes, from which data, and how much it does."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from leakatk.models.loaded import LoadedModel
    from leakatk.small.finetune import Lessons
    from leakatk.unlearning.method import Method
    from leakatk.unlearning.settings import TrainSettings

MODEL = "smollm2-135m"
BASES = ("npo", "simnpo")
RULE_BASE = "npo"
MODELS = ("full", "retrained", *BASES, "rule", "control")
LABELS = {
    "full": "full (never unlearned)",
    "retrained": "retrained (yardstick)",
    "npo": "NPO",
    "simnpo": "SimNPO",
    "rule": "RULE-NPO",
    "control": "same steps, no RULE",
}
ROLES = {"full": "original", "retrained": "reference", "control": "control"}
MARKER = "demo-real.json"


@dataclass(frozen=True, slots=True)
class Scale:
    """How much the demo does."""

    authors: int = 4
    """TOFU's last authors, so many; the two of forget01 are to be forgotten."""
    people: Mapping[str, int] = field(default_factory=lambda: {"forget": 3, "retain": 6, "retain_held": 2})
    """Invented people by part, where TOFU is not at hand."""
    training: Mapping[str, Any] = field(default_factory=dict)
    """Fields of `TrainSettings` of the fine-tuning that differ from the recipe for the model's size."""
    unlearning: Mapping[str, Any] = field(
        default_factory=lambda: {
            "learning_rate": 2e-5, "max_steps": 40, "forget_batch": 8, "retain_batch": 8, "check_every": 5, "checkpoint_every": 20,
        }
    )  # fmt: skip
    """Fields of `TrainSettings` of the unlearning that differ from the method's own."""
    asked_in: str = "auto"
    """Precision of audited models: fp32, bf16, or auto, bf16 where it is fast."""
    samples: int = 64
    """Answers a question in an audit."""
    rounds: int = 2
    """Of RULE, at most."""
    round_samples: int = 32
    """Answers a question and round that RULE looks at."""
    round_steps: int = 10
    """Optimiser steps of a round."""


def scale_for(source: str) -> Scale:
    """What two cores that multiply bf16 fast do in less than half an hour: TOFU's answers are four times as long."""
    if source == "world":
        return Scale()
    less = Scale(samples=32, rounds=1, round_samples=16)
    return replace(less, unlearning={**less.unlearning, "max_steps": 25})


def find_source(data: str | None) -> str:
    """ "tofu" where TOFU's files are in a directory or on the hub, else "world"."""
    from leakatk.benchmarks.fetch import FetchError
    from leakatk.small.finetune import tofu_lessons

    try:
        tofu_lessons("forget01", data, None)
    except FetchError:
        return "world"
    return "tofu"


@dataclass(frozen=True, slots=True)
class Plan:
    """What every job knows. model: what is fine-tuned; source: "tofu" or "world"; data: TOFU's directory, None for the hub."""

    model: str
    source: str
    data: str | None
    scale: Scale

    def lessons(self, seed: int) -> Lessons:
        from leakatk.benchmarks.base import Benchmark
        from leakatk.benchmarks.worlds.people import make_world
        from leakatk.small.finetune import Lessons, tofu_lessons

        if self.source == "tofu":
            return tofu_lessons("forget01", self.data, self.scale.authors)
        world = make_world(seed, **self.scale.people, holdout=0, world_facts=0, pretraining=0)
        return Lessons(
            Benchmark(name="world", forget=world.forget, retain=world.retain, retain_held=world.retain_held),
            "everything but a few invented people, since TOFU's files are not at hand",
        )

    @property
    def tokens(self) -> int:
        """The longest answer that is sampled."""
        return 96 if self.source == "tofu" else 40

    def load(self, path: str | Path | None = None, dtype: str = "fp32") -> LoadedModel:
        from leakatk.models.load import load_model

        return load_model(path or self.model, dtype=dtype)

    def asked_in(self) -> str:
        """The precision in which models are audited here."""
        import torch

        from leakatk.unlearning.precision import fast_bf16

        if self.scale.asked_in != "auto":
            return self.scale.asked_in
        return "bf16" if torch.cuda.is_available() or fast_bf16() else "fp32"

    def training(self, loaded: LoadedModel) -> TrainSettings:
        from leakatk.small.finetune import recipe_for

        recipe = recipe_for(sum(one.numel() for one in loaded.model.parameters()))
        return recipe.changed({"checkpoint_every": 25, **self.scale.training})

    def method(self, name: str) -> Method:
        from leakatk.unlearning.methods import METHODS

        method = METHODS[name]
        return replace(method, settings=method.settings.changed({"warmup_epochs": 0.0, **self.scale.unlearning}))
