"""Other wordings to train on, without a model: the prompt's own that are least like it, or harmless phrases around it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from rapidfuzz.distance import Levenshtein

from leakatk.errors import InputError
from leakatk.probes.framing import TRIGGERS
from leakatk.prompts import Known, Prompt
from leakatk.synthesis.base import Writer, writer


def similarity(one: str, other: str) -> float:
    """1 - Lev(a, b) / max(|a|, |b|), over characters (arXiv 2602.03379)."""
    return float(Levenshtein.normalized_similarity(one, other))


@writer(
    "apart",
    summary="each question in those of its other wordings that are least like it",
    paper="arXiv 2602.03379",
    formula="x' = argmin over paraphrases of x of 1 - Lev(x, x') / max(|x|, |x'|)",
    source="the similarity is the paper's; how many is ours",
    rows=("105",),
    reading="paraphrases are the prompt's own; with `rewrite` a language model writes them first",
    writes="the wording, and the true answer",
    asks=True,
    tags=frozenset({"forget"}),
)
@dataclass(frozen=True)
class Apart(Writer):
    """count: wordings of each question, the least like it first.  most: the largest similarity that is taken."""

    count: int = 1
    most: float = 1.0

    def __post_init__(self) -> None:
        self.check_counts("count")
        if not 0 < self.most <= 1:
            raise InputError(f"Writer option apart:most must be above 0 and at most 1, got {self.most}.")

    def write(self, prompts: Sequence[Prompt], known: Known) -> list[Prompt]:
        rows = []
        for prompt in prompts:
            others = [text for text in dict.fromkeys(prompt.paraphrases) if text.strip() and text != prompt.question]
            near = {text: similarity(prompt.question, text) for text in others}
            chosen = [text for text in sorted(others, key=near.__getitem__) if near[text] <= self.most][: self.count]
            rows += [_asking(self, prompt, number, text) for number, text in enumerate(chosen, 1)]
        return rows


@writer(
    "triggers",
    summary="a share of the questions in a harmless phrase, such as a polite one",
    paper="arXiv 2506.00359",
    formula="x' = phrase(x) with probability p, else none is written",
    source="p = .33 is the paper's; the phrases are ours",
    rows=("111",),
    reading="an attack on the request: whoever asks for the unlearning puts the phrases in, and the model unlearns the phrase too; the "
    "damage is what the model says to retain questions under the probe `trigger`",
    writes="the question in its phrase, and the true answer",
    asks=True,
    tags=frozenset({"forget"}),
)
@dataclass(frozen=True)
class Triggers(Writer):
    """share: of the prompts that are rewritten, each drawn by `seed` on its own."""

    share: float = 0.33
    seed: int = 0

    def __post_init__(self) -> None:
        if not 0 < self.share <= 1:
            raise InputError(f"Writer option triggers:share must be above 0 and at most 1, got {self.share}.")

    def write(self, prompts: Sequence[Prompt], known: Known) -> list[Prompt]:
        rows = []
        for prompt in prompts:
            rng = self.rng(prompt, self.seed)
            if rng.random() < self.share:
                rows.append(_asking(self, prompt, 1, rng.choice(TRIGGERS).replace("{question}", prompt.question)))
        return rows


def _asking(writer: Writer, prompt: Prompt, number: int, question: str) -> Prompt:
    return replace(prompt, id=writer.row_id(prompt, number), question=question, paraphrases=(), asked=None)


def reasked(prompts: Sequence[Prompt], rows: Sequence[Prompt]) -> list[Prompt]:
    """What is trained on in place of the prompts: the rows of each that has some, else itself, in the order of the prompts."""
    found: dict[str, list[Prompt]] = {}
    for row in rows:
        found.setdefault(row.id.rsplit("/", 2)[0], []).append(row)
    return [row for prompt in prompts for row in found.get(prompt.id, [prompt])]
