"""Generative decoder: a small network that learns to say answers from hidden states, and is asked for those it never saw."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from leakatk.attacks.base import Floats, Read, Reading, at_least, attack, shuffled
from leakatk.attacks.decoders import last_states
from leakatk.errors import InputError
from leakatk.models.loaded import LoadedModel
from leakatk.prompts import Known, Prompt
from leakatk.sampling.random_streams import stream_key, uniforms
from leakatk.scorers.base import get_scorer

BATCH, RATE = 32, 5e-3  # of the training
ROWS = 256  # answers drawn at a time
SCORER = "knows"


@attack(
    "generative-decoder",
    summary="a small network trained to say the answer from a hidden state, asked for answers that it never saw",
    paper="trained decoders on hidden states, the published next step of Leak@k's authors (PARS)",
    formula="s_0 = tanh(A h + a), s_t = GRU(E[y_t-1], s_t-1), logits = U(B s_t / (|U| sqrt(d))); A, B and the GRU minimise NLL(y | h) over the seen "
    "prompts; score: share of n answers drawn from it for h of an unseen prompt that state its answer",
    source="the idea alone is known: network and numbers are ours",
    rows=("83",),
    reading="h is the state at the last token of the question; E and U are the model's own embeddings and output layer, which stay as "
    "they are; retain prompts are trained on too; the layer is one number for all prompts and chosen beforehand; the floor is what it "
    "says of the retrained model, and of this model with the states of other prompts (guess)",
    access="weights, with the true answers of other forget prompts",
    chance=0.0,
    tags=frozenset({"forget"}),
)
@dataclass(frozen=True)
class GenerativeDecoder(Read):
    """depth: the layer, as a share of all: 1 is the last, 0 the embeddings.  width: of the network.  steps: of AdamW.

    n: answers drawn a prompt.  retain: retain prompts that it is trained on beside the seen ones, at most.  tokens: of an
    answer, at most.  seed: of its start, its order and its draws.
    """

    depth: float = 0.7
    width: int = 64
    steps: int = 400
    n: int = 16
    retain: int = 400
    tokens: int = 64
    seed: int = 0

    def __post_init__(self) -> None:
        for option, least in (("width", 1), ("steps", 1), ("n", 1), ("retain", 0), ("tokens", 1)):
            at_least(self, option, least)
        if not 0 <= self.depth <= 1:
            raise InputError(f"Attack option {self.name}:depth must be between 0 and 1, got {self.depth}.")

    @property
    def needs(self) -> tuple[str, ...]:
        return ("forget", "seen", "unseen")

    @property
    def uses(self) -> tuple[str, ...]:
        return (*self.needs, "retain")

    def read(self, loaded: LoadedModel, known: Known) -> Reading:
        """profile: "guess" is the score with the state of another prompt; and what the network thinks of the true answer."""
        known.need(f"Attack {self.label}", "seen", "unseen")
        kept = set(shuffled([p.id for p in known.retain], f"{self.name} {self.seed}")[: self.retain])
        trained = [*known.seen, *(prompt for prompt in known.retain if prompt.id in kept)]
        states = question_states(loaded, [*trained, *known.unseen], self.depth)
        mean, deviation = states[: len(trained)].mean(0), states[: len(trained)].std(0)
        states = (states - mean) / np.where(deviation > 1e-6, deviation, 1)
        answers = [answer_ids(loaded, prompt, self.tokens) for prompt in trained]
        speaker, loss = taught(loaded, states[: len(trained)], answers, self)
        asked = states[len(trained) :]
        # In the order of the ids, so that a prompt's neighbour does not depend on that of the prompts.
        order = np.argsort([prompt.id for prompt in known.unseen])
        others = np.empty_like(order)
        others[order] = np.roll(order, 1)
        found = [self._said(loaded, speaker, rows, known.unseen) for rows in (asked, asked[others])]
        note = f"trained on {len(trained)} prompts to {loss:.2f} nats a token; {self.n} answers drawn a prompt."
        true = [answer_ids(loaded, prompt, self.tokens) for prompt in known.unseen]
        surprise = np.array([_loss_of(speaker, state, ids) for state, ids in zip(asked, true, strict=True)])
        return Reading(found[0], {"guess": found[1], "log p of the answer, a token": -surprise}, notes=(note,))

    def _said(self, loaded: LoadedModel, speaker: Speaker, states: Floats, prompts: Sequence[Prompt]) -> Floats:
        """(m,) the share of what is drawn that states the answer; NaN where the scorer is undefined."""
        rows = np.repeat(states, self.n, axis=0)
        keys = np.stack([stream_key(self.seed, prompt.id) for prompt in prompts for _ in range(self.n)])
        numbers = np.tile(np.arange(self.n), len(prompts))
        chance = uniforms(keys, numbers, np.zeros_like(numbers), self.tokens)
        texts = []
        for start in range(0, len(rows), ROWS):
            part = slice(start, start + ROWS)
            said = drawn(speaker, rows[part], chance[part], loaded.end_ids)
            texts += [loaded.tokenizer.decode(ids, skip_special_tokens=True).strip() for ids in said]
        scores = get_scorer(SCORER).score([prompt for prompt in prompts for _ in range(self.n)], texts)
        scores = scores.reshape(len(prompts), self.n)
        there = ~np.isnan(scores)
        total = np.where(there, scores, 0).sum(axis=1)
        return np.where(there.any(axis=1), total / np.maximum(there.sum(axis=1), 1), np.nan)


class Speaker(nn.Module):
    """A recurrent network between a state and the tokens of an answer; embeddings and output layer are a model's own."""

    def __init__(self, loaded: LoadedModel, size: int, width: int) -> None:
        super().__init__()
        # Kept from the list of modules: they are not trained, and not copied.
        self.own = (loaded.model.get_input_embeddings(), loaded.model.get_output_embeddings())
        inner = int(self.own[0].weight.shape[1])
        self.begin = nn.Linear(size, width)
        self.cell = nn.GRU(inner, width, batch_first=True)
        self.say = nn.Linear(width, int(self.own[1].weight.shape[1]))

    def forward(self, states: Tensor, tokens: Tensor) -> Tensor:
        """(B, d) states and (B, T) tokens of an answer -> (B, T + 1, V) logits of the token after none, one, ... of them."""
        start = torch.tanh(self.begin(states))[None]
        embedded = self.embedded(tokens)
        nothing = embedded.new_zeros(len(states), 1, self.cell.input_size)
        return self.logits(self.cell(torch.cat([nothing, embedded], 1), start)[0])

    def embedded(self, tokens: Tensor) -> Tensor:
        """(B, T, d) the model's embeddings, of the size that states have in it."""
        found: Tensor = self.own[0](tokens).detach().float() / self.own[0].weight.detach().float().std()
        return found

    def logits(self, outputs: Tensor) -> Tensor:
        """The model's output layer on what the network says, in units in which its weights have size 1 / sqrt(d)."""
        head = self.own[1]
        scale = head.weight.detach().float().std() * head.weight.shape[1] ** 0.5
        found: Tensor = head((self.say(outputs) / scale).to(head.weight.dtype)).float()
        return found


def taught(
    loaded: LoadedModel, states: Floats, answers: Sequence[Sequence[int]], attack: GenerativeDecoder
) -> tuple[Speaker, float]:
    """The network, trained to say these answers, and its loss over the last tenth of the steps, in nats a token.

    states: (m, d).  answers: token ids, of which each is told by the ones before it and the state alone.
    """
    device = loaded.device
    with torch.inference_mode(False), torch.enable_grad(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(attack.seed)
        speaker = Speaker(loaded, states.shape[1], attack.width).to(device)
        optimiser = torch.optim.AdamW(speaker.parameters(), lr=RATE, weight_decay=0.01)
        order = torch.Generator().manual_seed(attack.seed)
        given = torch.from_numpy(states).float().to(device)
        width = max(map(len, answers))
        ids = torch.tensor([[*one, *[0] * (width - len(one))] for one in answers], device=device)
        lengths = torch.tensor([len(one) for one in answers], device=device)
        losses = []
        for step in range(attack.steps):
            for group in optimiser.param_groups:
                group["lr"] = RATE * (1 - step / attack.steps)
            rows = torch.randperm(len(answers), generator=order)[:BATCH].to(device)
            loss = mean_loss(speaker, given[rows], ids[rows], lengths[rows])
            optimiser.zero_grad()
            # The model's own weights are passed through, and get no gradient.
            names = list(speaker.parameters())
            for parameter, gradient in zip(names, torch.autograd.grad(loss, names), strict=True):
                parameter.grad = gradient
            optimiser.step()
            losses.append(float(loss.detach()))
    return speaker, float(np.mean(losses[-max(1, len(losses) // 10) :]))


def mean_loss(speaker: Speaker, states: Tensor, ids: Tensor, lengths: Tensor) -> Tensor:
    """Mean negative log-likelihood of the answers' tokens, each answer (T,) cut at its length."""
    logits = speaker(states, ids[:, :-1])
    told = torch.arange(ids.shape[1], device=ids.device)[None] < lengths[:, None]
    return functional.cross_entropy(logits[told], ids[told])


@torch.inference_mode()
def _loss_of(speaker: Speaker, state: Floats, ids: Sequence[int]) -> float:
    """The loss of one answer, in nats a token."""
    device = next(speaker.parameters()).device
    given = torch.from_numpy(state[None]).float().to(device)
    tokens, length = torch.tensor([list(ids)], device=device), torch.tensor([len(ids)], device=device)
    return float(mean_loss(speaker, given, tokens, length))


@torch.inference_mode()
def drawn(speaker: Speaker, states: Floats, chance: Floats, ends: Collection[int]) -> list[list[int]]:
    """Token ids drawn for each state, without the end token: the inverse CDF of the uniforms `chance` (m, tokens)."""
    device = next(speaker.parameters()).device
    hidden = torch.tanh(speaker.begin(torch.from_numpy(states).float().to(device)))[None]
    inputs = torch.zeros(len(states), 1, speaker.cell.input_size, device=device)
    said: list[list[int]] = [[] for _ in states]
    live = np.ones(len(states), dtype=bool)
    for step in range(chance.shape[1]):
        outputs, hidden = speaker.cell(inputs, hidden)
        sums = speaker.logits(outputs[:, 0]).double().softmax(-1).cumsum(-1)
        wanted = torch.from_numpy(chance[:, step]).to(device)[:, None] * sums[:, -1:]
        tokens = torch.searchsorted(sums, wanted, right=True).clamp(max=sums.shape[1] - 1)
        for row, token in enumerate(tokens[:, 0].tolist()):
            if live[row] and token not in ends:
                said[row].append(token)
            else:
                live[row] = False
        if not live.any():
            break
        inputs = speaker.embedded(tokens)
    return said


def question_states(loaded: LoadedModel, prompts: Sequence[Prompt], depth: float) -> Floats:
    """(m, d) states at the last token of each question, at this depth of the model."""
    rows = [loaded.template.prompt_ids(loaded.tokenizer, prompt.query) for prompt in prompts]
    layers = last_states(loaded, rows)
    return np.stack([one[round(depth * (len(one) - 1))] for one in layers])


def answer_ids(loaded: LoadedModel, prompt: Prompt, most: int) -> list[int]:
    """The ids of a true answer with its end token, at most so many."""
    return loaded.template.pair(loaded.tokenizer, prompt.query, prompt.answer).answer[:most]
