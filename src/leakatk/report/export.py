"""A report's numbers as JSON, for other programs. Missing is null."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Mapping
from typing import Any

from leakatk.report.content import ReportContent


def to_json(content: ReportContent, *, prompts: bool = True) -> str:
    """Every field of the content as JSON (UTF-8, two spaces of indent); NaN and infinities become null.

    prompts=False leaves the per-prompt texts out. Texts are as the model wrote them, escaped by JSON alone.
    """
    value = dataclasses.asdict(content if prompts else dataclasses.replace(content, prompts=()))
    value["manifests"] = [{"label": label, "manifest": manifest} for label, manifest in content.manifests]
    return json.dumps(plain(value), indent=2, allow_nan=False) + "\n"


def plain(value: Any) -> Any:
    """The value as JSON can hold it: NaN and infinities as None, tuples as lists, other things as text."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    return value if value is None or isinstance(value, str | int | bool) else str(value)
