"""Hidden-state terms beyond RMU's: towards noise, a centroid, other people's codes, away from the start.

What a term needs besides the batch was made before the first step (`Train.gather`) and stands among the method's numbers.
States are those after layer `layer`.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn.functional import cosine_similarity, logsigmoid, normalize

from leakatk.unlearning.losses import hidden
from leakatk.unlearning.losses.terms import Params
from leakatk.unlearning.losses.token import label_logprobs
from leakatk.unlearning.view import View, each_answer


def last_state(view: View, layer: int) -> Tensor:
    """(B, d) the states at the last token of the prompts, float32."""
    return view.hidden(layer)[:, view.batch.start - 1].float()


def _chosen(view: View, values: Tensor) -> Tensor:
    """Of values (n, ...), one a prompt of the view's set, those of the batch's rows."""
    return values.to(view.labels.device)[list(view.rows)]


# -- states of noise (I2I)


@each_answer
def to_noise_states(view: View, noise: View, p: Params) -> Tensor:
    """I2I (arXiv 2402.00351): E |h - h_ref(n)|^2 / d, n as many random tokens, place by place."""
    target = noise.reference.hidden(p["layer"])
    return hidden.masked_mse(view.hidden(p["layer"]), target, view.positions(p["positions"]), view.mean)


# -- the nearest centroid (DUCK)


@each_answer
def to_nearest_centroid(view: View, p: Params) -> Tensor:
    """DUCK (arXiv 2312.02052): E [1 - cos(h, c)], h at the last prompt token, c the centroid that the prompt was given."""
    centroids = _chosen(view, p["nearest"]).float()
    return (1 - cosine_similarity(last_state(view, p["layer"]), centroids, dim=-1)).mean()


@each_answer
def cool_nll(view: View, p: Params) -> Tensor:
    """-<log softmax(z / temperature)[y_t]>"""
    return view.mean(-view.of_tokens(lambda logits, labels: label_logprobs(logits / p["temperature"], labels)))


# -- contrast (FALCON)


@each_answer
def steered_away(view: View, p: Params) -> Tensor:
    """FALCON (arXiv 2502.01472): E <-log sigma([cos(h, v) - cos(h, h_ref)] / temperature)>, which is InfoNCE with v as the positive and the
    start's state as the negative.
    """
    states, start = view.hidden(p["layer"]).float(), view.reference.hidden(p["layer"]).float()
    near = cosine_similarity(states, p["direction"].to(states), dim=-1)
    far = cosine_similarity(states, start, dim=-1)
    values: Tensor = -logsigmoid((near - far) / p["temperature"])
    return view.mean(values, view.positions(p["positions"]))


@each_answer
def same_direction(view: View, p: Params) -> Tensor:
    """E <1 - cos(h, h_ref)>"""
    states, start = view.hidden(p["layer"]).float(), view.reference.hidden(p["layer"]).float()
    return view.mean(1 - cosine_similarity(states, start, dim=-1), view.positions(p["positions"]))


@each_answer
def other_direction(view: View, p: Params) -> Tensor:
    """KUDA (arXiv 2602.19275): E <max(0, cos(h, h_ref))> / temperature"""
    states, start = view.hidden(p["layer"]).float(), view.reference.hidden(p["layer"]).float()
    values = torch.relu(cosine_similarity(states, start, dim=-1)) / p["temperature"]
    return view.mean(values, view.positions(p["positions"]))


# -- densities of features (LAF)


def density_distance(states: Tensor, mean: Tensor, precision: Tensor) -> Tensor:
    """(B,) the squared Mahalanobis distance of states (B, d), divided by d."""
    left = states - mean.to(states)
    return ((left @ precision.to(states)) * left).mean(-1)


@each_answer
def among_the_others(view: View, p: Params) -> Tensor:
    """LAF: E [D_r(h) - min(D_f(h), most)], D the squared distance to the density of the retain set's or the forget set's states."""
    states = last_state(view, p["layer"])
    kept = density_distance(states, p["retain_mean"], p["retain_precision"])
    gone = density_distance(states, p["forget_mean"], p["forget_precision"])
    return (kept - gone.clamp_max(p["most"])).mean()


def told_apart(retain: View, forget: View, p: Params) -> Tensor:
    """LAF: -E log [e(h, h_ref) / (e(h, h_ref) + sum_f e(h, h_f))], e = exp(cos / temperature), h_f the forget states of the batch."""
    own = normalize(last_state(retain, p["layer"]), dim=-1)
    start = normalize(last_state(retain.reference, p["layer"]), dim=-1)
    others = normalize(last_state(forget, p["layer"]), dim=-1)
    same = (own * start).sum(-1, keepdim=True) / p["temperature"]
    both = torch.cat([same, own @ others.T / p["temperature"]], dim=1)
    return -both.log_softmax(1)[:, 0].mean()


# -- codes of a sparse autoencoder


def state_before(view: View, layer: int, backs: Tensor, at: str = "block") -> Tensor:
    """(B, d) the states at one token of each prompt. backs: how many tokens it is before the prompt's last; at: as of `View.hidden`."""
    columns = view.batch.start - 1 - _chosen(view, backs)
    states = view.hidden(layer, at=at)
    found: Tensor = states[torch.arange(len(columns), device=states.device), columns].float()
    return found


@each_answer
def towards_unknown(view: View, p: Params) -> Tensor:
    """E [|z - mu_u|^2 - contrast |z - mu_k|^2], z the codes of the subject's state, mu those of unknown and known subjects."""
    codes = p["sparse"].encode(state_before(view, p["layer"], p["backs"]))
    near = (codes - p["unknown_codes"].to(codes)).square().sum(-1)
    far = (codes - p["known_codes"].to(codes)).square().sum(-1)
    found: Tensor = (near - p["contrast"] * far).mean()
    return found


# -- what comes next, foreseen (Align-then-Unlearn)


def foreseen(number: int) -> Callable[[View, Params], Tensor]:
    """Align-then-Unlearn (arXiv 2506.13181): <max(0, cos(E(h_t), e) - thresholds[number])>, E the aligner, e the prompt's target."""

    @each_answer
    def loss(view: View, p: Params) -> Tensor:
        mask = view.positions("all")
        said = p["aligner"](view.hidden(p["layer"]).float(), mask)
        target = _chosen(view, p["concepts"]).to(said)[:, None]
        return view.mean(torch.relu(cosine_similarity(said, target, dim=-1) - p["thresholds"][number]), mask)

    return loss
