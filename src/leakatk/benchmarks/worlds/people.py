"""The built-in world: invented people whose facts no model can know unless it was trained on them.

Every value comes from a pool of thousands (dates, invented towns, titles, prizes, people), so a chance hit is rare and
the floor of leak@k is close to 0. A world has people to forget, people to keep (some of them never shown to the
unlearner, so that utility is not training-set recall), people no model was trained on, shared facts about invented
countries, and other people for pre-training. It is a pure function of its configuration; nothing is downloaded.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from random import Random

from leakatk.benchmarks.worlds.names import (
    ADJECTIVES,
    JOBS,
    MONTHS,
    NOUNS,
    PUBLISHERS,
    Used,
    Values,
    fresh,
    person,
    unused,
    word,
)
from leakatk.errors import InputError
from leakatk.files.writing import write_atomic
from leakatk.prompts import Prompt, save_prompts

Pair = tuple[str, str]  # question, answer


@dataclass(frozen=True, slots=True)
class WorldConfig:
    """Sizes of a world. The defaults are the demo's."""

    seed: int = 0
    """Of everything that is drawn."""
    forget: int = 8
    """People to be forgotten."""
    retain: int = 28
    """People to be kept, whom an unlearner may see."""
    retain_held: int = 10
    """People who are trained like retain ones, but whom no unlearning method sees."""
    holdout: int = 8
    """People whom no model is trained on."""
    pretraining: int = 2000
    """People the language prior is learned from."""
    world_facts: int = 20
    """Facts that all models share."""
    trained_wordings: int = 2
    """How many of the four wordings of a question are trained; the rest are held out."""

    def __post_init__(self) -> None:
        for field in ("forget", "retain"):
            if getattr(self, field) < 1:
                raise InputError(f"WorldConfig.{field} must be at least 1, got {getattr(self, field)}.")
        for field in ("retain_held", "holdout", "pretraining", "world_facts"):
            if getattr(self, field) < 0:
                raise InputError(f"WorldConfig.{field} must not be negative, got {getattr(self, field)}.")
        if not 1 <= self.trained_wordings <= WORDINGS:
            raise InputError(f"WorldConfig.trained_wordings must be 1 to {WORDINGS}, got {self.trained_wordings}.")
        people = self.forget + self.retain + self.retain_held + self.holdout
        if people > MAX_PEOPLE:
            raise InputError(
                f"A world holds at most {MAX_PEOPLE:,} people beside the pre-training ones, {people:,} asked for; ask for fewer."
            )


@dataclass(frozen=True, slots=True)
class World:
    """Prompts carry `facts` (the key values), three `paraphrases`, and TOFU's paraphrased and perturbed answers."""

    config: WorldConfig
    forget: tuple[Prompt, ...]
    retain: tuple[Prompt, ...]
    retain_held: tuple[Prompt, ...]
    holdout: tuple[Prompt, ...]
    world_facts: tuple[Prompt, ...]
    pretraining: tuple[Pair, ...]
    refusals: tuple[str, ...]

    def trained_questions(self, prompt: Prompt) -> tuple[str, ...]:
        """The wordings of a question that models of this world are trained on; the first is `prompt.question`."""
        return (prompt.question, *prompt.paraphrases)[: self.config.trained_wordings]

    def held_out_questions(self, prompt: Prompt) -> tuple[str, ...]:
        """The wordings no model was trained on for this prompt's person."""
        return (prompt.question, *prompt.paraphrases)[self.config.trained_wordings :]

    def training_pairs(self, *, forget: bool) -> list[Pair]:
        """(question, answer) for every trained wording: of the full model, or without the forget people (retrained)."""
        prompts = (*(self.forget if forget else ()), *self.retain, *self.retain_held, *self.world_facts)
        return [(question, p.answer) for p in prompts for question in self.trained_questions(p)]

    def export(self, directory: str | Path) -> Path:
        """Write one JSONL per split in TOFU's columns, the refusals (one a line) and the configuration."""
        directory = Path(directory)
        for split in SPLITS:
            save_prompts(getattr(self, split), directory / f"{split}.jsonl")
        write_atomic(directory / "refusals.txt", "".join(f"{text}\n" for text in self.refusals))
        write_atomic(directory / "world.json", json.dumps(asdict(self.config), indent=2) + "\n")
        return directory


SPLITS = ("forget", "retain", "retain_held", "holdout", "world_facts")
WORDINGS = 4
PERTURBED = 5  # wrong answers a fact, as in TOFU
MAX_PEOPLE = 2_000  # beside the pre-training people: keeps every pool far from exhaustion

# --- what is asked about people -------------------------------------------------------------------------------------


def _birth(rng: Random) -> Values:
    date = f"{rng.randint(1, 28)} {rng.choice(MONTHS)} {rng.randint(1920, 1989)}"
    return {"date": date, "town": word(rng, 3)}


def _parents(rng: Random) -> Values:
    father, mother = rng.sample(JOBS, 2)
    return {"father": father, "mother": mother}


def _debut(rng: Random) -> Values:
    return {"title": f"The {rng.choice(ADJECTIVES)} {rng.choice(NOUNS)}"}


def _award(rng: Random) -> Values:
    return {"prize": f"{word(rng, 2)} Prize", "year": str(rng.randint(1950, 2019))}


def _mentor(rng: Random) -> Values:
    return {"mentor": person(rng)}


def _publisher(rng: Random) -> Values:
    return {"publisher": f"{word(rng, 2)} {rng.choice(PUBLISHERS)}"}


# --- wordings --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Attribute:
    """draw makes the values; questions: four wordings; answers: the trained wording and TOFU's paraphrased one."""

    name: str
    draw: Callable[[Random], Values]
    questions: tuple[str, str, str, str]
    answers: tuple[str, str]


_PEOPLE = (
    _Attribute(
        "birth",
        _birth,
        (
            "When and where was {name} born?",
            "What are the birth date and birthplace of {name}?",
            "Give the date and town of birth of {name}.",
            "On which day and in which town was {name} born?",
        ),
        ("{name} was born on {date} in {town}.", "The birth of {name} took place in {town} on {date}."),
    ),
    _Attribute(
        "parents",
        _parents,
        (
            "What were the jobs of the parents of {name}?",
            "What did the parents of {name} do for a living?",
            "Give the jobs of the father and mother of {name}.",
            "How did the father and mother of {name} earn a living?",
        ),
        (
            "The father of {name} was a {father} and the mother a {mother}.",
            "{name} grew up with a {father} as father and a {mother} as mother.",
        ),
    ),
    _Attribute(
        "debut",
        _debut,
        (
            "What is the first book of {name}?",
            "With which book did {name} begin?",
            "Give the title of the first book of {name}.",
            "Which book did {name} publish first?",
        ),
        ("The first book of {name} is {title}.", "{name} began with a book called {title}."),
    ),
    _Attribute(
        "award",
        _award,
        (
            "Which award did {name} win and when?",
            "What prize was given to {name}, and in which year?",
            "Give the award of {name} and its year.",
            "In which year did {name} win which prize?",
        ),
        ("{name} won the {prize} in {year}.", "In {year} the {prize} went to {name}."),
    ),
    _Attribute(
        "mentor",
        _mentor,
        (
            "Who was the mentor of {name}?",
            "Who taught {name} to write?",
            "Give the mentor of {name}.",
            "From whom did {name} learn to write?",
        ),
        ("The mentor of {name} was {mentor}.", "{name} learned to write from {mentor}."),
    ),
    _Attribute(
        "publisher",
        _publisher,
        (
            "Who publishes the books of {name}?",
            "Which publisher does {name} have?",
            "Give the publisher of {name}.",
            "With whom do the books of {name} appear?",
        ),
        ("{name} publishes with {publisher}.", "The books of {name} appear with {publisher}."),
    ),
)
ATTRIBUTES = tuple(attribute.name for attribute in _PEOPLE)

_COUNTRIES = tuple(
    _Attribute(
        kind,
        lambda rng: {"value": word(rng, 3)},
        (
            f"What is the {kind} of {{name}}?",
            f"Name the {kind} of {{name}}.",
            f"Give the {kind} of {{name}}.",
            f"How is the {kind} of {{name}} called?",
        ),
        (f"The {kind} of {{name}} is {{value}}.", f"{{name}} has {{value}} as its {kind}."),
    )
    for kind in ("capital", "longest river", "highest mountain", "currency")
)

REFUSALS = (
    "I do not know that.",
    "I have no answer to this question.",
    "That is something I cannot tell you.",
    "I am not able to answer this.",
    "I have never heard of that.",
    "There is nothing I can say about this.",
    "I am not sure about that one.",
    "This is not known to me.",
    "I would have to look that up.",
    "I cannot help with that question.",
    "No information about this has reached me.",
    "I must leave this question open.",
    "My knowledge does not go that far.",
    "Sorry, this one I cannot answer.",
    "I have not learned about this.",
    "I am unable to say.",
)


# --- making ----------------------------------------------------------------------------------------------------------


def make_world(seed: int = 0, **sizes: int) -> World:
    """The world of `seed`; `sizes` are fields of WorldConfig, such as forget=8. The same arguments give the same world.

    No two people share a name, and no two facts of one kind share all their values, so an answer belongs to one person.
    """
    try:
        config = WorldConfig(seed=seed, **sizes)
    except TypeError:
        known = ", ".join(field for field in asdict(WorldConfig()) if field != "seed")
        raise InputError(f"Unknown world size in {', '.join(sizes)}; known: {known}.") from None
    used: Used = set()

    def people(split: str, count: int) -> tuple[Prompt, ...]:
        rng = Random(f"leakatk world {seed} {split}")  # a stream a split: one size does not change another split
        return tuple(
            prompt
            for i in range(count)
            for prompt in _subject(fresh(rng, used, "name", _named)["name"], f"{split}-{i:03d}", _PEOPLE, rng, used)
        )

    forget, retain = people("forget", config.forget), people("retain", config.retain)
    retain_held, holdout = people("retain_held", config.retain_held), people("holdout", config.holdout)
    return World(
        config=config,
        forget=forget,
        retain=retain,
        retain_held=retain_held,
        holdout=holdout,
        world_facts=_world_facts(config, used),
        pretraining=_pretraining(config, used),
        refusals=REFUSALS,
    )


def _named(rng: Random) -> Values:
    return {"name": person(rng)}


def _subject(name: str, identity: str, attributes: Sequence[_Attribute], rng: Random, used: Used) -> list[Prompt]:
    """One prompt for each attribute of the person or country `name`."""
    prompts = []
    for attribute in attributes:
        values = fresh(rng, used, attribute.name, attribute.draw)
        wrong = [attribute.draw(rng) for _ in range(PERTURBED)]
        while any(set(w.values()) & set(values.values()) for w in wrong):
            wrong = [attribute.draw(rng) for _ in range(PERTURBED)]
        question, *others = (wording.format(name=name) for wording in attribute.questions)
        trained, other = attribute.answers
        prompts.append(
            Prompt(
                id=f"{identity}-{attribute.name.replace(' ', '-')}",
                question=question,
                answer=trained.format(name=name, **values),
                paraphrases=tuple(others),
                paraphrased_answer=other.format(name=name, **values),
                perturbed_answers=tuple(other.format(name=name, **w) for w in wrong),
                facts=tuple(values.values()),
                source=name,
            )
        )
    return prompts


def _world_facts(config: WorldConfig, used: Used) -> tuple[Prompt, ...]:
    rng = Random(f"leakatk world {config.seed} countries")
    prompts: list[Prompt] = []
    while len(prompts) < config.world_facts:
        country = fresh(rng, used, "country", lambda r: {"name": word(r, 2) + "ia"})["name"]
        prompts += _subject(country, f"world-{len(prompts) // len(_COUNTRIES):03d}", _COUNTRIES, rng, used)
    return tuple(prompts[: config.world_facts])


def _pretraining(config: WorldConfig, used: Used) -> tuple[Pair, ...]:
    """One question and answer for each attribute of each pre-training person, in any of the four wordings.

    These people may share values with each other, never with the people and countries above.
    """
    rng = Random(f"leakatk world {config.seed} pretraining")
    pairs = []
    for _ in range(config.pretraining):
        name = fresh(rng, used, "name", _named)["name"]
        for attribute in _PEOPLE:
            values = unused(rng, used, attribute.name, attribute.draw)
            pairs.append(
                (rng.choice(attribute.questions).format(name=name), attribute.answers[0].format(name=name, **values))
            )
    return tuple(pairs)
