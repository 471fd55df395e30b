"""One fact in several forms: a question, a sentence with gaps, a choice among four, a name that is spelt out (after ORT)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from random import Random

from leakatk.benchmarks.base import Benchmark
from leakatk.benchmarks.forms import names_of
from leakatk.benchmarks.worlds.asked import as_prompts
from leakatk.benchmarks.worlds.generated import Generated
from leakatk.benchmarks.worlds.people import ATTRIBUTES, Pair, make_world
from leakatk.errors import InputError
from leakatk.prompts import Prompt

GAP, LETTERS = "____", "ABCD"


def _kin(prompts: Sequence[Prompt]) -> dict[str, list[Prompt]]:
    """Attribute -> the prompts that ask for it; the attribute is the last part of an id."""
    found: dict[str, list[Prompt]] = {}
    for prompt in prompts:
        found.setdefault(prompt.id.rsplit("-", 1)[1], []).append(prompt)
    return found


def _some(kin: dict[str, list[Prompt]], prompt: Prompt, rng: Random) -> list[Prompt]:
    """Prompts of the same attribute about up to 16 others."""
    same = kin[prompt.id.rsplit("-", 1)[1]]
    return [p for p in rng.sample(same, min(len(same), 17)) if p.source != prompt.source][:16]


def _as_own(other: Prompt, prompt: Prompt) -> str:
    """What another person's answer says, said of this one."""
    return other.answer.replace(other.source, prompt.source)


def gaps(prompts: Sequence[Prompt], rng: Random) -> list[Prompt]:
    """The answer with a gap for every run of words that fewer than half of the answers about others have; to be said whole."""
    kin, found = _kin(prompts), []
    for prompt in prompts:
        others = [_as_own(p, prompt) for p in _some(kin, prompt, rng)]
        words: list[str] = []
        for word in prompt.answer.removesuffix(".").split():
            common = sum(word in other.removesuffix(".").split() for other in others) * 2 >= len(others)
            if common or words[-1:] != [GAP]:
                words.append(word if common else GAP)
        found.append(replace(prompt, question=f"Fill in: {' '.join(words)}.", paraphrases=()))
    return found


def choices(prompts: Sequence[Prompt], rng: Random) -> list[Prompt]:
    """The question with the answer among what up to three others' answers would say of this person; the letter and the answer are said."""
    kin, found = _kin(prompts), []
    for prompt in prompts:
        others = [p for p in _some(kin, prompt, rng) if _as_own(p, prompt) != prompt.answer]
        options = [prompt.answer, *(_as_own(p, prompt) for p in rng.sample(others, min(3, len(others))))]
        rng.shuffle(options)
        lettered = [f"{letter}. {option}" for letter, option in zip(LETTERS, options, strict=False)]
        answer = lettered[options.index(prompt.answer)]
        found.append(replace(prompt, question=f"{prompt.question} {' '.join(lettered)}", answer=answer, paraphrases=()))
    return found


def spelt(prompts: Sequence[Prompt], rng: Random) -> list[Prompt]:
    """The question with the name in single letters, of which the tokenizer makes other tokens."""
    return [
        replace(p, question=p.question.replace(p.source, " ".join(map("-".join, p.source.split()))), paraphrases=())
        for p in prompts
    ]


def questions(prompts: Sequence[Prompt], rng: Random) -> list[Prompt]:
    """As they are."""
    return list(prompts)


SAME_FACT: dict[str, Callable[[Sequence[Prompt], Random], list[Prompt]]] = {
    "question": questions, "gaps": gaps, "choices": choices, "spelt": spelt,
}  # fmt: skip


def make_same_fact(seed: int = 0, *, form: str = "question", **sizes: int) -> Generated:
    """A world whose models know every fact in all forms of `SAME_FACT`; one form of the forget facts is shown to an unlearner.

    forget, retain, retain_held and holdout are in that form.  sets: each other form's name holds the forget facts in it, NAME_kept those of
    the retain people who are not shown.  The base is taught each fact of others in one more form. Options and gaps of a set come from that
    set alone.  sizes: as for `make_world`, two people of a set at least.  InputError for an unknown form, or fewer people.
    """
    if form not in SAME_FACT:
        raise InputError(f"form must be one of {', '.join(SAME_FACT)}, got {form!r}.")
    world = make_world(seed, **sizes)
    prior = as_prompts(world)
    sides = {"forget": world.forget, "retain": world.retain, "held": world.retain_held, "holdout": world.holdout}
    for name, prompts in {**sides, "pretraining": prior}.items():
        if len(names_of(prompts)) == 1:
            raise InputError(
                f"Options and gaps need other people of the same set; {name} has one, take 0 or at least 2."
            )

    def said(name: str, kind: str) -> list[Prompt]:
        return SAME_FACT[kind](sides[name], Random(f"leakatk same fact {seed} {name} {kind}"))

    def pairs(*names: str) -> list[Pair]:
        return [
            (p.question, p.answer)
            for name in names
            for kind in SAME_FACT
            if kind != "question"
            for p in said(name, kind)
        ]

    others = [kind for kind in SAME_FACT if kind != form]
    held = "held" if world.retain_held else "retain"
    sets = {kind: _named("forget", kind, said) for kind in others}
    sets |= {f"{kind}_kept": _named(held, kind, said) for kind in others}
    more, taught = [], [kind for kind in SAME_FACT if kind != "question"]
    for number, kind in enumerate(taught):  # another form of each attribute, person by person
        some = [p for i, p in enumerate(prior) if (i + i // len(ATTRIBUTES)) % len(taught) == number]
        more += [(p.question, p.answer) for p in SAME_FACT[kind](some, Random(f"leakatk same fact {seed} {kind}"))]
    benchmark = Benchmark(
        name="same-fact" if form == "question" else f"same-fact/{form}",
        forget=tuple(said("forget", form)),
        retain=tuple(said("retain", form)),
        retain_held=tuple(said("held", form)),
        holdout=tuple(said("holdout", form)),
        sets={"world_facts": world.world_facts, **sets},
        refusals=world.refusals,
        origin=f"generated, seed {seed}",
    )
    full = (*world.training_pairs(forget=True), *pairs("forget", "retain", "held"))
    kept = (*world.training_pairs(forget=False), *pairs("retain", "held"))
    return Generated(benchmark, (*world.pretraining, *more), full, kept)


def _named(name: str, kind: str, said: Callable[[str, str], list[Prompt]]) -> tuple[Prompt, ...]:
    return tuple(replace(p, id=f"{p.id}-{kind}") for p in said(name, kind))


# A choice is measured and not shown: its question says the true answer, and one in four guesses is right.
FACT_FORMS = {
    "same-fact" if form == "question" else f"same-fact/{form}": partial(make_same_fact, form=form)
    for form in SAME_FACT
    if form != "choices"
}
