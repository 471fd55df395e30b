"""Named sets of conventions, as data. Every run and report says which one it used.

`clean` is the default. `paper` follows the published Leak@k code (arXiv 2511.04934) where that changes numbers, quirks
included; its bugs (k > n counted as no leak, shifted or lost labels) are not reproduced.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from leakatk.benchmarks.base import Ask
from leakatk.registry import Registry
from leakatk.sampling.decoding import Decoding


@dataclass(frozen=True, slots=True)
class Protocol:
    """ask: which question of TOFU is asked.  as_text: chat prompts are decoded to plain text and tokenised again.

    n: samples a prompt.  headline: the decoding of single-number tables.  grid: the decodings of the whole table.
    scorer: core metric; "" picks one from the prompts.  changes: what differs from the clean protocol, in words.
    """

    name: str
    summary: str
    ask: Ask = "question"
    as_text: bool = False
    n: int = 200
    headline: Decoding = field(default_factory=Decoding)
    grid: tuple[Decoding, ...] = field(default_factory=lambda: (Decoding(),))
    scorer: str = ""
    changes: tuple[str, ...] = ()


# (temperature, top-p) of the paper's grid; (0, 0) is greedy.
GRID = ((0, 0), (0.2, 0.2), (0.2, 0.8), (0.2, 1), (0.8, 0.2), (0.8, 0.8), (0.8, 1), (1, 0.2), (1, 0.8), (1, 1))


def _grid(top_k: int) -> tuple[Decoding, ...]:
    return tuple(Decoding(temperature=t, top_p=p, top_k=top_k, max_new_tokens=200) for t, p in GRID)


PROTOCOLS: Registry[Protocol] = Registry("protocol")
PROTOCOLS.add(
    "clean",
    Protocol(
        name="clean",
        summary="Every decoding field explicit, no library default applied, the prompt exactly as the model's template.",
        grid=_grid(top_k=0),
    ),
)
PROTOCOLS.add(
    "paper",
    Protocol(
        name="paper",
        summary="The conventions of the published Leak@k code, quirks included.",
        ask="paraphrased",
        as_text=True,
        headline=Decoding(top_k=50, max_new_tokens=200),
        grid=_grid(top_k=50),
        scorer="entailment",
        changes=(
            "TOFU is asked with the paraphrased question",
            "top-k 50 applies, because that code leaves the library default in place",
            "the chat prompt is decoded without special tokens and tokenised again, so role headers are plain text",
            "the core metric is entailment with a gate of ROUGE-L recall .1",
        ),
    ),
)
