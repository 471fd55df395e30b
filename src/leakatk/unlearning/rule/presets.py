"""Presets of RULE: every value with the evidence for it."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from leakatk.registry import Facts, Registry
from leakatk.sampling.decoding import Decoding
from leakatk.unlearning.methods import METHODS, Method
from leakatk.unlearning.rule.settings import RuleSettings
from leakatk.unlearning.settings import TrainSettings

# What a value rests on; each entry of `RulePreset.evidence` begins with one of them.
PUBLISHED = "published"
INFERRED = "inferred from the authors' configuration files"
OURS = "our choice"


@dataclass(frozen=True, kw_only=True)
class RulePreset(Facts):
    """RULE, the method that it wraps and the optimisation of a round, under one name."""

    base: str
    """The method wrapped."""
    params: Mapping[str, Any]
    """Numbers of its formula that differ from the method's own."""
    settings: RuleSettings
    train: TrainSettings
    evidence: Mapping[str, str] = field(default_factory=dict)
    """Name of a value, as in `values`, -> what it rests on."""

    def method(self) -> Method:
        """The method wrapped, with the preset's numbers."""
        return METHODS[self.base].with_params(**self.params)

    def values(self) -> dict[str, Any]:
        """Every value: "base", "params.NAME", "settings.FIELD" and "train.FIELD"."""
        return {
            "base": self.base,
            **{f"params.{name}": value for name, value in self.method().params.items()},
            **{f"settings.{name}": value for name, value in _fields(self.settings).items()},
            **{f"train.{name}": value for name, value in _fields(self.train).items()},
        }

    def table(self) -> list[tuple[str, str, str]]:
        """(name, value, evidence) of every value."""
        return [(name, _shown(value), self.evidence[name]) for name, value in self.values().items()]


RULE_PRESETS: Registry[RulePreset] = Registry("RULE preset")


def _fields(settings: Any) -> dict[str, Any]:
    return {one.name: getattr(settings, one.name) for one in dataclasses.fields(settings)}


def _shown(value: Any) -> str:
    if isinstance(value, tuple):
        return ", ".join(map(_shown, value))
    if isinstance(value, Decoding):
        return f"{value.label}, {value.max_new_tokens} tokens"
    return f"{value:g}" if isinstance(value, float) else str(value) or '""'


_BATCH = f"{INFERRED}: 8 x 4"
_ADDED = f"{OURS}: an addition of ours, off"

RULE_PRESETS.add(
    "paper",
    RulePreset(
        name="paper",
        summary="RULE around NPO with the answer-entropy term, as far as the authors' public files tell",
        paper="Leak@k, arXiv 2511.04934; github.com/OptimAI-Lab/Leak-k",
        source="the authors' public configuration files; their training code is not public",
        reading="that these files are those of the published RULE runs, and every value marked as our choice",
        base="npo-ent",
        params={"beta": 0.5, "retain_weight": 5.0},
        settings=RuleSettings(decodings=(Decoding(max_new_tokens=200),)),
        train=TrainSettings(
            learning_rate=1e-5,
            epochs=10,
            forget_batch=32,
            retain_batch=32,
            gradient_accumulation=4,
            schedule="linear",
            warmup_epochs=1.0,
            weight_decay=0.01,
            dtype="bf16",
        ),
        evidence={
            "base": f"{INFERRED}: their NPO always adds the entropy of the answers",
            "params.forget_weight": f"{OURS}: the method's own",
            "params.retain_weight": INFERRED,
            "params.per": f"{OURS}: the method's own; open-unlearning averages over all tokens (per=token)",
            "params.beta": INFERRED,
            "params.entropy_weight": f"{OURS}: the method's own",
            "settings.rounds": f"{PUBLISHED}: three rounds on TOFU",
            "settings.n": f"{OURS}: not published",
            "settings.threshold": f"{OURS}: not published, nor is the scorer",
            "settings.cap": f"{OURS}: not published",
            "settings.keep": f"{OURS}: not published",
            "settings.start": f"{INFERRED}: a run starts at another unlearning run's result",
            "settings.reference": f"{OURS}: not published",
            "settings.decodings": f"{OURS}: temperature 1, top-p 1 and 200 tokens are the published evaluation's; what RULE "
            "samples with is not published",
            "settings.wordings": f"{INFERRED}: training asks the original question, the evaluation its paraphrase",
            "settings.leak_wordings": _ADDED,
            "settings.weighting": f"{OURS}: not published",
            "settings.chunk": _ADDED,
            "settings.exact_at": _ADDED,
            "settings.k": f"{OURS}: the largest k of the published evaluation",
            "settings.level": f"{OURS}: of the bound that is printed",
            "settings.target": f"{OURS}: the stop rule is not published; here all rounds run unless one finds no leak",
            "settings.yardstick": _ADDED,
            "settings.utility_floor": _ADDED,
            "settings.augment": f"{PUBLISHED}: it is what RULE does",
            "train.learning_rate": INFERRED,
            "train.max_steps": f"{INFERRED}: epochs are given",
            "train.epochs": f"{INFERRED}; that they are those of one round is our reading",
            "train.forget_batch": _BATCH,
            "train.retain_batch": f"{_BATCH}; as many retain answers as forget answers",
            "train.gradient_accumulation": _BATCH,
            "train.schedule": f"{OURS}: that of the published base runs",
            "train.warmup_steps": f"{INFERRED}: the warm-up is given in epochs",
            "train.warmup_epochs": INFERRED,
            "train.weight_decay": INFERRED,
            "train.betas": f"{OURS}: the library's default",
            "train.max_grad_norm": f"{OURS}: the library's default",
            "train.optimizer": f"{INFERRED}: paged AdamW; paging moves memory, so ours is plain AdamW",
            "train.tuning": f"{OURS}: as the published base runs, every parameter",
            "train.lora_rank": f"{OURS}: not used",
            "train.lora_alpha": f"{OURS}: not used",
            "train.lora_targets": f"{OURS}: not used",
            "train.keep_adapter": f"{OURS}: not used",
            "train.parameters": f"{OURS}: all",
            "train.dtype": INFERRED,
            "train.gradient_checkpointing": f"{OURS}: changes memory, not numbers",
            "train.max_tokens": f"{OURS}: no limit",
            "train.check_every": f"{OURS}: no checks within a round",
            "train.checkpoint_every": f"{OURS}: changes no number",
            "train.utility_floor": f"{OURS}: none",
            "train.on_floor": f"{OURS}: not used",
        },
    ),
)
