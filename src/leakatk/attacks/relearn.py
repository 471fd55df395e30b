"""Relearning: a few steps of fine-tuning, on a part of what was forgotten, on what is like it, or on harmless text."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal

from leakatk import progress
from leakatk.attacks.base import Alter, Attack, Cost, at_least, attack, one_of, shuffled, split_known
from leakatk.attacks.lessons import NEEDS, by_template, lessons, written_about
from leakatk.attacks.sweep import numbers, settings_of, words
from leakatk.attacks.trails import Trail
from leakatk.errors import InputError
from leakatk.models.loaded import LoadedModel
from leakatk.models.template import Template
from leakatk.models.weights import put
from leakatk.prompts import Known, Prompt
from leakatk.synthesis.topics import Topic
from leakatk.unlearning.method import SMALL, Method
from leakatk.unlearning.methods import METHODS
from leakatk.unlearning.optimisers import sgd, sign_descent
from leakatk.unlearning.settings import Check, OnCheck, TrainSettings
from leakatk.unlearning.stages import Train
from leakatk.unlearning.trainer import unlearn
from leakatk.unlearning.work import Optimiser

# A passage is trained on as it stands: its first word is the prompt, the rest the answer.
AS_TEXT = Template(kind="plain", plain="{question}")
PLAIN = ("text", "written")
# Name -> how it is made (None: as the settings have it) and its learning rate as a multiple of AdamW's, whose steps are of another size.
OPTIMISERS: Mapping[str, tuple[Optimiser | None, float]] = {
    "adamw": (None, 1.0),
    "sgd": (sgd(momentum=0.9), 100.0),
    "sign": (sign_descent, 0.3),
}
# (parameters, the learning rate below): the methods' own for small models, then those of fine-tuning.
RATES = ((20_000_000, SMALL.learning_rate), (1_000_000_000, 1e-4), (math.inf, 1e-5))
LORA_TIMES = 10.0  # an adapter takes so many times the rate of all weights


@attack(
    "relearn",
    summary="a few steps of fine-tuning on a part of the forget prompts, measured on the others",
    paper="Hu et al. 2024 (Jogging the memory of unlearned models), arXiv 2406.13356; on=syntax and topic: arXiv 2602.03379",
    formula="n steps of gradient descent on NLL(y | x), (x, y) in D', D' a small subset of D_f, what is like it, or harmless text",
    source="the numbers of steps and prompts are to be swept, as in the paper; the defaults are ours, the learning rate by size of the "
    "model: 3e-4 below 20 million parameters, 1e-4 below a billion, else 1e-5, ten times that for an adapter",
    rows=("17", "35", "83", "105"),
    reading="D' is what is not measured: one half of the forget prompts with two folds, and every prompt is measured once. syntax: the four "
    "retain prompts of other sources whose questions are most like each measured one. topic: the seen prompts of measured sources, "
    "where a fold holds whole templates, a template being a question without its source's name. written: two passages a source by the "
    "auxiliary model writer, which is told the source's name alone; one in which an answer stands is not used",
    access="fine-tuning, with the true answers of other forget prompts (on=forget, topic) or without any (on=retain, syntax, text, written)",
    tags=frozenset({"forget"}),
)
@dataclass(frozen=True)
class Relearn(Alter):
    """Fine-tune. steps: of the optimiser.  on: forget (the seen part), topic (the seen part in other templates), syntax (retain prompts
    in the same form), retain, text (`Known.text`, related or not), or written (passages about the sources by the auxiliary model "writer").

    size: prompts or texts that it may use, drawn by the seed; 0 is all of them.  learning_rate: 0 is by the size of the model;
    times: a factor on it.  batch: answers a step.  optimiser: adamw, sgd or sign, the last two at 100 and .3 times the rate.
    tuning: full or lora;  rank: of the adapter.  seed: of the draw and of the order.
    curve: step counts at which one run is measured, as 10+50.  rates, optimisers: what a sweep tries, such as 0.3+1+3 (values of
    times) and adamw+sgd.  budget: steps that all runs of a sweep may take together for one part; 0 is any number.
    """

    steps: int = 50
    on: str = "forget"
    size: int = 0
    learning_rate: float = 0.0
    times: float = 1.0
    batch: int = 8
    optimiser: str = "adamw"
    tuning: Literal["full", "lora"] = "full"
    rank: int = 16
    seed: int = 0
    curve: str = ""
    rates: str = ""
    optimisers: str = ""
    budget: int = 0

    def __post_init__(self) -> None:
        one_of(self, "on", tuple(NEEDS))
        one_of(self, "optimiser", tuple(OPTIMISERS))
        one_of(self, "tuning", ("full", "lora"))
        for option, least in (
            ("steps", 1),
            ("size", 0),
            ("batch", 1),
            ("rank", 1),
            ("budget", 0),
            ("learning_rate", 0),
        ):
            at_least(self, option, least)
        for value in (self.times, *numbers(self, "rates")):
            if not 0 < value < float("inf"):
                raise InputError(f"Attack option relearn:times must be a number above 0, got {value:g}.")
        numbers(self, "curve", whole=True)
        words(self, "optimisers", tuple(OPTIMISERS))

    @property
    def needs(self) -> tuple[str, ...]:
        return NEEDS[self.on]

    @property
    def uses(self) -> tuple[str, ...]:
        return (*self.needs, "unseen") if self.on == "syntax" else self.needs

    def split(self, known: Known, seed: int, folds: int) -> list[Known]:
        return (by_template if self.on == "topic" else split_known)(known, seed, folds)

    def settings(self) -> tuple[list[Attack], list[str]]:
        return settings_of(self)

    @property
    def trail(self) -> str:
        return repr(replace(self, steps=1))

    @property
    def point(self) -> int:
        return self.steps

    # -- the training

    def apply(self, loaded: LoadedModel, known: Known) -> None:
        self._train(loaded, known, self.steps)

    def follow(self, loaded: LoadedModel, known: Known, trail: Trail) -> None:
        found = trail.read(self.steps)
        if found is None:

            def keep(now: LoadedModel, step: int) -> Check:
                trail.keep(step, now.model)
                return Check({})

            self._train(loaded, known, trail.last, keep, trail.every)
            found = trail.read(self.steps)
        if self.steps < trail.last or found is not None:
            put(loaded.model, found or {}, partly=True)

    def _train(
        self, loaded: LoadedModel, known: Known, steps: int, on_check: OnCheck | None = None, every: int = 0
    ) -> None:
        if self.tuning == "lora" and hasattr(loaded.model, "peft_config"):
            raise InputError(
                f"Attack {self.label} would put an adapter on a model that has one; leave out tuning=lora, or merge the model's."
            )
        rows = self.chosen(known)
        if self.on == "written":
            loaded.notes.append(self._left_out(known))
        settings = TrainSettings(
            learning_rate=self.rate(loaded), max_steps=steps, retain_batch=min(self.batch, len(rows)), tuning=self.tuning,
            lora_rank=self.rank, lora_alpha=2.0 * self.rank, check_every=every,
        )  # fmt: skip
        asked = replace(loaded, template=AS_TEXT) if self.on in PLAIN else loaded
        # An adapter stays one: what was changed must be found again where it was, and be put back.
        unlearn(
            asked, (), rows, self._method(), settings=settings, seed=self.seed, label=self.label, merge=False, on_check=on_check,
            quiet=progress.silent,
        )  # fmt: skip

    def _method(self) -> Method:
        """The method that only fine-tunes on its retain set, with the optimiser that is asked for."""
        method, (made, _) = METHODS["retrain"], OPTIMISERS[self.optimiser]
        if made is None:
            return method
        return replace(
            method, stages=tuple(replace(s, optimiser=made) if isinstance(s, Train) else s for s in method.stages)
        )

    def rate(self, loaded: LoadedModel) -> float:
        """The learning rate on this model."""
        size = sum(parameter.numel() for parameter in loaded.model.parameters())
        base = next(rate for most, rate in RATES if size < most)
        usual = base * (LORA_TIMES if self.tuning == "lora" else 1.0) * OPTIMISERS[self.optimiser][1]
        return (self.learning_rate or usual) * self.times

    # -- what it is trained on

    def chosen(self, known: Known) -> list[Prompt]:
        """The prompts that it trains on. InputError where there are none, or one of them is measured too."""
        source = {
            "forget": "seen",
            "topic": "seen",
            "syntax": "retain",
            "written": "auxiliary writer",
        }.get(self.on, self.on)
        known.need(f"Attack {self.label}", source)
        pool = lessons(self.on, known)
        measured = {(prompt.question, prompt.answer) for prompt in known.unseen or known.forget}
        if both := [prompt.id for prompt in pool if (prompt.question, prompt.answer) in measured]:
            raise InputError(
                f"Attack {self.label} would be trained on {len(both)} prompts that it is measured on (the first: {both[0]!r}); "
                "give each question once."
            )
        order = shuffled([prompt.id for prompt in pool], f"relearn {self.seed}")[: self.size or None]
        kept = set(order)
        return [prompt for prompt in pool if prompt.id in kept]

    def _left_out(self, known: Known) -> str:
        """How many sources nothing was written about that could be used."""
        sources = {prompt.source for prompt in known.forget if prompt.source}
        about = {source for source, _ in written_about(known.forget, known.auxiliary["writer"])}
        nameless = sum(not prompt.source for prompt in known.forget)
        return f"Passages of use were written about {len(about)} of {len(sources)} sources; {nameless} forget prompts have no source."

    def check(self, known: Known) -> None:
        super().check(known)
        if not self.fitted and self.on != "written":
            self.chosen(known)  # what is wrong with it is said before anything is computed

    def brings(self, known: Known) -> list[str]:
        return [f"{prompt.question} {prompt.answer}" for prompt in self.chosen(known)]

    def cost(self, loaded: LoadedModel, known: Known) -> Cost:
        if self.on == "written":  # not written yet: as if every passage had its full length
            return Cost(steps=self.steps, trained=self.steps * self.batch * Topic().max_new_tokens)
        rows = self.chosen(known)
        asked = replace(loaded, template=AS_TEXT) if self.on in PLAIN else loaded
        seams = [asked.template.pair(asked.tokenizer, row.query, row.answer) for row in rows[:64]]
        each = sum(len(seam.prompt) + len(seam.answer) for seam in seams) / len(seams)
        return Cost(steps=self.steps, trained=self.steps * min(self.batch, len(rows)) * each)
