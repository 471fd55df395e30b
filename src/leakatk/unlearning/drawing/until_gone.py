"""Drawing until prompts are gone: each forget prompt with its nearest retain prompt, left out once its answer is no longer said (ICU)."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from leakatk.arrays import Floats
from leakatk.errors import InputError
from leakatk.prompts import Prompt
from leakatk.sampling.greedy import greedy_texts
from leakatk.scorers.base import get_scorer
from leakatk.scorers.bleu import bleu
from leakatk.scorers.encoder import load_encoder
from leakatk.scorers.text import well_formed, words
from leakatk.unlearning.drawing.base import Drawing

if TYPE_CHECKING:
    from leakatk.unlearning.work import Work

WORDS = "words"  # in the place of an encoder


@dataclass
class UntilGone(Drawing):
    """ICU (arXiv 2407.20271): forget prompts in shuffled epochs, beside each its neighbour of the retain set.

    After an epoch the model answers what is left greedily, and an answer that `gone` says is gone is not drawn again, nor its neighbour
    for its sake. The run ends when none is left. Draw number i of both sets belong together.
    """

    work: Work = field(kw_only=True)
    ahead = False

    def __post_init__(self) -> None:
        if self.weights is not None:
            raise InputError("This method draws what is left of the forget set evenly; leave weights of prompts out.")
        if not self.work.retain:
            raise InputError("This method needs a retain set, from which each forget prompt has a neighbour; give one.")
        self.batch = self.work.settings.forget_batch
        self.near = neighbours(self.work.forget, self.work.retain, self.work.params["encoder"])
        self.longest = max(len(item.answer) for item in self.streams.items("forget"))

    def left(self, state: dict[str, float]) -> list[int]:
        """The forget prompts that are still trained on."""
        return [i for i in range(len(self.near)) if not state.get(f"gone {i}")]

    def rows(self, of: str, start: int, count: int, state: dict[str, float]) -> list[int]:
        if of not in ("forget", "retain"):
            return super().rows(of, start, count, state)
        order, first = self.left(state), int(state.get("first draw", 0))
        random.Random(f"{self.seed('forget')}/{int(state.get('epoch', 0))}").shuffle(order)
        rows = [order[(i - first) % len(order)] for i in range(start, start + count)]
        return rows if of == "forget" else [self.near[row] for row in rows]

    def after(self, done: int, state: dict[str, float]) -> str:
        left, drawn = self.left(state), done * self.batch
        if drawn - state.get("first draw", 0) < len(left):
            return ""
        asked = [self.work.forget[i] for i in left]
        texts = greedy_texts(self.work.loaded, asked, max_new_tokens=self.longest)
        found = gone(asked, texts, self.work.params)
        state |= {f"gone {i}": 1.0 for i, one in zip(left, found, strict=True) if one}
        state |= {"first draw": float(drawn), "epoch": state.get("epoch", 0.0) + 1}
        if all(found):
            del state[f"gone {left[-1]}"]  # whatever comes after has something to draw
            return f"no forget answer is said any more, after {int(state['epoch'])} epochs"
        return ""

    def log(self, state: dict[str, float]) -> dict[str, float]:
        """ "left": how many forget prompts are still drawn."""
        return {"left": float(len(self.left(state)))}


def until_gone(work: Work, plain: Drawing) -> UntilGone:
    """`UntilGone` in the place of every run's drawing."""
    return UntilGone(plain.streams, plain.order, plain.weights, work=work)


def gone(prompts: Sequence[Prompt], texts: Sequence[str], params: Any) -> list[bool]:
    """Of each answer given, whether it is no longer the true one: likeness below `f1`, BLEU below `bleu`, or hardly any distinct words.

    Likeness is ROUGE-L's F1, or the cosine under `encoder`; where it is undefined the other two say it alone.
    """
    spec = "rouge-l:part=f1" if params["encoder"] == WORDS else f"similarity:model={params['encoder']}"
    like = get_scorer(spec).score(list(prompts), list(texts))
    found = []
    for prompt, text, value in zip(prompts, texts, like, strict=True):
        said = words(text)
        few = len(set(said)) < params["distinct"] * max(1, len(said))
        found.append(bool(value < params["f1"]) or few or bleu(words(prompt.answer), said) < params["bleu"])
    return found


def neighbours(forget: Sequence[Prompt], retain: Sequence[Prompt], encoder: str) -> list[int]:
    """Of each forget prompt the number of the retain prompt whose question and answer are nearest, by the cosine of their vectors."""
    mine, theirs = ([f"{p.question} {p.answer}" for p in prompts] for prompts in (forget, retain))
    vectors = of_words([*mine, *theirs]) if encoder == WORDS else embedded([*mine, *theirs], encoder)
    near = vectors[: len(mine)] @ vectors[len(mine) :].T
    found: list[int] = np.asarray(near.argmax(axis=1)).ravel().tolist()
    return found


def embedded(texts: Sequence[str], encoder: str) -> Floats:
    """(n, d) embeddings of length 1; between such the nearest by cosine is the nearest by distance."""
    made = load_encoder(encoder).encode(
        [well_formed(text) for text in texts], normalize_embeddings=True, convert_to_numpy=True, show_progress_bar=False
    )
    found: Floats = made.astype(np.float64)
    return found


def of_words(texts: Sequence[str]) -> Any:
    """(n, words) sparse rows of length 1: how often a text has a word, times log(n / number of texts that have it)."""
    from scipy.sparse import csr_matrix, diags

    said = [words(text) for text in texts]
    numbers = {word: i for i, word in enumerate(sorted({word for text in said for word in text}))}
    rows = [row for row, text in enumerate(said) for _ in text]
    columns = [numbers[word] for text in said for word in text]
    counts = csr_matrix((np.ones(len(rows)), (rows, columns)), shape=(len(texts), len(numbers)))
    rare = np.log(len(texts) / np.asarray((counts > 0).sum(axis=0)).ravel())
    weighed = counts @ diags(rare)
    lengths = np.sqrt(np.asarray(weighed.multiply(weighed).sum(axis=1)).ravel())
    return diags(1 / np.maximum(lengths, 1e-12)) @ weighed
