"""Placement of a model: over which devices its weights are spread, and in how many bits they are held."""

from __future__ import annotations

from collections import Counter
from typing import Any

import torch
from torch import nn

from leakatk.errors import InputError, ModelError
from leakatk.models.files import is_installed

DEVICE_MAPS = ("", "auto")
LOAD_IN = ("", "8bit", "4bit")


def check_placement(path: str, device: str, device_map: str, load_in: str) -> None:
    """InputError for values that are unknown or do not go together, ModelError where a package for them is missing."""
    if device_map not in DEVICE_MAPS:
        raise InputError(f"Unknown device map {device_map!r}; use --device-map auto, or leave it out.")
    if load_in not in LOAD_IN:
        raise InputError(f"Cannot load in {load_in!r}; use --load-in 8bit or 4bit, or leave it out.")
    if device_map and device != "auto":
        raise InputError(
            f"--device-map {device_map} spreads the model over every device there is, and --device {device} names one; leave "
            "one of them out."
        )
    if (load_in or device_map) and path.lower().endswith(".gguf"):
        option = f"--load-in {load_in}" if load_in else f"--device-map {device_map}"
        raise InputError(
            f"{path} is a GGUF file, which is dequantised whole in main memory when it is loaded; leave out {option}, or give the "
            "model as safetensors."
        )
    if load_in and not is_installed("bitsandbytes"):
        raise ModelError(
            f"--load-in {load_in} needs the package bitsandbytes: pip install 'leak-at-k[bitsandbytes]', or leave it out."
        )


def check_tuning(load_in: str, tuning: str) -> None:
    """InputError where the weights themselves would be trained and are codes."""
    if load_in and tuning != "lora":
        raise InputError(
            f"--load-in {load_in} makes codes of the weights, which cannot be trained themselves; add --lora, or leave out "
            "--load-in."
        )


def placing(target: torch.device, precision: torch.dtype, device_map: str, load_in: str) -> dict[str, Any]:
    """What from_pretrained is told of the placement; empty where the model is moved to its device afterwards.

    target: the device without a device map.
    precision: of what is not quantised, and of the products with what is.
    """
    given: dict[str, Any] = {"device_map": device_map} if device_map else {}
    if not load_in:
        return given
    from transformers import BitsAndBytesConfig

    if load_in == "8bit":
        # A threshold would pick the columns that stay in 16 bits by all rows of a batch: an answer's probability would change
        # with what is computed beside it.
        config = BitsAndBytesConfig(load_in_8bit=True, llm_int8_threshold=0.0)
    else:
        config = BitsAndBytesConfig(
            load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_compute_dtype=precision
        )  # the type that QLoRA made for weights (arXiv 2305.14314)
    return {"device_map": {"": str(target)}, **given, "quantization_config": config}


def move(model: nn.Module, target: torch.device) -> None:
    """Move a model to its device, unless it was loaded to where it belongs."""
    if not is_quantised(model) and not is_spread(model):
        model.to(target)


def settle(model: nn.Module) -> None:
    """Keep bitsandbytes from packing 4-bit weights anew on processors that multiply bf16; before the first forward pass.

    What is packed so has no backward pass (0.50: gradients below it are lost without an error), and rounds as one processor
    does and another does not.
    """
    for module in model.modules():
        if hasattr(module, "support_avx512bf16_for_cpu"):
            setattr(module, "support_avx512bf16_for_cpu", False)  # noqa: B010  # torch's types know no such attribute


def is_quantised(model: nn.Module) -> bool:
    """Whether weights are held as codes, not as numbers that can be trained or copied."""
    parameters = any(not parameter.is_floating_point() for parameter in model.parameters())
    return parameters or any(name.rpartition(".")[2] == "qweight" for name, _ in model.named_buffers())


def rounds_activations(model: nn.Module) -> bool:
    """Whether its linear layers round their inputs to 8 bits, so that a difference in the last digit can become a larger one."""
    return any(parameter.dtype == torch.int8 for parameter in model.parameters())


def is_spread(model: nn.Module) -> bool:
    """Whether the weights lie on several devices, or away from where they are used."""
    return len({parameter.device for parameter in model.parameters()}) > 1 or any(
        parameter.is_meta for parameter in model.parameters()
    )


def device_of(model: nn.Module) -> torch.device:
    """Where token ids belong: on the device of the first weights that are not stored elsewhere until they are used."""
    for parameter in model.parameters():
        if not parameter.is_meta:
            return torch.device(parameter.device)
    for module in model.modules():
        device = getattr(getattr(module, "_hf_hook", None), "execution_device", None)
        if device is not None:
            return torch.device(device)
    return torch.device("cpu")


def where(model: nn.Module) -> str:
    """The devices that hold a spread model, with how many of its weights each has; "" for one device."""
    if not is_spread(model):
        return ""
    held: Counter[str] = Counter()
    for parameter in model.parameters():
        held["main memory or disk, until used" if parameter.is_meta else str(parameter.device)] += parameter.numel()
    return ", ".join(f"{place}: {count:,}" for place, count in held.most_common())


def refuse_codes(model: nn.Module, what: str, remedy: str = "leave out --load-in") -> None:
    """InputError where `what` would change or read weights as numbers and the model holds codes."""
    if is_quantised(model):
        raise InputError(f"{what} needs weights as numbers, and this model's are quantised; {remedy}.")


def refuse_spread(model: nn.Module, what: str) -> None:
    """InputError where `what` works with weights on one device and the model is spread over several."""
    if is_spread(model):
        raise InputError(f"{what} needs the whole model on one device; leave out --device-map.")


def check_trainable(model: nn.Module, tuning: str) -> None:
    """InputError where a model cannot be trained as it lies in memory. tuning: "full" or "lora"."""
    if tuning == "full":
        refuse_codes(model, "Training all weights", "train an adapter (--lora), or leave out --load-in")
        refuse_spread(model, "Training all weights")
    elif any(parameter.is_meta for parameter in model.parameters()):
        raise InputError(
            "Training an adapter needs every weight in the memory of a GPU or all in main memory, and some wait on another "
            "device until used; use --load-in 4bit, or more GPUs."
        )
    elif is_quantised(model) and hasattr(model, "peft_config"):
        raise InputError(
            "The quantised model has an adapter already, and a second one would be trained on top of it; merge the first into "
            "its base (load both without --load-in and save them), then train from there."
        )


def thaw(model: nn.Module) -> None:
    """Let every weight take a gradient, but for codes, which cannot."""
    for parameter in model.parameters():
        if parameter.is_floating_point():
            parameter.requires_grad_(True)
