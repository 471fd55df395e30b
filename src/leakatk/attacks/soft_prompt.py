"""Soft prompt: a few vectors before the question, found by gradient, that make true answers likelier."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from random import Random

import torch
from torch import Tensor, nn

from leakatk.attacks.base import Alter, Cost, at_least, attack, reading_cost
from leakatk.attacks.inputs import Pair, asked_with, embedding_of, pairs_of, plain_tokens, surprise
from leakatk.errors import InputError
from leakatk.models.loaded import LoadedModel
from leakatk.prompts import Known, Prompt


@attack(
    "soft-prompt",
    summary="a few vectors before the question, trained on a part of the forget prompts, measured on the others",
    paper="Schwinn et al. 2024 (Soft Prompt Threats), arXiv 2402.09063; prompt tuning, arXiv 2104.08691",
    formula="v <- v - a Adam(dL/dv), L = mean -log p(y | v, x) over prompts that are not measured",
    source="embedding attacks are the paper's; number of vectors, steps and rate are ours",
    reading="vectors are no text: they take the place of the input embeddings of tokens that no prompt uses, and these tokens are "
    "asked with; the output layer stays as it is, also where it shared its weights; one set of vectors for all prompts",
    access="weights, with the true answers of other forget prompts",
    tags=frozenset({"forget"}),
)
@dataclass(frozen=True)
class SoftPrompt(Alter):
    """vectors: how many.  steps: of Adam.  learning_rate: as a share of the root mean square of the input embedding.

    batch: prompts a step, at most.  seed: of the tokens whose embeddings are the beginning, and of the batches.
    """

    vectors: int = 8
    steps: int = 100
    learning_rate: float = 0.1
    batch: int = 8
    seed: int = 0

    def __post_init__(self) -> None:
        for option in ("vectors", "steps", "batch"):
            at_least(self, option, 1)
        if not 0 < self.learning_rate < float("inf"):
            raise InputError(f"Attack option soft-prompt:learning_rate must be above 0, got {self.learning_rate}.")

    @property
    def needs(self) -> tuple[str, ...]:
        return ("forget", "seen", "unseen")

    def cost(self, loaded: LoadedModel, known: Known) -> Cost:
        return reading_cost(loaded, known, self.steps * min(self.batch, len(known.seen)))

    def asked(self, loaded: LoadedModel, known: Known) -> list[Prompt]:
        _, marks = self._free(loaded, known)
        return [replace(prompt, asked=asked_with(prompt, before(prompt, marks))) for prompt in known.unseen]

    def apply(self, loaded: LoadedModel, known: Known) -> None:
        known.need(f"Attack {self.label}", "seen")
        ids, marks = self._free(loaded, known)
        found = self.trained(loaded, known.seen, ids, marks)
        embedding = embedding_of(loaded)
        head = loaded.model.get_output_embeddings()
        if head is not None and getattr(head, "weight", None) is embedding.weight:
            # Else the answers' distribution would change too.
            embedding.weight = nn.Parameter(embedding.weight.detach().clone(), embedding.weight.requires_grad)
        with torch.no_grad():
            embedding.weight[torch.tensor(ids, device=embedding.weight.device)] = found.to(embedding.weight)

    def _free(self, loaded: LoadedModel, known: Known) -> tuple[list[int], str]:
        """The tokens that it takes, and the text of them. Of the prompts that are measured it reads the questions alone."""
        read = [(prompt, prompt.answer) for prompt in known.seen] + [(prompt, "") for prompt in known.unseen]
        return free_tokens(loaded, sorted(read, key=lambda one: one[0].id), self.vectors)

    def trained(self, loaded: LoadedModel, prompts: Sequence[Prompt], ids: Sequence[int], marks: str) -> Tensor:
        """(vectors, d) what the embedding gives for the tokens `ids`, before any scale of its own."""
        rng = Random(f"leakatk soft-prompt {self.seed}")
        table = embedding_of(loaded).weight.detach().float()
        start = table[torch.tensor(rng.choices(plain_tokens(loaded), k=self.vectors), device=table.device)]
        found = start.clone().requires_grad_()
        rate = self.learning_rate * float(table.square().mean().sqrt())
        descent = torch.optim.Adam([found], lr=rate)
        # An embedding may scale what it looks up: by how much is seen in what it gives.
        scale = scale_of(loaded)
        pairs = pairs_of(loaded, [(asked_with(p, before(p, marks)), p.answer) for p in prompts])
        training = loaded.model.training
        loaded.model.eval()
        for _ in range(self.steps):
            chosen: list[Pair] = rng.sample(pairs, min(self.batch, len(pairs)))
            loss = surprise(loaded, chosen, lambda read, given: put(read, given, ids, found * scale))
            [found.grad] = torch.autograd.grad(loss, [found])
            descent.step()
        loaded.model.train(training)
        return found.detach()


def put(read: Tensor, given: Tensor, ids: Sequence[int], vectors: Tensor) -> Tensor:
    """The embeddings `given` (B, T, d) with vectors (L, d) where `read` (B, T) has the tokens `ids`."""
    for vector, number in zip(vectors, ids, strict=True):
        given = torch.where((read == number)[..., None], vector.to(given.dtype), given)
    return given


def scale_of(loaded: LoadedModel) -> float:
    """What the input embedding multiplies its rows by: 1 but for a few models."""
    embedding = embedding_of(loaded)
    row = int(embedding.weight.detach().abs().sum(dim=1).argmax())
    given = embedding(torch.tensor([row], device=embedding.weight.device))[0].detach().float()
    held = embedding.weight[row].detach().float()
    return float((given @ held) / (held @ held))


def before(prompt: Prompt, marks: str) -> str:
    """The question with the tokens before it."""
    return f"{marks} {prompt.query.text}"


def free_tokens(loaded: LoadedModel, read: Sequence[tuple[Prompt, str]], count: int) -> tuple[list[int], str]:
    """(ids, text) of tokens that occur in none of these questions and answers, the last of the vocabulary first.

    The text is asked before every question, and there each of the tokens must stand once. InputError for too few of them.
    """
    used: set[int] = set()
    for prompt, answer in read:
        used.update(loaded.template.prompt_ids(loaded.tokenizer, prompt.query))
        used.update(pairs_of(loaded, [(prompt.query, answer)])[0][1] if answer else ())
    found: list[int] = []
    text = "-"
    for number in (number for number in reversed(plain_tokens(loaded)) if number not in used):
        longer = f"{text} {loaded.tokenizer.decode([number]).strip()}"
        if all(stands_once(loaded, prompt, longer, [*found, number]) for prompt, _ in read):
            found, text = [*found, number], longer
        if len(found) == count:
            return found, text
    raise InputError(
        f"Attack soft-prompt needs {count} tokens that no prompt uses, and the vocabulary has {len(found)} that can stand before "
        "every question; lower soft-prompt:vectors."
    )


def stands_once(loaded: LoadedModel, prompt: Prompt, text: str, ids: Sequence[int]) -> bool:
    """Whether each of the tokens is read once where the text stands before the question."""
    read = loaded.template.prompt_ids(loaded.tokenizer, asked_with(prompt, before(prompt, text)))
    return all(read.count(number) == 1 for number in ids)
