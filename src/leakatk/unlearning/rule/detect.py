"""Detection of RULE: sample a model and say what leaks, and how much (arXiv 2511.04934, v2; our reconstruction).

Beyond the paper, as options of `RuleSettings`: several decodings and wordings, and exact probabilities beside samples.
"""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from leakatk.arrays import Floats
from leakatk.estimate.certify import certify
from leakatk.estimate.ustatistic import per_prompt_leak
from leakatk.models.loaded import LoadedModel
from leakatk.prompts import Prompt
from leakatk.sampling.base import Request, Sampler
from leakatk.sampling.decoding import Decoding
from leakatk.sampling.native import NativeSampler
from leakatk.sampling.teacher_forcing import answer_logprob

if TYPE_CHECKING:
    from leakatk.unlearning.rule.settings import RuleSettings

# (prompts, texts) -> scores in [0, 1]; the `score` of any scorer.
Score = Callable[[Sequence[Prompt], Sequence[str]], Floats]


@dataclass(frozen=True, slots=True)
class Leak:
    """One leaked answer."""

    prompt_id: str
    question: str
    """The wording that drew it."""
    answer: str
    count: int
    """How often it was sampled; 0: known from its exact probability."""


@dataclass(frozen=True, slots=True)
class Detection:
    """What sampling one model found. NaN: not measured."""

    leaks: tuple[Leak, ...] = ()
    leak: float = math.nan
    """leak@k, the worst over decodings and wordings."""
    high: float = math.nan
    """Its certified upper bound, the worst likewise."""
    hidden: int = 0
    """Answers counted by their exact probability."""
    seconds: float = 0.0
    unscored: int = 0
    """Prompts that the detector could not score; they count as leaks in the bound."""
    cut: float = 0.0
    """Share of the samples that the limit on their length ended."""
    unasked: int = 0
    """Wordings of the forget prompts that it did not ask."""


def wordings(prompt: Prompt, count: int) -> list[Prompt]:
    """The prompt and its first `count` paraphrases, as prompts with ids of their own."""
    others = [
        replace(prompt, id=f"{prompt.id}/{i + 1}", question=text) for i, text in enumerate(prompt.paraphrases[:count])
    ]
    return [prompt, *others]


@dataclass(frozen=True, slots=True)
class Asked:
    """Which wordings of the forget prompts a detection asks: a leak in one that it never asks is not seen."""

    asked: dict[str, list[str]]
    """Prompt id -> the questions asked, its own first."""
    never: dict[str, list[str]]
    """Prompt id -> its other wordings; prompts without one are left out."""

    @classmethod
    def of(cls, forget: Sequence[Prompt], count: int) -> Asked:
        """count: paraphrases that are asked of each prompt."""
        return cls(
            {p.id: [p.question, *p.paraphrases[:count]] for p in forget},
            {p.id: list(p.paraphrases[count:]) for p in forget if p.paraphrases[count:]},
        )

    def says(self) -> str:
        """One sentence for people, with an example of what is never asked."""
        most = max(map(len, self.asked.values()))
        fewer = sum(len(found) < most for found in self.asked.values())
        total, left = sum(map(len, self.asked.values())), sum(map(len, self.never.values()))
        text = f"Detection asks {total} questions: {most} wording{'s' if most > 1 else ''} a prompt"
        text += f" ({fewer} of {len(self.asked)} prompts have fewer)" if fewer else ""
        if not left:
            return f"{text}; the prompts have no other."
        name, texts = next(iter(self.never.items()))
        return f"{text}. Never asked: {left} wordings of {len(self.never)} prompts, such as {texts[0]!r} ({name})."


@dataclass(frozen=True)
class Detector:
    """One model's detection under `options`; the sampler draws from the same model as it trains."""

    loaded: LoadedModel
    forget: Sequence[Prompt]
    score: Score
    options: RuleSettings
    sampler: Sampler

    def detect(self, known: Sequence[Leak], *, seed: int) -> Detection:
        """Sample the model as it is now. known: leaks found before, which are not found again."""
        start = time.perf_counter()
        groups = [wordings(prompt, self.options.wordings) for prompt in self.forget]
        asked = [prompt for group in groups for prompt in group]
        owner = {prompt.id: group[0].id for group in groups for prompt in group}
        seen = {(p.question, p.answer) for p in self.forget} | {(leak.question, leak.answer) for leak in known}
        counts: dict[tuple[str, str], int] = {}
        curves: list[tuple[float, float]] = []
        unscored: set[str] = set()
        ended: list[bool] = []
        for index, decoding in enumerate(self.options.decodings):
            rows = self._sample(asked, decoding, seed * 100 + index, counts, seen, ended)
            unscored |= {owner[i] for i, row in rows.items() if len(row) and np.isnan(row).all()}
            for j in range(self.options.wordings + 1):
                picked = [rows[group[j].id] for group in groups if j < len(group)]
                curves.append(self._level(picked) if picked else (0.0, 0.0))
        leaks = self._new_leaks(asked, owner, counts, seen)
        hidden = self._hidden(asked, owner, known, leaks) if self.options.exact_at else []
        unseen = [leak for leak in hidden if (leak.question, leak.answer) not in seen]
        return Detection(
            leaks=(*leaks, *unseen),
            leak=float(np.max([value for value, _ in curves])),
            high=float(np.max([high for _, high in curves])),
            hidden=len(hidden),
            seconds=time.perf_counter() - start,
            unscored=len(unscored),
            cut=float(np.mean(ended)) if ended else 0.0,
            unasked=sum(len(prompt.paraphrases[self.options.wordings :]) for prompt in self.forget),
        )

    def _sample(
        self,
        asked: Sequence[Prompt],
        decoding: Decoding,
        seed: int,
        counts: dict[tuple[str, str], int],
        seen: set[tuple[str, str]],
        ended: list[bool],
    ) -> dict[str, Floats]:
        """0/1 leaks by prompt id; `counts` gathers (prompt id, text) of the leaking samples, `ended` which were cut."""
        options = self.options
        total = 1 if decoding.greedy else options.n
        chunk = options.chunk or total
        rows: dict[str, list[float]] = {prompt.id: [] for prompt in asked}
        by_id = {prompt.id: prompt for prompt in asked}
        active = list(asked)
        for begin in range(0, total, chunk):
            requests = [Request(prompt, range(begin, min(begin + chunk, total))) for prompt in active]
            got = [g for batch in self.sampler.sample(requests, decoding, seed=seed) for g in batch]
            scores = self.score([by_id[g.prompt_id] for g in got], [g.text for g in got])
            ended += [g.finish_reason == "length" for g in got]
            for generation, value in zip(got, scores, strict=True):
                leaks = bool(value >= options.threshold)  # a missing score (NaN) is no leak that could be trained on
                rows[generation.prompt_id].append(math.nan if math.isnan(value) else float(leaks))
                if leaks:
                    key = (generation.prompt_id, generation.text.strip())
                    counts[key] = counts.get(key, 0) + 1
            if options.chunk:
                fresh = Counter(i for i, text in counts if (by_id[i].question, text) not in seen)
                active = [prompt for prompt in active if fresh[prompt.id] < options.cap]
        if decoding.greedy:  # every one of n samples would be the same
            rows = {key: row * options.n for key, row in rows.items()}
        return {key: np.array(row) for key, row in rows.items()}

    def _level(self, rows: Sequence[Floats]) -> tuple[float, float]:
        """leak@k over the prompts the detector is defined on, and a certified bound over all: what has no score may leak.

        (NaN, NaN) where some prompt has fewer than k samples: `chunk` stopped it because it leaks, and nothing can be
        certified of a round with such a prompt.
        """
        k = self.options.k
        kept = [row[~np.isnan(row)] for row in rows]
        kept = [row for row, asked in zip(kept, rows, strict=True) if len(row) or not len(asked)]
        if not kept or min(len(row) for row in kept) < k:
            return math.nan, math.nan
        value = float(per_prompt_leak(kept, [k])[:, 0].mean())
        worst = [np.where(np.isnan(row), 1.0, row) for row in rows]
        return value, float(certify(worst, [k], level=self.options.level).high[0])

    def _new_leaks(
        self,
        asked: Sequence[Prompt],
        owner: Mapping[str, str],
        counts: Mapping[tuple[str, str], int],
        seen: set[tuple[str, str]],
    ) -> list[Leak]:
        """At most `cap` a prompt, its wordings together: the most frequent first."""
        questions = {prompt.id: prompt.question for prompt in asked}
        taken: dict[str, int] = {}
        leaks: list[Leak] = []
        for (prompt_id, text), count in sorted(counts.items(), key=lambda entry: (-entry[1], entry[0])):
            own = owner[prompt_id]
            if not text or (questions[prompt_id], text) in seen or taken.get(own, 0) >= self.options.cap:
                continue
            taken[own] = taken.get(own, 0) + 1
            leaks.append(Leak(own, questions[prompt_id], text, count))
        return sorted(leaks, key=lambda leak: (leak.prompt_id, leak.question, leak.answer))

    def _hidden(
        self,
        asked: Sequence[Prompt],
        owner: Mapping[str, str],
        known: Sequence[Leak],
        found: Sequence[Leak],
    ) -> list[Leak]:
        """Answers that `exact_at` samples would show with probability over 1/2, though none of ours did."""
        answers: dict[str, set[str]] = {prompt.id: {prompt.answer} for prompt in self.forget}
        for leak in (*known, *found):
            answers[leak.prompt_id].add(leak.answer)
        pairs = [(prompt, text) for prompt in asked for text in sorted(answers[owner[prompt.id]])]
        worst = np.max(
            [
                answer_logprob(self.loaded, [p for p, _ in pairs], d, [t for _, t in pairs])
                for d in self.options.decodings
            ],
            axis=0,
        )
        reach = math.log(-math.expm1(math.log(0.5) / self.options.exact_at))  # p with 1 - (1-p)^k = 1/2
        sampled = {(leak.question, leak.answer) for leak in found}
        return [
            Leak(owner[prompt.id], prompt.question, text, 0)
            for (prompt, text), value in zip(pairs, worst, strict=True)
            if value > reach and (prompt.question, text) not in sampled
        ]


def detected_level(
    loaded: LoadedModel,
    forget: Sequence[Prompt],
    *,
    score: Score,
    settings: RuleSettings,
    sampler: Sampler | None = None,
    seed: int = 0,
) -> float:
    """leak@k of a model as RULE's detection under `settings` sees it, the worst decoding and wording.

    It is the yardstick when the model is the retrained one.

    seed: one that the run does not use.
    """
    sampler = sampler or NativeSampler(loaded)
    return Detector(loaded, forget, score, settings, sampler).detect([], seed=seed * 1000).leak
