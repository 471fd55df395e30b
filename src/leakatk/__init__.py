"""leak@k: does an unlearned language model still leak when it is sampled the way people use it?

    import leakatk as lk

    prompts = lk.load_prompts("forget.jsonl")
    run = lk.sample("models/unlearned", prompts, n=200, decoding=lk.Decoding(temperature=1.0), seed=0, out="runs/a")
    scores = lk.score(run, "rouge-l")                       # (m, n)
    curve = lk.leak_at_k(scores, [1, 16, 128], over="samples")
    print(curve.value, curve.low, curve.high)

Names are imported when first used, so the metric half (prompts, scorers, estimators, runs, reports) never loads torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

_WHERE = {
    "AuditSettings": "leakatk.auditing.settings",
    "Decoding": "leakatk.sampling.decoding",
    "Generation": "leakatk.prompts",
    "LeakAtKError": "leakatk.errors",
    "Prompt": "leakatk.prompts",
    "Run": "leakatk.runs.store",
    "Template": "leakatk.models.load",
    "audit": "leakatk.auditing.audit",
    "benchmark": "leakatk.benchmarks.catalog",
    "excess": "leakatk.estimate.leak",
    "fetch": "leakatk.models.fetching",
    "leak_at_k": "leakatk.estimate.leak",
    "load_model": "leakatk.models.load",
    "load_prompts": "leakatk.prompts",
    "report": "leakatk.report.notebook",
    "rule": "leakatk.unlearning.rule.rule",
    "sample": "leakatk.auditing.sample",
    "save_prompts": "leakatk.prompts",
    "score": "leakatk.auditing.score",
    "score_texts": "leakatk.scorers.base",
    "unlearn": "leakatk.unlearning.trainer",
}
__all__ = [*sorted(_WHERE), "__version__"]

if TYPE_CHECKING:
    from leakatk.auditing.audit import audit as audit
    from leakatk.auditing.sample import sample as sample
    from leakatk.auditing.score import score as score
    from leakatk.auditing.settings import AuditSettings as AuditSettings
    from leakatk.benchmarks.catalog import benchmark as benchmark
    from leakatk.errors import LeakAtKError as LeakAtKError
    from leakatk.estimate.leak import excess as excess
    from leakatk.estimate.leak import leak_at_k as leak_at_k
    from leakatk.models.fetching import fetch as fetch
    from leakatk.models.load import load_model as load_model
    from leakatk.models.template import Template as Template
    from leakatk.prompts import Generation as Generation
    from leakatk.prompts import Prompt as Prompt
    from leakatk.prompts import load_prompts as load_prompts
    from leakatk.prompts import save_prompts as save_prompts
    from leakatk.report.notebook import report as report
    from leakatk.runs.store import Run as Run
    from leakatk.sampling.decoding import Decoding as Decoding
    from leakatk.scorers.base import score_texts as score_texts
    from leakatk.unlearning.rule.rule import rule as rule
    from leakatk.unlearning.trainer import unlearn as unlearn


def __getattr__(name: str) -> Any:
    if name not in _WHERE:
        from difflib import get_close_matches

        near = get_close_matches(name, __all__, n=1)
        raise AttributeError(
            f"module 'leakatk' has no attribute {name!r}" + (f"; did you mean {near[0]!r}?" if near else "")
        )
    return getattr(import_module(_WHERE[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
