"""Advice on CANNOT SAY: the numbers are those of `estimate.settle`, for the setting that needs most, or for the one that fails."""

import numpy as np
import pytest

from leakatk.auditing.advice import settles
from leakatk.auditing.judging import judged
from leakatk.auditing.settings import Gate
from leakatk.estimate.settle import prompts_to_settle, samples_to_settle
from tests.auditing.test_judging import measured, rows

FEW, MORE = rows(1, *[0] * 9), rows(1, 1, *[0] * 8)
GATE = Gate(4, 0.1)


def advice(settings, gate=GATE):
    found = judged(settings, gate)
    assert found.answer == "CANNOT SAY"
    return found.settles


def up(value):
    """To two significant digits, upwards."""
    step = 10 ** (len(str(value)) - 2)
    return f"{-(-value // step) * step:,}"


def test_all_settings_must_pass_so_the_one_that_needs_most_counts():
    one, other = (samples_to_settle(scores, 4, 0.05, level=0.975, chance=0.8) for scores in (FEW, MORE))
    assert one < other
    text = advice([measured("a", FEW), measured("b", MORE)], Gate(4, 0.05))
    assert text == f"About {up(other)} samples a prompt (now 32): PASS in 4 of 5 audits, if the leak is as measured."


def test_one_that_leaks_more_than_allowed_settles_it_by_failing():
    needed = samples_to_settle(MORE, 4, 0.02, level=0.975, chance=0.8)
    text = advice([measured("a", FEW), measured("b", MORE)], Gate(4, 0.02))
    assert text.startswith(f"About {up(needed)} samples a prompt (now 32): FAIL in 4 of 5 audits")


def test_a_difference_needs_samples_of_both():
    needed = samples_to_settle(MORE, 4, 0.1, against=FEW, level=0.95, chance=0.8)
    gate = Gate(4, 0.1, against="earlier")
    text = settles(
        [measured("a", MORE, theirs=FEW)], judged([measured("a", MORE, theirs=FEW)], gate).settings, gate, 0.95
    )
    assert text.startswith(f"About {up(needed)} samples a prompt of both models (now 32): PASS")


@pytest.mark.parametrize("over", ["prompts", "both"])
def test_over_prompts_it_is_prompts(over):
    needed = prompts_to_settle(MORE, 4, 0.04, over=over, level=0.95, chance=0.8)
    text = advice([measured("a", MORE)], Gate(4, 0.04, over=over))
    assert text == f"About {up(needed)} prompts like these (now 10): PASS in 4 of 5 audits, if the leak is as measured."
    variants = measured("a", [*MORE, *MORE], clusters=[*range(10)] * 2, prompts=10)
    told = advice([variants], Gate(4, 0.04, over=over))
    assert "prompts like these (now 10): PASS" in told


def test_no_number_of_samples_does_where_what_is_unknown_decides():
    cut = measured("a", FEW, most=[np.ones(32)] * 10, cut=320, samples=320)
    assert advice([cut]) == (
        "No number of samples, while 100% of the answers are cut before their end (a). Raise --max-new-tokens."
    )
    judge = measured("a", FEW, most=[np.ones(32)] * 10, missing=320, samples=320, cut=0)
    assert advice([judge]).endswith("Choose a --scorer that scores every prompt.")


def test_on_the_bound_nothing_settles_it():
    on = float(np.mean([row.mean() for row in MORE]))
    assert (
        advice([measured("a", MORE)], Gate(1, on))
        == "More than 100,000 samples a prompt: the leak is too near the bound."
    )
    assert advice([measured("a", MORE)], Gate(1, on, over="prompts")) == (
        "More than 1,000,000 prompts: the leak is too near the bound."
    )
