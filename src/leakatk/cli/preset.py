"""The method and settings of `leakatk unlearn`: a preset, and what the options change in it."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from leakatk.errors import InputError
from leakatk.registry import typed

if TYPE_CHECKING:
    from leakatk.models.loaded import LoadedModel
    from leakatk.models.memory import Trained
    from leakatk.unlearning.methods import Method
    from leakatk.unlearning.settings import TrainSettings


def trained_as(method: Method, *, lora: bool, load_in: str, rule: bool) -> Trained:
    """What training adds to the memory of a model. InputError where codes cannot be trained so."""
    from leakatk.models.memory import Trained
    from leakatk.models.placement import check_tuning

    tuning = "lora" if lora else method.settings.tuning
    check_tuning(load_in, tuning)
    if load_in and rule:
        raise InputError(
            f"RULE goes on from the weights of the round before, and with --load-in {load_in} they stay codes with an adapter "
            "beside them; leave out --load-in."
        )
    if load_in and len(method.stages) > 1:
        raise InputError(
            f"Method {method.name} keeps or edits weights between its stages, which --load-in {load_in} makes codes of; leave it "
            "out, or take a method of one stage."
        )
    settings = method.settings
    return Trained(settings.lora_rank if tuning == "lora" else 0, 2 if settings.optimizer == "adamw8bit" else 8)


SMALL_MODEL = 20_000_000  # parameters


def is_small(loaded: LoadedModel) -> bool:
    """Whether settings for small models suit it."""
    size: int = sum(parameter.numel() for parameter in loaded.model.parameters())
    return size < SMALL_MODEL


def configure(
    method: Method,
    loaded: LoadedModel,
    preset: str,
    params: list[str],
    overrides: dict[str, Any],
    *,
    checked: bool,
    check_every: int,
) -> tuple[Method, TrainSettings]:
    """The method and settings after preset, --param and the single options."""
    if preset not in ("auto", "paper", "small"):
        raise InputError(f"--preset must be auto, paper or small, got {preset!r}.")
    if preset == "small" or (preset == "auto" and is_small(loaded)):
        method = method.for_small_models()
    values: dict[str, Any] = {}
    for text in params:
        name, equals, value = text.partition("=")
        if not equals:
            raise InputError(f"--param {text!r}: write NAME=VALUE, such as beta=2.5.")
        values[name] = typed(f"--param {name}", value, method.params.get(name))
        if isinstance(values[name], float) and not math.isfinite(values[name]):
            raise InputError(f"--param {text!r}: the value must be a finite number.")
    method = method.with_params(**values)
    given = {key: value for key, value in overrides.items() if value is not None}
    if "max_steps" in given and "epochs" in given:
        raise InputError("Give either --steps or --epochs, not both.")
    if "max_steps" in given:
        given["epochs"] = None
    if "epochs" in given and given["epochs"] is not None:
        given["max_steps"] = None
    if checked:
        given["check_every"] = check_every
    elif "check_every" not in given:
        given["check_every"] = 0
    settings = replace(method.settings, **given)
    return replace(method, settings=settings), settings
