"""Null space: layers found by causal tracing, and steps that leave alone what retain inputs go through (KUDA)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from leakatk.errors import InputError
from leakatk.unlearning.chance import generator_of
from leakatk.unlearning.closure import Closure
from leakatk.unlearning.gradients import Gradients
from leakatk.unlearning.locating import last_matrices
from leakatk.unlearning.selection import views
from leakatk.unlearning.settings import TrainSettings
from leakatk.unlearning.streams import decoder_layers, part_of
from leakatk.unlearning.surgeons import Asking

if TYPE_CHECKING:
    from leakatk.unlearning.work import Work


def projector(gram: Tensor, threshold: float, relaxed: bool) -> Tensor:
    """(i, i) what keeps a change of a matrix away from inputs, given the sum of x x' over them (i, i), float64.

    Along an eigenvector of the mean of x x' with eigenvalue e it keeps the share t / (t + e), t = threshold times the mean
    eigenvalue; not relaxed: 1 where e <= t, else 0. InputError for a threshold that is not above 0, or inputs that are all 0.
    """
    if not threshold > 0:
        raise InputError(f"threshold must be above 0, got {threshold!r}.")
    values, vectors = torch.linalg.eigh(gram.double())
    values = values.clamp_min(0)
    limit = threshold * values.mean()
    if not float(limit) > 0:
        raise InputError("The inputs of the edited matrix are all 0; give other retain prompts.")
    shares = limit / (limit + values) if relaxed else (values <= limit).to(values)
    found: Tensor = (vectors * shares) @ vectors.T
    return found


@contextmanager
def changing(module: nn.Module, change: Callable[[Tensor], Tensor]) -> Iterator[None]:
    """Within the block a module gives what `change` makes of what it gives."""

    def behind(_module: nn.Module, _inputs: object, output: Any) -> Any:
        return (change(output[0]), *output[1:]) if isinstance(output, tuple) else change(output)

    handle = module.register_forward_hook(behind)
    try:
        yield
    finally:
        handle.remove()


def effects(work: Work) -> Tensor:
    """(layers,) how much of the answers' probability comes back where one layer's MLP is as it was, and the question is blurred.

    Blurred: normal noise, `blur` standard deviations of the embeddings, on all tokens of the question. Probability: exp(mean log p) of
    the answer; the mean over the first `traced` forget prompts, one at a time.
    """
    model, params = work.loaded.model, work.params
    layers = decoder_layers(model)
    parts = [part_of(layer, "mlp")[0] for layer in layers]
    spread = float(model.get_input_embeddings().weight.detach().float().std())
    total = torch.zeros(len(layers), dtype=torch.float64)
    count = 0
    for view in views(work, "forget", batch_size=1):
        if count == params["traced"]:
            break
        item = view.batch.items[0]
        ids = torch.tensor([[*item.prompt, *item.answer]], device=work.loaded.device)
        asked = len(item.prompt)
        kept: dict[int, Tensor] = {}

        def keep(number: int, kept: dict[int, Tensor] = kept) -> Callable[[Tensor], Tensor]:
            return lambda states: kept.setdefault(number, states.detach().clone())

        def log_probability(ids: Tensor = ids, asked: int = asked) -> float:
            logits = model(input_ids=ids, use_cache=False).logits[0, asked - 1 : -1].float()
            return -float(torch.nn.functional.cross_entropy(logits, ids[0, asked:]))

        def blur(states: Tensor, asked: int = asked, number: int = count) -> Tensor:
            drawn = torch.randn(asked, states.shape[-1], generator=generator_of(work.seed, number, "blur"))
            noise = torch.zeros_like(states)
            noise[:, :asked] = (params["blur"] * spread * drawn).to(states)
            return states + noise

        with ExitStack() as stack:
            for number, part in enumerate(parts):
                stack.enter_context(changing(part, keep(number)))
            log_probability()
        with changing(model.get_input_embeddings(), blur):
            low = torch.tensor(log_probability(), dtype=torch.float64).exp()
            for number, part in enumerate(parts):
                with changing(part, keep(number)):
                    total[number] += torch.tensor(log_probability(), dtype=torch.float64).exp() - low
        count += 1
    return total / max(count, 1)


def window_of(scores: Tensor, width: int) -> range:
    """The run of `width` layers with the largest sum. InputError for a width that the model lacks."""
    if not 1 <= width <= len(scores):
        raise InputError(f"layers must be between 1 and {len(scores)} for this model, got {width!r}.")
    sums = scores.unfold(0, width, 1).sum(1)
    first = int(sums.argmax())
    return range(first, first + width)


def kept_apart(work: Work) -> dict[str, Any]:
    """ "edited" the names of the last MLP matrices of the window of layers, "layer" its last, "projectors" one of each matrix.

    What goes into a matrix is looked at over all tokens of the retain prompts and answers. A note says which layers these are.
    """
    params, names = work.params, list(last_matrices(work.loaded.model))
    chosen = window_of(effects(work), params["layers"])
    projectors = []
    for layer in chosen:
        gram: Tensor | float = 0.0
        for view in views(work, "retain"):
            inputs = view.hidden(layer, at="mlp_in").detach()[view.positions("all")].double()
            gram = gram + inputs.T @ inputs
        projectors.append(projector(torch.as_tensor(gram), params["threshold"], params["relaxed"]).float())
    work.notes.append(f"kuda edits layers {chosen[0]} to {chosen[-1]}, through which most of the answers comes.")
    return {"edited": [names[layer] for layer in chosen], "layer": chosen[-1], "projectors": projectors}


def edited(work: Work) -> list[str]:
    """Train the matrices that were found."""
    return list(work.params["edited"])


class KeptApart(Asking):
    """AdamW whose step of each matrix goes through the projector of the matrix's inputs."""

    def direction(self, closure: Closure) -> Gradients:
        return closure.gradient()

    def step(self, closure: Closure) -> None:  # type: ignore[override]
        before = [parameter.detach().clone() for parameter in closure.parameters]
        super().step(closure)
        with torch.no_grad():
            for parameter, old, keep in zip(
                closure.parameters, before, closure.params.get("projectors", ()), strict=False
            ):
                keep = keep.to(parameter)
                moved = parameter - old
                parameter.copy_(old + (moved @ keep if moved.shape[1] == len(keep) else keep @ moved))


def kept_apart_steps(parameters: Iterable[nn.Parameter], settings: TrainSettings) -> torch.optim.Optimizer:
    """What `Train.optimiser` takes."""
    return KeptApart(
        list(parameters), lr=settings.learning_rate, betas=settings.betas, weight_decay=settings.weight_decay
    )
