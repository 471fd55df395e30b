import dataclasses

import numpy as np
import pytest
import torch

from leakatk.attacks import get_attack
from leakatk.attacks.activations import logits, texts
from leakatk.attacks.concepts import Vector, added, compared, concept_tokens, concepts_of, named_vectors
from leakatk.errors import InputError
from leakatk.models.load import load_model
from leakatk.prompts import Known, Prompt
from tests.tiny import PROMPTS, save_tiny_model


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    return save_tiny_model(tmp_path_factory.mktemp("concepts") / "model")


@pytest.fixture
def planted(place, tmp_path):
    """A model one column of which writes what Ada's prompt needs, after Ada's question alone; and the directory of it."""
    loaded = load_model(place, device="cpu")
    layer = loaded.model.model.layers[1]
    inputs = []
    handle = layer.mlp.register_forward_pre_hook(lambda _m, x: inputs.append(x[0][0]))
    seams = [loaded.template.pair(loaded.tokenizer, p.question, p.answer, end=False) for p in PROMPTS]
    for seam in seams:
        loaded.model(torch.tensor([[*seam.prompt, *seam.answer]]))
    handle.remove()
    [fact] = concept_tokens(loaded, PROMPTS[:1], PROMPTS) and [sorted(concept_tokens(loaded, PROMPTS[:1], PROMPTS))]
    mine = inputs[0][len(seams[0].prompt) - 1 :].mean(0)
    others = torch.cat([x[len(s.prompt) - 1 :] for x, s in zip(inputs[1:], seams[1:], strict=True)])
    # The direction that Ada's states have and the others do not.
    basis = torch.linalg.svd(others, full_matrices=True).Vh
    free = basis[torch.linalg.matrix_rank(others) :]
    away = free.T @ (free @ mine) if len(free) else mine - others.mean(0)
    with torch.no_grad():
        layer.mlp.gate_proj.weight[7] = away / away.norm() * 20
        layer.mlp.up_proj.weight[7] = away / away.norm() * 5
        output = loaded.model.get_output_embeddings().weight
        layer.mlp.down_proj.weight[:, 7] = output[fact].mean(0) / output[fact].mean(0).norm() * 3
    loaded.model.save_pretrained(tmp_path / "planted")
    loaded.tokenizer.save_pretrained(tmp_path / "planted")
    return load_model(tmp_path / "planted", device="cpu"), str(tmp_path / "planted")


KNOWN = Known(forget=tuple(PROMPTS), unseen=tuple(PROMPTS))


def test_the_planted_vector_is_found_and_hurts_its_concept_alone(planted):
    loaded, original = planted
    tokens = {p.source: concept_tokens(loaded, [p], PROMPTS) for p in PROMPTS}
    assert named_vectors(loaded, tokens, 30, 5)["Ada"][0] == Vector(1, 7)
    reading = get_attack("concept-vectors").read(loaded, dataclasses.replace(KNOWN, original=original))
    own, others = (reading.profile[f"nats lost, {who}"][0] for who in ("own", "others"))
    assert own > 0.1
    assert abs(others) < 1e-6
    assert reading.scores[0] == 1  # it is the original
    assert reading.profile["cosine"][0] == pytest.approx(1)
    assert reading.profile["L2"][0] == 0


def test_a_vector_that_was_drowned_is_told(planted):
    loaded, original = planted
    with torch.no_grad():
        column = loaded.model.model.layers[1].mlp.down_proj.weight[:, 7]
        column.copy_(torch.randn(len(column), generator=torch.Generator().manual_seed(1)))
    reading = get_attack("concept-vectors").read(loaded, dataclasses.replace(KNOWN, original=original))
    assert reading.scores[0] < 0.3
    assert reading.profile["cosine"][0] < 0.5
    assert reading.profile["L2"][0] > 3


def test_candidates_by_brute_force(place):
    loaded = load_model(place, device="cpu")
    tokens = {p.source: concept_tokens(loaded, [p], PROMPTS) for p in PROMPTS}
    output = loaded.model.lm_head.weight.detach().numpy()
    expected = []
    for layer in range(2):
        matrix = loaded.model.model.layers[layer].mlp.down_proj.weight.detach().numpy()
        for j in range(matrix.shape[1]):
            raised = output @ matrix[:, j]
            high = set(np.argsort(-raised)[:30].tolist())
            count, mean = len(high & tokens["Bo"]), raised[sorted(tokens["Bo"])].mean()
            expected.append((-count, -mean, (layer, j)))
    assert [tuple(one) for one in named_vectors(loaded, tokens, 30, 4)["Bo"]] == [
        one[2] for one in sorted(expected)[:4]
    ]


def test_noise_beside_a_column_is_noise_in_it(place):
    loaded = load_model(place, device="cpu")
    given = texts(loaded, [([5, 9, 33, 70], [1, 2, 3])])
    noise = torch.randn(32, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    with added(loaded, Vector(0, 3), noise):
        found = logits(loaded, given)
    weight = loaded.model.model.layers[0].mlp.down_proj.weight
    before = weight.detach().clone()
    with torch.no_grad():
        weight[:, 3] += noise.float()
    np.testing.assert_allclose(found, logits(loaded, given), atol=1e-4)
    assert not torch.equal(weight, before)


def test_measures_by_hand(place, tmp_path):
    one = load_model(place, device="cpu")
    two = load_model(save_tiny_model(tmp_path / "two", seed=4), device="cpu")
    v, w = (m.model.model.layers[1].mlp.down_proj.weight[:, 5].detach().double().numpy() for m in (one, two))
    tops = [
        set(np.argsort(-(m.model.lm_head.weight.detach().double().numpy() @ x))[:25].tolist())
        for m, x in ((one, v), (two, w))
    ]
    expected = (
        len(tops[0] & tops[1]) / len(tops[0] | tops[1]),
        v @ w / np.linalg.norm(v) / np.linalg.norm(w),
        np.linalg.norm(v - w),
    )
    np.testing.assert_allclose(compared(one, two, Vector(1, 5), 25), expected, atol=1e-6)


def test_a_concept_is_a_source_and_its_tokens_are_its_own(place):
    loaded = load_model(place, device="cpu")
    alone = Prompt("x", "Who?", "Someone.")
    assert list(concepts_of([*PROMPTS, alone])) == ["Ada", "Bo", "Cy", "prompt x"]
    same = [dataclasses.replace(p, facts=(*p.facts, "Quell")) for p in PROMPTS]
    common = set(loaded.tokenizer(" Quell", add_special_tokens=False)["input_ids"])
    assert not common & concept_tokens(loaded, same[:1], same)  # what all of them hold says nothing
    assert concept_tokens(loaded, same[:1], same[:1]) >= common
    with pytest.raises(InputError, match="another concept"):
        get_attack("concept-vectors").check(Known(forget=(alone,), original="nowhere"))
