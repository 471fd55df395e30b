"""Linear decoders: do hidden states still tell the true answer from a wrong one?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from random import Random

import numpy as np
import torch

from leakatk.attacks.base import Floats, Read, at_least, attack
from leakatk.errors import InputError
from leakatk.models.checks import check_positions
from leakatk.models.loaded import LoadedModel
from leakatk.prompts import Known, Prompt


@attack(
    "decoder",
    summary="a linear decoder on hidden states that tells true answers from wrong ones",
    paper="linear probes of latent knowledge in Lynch et al. 2024 (Eight Methods), arXiv 2402.16835; probes on frozen "
    "features in Are We Truly Forgetting",
    formula="w = argmin mean (w.h + b - t)^2 + penalty |w|^2, t = 1 for a true answer and -1 for a wrong one; score of a "
    "prompt: share of its wrong answers with w.h below that of the true one, ties a half",
    source="all numbers are ours",
    rows=("83", "30"),
    lacks={
        "83": "probes without labels (CCS)",
        "30": "similarity of states (CKA), nearest neighbours, and whether the last layer alone has changed",
    },
    reading="h is the state at the last token of question and answer; wrong answers are the prompt's perturbed ones, else "
    "answers to other prompts of the same part, else of retain prompts; the decoder never sees a prompt that it is measured on",
    access="weights, with the true answers of other forget prompts",
    chance=0.5,
    tags=frozenset({"forget"}),
)
@dataclass(frozen=True)
class Decoder(Read):
    """Ridge regression on standardised states. depth: the layer, as a share of all: 1 is the last, 0 the embeddings.

    wrong: wrong answers a prompt, at most.  penalty: of the ridge, beside the mean square.  seed: of the wrong
    answers' draw.
    """

    depth: float = 0.5
    wrong: int = 4
    penalty: float = 1.0
    seed: int = 0

    def __post_init__(self) -> None:
        at_least(self, "wrong", 1)
        if not 0 <= self.depth <= 1:
            raise InputError(f"Attack option decoder:depth must be between 0 and 1, got {self.depth}.")
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

    def scores(self, loaded: LoadedModel, known: Known) -> Floats:
        known.need(f"Attack {self.label}", "seen", "unseen")
        states, labels = self._states(loaded, known.seen, known.retain)
        if all(len(row) < 2 for row in labels):
            raise InputError(
                f"Attack {self.label} finds no wrong answers in a fold, whose prompts all have one answer; give retain prompts."
            )
        weights, offset = ridge(np.concatenate(states), np.concatenate(labels), self.penalty)
        found, _ = self._states(loaded, known.unseen, known.retain)
        return np.array([above(rows @ weights + offset) for rows in found])

    def _states(
        self, loaded: LoadedModel, prompts: Sequence[Prompt], retain: Sequence[Prompt]
    ) -> tuple[list[Floats], list[Floats]]:
        """For each prompt the (1 + wrong, d) states of its true answer and of its wrong ones, and their labels."""
        answers = [
            [prompt.answer, *wrong_answers(prompt, prompts, retain, self.wrong, self.seed)] for prompt in prompts
        ]
        pairs = [(p.question, answer) for p, row in zip(prompts, answers, strict=True) for answer in row]
        flat = iter(hidden_states(loaded, pairs, self.depth))
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


@torch.inference_mode()
def hidden_states(loaded: LoadedModel, pairs: Sequence[tuple[str, str]], depth: float) -> list[Floats]:
    """(d,) state of each (question, answer) at the answer's last token, at this depth of the model."""
    found = []
    for question, answer in pairs:
        seam = loaded.template.pair(loaded.tokenizer, question, answer, end=False)
        ids = [*seam.prompt, *seam.answer]
        check_positions(loaded.model, len(ids), "A question with its answer")
        tokens = torch.tensor([ids], device=loaded.device)
        layers = loaded.model(input_ids=tokens, use_cache=False, output_hidden_states=True).hidden_states
        state = layers[round(depth * (len(layers) - 1))][0, -1]
        found.append(state.double().cpu().numpy())
    return found


def ridge(states: Floats, labels: Floats, penalty: float) -> tuple[Floats, float]:
    """(weights, offset) of the ridge on states standardised by their own mean and deviation.

    states: (m, d).  labels: (m,) of 1 and -1; both kinds weigh the same.  penalty: beside the mean square.
    """
    share = np.where(labels > 0, 0.5 / max((labels > 0).sum(), 1), 0.5 / max((labels <= 0).sum(), 1))
    mean = share @ states
    deviation = np.sqrt(share @ (states - mean) ** 2)
    used = deviation > 1e-9 * max(1.0, float(np.abs(states).max()))  # a state that never changes says nothing
    weights = np.zeros(states.shape[1])
    if not used.any():
        return weights, 0.0
    x = (states[:, used] - mean[used]) / deviation[used] * np.sqrt(share)[:, None]
    y = (labels - share @ labels) * np.sqrt(share)
    # In the space of the rows, of which there are fewer than columns: w = X' (X X' + penalty I)^-1 y.
    weights[used] = x.T @ np.linalg.solve(x @ x.T + penalty * np.eye(len(x)), y) / deviation[used]
    return weights, float(share @ labels - mean @ weights)


def above(values: Floats) -> float:
    """Share of the others that the first value is above, ties a half; NaN without others."""
    others = values[1:]
    return float(np.mean((values[0] > others) + 0.5 * (values[0] == others))) if others.size else float("nan")
