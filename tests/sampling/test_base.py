"""What an engine may be able to do beyond sampling is asked for by protocols."""

import pytest

from leakatk.errors import InputError
from leakatk.prompts import Generation
from leakatk.sampling import base
from leakatk.sampling.base import (
    Request,
    check_budget,
    check_expands,
    check_prompts,
    draws,
    notes_of,
    release,
    texts_of,
)
from leakatk.sampling.decoding import Decoding
from leakatk.sampling.endpoint import EndpointSampler
from leakatk.sampling.native import NativeSampler
from tests.tiny import PROMPTS

ABILITIES = ("InProcess", "TrueAnswers", "Expands", "ChecksPrompts", "Prepares", "Closes", "Notes", "Estimates",
             "CountsRows", "Batches")  # fmt: skip


class Bare:
    """Nothing but a sampler."""

    name = "bare"

    def describe(self):
        return {}

    def sample(self, requests, decoding, *, seed):
        for request in requests:
            yield [
                Generation(request.prompt.id, j, f"{request.prompt.id}-{j}", (), 0.0, "stop") for j in request.samples
            ]


class Loaded:
    notes = ("of the model",)


class Able(Bare):
    notes = ("seen",)

    def __init__(self):
        self.closed, self.checked = 0, []

    def close(self):
        self.closed += 1

    def check(self, prompts):
        self.checked += prompts


def able(sampler):
    return {name for name in ABILITIES if isinstance(sampler, getattr(base, name))}


def test_the_abilities_of_the_engines(monkeypatch):
    from leakatk.models.load import ModelSource

    assert able(Bare()) == set()
    assert able(Able()) == {"Notes", "Closes", "ChecksPrompts"}
    assert able(NativeSampler(Loaded())) == {"InProcess", "Notes", "CountsRows", "Batches"}
    endpoint = EndpointSampler(ModelSource("m"), url="http://localhost:1/v1")
    assert able(endpoint) == {"ChecksPrompts", "Prepares", "Notes", "Estimates"}


def test_an_ability_that_is_lacking_is_passed_over():
    sampler = Bare()
    check_prompts(sampler, PROMPTS)
    release(sampler)
    assert notes_of(sampler) == []
    with pytest.raises(InputError, match="bare cannot expand"):
        check_expands(sampler)


def test_an_ability_is_used():
    sampler = Able()
    check_prompts(sampler, PROMPTS)
    release(sampler)
    assert (sampler.closed, sampler.checked, notes_of(sampler)) == (1, PROMPTS, ["seen"])


def test_what_is_no_sampler():
    assert isinstance(Bare(), base.Sampler)
    assert not isinstance(Loaded(), base.Sampler)


@pytest.mark.parametrize("budget", [0, -1, base.MAX_BUDGET + 1])
def test_budgets(budget):
    check_budget(1)
    with pytest.raises(InputError, match="prefixes"):
        check_budget(budget)


def test_draws():
    request = Request(PROMPTS[0], [3, 5])
    assert draws(request, Decoding()) == [(3,), (5,)]
    assert draws(request, Decoding(temperature=0)) == [(3, 5)]
    assert draws(Request(PROMPTS[0], []), Decoding(temperature=0)) == []


def test_texts_are_in_the_order_given():
    assert texts_of(Bare(), PROMPTS[::-1], 2, Decoding(), seed=0) == [[f"p{i}-0", f"p{i}-1"] for i in (2, 1, 0)]
