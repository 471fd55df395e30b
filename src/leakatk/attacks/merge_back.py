"""Merging back: weights between those of the unlearned model and those of another that comes from the same original."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from leakatk.attacks.base import Alter, Cost, attack
from leakatk.errors import InputError
from leakatk.models.load import load_model
from leakatk.models.loaded import LoadedModel
from leakatk.models.placement import refuse_codes
from leakatk.prompts import Known


@attack(
    "merge-back",
    summary="the weights moved a share of the way to those of the original, or of a fine-tune of it",
    paper="interpolation of weights, Frankle et al. 2020, arXiv 1912.05671; model soups, Wortsman et al. 2022, arXiv 2203.05482",
    formula="theta <- (1 - share) theta_u + share theta_other",
    source="the share is ours; it is to be swept",
    reading="towards the original the answers come back in any model, in the retrained one too: only the excess over it, at a share where "
    "that one has none, says that the model had them still",
    access="weights, and those of the original (towards=original) or of a fine-tune of it",
    example="leakatk attack MODEL --benchmark world --attack merge-back --original ORIGINAL --retrained RETRAINED --out runs/attacked",
    tags=frozenset({"forget"}),
)
@dataclass(frozen=True)
class MergeBack(Alter):
    """share: of the way; 0 would be the model, 1 the other.  towards: original, or the name of an auxiliary model, such as a fine-tune of
    the original that never saw the forget answers again.
    """

    share: float = 0.5
    towards: str = "original"

    def __post_init__(self) -> None:
        if not 0 < self.share <= 1:
            raise InputError(f"Attack option merge-back:share must be above 0 and at most 1, got {self.share}.")
        if not self.towards:
            raise InputError("Attack option merge-back:towards must be original or the name of an auxiliary model.")

    @property
    def needs(self) -> tuple[str, ...]:
        return ("original",) if self.towards == "original" else (f"auxiliary {self.towards}",)

    def cost(self, loaded: LoadedModel, known: Known) -> Cost:
        return Cost()  # it reads no text

    def apply(self, loaded: LoadedModel, known: Known) -> None:
        if hasattr(loaded.model, "peft_config"):
            raise InputError(
                f"Attack {self.label} moves whole weights, and {loaded.name} is an adapter; merge it into its base first."
            )
        path = known.original if self.towards == "original" else known.auxiliary[self.towards]
        other = load_model(path, device=str(loaded.device), template=loaded.template)
        other.merge_adapter()
        refuse_codes(other.model, f"Attack {self.label}")
        theirs = dict(other.model.named_parameters())
        mine = dict(loaded.model.named_parameters())
        strange = sorted(mine.keys() ^ theirs.keys()) or [n for n in mine if mine[n].shape != theirs[n].shape]
        if strange or other.tokenizer.get_vocab() != loaded.tokenizer.get_vocab():
            what = f"{len(strange)} tensors differ (the first: {strange[0]})" if strange else "its vocabulary differs"
            raise InputError(
                f"Attack {self.label} needs a model of the same shape and vocabulary as {loaded.name}; of {path} {what}."
            )
        with torch.no_grad():
            for name, value in mine.items():
                value.copy_((1 - self.share) * value.float() + self.share * theirs[name].to(value.device).float())
