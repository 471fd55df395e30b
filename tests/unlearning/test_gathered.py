"""What is made of states before the first step, each a second time: prompts one at a time, singular values, kernels by hand."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from leakatk.errors import InputError
from leakatk.unlearning.gathered import (
    classes_of,
    density,
    known_and_unknown,
    last_states,
    mutual_information,
    nearest_centroids,
    steered,
    steering,
)
from leakatk.unlearning.losses.states import density_distance
from leakatk.unlearning.losses.targets import invented
from leakatk.unlearning.settings import TrainSettings
from leakatk.unlearning.streams import Streams
from leakatk.unlearning.work import Work

FALCON = {"layer": 0, "pick": "given", "noise": 0.01, "per": "answer"}
CODES = {"layer": 0, "features": 64, "top": 4, "autoencoder_steps": 20, "per": "answer"}


def work_of(loaded, forget, retain, **params):
    streams = Streams(forget, retain, loaded.tokenizer, loaded.template, seed=0)
    return Work(loaded, forget, retain, streams, TrainSettings(max_steps=1), params, 0)


def states(loaded, ids, layer=0):
    """(L, d) after a layer, of one text alone."""
    with torch.no_grad():
        out = loaded.model(input_ids=torch.tensor([list(ids)]), output_hidden_states=True)
    return out.hidden_states[layer + 1][0].double().numpy()


def last(loaded, work, stream):
    return np.stack([states(loaded, item.prompt)[-1] for item in work.streams.items(stream)])


# -- classes and centroids


def test_a_class_is_whom_a_prompt_is_about(forget):
    asked = [p.question for p in forget]
    assert classes_of(forget[:2], asked) == ["0", "1"]
    assert classes_of([replace(forget[0], source="Ada")], asked) == ["Ada"]
    assert classes_of([replace(forget[0], id="x", question="Why?")], ["Why?"]) == ["x"]


def test_the_nearest_centroid_that_is_not_the_prompts_own(loaded, forget, retain):
    gone = [replace(p, source=["A", "B", "Z", "Z", "C"][i]) for i, p in enumerate(forget)]
    kept = [replace(p, source="ABC"[i % 3]) for i, p in enumerate(retain)]
    work = work_of(loaded, gone, kept, layer=0, per="answer")
    found = nearest_centroids(work)["nearest"].double().numpy()
    rows, there = last(loaded, work, "retain"), [p.source for p in kept]
    for row, (prompt, state) in enumerate(zip(gone, last(loaded, work, "forget"), strict=True)):
        best = None
        for name in "ABC":
            if name == prompt.source:
                continue
            centre = np.mean([r for r, s in zip(rows, there, strict=True) if s == name], axis=0)
            angle = centre @ state / np.linalg.norm(centre) / np.linalg.norm(state)
            best = max(best or (-2.0, None), (angle, name), key=lambda pair: pair[0])
            if best[1] == name:
                wanted = centre
        np.testing.assert_allclose(found[row], wanted, rtol=1e-4, atol=1e-5)
    alone = work_of(loaded, [replace(p, source="A") for p in forget], [replace(p, source="A") for p in retain], layer=0)
    with pytest.raises(InputError, match="DUCK needs a retain class besides"):
        nearest_centroids(alone)


# -- densities


def test_a_density_is_mean_and_inverse_of_the_shrunk_covariance():
    x = torch.randn(12, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    mean, precision = density(x, 0.25)
    cov = np.cov(x.numpy().T, bias=True)
    shrunk = 0.75 * cov + 0.25 * np.trace(cov) / 5 * np.eye(5)
    np.testing.assert_allclose(precision.numpy(), np.linalg.inv(shrunk), rtol=1e-8)
    far = density_distance(x, mean, precision).numpy()
    centred = x.numpy() - x.numpy().mean(0)
    wanted = [row @ np.linalg.solve(shrunk, row) / 5 for row in centred]
    np.testing.assert_allclose(far, wanted, rtol=1e-6)


@pytest.mark.parametrize("shrinkage", [0.0, 1.5])
def test_a_share_that_makes_no_sense(shrinkage):
    with pytest.raises(InputError, match="shrinkage must be above 0"):
        density(torch.randn(4, 3), shrinkage)
    with pytest.raises(InputError, match="states that differ"):
        density(torch.ones(4, 3), 0.1)


# -- FALCON


def test_the_steering_vector_by_singular_values():
    draws = torch.Generator().manual_seed(0)
    x, noise = torch.randn(7, 5, generator=draws).double(), 0.01 * torch.randn(5, 5, generator=draws).double()
    _, s, v = np.linalg.svd(x.numpy(), full_matrices=False)
    turn = np.eye(5) + noise.numpy()
    for size, way in zip(s, v, strict=True):
        turn += 1000 / (1 + math.exp(-size / s[0])) * np.outer(way, way)
    vector = np.ones(5) / math.sqrt(5)
    for _ in range(6):
        vector = np.tanh(vector @ np.tanh(turn))
        vector /= np.linalg.norm(vector) + 1e-6
    np.testing.assert_allclose(steering(x.T @ x, noise).numpy(), vector, rtol=1e-6)
    assert not np.allclose(steering(x.T @ x, noise, strength=0.0).numpy(), vector, atol=1e-2)


def kernel_entropy(x):
    """-mean log density of Gaussian kernels with Scott's bandwidth, one pair at a time."""
    n, d = x.shape
    cov = np.atleast_2d(np.cov(x.T)) * n ** (-2 / (d + 4))
    inverse, scale = np.linalg.inv(cov), 1 / math.sqrt((2 * math.pi) ** d * np.linalg.det(cov))
    found = []
    for a in x:
        found.append(math.log(np.mean([scale * math.exp(-(a - b) @ inverse @ (a - b) / 2) for b in x])))
    return -np.mean(found)


def test_shared_information_by_kernels_one_by_one():
    draw = np.random.default_rng(0)
    x, y = draw.normal(size=(20, 4)), draw.normal(size=(23, 3))

    def principal(values):
        values = values - values.mean(0)
        _, axes = np.linalg.eigh(values.T @ values)
        return values @ axes[:, ::-1][:, :2]

    a, b = principal(x), principal(y[:20])
    wanted = kernel_entropy(a) + kernel_entropy(b) - kernel_entropy(np.hstack([a, b]))
    assert mutual_information(x, y) == pytest.approx(wanted, rel=1e-6)
    same = mutual_information(x, x + 0.01 * draw.normal(size=x.shape))
    assert same > mutual_information(x, y) + 0.5
    with pytest.raises(InputError, match="at least three prompts"):
        mutual_information(x[:2], y)


def test_falcon_takes_the_layer_that_shares_least(loaded, forget, retain):
    work = work_of(loaded, forget, retain, **{**FALCON, "pick": "information"})
    layer = steered(work)["layer"]
    shared = [
        mutual_information(*(last_states(work, side, number).numpy() for side in ("forget", "retain")))
        for number in range(2)
    ]
    assert layer == int(np.argmin(shared))
    assert f"falcon takes layer {layer}" in work.notes[0]
    with pytest.raises(InputError, match="pick must be given or information"):
        steered(work_of(loaded, forget, retain, **{**FALCON, "pick": "best"}))


# -- codes


def test_codes_of_known_and_of_invented_subjects(loaded, forget, retain):
    forget = [replace(p, source=f"Fa {i}") for i, p in enumerate(forget)]
    retain = [replace(p, source=f"Re {i}") for i, p in enumerate(retain)]
    work = work_of(loaded, forget, retain, **CODES)
    with torch.no_grad():
        found = known_and_unknown(work)
    sparse = found["sparse"]

    def codes(stream, names):
        rows = []
        for item, name in zip(work.streams.items(stream), names, strict=True):
            ends = next(
                i for i in range(len(item.prompt)) if name in loaded.tokenizer.decode(list(item.prompt[: i + 1]))
            )
            rows.append(sparse.encode(torch.tensor(states(loaded, item.prompt)[ends]).float()))
        return torch.stack(rows)

    known = torch.cat([codes("forget", [p.source for p in forget]), codes("retain", [p.source for p in retain])])
    torch.testing.assert_close(found["known_codes"], known.mean(0), rtol=1e-3, atol=1e-4)
    names = [invented(replace(p, question=p.source), p.source, 0) for p in forget]
    assert all(a != p.source and len(a) == len(p.source) for a, p in zip(names, forget, strict=True))
    torch.testing.assert_close(found["unknown_codes"], codes("nobody", names).mean(0), rtol=1e-3, atol=1e-4)
    assert not work.notes


def test_prompts_that_name_nobody_are_counted(loaded, forget, retain):
    strange = [*forget[:4], replace(forget[4], question="Why?")]
    work = work_of(loaded, strange, retain, **CODES)
    with torch.no_grad():
        known_and_unknown(work)
        assert "1 of 5 forget prompts do not tell whom they ask about" in work.notes[0]
        with pytest.raises(InputError, match="Nothing tells whom the forget prompts ask about"):
            known_and_unknown(work_of(loaded, strange[4:], retain, **CODES))
