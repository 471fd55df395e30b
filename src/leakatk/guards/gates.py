"""Gated rewriting of the last prompt token's state: small modules, trained beside the frozen model (GRUN)."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar, Self

from leakatk.errors import InputError
from leakatk.guards.base import Action, Floats
from leakatk.prompts import Known, Prompt

if TYPE_CHECKING:
    from torch import Tensor

    from leakatk.models.loaded import LoadedModel

BASES = ("graddiff", "npo", "idk")
_NAMES = ("gate", "gate_bias", "rotate", "source", "source_bias")


@dataclass(frozen=True)
class Gated(Action):
    """The state at the last prompt token becomes h + g(h) R'(W h + b - R h), after each of some layers.

    R (rank, d) has orthonormal rows, g(h) = sigma(v h + a) is near 1 for what is to be forgotten. All of it is trained beside the frozen
    model: w (F + retain_weight NLL(retain)) + gate_weight BCE(g; 1 on forget, 0 on retain), w rising from 0 to 1.
    """

    needs: ClassVar[tuple[str, ...]] = ("forget", "retain")

    layers: str = "0.65,0.8,-1"
    """After which layers: shares of the depth between 0 and 1, or numbers, negative from the last."""
    rank: int = 4
    """Rows of R."""
    base: str = "npo"
    """F: "graddiff" -NLL(y_f); "npo" NPO's loss, against the model without the modules; "idk" NLL(a refusal)."""
    beta: float = 0.1
    """Of NPO."""
    forget_weight: float = 1.0
    """Of F."""
    retain_weight: float = 1.0
    """Of the retain answers' loss."""
    gate_weight: float = 10.0
    """Of the gates' cross entropy."""
    warm_up: int = 0
    """Steps over which w rises; 0 is none."""
    steps: int = 200
    """Training steps (AdamW)."""
    batch: int = 16
    """Forget prompts of a step, and as many retain prompts."""
    rate: float = 4e-3
    """Learning rate."""
    train_seed: int = 0
    """Draws where the modules begin, and the batches."""
    weights: Mapping[str, Floats] = dataclasses.field(default_factory=dict, repr=False, compare=False)
    """Of each module, as "gate.0": gate (1, d), gate_bias (1,), rotate (rank, d), source (rank, d), source_bias (rank,)."""

    def __post_init__(self) -> None:
        if self.base not in BASES:
            from leakatk.errors import UnknownNameError

            raise UnknownNameError("base of a gated module", self.base, BASES)
        if min(self.rank, self.steps, self.batch) < 1 or self.warm_up < 0 or not self.rate > 0 or not self.beta > 0:
            raise InputError("Gated modules need rank, steps and batch of at least 1, rate and beta above 0.")

    def places(self, model: Any) -> list[int]:
        """The numbers of the layers. InputError for what is no layer."""
        from leakatk.models.layers import layer_at

        try:
            return sorted({layer_at(model, float(part)) for part in self.layers.split(",")})
        except ValueError:
            raise InputError(f'layers are numbers with commas, such as "0.5,-1", got {self.layers!r}.') from None

    def fit(self, known: Known, loaded: LoadedModel | None) -> Self:
        known.need("Gated modules", *self.needs)
        if loaded is None:
            raise InputError(
                "Gated modules are trained in the model, which is not here; use --engine native or generate."
            )
        return replace(self, weights=trained(self, known, loaded))

    def group(self, loaded: LoadedModel, prompt: Prompt) -> object:
        """Prompts of one length: the last token of all of them stands at the same place."""
        return len(loaded.template.prompt_ids(loaded.tokenizer, prompt.query))

    def hooks(self, loaded: LoadedModel, prompts: Sequence[Prompt]) -> AbstractContextManager[None]:
        import torch

        from leakatk.models.hooks import changed_states
        from leakatk.models.layers import module_at

        if not prompts:
            raise InputError("Gated modules act on prompts; none were given.")
        last = int(str(self.group(loaded, prompts[0]))) - 1
        changes = []
        for number, layer in enumerate(self.places(loaded.model)):
            parts = {
                name: torch.from_numpy(self.weights[f"{name}.{number}"]).float().to(loaded.device) for name in _NAMES
            }

            def change(states: Tensor, positions: Tensor, parts: dict[str, Tensor] = parts) -> Tensor:
                at = (positions == last)[..., None]
                return torch.where(at, rewritten(states.float(), parts)[0].to(states), states)

            changes.append((module_at(loaded.model, layer)[0], change))
        return changed_states(loaded.model, changes)


def rewritten(states: Tensor, parts: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
    """(h + g R'(W h + b - R h) (..., d), g (..., 1)) of states (..., d)"""
    gate: Tensor = (states @ parts["gate"].T + parts["gate_bias"]).sigmoid()
    there = states @ parts["source"].T + parts["source_bias"] - states @ parts["rotate"].T
    moved: Tensor = states + gate * (there @ parts["rotate"])
    return moved, gate


def begun(width: int, rank: int, draw: Any) -> dict[str, Tensor]:
    """The parts of a module before training: linear maps drawn as PyTorch draws them, R the rows of a random rotation."""
    import torch

    if rank > width:
        raise InputError(f"The rank of a gated module is at most the width of the model's states, {width}; got {rank}.")
    bound = width**-0.5

    def uniform(*shape: int) -> Tensor:
        drawn: Tensor = (2 * torch.rand(*shape, generator=draw) - 1) * bound
        return drawn

    rotate = torch.linalg.qr(torch.randn(width, rank, generator=draw))[0].T
    return {
        "gate": uniform(1, width), "gate_bias": uniform(1), "rotate": rotate, "source": uniform(rank, width),
        "source_bias": uniform(rank),
    }  # fmt: skip


def trained(gated: Gated, known: Known, loaded: LoadedModel) -> dict[str, Floats]:
    """The modules' weights after training; the model is left as it was."""
    import torch

    from leakatk.models.layers import module_at
    from leakatk.models.token_stats import answer_pairs
    from leakatk.unlearning.losses.targets import refusals

    model, draw = loaded.model, torch.Generator().manual_seed(gated.train_seed)
    modules = [module_at(model, layer)[0] for layer in gated.places(model)]
    width = model.get_input_embeddings().weight.shape[1]
    parts = [
        {name: part.to(loaded.device).requires_grad_(True) for name, part in begun(width, gated.rank, draw).items()}
        for _ in modules
    ]

    def pairs(prompts: Sequence[Prompt], answers: Sequence[str]) -> list[tuple[list[int], list[int]]]:
        found = answer_pairs(loaded, [prompt.query for prompt in prompts], list(answers))
        return [(list(asked), list(answer)) for asked, answer in found]

    idk = refusals(known.forget, gated.train_seed) if gated.base == "idk" else [p.answer for p in known.forget]
    sides = pairs(known.forget, idk), pairs(known.retain, [p.answer for p in known.retain])
    flags = {name: value.requires_grad for name, value in model.named_parameters()}
    model.requires_grad_(False)
    flat = [part for one in parts for part in one.values()]
    optimiser = torch.optim.AdamW(flat, lr=gated.rate)
    try:
        with torch.no_grad():
            start = torch.cat([logprobs(loaded, [pair])[0].sum(1) for pair in sides[0]])
        for step in range(gated.steps):
            drawn = [torch.randint(len(side), (gated.batch,), generator=draw).tolist() for side in sides]
            with torch.enable_grad():
                values = []
                gates: list[Tensor] = []
                for side, rows in zip(sides, drawn, strict=True):
                    some = [side[row] for row in rows]
                    with gating(modules, parts, [len(asked) - 1 for asked, _ in some], gates):
                        values.append(logprobs(loaded, some))
                loss = objective(gated, step, values, start[drawn[0]], gates)
                optimiser.zero_grad(set_to_none=True)
                torch.autograd.backward(loss)
            optimiser.step()
            with torch.no_grad():  # back to orthonormal rows
                for one in parts:
                    q, r = torch.linalg.qr(one["rotate"].T)
                    one["rotate"].copy_((q * r.diagonal().sign()).T)
    finally:
        for name, value in model.named_parameters():
            value.requires_grad_(flags[name])
    return {
        f"{name}.{number}": part.detach().cpu().double().numpy()
        for number, one in enumerate(parts)
        for name, part in one.items()
    }


def objective(
    gated: Gated, step: int, values: Sequence[tuple[Tensor, Tensor]], start: Tensor, gates: Sequence[Tensor]
) -> Tensor:
    """The loss of a step.

    values: of the forget and of the retain batch (log-probabilities (B, T), 0 beyond an answer; tokens of each answer (B,)).  start (B,):
    log-probabilities of the forget answers without modules.  gates: (B,) of each module, on the forget batch and then on the retain one.
    """
    import torch

    (gone, counts), (kept, kept_counts) = values
    if gated.base == "npo":
        forget = -2 / gated.beta * torch.nn.functional.logsigmoid(-gated.beta * (gone.sum(1) - start)).mean()
    else:
        forget = (gone.sum(1) / counts).mean() * (-1 if gated.base == "idk" else 1)
    retain = -(kept.sum(1) / kept_counts).mean()
    half = len(gates) // 2
    on, off = torch.cat(list(gates[:half])), torch.cat(list(gates[half:]))
    entropy = -torch.cat([on.clamp_min(1e-12).log(), (1 - off).clamp_min(1e-12).log()]).mean()
    rising = min(step / gated.warm_up, 1.0) if gated.warm_up else 1.0
    loss: Tensor = rising * (gated.forget_weight * forget + gated.retain_weight * retain) + gated.gate_weight * entropy
    return loss


@contextmanager
def gating(
    modules: Sequence[Any], parts: Sequence[Mapping[str, Tensor]], places: Sequence[int], gates: list[Tensor]
) -> Iterator[None]:
    """Within the block each module's output is rewritten at one place of each row; the gates (B,) there are added to `gates`."""
    import torch

    def behind(one: Mapping[str, Tensor]) -> Any:
        def hook(_module: Any, _inputs: Any, output: Any) -> Any:
            states = output[0] if isinstance(output, tuple) else output
            rows = torch.arange(len(places), device=states.device)
            columns = torch.tensor(places, device=states.device)
            moved, gate = rewritten(states[rows, columns].float(), one)
            gates.append(gate[:, 0])
            changed = states.index_put((rows, columns), moved.to(states))
            return (changed, *output[1:]) if isinstance(output, tuple) else changed

        return hook

    with ExitStack() as stack:
        for module, one in zip(modules, parts, strict=True):
            stack.callback(module.register_forward_hook(behind(one)).remove)
        yield


def logprobs(loaded: LoadedModel, pairs: Sequence[tuple[list[int], list[int]]]) -> tuple[Tensor, Tensor]:
    """(log-probabilities of the answers' tokens (B, T), 0 beyond an answer; tokens of each answer (B,))"""
    import torch

    width = max(len(asked) + len(answer) for asked, answer in pairs)
    ids = torch.zeros(len(pairs), width, dtype=torch.long)
    longest = max(len(answer) for _, answer in pairs)
    places = torch.zeros(len(pairs), longest, dtype=torch.long)
    mask = torch.zeros(len(pairs), longest)
    for row, (asked, answer) in enumerate(pairs):
        ids[row, : len(asked) + len(answer)] = torch.tensor([*asked, *answer])
        places[row, : len(answer)] = torch.arange(len(asked) - 1, len(asked) + len(answer) - 1)
        mask[row, : len(answer)] = 1
    ids, places, mask = (one.to(loaded.device) for one in (ids, places, mask))
    logits = loaded.model(input_ids=ids, use_cache=False).logits
    rows = torch.arange(len(pairs), device=ids.device)[:, None]
    logs = logits[rows, places].float().log_softmax(-1)
    found = logs.gather(-1, ids[rows, (places + 1).clamp_max(width - 1)][..., None])[..., 0] * mask
    return found, mask.sum(1)
