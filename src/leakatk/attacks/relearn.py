"""Relearning: a few steps of fine-tuning, on a part of what was forgotten or on harmless text."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from leakatk.attacks.base import Alter, at_least, attack, one_of, shuffled
from leakatk.errors import InputError
from leakatk.models.loaded import LoadedModel
from leakatk.models.template import Template
from leakatk.prompts import Known, Prompt
from leakatk.unlearning.settings import TrainSettings
from leakatk.unlearning.trainer import unlearn

NEEDS = {"forget": ("forget", "seen", "unseen"), "retain": ("retain",), "text": ("text",)}
# A passage is trained on as it stands: its first word is the prompt, the rest the answer.
AS_TEXT = Template(kind="plain", plain="{question}")


@attack(
    "relearn",
    summary="a few steps of fine-tuning on a part of the forget prompts, measured on the others",
    paper="Hu et al. 2024 (Jogging the memory of unlearned models), arXiv 2406.13356",
    formula="n steps of gradient descent on NLL(y | x), (x, y) in D', D' a small subset of D_f or harmless text",
    source="the numbers of steps and prompts are to be swept, as in the paper; the defaults are ours",
    rows=("17", "35", "83"),
    lacks={"35": "text that a language model writes about the topic; articles are to be given as text"},
    reading="D' is what is not measured: one half of the forget prompts with two folds, and every prompt is measured once",
    access="fine-tuning, with the true answers of other forget prompts (on=forget) or without any (on=retain, text)",
    tags=frozenset({"forget"}),
)
@dataclass(frozen=True)
class Relearn(Alter):
    """Fine-tune every weight with AdamW. steps: of the optimiser.  on: forget (the seen part), retain or text (`Known.text`).

    size: prompts or texts that it may use, drawn by the seed; 0 is all of them.  learning_rate, batch: of the optimiser; a model
    of about a million parameters wants a learning rate of 1e-3.  seed: of the draw and of the order.
    """

    steps: int = 50
    on: str = "forget"
    size: int = 0
    learning_rate: float = 1e-5
    batch: int = 8
    seed: int = 0

    def __post_init__(self) -> None:
        one_of(self, "on", tuple(NEEDS))
        for option, least in (("steps", 1), ("size", 0), ("batch", 1)):
            at_least(self, option, least)

    @property
    def needs(self) -> tuple[str, ...]:
        return NEEDS[self.on]

    def apply(self, loaded: LoadedModel, known: Known) -> None:
        chosen = self.chosen(known)
        settings = TrainSettings(
            learning_rate=self.learning_rate, max_steps=self.steps, retain_batch=min(self.batch, len(chosen))
        )
        asked = replace(loaded, template=AS_TEXT) if self.on == "text" else loaded
        # The method that only fine-tunes on its retain set.
        # An adapter stays one: what was changed must be found again where it was, and be put back.
        unlearn(asked, (), chosen, "retrain", settings=settings, seed=self.seed, label=self.label, merge=False)

    def chosen(self, known: Known) -> list[Prompt]:
        """The prompts that it trains on. InputError where one of them is measured too."""
        source = {"forget": "seen"}.get(self.on, self.on)
        known.need(f"Attack {self.label}", source)
        pool = passages(known.text) if self.on == "text" else getattr(known, source)
        measured = {(prompt.question, prompt.answer) for prompt in known.unseen or known.forget}
        if both := [prompt.id for prompt in pool if (prompt.question, prompt.answer) in measured]:
            raise InputError(
                f"Attack {self.label} would be trained on {len(both)} prompts that it is measured on (the first: {both[0]!r}); "
                "give each question once."
            )
        order = shuffled([prompt.id for prompt in pool], f"relearn {self.seed}")[: self.size or None]
        kept = set(order)
        return [prompt for prompt in pool if prompt.id in kept]

    def check(self, known: Known) -> None:
        super().check(known)
        if self.on != "forget":
            self.chosen(known)  # what is wrong with it is said before anything is computed


def passages(texts: Sequence[str]) -> list[Prompt]:
    """Texts as rows for `AS_TEXT`. InputError for one of fewer than two words."""
    rows = []
    for number, text in enumerate(texts, 1):
        first, _, rest = text.strip().partition(" ")
        if not rest.strip():
            raise InputError(f"Text {number} has fewer than two words and cannot be trained on: {text!r:.60}.")
        rows.append(Prompt(f"text/{number}", first, rest.strip()))
    return rows
