"""Settings of an audit: one dataclass behind the Python arguments, the command line and TOML."""

import dataclasses
import inspect
import json
import tomllib

import pytest

from leakatk.auditing.settings import MAX_N, AuditSettings, Gate, powers_of_two
from leakatk.cli import audit as command
from leakatk.cli.options import field_docs
from leakatk.errors import InputError, UnknownNameError
from leakatk.probes import get_probe
from leakatk.sampling.decoding import Decoding

# Field -> the options of `leakatk audit` that set it; None: for Python alone.
OPTIONS = {
    "ks": ("k",),
    "decoding": tuple(one.name for one in dataclasses.fields(Decoding)),
    "scorers": ("scorer",),
    "probes": ("probe",),
    "paraphrases": ("one_wording",),
    "gate": ("fail_above", "worst_case", "unscored", "cut", "over"),
    "engine_options": ("url", "replicas", "inner", "max_cost", "max_requests"),
    "exact": None,
    "protocol": None,
}
OF_THE_FILE = {"benchmark", "gate", "ks", "scorers", "probes", "paraphrases", "engine_options"}  # of another kind there


def test_every_field_says_what_it_is():
    for kind in (AuditSettings, Gate):
        docs = field_docs(kind)
        assert docs.keys() == {one.name for one in dataclasses.fields(kind)}
        assert all(text.endswith(".") for text in docs.values())


@pytest.mark.parametrize("field", [one.name for one in dataclasses.fields(AuditSettings)])
def test_every_field_is_an_option_with_the_same_default(field):
    options = inspect.signature(command.run).parameters
    names = OPTIONS.get(field, (field,))
    if names is None:
        assert field not in options
        return
    assert set(names) <= options.keys()
    default = getattr(AuditSettings(), field)
    if field == "decoding":
        assert {name: options[name].default or type(getattr(default, name))() for name in names} == dataclasses.asdict(
            default
        )
    elif field not in OF_THE_FILE:
        assert options[field].default == default


def test_the_former_arguments_make_settings():
    made = AuditSettings.of(n=4, ks=[1, 2], scorers=["fact"], decoding=None, label=None, gate=None, engine_options=None)
    assert made == AuditSettings(n=4, ks=(1, 2), scorers=("fact",))


def test_an_unknown_name_is_answered_with_the_nearest():
    with pytest.raises(UnknownNameError, match="did you mean scorers"):
        AuditSettings.of(scorer=["fact"])
    with pytest.raises(UnknownNameError, match="setting of decoding 'temprature': did you mean temperature"):
        AuditSettings.from_dict({"decoding": {"temprature": 1}})


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"n": 0}, "n must be at least 1"),
        ({"n": MAX_N + 1}, "at most 1,000,000"),
        ({"n": 4, "ks": (8,)}, "k = 8 needs at least 8 samples"),
        ({"ks": (0,)}, "at least 1, got 0"),
        ({"level": 1.0}, "level must be between 0 and 1"),
        ({"scorers": "fact"}, "scorers must be a list"),
        ({"gate": {"k": 1, "bound": 0.1, "cut": "perhaps"}}, "perhaps"),
        ({"gate": {"k": 1}}, "gate cannot be read"),
    ],
)
def test_what_cannot_be_used_is_said(values, words):
    with pytest.raises(InputError, match=words):
        AuditSettings.from_dict(values)


def test_they_survive_json_and_toml():
    made = AuditSettings(
        n=8, ks=(1, 8), decoding=Decoding(temperature=0.5, stop=("\n",)), scorers=("fact",), probes=("prefix:words=2",),
        gate=Gate(8, 0.1, over="prompts"), engine_options={"max_rows": 2},
    )  # fmt: skip
    assert AuditSettings.from_dict(json.loads(json.dumps(made.as_dict()))) == made
    text = 'n = 8\nks = [1, 8]\nprobes = ["prefix"]\n[decoding]\ntop_p = 0.9\n[gate]\nk = 8\nbound = 0.1\n'
    read = AuditSettings.from_dict(tomllib.loads(text))
    assert (read.ks, read.decoding.top_p, read.gate) == ((1, 8), 0.9, Gate(8, 0.1))
    assert AuditSettings(probes=(get_probe("prefix:words=2"),)).as_dict()["probes"] == ["prefix:words=2"]


def test_the_ks_are_powers_of_two_unless_given():
    assert AuditSettings(n=5).all_ks == [1, 2, 4] == powers_of_two(5)
    assert AuditSettings(n=5, ks=(3,)).all_ks == [3]
