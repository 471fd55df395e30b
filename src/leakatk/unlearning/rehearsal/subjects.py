"""Subjects of questions: who or what one asks about, without a guess at what a name looks like.

Ours. A question's `source` is its subject where the question holds it. Otherwise it is what the question does not share
with others of its form ("What is the capital of {}?"), or what all wordings of one question share.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Sequence

from leakatk.prompts import Prompt

PIECE = re.compile(r"\w+|[^\w\s]")  # a word or a mark
SAME_FORM = 0.5  # least share of a question's words that others of its form have at the same place

Span = tuple[int, int]  # first word, and the one after the last


class Forms:
    """What a set of questions has in common. questions: those that others are compared with."""

    def __init__(self, questions: Sequence[str]) -> None:
        self._questions = frozenset(questions)
        self._shared: Counter[int] = Counter()  # hash of what stands around some words -> questions that have it
        for text in self._questions:
            words = tuple(PIECE.findall(text))
            self._shared.update(hash((words[:i], words[j:])) for i, j in _spans(words))

    def subject(self, prompt: Prompt) -> str:
        """Who or what the prompt's question asks about, as it stands there; "" where nothing tells.

        Without `source`, and without another question of its form or another wording, nothing tells; nor does it in a
        script that sets no spaces between words.

        >>> asked = ["What is the capital of France?", "What is the capital of Peru?", "Who wrote Emma?"]
        >>> Forms(asked).subject(Prompt("q", asked[0], "Paris."))
        'France'
        """
        question = prompt.question
        if prompt.source and prompt.source in question:
            return prompt.source
        return self._differing(question) or _common(question, prompt.paraphrases)

    def stem(self, prompt: Prompt) -> str:
        """The question with {} in place of its subject; "" where nothing tells the subject."""
        found = self.subject(prompt)
        return prompt.question.replace(found, "{}") if found else ""

    def _differing(self, question: str) -> str:
        """The words in which most questions of the same form differ from this one."""
        found = list(PIECE.finditer(question))
        words = tuple(match.group() for match in found)
        own = int(question in self._questions)
        shared = {(i, j): self._shared[hash((words[:i], words[j:]))] - own for i, j in _spans(words)}

        def mates(i: int, j: int) -> int:
            """Questions that differ from this one in all of these words, and in no others."""
            less = [shared.get(span, 0) for span in ((i + 1, j), (i, j - 1), (i + 1, j - 1))]
            return shared[i, j] - less[0] - less[1] + less[2]

        best = max(shared, key=lambda span: (mates(*span), span[1] - span[0], -span[0]), default=None)
        if best is None or mates(*best) < 1:
            return ""
        i, j = best
        return question[found[i].start() : found[j - 1].end()]


def subject_words(subjects: Sequence[str]) -> set[int]:
    """The numbers of words that subjects have."""
    return {len(subject.split()) for subject in subjects if subject}


def _spans(words: Sequence[str]) -> list[Span]:
    """Runs of words, of which enough are left outside."""
    most = int(len(words) * (1 - SAME_FORM))
    return [(i, i + size) for size in range(1, most + 1) for i in range(len(words) - size + 1)]


def _common(question: str, others: Sequence[str]) -> str:
    """The longest run of whole words, in letters, that stands in all other wordings as well; "" without another wording."""
    if not others:
        return ""
    found = list(PIECE.finditer(question))
    texts = [f" {' '.join(PIECE.findall(text))} " for text in others]
    best = ""
    for i in range(len(found)):
        for j in range(i + 1, len(found) + 1):
            run = " ".join(match.group() for match in found[i:j])
            if not all(f" {run} " in text for text in texts):
                break
            said = question[found[i].start() : found[j - 1].end()]
            if len(said) > len(best) and any(map(str.isalnum, said)):
                best = said
    return best


def proper(word: str, plain: Collection[str]) -> bool:
    """Whether a word is written with a capital, and is no plain one at the beginning of a sentence.

    plain: words that answers hold in lower case. In a script without capitals no word is proper.
    """
    return word[:1].isupper() and word.lower() not in plain


def topics_in(text: str, plain: Collection[str], sizes: Collection[int]) -> list[str]:
    """What a text speaks of and may be asked about: its runs of proper words, of as many words as subjects have.

    >>> topics_in("In Rome, Ada Alva Cray met The Poet Bo Berg.", {"in", "the", "poet"}, {2})
    ['Bo Berg']
    """
    return [" ".join(run) for run in _runs(text, plain) if len(run) in sizes]


def longest_topic(text: str, plain: Collection[str]) -> str:
    """The longest run of proper words; "" without one."""
    return max((" ".join(run) for run in _runs(text, plain)), key=len, default="")


def _runs(text: str, plain: Collection[str]) -> list[list[str]]:
    runs: list[list[str]] = [[]]
    for word in PIECE.findall(text):
        if proper(word, plain):
            runs[-1].append(word)
        elif runs[-1]:
            runs.append([])
    return runs
