"""Control: strength by a scan over prefixes, the share by a scan over shares, and weights as they were afterwards."""

from itertools import product

import numpy as np
import pytest
import torch

from leakatk.errors import InputError
from leakatk.metrics import control as c
from leakatk.metrics.base import Evidence, evaluate
from leakatk.metrics.memorisation import extraction_strength
from leakatk.metrics.pieces import Answer
from leakatk.models.load import load_model
from leakatk.models.token_stats import answer_pairs, token_stats
from leakatk.models.weights import weights_hash
from leakatk.small.architecture import save_model
from tests.metrics.conftest import WORLD, learned
from tests.metrics.test_contract import WHOLE


def common(a, b):
    """Length of the longest common subsequence, by trying all."""
    best = 0
    for picks in product([0, 1], repeat=len(a)):
        some = [x for x, pick in zip(a, picks, strict=True) if pick]
        rest = iter(b)
        if all(x in rest for x in some):
            best = max(best, len(some))
    return best


@pytest.mark.parametrize("least", [0.5, 0.8, 1.0])
def test_similar_strength_by_all_subsequences(least):
    rng = np.random.default_rng(0)
    for _ in range(20):
        ids = rng.integers(0, 3, 5).tolist()
        said = [rng.integers(0, 3, 5 - k).tolist() for k in range(5)]
        fitting = [k for k in range(5) if common(said[k], ids[k:]) / (5 - k) >= least]
        assert c.similar_strength(ids, said, least) == (1 - fitting[0] / 5 if fitting else 0)
    assert np.isnan(c.similar_strength([], []))


def test_other_wordings_by_hand(half_learned):
    found = evaluate(Evidence(half_learned), WHOLE, metrics=["extraction_reworded"])
    each = []
    for p in WHOLE.forget:
        stats = token_stats(half_learned, answer_pairs(half_learned, p.paraphrases, [p.answer] * 3))
        each.append(extraction_strength([one.correct[:-1] for one in stats]))
    assert found["extraction_reworded"] == pytest.approx(np.mean(each))
    assert found["extraction_reworded_most"] == pytest.approx(np.mean(np.max(each, axis=1)))
    assert found["extraction_similar"] >= found["extraction_reworded"], "it learned this wording, and nearly is enough"


@pytest.mark.parametrize("bound", [0.0, 0.1, 0.5, 0.99, 1.0])
def test_the_smallest_share_by_a_scan(bound):
    found = c.smallest_share(lambda share: share >= bound, tries=8)
    fitting = [i / 256 for i in range(257) if i / 256 >= bound]
    assert found == fitting[0]


@pytest.fixture(scope="module")
def models(tokenizer, tmp_path_factory):
    """One that knows both sets, saved; one whose weights are noise away from it."""
    pairs = [(p.question, p.answer) for p in (*WHOLE.forget, *WHOLE.retain_held)]
    original, place = learned(tokenizer, pairs, steps=120), tmp_path_factory.mktemp("control") / "original"
    save_model(original.model, tokenizer, place)
    moved = load_model(place, device="cpu")
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for value in moved.model.parameters():
            value.add_(0.1 * torch.randn(value.shape, generator=generator))
    return load_model(place, device="cpu"), moved


def test_weights_are_mixed_until_as_much_is_kept_and_then_put_back(models):
    original, moved = models
    before = weights_hash(moved.model.state_dict())
    evidence = Evidence(moved, beside={"original": [Evidence(original)]})
    found = evaluate(evidence, WHOLE, metrics=["control"])
    assert weights_hash(moved.model.state_dict()) == before
    start, end = (dict(one.model.named_parameters()) for one in models)
    mixed = load_model(original.name, device="cpu")

    def strength(share, prompts):
        with torch.no_grad():
            for name, value in mixed.model.named_parameters():
                value.copy_(share * start[name] + (1 - share) * end[name])
        stats = token_stats(mixed, answer_pairs(mixed, [p.question for p in prompts], [p.answer for p in prompts]))
        return np.mean(extraction_strength([one.correct[:-1] for one in stats]))

    share = found["control_share"]
    kept = WHOLE.retain_held
    assert 0 < share <= 1
    assert strength(0.0, kept) < 0.95 * strength(1.0, kept), "the noise is felt"
    assert strength(share, kept) >= 0.95 * strength(1.0, kept) > strength(share - 1 / 256, kept) * 1.0
    assert found["controlled_forget"] == pytest.approx(strength(share, WHOLE.forget))
    assert found["controlled_retain"] == pytest.approx(strength(share, kept))
    assert found["control_retain_original"] == pytest.approx(strength(1.0, kept))


def test_a_model_that_keeps_enough_is_left_alone_and_another_shape_refused(models, half_learned):
    original, _ = models
    found = evaluate(Evidence(original, beside={"original": [Evidence(original)]}), WHOLE, metrics=["control"])
    assert found["control_share"] == 0
    part = (Answer(WORLD.forget[0].question, WORLD.forget[0].answer),)
    wide = learned(half_learned.tokenizer)
    wide.model.lm_head.weight = torch.nn.Parameter(torch.zeros(8, 48))
    with pytest.raises(InputError, match="has other weights than m"):
        Evidence(wide).get([c.Controlled(part, part, original.name, "x")])
