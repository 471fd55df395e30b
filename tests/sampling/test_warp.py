import numpy as np
import pytest
import torch
from scipy import stats
from transformers.generation.logits_process import (
    LogitsProcessorList,
    MinPLogitsWarper,
    RepetitionPenaltyLogitsProcessor,
    TemperatureLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
)

from leakatk.errors import ModelError
from leakatk.sampling.decoding import Decoding
from leakatk.sampling.warp import choose, draw, effective, log_probs

DECODINGS = [
    Decoding(),
    Decoding(temperature=0.3),
    Decoding(top_k=5),
    Decoding(top_p=0.8),
    Decoding(top_p=0.2, temperature=0.7),
    Decoding(min_p=0.1),
    Decoding(repetition_penalty=1.4),
    Decoding(temperature=1.7, top_k=40, top_p=0.9, min_p=0.02, repetition_penalty=0.8),
    Decoding(top_k=10_000),
]


def _reference(logits: torch.Tensor, decoding: Decoding, history: torch.Tensor) -> torch.Tensor:
    steps = LogitsProcessorList()
    if decoding.repetition_penalty != 1:
        steps.append(RepetitionPenaltyLogitsProcessor(decoding.repetition_penalty))
    steps.append(TemperatureLogitsWarper(decoding.temperature))
    if decoding.top_k:
        steps.append(TopKLogitsWarper(decoding.top_k))
    if decoding.top_p < 1:
        steps.append(TopPLogitsWarper(decoding.top_p))
    if decoding.min_p:
        steps.append(MinPLogitsWarper(decoding.min_p))
    return steps(history, logits.clone()).log_softmax(-1)


@pytest.mark.parametrize("decoding", DECODINGS, ids=lambda d: d.label)
@pytest.mark.parametrize("size", [7, 300, 1999])
def test_equals_transformers(decoding: Decoding, size: int) -> None:
    generator = torch.Generator().manual_seed(size)
    logits = torch.randn((40, size), generator=generator) * 4
    history = torch.randint(size, (40, 9), generator=generator)
    ours = log_probs(effective(logits, decoding, history)).float()
    theirs = _reference(logits, decoding, history)
    assert torch.equal(ours.isinf(), theirs.isinf())
    kept = ~theirs.isinf()
    assert torch.allclose(ours[kept], theirs[kept], atol=2e-6, rtol=1e-5)


def test_flat_rows_need_the_full_sort() -> None:
    """top-p on a nearly flat row reaches beyond the tokens looked at first."""
    logits = torch.randn((3, 5000), generator=torch.Generator().manual_seed(0)) * 0.01
    theirs = _reference(logits, Decoding(top_p=0.95), torch.zeros((3, 1), dtype=torch.long))
    assert torch.equal(effective(logits, Decoding(top_p=0.95)).isinf(), theirs.isinf())


def test_tiny_probabilities_do_not_underflow() -> None:
    """Unlearned models push answers far below the smallest float32."""
    logits = torch.tensor([[0.0, -1000.0, -5000.0]])
    assert log_probs(effective(logits, Decoding())).tolist() == [[0.0, -1000.0, -5000.0]]


def test_ties_are_kept_together() -> None:
    logits = torch.tensor([[2.0, 1.0, 1.0, 1.0, -3.0]])
    for decoding in (Decoding(top_k=2), Decoding(top_p=0.6)):
        assert effective(logits, decoding)[0].isinf().tolist() == [False, False, False, False, True]


def test_greedy_is_a_point_mass_on_the_first_maximum() -> None:
    logits = torch.tensor([[0.0, 3.0, 3.0, 1.0]])
    for decoding in (Decoding(temperature=0), Decoding(top_p=0), Decoding(top_k=1)):
        assert effective(logits, decoding).exp().tolist() == [[0.0, 1.0, 0.0, 0.0]]


@pytest.mark.parametrize("size", [3, 61, 64, 1000])
def test_draws_follow_the_distribution(size: int) -> None:
    generator = torch.Generator().manual_seed(1)
    scaled = effective(torch.randn((2, size), generator=generator) * 2, Decoding(top_p=0.97))
    count = 60_000
    uniforms = torch.rand(count, generator=generator, dtype=torch.float64)
    rows = torch.arange(count) % 2
    tokens, logprob = draw(scaled, rows, uniforms)
    expected = log_probs(scaled)
    assert torch.allclose(logprob, expected[rows, tokens], atol=1e-6)
    for row in range(2):
        counts = np.bincount(tokens[rows == row].numpy(), minlength=size)
        probability = expected[row].exp().numpy()
        assert counts[probability == 0].sum() == 0
        often = probability * count / 2 >= 5
        observed = [*counts[often], counts[~often].sum()]
        wanted = [*(probability[often] * count / 2), probability[~often].sum() * count / 2]
        keep = np.array(wanted) > 0
        wanted_kept = np.array(wanted)[keep]
        result = stats.chisquare(np.array(observed)[keep], wanted_kept * sum(observed) / wanted_kept.sum())
        assert result.pvalue > 1e-4


def test_draws_are_the_inverse_cdf_and_stay_on_the_support() -> None:
    weights = torch.zeros((1, 100))
    weights[0, [3, 40, 77]] = torch.tensor([1.0, 0.5, 0.5])
    extremes = torch.tensor([1e-300, 0.4999999, 0.5000001, 0.7499999, 0.7500001, 1 - 2**-53], dtype=torch.float64)
    tokens, _ = draw(weights.log(), torch.zeros(6, dtype=torch.long), extremes)
    assert tokens.tolist() == [3, 3, 40, 40, 77, 77]


@pytest.mark.parametrize(
    "decoding",
    [*DECODINGS, Decoding(temperature=0), Decoding(temperature=0, repetition_penalty=1.7)],
    ids=lambda d: d.label,
)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_choosing_is_drawing_from_the_effective_distribution(decoding: Decoding, dtype: torch.dtype) -> None:
    """Greedy answers take a way of their own: ties (there are some in bfloat16) still go to the first."""
    generator = torch.Generator().manual_seed(2)
    logits = (torch.randn((6, 900), generator=generator) * 3).to(dtype)
    logits[0, [70, 500]] = logits[0].max() + 1
    logits[1, [5, 6]] = logits[1].max() + 1
    history = torch.randint(900, (6, 9), generator=generator)
    history[0], history[1] = 70, 5
    rows = torch.tensor([0, 0, 1, 2, 3, 4, 5, 5])
    uniforms = torch.rand(8, generator=generator, dtype=torch.float64)
    tokens, logprob = choose(logits, decoding, rows, uniforms, history)
    wanted = draw(effective(logits, decoding, history), rows, uniforms)
    assert torch.equal(tokens, wanted[0])
    assert torch.equal(logprob, wanted[1])
    assert not decoding.greedy or decoding.repetition_penalty == 1 or tokens[0] == 500


def test_choosing_refuses_what_is_not_a_number() -> None:
    logits = torch.zeros((2, 9))
    logits[1, 4] = torch.nan
    for decoding in (Decoding(), Decoding(temperature=0)):
        with pytest.raises(ModelError):
            choose(logits, decoding, torch.tensor([0, 1]), torch.tensor([0.5, 0.5], dtype=torch.float64))
