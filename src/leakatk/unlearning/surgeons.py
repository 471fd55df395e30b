"""Optimisers that ask for more than one gradient a step: `leakatk.unlearning.closure`."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable

import torch
from torch import nn

from leakatk.errors import InputError
from leakatk.unlearning.closure import Closure
from leakatk.unlearning.gradients import Gradients, inner
from leakatk.unlearning.losses.targeted import others_kept, targets_alone
from leakatk.unlearning.losses.terms import nll
from leakatk.unlearning.settings import TrainSettings

TINY = 1e-20


def norm(gradient: Gradients) -> float:
    return math.sqrt(float(inner(gradient, gradient)))


class Asking(torch.optim.AdamW):
    """AdamW on a direction made of several gradients. `direction` says which; it may move the weights, and puts them back unless that is part of the step."""

    asks = True

    def direction(self, closure: Closure) -> Gradients:
        raise NotImplementedError

    def step(self, closure: Closure) -> None:  # type: ignore[override]
        found = self.direction(closure)
        for parameter, way in zip(closure.parameters, found, strict=True):
            parameter.grad = way
        super().step()
        self.zero_grad()


def asking(kind: type[Asking]) -> Callable[[Iterable[nn.Parameter], TrainSettings], torch.optim.Optimizer]:
    """What `Train.optimiser` takes: an `Asking` optimiser with the settings' AdamW."""

    def make(parameters: Iterable[nn.Parameter], settings: TrainSettings) -> torch.optim.Optimizer:
        return kind(
            list(parameters), lr=settings.learning_rate, betas=settings.betas, weight_decay=settings.weight_decay
        )

    return make


# -- UNO


def cosine(left: Gradients, right: Gradients) -> float:
    return float(inner(left, right)) / max(norm(left) * norm(right), TINY)


def towards_cosine(left: Gradients, right: Gradients) -> Gradients:
    """The derivative of cos(left, right) in `left`: (right / |right| - cos left / |left|) / |left|."""
    size, angle = max(norm(left), TINY), cosine(left, right)
    other = max(norm(right), TINY)
    return [(b / other - angle * a / size) / size for a, b in zip(left, right, strict=True)]


def along(closure: Closure, gradient: Callable[[], Gradients], vector: Gradients, difference: float) -> Gradients:
    """H v, the derivative of a gradient along a vector: a central difference, `difference` of the weights' own norm on either side."""
    length = norm(vector)
    if length <= TINY:
        return [torch.zeros_like(one) for one in vector]
    reach = difference * norm([p.detach() for p in closure.parameters]) / length
    with closure.moved(vector, reach):
        ahead = gradient()
    with closure.moved(vector, -reach):
        behind = gradient()
    return [(a - b) / (2 * reach) for a, b in zip(ahead, behind, strict=True)]


def cosine_slope(closure: Closure, kept: Gradients, gone: Gradients) -> Gradients:
    """The derivative of cos(g_r, g_f) in the weights, given both gradients there; four more gradients."""
    difference = closure.params["difference"]
    bent = (
        along(closure, lambda: closure.gradient("retain"), towards_cosine(kept, gone), difference),
        along(closure, lambda: closure.gradient("forget"), towards_cosine(gone, kept), difference),
    )
    return [a + b for a, b in zip(*bent, strict=True)]


class Uno(Asking):
    """UNO: the gradient of NLL(retain) + penalty cos^2(g_r, g_f). With `surgery`, every other step is g_F less its part along g_r."""

    def direction(self, closure: Closure) -> Gradients:
        params = closure.params
        kept, gone = closure.gradient("retain"), closure.gradient("forget")
        if params["surgery"] and closure.number % 2:
            share = float(inner(gone, kept)) / max(float(inner(kept, kept)), TINY)
            return [f - share * r for f, r in zip(gone, kept, strict=True)]
        turn = 2 * params["penalty"] * cosine(kept, gone)
        return [r + turn * b for r, b in zip(kept, cosine_slope(closure, kept, gone), strict=True)]


# -- OFMU


class Ofmu(Asking):
    """OFMU, two levels. Inner: `inner_steps` steps of ascent, at inner_rate, on Phi = NLL(y_f) - similarity cos(g_f, g_r). Outer: the
    gradient of NLL(retain) + penalty_k |grad Phi|^2, penalty_k = penalty growth^k at step k.
    """

    def direction(self, closure: Closure) -> Gradients:
        params = closure.params
        for _ in range(params["inner_steps"]):
            way = self.rise(closure)
            with torch.no_grad():
                for parameter, one in zip(closure.parameters, way, strict=True):
                    parameter.add_(one, alpha=params["inner_rate"])
        kept, slope = closure.gradient("retain"), self.rise(closure)
        weight = params["penalty"] * params["growth"] ** closure.number
        bent = along(closure, lambda: self.rise(closure), slope, params["difference"])
        return [r + 2 * weight * b for r, b in zip(kept, bent, strict=True)]

    def rise(self, closure: Closure) -> Gradients:
        """The gradient of Phi. The forget side's own loss is -NLL, so that its gradient, and the cosine, have the other sign."""
        kept, gone = closure.gradient("retain"), closure.gradient("forget")
        similarity = closure.params["similarity"]
        return [similarity * b - g for g, b in zip(gone, cosine_slope(closure, kept, gone), strict=True)]


# -- DTO


class DirectTokens(Asking):
    """DTO: ascent on target tokens, without its part against what keeps the other tokens, plus the latter."""

    def direction(self, closure: Closure) -> Gradients:
        on = ("forget", "unasked")
        closure.losses["forget"] = closure.value("forget")
        gone, kept = closure.gradient("forget", targets_alone, on), closure.gradient("forget", others_kept, on)
        against = min(0.0, float(inner(gone, kept))) / max(float(inner(kept, kept)), TINY)
        return [g - against * k + k for g, k in zip(gone, kept, strict=True)]


# -- MUDMAN


class Mudman(torch.optim.Optimizer):
    """MUDMAN (arXiv 2506.12484): forgetting learned on an adversary that relearns, where it does not disturb what is kept.

    Kept for each parameter: the retain gradient's running mean a, and the adversary phi, which begins at the weights every
    `fork_every` steps. A step: a <- momentum a + (1 - momentum) g_r, theta <- theta - retain_rate a; at phi the gradients of NLL(y_f)
    and of the forget loss, g; phi <- phi - adversary_rate of the former; theta <- theta - lr g / |g| where g and a have one sign.
    """

    asks = True

    def __init__(self, parameters: Iterable[nn.Parameter], lr: float) -> None:
        super().__init__(list(parameters), {"lr": lr})

    def step(self, closure: Closure) -> None:  # type: ignore[override]
        params, mine = closure.params, closure.parameters
        fork = closure.number % params["fork_every"] == 0
        kept = closure.gradient("retain")
        with torch.no_grad():
            for parameter, gradient in zip(mine, kept, strict=True):
                state = self.state[parameter]
                mean = state.get("mean", torch.zeros_like(parameter))
                if fork:
                    state["adversary"] = parameter.detach().clone()
                state["mean"] = params["momentum"] * mean + (1 - params["momentum"]) * gradient
                parameter.sub_(params["retain_rate"] * state["mean"])
        away = [self.state[p]["adversary"] - p.detach() for p in mine]
        with closure.moved(away, 1.0):
            learned, gone = closure.gradient("forget", nll), closure.gradient("forget")
        size = max(norm(gone), TINY)
        rate = self.param_groups[0]["lr"]
        with torch.no_grad():
            for parameter, relearn, gradient in zip(mine, learned, gone, strict=True):
                state = self.state[parameter]
                state["adversary"] = state["adversary"] - params["adversary_rate"] * relearn
                agree = gradient.sign() == state["mean"].sign()
                parameter.sub_(rate / size * torch.where(agree, gradient, 0.0))


def mudman(parameters: Iterable[nn.Parameter], settings: TrainSettings) -> torch.optim.Optimizer:
    """`Mudman` with the settings' learning rate."""
    return Mudman(parameters, settings.learning_rate)


# -- rates


class AutoRate(Asking):
    """AutoLR of NGDiff (arXiv 2410.22086): the step's length is where a parabola through three retain losses is least.

    Every `rate_every` steps: with the update d, L(theta), L(theta - d) and L(theta + d) give the factor
    (L(+d) - L(-d)) / (2 [L(+d) - 2 L(theta) + L(-d)]) on d. It is taken where parabola and factor are above 0, and holds until the
    next one; 0 for `rate_every` leaves the rate alone.
    """

    def direction(self, closure: Closure) -> Gradients:
        return closure.gradient()

    def step(self, closure: Closure) -> None:  # type: ignore[override]
        every, mine = closure.params["rate_every"], closure.parameters
        first = self.state[mine[0]]
        factor = float(first.get("factor", torch.ones(())))
        scheduled = [group["lr"] for group in self.param_groups]
        for group in self.param_groups:
            group["lr"] = group["lr"] * factor
        before = [p.detach().clone() for p in mine]
        super().step(closure)
        if every and closure.number % every == 0:
            update = [old - p.detach() for old, p in zip(before, mine, strict=True)]
            there = closure.value("retain")
            with closure.moved(update, 1.0):
                here = closure.value("retain")
            with closure.moved(update, 2.0):
                back = closure.value("retain")
            found = parabola(here, there, back)
            if found is not None:
                with torch.no_grad():
                    for parameter, old, way in zip(mine, before, update, strict=True):
                        parameter.copy_(old - found * way)
                factor *= found
        self.state[mine[0]]["factor"] = torch.tensor(factor, dtype=torch.float64)
        for group, rate in zip(self.param_groups, scheduled, strict=True):
            group["lr"] = rate


def parabola(here: float, ahead: float, behind: float) -> float | None:
    """Where the parabola through the losses at 0, 1 and -1 is least; None where it has no minimum above 0."""
    bend = behind - 2 * here + ahead
    place = (behind - ahead) / (2 * bend) if bend > 0 else 0.0
    return place if place > 0 else None


class ZerothOrder(Asking):
    """Steps without gradients (arXiv 2510.00761): the mean over `queries` of (f(theta + mu u) - f(theta - mu u)) / (2 mu) u, u random
    of length 1, times the number of entries. `hybrid` N above 0: N steps by the gradient, then N without, again and again.
    """

    def direction(self, closure: Closure) -> Gradients:
        params, mine = closure.params, closure.parameters
        if params["queries"] < 1 or not params["reach"] > 0:
            raise InputError(
                f"queries must be at least 1 and reach above 0, got {params['queries']!r} and {params['reach']!r}."
            )
        block = params["hybrid"]
        if block and closure.number // block % 2 == 0:
            return closure.gradient()
        total = [torch.zeros_like(p) for p in mine]
        for query in range(params["queries"]):
            way, count = closure.unit(f"{closure.seed}/{closure.number}/{query}")
            with closure.moved(way, params["reach"]):
                ahead = closure.value("")
            with closure.moved(way, -params["reach"]):
                behind = closure.value("")
            slope = (ahead - behind) / (2 * params["reach"]) * count / params["queries"]
            for sum_, one in zip(total, way, strict=True):
                sum_.add_(one, alpha=slope)
        return total
