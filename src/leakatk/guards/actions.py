"""Actions of guards, what is done with a flagged prompt: refuse, corrupt its embeddings, or put examples before it."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np

from leakatk.errors import InputError, UnknownNameError
from leakatk.guards.base import Action, Floats
from leakatk.guards.detectors import encoder_for, encoder_mark, put, vectors
from leakatk.prompts import Known, Prompt

if TYPE_CHECKING:
    from torch import Tensor

    from leakatk.models.loaded import LoadedModel

REFUSAL = "I'm sorry, but I can't help with that."


@dataclass(frozen=True)
class Refuse(Action):
    """A flagged prompt is not put to the model; a fixed sentence is the answer."""

    asks: ClassVar[bool] = False

    refusal: str = REFUSAL
    """The sentence. On the command line it cannot hold a comma; in Python it can."""

    def answer(self, prompt: Prompt, text: str) -> str:
        return self.refusal


_HOW = ("noise", "zero", "flip")
_WHICH = ("first", "largest")


@dataclass(frozen=True)
class Corrupt(Action):
    """Embeddings of a flagged prompt's tokens are corrupted; those of the answer are not.

    Corrupted are all tokens of the prompt as the template renders it, but the last one and special tokens.
    """

    sigma: float = 10.0
    """Standard deviation of the noise, in units of the embeddings."""
    dims: int = 1
    """How many entries of each embedding are corrupted; 0 is all."""
    how: str = "noise"
    """"noise" adds N(0, sigma^2), "zero" sets to 0, "flip" changes the sign."""
    which: str = "first"
    """Which entries: the "first" ones, or those "largest" in size in each embedding."""
    noise_seed: int = 0
    """The noise of a place in the prompt is drawn once from it: the same for all prompts and all samples."""

    def __post_init__(self) -> None:
        for kind, value, known in (("corruption", self.how, _HOW), ("choice of entries", self.which, _WHICH)):
            if value not in known:
                raise UnknownNameError(kind, value, known)
        if self.dims < 0 or not self.sigma >= 0:
            raise InputError(f"sigma and dims must be at least 0, got {self.sigma} and {self.dims}.")

    def group(self, loaded: LoadedModel, prompt: Prompt) -> tuple[bool, ...]:
        """Which tokens of the rendered prompt are corrupted. Prompts of one group may be computed together."""
        ids = loaded.template.prompt_ids(loaded.tokenizer, prompt.query)
        special = set(loaded.tokenizer.all_special_ids)
        return tuple(place < len(ids) - 1 and token not in special for place, token in enumerate(ids))

    def hooks(self, loaded: LoadedModel, prompts: Sequence[Prompt]) -> AbstractContextManager[None]:
        """prompts: of one group."""
        import torch

        from leakatk.models.hooks import changed_embeddings

        chosen = np.append(self.group(loaded, prompts[0]), False)  # the last: all that comes after the prompt
        noise = torch.as_tensor(self._noise(len(chosen), loaded.model.config.get_text_config().hidden_size))
        where = torch.as_tensor(chosen)

        def change(embeddings: Tensor, positions: Tensor) -> Tensor:
            place = positions.clamp(max=len(chosen) - 1).to(where.device)
            size = embeddings.shape[-1]
            count = min(self.dims or size, size)
            if self.which == "first":
                entries = torch.arange(size, device=embeddings.device) < count
            else:
                top = embeddings.abs().topk(count, dim=-1).indices
                entries = torch.zeros_like(embeddings, dtype=torch.bool).scatter(-1, top, True)
            mask = where[place].to(embeddings.device)[..., None] & entries
            if self.how == "noise":
                changed = embeddings + noise[place][..., :size].to(embeddings)
            else:
                changed = torch.zeros_like(embeddings) if self.how == "zero" else -embeddings
            return torch.where(mask, changed, embeddings)

        return changed_embeddings(loaded.model, change)

    def _noise(self, places: int, size: int) -> Floats:
        """(places, size): a longer prompt's begins like a shorter one's."""
        return np.random.default_rng(self.noise_seed).standard_normal((places, size)) * self.sigma


@dataclass(frozen=True)
class InContext(Action):
    """Before a flagged prompt stand examples: the forget prompt nearest to it, answered otherwise, and retain prompts answered truly."""

    needs: ClassVar[tuple[str, ...]] = ("forget", "retain")

    shots: int = 3
    """How many retain prompts stand there."""
    reply: str = ""
    """What the forget prompt is answered with; "" is the true answer of another forget prompt, drawn for each prompt."""
    nearest: str = ""
    """The encoder that finds the nearest forget prompt, as a detector's `encoder`."""
    shots_seed: int = 0
    """Draws the retain prompts and the replies."""
    known: Known = dataclasses.field(default_factory=Known, repr=False, compare=False)
    store: Floats = dataclasses.field(default_factory=lambda: np.zeros((0, 0)), repr=False, compare=False)

    def fit(self, known: Known, loaded: LoadedModel | None) -> Self:
        known.need("Examples before a prompt", *self.needs)
        if not 0 <= self.shots <= len(known.retain):
            raise InputError(f"shots = {self.shots}, and there are {len(known.retain)} retain prompts; choose fewer.")
        if not self.reply and len({prompt.answer for prompt in known.forget}) < 2:
            raise InputError(
                "A false reply is another forget prompt's answer, and there is one answer; give reply=TEXT."
            )
        name = encoder_for("Examples before a prompt", self.nearest, known)
        return replace(self, known=known, nearest=name, store=vectors(put(known.forget), name))

    def query(self, prompt: Prompt) -> Prompt:
        [row] = vectors(put([prompt]), self.nearest) @ self.store.T
        near = self.known.forget[int(np.argmax(np.round(row, 6)))]
        draw = np.random.default_rng([self.shots_seed, *near.id.encode()])
        others = [other.answer for other in self.known.forget if other.answer != near.answer]
        reply = self.reply or others[int(draw.integers(len(others)))]
        kept = [self.known.retain[i] for i in draw.choice(len(self.known.retain), size=self.shots, replace=False)]
        turns = ((near.question, reply), *((one.question, one.answer) for one in kept))
        asked = prompt.query
        return replace(prompt, asked=replace(asked, turns=(*turns, *asked.turns)))

    def describe(self) -> dict[str, Any]:
        return {**super().describe(), **({"nearest": encoder_mark(self.nearest)} if self.nearest else {})}
