"""What a model says greedily after given tokens, against one forward pass a token."""

from leakatk.metrics.continuing import greedy_continuations
from tests.metrics.conftest import WORLD


def test_continuations_do_not_depend_on_the_batch(half_learned):
    asked = [(half_learned.tokenizer(p.question)["input_ids"], 3 + i) for i, p in enumerate(WORLD.forget)]
    together = greedy_continuations(half_learned, asked)
    assert together == [greedy_continuations(half_learned, [one])[0] for one in asked]
    assert all(0 < len(said) <= count for said, (_, count) in zip(together, asked, strict=True))
    assert greedy_continuations(half_learned, [(asked[0][0], 0)]) == [[]]
