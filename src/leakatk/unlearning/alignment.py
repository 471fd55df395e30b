"""Alignment: a small network that foresees, from hidden states, what the next words will mean (Align-then-Unlearn)."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cosine_similarity

from leakatk.errors import InputError
from leakatk.unlearning.chance import generator_of, seed_of
from leakatk.unlearning.selection import views

if TYPE_CHECKING:
    from leakatk.unlearning.work import Work

Encode = Callable[[list[tuple[int, ...]]], Tensor]
_BATCH = 16  # texts of a step


class Aligner(nn.Module):
    """E: a causal transformer of `layers` layers over states (B, L, d) that gives an embedding (B, L, e) at each token."""

    def __init__(self, width: int, inner: int, size: int, layers: int, heads: int) -> None:
        super().__init__()
        self.first = nn.Linear(width, inner)
        block = nn.TransformerEncoderLayer(inner, heads, 4 * inner, dropout=0.0, batch_first=True)
        self.blocks = nn.TransformerEncoder(block, layers, enable_nested_tensor=False)
        self.last = nn.Linear(inner, size)

    def forward(self, states: Tensor, mask: Tensor) -> Tensor:
        """mask (B, L): which tokens are there. They are read from the first on, wherever padding stands; 0 at padding."""
        lengths = mask.sum(1).tolist()
        rows = [self.first(row[there]) for row, there in zip(states, mask, strict=True)]
        whole = nn.utils.rnn.pad_sequence(rows, batch_first=True)  # on the right, where a causal network never looks
        ahead = torch.triu(torch.ones(whole.shape[1], whole.shape[1], dtype=torch.bool, device=whole.device), 1)
        said = self.last(self.blocks(whole, mask=ahead))
        found: Tensor = said.new_zeros(*mask.shape, said.shape[-1])
        found[mask] = torch.cat([row[:length] for row, length in zip(said, lengths, strict=True)])
        return found


def encoder_of(work: Work) -> Encode:
    """Token sequences -> (n, e) what they mean: by the sentence encoder that was given, else the mean of the embeddings that the model had for
    their tokens at the start, less the mean over all tokens.
    """
    if work.known.encoder:
        from leakatk.scorers.encoder import load_encoder

        found = load_encoder(work.known.encoder)
        device = work.loaded.device
        return lambda some: torch.tensor(found.encode([work.streams.text(ids) for ids in some]), device=device).float()
    model = work.loaded.model
    names = {id(value): name for name, value in model.named_parameters()}
    weight = model.get_input_embeddings().weight
    table = work.start.get(names[id(weight)], weight).detach().to(work.loaded.device).float()
    table = table - table.mean(0)

    def means(some: list[tuple[int, ...]]) -> Tensor:
        return torch.stack([table[torch.tensor(ids, device=table.device)].mean(0) for ids in some])

    return means


def aligned(work: Work) -> dict[str, Any]:
    """ "aligner", trained on the states of the moment, and "concepts" (n, e): what each forget answer means.

    It maximises cos(E(h_t), the meaning of the next `window` tokens) over the texts of both sets, wherever so many tokens follow.
    InputError for a window below 1, or where no text is longer than it.
    """
    params, encode, streams = work.params, encoder_of(work), work.streams
    window, steps = params["window"], params["align_steps"]
    if window < 1 or steps < 1:
        raise InputError(f"window and align_steps must be at least 1, got {window!r} and {steps!r}.")
    texts: list[tuple[Tensor, Tensor]] = []  # states (L, d), and the meaning (L - window, e) of what follows
    for stream in ("forget", "retain"):
        for view in views(work, stream):
            for states, there, item in zip(
                view.hidden(params["layer"]).detach().float(), view.positions("all"), view.batch.items, strict=True
            ):
                ids = (*item.prompt, *item.answer)
                ahead = [ids[i + 1 : i + 1 + window] for i in range(len(ids) - window)]
                if ahead:
                    texts.append((states[there], encode(ahead)))
    if not texts:
        raise InputError(f"No text is longer than the window of {window} tokens; lower window.")
    concepts = encode([item.answer for item in streams.items("forget")])
    made = _fresh(work, texts[0][0].shape[1], concepts.shape[1])
    fit(made, texts, steps, params["align_rate"], generator_of(work.seed, "alignment"))
    return {"aligner": made.requires_grad_(False).eval(), "concepts": concepts}


def _fresh(work: Work, width: int, size: int) -> Aligner:
    params = work.params
    if params["align_width"] % params["align_heads"]:
        raise InputError(
            f"align_width must be a multiple of align_heads, got {params['align_width']!r} and {params['align_heads']!r}."
        )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed_of(work.seed, "aligner"))
        made = Aligner(width, params["align_width"], size, params["align_layers"], params["align_heads"])
    return made.to(work.loaded.device)


def alignment_loss(aligner: Aligner, batch: list[tuple[Tensor, Tensor]]) -> Tensor:
    """-mean over tokens of cos(E(h_t), e_t), of the tokens that have a target."""
    states = nn.utils.rnn.pad_sequence([states for states, _ in batch], batch_first=True)
    mask = torch.zeros(states.shape[:2], dtype=torch.bool, device=states.device)
    for row, (own, _) in enumerate(batch):
        mask[row, : len(own)] = True
    said = aligner(states, mask)
    values = [
        cosine_similarity(row[: len(wanted)], wanted, dim=-1) for row, (_, wanted) in zip(said, batch, strict=True)
    ]
    return -torch.cat(values).mean()


def fit(aligner: Aligner, texts: list[tuple[Tensor, Tensor]], steps: int, rate: float, draw: torch.Generator) -> None:
    """Adam on `alignment_loss`, with gradients clipped at norm 1."""
    optimiser = torch.optim.Adam(aligner.parameters(), lr=rate)
    aligner.train()
    with torch.enable_grad():
        for _ in range(steps):
            chosen = torch.randint(len(texts), (min(_BATCH, len(texts)),), generator=draw).tolist()
            optimiser.zero_grad(set_to_none=True)
            torch.autograd.backward(alignment_loss(aligner, [texts[i] for i in chosen]))
            nn.utils.clip_grad_norm_(aligner.parameters(), 1.0)
            optimiser.step()
