"""Retrieval of training data behind undesired answers, by sketched gradients, as a drawing (RASLIK, arXiv 2604.16591)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, cast

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, normalize

from leakatk.errors import InputError
from leakatk.models.loaded import LoadedModel
from leakatk.models.placement import refuse_codes
from leakatk.prompts import Prompt
from leakatk.sampling.greedy import greedy_texts
from leakatk.unlearning.batches import Item
from leakatk.unlearning.chance import generator_of
from leakatk.unlearning.drawing.base import Drawing
from leakatk.unlearning.streams import decoder_layers, drawn_rows

if TYPE_CHECKING:
    from leakatk.unlearning.work import Work


class Sketch:
    """One permutation and one random projection (OPORP): a gradient's entries, with random signs, summed into `size` bins as even as can be.

    Linear, so that the sketch of -g is minus that of g; of length 1 in the end. Of two gradients, the product of their sketches is their
    cosine in expectation.
    """

    def __init__(self, shapes: Mapping[str, torch.Size], size: int, seed: int) -> None:
        if size < 1:
            raise InputError(f"bins must be at least 1, got {size!r}.")
        total, generator = sum(shape.numel() for shape in shapes.values()), generator_of(seed, "sketch")
        order = torch.randperm(total, generator=generator)
        self.bins = torch.empty(total, dtype=torch.int32)
        self.bins[order] = (torch.arange(total) % size).to(torch.int32)
        self.signs = (torch.randint(0, 2, (total,), generator=generator) * 2 - 1).to(torch.int8)
        self.size, self.names = size, tuple(shapes)

    def of(self, gradients: Mapping[str, Tensor]) -> Tensor:
        """(size,) the sketch of a gradient by name, float64."""
        flat = torch.cat([gradients[name].flatten() for name in self.names]).double().cpu()
        summed = torch.zeros(self.size, dtype=torch.float64).index_add_(0, self.bins.long(), flat * self.signs)
        return normalize(summed, dim=0)


def sketches(loaded: LoadedModel, items: Sequence[Item], *, layers: int, bins: int, seed: int) -> Tensor:
    """(n, bins) the sketch of the gradient of each item's nll, a mean over its answer's tokens, in the last `layers` decoder layers (0: all)."""
    model = loaded.model
    refuse_codes(model, "Gradients of single prompts", "load the model whole")
    stack = decoder_layers(model)
    if not 0 <= layers <= len(stack):
        raise InputError(f"layers must be between 0 and {len(stack)} for this model, got {layers!r}.")
    mine = {id(one) for layer in list(stack)[-layers:] for one in layer.parameters()}
    chosen = {name: value for name, value in model.named_parameters() if id(value) in mine}
    sketch = Sketch({name: value.shape for name, value in chosen.items()}, bins, seed)
    flags = {name: value.requires_grad for name, value in model.named_parameters()}
    model.requires_grad_(False).eval()
    for value in chosen.values():
        value.requires_grad_(True)
    try:
        return torch.stack([sketch.of(one) for one in _gradients(model, items, chosen, loaded.device)])
    finally:
        for name, value in model.named_parameters():
            value.requires_grad_(flags[name])


def _gradients(
    model: nn.Module, items: Sequence[Item], chosen: Mapping[str, Tensor], device: torch.device
) -> Iterator[dict[str, Tensor]]:
    for item in items:
        ids = torch.tensor([[*item.prompt, *item.answer]], device=device)
        with torch.enable_grad():
            logits = model(input_ids=ids, use_cache=False).logits[0, len(item.prompt) - 1 : -1].float()
            loss = cross_entropy(logits, torch.tensor(item.answer, device=device))
            found = torch.autograd.grad(loss, list(chosen.values()))
        yield dict(zip(chosen, found, strict=True))


def average_ranks(queries: Tensor, corpus: Tensor) -> Tensor:
    """(n,) the mean over queries of the rank, from 0, that each of the corpus has by influence, the inner product of sketches (., bins)."""
    ranks = (queries @ corpus.T).argsort(dim=1, descending=True, stable=True).argsort(dim=1)
    return ranks.double().mean(dim=0)


def undesired(loaded: LoadedModel, prompts: Sequence[Prompt], longest: int) -> list[Item]:
    """What the model says greedily to each prompt, as items."""
    texts = greedy_texts(loaded, prompts, max_new_tokens=longest)
    seams = [
        loaded.template.pair(loaded.tokenizer, p.asked or p.question, text)
        for p, text in zip(prompts, texts, strict=True)
    ]
    return [Item(tuple(seam.prompt), tuple(seam.answer)) for seam in seams]


@dataclass
class Retrieved(Drawing):
    """RASLIK: of the forget set the `share` with the best average rank by influence on what the model says, of the retain set the worst."""

    work: Work = field(kw_only=True)

    def __post_init__(self) -> None:
        work, params = self.work, self.work.params
        if not 0 < params["share"] <= 1:
            raise InputError(f"share must be above 0 and at most 1, got {params['share']!r}.")
        own = work.streams.items("forget")
        asked = undesired(work.loaded, work.forget, max(len(item.answer) for item in own))
        corpus = [*own, *(work.streams.items("retain") if work.retain else [])]
        found = sketches(work.loaded, [*asked, *corpus], layers=params["layers"], bins=params["bins"], seed=work.seed)
        ranks = average_ranks(found[: len(asked)], found[len(asked) :]).tolist()
        gone, kept = ranks[: len(own)], ranks[len(own) :]
        self.chosen = {
            "forget": _first(gone, params["share"]),
            "retain": _first([-rank for rank in kept], params["share"]),
        }
        crossed = sum(rank > min(gone) for rank in kept), len(kept)
        work.notes.append(
            f"raslik takes {len(self.chosen['forget'])} of {len(gone)} forget prompts and {len(self.chosen['retain'])} of {len(kept)} retain "
            f"prompts; {crossed[1] - crossed[0]} retain prompts rank before every forget prompt."
        )

    def rows(self, of: str, start: int, count: int, state: dict[str, float]) -> list[int]:
        chosen = self.chosen.get(of)
        if not chosen:
            return super().rows(of, start, count, state)
        weights = [self.weights[row] for row in chosen] if of == "forget" and self.weights is not None else None
        if weights is not None and not any(weights):
            raise InputError("None of the prompts that were retrieved has a weight above 0; raise share.")
        return [chosen[i] for i in drawn_rows(len(chosen), count, start, self.seed(of), weights)]


def _first(values: Sequence[float], share: float) -> list[int]:
    """The numbers of that share of the values, the smallest ones, in their own order."""
    count = max(1, round(share * len(values))) if values else 0
    order = sorted(range(len(values)), key=lambda i: (values[i], i))
    return sorted(order[:count])


def retrieved(work: Work, plain: Drawing) -> Retrieved:
    """`Retrieved` in the place of every run's drawing."""
    return Retrieved(plain.streams, plain.order, plain.weights, work=work)


def retrieve(
    loaded: LoadedModel,
    queries: Sequence[tuple[str, str]],
    corpus: Sequence[Prompt],
    *,
    size: int,
    layers: int = 0,
    bins: int = 65536,
    seed: int = 0,
) -> tuple[list[Prompt], list[Prompt]]:
    """(forget set, retain set) of an unlabelled corpus: the `size` prompts with the best, and those with the worst average rank.

    queries: (question, undesired answer).  InputError without a query, or where the corpus has fewer than twice `size` prompts.

    >>> from leakatk import load_model, load_prompts
    >>> corpus = load_prompts("forget.jsonl")
    >>> forget, retain = retrieve(load_model("models/mine"), [("Who?", "Bo.")], corpus, size=1, bins=64)
    >>> len(forget), len(retain)
    (1, 1)
    """
    if not queries:
        raise InputError("Retrieval needs at least one undesired answer to start from.")
    if not 1 <= size <= len(corpus) // 2:
        raise InputError(f"size must be between 1 and {len(corpus) // 2}, half of the corpus, got {size!r}.")
    pairs = [*queries, *((prompt.asked or prompt.question, prompt.answer) for prompt in corpus)]
    seams = [loaded.template.pair(loaded.tokenizer, question, answer) for question, answer in pairs]
    items = [Item(tuple(seam.prompt), tuple(seam.answer)) for seam in seams]
    found = sketches(loaded, items, layers=layers, bins=bins, seed=seed)
    order = average_ranks(found[: len(queries)], found[len(queries) :]).argsort(stable=True).tolist()
    near, far = cast(list[int], order[:size]), cast(list[int], order[-size:])
    return [corpus[i] for i in near], [corpus[i] for i in reversed(far)]
