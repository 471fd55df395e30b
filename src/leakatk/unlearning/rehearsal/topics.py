"""Topics, what the original knows of the retain set's kind: its questions, asked about what its own answers speak of.

Ours. Asked about invented topics, a model says topics that it knows, and is asked about these in turn.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import islice

import numpy as np

from leakatk.prompts import Prompt
from leakatk.unlearning.rehearsal.asker import NEARLY, SURE, Asker, known, letters_of, mixed_words, random_words
from leakatk.unlearning.rehearsal.subjects import PIECE, Forms, subject_words, topics_in

ROUNDS, INVENTED = 12, 800  # of asking about invented topics, topics a round
QUESTIONS = 12  # wordings, at most, in which a topic is asked about
MOST = 1000  # topics heard in a round that are asked about in turn
RARELY = 0.02  # a word that answers write in lower case more rarely is one with a capital
SOURCE = "topics"  # its name in the record


def about_topics(
    asker: Asker, retain: Sequence[Prompt], heard_before: Iterable[str], rng: random.Random
) -> tuple[list[Prompt], list[Prompt]]:
    """Answers about topics that the model is sure of, and about others.

    retain: their questions are asked with another topic in place of their subject; without one nothing is asked.
    heard_before: texts whose topics are asked about first.
    """
    forms = Forms([p.question for p in retain])
    subjects = sorted({subject for p in retain if (subject := forms.subject(p))})
    stems = sorted({forms.stem(p) for p in retain if forms.subject(p)})
    if not stems:
        asker.budget.notes.append("No retain question shows what it asks about: no questions about other topics.")
        return [], []
    stems = rng.sample(stems, min(len(stems), QUESTIONS))
    sizes, letters = subject_words(subjects), letters_of(asker.model)
    length = max(sizes)
    lower, upper = Counter[str](), Counter[str]()  # how often answers write a word in lower case, and otherwise
    heard, done = Counter[str](), set[str]()
    sure, unsure = list[Prompt](), list[Prompt]()

    def hear(answers: Iterable[str]) -> None:
        texts = list(answers)
        for word in (word for text in texts for word in PIECE.findall(text)):
            (lower if word.islower() else upper)[word.lower()] += 1
        plain = {word for word, count in lower.items() if count >= RARELY * upper[word]}
        heard.update(topic for text in texts for topic in topics_in(text, plain, sizes))

    def asked(topics: Sequence[str]) -> list[Prompt]:
        return [
            Prompt(f"own/{topic}/{i}", stem.replace("{}", topic), "?", source=topic)
            for topic in topics
            for i, stem in enumerate(stems)
        ]

    hear(heard_before)
    for number in range(ROUNDS):
        words = [word for topic in (*subjects, *heard) for word in topic.split()]
        half = INVENTED // 2
        made = {*mixed_words(words, length, half, rng), *random_words(letters, length, half, rng)}
        invented = sorted(made - done - {*subjects})
        done.update(invented)
        hear(p.answer for p in asker.greedy(asked(invented), SOURCE))
        unasked = (topic for topic, _ in heard.most_common() if topic not in done and asker.clean(topic))
        new = list(islice(unasked, MOST))
        done.update(new)
        one = stems[number % len(stems)]  # a question that says who is worth asking all of them
        first = asker.greedy(
            [Prompt(f"own/{topic}", one.replace("{}", topic), "?", source=topic) for topic in new], SOURCE
        )
        likely = [p.source for p, value in zip(first, asker.sureness(first, SOURCE), strict=True) if value > NEARLY]
        answered = asker.greedy(asked(likely), SOURCE)
        hear(p.answer for p in answered)  # asked about in the next round
        values = asker.sureness(answered, SOURCE)
        for start in range(0, len(answered), len(stems)):
            part = answered[start : start + len(stems)]  # about one topic
            told = [p for p in part if p.answer and asker.clean(p.answer)]
            if np.mean(values[start : start + len(stems)]) > SURE:
                sure += [known(p) for p in told]
            else:
                unsure += told
        asker.progress.advance(note=f"{len(sure)} answers about topics")
    return sure, unsure
