import numpy as np
import pytest
import torch

from leakatk.attacks import get_attack
from leakatk.attacks.activations import logits, texts
from leakatk.attacks.patch import answered, recovered
from leakatk.errors import InputError
from leakatk.models.load import load_model
from leakatk.prompts import Known
from leakatk.sampling.greedy import greedy_texts
from tests.tiny import PROMPTS, save_tiny_model


@pytest.fixture(scope="module")
def two(tmp_path_factory):
    """Two models of the same embeddings, norm and output: they differ within their layers."""
    place = tmp_path_factory.mktemp("patch")
    models = [load_model(save_tiny_model(place / str(seed), seed=seed), device="cpu") for seed in (0, 1)]
    with torch.no_grad():
        models[1].model.model.embed_tokens.weight.copy_(models[0].model.model.embed_tokens.weight)
    models[1].model.save_pretrained(place / "1")
    return models


def given_of(original, tokens=4):
    return texts(original, answered(original, PROMPTS, tokens))


@pytest.mark.parametrize("parts", [["state"], ["coefficients", "attention", "values"], ["attention", "mlp"]])
def test_with_all_layers_patched_the_score_is_that_of_the_original(two, parts):
    mine, original = two
    found = recovered(mine, original, given_of(original), [range(2)], parts)
    np.testing.assert_allclose(found, 1, atol=1e-9)


def test_krs_by_hand(two):
    mine, original = two
    given = given_of(original)
    wanted, plain = logits(original, given).numpy(), logits(mine, given).numpy()
    kept = []
    layer = original.model.model.layers[1].mlp.down_proj
    handle = layer.register_forward_pre_hook(lambda _m, inputs: kept.append(inputs[0].clone()))
    logits(original, given)
    handle.remove()
    handle = mine.model.model.layers[1].mlp.down_proj.register_forward_pre_hook(lambda _m, _i: (kept[0],))
    patched = logits(mine, given).numpy()
    handle.remove()
    [found] = recovered(mine, original, given, [[1]], ["coefficients"])
    at = 0
    for row, count in enumerate(given.wanted.sum(1).tolist()):
        part = slice(at, at + count)
        square = [np.mean((one[part] - wanted[part]).astype(float) ** 2) for one in (patched, plain)]
        assert found[row] == pytest.approx(1 - square[0] / square[1], rel=1e-6)
        assert found[row] != pytest.approx(1 - square[1] / square[0], rel=1e-2)  # a mutant that swaps them
        at += count


def test_what_is_compared_are_the_tokens_that_the_original_says(two):
    _, original = two
    for (ids, places), prompt, said in zip(
        answered(original, PROMPTS, 4), PROMPTS, greedy_texts(original, PROMPTS, 4), strict=True
    ):
        before = original.template.prompt_ids(original.tokenizer, prompt.query)
        assert ids[: len(before)] == before
        assert places == list(range(len(before) - 1, len(ids)))
        assert len(places) <= 4
        spoken = original.tokenizer.decode(ids[len(before) :], skip_special_tokens=True).strip()
        assert said.strip().startswith(spoken)


def test_a_model_that_is_the_original_has_nothing_to_recover(two):
    _, original = two
    known = Known(forget=tuple(PROMPTS), unseen=tuple(PROMPTS), original=original.name)
    reading = get_attack("patch").read(original, known)
    assert np.isnan(reading.scores).all()
    assert any("3 prompts have the original's logits" in note for note in reading.notes)


def test_windows_are_named_and_the_best_is_said(two):
    mine, original = two
    known = Known(forget=tuple(PROMPTS), unseen=tuple(PROMPTS), original=original.name)
    reading = get_attack("patch:window=1,tokens=4").read(mine, known)
    assert list(reading.profile) == ["layer 0", "layer 1"]
    best = max(reading.profile, key=lambda name: reading.profile[name].mean())
    np.testing.assert_allclose(reading.scores, np.clip(reading.profile[best], 0, 1))
    assert reading.notes == (f"the largest mean KRS is in {best}.",)


def test_a_part_that_there_is_not_is_refused():
    with pytest.raises(InputError, match="heads"):
        get_attack("patch:part=attention+heads")
