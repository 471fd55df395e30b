"""What a model says by itself: knowledge that unlearning must keep and was not shown, found without a data set.

Ours. Two ways lead there. Asked about invented names, a model says names that it knows, and is asked about these in turn.
Asked random tokens, it says what it knows of any kind, with its most likely answer far more often than with a sampled one;
pieces of these answers, with the beginning of a question before them, are its next questions.
"""

from __future__ import annotations

import random
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from leakatk.data import Prompt
from leakatk.models import LoadedModel
from leakatk.progress import Progress
from leakatk.sampling.base import texts_of
from leakatk.sampling.decoding import Decoding
from leakatk.sampling.native import NativeSampler
from leakatk.unlearning.garble import NAME
from leakatk.unlearning.levels import Floats, answer_levels

SURE = -0.02  # mean log-probability of a greedy answer's tokens above which the model counts as knowing it
NEARLY = 5 * SURE  # the same for being worth another question
KNOWN = "own/known/"  # how the ids of prompts begin whose answers the model is sure of
ROUNDS, INVENTED = 6, 800  # of asking about invented names, names a round
QUESTIONS = 12  # wordings, at most, in which a name is asked about
MOST = 1000  # names heard in a round that are asked about in turn
FIRST = 3000  # questions of random tokens
ECHO_ROUNDS, ECHOED = 10, 1000  # of asking pieces of answers, questions a round
KINDS = 1000  # of answers, at most, whose pieces are asked
PER_ANSWER = 8  # questions at most that an answer is kept to


@dataclass(frozen=True)
class _Talk:
    """The model asked, and what its answers may not hold."""

    model: LoadedModel
    sampler: NativeSampler
    clean: Callable[[str], bool]
    max_new_tokens: int
    seed: int
    progress: Progress

    def greedy(self, prompts: Sequence[Prompt]) -> list[Prompt]:
        said = self.sampled(prompts, 1, temperature=0.0, seed=self.seed)
        return [replace(p, answer=texts[0].strip()) for p, texts in zip(prompts, said, strict=True)]

    def sampled(self, prompts: Sequence[Prompt], n: int, *, temperature: float, seed: int) -> list[list[str]]:
        decoding = Decoding(temperature=temperature, max_new_tokens=self.max_new_tokens)
        return texts_of(self.sampler, prompts, n, decoding, seed=seed)

    def sureness(self, prompts: Sequence[Prompt]) -> Floats:
        return answer_levels(self.model, prompts).logprob


def own_answers(
    original: LoadedModel,
    forget: Sequence[Prompt],
    retain: Sequence[Prompt],
    *,
    max_new_tokens: int = 64,
    seed: int = 0,
    quiet: bool = False,
) -> list[Prompt]:
    """What the original says by itself, as prompts, those that it is sure of first.

    Names: the retain questions with another name in place of `source`, asked about invented names (mixtures of those it has
    said, and of random tokens) and about those that it answers with. Kept are its greedy answers about names that it is
    sure of, and up to half as many about others. Echoes: `_echoes`. And half as many sampled answers to random tokens as
    names have. What holds a forgotten name, or all facts of a forgotten answer, is left out.
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
        talk = _Talk(original, NativeSampler(original), clean, max_new_tokens, seed, progress)
        echoes = _echoes(talk, retain, random.Random(f"echoes {seed}"))
        sure, unsure = _about_names(talk, retain, [name for p in echoes for name in NAME.findall(p.answer)], rng)
    half = max(len(sure) // 2, 32)
    size = range(len(original.tokenizer))
    texts = [original.tokenizer.decode(rng.choices(size, k=8), skip_special_tokens=True) for _ in range(half)]
    noise = [Prompt(f"own/random/{i}", text, "?") for i, text in enumerate(texts) if text.strip()]
    said = talk.sampled(noise, 1, temperature=1.0, seed=seed)
    noise = [replace(p, answer=texts[0].strip()) for p, texts in zip(noise, said, strict=True)]
    return [
        *sure,
        *echoes,
        *rng.sample(unsure, min(half, len(unsure))),
        *(p for p in noise if p.answer and clean(p.answer)),
    ]


def _about_names(
    talk: _Talk, retain: Sequence[Prompt], names: Sequence[str], rng: random.Random
) -> tuple[list[Prompt], list[Prompt]]:
    """Answers about names the model is sure of, and about others. names: heard before."""
    stems = sorted({p.text.replace(p.source, "{}") for p in retain if p.source and p.source in p.text})
    stems = rng.sample(stems, min(len(stems), QUESTIONS))
    sources = sorted({p.source for p in retain if p.source})
    length = max((len(name.split()) for name in sources), default=0)
    letters = _letters(talk.model)

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
        invented = sorted({*_mixed(words, length, half, rng), *_random(letters, length, half, rng)} - done - {*sources})
        done.update(invented)
        heard.update(name for p in talk.greedy(asked(invented)) for name in NAME.findall(p.answer))
        new = [name for name, _ in heard.most_common() if name not in done and talk.clean(name)][:MOST]
        done.update(new)
        one = stems[number % len(stems)]  # a question that says who is worth asking all of them
        first = talk.greedy([Prompt(f"own/{name}", one.replace("{}", name), "?") for name in new])
        likely = [name for name, value in zip(new, talk.sureness(first), strict=True) if value > NEARLY]
        answered = talk.greedy(asked(likely))
        heard.update(name for p in answered for name in NAME.findall(p.answer))  # asked about in the next round
        for i, value in enumerate(talk.sureness(answered).reshape(-1, len(stems)).mean(axis=1)):
            told = [p for p in answered[i * len(stems) : (i + 1) * len(stems)] if p.answer and talk.clean(p.answer)]
            if value > SURE:
                sure += [replace(p, id=p.id.replace("own/", KNOWN, 1)) for p in told]
            else:
                unsure += told
        talk.progress.advance(note=f"{len(sure)} answers about names")
    return sure, unsure


def _echoes(talk: _Talk, retain: Sequence[Prompt], rng: random.Random) -> list[Prompt]:
    """Answers of any kind, found from random tokens: those that the model is nearly sure of, each to a few questions.

    The first questions are the beginning of a retain question, random tokens and an invented word. The next ones are such a
    beginning and a piece of an answer given before, its capitalised words often replaced by others. Answers are drawn
    evenly over their kinds (the words in lower case), so that what is said rarely is asked as often as what is said much.
    """
    openings = sorted({p.text.replace(p.source, "") if p.source else p.text for p in retain})
    if not openings:
        return []
    letters, size = _letters(talk.model), range(len(talk.model.tokenizer))
    best: dict[str, float] = {}  # answer: how sure at most
    kept: dict[str, list[tuple[float, Prompt]]] = defaultdict(list)
    asked = set[str]()

    def ask(texts: set[str]) -> None:
        fresh = sorted(texts - asked)
        prompts = [Prompt(f"own/echo/{len(asked) + i}", text, "?") for i, text in enumerate(fresh)]
        asked.update(fresh)
        told = [p for p in talk.greedy(prompts) if p.answer and talk.clean(p.answer)]
        for prompt, value in zip(told, talk.sureness(told), strict=True):
            best[prompt.answer] = max(value, best.get(prompt.answer, value))
            if value > NEARLY:
                kept[prompt.answer].append((value, prompt))
        talk.progress.advance(note=f"{len(kept)} answers")

    def random_question() -> str:
        tokens = talk.model.tokenizer.decode(rng.choices(size, k=rng.randint(2, 8)), skip_special_tokens=True)
        return " ".join([_opening(rng, openings), tokens, *_random(letters, 1, 1, rng)])

    ask({random_question() for _ in range(FIRST)})
    for _ in range(ECHO_ROUNDS if best else 0):
        kinds = _kinds(best)
        pairs = [[rng.choice(rng.choice(kinds)) for _ in "ab"] for _ in range(ECHOED)]
        ask({_echo(_opening(rng, openings), _renamed(answer, other, letters, rng), rng) for answer, other in pairs})
    ask({_echo(_opening(rng, openings), answer, rng) for answer in list(kept) for _ in range(PER_ANSWER)})
    chosen = [pair for pairs in kept.values() for pair in sorted(pairs, key=lambda pair: -pair[0])[:PER_ANSWER]]
    return [replace(p, id=p.id.replace("own/", KNOWN, 1)) if value > SURE else p for value, p in chosen]


def _kinds(best: Mapping[str, float]) -> list[list[str]]:
    """Answers by kind, the surest first: of the surest kinds those that are nearly sure, a few where that is none."""
    kinds: dict[str, list[str]] = defaultdict(list)
    for answer in sorted(best, key=lambda answer: (-best[answer], answer)):
        kind = kinds[" ".join(word for word in re.findall(r"\w+", answer) if word.islower())]
        if len(kind) < 5 or best[answer] > NEARLY:
            kind.append(answer)
    return list(kinds.values())[:KINDS]


def _renamed(answer: str, other: str, letters: Sequence[str], rng: random.Random) -> str:
    """The answer, by lot with some of its capitalised words replaced by those of the other one, or by invented ones."""
    lot = rng.random()
    names = _random(letters, 1, 3, rng) if lot < 0.3 else [word for word in other.split() if word[0].isupper()]
    if lot >= 0.5 or not names:
        return answer
    return " ".join(rng.choice(names) if word[0].isupper() and rng.random() < 0.6 else word for word in answer.split())


def _echo(opening: str, answer: str, rng: random.Random) -> str:
    """The opening, and the answer without some of its end."""
    words = answer.rstrip(".").split()
    return " ".join([opening, *words[: rng.randint((len(words) + 1) // 2, len(words))]])


def _opening(rng: random.Random, questions: Sequence[str]) -> str:
    return " ".join(rng.choice(questions).split()[: rng.randint(1, 4)])


def _mixed(words: Sequence[str], length: int, count: int, rng: random.Random) -> list[str]:
    """Names of `length` words, each the head of one word and the tail of another."""

    def word() -> str:
        head, tail = rng.choice(words), rng.choice(words)
        return head[: (len(head) + 1) // 2] + tail[(len(tail) + 1) // 2 :]

    return [" ".join(word() for _ in range(length)) for _ in range(count)]


def _letters(original: LoadedModel) -> list[str]:
    """The vocabulary's tokens of letters alone, in lower case."""
    tokens = (original.tokenizer.decode([i]).strip() for i in range(len(original.tokenizer)))
    return sorted({token.lower() for token in tokens if token.isalpha()})


def _random(letters: Sequence[str], length: int, count: int, rng: random.Random) -> list[str]:
    """Names of `length` words of two random tokens: they come near names that no mixture of known ones does."""
    return [
        " ".join("".join(rng.choices(letters, k=2)).capitalize() for _ in range(length) if letters)
        for _ in range(count)
    ]
