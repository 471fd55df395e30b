"""Edits, what an `Edit` stage does: weight arithmetic on models of one shape, a step of one layer, states redirected."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from leakatk.errors import InputError
from leakatk.unlearning.losses.terms import nll
from leakatk.unlearning.selection import cosine, gradients, pareto_front, trainable, views
from leakatk.unlearning.solve import descend, ridge
from leakatk.unlearning.streams import decoder_layers, part_of

if TYPE_CHECKING:
    from leakatk.unlearning.work import Weights, Work

Params = Mapping[str, Any]


def extrapolate(factor: Callable[[Params], float]) -> Callable[[Work, Weights, Params], Weights]:
    """theta_0 + factor (theta - theta_0): -alpha negates a task vector, above 1 goes farther the same way.

    factor: a function of the method's numbers.
    """

    def edit(work: Work, now: Weights, params: Params) -> dict[str, Tensor]:
        share = factor(params)
        return {name: _towards(work.start[name].to(value), value, share) for name, value in now.items()}

    return edit


def _towards(origin: Tensor, value: Tensor, factor: float) -> Tensor:
    return origin + factor * (value - origin)


# -- weights that know less


def reinitialise(work: Work, now: Weights, params: Params) -> dict[str, Tensor]:
    """The weights that the model's architecture begins with, drawn by the run's seed."""
    model = work.loaded.model
    kind, config = type(model), getattr(model, "config", None)
    if config is None:
        raise InputError("A fresh network needs a model with a configuration, as transformers' models have.")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(work.seed)
        fresh = dict(kind(config).named_parameters())
    return {name: fresh[name].detach().to(value) for name, value in now.items()}


def shrink_and_perturb(work: Work, now: Weights, params: Params) -> dict[str, Tensor]:
    """UNDO (arXiv 2506.06278): (1 - damage) theta + damage noise_scale N, N Xavier-uniform for matrices and 0 for vectors.

    InputError for a damage outside [0, 1].
    """
    damage = params["damage"]
    if not 0 <= damage <= 1:
        raise InputError(f"damage must be between 0 and 1, got {damage!r}.")
    generator = torch.Generator().manual_seed(work.seed)
    found = {}
    for name, value in now.items():
        noise = torch.zeros(value.shape)
        if value.dim() == 2:
            nn.init.xavier_uniform_(noise, generator=generator)
        found[name] = (1 - damage) * value + damage * params["noise_scale"] * noise.to(value)
    return found


def ascend_and_reset(work: Work, now: Weights, params: Params) -> dict[str, Tensor]:
    """Reload (arXiv 2604.10636): one step up the forget set's gradient; then the weights that it says most, or least, of begin anew.

    g_f and g_D are summed gradients of the nll, of the forget set and of both sets. theta <- theta + ascent g_f; where
    KV = (|g_f| + eps) / (|g_D| + eps) is among the `reset` share at the end that `pick` names ("lowest" or "highest"), theta is
    what `reinitialise` gives. Shares are of each parameter by itself. InputError for another pick, or a share outside [0, 1].
    """
    if params["pick"] not in ("lowest", "highest"):
        raise InputError(f"pick must be lowest or highest, got {params['pick']!r}.")
    if not 0 <= params["reset"] <= 1:
        raise InputError(f"reset must be between 0 and 1, got {params['reset']!r}.")
    sizes = {side: work.streams.size(side) for side in ("forget", "retain")}
    gone, kept = gradients(work, nll, "forget"), gradients(work, nll, "retain")
    fresh = reinitialise(work, now, params)
    found = {}
    for name, value in now.items():
        mine = gone[name].float() * sizes["forget"]
        both = mine + kept[name].float() * sizes["retain"]
        ratio = (mine.abs() + params["eps"]) / (both.abs() + params["eps"])
        count = round(params["reset"] * ratio.numel())
        moved = _moved(value, mine, params["ascent"])
        if count:
            order = ratio.flatten().argsort(descending=params["pick"] == "highest", stable=True)[:count]
            moved.view(-1)[order] = fresh[name].to(moved).view(-1)[order]
        found[name] = moved
    return found


# -- one layer along its gradient


def along_gradient(work: Work, now: Weights, params: Params) -> dict[str, Tensor]:
    """SLUG (arXiv 2407.11867): one matrix W -> W + lambda g, g the gradient of the forget set's nll; the rest stays.

    The matrix is on the Pareto front of large |g| / |W| and small |cos(g, gradient of the retain set's nll)|, among the matrices of
    the decoder layers whose names match `tensors`. pick "deepest": the last on the front; "best": all of it are searched, and the
    one that forgets most wins. lambda by `bisect`. A note says what was chosen. InputError where nothing matches.
    """
    if params["pick"] not in ("deepest", "best"):
        raise InputError(f"pick must be deepest or best, got {params['pick']!r}.")
    if not 0 <= params["keep_at_least"] <= 1:
        raise InputError(f"keep_at_least must be between 0 and 1, got {params['keep_at_least']!r}.")
    if params["tries"] < 1:
        raise InputError(f"tries must be at least 1, got {params['tries']!r}.")
    model = work.loaded.model
    forget, retain = gradients(work, nll, "forget"), gradients(work, nll, "retain")
    inside = {id(value) for value in decoder_layers(model).parameters()}
    there = dict(model.named_parameters())
    names = [
        name for name in trainable(model, params["tensors"]) if there[name].dim() == 2 and id(there[name]) in inside
    ]
    if not names:
        raise InputError(f"tensors={params['tensors']!r} matches no matrix of the decoder layers; take .* for all.")
    importance = {name: _ratio(forget[name], there[name]) for name in names}
    alignment = {name: abs(cosine(forget[name], retain[name])) for name in names}
    front = pareto_front(importance, alignment)
    if not front:
        raise InputError("The forget set's gradient is 0 in every matrix; there is no direction to go.")
    tried = front if params["pick"] == "best" else front[-1:]
    before = _probabilities(work)
    found = {name: _search(work, name, forget[name], before, params) for name in tried}
    best = min(tried, key=lambda name: found[name].rank)
    result = found[best]
    work.notes.append(
        f"slug changed {best} (of {len(front)} on the Pareto front) with lambda {result.step:.3g}: mean answer probability "
        f"{before[0]:.3f} -> {result.forget:.3f} on forget, {before[1]:.3f} -> {result.retain:.3f} on retain prompts"
        + ("." if result.reached else f"; forget_at_most {params['forget_at_most']:g} was not reached.")
    )
    return {best: _moved(now[best], forget[best], result.step)}


def _ratio(gradient: Tensor, value: Tensor) -> float:
    return float(gradient.double().norm() / value.detach().double().norm())


def _moved(value: Tensor, gradient: Tensor, step: float) -> Tensor:
    return (value.float() + step * gradient.float()).to(value.dtype)


def _probabilities(work: Work) -> tuple[float, float]:
    """The mean over prompts of exp(mean log p of the answer's tokens), on the forget and on the retain set."""
    found = []
    for stream in ("forget", "retain"):
        values = [view.mean_logprob.exp().double() for view in views(work, stream)]
        found.append(float(torch.cat(values).mean()))
    return found[0], found[1]


@dataclass(frozen=True)
class Tried:
    """One step size: the mean answer probability on both sets, and whether these are within the bounds."""

    step: float
    forget: float
    retain: float
    low: bool
    """The forget set's is at most its bound."""
    kept: bool
    """The retain set's is at least its bound."""

    @property
    def reached(self) -> bool:
        return self.low and self.kept

    @property
    def rank(self) -> tuple[int, float, float]:
        """The less the better: within both bounds the smallest step, else the least forget probability that keeps the rest."""
        if self.reached:
            return (0, self.step, self.forget)
        return (1 if self.kept else 2, self.forget, self.step)


def bisect(measure: Callable[[float], Tried], first: float, *, highest: float, tries: int) -> Tried:
    """The best of `tries` step sizes in [0, highest] by `Tried.rank`, 0 among them.

    `first`, then halves: larger while the forget probability is too high and the retain set keeps its own; else smaller.
    """
    low, high, step = 0.0, highest, first
    best = measure(0.0)
    for _ in range(tries):
        found = measure(step)
        best = min(best, found, key=lambda tried: tried.rank)
        if found.kept and not found.low:
            low = step
        else:
            high = step
        step = (low + high) / 2
    return best


def _search(work: Work, name: str, gradient: Tensor, before: tuple[float, float], params: Params) -> Tried:
    parameter = work.loaded.model.get_parameter(name)
    own = parameter.detach().clone()

    def measure(step: float) -> Tried:
        parameter.copy_(_moved(own, gradient, step))
        forget, retain = _probabilities(work)
        least = params["keep_at_least"] * before[1]
        return Tried(step, forget, retain, forget <= params["forget_at_most"], retain >= least)

    first = params["first"] / max(_ratio(gradient, own), 1e-30)
    try:
        return bisect(measure, first, highest=params["reach"] * first, tries=params["tries"])
    finally:
        parameter.copy_(own)


# -- states redirected by one matrix


def redirect(work: Work, now: Weights, params: Params) -> dict[str, Tensor]:
    """LUNAR (arXiv 2502.07218): the last matrix of an MLP, fitted so that forget prompts have the states of refused ones.

    r is the mean state after the layer at the last token of refused prompts, less that of forget prompts. At every token of a prompt
    the matrix W reads a; it is to give W a + c r on forget prompts and W a on retain ones. `layers` layers are done, the last of
    them `layer`, each from the states of the model as it was. solver "adamw" as published, "ridge" the closed form.
    """
    if params["solver"] not in ("adamw", "ridge"):
        raise InputError(f"solver must be adamw or ridge, got {params['solver']!r}.")
    model = work.loaded.model
    names = {id(module): name for name, module in model.named_modules()}
    count = len(decoder_layers(model))
    last = params["layer"]
    if not 0 <= last < count or not 1 <= params["layers"] <= last + 1:
        raise InputError(
            f"layer must be between 0 and {count - 1} for this model, and layers between 1 and layer + 1; got layer={last!r}, "
            f"layers={params['layers']!r}. The published layer is at two thirds of the depth."
        )
    found = {}
    for layer in range(last - params["layers"] + 1, last + 1):
        host, _ = part_of(decoder_layers(model)[layer], "mlp_in")
        turned = not isinstance(host, nn.Linear)  # GPT-2's Conv1D keeps (in, out)
        key = f"{names[id(host)]}.weight"
        weight = now[key].float()
        fitted = _redirected(work, layer, weight.T if turned else weight, params)
        found[key] = (fitted.T if turned else fitted).to(now[key].dtype)
    return found


def _redirected(work: Work, layer: int, weight: Tensor, params: Params) -> Tensor:
    shift = params["coefficient"] * (_last_state(work, "refused", layer) - _last_state(work, "forget", layer))
    if params["solver"] == "ridge":
        gram = weight.new_zeros(weight.shape[1], weight.shape[1], dtype=torch.float64)
        total = gram.new_zeros(weight.shape[1])
        for stream in ("forget", "retain"):
            for inputs in _prompt_inputs(work, stream, layer):
                gram += inputs.T @ inputs
                total += inputs.sum(0) if stream == "forget" else 0
        return weight + ridge(gram, torch.outer(shift, total), params["penalty"]).float()
    rows = {stream: torch.cat(list(_prompt_inputs(work, stream, layer))).float() for stream in ("forget", "retain")}
    targets = torch.cat([rows["forget"] @ weight.T + shift.float(), rows["retain"] @ weight.T])
    return descend(
        weight, torch.cat([rows["forget"], rows["retain"]]), targets,
        learning_rate=params["learning_rate"], epochs=params["epochs"], batch=params["tokens"], decay=params["decay"],
        seed=work.seed,
    )  # fmt: skip


def _last_state(work: Work, stream: str, layer: int) -> Tensor:
    """(d,) the mean state after a layer at the last token of the prompts, float64."""
    states = [view.hidden(layer)[:, view.batch.start - 1].double() for view in views(work, stream)]
    return torch.cat(states).mean(0)


def _prompt_inputs(work: Work, stream: str, layer: int) -> Iterator[Tensor]:
    """(n, i) what goes into a layer's last MLP matrix at all tokens of a batch of prompts, float64."""
    for view in views(work, stream):
        asked = view.positions("all") & ~view.positions("answer")
        yield view.hidden(layer, at="mlp_in")[asked].double()
