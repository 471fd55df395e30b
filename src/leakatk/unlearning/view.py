"""View, what a loss sees: one stream of the batch under one model, each value made when it is first asked for."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

import torch
from torch import Tensor

from leakatk.errors import InputError
from leakatk.unlearning.losses.chunked import OfTokens, in_chunks
from leakatk.unlearning.losses.token import (
    IGNORE,
    answer_mask,
    label_logprobs,
    mean_over_answers,
    mean_over_tokens,
    sequence_mean,
    sequence_sum,
)
from leakatk.unlearning.passes import Flat, by_chance, flat_logits, hidden_states
from leakatk.unlearning.step import Step
from leakatk.unlearning.streams import Batch

PER = {"answer": mean_over_answers, "token": mean_over_tokens}
Weigh = Callable[["View", Mapping[str, Any]], Tensor | None]
REFERENCE = "reference"


Loss = TypeVar("Loss", bound=Callable[..., Tensor])


def each_answer(loss: Loss) -> Loss:
    """Say of a loss that it is the mean over the batch's answers of a value of each answer alone (where `View.mean` is over
    answers). Its batches may then be run in parts, whose activations are not held at once.
    """
    loss.each_answer = True  # type: ignore[attr-defined]
    return loss


class View:
    """One stream of a batch under one model. B answers of at most T tokens, L tokens with their prompts, vocabulary V.

    Under the model that is trained, values have a gradient; under any other (`reference`, `under`) they have none. A row that
    was drawn twice stands here twice, and the model is run on it once.

    >>> def ascent(view, params):
    ...     return view.mean(view.token_logprob)
    """

    def __init__(
        self, step: Step, stream: str, *, model: str = "", per: str = "answer", weigh: Callable[[View], Tensor | None] | None = None
    ) -> None:  # fmt: skip
        """model: "" the one that is trained, else a teacher.  per: whether `mean` is over answers or tokens.

        weigh: gives the weights (B, T) of the answers' tokens; None: all count the same.
        """
        if per not in PER:
            raise InputError(f"per must be {' or '.join(PER)}, got {per!r}.")
        self.step, self.stream, self.model, self.per, self._weigh = step, stream, model, per, weigh

    # -- what the batch is

    @property
    def batch(self) -> Batch:
        """Token ids, attention mask and positions."""
        return self.step.batch(self.stream)

    @property
    def labels(self) -> Tensor:
        """(B, T) the answers' tokens, -100 beyond an answer."""
        return self.batch.labels

    @property
    def mask(self) -> Tensor:
        """(B, T) bool: where `labels` counts."""
        return answer_mask(self.labels)

    @property
    def rows(self) -> Sequence[int]:
        """(B,) the numbers of the prompts in their set."""
        return self.batch.rows

    @property
    def weights(self) -> Tensor:
        """(B, T) the weight of each token in `mean`, `logprob` and `mean_logprob`; 1 unless the method weighs tokens."""
        found = self._weights()
        return torch.ones_like(self.labels, dtype=torch.float32) if found is None else found

    def _weights(self) -> Tensor | None:
        if self._weigh is None:
            return None
        weigh, plain = self._weigh, View(self.step, self.stream, per=self.per)

        def make() -> Tensor | None:
            found = weigh(plain)
            return None if found is None else found.detach().float()

        return self.step.once(("weights", self.stream), make)

    # -- what the model says of it

    @property
    def logits(self) -> Tensor:
        """(B, T, V): `logits[:, t]` predicts `labels[:, t]`, 0 beyond an answer. They fill memory: see `of_tokens`."""
        return self._once(self._kind, lambda: self._flat.padded(self._flat_logits()))

    @property
    def token_logprob(self) -> Tensor:
        """(B, T) log p of each label, 0 beyond an answer."""
        if self.model:
            beside = self.step.beside
            return self._taught("logp", beside if beside and self.model == REFERENCE else self.model)
        return self._once("logp", lambda: self.of_tokens(label_logprobs))

    def of_tokens(self, function: OfTokens, *others: View, labels: Tensor | None = None) -> Tensor:
        """(B, T) values of each prediction by itself, with a gradient; 0 beyond an answer. No more than a few tokens'
        distributions are in memory for it.

        function: (logits (n, V), labels (n,), the other views' logits (n, V) ...) -> (n,), of each row alone.
        others: the same batch under other models.
        labels: (B, T), in place of the view's.
        """
        flat, labels = self._flat, self.labels if labels is None else labels
        given = [other._flat_logits() for other in others]
        with torch.enable_grad():
            return flat.padded(in_chunks(function, self._flat_logits(), flat.chosen(labels), *given))

    @property
    def logprob(self) -> Tensor:
        """(B,) log p(answer | prompt), each token times its weight."""
        weights = self._weights()
        return sequence_sum(self.token_logprob if weights is None else weights * self.token_logprob, self.mask)

    @property
    def mean_logprob(self) -> Tensor:
        """(B,) log p(answer | prompt) divided by the number of tokens, or by the sum of their weights."""
        weights = self._weights()
        if weights is None:
            return sequence_mean(self.token_logprob, self.mask)
        return self.logprob / sequence_sum(weights, self.mask).clamp_min(1e-12)

    def hidden(self, layer: int, at: str = "block") -> Tensor:
        """(B, L, d) the states of decoder layer number `layer` (from 0; negative: from the last).

        at: "block" what the layer gives, "mlp" what its MLP gives, "mlp_in" what goes into the MLP's last matrix, "attention"
        what its attention gives.
        """
        kind = f"hidden:{at}:{layer}"
        if self.model:
            return self._taught(kind)
        return self._once(kind, lambda: hidden_states(self.step.model, self.batch, layer, at))

    def positions(self, which: str) -> Tensor:
        """(B, L) bool for hidden states: "answer" (the answers' own tokens) or "all" (every token but padding)."""
        mask = self.batch.attention_mask.bool()
        if which == "all":
            return mask
        if which != "answer":
            raise InputError(f"positions must be answer or all, got {which!r}.")
        return mask & (torch.arange(mask.shape[1], device=mask.device) >= self.batch.start)

    def mean(self, values: Tensor, mask: Tensor | None = None) -> Tensor:
        """Of values (B, T) or (B, L): over an answer's tokens, then over answers; per "token": over all tokens at once.

        mask: which of them count, of the same shape; default: the answers' tokens. Weights multiply, and the divisor is their
        sum. InputError for weights on values that stand elsewhere than at the answers' predictions.
        """
        mask = self.mask if mask is None else mask
        weights = self._weights()
        if weights is None:
            return PER[self.per](values, mask)
        if values.shape != weights.shape:
            raise InputError(
                "Token weights belong to the predictions of answer tokens, and this loss looks elsewhere; take positions=answer, "
                "or a loss without hidden states."
            )
        total, whole = sequence_sum(weights * values, mask), sequence_sum(weights, mask)
        if self.per == "token":
            return total.sum() / whole.sum().clamp_min(1e-12)
        return (total / whole.clamp_min(1e-12)).mean()

    # -- the same batch seen otherwise

    @property
    def reference(self) -> View:
        """The same batch under the frozen start."""
        return self.under(REFERENCE)

    def under(self, name: str) -> View:
        """The same batch under the model that a stage kept as `name`, or that was given under this name."""
        return type(self)(self.step, self.stream, model=name, per=self.per, weigh=self._weigh)

    @property
    def whole(self) -> Whole:
        """The same batch with the prompts' tokens as well."""
        return Whole(self.step, self.stream, model=self.model, per=self.per, weigh=self._weigh)

    _kind = "logits"

    @property
    def _flat(self) -> Flat:
        """Where the distinct items' values stand."""
        made = lambda: Flat(self.batch, whole=self._kind == "whole", repeat=by_chance(self.step.model))  # noqa: E731
        return self.step.once(("flat", self._kind, self.stream), made)

    def _flat_logits(self) -> Tensor:
        """(N, V) of the distinct items."""
        beside = self.step.beside
        if self.model:
            return self._given_logits(beside if beside and self.model == REFERENCE else self.model)
        return self._once("flat " + self._kind, self._own_logits)

    def _given_logits(self, model: str) -> Tensor:
        step, kind = self.step, self._kind
        return step.once(
            ("flat " + kind, self.stream, model), lambda: step.teachers.flat(model, kind, self.stream, self._flat)
        )

    def _own_logits(self) -> Tensor:
        """Those of the trained model; beside another one, its logits and what the trained one has changed in its own."""
        own, beside = flat_logits(self.step.model, self._flat), self.step.beside
        if not beside:
            return own
        change = own.float() - self._given_logits(REFERENCE).float()
        return self._given_logits(beside).float() + self.step.share * change

    def _once(self, kind: str, make: Callable[[], Tensor]) -> Tensor:
        """Made once for all who ask: with a gradient, though the first of them may want none."""

        def made() -> Tensor:
            with torch.enable_grad():
                return make()

        return self.step.once((kind, self.stream, self.model), made)

    def _taught(self, kind: str, model: str = "") -> Tensor:
        step, model = self.step, model or self.model
        return step.once((kind, self.stream, model), lambda: step.teachers.values(model, kind, self.stream, self.batch))


class Whole(View):
    """A view of prompts and answers together: `labels` (B, L) are the tokens after each token, -100 where there is none.

    `logits` (B, L, V) stand after every token, 0 at padding.
    """

    @property
    def labels(self) -> Tensor:
        return _shifted(self.tokens).masked_fill(self.tokens == IGNORE, IGNORE)

    @property
    def tokens(self) -> Tensor:
        """(B, L) the tokens themselves, -100 at padding."""
        return self.batch.input_ids.masked_fill(self.batch.attention_mask == 0, IGNORE)

    @property
    def answers(self) -> Tensor:
        """(B, L) the answers' own tokens: each stands where the token after it is predicted."""
        columns = torch.arange(self.tokens.shape[1], device=self.tokens.device)
        return self.tokens.masked_fill(columns < self.batch.start, IGNORE)

    @property
    def answer_labels(self) -> Tensor:
        """(B, L) the answer token after each token: where the answers are predicted."""
        return _shifted(self.answers)

    _kind = "whole"

    @property
    def token_logprob(self) -> Tensor:
        return self.of_tokens(label_logprobs)


def _shifted(tokens: Tensor) -> Tensor:
    return torch.cat([tokens[:, 1:], torch.full_like(tokens[:, :1], IGNORE)], dim=1)
