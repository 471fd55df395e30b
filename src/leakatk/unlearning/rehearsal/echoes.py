"""Echoes, facts of any kind found from random tokens: pieces of its own answers are its next questions.

Ours. Asked random tokens, a model says what it knows, more often with its most likely answer than with a sampled one.
What it says of one name it may know of others that it has said, and of names that look like them.
"""

from __future__ import annotations

import random
import re
from collections import Counter, defaultdict
from collections.abc import Collection, Mapping, Sequence
from itertools import zip_longest

from leakatk.prompts import Prompt
from leakatk.unlearning.rehearsal.asker import (
    NEARLY,
    SURE,
    Asker,
    known,
    letters_of,
    mixed_words,
    random_tokens,
    random_words,
)
from leakatk.unlearning.rehearsal.subjects import Forms, longest_topic, proper

FIRST = 3000  # questions of random tokens
ECHO_ROUNDS, ECHOED = 15, 1000  # of asking pieces of answers, questions a round
KINDS = 100  # of answers, at most, whose pieces are asked
STEMS = 40  # beginnings of answers, at most, that are asked with other names
PER_ANSWER = 8  # questions at most that an answer is kept to
PILOT, LEAST = (
    200,
    0.01,
)  # random questions that say whether to ask on, and the share of answers that must be nearly sure
SOURCE = "echoes"  # its name in the record

# Words of a name: how answers with such a name begin, and those names.
Begun = dict[int, tuple[Counter[str], Counter[str]]]


def echoes(asker: Asker, retain: Sequence[Prompt], rng: random.Random) -> list[Prompt]:
    """Answers of any kind, found from random tokens: those that the model is sure of, each to a few questions.

    retain: their questions give the beginnings of ours; without one nothing is asked.

    The first questions are the beginning of a retain question, random tokens and an invented word. The next ones are such
    a beginning and then, a third each: a piece of an answer given before, by lot with invented names; the beginning of an
    answer with a name from another one; the same with an invented name. Answers are drawn evenly over the kinds that come
    up often: what is said rarely is asked as often as what is said much.
    """
    openings = _openings(retain)
    if not openings:
        asker.budget.notes.append("Without retain prompts nothing shows how a question begins: no echoes.")
        return []
    letters = letters_of(asker.model)
    best: dict[str, float] = {}  # answer: how sure at most
    kept: dict[str, list[tuple[float, Prompt]]] = defaultdict(list)
    asked, tried, plain = set[str](), set[str](), set[str]()

    def ask(texts: set[str]) -> None:
        fresh = sorted(texts - asked)
        prompts = [
            Prompt(f"own/echo/{len(asked) + i}", text, "?", source=longest_topic(text, plain))
            for i, text in enumerate(fresh)
        ]
        asked.update(fresh)
        told = [p for p in asker.greedy(prompts, SOURCE) if p.answer and asker.clean(p.answer)]
        for prompt, value in zip(told, asker.sureness(told, SOURCE), strict=True):
            best[prompt.answer] = max(value, best.get(prompt.answer, value))
            if value > NEARLY:
                kept[prompt.answer].append((value, prompt))
        asker.progress.advance(note=f"{len(kept)} answers")

    ask({_random_question(asker, openings, letters, rng) for _ in range(FIRST)})
    for _ in range(ECHO_ROUNDS if best else 0):
        kinds = kinds_of(best)
        plain.update(word for kind in kinds for word in kind_of(kind[0]).split())
        third = ECHOED // 3
        pieces = [
            renamed(rng.choice(rng.choice(kinds)), random_words(letters, 1, 3, rng), plain, rng) for _ in range(third)
        ]
        begun = names_and_beginnings(best, kept, plain)
        pairs = [pair for pair in crossed(begun) if pair not in tried][:third]
        tried.update(pairs)
        pairs += [invented(*rng.choice(list(begun.values())), letters, rng) for _ in range(third if begun else 0)]
        ask(
            {piece_of(_opening(rng, openings), piece, rng) for piece in pieces}
            | {f"{_opening(rng, openings)} {pair}" for pair in pairs}
        )
    ask({piece_of(_opening(rng, openings), answer, rng) for answer in list(kept) for _ in range(PER_ANSWER)})
    ranked = [sorted(pairs, key=lambda pair: -pair[0])[:PER_ANSWER] for pairs in kept.values()]
    chosen = [pair for pairs in ranked if pairs[0][0] > SURE for pair in pairs]
    return [known(p) if value > SURE else p for value, p in chosen]


def answers_noise(asker: Asker, retain: Sequence[Prompt], rng: random.Random) -> bool:
    """Whether the model answers random words with what it knows: it is nearly sure of at least `LEAST` such answers of `PILOT`.

    A model that was trained on little beside the facts does so; one that knows a language asks what is meant, or makes
    something up. Then echoes and invented topics show nothing, and are left out: the budget's notes say so.
    """
    openings, letters = _openings(retain), letters_of(asker.model)
    if not openings:
        return True  # the sources say themselves what they lack
    texts = sorted({_random_question(asker, openings, letters, rng) for _ in range(PILOT)})
    asked = asker.greedy([Prompt(f"own/pilot/{i}", text, "?") for i, text in enumerate(texts)], "pilot")
    told = [p for p in asked if p.answer]
    sure = int((asker.sureness(told, "pilot") > NEARLY).sum())
    asker.progress.advance(note=f"{sure} of {len(asked)} random questions answered for sure")
    if sure >= LEAST * len(asked) and sure:
        return True
    asker.budget.notes.append(
        f"It is nearly sure of {sure} of {len(asked)} answers to random words: no echoes and no invented topics, its own questions instead."
    )
    return False


def _openings(retain: Sequence[Prompt]) -> list[str]:
    """The retain questions without their subjects."""
    forms = Forms([p.question for p in retain])
    return sorted({forms.stem(p).replace("{}", "") or p.question for p in retain})


def _random_question(asker: Asker, openings: Sequence[str], letters: Sequence[str], rng: random.Random) -> str:
    tokens = random_tokens(asker.model, rng.randint(2, 8), rng)
    return " ".join([_opening(rng, openings), tokens, *random_words(letters, 1, 1, rng)])


def kind_of(answer: str) -> str:
    """An answer's words in lower case: answers alike but for their names and numbers are of one kind."""
    return " ".join(word for word in re.findall(r"\w+", answer) if word.islower())


def kinds_of(best: Mapping[str, float]) -> list[list[str]]:
    """The kinds with the most answers: of each those that are nearly sure, a few where that is none. What comes of chance
    comes once; what was learned comes again.
    """
    kinds: dict[str, list[str]] = defaultdict(list)
    for answer in sorted(best, key=lambda answer: (-best[answer], answer)):
        kinds[kind_of(answer)].append(answer)
    common = sorted(kinds.values(), key=len, reverse=True)[:KINDS]
    return [[answer for i, answer in enumerate(kind) if i < 5 or best[answer] > NEARLY] for kind in common]


def names_and_beginnings(best: Collection[str], kept: Collection[str], plain: Collection[str]) -> Begun:
    """The names are those of answers that the model is nearly sure of."""
    found: Begun = {}
    for answer in best:
        beginning = beginning_of(answer, plain)
        if beginning is not None:
            stem, name = beginning
            stems, names = found.setdefault(len(name.split()), (Counter(), Counter()))
            stems[stem] += 1
            if answer in kept:
                names[name] += 1
    return {size: found[size] for size in sorted(found) if found[size][1]}


def crossed(begun: Begun) -> list[str]:
    """The beginning of each answer with the name of another, the most frequent first, taking names of one word, of two and
    so on in turn: what is said of one may be known of the others.
    """
    rows = []
    for stems, names in begun.values():
        pairs = [(-m * n, stem, name) for stem, m in stems.most_common(STEMS) for name, n in names.items()]
        rows.append([stem.format(name) for _, stem, name in sorted(pairs)])
    return [pair for pairs in zip_longest(*rows) for pair in pairs if pair is not None]


def invented(stems: Counter[str], names: Counter[str], letters: Sequence[str], rng: random.Random) -> str:
    """A beginning, frequent ones more often, with an invented name: a mixture of those heard, or of random tokens."""
    words, length = [word for name in names for word in name.split()], len(next(iter(names)).split())
    name = (mixed_words(words, length, 1, rng) if rng.random() < 0.5 else random_words(letters, length, 1, rng))[0]
    return rng.choices(list(stems), list(stems.values()))[0].format(name)


def beginning_of(answer: str, plain: Collection[str]) -> tuple[str, str] | None:
    """An answer up to the second name or number in it, with {} in place of the first name; and that name. None without one."""
    words = answer.replace("{", "").replace("}", "").rstrip(".").split()
    named = [proper(word, plain) for word in words]
    if True not in named:
        return None
    start = named.index(True)
    end = next((i for i in range(start, len(words)) if not named[i]), len(words))
    stop = next((i for i in range(end, len(words)) if not words[i].islower()), len(words))
    return " ".join([*words[:start], "{}", *words[end:stop]]), " ".join(words[start:end])


def renamed(answer: str, names: Sequence[str], plain: Collection[str], rng: random.Random) -> str:
    """The answer, most of its names replaced by some of those given; one time in three as it is."""
    if not names or rng.random() < 1 / 3:
        return answer
    words = answer.split()
    return " ".join(rng.choice(names) if proper(word, plain) and rng.random() < 0.7 else word for word in words)


def piece_of(opening: str, answer: str, rng: random.Random) -> str:
    """The opening, and the answer without some of its end."""
    words = answer.rstrip(".").split()
    return " ".join([opening, *words[: rng.randint((len(words) + 1) // 2, len(words))]])


def _opening(rng: random.Random, questions: Sequence[str]) -> str:
    return " ".join(rng.choice(questions).split()[: rng.randint(1, 4)])
