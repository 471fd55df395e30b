"""Options of training that several commands share, and how they become settings."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from leakatk.errors import InputError

if TYPE_CHECKING:
    from leakatk.unlearning.settings import TrainSettings

LoraRank = Annotated[int | None, typer.Option(min=1, help="Rank of the adapter; goes with --lora (default 16).")]
LoraAlpha = Annotated[
    float | None, typer.Option(help="The adapter counts alpha / rank times; goes with --lora (default 32).")
]
LoraTargets = Annotated[
    str, typer.Option(help="Modules that get an adapter, such as q_proj,v_proj; default all linear ones.")
]
KeepAdapter = Annotated[
    bool,
    typer.Option("--keep-adapter", help="Save the LoRA adapter as it is, beside the model's name; else it is merged."),
]
Warmup = Annotated[
    int | None, typer.Option(min=0, help="Steps with a rising learning rate (default: the preset's, in epochs).")
]
Schedule = Annotated[
    str,
    typer.Option(
        help="How the learning rate falls after the warm-up: constant, linear or cosine; default the preset's."
    ),
]
WeightDecay = Annotated[float | None, typer.Option(min=0, help="Decoupled weight decay; default the preset's.")]
GradientCheckpointing = Annotated[
    bool, typer.Option("--gradient-checkpointing", help="Compute activations twice: less memory, more time.")
]


def changes(
    *,
    lora_rank: int | None,
    lora_alpha: float | None,
    lora_targets: str,
    warmup: int | None,
    schedule: str,
    weight_decay: float | None,
    gradient_checkpointing: bool,
) -> dict[str, Any]:
    """The fields of the settings that these options set."""
    if lora_alpha is not None and not 0 < lora_alpha < float("inf"):
        raise InputError(f"--lora-alpha must be a number > 0, got {lora_alpha}.")
    if schedule not in ("", "constant", "linear", "cosine"):
        raise InputError(f"--schedule {schedule!r}: use constant, linear or cosine.")
    found: dict[str, Any] = {
        "lora_rank": lora_rank, "lora_alpha": lora_alpha, "schedule": schedule or None, "weight_decay": weight_decay,
        "gradient_checkpointing": gradient_checkpointing or None, "warmup_steps": warmup,
        "warmup_epochs": 0.0 if warmup is not None else None,
    }  # fmt: skip
    if lora_targets:
        found["lora_targets"] = tuple(name.strip() for name in lora_targets.split(",") if name.strip())
    return {name: value for name, value in found.items() if value is not None}


def check_adapter(asked: dict[str, Any], settings: TrainSettings, modules: list[str]) -> None:
    """InputError for options of an adapter where none is trained, and for modules that the model does not have."""
    given = [name for name in ("lora_rank", "lora_alpha", "lora_targets") if name in asked]
    if given and settings.tuning != "lora":
        raise InputError(f"--{given[0].replace('_', '-')} goes with --lora: without it no adapter is trained.")
    ends = {name.rpartition(".")[2] for name in modules}
    if unknown := [name for name in asked.get("lora_targets", ()) if name.rpartition(".")[2] not in ends]:
        raise InputError(
            f"--lora-targets: the model has no module {unknown[0]!r}; it has, for instance, q_proj or c_attn."
        )
