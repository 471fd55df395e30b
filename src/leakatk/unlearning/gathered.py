"""Gathered states: what is made of hidden states before the first step, for `Train.gather`.

All of it is a function of the model at that moment and of the data, so that a resumed run makes it again, bit for bit.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from leakatk.arrays import Floats
from leakatk.errors import InputError
from leakatk.models.sparse import SparseSettings, fit_sparse
from leakatk.prompts import Prompt
from leakatk.unlearning.chance import generator_of
from leakatk.unlearning.losses.states import last_state, state_before
from leakatk.unlearning.rehearsal.subjects import Forms
from leakatk.unlearning.selection import views
from leakatk.unlearning.streams import decoder_layers
from leakatk.unlearning.view import View

if TYPE_CHECKING:
    from leakatk.unlearning.work import Work


def states_of(work: Work, stream: str, of: Callable[[View], Tensor]) -> Tensor:
    """(n, d) what a function of a view (B, d) gives for all prompts of a stream in order, float64, without a gradient."""
    return torch.cat([of(view).detach().double() for view in views(work, stream)])


def last_states(work: Work, stream: str, layer: int) -> Tensor:
    """(n, d) the states after a layer at the last token of each prompt of a stream."""
    return states_of(work, stream, lambda view: last_state(view, layer))


def token_states(work: Work, stream: str, layer: int, which: str = "all", at: str = "block") -> Tensor:
    """(N, d) the states of a layer at all tokens of a stream's texts, float64.

    which: as of `View.positions`, or "prompt".  at: as of `View.hidden`.
    """

    def chosen(view: View) -> Tensor:
        mask = view.positions("all") if which == "prompt" else view.positions(which)
        if which == "prompt":
            mask = mask & ~view.positions("answer")
        return view.hidden(layer, at=at)[mask]

    return states_of(work, stream, chosen)


# -- DUCK


def classes_of(prompts: Sequence[Prompt], questions: Sequence[str]) -> list[str]:
    """Of each prompt its class: whom it is about (`source`, else the question's subject), or else its own id."""
    forms = Forms(questions)
    return [prompt.source or forms.subject(prompt) or prompt.id for prompt in prompts]


def nearest_centroids(work: Work) -> dict[str, Tensor]:
    """ "nearest" (n, d): of each forget prompt the centroid of the retain class, other than its own, nearest by cosine.

    A class's centroid is the mean state at the last prompt token. InputError where there is no other class.
    """
    layer = work.params["layer"]
    questions = [prompt.question for prompt in (*work.forget, *work.retain)]
    own, kept = classes_of(work.forget, questions), classes_of(work.retain, questions)
    names = sorted(set(kept))
    states = last_states(work, "retain", layer)
    centroids = torch.stack([states[[i for i, one in enumerate(kept) if one == name]].mean(0) for name in names])
    unit = torch.nn.functional.normalize(centroids, dim=-1)
    near = torch.nn.functional.normalize(last_states(work, "forget", layer), dim=-1) @ unit.T
    for row, name in enumerate(own):
        if name in names:
            near[row, names.index(name)] = -math.inf
    if bool(near.isinf().all(1).any()):
        raise InputError("DUCK needs a retain class besides the forget prompts' own; give retain prompts of others.")
    return {"nearest": centroids[near.argmax(1)].float()}


# -- LAF


def density(states: Tensor, shrinkage: float) -> tuple[Tensor, Tensor]:
    """(mean (d,), precision (d, d)) of a normal density of states (n, d), its covariance drawn towards a multiple of the identity.

    InputError for a shrinkage outside (0, 1], or states that are all alike.
    """
    if not 0 < shrinkage <= 1:
        raise InputError(f"shrinkage must be above 0 and at most 1, got {shrinkage!r}.")
    mean = states.mean(0)
    left = states - mean
    covariance = left.T @ left / len(states)
    scale = covariance.diagonal().mean()
    if not float(scale) > 0:
        raise InputError("A density needs states that differ; give at least two prompts of each set.")
    eye = torch.eye(len(mean), dtype=states.dtype, device=states.device)
    return mean, torch.linalg.inv((1 - shrinkage) * covariance + shrinkage * scale * eye)


def densities(work: Work) -> dict[str, Tensor]:
    """ "forget_mean", "forget_precision" and those of the retain set: densities of the states at the last prompt token."""
    found = {}
    for stream in ("forget", "retain"):
        mean, precision = density(last_states(work, stream, work.params["layer"]), work.params["shrinkage"])
        found[f"{stream}_mean"], found[f"{stream}_precision"] = mean.float(), precision.float()
    return found


# -- FALCON


def steering(gram: Tensor, noise: Tensor, strength: float = 1000.0, count: int = 1000, times: int = 6) -> Tensor:
    """(d,) FALCON's steering vector of length 1, from the Gram matrix (d, d) of the forget states.

    P = tanh(I + strength sum_i sigma(S_i / S_0) v_i v_i' + noise), S and v the singular values and right vectors of the states, at most
    `count` of them; then `times` times v <- tanh(v P) / |tanh(v P)|, from ones. noise (d, d).
    """
    values, vectors = torch.linalg.eigh(gram)
    order = values.argsort(descending=True)[:count]
    sizes = values[order].clamp_min(0).sqrt()
    used = sizes > sizes[0] * 1e-7  # the states may span less than all directions
    kept, weights = vectors[:, order[used]], strength * torch.sigmoid(sizes[used] / sizes[0])
    eye = torch.eye(len(gram), dtype=gram.dtype, device=gram.device)
    turn = torch.tanh(eye + (kept * weights) @ kept.T + noise)
    vector = torch.full((len(gram),), len(gram) ** -0.5, dtype=gram.dtype, device=gram.device)
    for _ in range(times):
        vector = torch.tanh(vector @ turn)
        vector = vector / (vector.norm() + 1e-6)
    return vector


def steered(work: Work) -> dict[str, Any]:
    """ "direction" (d,), and "layer" where `pick` says that it is to be found. InputError for another pick."""
    params = work.params
    if params["pick"] not in ("given", "information"):
        raise InputError(f"pick must be given or information, got {params['pick']!r}.")
    layer = params["layer"]
    if params["pick"] == "information":
        shared = [shared_information(work, number) for number in range(len(decoder_layers(work.loaded.model)))]
        layer = int(np.argmin(shared))
        work.notes.append(
            f"falcon takes layer {layer}, where forget and retain states share least: {shared[layer]:.3f} nats, the most is {max(shared):.3f}."
        )
    states = token_states(work, "forget", layer)
    size = states.shape[1]
    noise = params["noise"] * torch.randn(size, size, generator=generator_of(work.seed, "steering"))
    vector = steering(states.T @ states, noise.to(states))
    return {"direction": vector.float(), "layer": layer}


def shared_information(work: Work, layer: int) -> float:
    """Mutual information, in nats, of forget and retain states after a layer at the last prompt token."""
    forget, retain = (last_states(work, stream, layer).cpu().numpy() for stream in ("forget", "retain"))
    return mutual_information(forget, retain)


def mutual_information(left: Floats, right: Floats, components: int = 2) -> float:
    """H(X) + H(Y) - H(X, Y) of states (n, d) and (m, d), paired in order up to the shorter one.

    Entropies are means of -log density of Gaussian kernel estimates, on the first principal components of each.
    InputError for fewer than three pairs, which have no such density.
    """
    from scipy.stats import gaussian_kde

    count = min(len(left), len(right))
    size = min(components, (count - 1) // 2)  # the joint estimate has twice as many, and needs more points than that
    if size < 1:
        raise InputError(f"Shared information needs at least three prompts of each set, got {count}; take pick=given.")

    def principal(states: Floats) -> Floats:
        centred = states - states.mean(axis=0)
        *_, axes = np.linalg.svd(centred, full_matrices=False)
        found: Floats = centred @ axes[:size].T
        return found

    def entropy(values: Floats) -> float:
        return float(-np.mean(gaussian_kde(values.T).logpdf(values.T)))

    x, y = principal(left[:count]), principal(right[:count])
    return entropy(x) + entropy(y) - entropy(np.hstack([x, y]))


# -- subjects, and their codes in a sparse autoencoder


@dataclass(frozen=True)
class Subjects:
    """Where subjects end, in tokens before their prompt's last one: of the forget and retain prompts, and of the stream "nobody"."""

    forget: Tensor
    retain: Tensor
    invented: Tensor
    told: list[bool]
    """Of each forget prompt, whether anything tells its subject; the others stay as they are in "nobody"."""


def subjects_of(work: Work) -> Subjects:
    """The subjects of all prompts. InputError where no forget prompt tells its own; a note counts those that do not."""
    forms, own = Forms([p.question for p in (*work.forget, *work.retain)]), Forms([p.question for p in work.forget])
    told = [bool(own.subject(prompt)) for prompt in work.forget]  # as the stream of invented names has it
    if not any(told):
        raise InputError(
            "Nothing tells whom the forget prompts ask about; give them a source that stands in the question, or several of one form."
        )
    if not all(told):
        work.notes.append(
            f"{told.count(False)} of {len(told)} forget prompts do not tell whom they ask about; they are left out where subjects are compared."
        )
    items = zip(work.streams.items("forget"), work.streams.items("nobody"), strict=True)
    return Subjects(
        forget=_backs(work, "forget", [own.subject(prompt) for prompt in work.forget]),
        retain=_backs(work, "retain", [forms.subject(prompt) for prompt in work.retain]),
        invented=torch.tensor([_shared_end(one.prompt, other.prompt) for one, other in items]),
        told=told,
    )


def _backs(work: Work, stream: str, subjects: Sequence[str]) -> Tensor:
    """(n,) how many tokens before its prompt's last one each subject ends; 0 where it is "" or does not stand there."""
    found = []
    for item, subject in zip(work.streams.items(stream), subjects, strict=True):
        text = [work.streams.text(item.prompt[: i + 1]) for i in range(len(item.prompt))]
        ends = [i for i, said in enumerate(text) if subject and subject in said]
        found.append(len(item.prompt) - 1 - ends[0] if ends else 0)
    return torch.tensor(found)


def _shared_end(before: Sequence[int], after: Sequence[int]) -> int:
    """How many tokens at the end two sequences share: where a name was exchanged for another, its last token stands before them."""
    most = min(len(before), len(after)) - 1
    count = next((i for i in range(most) if before[-1 - i] != after[-1 - i]), most)
    return count if count < most else 0


def known_and_unknown(work: Work) -> dict[str, Any]:
    """ "sparse" an autoencoder of states, "backs" where each forget subject stands, "unknown_codes" and "known_codes" (m,) mean codes.

    Unknown subjects are the forget subjects with other letters, known ones those of both sets; the autoencoder is trained on the
    prompts' tokens of all. Subjects that nothing tells are left out of the unknown mean.
    """
    params, layer, subjects = work.params, work.params["layer"], subjects_of(work)
    places = {"forget": subjects.forget, "retain": subjects.retain, "nobody": subjects.invented}
    settings = SparseSettings(
        features=params["features"], top=params["top"], steps=params["autoencoder_steps"], seed=work.seed
    )
    sparse = fit_sparse(torch.cat([token_states(work, stream, layer, "prompt") for stream in places]), settings)
    codes = {}
    for stream, backs in places.items():
        at_subject = states_of(work, stream, partial(state_before, layer=layer, backs=backs))
        codes[stream] = sparse.encode(at_subject.float())
    return {
        "sparse": sparse, "backs": subjects.forget,
        "unknown_codes": codes["nobody"][torch.tensor(subjects.told)].mean(0),
        "known_codes": torch.cat([codes["forget"], codes["retain"]]).mean(0),
    }  # fmt: skip
