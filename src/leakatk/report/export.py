"""Export of a report's numbers as JSON, for other programs. Missing is null."""

from __future__ import annotations

import dataclasses

from leakatk.files.strict_json import strict_json
from leakatk.report.content import ReportContent


def to_json(content: ReportContent, *, prompts: bool = True) -> str:
    """Every field of the content as JSON (UTF-8, two spaces of indent); NaN and infinities become null.

    prompts=False leaves the per-prompt texts out. Texts are as the model wrote them, escaped by JSON alone.
    """
    value = dataclasses.asdict(content if prompts else dataclasses.replace(content, prompts=()))
    value["manifests"] = [{"label": label, "manifest": manifest} for label, manifest in content.manifests]
    return strict_json(value, indent=2, default=str) + "\n"
