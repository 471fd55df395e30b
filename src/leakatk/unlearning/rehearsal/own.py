"""Rehearsal, what a model says by itself: the knowledge that unlearning must keep and was not shown.

Ours; it needs no data set. Which ways lead there a pilot decides, by what the model makes of random words:

* A model that answers them with what it knows goes on from pieces of its own answers (`echoes`), and is asked the retain
  questions about what these speak of (`topics`).
* A model that does not, and every chat model, answers questions that it writes itself (`questions`).

Each is asked random tokens as well.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence

from leakatk.models.loaded import LoadedModel
from leakatk.progress import Progress
from leakatk.prompts import Prompt
from leakatk.sampling.native import NativeSampler
from leakatk.scorers.keys import keys_of
from leakatk.scorers.text import words
from leakatk.unlearning.rehearsal.asker import Asker, random_tokens
from leakatk.unlearning.rehearsal.budget import Budget
from leakatk.unlearning.rehearsal.echoes import ECHO_ROUNDS, answers_noise, echoes
from leakatk.unlearning.rehearsal.questions import own_questions
from leakatk.unlearning.rehearsal.subjects import Forms
from leakatk.unlearning.rehearsal.topics import ROUNDS, about_topics

OWN_QUESTIONS = 2000  # at most
# How much of the bound may be spent once each is over: on own questions, on echoes, on topics. The rest is for noise.
SHARES = (0.5, 0.7, 0.95)
LEAST = 32  # random questions


def rehearsal_prompts(
    original: LoadedModel,
    forget: Sequence[Prompt],
    retain: Sequence[Prompt],
    *,
    max_new_tokens: int = 64,
    seed: int = 0,
    quiet: bool = False,
    budget: Budget | None = None,
    questions: int = OWN_QUESTIONS,
) -> list[Prompt]:
    """What the original says by itself, as prompts; the ids of those that it is sure of begin with `asker.KNOWN`.

    forget: what speaks of one's subject, or says all its facts (its keys where it lists none), is left out.
    retain: their questions are asked with other subjects, and show how questions begin.
    max_new_tokens: the longest answer.
    seed: of what is drawn.
    budget: what asking may cost, and afterwards what it did; None: without a bound.
    questions: of its own that the model is asked at most.
    """
    budget = budget if budget is not None else Budget()
    rng = random.Random(f"own answers {seed}")
    clean = clean_of(forget, retain)
    with Progress(
        "asking the original what it knows", 4 + ECHO_ROUNDS + ROUNDS, unit="rounds", quiet=quiet
    ) as progress:
        asker = Asker(original, NativeSampler(original), clean, max_new_tokens, seed, progress, budget)
        budget.share = SHARES[0]
        noisy = answers_noise(asker, retain, random.Random(f"pilot {seed}"))
        told, echoed, about, others = list[Prompt](), list[Prompt](), list[Prompt](), list[Prompt]()
        if original.template.is_chat(original.tokenizer) or not noisy:
            told = own_questions(asker, retain, questions, random.Random(f"questions {seed}"))
        if noisy:
            budget.share = SHARES[1]
            echoed = echoes(asker, retain, random.Random(f"echoes {seed}"))
            budget.share = SHARES[2]
            about, others = about_topics(asker, retain, [p.answer for p in (*echoed, *told)], rng)
        half = max(len(about) // 2, LEAST)
        budget.share = 1.0
        texts = [random_tokens(original, 8, rng) for _ in range(half)]
        noise = [Prompt(f"own/random/{i}", text, "?") for i, text in enumerate(texts) if text.strip()]
        noise = asker.sampled(noise, "random tokens")
    return [
        *told,
        *about,
        *echoed,
        *rng.sample(others, min(half, len(others))),
        *(p for p in noise if p.answer and clean(p.answer)),
    ]


def clean_of(forget: Sequence[Prompt], retain: Sequence[Prompt]) -> Callable[[str], bool]:
    """Whether a text holds nothing of the forget prompts: no subject of theirs, and not all facts or keys of an answer."""
    forms = Forms([p.question for p in (*forget, *retain)])
    banned = {subject for p in forget if (subject := forms.subject(p))}
    facts = {p.facts for p in forget if p.facts}
    keys = {found for p in forget if not p.facts and (found := keys_of(p))}

    def clean(text: str) -> bool:
        if any(subject in text for subject in banned) or any(all(fact in text for fact in one) for one in facts):
            return False
        said = set(words(text)) if keys else set()
        return not any(one <= said for one in keys)

    return clean
