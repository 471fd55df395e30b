"""Decoders of truth: do hidden states still tell the true answer from a wrong one?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from random import Random

import numpy as np
import torch

from leakatk.attacks.base import Floats, Read, Reading, at_least, attack, one_of, shuffled
from leakatk.attacks.fits import FITS
from leakatk.errors import InputError
from leakatk.models.checks import check_positions
from leakatk.models.loaded import LoadedModel
from leakatk.prompts import Known, Prompt

PARTS = 4  # of the seen prompts, each left out once where the layer is chosen


@attack(
    "decoder",
    summary="a decoder on hidden states that tells true answers from wrong ones",
    paper="probes of latent knowledge in Lynch et al. 2024 (Eight Methods), arXiv 2402.16835; probes on frozen features in Are We "
    "Truly Forgetting; without labels: Burns et al. 2022, arXiv 2212.03827",
    formula="ridge: w = argmin mean (w.h + b - t)^2 + penalty |w|^2, t = 1 for a true answer and -1 for a wrong one; neighbours: share "
    "of true answers among the 5 nearest states; ccs: argmin mean (p(a) - (1 - p(b)))^2 + min(p(a), p(b))^2, p = sigmoid(w.h + b); "
    "score of a prompt: share of its wrong answers below the true one, ties a half",
    source="the loss of ccs is the paper's; all numbers are ours",
    rows=("83", "30"),
    reading="h is the state at the last token of question and answer; wrong answers are the prompt's perturbed ones, else "
    "answers to other prompts of the same part, else of retain prompts; the decoder never sees a prompt that it is measured on; "
    "depth=best takes the layer that does best on the seen prompts, a quarter of them left out at a time; the two statements that "
    "ccs contrasts are a true and a wrong answer in random order, and the seen labels say which end is true",
    access="weights, with the true answers of other forget prompts",
    chance=0.5,
    tags=frozenset({"forget"}),
)
@dataclass(frozen=True)
class Decoder(Read):
    """depth: the layer, as a share of all: 1 is the last, 0 the embeddings; best is the one that does best on seen prompts.

    fit: ridge, neighbours or ccs (without labels).  wrong: wrong answers a prompt, at most.  penalty: of the ridge, beside
    the mean square.  seed: of the wrong answers' draw, and of the starts of ccs.
    """

    depth: str = "best"
    fit: str = "ridge"
    wrong: int = 4
    penalty: float = 1.0
    seed: int = 0

    def __post_init__(self) -> None:
        at_least(self, "wrong", 1)
        one_of(self, "fit", tuple(FITS))
        if self.depth != "best":
            share_of(self, "depth")
        if not 0 < self.penalty < np.inf:
            raise InputError(f"Attack option decoder:penalty must be above 0, got {self.penalty}.")

    @property
    def needs(self) -> tuple[str, ...]:
        return ("forget", "seen", "unseen")

    @property
    def uses(self) -> tuple[str, ...]:
        return (*self.needs, "retain")

    def check(self, known: Known) -> None:
        super().check(known)
        # Two folds of two answers each; what a single fold lacks is counted.
        if not (known.retain or any(p.perturbed_answers for p in known.forget)) and len(_answers(known.forget)) < 4:
            raise InputError(
                f"Attack {self.label} needs wrong answers to tell from the true ones; give at least 4 forget prompts with "
                "different answers, prompts with perturbed answers, or retain prompts."
            )

    def read(self, loaded: LoadedModel, known: Known) -> Reading:
        """profile: of each layer, with a decoder of its own; none where one layer is named."""
        known.need(f"Attack {self.label}", "seen", "unseen")
        seen, labels = self._states(loaded, known.seen, known.retain)
        if all(len(row) < 2 for row in labels):
            raise InputError(
                f"Attack {self.label} finds no wrong answers in a fold, whose prompts all have one answer; give retain prompts."
            )
        unseen, _ = self._states(loaded, known.unseen, known.retain)
        last = seen[0].shape[1] - 1
        if self.depth != "best":
            return Reading(self._decoded(seen, labels, unseen, round(float(self.depth) * last)))
        layers = range(1, last + 1)  # the embedding of an answer's last token knows of no question
        left = {layer: self._left_out([p.id for p in known.seen], seen, labels, layer) for layer in layers}
        best = max(layers, key=lambda layer: round(left[layer], 9))
        found = {layer: self._decoded(seen, labels, unseen, layer) for layer in layers}
        note = f"layer {best} of {last} does best on the {len(seen)} seen prompts ({left[best]:.2f})."
        return Reading(found[best], {f"layer {layer}": found[layer] for layer in layers}, notes=(note,))

    def _decoded(
        self, seen: Sequence[Floats], labels: Sequence[Floats], unseen: Sequence[Floats], layer: int
    ) -> Floats:
        """The score of each unseen prompt by the decoder of one layer."""
        score = FITS[self.fit]([rows[:, layer] for rows in seen], labels, self.penalty, self.seed)
        return np.array([above(score(rows[:, layer])) for rows in unseen])

    def _left_out(self, ids: Sequence[str], seen: Sequence[Floats], labels: Sequence[Floats], layer: int) -> float:
        """Mean score of the seen prompts, each by a decoder that did not see it; chance where there are too few."""
        order = {id_: place % PARTS for place, id_ in enumerate(shuffled(ids, f"decoder {self.seed}"))}
        found: list[float] = []
        for part in range(PARTS):
            inside = [i for i, id_ in enumerate(ids) if order[id_] != part]
            outside = [i for i, id_ in enumerate(ids) if order[id_] == part]
            if outside and any(len(labels[i]) > 1 for i in inside):
                pick = [seen[i] for i in inside], [labels[i] for i in inside], [seen[i] for i in outside]
                found += self._decoded(*pick, layer).tolist()
        defined = [value for value in found if not np.isnan(value)]
        return float(np.mean(defined)) if defined else 0.5

    def _states(
        self, loaded: LoadedModel, prompts: Sequence[Prompt], retain: Sequence[Prompt]
    ) -> tuple[list[Floats], list[Floats]]:
        """For each prompt the (1 + wrong, layers, d) states of its true answer and of its wrong ones, and their labels."""
        answers = [
            [prompt.answer, *wrong_answers(prompt, prompts, retain, self.wrong, self.seed)] for prompt in prompts
        ]
        pairs = [(p.question, answer) for p, row in zip(prompts, answers, strict=True) for answer in row]
        flat = iter(hidden_states(loaded, pairs))
        states = [np.stack([next(flat) for _ in row]) for row in answers]
        return states, [np.array([1.0] + [-1.0] * (len(row) - 1)) for row in answers]


def wrong_answers(
    prompt: Prompt, prompts: Sequence[Prompt], retain: Sequence[Prompt], most: int, seed: int
) -> list[str]:
    """The prompt's perturbed answers, else the other prompts' answers, else those of retain prompts; never its own.

    Drawn by the seed, at most so many.
    """
    pools = (set(prompt.perturbed_answers), _answers(prompts), _answers(retain))
    pool = next((sorted(found) for found in (pool - {prompt.answer} for pool in pools) if found), [])
    return Random(f"leakatk decoder {seed} {prompt.id}").sample(pool, min(most, len(pool)))


def _answers(prompts: Sequence[Prompt]) -> set[str]:
    return {prompt.answer for prompt in prompts}


def share_of(attack: Read, option: str) -> None:
    """InputError unless this option is written as a number from 0 to 1."""
    text = getattr(attack, option)
    try:
        fits = 0 <= float(text) <= 1
    except ValueError:
        fits = False
    if not fits:
        raise InputError(f"Attack option {attack.name}:{option} must be best or between 0 and 1, got {text!r}.")


def hidden_states(loaded: LoadedModel, pairs: Sequence[tuple[str, str]]) -> list[Floats]:
    """(layers + 1, d) states of each (question, answer) at the answer's last token, the embeddings first."""
    seams = [loaded.template.pair(loaded.tokenizer, question, answer, end=False) for question, answer in pairs]
    return last_states(loaded, [[*seam.prompt, *seam.answer] for seam in seams])


@torch.inference_mode()
def last_states(loaded: LoadedModel, rows: Sequence[Sequence[int]]) -> list[Floats]:
    """(layers + 1, d) states of each row of ids at its last token, the embeddings first."""
    found = []
    for ids in rows:
        check_positions(loaded.model, len(ids), "A question with its answer")
        tokens = torch.tensor([list(ids)], device=loaded.device)
        layers = loaded.model(input_ids=tokens, use_cache=False, output_hidden_states=True).hidden_states
        found.append(np.stack([state[0, -1].double().cpu().numpy() for state in layers]))
    return found


def above(values: Floats) -> float:
    """Share of the others that the first value is above, ties a half; NaN without others."""
    others = values[1:]
    return float(np.mean((values[0] > others) + 0.5 * (values[0] == others))) if others.size else float("nan")
