"""Seeds: every part of them counts."""

import torch

from leakatk.unlearning.chance import generator_of, seed_of


def test_both_the_run_and_the_step_count():
    drawn = {
        tuple(torch.randn(3, generator=generator_of(seed, step)).tolist()) for seed in range(5) for step in range(5)
    }
    assert len(drawn) == 25
    assert len({seed_of(seed, step) for seed in range(100) for step in range(100)}) == 10_000
    assert all(0 <= seed_of(seed) < 2**32 for seed in range(100))


def test_the_same_parts_give_the_same():
    assert torch.equal(torch.randn(3, generator=generator_of("a", 1)), torch.randn(3, generator=generator_of("a", 1)))
