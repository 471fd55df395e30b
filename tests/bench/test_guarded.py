"""A bench behind a guard."""

import pytest

from leakatk.auditing.audit import audit
from leakatk.bench.bench import bench
from leakatk.bench.results import read_rows, results_table
from leakatk.errors import InputError
from leakatk.guards.sampler import guarded
from leakatk.models.load import load_model
from leakatk.prompts import Known
from leakatk.runs.store import Run
from leakatk.sampling.native import NativeSampler
from tests.bench.conftest import BENCH, SHORT


def test_a_guard_stands_before_every_model(models, tmp_path):
    """leak@k is that of an audit behind the same guard; the retrained model is behind one too; weights are not looked at."""
    options = {"n": 2, "retain_n": 2, "decodings": [SHORT], "scorer": "rouge-l", "quiet": True, "out": tmp_path / "out"}
    rows = bench(models / "forgot", BENCH, retrained=models / "retrained", guard="curate", encoder="words", **options)
    own = {row["role"]: row for row in rows}
    known = Known(BENCH.forget, BENCH.retain, encoder="words")
    for role, name in (("retrained", "retrained"), ("model", "forgot")):
        behind = guarded(NativeSampler(load_model(models / name, device="cpu")), known, "curate")
        assert own[role]["model_sha256"] == behind.describe()["fingerprint"]
        manifest = Run.open(own[role]["run"]).manifest.model
        assert manifest["model"].endswith("with guard curate")
        assert manifest["guard"] == behind.describe()["guard"]
    results = audit(
        behind, BENCH.forget, out=tmp_path / "audit", n=2, ks=[1, 2], decoding=SHORT, scorers=["rouge-l"], quiet=True
    )
    curve = results["scorers"]["rouge-l"]["curves"]["samples"]
    assert [own["model"]["leak@1"], own["model"]["leak@2"]] == curve["value"]
    assert own["model"]["flagged"] == 1.0
    assert own["model"]["false_refusals"] == 0.0
    assert own["model"]["false_refusals high"] == pytest.approx(1 - 0.025**0.5)  # Clopper-Pearson of 0 of 2
    assert not {"model_utility", "forget_prob"} & own["model"].keys()
    shown = results_table(rows)
    assert shown.rows[1][0] == "forgot behind curate"
    assert shown.columns[-2:] == ("flagged", "false_refusals")
    assert "share of the forget prompts that it acts on" in shown.caption
    bare = bench(models / "forgot", BENCH, grad_norm=False, **options)[0]
    assert bare["model_sha256"] != own["model"]["model_sha256"]
    assert len(read_rows(tmp_path / "out")) == 3, "the bare model has a row of its own"


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"guard": "curat"}, "did you mean curate"),
        ({"guard": "ucd"}, "auxiliary model named 'clean'"),
        ({"guard": "curate", "metrics": ["extraction"]}, "leave out --metric"),
    ],
)
def test_what_cannot_be_measured_behind_a_guard_is_said(models, tmp_path, given, says):
    with pytest.raises(InputError, match=says):
        bench(models / "forgot", BENCH, out=tmp_path / "out", quiet=True, **given)
    assert not (tmp_path / "out").exists()
