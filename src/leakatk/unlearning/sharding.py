"""Sharding of one model over several processes: PyTorch's FSDP2 (`fully_shard`), asked for by `accelerate launch --use_fsdp`.

Every process trains a shard of the float32 weights, their gradients and the optimiser's moments, one decoder layer and the
rest of the model at a time made whole for a forward or backward pass. The caller's model gives up its weights meanwhile and
gets them back whole.
"""

from __future__ import annotations

import copy
import os

import torch
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor

from leakatk.errors import InputError
from leakatk.unlearning.streams import decoder_layers


def asked_for() -> bool:
    """Whether `accelerate launch` was told to shard. InputError for FSDP's first version, which wraps otherwise."""
    if os.environ.get("ACCELERATE_USE_FSDP", "").lower() != "true":
        return False
    version = os.environ.get("FSDP_VERSION", "1")
    if version != "2":
        raise InputError(
            f"Sharded training is FSDP2, got version {version}; launch with --use_fsdp --fsdp_version 2 "
            "--fsdp_cpu_ram_efficient_loading false."
        )
    return True


def sharded(model: nn.Module, device: torch.device, processes: int) -> nn.Module:
    """A copy of `model` in shards over all processes; its forward and backward passes are those of the whole model."""
    mesh = init_device_mesh(device.type, (processes,))
    copied = copy.deepcopy(model)
    for layer in decoder_layers(copied):
        fully_shard(layer, mesh=mesh)
    fully_shard(copied, mesh=mesh)
    return copied


def release(model: nn.Module) -> None:
    """Give the weights' memory back; `fill` makes the model usable again."""
    for parameter in model.parameters():
        parameter.data = parameter.data.new_empty(0)


def fill(model: nn.Module, shards: nn.Module) -> None:
    """Put the weights of the sharded copy into `model`. Every process must call it."""
    values = {name: whole(value.detach()) for name, value in shards.named_parameters()}
    for name, parameter in model.named_parameters():
        parameter.data = values[name]


def whole(value: Tensor) -> Tensor:
    """The full tensor of a shard (every process must ask); any other tensor as it is."""
    return value.full_tensor() if isinstance(value, DTensor) else value


def alike(value: Tensor, shard: Tensor) -> Tensor:
    """This process's part of a full tensor, laid out as `shard` is."""
    if not isinstance(shard, DTensor):
        return value
    return distribute_tensor(value.to(shard.device), shard.device_mesh, shard.placements)
