"""What a guard acted on stands beside leak@k: in the results, on the page, in the terminal and in the headline."""

from dataclasses import replace

import pytest
from scipy.stats import binom

from leakatk.auditing.audit import audit
from leakatk.guards.sampler import guarded
from leakatk.prompts import Known
from leakatk.report.assemble import print_runs, write_report
from leakatk.report.headline import headline
from leakatk.runs.results import AuditResults, read_results
from leakatk.sampling.decoding import Decoding
from leakatk.sampling.native import NativeSampler
from tests.tiny import PROMPTS, save_tiny_model

FORGET, RETAIN = tuple(PROMPTS[:2]), tuple(PROMPTS[2:])
# Another wording of a forget prompt, which must be answered, and one that has nothing to do with it.
NEAR = (replace(FORGET[0], id="near", question=FORGET[0].question + "?"), replace(FORGET[0], id="far", question="Zzz"))


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    from leakatk.models.load import load_model

    return load_model(save_tiny_model(tmp_path_factory.mktemp("flagged") / "tiny"), device="cpu")


def audited(model, out, spec="curate", *, neighbours=NEAR, retain=RETAIN, **how):
    known = Known(FORGET, RETAIN, encoder="words", neighbours=neighbours)
    return audit(
        guarded(NativeSampler(model), known, spec) if spec else NativeSampler(model), list(FORGET), out=out, n=4,
        decoding=Decoding(max_new_tokens=4), retain=list(retain), scorers=["rouge-l"], quiet=True, **how,
    )  # fmt: skip


def test_each_group_is_counted_with_the_exact_interval(model, tmp_path):
    found = audited(model, tmp_path / "run", probes=("typos",))["guard"]
    assert found["name"] == "curate"
    assert not found["always"]
    groups = found["groups"]
    assert list(groups) == ["forget", "forget, typos", "retain", "neighbours"]
    assert (groups["forget"]["flagged"], groups["forget"]["m"]) == (2, 2)
    assert (groups["retain"]["flagged"], groups["retain"]["m"]) == (0, len(RETAIN))
    near = groups["neighbours"]
    assert (near["flagged"], near["m"], near["value"]) == (1, 2, 0.5)
    # The ends are those probabilities under which as many, or as few, are as likely as the tail says.
    assert binom.sf(0, 2, near["low"]) == pytest.approx(0.025)
    assert binom.cdf(1, 2, near["high"]) == pytest.approx(0.025)
    assert groups["retain"]["low"] == 0.0
    assert binom.cdf(0, len(RETAIN), groups["retain"]["high"]) == pytest.approx(0.025)
    assert read_results(tmp_path / "run").as_dict()["guard"] == found


def test_what_the_detector_was_fitted_on_is_said(model, tmp_path):
    """A classifier has learned from the retain prompts; a calibrated threshold has seen them; a similarity has not."""
    fitted = [
        audited(model, tmp_path / f"run{i}", spec)["guard"]["groups"]["retain"]["fitted"]
        for i, spec in enumerate(("curate", "eco", "curate:keep=0.5"))
    ]
    assert fitted == [0, len(RETAIN), len(RETAIN)]


def test_neighbours_are_put_to_no_model(model, tmp_path):
    audited(model, tmp_path / "run")
    assert not any(b"Zzz" in file.read_bytes() for file in (tmp_path / "run").rglob("prompts*"))


def test_it_stands_wherever_leak_is_printed(model, tmp_path, capsys):
    results = audited(model, tmp_path / "run")
    print_runs([tmp_path / "run"])
    shown = capsys.readouterr().out
    assert "Flagged by the guard" in shown
    assert "1 of 2" in shown
    assert "Flagged by the guard" in write_report([tmp_path / "run"], tmp_path / "report.html").read_text()
    assert f"guard curate flags 0% of {len(RETAIN)} retain prompts (0% to" in headline(results)
    assert "and 50% of 2 neighbours" in headline(results)


def test_without_prompts_that_must_be_answered_this_is_said(model, tmp_path, capsys):
    results = audited(model, tmp_path / "run", neighbours=(), retain=())
    print_runs([tmp_path / "run"])
    assert "its false refusals are unknown" in " ".join(capsys.readouterr().out.split())
    assert "of prompts that must be answered is unknown" in headline(results)


def test_without_a_guard_nothing_is_said(model, tmp_path, capsys):
    results = audited(model, tmp_path / "run", "")
    assert "guard" not in results
    print_runs([tmp_path / "run"])
    assert "guard" not in capsys.readouterr().out
    assert "guard" not in headline(AuditResults.from_dict(results))
