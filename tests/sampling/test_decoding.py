"""What a decoding accepts, what it is called, and what other engines are told of it."""

import dataclasses
import itertools
import math

import pytest

from leakatk.errors import InputError
from leakatk.sampling.decoding import Decoding


@pytest.mark.parametrize(
    ("field", "value", "need"),
    [
        ("temperature", -0.1, "a number >= 0"),
        ("temperature", math.nan, "a number >= 0"),
        ("temperature", math.inf, "a number >= 0"),
        ("top_p", -0.01, "between 0 and 1"),
        ("top_p", 1.01, "between 0 and 1"),
        ("top_p", math.nan, "between 0 and 1"),
        ("top_k", -1, "a whole number >= 0"),
        ("top_k", 2.5, "a whole number >= 0"),
        ("min_p", -0.1, "at least 0 and below 1"),
        ("min_p", 1.0, "at least 0 and below 1"),
        ("repetition_penalty", 0.0, "a number > 0"),
        ("repetition_penalty", math.inf, "a number > 0"),
        ("max_new_tokens", 0, "at least 1"),
        ("stop", "\n", "a tuple of strings"),
        ("stop", ("a", ""), "free of empty strings"),
    ],
)
def test_what_is_out_of_range_is_named(field, value, need):
    with pytest.raises(InputError, match=rf"^Decoding\.{field} must be {need}"):
        Decoding(**{field: value})


def test_the_ends_of_every_range_are_inside():
    Decoding(temperature=0, top_p=0, top_k=0, min_p=0, repetition_penalty=0.01, max_new_tokens=1)
    Decoding(top_p=1, min_p=0.999, top_k=10**6)


def test_greedy_is_where_one_token_is_left():
    """Each of the three ways alone, and together with anything else."""
    for temperature, top_p, top_k in itertools.product((0, 0.5, 1), (0, 0.5, 1), (0, 1, 2)):
        one = Decoding(temperature=temperature, top_p=top_p, top_k=top_k)
        assert one.greedy == (0 in (temperature, top_p) or top_k == 1)
        told = one.filters()
        if one.greedy:
            assert one.label == "greedy"
            assert told == {"temperature": 0.0, "top_p": 1.0, "top_k": 0, "min_p": 0.0}
        else:
            assert told == {"temperature": temperature, "top_p": top_p, "top_k": top_k, "min_p": 0.0}


def test_labels_differ_where_the_distribution_does():
    """Length and stop strings are no part of it; every other field is."""
    fields = {"temperature": (1.0, 0.5), "top_p": (1.0, 0.2), "top_k": (0, 50), "min_p": (0.0, 0.1)}
    fields["repetition_penalty"] = (1.0, 1.3)
    made = [Decoding(**dict(zip(fields, values, strict=True))) for values in itertools.product(*fields.values())]
    assert len({one.label for one in made}) == len(made) == 32
    assert made[0].label == "T=1"
    assert Decoding(0.8, 0.2, 40, 0.05, 1.3).label == "T=0.8 p=0.2 top-k=40 min-p=0.05 rep=1.3"
    assert Decoding(max_new_tokens=3, stop=("x",)).label == "T=1"


def test_greedy_answers_keep_length_and_stop_strings_alone():
    one = Decoding(0.8, 0.2, 40, 0.05, 1.3, max_new_tokens=7, stop=("\n",))
    assert one.as_greedy() == Decoding(temperature=0.0, max_new_tokens=7, stop=("\n",))
    assert one.as_greedy().greedy


def test_a_dictionary_gives_the_decoding_again():
    one = Decoding(0.8, 0.2, 40, 0.05, 1.3, max_new_tokens=7, stop=["a", "b"])
    assert one.stop == ("a", "b")
    assert set(one.as_dict()) == {field.name for field in dataclasses.fields(Decoding)}
    assert one.as_dict()["stop"] == ["a", "b"], "as JSON has it"
    assert Decoding(**one.as_dict()) == one
