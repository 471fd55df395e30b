"""Facts of RULE, as `leakatk methods rule` prints them."""

from __future__ import annotations

import ast
import inspect
import textwrap
from collections.abc import Iterator
from dataclasses import fields
from itertools import pairwise


def facts() -> Iterator[tuple[str, str]]:
    """(title, text) of what `leakatk methods rule` says, the evidence for every value of a preset included."""
    from leakatk.unlearning.rule.presets import RULE_PRESETS
    from leakatk.unlearning.rule.settings import RULE_FACTS, RuleSettings

    yield "paper", RULE_FACTS.paper
    yield "formula", RULE_FACTS.formula
    yield "from", RULE_FACTS.source
    yield "our reading", RULE_FACTS.reading
    explained = _explained(RuleSettings)
    shown = ((field.name, getattr(RuleSettings(), field.name)) for field in fields(RuleSettings))
    yield (
        "defaults",
        "in Python, RuleSettings:\n" + "\n".join(f"{name}={value!r:.40}: {explained[name]}" for name, value in shown),
    )
    for name in RULE_PRESETS:
        preset = RULE_PRESETS[name]
        lines = [f"{preset.summary}. Our reading: {preset.reading}. Without it: --rule-preset default."]
        lines += [f"{key} = {value}: {evidence}" for key, value, evidence in preset.table()]
        yield f"preset {name}", "\n".join(lines)
    yield (
        "calibrated",
        "with --retrained RETRAINED it stops at the retrained model's level and writes a verdict (ours)",
    )


def _explained(settings: type) -> dict[str, str]:
    """Field -> the sentence that stands below it in the source."""
    (written,) = ast.parse(textwrap.dedent(inspect.getsource(settings))).body
    assert isinstance(written, ast.ClassDef)
    return {
        before.target.id: " ".join(str(after.value.value).split())
        for before, after in pairwise(written.body)
        if isinstance(before, ast.AnnAssign)
        and isinstance(before.target, ast.Name)
        and isinstance(after, ast.Expr)
        and isinstance(after.value, ast.Constant)
    }
