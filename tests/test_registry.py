"""Names, facts, and options written as NAME:option=value: one reading of them for everything that has a name."""

from dataclasses import dataclass

import pytest

from leakatk.cli.options import parse_decoding
from leakatk.errors import InputError, UnknownNameError, nearest
from leakatk.probes import get_probe
from leakatk.registry import (
    Facts,
    Registry,
    Specified,
    facts_of,
    make,
    read_options,
    read_spec,
    spec_name,
    typed,
    typed_options,
)
from leakatk.sampling.decoding import Decoding
from leakatk.sampling.engines import engine_options
from leakatk.scorers import get_scorer

GADGETS = Registry("gadget")


@GADGETS.register("lamp", summary="gives light", paper="ours", rows=("90",))
@dataclass(frozen=True)
class Lamp(Specified):
    watts: int = 40
    warmth: float = 0.5
    on: bool = True
    colour: str = "white"


@GADGETS.register("torch", summary="a lamp to carry")
@dataclass(frozen=True)
class Torch(Lamp):
    pass


@GADGETS.register("bare")
@dataclass(frozen=True)
class Bare(Lamp):
    name = "bare"
    summary = "in the old form"


def test_facts_are_read_from_the_class_and_from_its_instances():
    assert (Lamp.name, Lamp.summary, Lamp.paper) == ("lamp", "gives light", "ours")
    assert (Lamp().name, Lamp().summary, Lamp().facts.rows) == ("lamp", "gives light", ("90",))
    assert (Torch.name, Torch.summary, Torch.paper, Torch.facts.rows) == ("torch", "a lamp to carry", "", ())
    assert (Bare.name, Bare.summary) == ("bare", "in the old form")


def test_facts_of_whatever_is_registered():
    assert facts_of("lamp", Lamp) is Lamp.facts
    assert facts_of("bare", Bare) == Facts(name="bare", summary="in the old form", paper="ours")
    plain = Facts(name="plain")
    assert facts_of("plain", plain) is plain
    assert facts_of("nothing", object()) == Facts(name="nothing")


def test_names_are_registered_once_and_answered_with_the_nearest():
    with pytest.raises(ValueError, match="registered twice"):
        GADGETS.register("lamp")(Lamp)
    with pytest.raises(UnknownNameError, match="Unknown gadget 'lmap': did you mean lamp"):
        GADGETS["lmap"]
    assert nearest("tofu", ["tofu/forget01", "muse"]) == ["tofu/forget01"]
    assert nearest("zzz", ["tofu", "muse"]) == []


@pytest.mark.parametrize(
    ("spec", "name", "given"),
    [
        ("lamp", "lamp", {}),
        (" lamp : watts = 60 , on=no,", "lamp", {"watts": "60", "on": "no"}),
        ("lamp:colour=a:b=c", "lamp", {"colour": "a:b=c"}),
        ("lamp:colour=", "lamp", {"colour": ""}),
    ],
)
def test_a_spec_is_a_name_with_options(spec, name, given):
    assert read_spec("gadget", spec) == (name, given)
    assert spec_name(spec) == name


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ("lamp:watts", r"Gadget option 'watts' in 'lamp:watts' has no value; write lamp:watts=VALUE\."),
        ("lamp:on=no,on=yes", "Gadget option 'on' is given twice"),
        (None, "A gadget is named by a text"),
    ],
)
def test_a_spec_that_cannot_be_read_is_refused(spec, words):
    with pytest.raises(InputError, match=words):
        read_spec("gadget", spec)


@pytest.mark.parametrize(
    ("text", "default", "value"),
    [
        ("60", 40, 60), ("0.25", 0.5, 0.25), ("1", 0.5, 1.0), ("no", True, False), ("TRUE", False, True), ("0", True, False),
        ("12", "white", "12"), ("12", None, 12), ("1.5", None, 1.5), ("yes", None, True), ("No", None, False), ("1", None, 1),
        ("cuda:0", None, "cuda:0"),
    ],
)  # fmt: skip
def test_an_option_is_read_as_the_type_of_its_default(text, default, value):
    found = typed("here", text, default)
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize(
    ("text", "default", "words"),
    [
        ("many", 40, "here must be a number like 40, got 'many'"),
        ("1.5", 40, "here must be a number like 40, got '1.5'"),
        ("warm", 0.5, "here must be a number like 0.5"),
        ("maybe", True, "here must be yes or no, got 'maybe'"),
    ],
)
def test_an_option_that_does_not_fit_is_refused(text, default, words):
    with pytest.raises(InputError, match=words):
        typed("here", text, default)


def test_values_given_win_over_what_is_written():
    known = {"watts": 40, "on": True}
    assert typed_options("gadget", "lamp", {"watts": "60", "on": "no"}, {"watts": 80}, known) == {
        "watts": 80,
        "on": False,
    }
    assert make(GADGETS, "lamp:watts=60,on=no", {"watts": 80}) == Lamp(watts=80, on=False)
    assert make(GADGETS, "lamp:watts=60").label == "lamp:watts=60"


@pytest.mark.parametrize("read", [lambda text: make(GADGETS, f"lamp:{text}"), lambda text: get_scorer(f"judge:{text}")])
def test_an_unknown_option_is_answered_with_all_and_the_nearest(read):
    with pytest.raises(InputError, match=r"has no option 'xyzzy'; its options: [^;]+\.$"):
        read("xyzzy=1")
    with pytest.raises(InputError, match=r"did you mean (watts|max_cost)"):
        read("wats=1" if read("") == Lamp() else "maxcost=1")


def test_scorers_probes_engines_and_decodings_are_read_alike():
    assert get_scorer("rouge-l:stem=no").stem is False
    assert get_probe("few-shot:shots=5").shots == 5
    assert engine_options("native:max_rows=64,tree=no", {}) == ("native", {"max_rows": 64, "tree": False})
    assert engine_options("native:max_rows=auto", {}) == ("native", {"max_rows": "auto"})
    assert engine_options("endpoint:timeout=60,max_requests=5", {}) == (
        "endpoint",
        {"timeout": 60.0, "max_requests": 5},
    )
    assert parse_decoding("temperature=0.7, top_k=5", Decoding()) == Decoding(temperature=0.7, top_k=5)
    assert read_options("--decoding", "", "top_p=0.5") == {"top_p": "0.5"}
    for read, words in (
        (lambda: get_scorer("keys:min_keys=1.5"), "Scorer option keys:min_keys must be a number like 1"),
        (lambda: get_probe("few-shot:shots=1.5"), "Probe option few-shot:shots must be a number like 3"),
        (lambda: engine_options("native:tree=maybe", {}), "Engine option native:tree must be yes or no"),
        (lambda: parse_decoding("top_k=1.5", Decoding()), "--decoding top_k must be a number like 0"),
        (lambda: parse_decoding("top_k", Decoding()), "--decoding option 'top_k' in 'top_k' has no value; write top_k=VALUE"),
        (lambda: parse_decoding("topp=1", Decoding()), "--decoding has no option 'topp'; .* did you mean top_p"),
        (lambda: parse_decoding("top_p=1,top_p=1", Decoding()), "--decoding option 'top_p' is given twice"),
    ):  # fmt: skip
        with pytest.raises(InputError, match=words):
            read()
