"""Rehearsal by names, what a model says by itself: the knowledge that unlearning must keep and was not shown.

Ours; it needs no data set. Two ways lead there. Asked about invented names, a model says names that it knows, and is asked
about these in turn. And whatever it is asked, it answers with what it knows (`leakatk.unlearning.rehearsal.echoes`).
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Sequence
from itertools import islice

from leakatk.models.loaded import LoadedModel
from leakatk.progress import Progress
from leakatk.prompts import Prompt
from leakatk.sampling.native import NativeSampler
from leakatk.unlearning.rehearsal.asker import (
    NEARLY,
    SURE,
    Asker,
    known,
    letters_of,
    mixed_names,
    random_names,
    random_tokens,
)
from leakatk.unlearning.rehearsal.echoes import ECHO_ROUNDS, echoes
from leakatk.unlearning.rehearsal.perturb import NAME

ROUNDS, INVENTED = 12, 800  # of asking about invented names, names a round
QUESTIONS = 12  # wordings, at most, in which a name is asked about
MOST = 1000  # names heard in a round that are asked about in turn


def rehearsal_prompts(
    original: LoadedModel,
    forget: Sequence[Prompt],
    retain: Sequence[Prompt],
    *,
    max_new_tokens: int = 64,
    seed: int = 0,
    quiet: bool = False,
) -> list[Prompt]:
    """What the original says by itself, as prompts; the ids of those that it is sure of begin with `asker.KNOWN`.

    forget: what holds a `source` of theirs, or all `facts` of one, is left out.
    retain: their questions are asked with another name in place of `source`.
    max_new_tokens: the longest answer.
    seed: of the names, the random tokens and the samples.

    Asked are invented names (mixtures of those said so far, and of random tokens) and those that the answers hold. Kept
    are the greedy answers about names that the original is sure of, and up to half as many about others; its echoes; and
    sampled answers to random tokens, half as many as about names.
    """
    banned = {p.source for p in forget if p.source}

    def clean(text: str) -> bool:
        return not any(name in text for name in banned) and not any(
            p.facts and all(fact in text for fact in p.facts) for p in forget
        )

    rng = random.Random(f"own answers {seed}")
    with Progress(
        "asking the original what it knows", 2 + ECHO_ROUNDS + ROUNDS, unit="rounds", quiet=quiet
    ) as progress:
        asker = Asker(original, NativeSampler(original), clean, max_new_tokens, seed, progress)
        echoed = echoes(asker, retain, random.Random(f"echoes {seed}"))
        sure, unsure = _about_names(asker, retain, [name for p in echoed for name in NAME.findall(p.answer)], rng)
    half = max(len(sure) // 2, 32)
    texts = [random_tokens(original, 8, rng) for _ in range(half)]
    noise = asker.sampled([Prompt(f"own/random/{i}", text, "?") for i, text in enumerate(texts) if text.strip()])
    return [
        *sure,
        *echoed,
        *rng.sample(unsure, min(half, len(unsure))),
        *(p for p in noise if p.answer and clean(p.answer)),
    ]


def _about_names(
    asker: Asker, retain: Sequence[Prompt], names: Sequence[str], rng: random.Random
) -> tuple[list[Prompt], list[Prompt]]:
    """Answers about names the model is sure of, and about others. names: heard before."""
    stems = sorted({p.question.replace(p.source, "{}") for p in retain if p.source and p.source in p.question})
    stems = rng.sample(stems, min(len(stems), QUESTIONS))
    sources = sorted({p.source for p in retain if p.source})
    length = max((len(name.split()) for name in sources), default=0)
    letters = letters_of(asker.model)

    def asked(names: Sequence[str]) -> list[Prompt]:
        return [
            Prompt(f"own/{name}/{i}", stem.replace("{}", name), "?", source=name)
            for name in names
            for i, stem in enumerate(stems)
        ]

    heard, done, sure, unsure = Counter(names), set[str](), list[Prompt](), list[Prompt]()
    for number in range(ROUNDS if stems else 0):
        words = [word for name in (*sources, *heard) for word in name.split()]
        half = INVENTED // 2
        invented = sorted(
            {*mixed_names(words, length, half, rng), *random_names(letters, length, half, rng)} - done - {*sources}
        )
        done.update(invented)
        heard.update(name for p in asker.greedy(asked(invented)) for name in NAME.findall(p.answer))
        unasked = (name for name, _ in heard.most_common() if name not in done and asker.clean(name))
        new = list(islice(unasked, MOST))
        done.update(new)
        one = stems[number % len(stems)]  # a question that says who is worth asking all of them
        first = asker.greedy([Prompt(f"own/{name}", one.replace("{}", name), "?") for name in new])
        likely = [name for name, value in zip(new, asker.sureness(first), strict=True) if value > NEARLY]
        answered = asker.greedy(asked(likely))
        heard.update(name for p in answered for name in NAME.findall(p.answer))  # asked about in the next round
        for i, value in enumerate(asker.sureness(answered).reshape(-1, len(stems)).mean(axis=1)):
            told = [p for p in answered[i * len(stems) : (i + 1) * len(stems)] if p.answer and asker.clean(p.answer)]
            if value > SURE:
                sure += [known(p) for p in told]
            else:
                unsure += told
        asker.progress.advance(note=f"{len(sure)} answers about names")
    return sure, unsure
