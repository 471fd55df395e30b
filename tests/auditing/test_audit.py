"""The public call: settings or the former arguments, the retrained model by both its names."""

import json

import pytest

import leakatk as lk
from leakatk.auditing.settings import AuditSettings
from leakatk.errors import InputError, UnknownNameError
from leakatk.runs.results import read_results
from leakatk.sampling.decoding import Decoding
from tests.auditing.scripted import CLEAN, LEAK, PROMPTS, Scripted

SHORT = {"n": 4, "decoding": Decoding(max_new_tokens=40), "scorers": ["fact"]}


def half(prompt, j, greedy):
    return LEAK if int(prompt.id[1]) % 2 else CLEAN


def never(prompt, j, greedy):
    return CLEAN


def without_times(results):
    return {name: value for name, value in results.items() if name != "seconds"}


def test_settings_and_the_former_arguments_are_one_audit(tmp_path):
    former = lk.audit(Scripted(half), PROMPTS, out=tmp_path / "former", quiet=True, **SHORT)
    settings = AuditSettings.of(**SHORT)
    found = lk.audit(Scripted(half), PROMPTS, out=tmp_path / "now", settings=settings, quiet=True)
    assert without_times(found) == without_times(former)
    assert found["scorers"]["fact"]["mean"] == 0.5


def test_what_comes_back_is_what_is_kept(tmp_path):
    found = lk.audit(Scripted(half), PROMPTS, out=tmp_path / "run", quiet=True, retrained=Scripted(never), **SHORT)
    assert json.loads((tmp_path / "run" / "results.json").read_text()) == found
    assert read_results(tmp_path / "run").as_dict() == found


def test_reference_is_the_former_name_of_retrained(tmp_path):
    now = lk.audit(Scripted(half), PROMPTS, out=tmp_path / "now", quiet=True, retrained=Scripted(never), **SHORT)
    former = lk.audit(Scripted(half), PROMPTS, out=tmp_path / "former", quiet=True, reference=Scripted(never), **SHORT)
    assert without_times(now) == without_times(former)
    assert now["scorers"]["fact"]["excess"]["samples"]["value"] == [0.5] * 3
    assert now["reference"]["model"] == "scripted"
    assert (tmp_path / "now" / "reference" / "manifest.json").exists()
    with pytest.raises(InputError, match="retrained or reference, not both"):
        lk.audit(Scripted(half), PROMPTS, out=tmp_path / "x", retrained=Scripted(never), reference=Scripted(never))


def test_two_spellings_and_unknown_names_are_said(tmp_path):
    with pytest.raises(InputError, match="Give settings or n, scorers, not both"):
        lk.audit(Scripted(half), PROMPTS, out=tmp_path / "run", settings=AuditSettings(), n=4, scorers=["fact"])
    with pytest.raises(UnknownNameError, match="did you mean decoding"):
        lk.audit(Scripted(half), PROMPTS, out=tmp_path / "run", decodings=Decoding())
    assert not (tmp_path / "run").exists()
