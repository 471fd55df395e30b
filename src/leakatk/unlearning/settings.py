"""Settings of training: how long, how fast, and when to stop."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any, Literal, Protocol, runtime_checkable

from leakatk.errors import InputError

if TYPE_CHECKING:
    from leakatk.models.loaded import LoadedModel


# What a field is called in the manifests of trained models, which were written before it had its name.
_FORMER = {"learning_rate": "lr", "max_steps": "steps", "gradient_accumulation": "accumulate", "warmup_steps": "warmup"}


@dataclass(frozen=True, slots=True)
class TrainSettings:
    """Everything about the optimisation that is not the method's formula."""

    learning_rate: float = 1e-5
    """Highest learning rate; `schedule` and the warm-up say what it is at each step."""
    max_steps: int | None = None
    """Optimiser steps. Give either this or `epochs`."""
    epochs: float | None = None
    """Passes over the forget set (over the retain set, for a method that does not look at that)."""
    forget_batch: int = 16
    """Forget answers an optimiser step, over all processes and micro-batches."""
    retain_batch: int = 16
    """Retain answers an optimiser step, likewise."""
    gradient_accumulation: int = 1
    """Micro-batches that a step is split into."""
    schedule: Literal["constant", "linear", "cosine"] = "constant"
    """How the learning rate falls after the warm-up: not at all, or to 0 at the end."""
    warmup_steps: int = 0
    """Steps with a rising learning rate. Give either this or `warmup_epochs`."""
    warmup_epochs: float = 0.0
    """The same in epochs; then at most half of all steps."""
    weight_decay: float = 0.01
    """Decoupled weight decay, of AdamW."""
    betas: tuple[float, float] = (0.9, 0.999)
    """Decay of AdamW's two moments."""
    max_grad_norm: float = 1.0
    """The gradient is scaled down to this norm where it is larger; 0: never."""
    optimizer: Literal["adamw", "adamw8bit"] = "adamw"
    """"adamw8bit" needs bitsandbytes."""
    tuning: Literal["full", "lora"] = "full"
    """Train the weights, or a LoRA adapter that is merged into them at the end."""
    lora_rank: int = 16
    """Rank of the adapter."""
    lora_alpha: float = 32.0
    """The adapter counts lora_alpha / lora_rank times."""
    lora_targets: str | tuple[str, ...] = "all-linear"
    """Modules that get an adapter: names, or "all-linear"."""
    keep_adapter: bool = False
    """With a LoRA adapter: it is saved as it is, beside the model that it belongs to, and not merged."""
    parameters: str = ""
    """A regular expression; only matching parameters are trained; "" = all."""
    dtype: Literal["auto", "fp32", "bf16"] = "auto"
    """"bf16" is autocast over float32 weights; "auto" = bf16 on a GPU, and on a CPU that multiplies it fast (AVX512-BF16 or AMX)
    for models from ten million parameters on; else fp32."""
    gradient_checkpointing: bool = False
    """Recompute activations in the backward pass: less memory, more time."""
    max_tokens: int = 0
    """Longest answer in tokens; longer ones are cut; 0 = no limit."""
    check_every: int = 0
    """Steps between checks; 0: only at the end."""
    checkpoint_every: int = 0
    """Steps between checkpoints; 0: none."""
    utility_floor: float = 0.0
    """A check that reports a "utility" below it ends the run."""
    on_floor: Literal["raise", "stop"] = "raise"
    """How it ends the run: with a UtilityFloorError, or as a run that was stopped."""

    def __post_init__(self) -> None:
        def need(good: bool, field: str, what: str) -> None:
            if not good:
                raise InputError(f"TrainSettings.{field} must be {what}, got {getattr(self, field)!r}.")

        need(math.isfinite(self.learning_rate) and self.learning_rate > 0, "learning_rate", "a number > 0")
        if (self.max_steps is None) == (self.epochs is None):
            raise InputError(
                f"Give either max_steps or epochs, got max_steps={self.max_steps!r} and epochs={self.epochs!r}."
            )
        need(self.max_steps is None or self.max_steps >= 1, "max_steps", "at least 1")
        need(self.epochs is None or self.epochs > 0, "epochs", "a number > 0")
        for field in ("forget_batch", "retain_batch", "gradient_accumulation", "lora_rank"):
            need(getattr(self, field) >= 1, field, "at least 1")
        for field in ("check_every", "checkpoint_every", "warmup_steps", "warmup_epochs", "weight_decay", "max_tokens"):
            need(getattr(self, field) >= 0, field, "at least 0")
        if self.keep_adapter and self.tuning != "lora":
            raise InputError(
                "TrainSettings.keep_adapter needs tuning='lora': without an adapter there is none to keep."
            )
        if self.warmup_steps and self.warmup_epochs:
            raise InputError(
                f"Give either warmup_steps or warmup_epochs, got warmup_steps={self.warmup_steps!r} and warmup_epochs={self.warmup_epochs!r}."
            )
        for field in ("forget_batch", "retain_batch"):
            if getattr(self, field) % self.gradient_accumulation:
                raise InputError(
                    f"TrainSettings.{field}={getattr(self, field)} is no multiple of gradient_accumulation={self.gradient_accumulation}."
                )
        choices = {
            "schedule": ("constant", "linear", "cosine"),
            "optimizer": ("adamw", "adamw8bit"),
            "tuning": ("full", "lora"),
            "dtype": ("auto", "fp32", "bf16"),
            "on_floor": ("raise", "stop"),
        }
        for field, allowed in choices.items():
            need(getattr(self, field) in allowed, field, " or ".join(allowed))
        object.__setattr__(self, "betas", tuple(self.betas))
        if not isinstance(self.lora_targets, str):
            object.__setattr__(self, "lora_targets", tuple(self.lora_targets))

    def total_steps(self, items: int, *, side: str = "forget") -> int:
        """Optimiser steps over so many items of the side that epochs are counted on."""
        if self.max_steps is not None:
            return self.max_steps
        return max(1, math.ceil((self.epochs or 1) * items / self._batch(side)))

    def rising_steps(self, items: int, *, side: str = "forget") -> int:
        """Optimiser steps with a rising learning rate."""
        if not self.warmup_epochs:
            return self.warmup_steps
        total = self.total_steps(items, side=side)
        return min(int(self.warmup_epochs * items // self._batch(side)), total // 2)

    def _batch(self, side: str) -> int:
        return self.forget_batch if side == "forget" else self.retain_batch

    def rate(self, step: int, total: int, warmup: int | None = None) -> float:
        """Learning rate of step number `step` (from 0). warmup: steps, default the settings' own.

        The first step of a warm-up is not 0, as in transformers' schedules, but one share of it.
        """
        warmup = self.warmup_steps if warmup is None else warmup
        if step < warmup:
            return self.learning_rate * (step + 1) / (warmup + 1)
        left = 1 - (step - warmup) / max(total - warmup, 1)
        if self.schedule == "linear":
            return self.learning_rate * left
        if self.schedule == "cosine":
            return self.learning_rate * 0.5 * (1 - math.cos(math.pi * left))
        return self.learning_rate

    def without_decay(self) -> TrainSettings:
        """The same without weight decay."""
        return replace(self, weight_decay=0.0)

    def changed(self, changes: Mapping[str, Any]) -> TrainSettings:
        """The same with other fields; of max_steps and epochs the one that is given holds."""
        other = {"max_steps": "epochs", "epochs": "max_steps"}
        ruled_out = {other[name]: None for name in changes if name in other and changes[name] is not None}
        return replace(self, **{**ruled_out, **changes})

    def as_dict(self) -> dict[str, Any]:
        """As plain values under the names that manifests of former versions have."""
        values = {k: list(v) if isinstance(v, tuple) else v for k, v in asdict(self).items()}
        if not self.warmup_epochs:  # runs from before it was a field stay the same run
            del values["warmup_epochs"]
        if not self.keep_adapter:
            del values["keep_adapter"]
        return {_FORMER.get(name, name): value for name, value in values.items()}


@dataclass(frozen=True, slots=True)
class Check:
    """What a check found. metrics: named numbers for the log; "utility" is compared with the floor. stop ends the run.

    partial: prompts were left out, so that a utility below the floor is not yet sure and ends nothing.
    """

    metrics: Mapping[str, float]
    stop: bool = False
    reason: str = ""
    partial: bool = False


# Called between steps with the model (in evaluation mode) and the number of steps done.
OnCheck = Callable[["LoadedModel", int], Check]


@runtime_checkable
class Thrifty(Protocol):
    """A check that can ask less than everything."""

    def __call__(self, loaded: LoadedModel, step: int) -> Check: ...

    @property
    def whole_work(self) -> float:
        """What asking everything costs, in trained tokens, as far as is known before."""
        ...

    def within(self, loaded: LoadedModel, step: int, work: float, *, floor: float = 0.0) -> Check:
        """A check that costs at most `work` trained tokens; its metrics say "work", what it cost. It asks all where it stops the
        run, and where what it asked is below `floor`, if that is within `work`.
        """
        ...


def stop_when(
    measure: Callable[[LoadedModel], Mapping[str, float]], *, forget_at_most: float, utility_at_least: float
) -> OnCheck:
    """Stop at the first check with forget <= forget_at_most and utility >= utility_at_least.

    measure: gives at least "forget" (say, the share of forget prompts answered rightly under greedy decoding: use the
    worst prompt or a share, not a mean of a graded score, or single prompts stay verbatim unseen) and "utility".
    """

    def check(loaded: LoadedModel, step: int) -> Check:
        found = measure(loaded)
        met = found["forget"] <= forget_at_most and found["utility"] >= utility_at_least
        return Check(found, met, f"forget <= {forget_at_most:g} and utility >= {utility_at_least:g}" if met else "")

    return check
