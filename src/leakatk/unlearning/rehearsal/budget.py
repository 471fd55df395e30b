"""Budget of rehearsal: what asking the original may cost, in tokens, so that it is the same on every machine."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from leakatk.models.loaded import LoadedModel
from leakatk.models.token_stats import answer_pairs
from leakatk.prompts import Prompt
from leakatk.unlearning.method import Method
from leakatk.unlearning.settings import TrainSettings

FACTOR = 5.0  # asking costs at most so many times the training of all rounds
STEP = 3  # forward passes that a step of training costs: forward, and twice that backward
LENGTHS = 64  # prompts, at most, that say how long one is


@dataclass
class Budget:
    """What asking may cost, and what it did, by source. A token is counted each time the model reads or writes it.

    >>> budget = Budget(tokens=100)
    >>> budget.afford("echoes", [30, 30, 30, 30])
    3
    >>> budget.charge("echoes", tokens=75)
    >>> budget.record()["cut"]
    {'echoes': 1}
    """

    tokens: float = math.inf
    """The bound."""
    asked: Counter[str] = field(default_factory=Counter)
    """Source -> questions asked."""
    cut: Counter[str] = field(default_factory=Counter)
    """Source -> questions that the bound left out."""
    spent: Counter[str] = field(default_factory=Counter)
    """Source -> tokens."""
    notes: list[str] = field(default_factory=list)
    """What was not asked for another reason."""
    share: float = 1.0
    """How much of the bound may be spent for the moment: the sources asked first leave some to the others."""

    @property
    def used(self) -> int:
        return sum(self.spent.values())

    @property
    def left(self) -> float:
        """Tokens that may be spent for the moment."""
        return self.tokens * self.share - self.used

    def afford(self, source: str, most: Sequence[int]) -> int:
        """How many of these questions, from the first, can be asked whatever their answers are; the others count as cut.

        most: tokens that each costs at most.
        """
        left, count = self.left, 0
        while count < len(most) and most[count] <= left:
            left -= most[count]
            count += 1
        self.asked[source] += count
        if count < len(most):
            self.cut[source] += len(most) - count
        return count

    def charge(self, source: str, tokens: int) -> None:
        """Count tokens that were read or written."""
        self.spent[source] += tokens

    def record(self) -> dict[str, Any]:
        """As it stands in a run's record: the bound (None: none), what was asked, spent and cut, by source."""
        return {
            "tokens": None if math.isinf(self.tokens) else int(self.tokens),
            "used": self.used,
            "asked": dict(self.asked),
            "cut": dict(self.cut),
            "spent": dict(self.spent),
            "notes": list(self.notes),
        }

    def says(self) -> str:
        """One sentence for people."""
        bound = "no bound" if math.isinf(self.tokens) else f"at most {self.tokens:,.0f}"
        text = f"The original was asked {self.asked.total():,} questions in {self.used:,} tokens ({bound})"
        by = ", ".join(f"{name} {count:,}" for name, count in self.asked.items() if count)
        left_out = f"; {self.cut.total():,} were cut by the bound" if self.cut.total() else ""
        return " ".join([f"{text}: {by or 'none'}{left_out}.", *self.notes])


def training_tokens(
    loaded: LoadedModel,
    forget: Sequence[Prompt],
    retain: Sequence[Prompt],
    method: Method,
    settings: TrainSettings,
    *,
    rounds: int = 1,
) -> int:
    """What so many rounds of training cost: tokens of all steps' answers and prompts, times `STEP`.

    settings: of one round.
    """
    length = {"forget": _mean_length(loaded, forget), "retain": _mean_length(loaded, retain)}
    sizes = {"forget": settings.forget_batch, "retain": settings.retain_batch}
    total = 0.0
    for stage in method.trains:
        chosen = settings.changed(stage.settings)
        side = "forget" if "forget" in stage.sides else "retain"
        steps = chosen.total_steps(len(forget if side == "forget" else retain), side=side)
        total += steps * sum(sizes[used] * length[used] for used in ("forget", "retain") if used in stage.sides)
    return int(STEP * rounds * total)


def _mean_length(loaded: LoadedModel, prompts: Sequence[Prompt]) -> float:
    some = prompts[:: max(1, len(prompts) // LENGTHS)][:LENGTHS]
    pairs = answer_pairs(loaded, [p.question for p in some], [p.answer for p in some])
    return sum(len(q) + len(a) for q, a in pairs) / len(pairs) if pairs else 0.0
