"""One audited run as the report reads it: what is refused, how runs of one name are told apart, and its numbers."""

import json
import math

import pytest

from leakatk.errors import InputError, RunError
from leakatk.files.writing import write_kept
from leakatk.report.audited import at, block_of, curve_of, number, read_audits
from leakatk.report.content import Number
from leakatk.runs.manifest import Manifest
from leakatk.runs.store import Run
from leakatk.sampling.decoding import Decoding
from tests.auditing.scripted import PROMPTS
from tests.report.audits import KS, curve, made


@pytest.fixture
def place(tmp_path):
    made(tmp_path / "run", label="one")
    return tmp_path / "run"


def test_a_run_is_read_as_it_was_audited(place):
    [one] = read_audits([place])
    assert (one.label, one.scorer, one.run.n, one.results.m) == ("one", "fact", 16, 10)
    assert list(one.results.scorers) == ["fact", "rouge-l"]
    [told] = read_audits([str(place)])
    assert told.results == one.results


def test_samples_without_results_say_what_finishes_them(tmp_path):
    manifest = Manifest.create(
        model={"fingerprint": "f"}, prompts=PROMPTS, decoding=Decoding().as_dict(), seed=0, n=1, engine="scripted"
    )
    Run.create_or_resume(tmp_path / "run", manifest, PROMPTS).close()
    with pytest.raises(
        InputError, match=r"run holds samples but no results; run `leakatk audit` with --out .*run to finish"
    ):
        read_audits([tmp_path / "run"])
    write_kept(tmp_path / "run" / "results.json", json.dumps({"label": "x", "scorers": {}, "decoding": "T=1"}))
    with pytest.raises(RunError, match=r"run holds no samples; run the same audit again: what is missing is sampled"):
        read_audits([tmp_path / "run"])


@pytest.mark.parametrize("content", ["[]", "{}", '{"label": "x", "scorers": {}}', "5"])
def test_results_that_no_audit_wrote_are_named(place, content):
    write_kept(place / "results.json", content)
    with pytest.raises(RunError, match=r"results\.json is not what an audit writes; run the same audit again"):
        read_audits([place])


def test_a_directory_that_is_no_run_is_refused(place, tmp_path):
    with pytest.raises(RunError, match="no such run directory"):
        read_audits([place, tmp_path / "nowhere"])


def test_runs_of_one_name_are_told_apart_by_decoding_else_by_place(place, tmp_path):
    made(tmp_path / "hot", label="one", decoding=Decoding(temperature=2, max_new_tokens=40))
    made(tmp_path / "again", label="one")
    made(tmp_path / "other", label="two")
    labels = [
        [one.label for one in read_audits(places)]
        for places in ([place, tmp_path / "other"], [place, tmp_path / "hot"])
    ]
    assert labels == [["one", "two"], ["one (T=1)", "one (T=2)"]]
    both = [one.label for one in read_audits([place, tmp_path / "again"])]
    assert both == ["one (run)", "one (again)"], "what both have in common tells nothing apart"


def test_what_was_not_scored_or_has_no_interval_says_how_to_get_it(tmp_path):
    one = made(tmp_path / "run", label="one", prompts=PROMPTS[:1])
    with pytest.raises(InputError, match=r"one was not scored with keys; audit it again with --scorer keys"):
        block_of(one, "keys")
    with pytest.raises(InputError, match=r"one was not scored with keys"):
        curve_of(one, "keys", "samples")
    with pytest.raises(InputError, match=r"one has one prompt, so no interval over prompts; use --over samples"):
        curve_of(one, "fact", "prompts")
    assert list(curve_of(one, "fact", "samples").k) == KS
    assert curve_of(one, "fact", "samples") is block_of(one, "fact").curves["samples"]


def test_a_cell_is_the_number_of_its_k_or_empty():
    found = curve(0.2, 0.3, 0.5)
    assert at(found, 4) == Number(0.3, pytest.approx(0.2), pytest.approx(0.4))
    assert at(found, 16).value == 0.5
    assert at(found, 8) == ""


def test_what_is_not_known_is_a_dash():
    assert str(number(None)) == str(number(math.nan)) == "–"
    assert number(0.25) == Number(0.25)
