"""Every loss against values computed by hand, or another way, on small logits."""

import math

import pytest
import torch
from torch import Tensor

from leakatk.errors import InputError
from leakatk.prompts import Prompt
from leakatk.unlearning.losses import distill, hidden, preference, retain, targets, token

# Two answers over a vocabulary of 3; the second is one token long. Probabilities are round numbers.
P = torch.tensor([[[0.5, 0.25, 0.25], [0.125, 0.75, 0.125]], [[0.2, 0.2, 0.6], [0.9, 0.05, 0.05]]], dtype=torch.float64)
LOGITS = P.log() + 1.7  # a constant shift changes nothing
LABELS = torch.tensor([[0, 1], [2, -100]])
ln = math.log


def close(value: Tensor, expected: float) -> None:
    assert float(value) == pytest.approx(expected, abs=2e-6)


def test_label_logprobs_and_means():
    logprobs = token.label_logprobs(LOGITS, LABELS)
    assert logprobs.tolist() == [pytest.approx([ln(0.5), ln(0.75)], abs=1e-6), pytest.approx([ln(0.6), 0.0], abs=1e-6)]
    mask = token.answer_mask(LABELS)
    assert token.sequence_sum(logprobs, mask).tolist() == pytest.approx([ln(0.375), ln(0.6)], abs=1e-6)
    assert token.sequence_mean(logprobs, mask).tolist() == pytest.approx([ln(0.375) / 2, ln(0.6)], abs=1e-6)


def test_nll_is_the_mean_over_tokens_then_answers():
    expected = -(ln(0.375) / 2 + ln(0.6)) / 2
    close(token.nll(LOGITS, LABELS), expected)
    close(token.gradient_ascent(LOGITS, LABELS), -expected)


def test_weighted_ascent():
    close(token.wga(LOGITS, LABELS, 1.0), ((0.5 * ln(0.5) + 0.75 * ln(0.75)) / 2 + 0.6 * ln(0.6)) / 2)
    w = [0.5**5 * 0.5, 0.75**5 * 0.25, 0.6**5 * 0.4]
    close(token.satimp(LOGITS, LABELS, 5.0, 1.0), ((w[0] * ln(0.5) + w[1] * ln(0.75)) / 2 + w[2] * ln(0.6)) / 2)


@pytest.mark.parametrize("loss", [lambda z: token.wga(z, LABELS, 1.0), lambda z: token.satimp(z, LABELS, 5.0, 1.0)])
def test_weights_are_detached(loss):
    """With p as a constant weight w, d(w log p)/dz_y = w (1 - p); through the weight it would be p (1-p) (log p + 1)."""
    z = LOGITS.clone().requires_grad_()
    loss(z).backward()
    p = 0.6
    weight = p if loss(LOGITS) == token.wga(LOGITS, LABELS, 1.0) else p**5 * (1 - p)
    assert z.grad[1, 0, 2].item() == pytest.approx(weight * (1 - p) / 2, abs=1e-6)
    assert z.grad[1, 1].abs().max() == 0  # ignored position


def test_entropy_flat_logits_hinge():
    h = [-sum(p * ln(p) for p in row) for row in ([0.5, 0.25, 0.25], [0.125, 0.75, 0.125], [0.2, 0.2, 0.6])]
    close(token.entropy(LOGITS, LABELS), ((h[0] + h[1]) / 2 + h[2]) / 2)
    z = torch.tensor([[[1.0, 2.0, 6.0], [0.0, 0.0, 0.0]]])
    close(token.flat_logits(z, torch.tensor([[0, 1]])), (9.0 + 0.0) / 2)
    close(token.inverted_hinge(LOGITS, LABELS), ((1 + 0.5 - 0.25 + 1 + 0.75 - 0.125) / 2 + (1 + 0.6 - 0.2)) / 2)


def sigma(x: float) -> float:
    return 1 / (1 + math.exp(-x))


def test_npo_simnpo_dpo():
    lp, ref = torch.tensor([-1.0, -4.0]), torch.tensor([-2.0, -1.0])
    close(preference.npo(lp, ref, 0.5), -(2 / 0.5) * (ln(sigma(-0.5)) + ln(sigma(1.5))) / 2)
    close(preference.simnpo(lp, 2.5, 0.1), -(2 / 2.5) * (ln(sigma(2.5 * 0.9)) + ln(sigma(2.5 * 3.9))) / 2)
    win, win_ref = torch.tensor([-3.0]), torch.tensor([-5.0])
    close(preference.dpo(win, win_ref, lp[:1], ref[:1], 0.1), -20 * ln(sigma(0.1 * (2.0 - 1.0))))
    close(retain.answer_preservation(torch.tensor([-2.0]), torch.tensor([-6.0]), 0.1), -10 * ln(sigma(0.4)))
    odds = ln(0.6 / 0.4) - ln(0.2 / 0.8)
    close(preference.orpo_odds(torch.tensor([ln(0.6)]), torch.tensor([ln(0.2)])), -ln(sigma(odds)))


def test_npo_at_small_beta_is_gradient_ascent():
    z = LOGITS.clone().requires_grad_()
    preference.npo(preference.summed_logprob(z, LABELS), torch.tensor([ln(0.375), ln(0.6)]), 1e-4).backward()
    ascent = LOGITS.clone().requires_grad_()
    preference.summed_logprob(ascent, LABELS).mean().backward()
    torch.testing.assert_close(z.grad, ascent.grad, rtol=1e-3, atol=1e-5)


def test_summed_and_mean_logprob():
    assert preference.summed_logprob(LOGITS, LABELS).tolist() == pytest.approx([ln(0.375), ln(0.6)], abs=1e-6)
    assert preference.mean_logprob(LOGITS, LABELS).tolist() == pytest.approx([ln(0.375) / 2, ln(0.6)], abs=1e-6)


def kl(p: list[float], q: list[float]) -> float:
    return sum(a * ln(a / b) for a, b in zip(p, q, strict=True) if a)


def test_kl_directions():
    q = torch.tensor([0.1, 0.3, 0.6]).log().expand(2, 2, 3)
    rows = [[0.5, 0.25, 0.25], [0.125, 0.75, 0.125], [0.2, 0.2, 0.6]]
    reference = [0.1, 0.3, 0.6]

    def mean(values: list[float]) -> float:
        return ((values[0] + values[1]) / 2 + values[2]) / 2

    close(distill.kl_reference_to_model(q, LOGITS, LABELS), mean([kl(reference, row) for row in rows]))
    close(distill.kl_model_to_reference(LOGITS, q, LABELS), mean([kl(row, reference) for row in rows]))
    close(distill.kl_uniform_to_model(LOGITS, LABELS), mean([kl([1 / 3] * 3, row) for row in rows]))
    middle = [[(a + b) / 2 for a, b in zip(row, reference, strict=True)] for row in rows]
    js = [(kl(row, m) + kl(reference, m)) / 2 for row, m in zip(rows, middle, strict=True)]
    close(distill.jensen_shannon(LOGITS, q, LABELS), mean(js))


def test_jensen_shannon_of_disjoint_distributions_is_ln_2():
    first = torch.tensor([[[0.0, -math.inf]]])
    close(distill.jensen_shannon(first, first.flip(-1), torch.tensor([[0]])), ln(2))


def test_targets_of_distillation():
    ref = torch.tensor([[[3.0, 1.0, 0.0]]])
    labels = torch.tensor([[0]])
    assert distill.undial_target(ref, labels, 10.0).tolist() == [[[-7.0, 1.0, 0.0]]]
    assert distill.without_label(ref, labels).tolist() == [[[-math.inf, 1.0, 0.0]]]
    close(distill.cross_entropy_to(distill.without_label(ref, labels), ref, labels), -(
        sigma(1.0) * float(ref.log_softmax(-1)[0, 0, 1]) + sigma(-1.0) * float(ref.log_softmax(-1)[0, 0, 2])
    ))  # fmt: skip
    assert distill.whp_target(ref, torch.tensor([[[5.0, 0.0, 2.0]]]), 0.5).tolist() == [[[2.0, 1.0, -1.0]]]
    assert distill.skip_first(torch.tensor([[4, 5, 6]]), 1).tolist() == [[-100, 5, 6]]


def test_ignored_positions_do_not_touch_the_targets():
    """The label of a padded position must not index the vocabulary."""
    ref = torch.zeros(1, 2, 3)
    target = distill.undial_target(ref, torch.tensor([[1, -100]]), 10.0)
    assert target.tolist() == [[[0.0, -10.0, 0.0], [0.0, 0.0, 0.0]]]
    base = distill.cross_entropy_to(target, LOGITS[:1].float(), torch.tensor([[1, -100]]))
    changed = LOGITS[:1].float().clone()
    changed[0, 1] += torch.tensor([5.0, -3.0, 1.0])
    assert distill.cross_entropy_to(target, changed, torch.tensor([[1, -100]])) == base


def test_hidden_losses():
    states = torch.tensor([[[1.0, 2.0], [3.0, 4.0]], [[0.0, 0.0], [1.0, 1.0]]])
    mask = torch.tensor([[True, True], [True, False]])
    close(hidden.masked_mse(states, torch.zeros(2), mask), ((2.5 + 12.5) / 2 + 0.0) / 2)
    u = hidden.random_direction(8, 3)
    assert float(u.norm()) == pytest.approx(1, abs=1e-6)
    assert (u >= 0).all()
    assert torch.equal(u, hidden.random_direction(8, 3))
    assert not torch.equal(u, hidden.random_direction(8, 4))


DIFFERENTIABLE = [
    lambda z: token.nll(z, LABELS),
    lambda z: token.entropy(z, LABELS),
    lambda z: token.flat_logits(z, LABELS),
    lambda z: token.inverted_hinge(z, LABELS),
    lambda z: distill.kl_reference_to_model(P.flip(-1).log(), z, LABELS),
    lambda z: distill.kl_model_to_reference(z, P.flip(-1).log(), LABELS),
    lambda z: distill.kl_uniform_to_model(z, LABELS),
    lambda z: distill.jensen_shannon(z, P.flip(-1).log(), LABELS),
    lambda z: distill.cross_entropy_to(P.flip(-1).log(), z, LABELS),
    lambda z: preference.npo(preference.summed_logprob(z, LABELS), torch.tensor([-1.0, -2.0]), 0.7),
    lambda z: preference.simnpo(preference.mean_logprob(z, LABELS), 2.5, 0.0),
]


@pytest.mark.parametrize("loss", DIFFERENTIABLE)
def test_gradients_match_finite_differences(loss):
    torch.manual_seed(0)
    z = torch.randn(2, 2, 3).requires_grad_()
    loss(z).backward()
    assert z.grad is not None
    h = 1e-2
    for index in [(0, 0, 0), (0, 1, 2), (1, 0, 1), (1, 1, 0)]:
        up, down = z.detach().clone(), z.detach().clone()
        up[index] += h
        down[index] -= h
        slope = (float(loss(up)) - float(loss(down))) / (2 * h)
        assert float(z.grad[index]) == pytest.approx(slope, abs=2e-3)


def test_alternative_targets():
    prompts = [Prompt(str(i), f"q{i}", f"a{i}") for i in range(6)]
    first = targets.refusals(prompts, 0)
    assert first == targets.refusals(prompts[::-1], 0)[::-1]  # by id, not by order
    assert first != targets.refusals(prompts, 1)
    drawn = targets.random_answers(prompts, [p.answer for p in prompts], 0)
    assert all(a != p.answer for a, p in zip(drawn, prompts, strict=True))
    assert targets.alternates(prompts[:1], {"0": "x"}) == ["x"]
    with pytest.raises(InputError, match="no alternate answer"):
        targets.alternates(prompts, {"0": "x"})
    with pytest.raises(InputError, match="only its own"):
        targets.random_answers(prompts[:1], ["a0"], 0)
