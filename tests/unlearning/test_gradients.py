"""Combiners on vectors small enough to do by hand."""

import pytest
import torch

from leakatk.unlearning.gradients import alternate, blur, inner, normalised_difference, weighed_by_conflict

FORGET = [torch.tensor([3.0, 0.0]), torch.tensor([4.0])]  # |g_f| = 5
RETAIN = [torch.tensor([1.0, 2.0]), torch.tensor([-2.0])]  # <g_f, g_r> = -5, |g_r| = 3


def test_inner_runs_over_all_parameters():
    assert float(inner(FORGET, RETAIN)) == -5.0


def test_blur_takes_the_conflict_out_of_the_retain_gradient():
    found = blur(FORGET, RETAIN, {"gamma": 2.0}, 0)
    # 2 g_f + g_r - (-5/25) g_f = 2.2 g_f + g_r
    assert torch.cat(found).tolist() == pytest.approx([2.2 * 3 + 1, 2.0, 2.2 * 4 - 2])
    rest = [b - 2.0 * f for b, f in zip(found, FORGET, strict=True)]
    assert float(inner(rest, FORGET)) == pytest.approx(0.0, abs=1e-5)


def test_alternate():
    assert alternate(FORGET, RETAIN, {}, 0) is FORGET
    assert alternate(FORGET, RETAIN, {}, 1) is RETAIN


def test_normalised_difference():
    found = torch.cat(normalised_difference(FORGET, RETAIN, {}, 0))
    assert found.tolist() == pytest.approx([3 / 5 + 1 / 3, 2 / 3, 4 / 5 - 2 / 3])


def test_falcon_weighs_each_parameter_by_whether_its_gradients_conflict():
    numbers = {"conflict_forget": 0.8, "conflict_retain": 1.2, "agree_forget": 0.1, "agree_retain": 1.9}
    first, second = weighed_by_conflict(FORGET, RETAIN, numbers, 0)
    assert first.tolist() == pytest.approx([0.1 * 3 + 1.9 * 1, 1.9 * 2])  # <g_f, g_r> = 3
    assert second.tolist() == pytest.approx([1.2 * -2])  # -8; 4 is all along -2
    f, r = [torch.tensor([3.0, 1.0])], [torch.tensor([-1.0, 2.0])]  # -1, |r|^2 = 5
    (found,) = weighed_by_conflict(f, r, numbers, 0)
    assert found.tolist() == pytest.approx([0.8 * (3 - 0.2) - 1.2, 0.8 * (1 + 0.4) + 2.4])
