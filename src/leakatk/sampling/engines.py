"""The engines by name: each takes a loaded model and is a `Sampler`."""

from __future__ import annotations

from collections.abc import Callable

from leakatk.models import LoadedModel
from leakatk.registry import Registry
from leakatk.sampling.base import Sampler
from leakatk.sampling.native import NativeSampler

ENGINES: Registry[Callable[[LoadedModel], Sampler]] = Registry("engine")
ENGINES.add("native", NativeSampler)
