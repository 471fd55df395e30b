"""Method presets, one file a family. Importing this registers them."""

from leakatk.unlearning.method import METHODS, Method, method, resolve
from leakatk.unlearning.methods import (  # noqa: F401
    continual,
    distillation,
    editing,
    likelihood,
    merging,
    preference,
    representation,
    schedules,
    selection,
    surgery,
    weighed,
    written,
)

__all__ = ["METHODS", "Method", "method", "resolve"]
