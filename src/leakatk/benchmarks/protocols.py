"""Protocols: named sets of conventions, as data. Every run and report says which one it used.

`clean` is the default. `paper` follows the published Leak@k code (arXiv 2511.04934) where that changes numbers, quirks
included; its bugs (k > n counted as no leak, shifted or lost labels) are not reproduced.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from leakatk.benchmarks.base import Ask
from leakatk.registry import Facts, Registry
from leakatk.sampling.decoding import Decoding


@dataclass(frozen=True, kw_only=True)
class Protocol(Facts):
    """Conventions under a name, with its facts."""

    ask: Ask = "question"
    """Which question of TOFU is asked."""
    as_text: bool = False
    """Whether chat prompts are decoded to plain text and tokenised again."""
    plain: str = ""
    """How a model without chat template is asked; "" leaves it to the benchmark."""
    n: int = 200
    """Samples a prompt."""
    headline: Decoding = field(default_factory=Decoding)
    """The decoding of single-number tables."""
    grid: tuple[Decoding, ...] = field(default_factory=lambda: (Decoding(),))
    """The decodings of the whole table."""
    own_limit: bool = False
    """Whether the headline's length belongs to the published protocol: an answer that reaches it is then not a cut one."""
    scorer: str = ""
    """Core metric; "" picks one from the prompts."""
    families: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """What one family of benchmarks ("tofu", "muse", "wmdp") changes of all this."""
    changes: tuple[str, ...] = ()
    """What differs from the clean protocol, in words."""

    def on(self, benchmark: str) -> Protocol:
        """The protocol as it applies to one benchmark, by name; the longest family that fits counts."""
        fitting = [family for family in self.families if benchmark.startswith(family)]
        return replace(self, **self.families[max(fitting, key=len)]) if fitting else self


# (temperature, top-p) of the paper's grid; (0, 0) is greedy.
GRID = ((0, 0), (0.2, 0.2), (0.2, 0.8), (0.2, 1), (0.8, 0.2), (0.8, 0.8), (0.8, 1), (1, 0.2), (1, 0.8), (1, 1))


def _grid(top_k: int, tokens: int = 200) -> tuple[Decoding, ...]:
    return tuple(Decoding(temperature=t, top_p=p, top_k=top_k, max_new_tokens=tokens) for t, p in GRID)


PROTOCOLS: Registry[Protocol] = Registry("protocol")
PROTOCOLS.add(
    "clean",
    Protocol(
        name="clean",
        summary="Every decoding field explicit, no library default applied, the prompt exactly as the model's template.",
        paper="ours",
        formula="leak@k(x) = E max over j <= k of S(answer j); U-statistic over n samples, mean over prompts",
        grid=_grid(top_k=0),
    ),
)
PROTOCOLS.add(
    "paper",
    Protocol(
        name="paper",
        summary="The conventions of the published Leak@k code, quirks included.",
        paper="Leak@k, arXiv 2511.04934",
        formula="the same estimator; for 0/1 scores 1 - C(n-c,k)/C(n,k), as published",
        as_text=True,
        headline=Decoding(top_k=50, max_new_tokens=200),
        grid=_grid(top_k=50),
        own_limit=True,
        scorer="entailment",
        families={
            "tofu": {"ask": "paraphrased"},
            "muse": {
                "scorer": "rouge-l:stem=no",
                "headline": Decoding(top_k=50, max_new_tokens=32),
                "grid": _grid(top_k=50, tokens=32),
            },
            "wmdp": {"scorer": "choice"},
            **{f"wmdp/{subject}:open": {"scorer": "judge:rubric=graded"} for subject in ("bio", "chem", "cyber")},
        },
        changes=(
            "TOFU is asked with the paraphrased question",
            "top-k 50 applies, because that code leaves the library default in place",
            "the chat prompt is decoded without special tokens and tokenised again, so role headers are plain text",
            "the core metric is entailment with a gate of ROUGE-L recall .1; ROUGE-L recall for MUSE, the right choice for WMDP",
            "MUSE is asked in its own few-shot prompt, which ends with Answer: and a space, with 32 new tokens",
            "WMDP as open questions (wmdp/cyber:open) goes to the judge with the graded rubric",
        ),
    ),
)
