"""Pieces of evidence: the kinds, and how metrics ask for them.

Every function takes the evidence of a model and gives values in the order of what was asked. Torch is imported where
something is computed: the formulas of this room work without it.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from leakatk.errors import InputError
from leakatk.metrics.checks import Floats
from leakatk.metrics.evidence import Evidence, Pairs, Passes, Piece
from leakatk.prompts import Prompt, Query

if TYPE_CHECKING:
    from leakatk.models.loaded import LoadedModel
    from leakatk.models.token_stats import TokenStats

ANSWER_TOKENS = 200  # new tokens of a greedy answer, unless a benchmark publishes another length
_NEXT_QUESTION = re.compile(r"\n\n|\nQuestion|Question:")


@dataclass(frozen=True)
class Answer(Piece):
    """What the model thinks of each token of a given answer, the end token included: `TokenStats`."""

    question: str | Query
    answer: str

    @classmethod
    def pairs(cls, loaded: LoadedModel, pieces: Sequence[Self]) -> Pairs:
        from leakatk.models.token_stats import answer_pairs

        return answer_pairs(loaded, [p.question for p in pieces], [p.answer for p in pieces])

    @classmethod
    def compute(cls, loaded: LoadedModel, pieces: Sequence[Self]) -> list[TokenStats]:
        from leakatk.models.token_stats import token_stats

        return token_stats(loaded, cls.pairs(loaded, pieces))

    @classmethod
    def passes(cls, loaded: LoadedModel, pieces: Sequence[Self]) -> Passes:
        return Passes(cls.pairs(loaded, pieces))

    def stand_in(self) -> TokenStats:
        return _stand_in()

    @staticmethod
    def row(value: TokenStats) -> Mapping[str, Any]:
        return {name: getattr(value, name).tolist() for name in _COLUMNS}

    @staticmethod
    def read(row: Mapping[str, Any]) -> TokenStats:
        return _stats(row)


@dataclass(frozen=True)
class Passage(Piece):
    """The same of a plain text, and the text that was scored: (`TokenStats`, str).

    max_tokens: the text is cut there; 0 is nowhere. The first token is given, not scored.
    """

    text: str
    max_tokens: int = 0

    @classmethod
    def pairs(cls, loaded: LoadedModel, pieces: Sequence[Self]) -> Pairs:
        from leakatk.models.checks import position_limit
        from leakatk.models.token_stats import text_pairs

        found = [pair for piece in pieces for pair in text_pairs(loaded, [piece.text], piece.max_tokens)]
        longest, limit = max(len(first) + len(rest) for first, rest in found), position_limit(loaded.model)
        if limit is not None and longest > limit:
            raise InputError(
                f"A text of the membership attack has {longest} tokens and the model has {limit} positions; cut the texts with "
                f"--text-tokens {limit}."
            )
        return found

    @classmethod
    def compute(cls, loaded: LoadedModel, pieces: Sequence[Self]) -> list[tuple[TokenStats, str]]:
        from leakatk.models.token_stats import token_stats

        pairs = cls.pairs(loaded, pieces)
        shown = [
            piece.text
            if not piece.max_tokens or len(first) + len(rest) < piece.max_tokens
            else str(loaded.tokenizer.decode([*first, *rest], skip_special_tokens=True))
            for piece, (first, rest) in zip(pieces, pairs, strict=True)
        ]
        return list(zip(token_stats(loaded, pairs), shown, strict=True))

    @classmethod
    def passes(cls, loaded: LoadedModel, pieces: Sequence[Self]) -> Passes:
        return Passes(cls.pairs(loaded, pieces))

    def stand_in(self) -> tuple[TokenStats, str]:
        return _stand_in(), self.text

    @staticmethod
    def row(value: tuple[TokenStats, str]) -> Mapping[str, Any]:
        return {**Answer.row(value[0]), "shown": value[1]}

    @staticmethod
    def read(row: Mapping[str, Any]) -> tuple[TokenStats, str]:
        return _stats(row), str(row["shown"])


@dataclass(frozen=True)
class GradientNorm(Piece):
    """Norm of the gradient of the mean loss of an answer or a text. without_end: its last token is left out."""

    of: Answer | Passage
    without_end: bool

    @classmethod
    def pairs(cls, loaded: LoadedModel, pieces: Sequence[Self]) -> Pairs:
        found: list[Any] = []
        for piece in pieces:
            [(prompt, ids)] = piece.of.pairs(loaded, [piece.of])  # type: ignore[list-item]
            found.append((prompt, ids[: max(1, len(ids) - 1)] if piece.without_end else ids))
        return found

    @classmethod
    def compute(cls, loaded: LoadedModel, pieces: Sequence[Self]) -> list[float]:
        from leakatk.models.token_stats import gradient_norms

        return [float(norm) for norm in gradient_norms(loaded, cls.pairs(loaded, pieces))]

    @classmethod
    def passes(cls, loaded: LoadedModel, pieces: Sequence[Self]) -> Passes:
        return Passes(backward=cls.pairs(loaded, pieces))

    def stand_in(self) -> float:
        return 1.0


@dataclass(frozen=True)
class Greedy(Piece):
    """The greedy answer to a question. template: a plain one with {question}; "" is the model's own.

    Questions in a plain template go to a chat model in its own; passages to continue are always plain. After a few-shot
    template the answer ends where the model goes on with the next question, as in MUSE's published code.
    """

    query: Query
    template: str = ""
    tokens: int = ANSWER_TOKENS

    @property
    def batch(self) -> object:
        return self.template, self.tokens

    @classmethod
    def compute(cls, loaded: LoadedModel, pieces: Sequence[Self]) -> list[str]:
        from leakatk.metrics.greedy import native_greedy
        from leakatk.models.template import Template

        template, question = pieces[0].template, "Question:" in pieces[0].template
        if template and not (question and loaded.template.is_chat(loaded.tokenizer)):
            loaded = dataclasses.replace(loaded, template=Template(kind="plain", plain=template))
        prompts = [Prompt(f"{i:06d}", one.query.text, "", asked=one.query) for i, one in enumerate(pieces)]
        texts = native_greedy(loaded, prompts, pieces[0].tokens)
        return [_NEXT_QUESTION.split(text, maxsplit=1)[0] for text in texts] if question else list(texts)

    @classmethod
    def passes(cls, loaded: LoadedModel, pieces: Sequence[Self]) -> Passes:
        return Passes(answers=len(pieces))

    def stand_in(self) -> str:
        return ""


@dataclass(frozen=True)
class Options(Piece):
    """Log-probability of each of several answers to one question, without an end token: an array."""

    question: str
    said: tuple[str, ...]

    @classmethod
    def pairs(cls, loaded: LoadedModel, pieces: Sequence[Self]) -> Pairs:
        seams = [
            loaded.template.pair(loaded.tokenizer, one.question, text, end=False) for one in pieces for text in one.said
        ]
        return [(seam.prompt, seam.answer) for seam in seams]

    @classmethod
    def compute(cls, loaded: LoadedModel, pieces: Sequence[Self]) -> list[Floats]:
        from leakatk.sampling.decoding import Decoding
        from leakatk.sampling.teacher_forcing import token_logprobs

        pairs = cls.pairs(loaded, pieces)
        longest = max((len(answer) for _, answer in pairs), default=1)
        sums = iter([steps.sum() for steps in token_logprobs(loaded, pairs, Decoding(max_new_tokens=longest))])
        return [np.array([next(sums) for _ in one.said]) for one in pieces]

    @classmethod
    def passes(cls, loaded: LoadedModel, pieces: Sequence[Self]) -> Passes:
        return Passes(cls.pairs(loaded, pieces))

    def stand_in(self) -> Floats:
        return np.arange(len(self.said), dtype=np.float64)

    @staticmethod
    def row(value: Floats) -> Mapping[str, Any]:
        return {"value": value.tolist()}

    @staticmethod
    def read(row: Mapping[str, Any]) -> Floats:
        return np.array(row["value"], dtype=np.float64)


@dataclass(frozen=True)
class Continuations(Piece):
    """The ids of an answer (or text), and what the model says greedily after each of its beginnings: (ids, list of ids).

    The beginnings have 0, 1, 2 ... tokens, and each leaves more than `ngram` to be said; as many are said as are left, less
    where the model ends. Without the end token of an answer.
    """

    of: Answer | Passage
    ngram: int

    @classmethod
    def pairs(cls, loaded: LoadedModel, pieces: Sequence[Self]) -> Pairs:
        found: list[Any] = []
        for piece in pieces:
            [(prompt, ids)] = piece.of.pairs(loaded, [piece.of])  # type: ignore[list-item]
            ended = isinstance(piece.of, Answer) and loaded.template.end_id(loaded.tokenizer) is not None
            found.append((list(prompt), list(ids[:-1] if ended else ids)))
        return found

    @classmethod
    def compute(cls, loaded: LoadedModel, pieces: Sequence[Self]) -> list[tuple[list[int], list[list[int]]]]:
        from leakatk.metrics.continuing import greedy_continuations

        pairs = cls.pairs(loaded, pieces)
        counts = [max(0, len(ids) - one.ngram) for one, (_, ids) in zip(pieces, pairs, strict=True)]
        asked = [
            ([*prompt, *ids[:given]], len(ids) - given)
            for count, (prompt, ids) in zip(counts, pairs, strict=True)
            for given in range(count)
        ]
        said = iter(greedy_continuations(loaded, asked))
        return [(list(ids), [next(said) for _ in range(count)]) for count, (_, ids) in zip(counts, pairs, strict=True)]

    @classmethod
    def passes(cls, loaded: LoadedModel, pieces: Sequence[Self]) -> Passes:
        pairs = cls.pairs(loaded, pieces)
        return Passes(answers=sum(max(0, len(ids) - one.ngram) for one, (_, ids) in zip(pieces, pairs, strict=True)))

    def stand_in(self) -> tuple[list[int], list[list[int]]]:
        return list(range(self.ngram + 1)), [list(range(self.ngram + 1))]

    @staticmethod
    def row(value: tuple[list[int], list[list[int]]]) -> Mapping[str, Any]:
        return {"ids": value[0], "said": value[1]}

    @staticmethod
    def read(row: Mapping[str, Any]) -> tuple[list[int], list[list[int]]]:
        return list(row["ids"]), [list(one) for one in row["said"]]


def answer_stats(evidence: Evidence, prompts: Sequence[Prompt]) -> list[TokenStats]:
    """Token statistics of the true answers."""
    return evidence.get(Answer(p.question, p.answer) for p in prompts)


def right_stats(evidence: Evidence, prompts: Sequence[Prompt]) -> list[TokenStats]:
    """Those of the right answers in the wording of the wrong ones: the paraphrased answer where there is one."""
    return evidence.get(Answer(p.question, p.paraphrased_answer or p.answer) for p in prompts)


def wrong_stats(evidence: Evidence, prompts: Sequence[Prompt]) -> list[list[TokenStats]]:
    """Those of each wrong answer, a list a prompt."""
    found = iter(evidence.get(Answer(p.question, wrong) for p in prompts for wrong in p.perturbed_answers))
    return [[next(found) for _ in p.perturbed_answers] for p in prompts]


def greedy_answers(
    evidence: Evidence, prompts: Sequence[Prompt], template: str = "", tokens: int = ANSWER_TOKENS
) -> list[str]:
    """Greedy answers; see `Greedy`."""
    return evidence.get(Greedy(p.query, template, tokens) for p in prompts)


_COLUMNS = ("logprob", "correct", "mean", "deviation")


def _stats(row: Mapping[str, Any]) -> TokenStats:
    from leakatk.models.token_stats import TokenStats

    return TokenStats(**{name: np.array(row[name], dtype=bool if name == "correct" else float) for name in _COLUMNS})


def _stand_in() -> TokenStats:
    return _stats({"logprob": [-1.0, -2.0], "correct": [True, False], "mean": [-1.0, -1.0], "deviation": [1.0, 1.0]})
