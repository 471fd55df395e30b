"""Corruption that is as strong as it has to be: the search by hand, and names alone."""

import math

import numpy as np
import pytest

from leakatk.errors import InputError
from leakatk.guards.corruption import Searched, probabilities, searched, unknowing
from leakatk.prompts import Known, Prompt
from leakatk.sampling.decoding import Decoding
from leakatk.sampling.teacher_forcing import true_answers
from tests.guards.conftest import FORGET, RETAIN

KNOWN = Known(FORGET, RETAIN)


def test_the_search_by_hand():
    """Two steps on |sigma - 7|: its slope is -1 below 7 and 1 above."""
    met = []

    def off(sigma):
        met.append(sigma)
        return abs(sigma - 7)

    assert searched(off, 4.0, steps=2, rate=2.0, reach=0.5) == 6.0, "as far off as 8, and less strong"
    assert met == [4.0, 4.5, 3.5, 6.0, 6.5, 5.5, 8.0]


def test_the_best_that_was_met_is_kept():
    assert searched(lambda s: abs(s - 7), 4.0, steps=2, rate=3.0, reach=0.5) == 7.0
    assert searched(lambda s: abs(s - 1), 1.0, steps=3, rate=50.0, reach=0.5) == 1.0, "a step too far is not taken"
    assert searched(lambda s: s, 0.5, steps=1, rate=9.0, reach=0.25) == 0.0, "sigma is no less than 0"


def test_probabilities_a_token(loaded):
    found = probabilities(loaded, FORGET)
    truths = true_answers(loaded, list(FORGET), Decoding())
    assert found == [pytest.approx(math.exp(truths[p.id][1] / len(truths[p.id][0]))) for p in FORGET]
    assert min(found) > 0.5 > unknowing(loaded, FORGET), "it knows its own answers and not others'"
    with pytest.raises(InputError, match="there is one; give surrogate"):
        unknowing(loaded, FORGET[:1])


def test_sigma_is_found_where_the_model_looks_unknowing(loaded):
    """The score under the sigma found is nearer to the surrogate than under the one it began with."""
    begun = Searched(sigma=0.1)
    target = unknowing(loaded, FORGET)
    found = Searched(sigma=0.1, dims=0, search=6, rate=3.0, reach=0.2).fit(KNOWN, loaded)
    off = [abs(one.mean_probability(loaded, FORGET) - target) for one in (found, Searched(sigma=0.1, dims=0))]
    assert off[0] < off[1]
    assert found.sigma != begun.sigma
    assert found.options()["sigma"] == found.sigma, "the manifest says what was found"
    with pytest.raises(InputError, match="needs the model in this process"):
        Searched(search=1).fit(KNOWN, None)


def test_names_alone_are_corrupted(loaded):
    action = Searched(tokens="names").fit(KNOWN, loaded)
    chosen = action.group(loaded, FORGET[0])
    ids = loaded.template.prompt_ids(loaded.tokenizer, FORGET[0].query)
    assert len(chosen) == len(ids)
    text = "".join(loaded.tokenizer.decode([token]) for token, one in zip(ids, chosen, strict=True) if one)
    assert "".join(text.split()) == "AdaKorvin"
    assert 0 < sum(chosen) < sum(Searched().fit(KNOWN, loaded).group(loaded, FORGET[0]))
    nameless = Prompt("x", "when does the market open?", "")
    assert action.group(loaded, nameless) == Searched().fit(KNOWN, loaded).group(loaded, nameless)


def test_what_is_not_a_name_is_left_as_it_is(loaded):
    """The embeddings that the model sees differ in the name's places and in no other."""
    action = Searched(tokens="names", sigma=5.0).fit(KNOWN, loaded)
    ids = loaded.template.prompt_ids(loaded.tokenizer, FORGET[0].query)
    import torch

    seen = []
    hook = loaded.model.model.layers[0].register_forward_pre_hook(
        lambda module, args, kwargs: seen.append((args or (kwargs["hidden_states"],))[0].detach().clone()),
        with_kwargs=True,
    )
    try:
        with torch.no_grad():
            loaded.model(torch.tensor([ids]))
            with action.hooks(loaded, [FORGET[0]]):
                loaded.model(torch.tensor([ids]))
    finally:
        hook.remove()
    differs = (seen[0] != seen[1]).any(dim=-1)[0].numpy()
    np.testing.assert_array_equal(differs, np.array(action.group(loaded, FORGET[0])))


def test_bad_options():
    with pytest.raises(InputError, match="choice of tokens is one of all, names"):
        Searched(tokens="some")
    with pytest.raises(InputError, match="search for sigma needs"):
        Searched(search=-1)
