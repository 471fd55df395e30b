"""An audit under several ways of asking, on a tiny model: its numbers, resuming, its report, and what it refuses."""

import json

import numpy as np
import pytest

import leakatk as lk
from leakatk.auditing.audit import audit
from leakatk.prompts import save_prompts
from leakatk.report.assemble import content_of
from leakatk.report.audited import read_audits
from leakatk.report.headline import headline
from leakatk.report.leak_tables import probes_table
from leakatk.runs.store import Run
from tests.e2e.test_kill import killed, spawn, timed, without_times  # noqa: F401
from tests.tiny import PROMPTS, save_tiny_model

KEPT = [
    lk.Prompt(f"r{i}", f"Where was {name} born?", f"{name} was born in Lusk.")
    for i, name in enumerate(("Di", "Eva", "Fay"))
]
PROBES = ("few-shot:shots=2", "prefix", "context")
SHORT = {"n": 4, "decoding": lk.Decoding(max_new_tokens=4), "quiet": True, "retain": KEPT, "exact": False}


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    place = tmp_path_factory.mktemp("models")
    return [save_tiny_model(place / f"tiny-{seed}", seed=seed) for seed in (0, 1)]


@pytest.fixture(scope="module")
def run(models, tmp_path_factory):
    out = tmp_path_factory.mktemp("run") / "audit"
    audit(models[0], PROMPTS, out=out, probes=PROBES, reference=models[1], scorers=["rouge-l", "fact"], **SHORT)
    return out


def scores(place, scorer="rouge-l"):
    found = Run.open(place)
    return dict(zip(found.prompt_ids, lk.score(found, scorer), strict=True))


def test_results_are_those_of_the_runs(run):
    results = json.loads((run / "results.json").read_text())
    assert list(results["probes"]) == list(PROBES)
    assert [results["probes"][name]["gives_answer"] for name in PROBES] == [False, False, True]
    assert results["worst"]["ways"] == 3.0, "context gives the answer away"
    for name, place in zip(PROBES, ("few-shot-shots=2", "prefix", "context"), strict=True):
        sampled = Run.open(run / "probes" / place)
        assert sampled.manifest.probe == name
        assert all(f"/{name}" in prompt.id for prompt in sampled.prompts)
        block = results["probes"][name]["scorers"]["rouge-l"]
        own, reference = scores(run / "probes" / place), scores(run / "reference" / "probes" / place)
        assert own.keys() == reference.keys()
        curve = lk.leak_at_k(np.array(list(own.values())), [1, 2, 4])
        assert block["curves"]["samples"]["value"] == pytest.approx(curve.value.tolist())
        mean = np.mean([own[i].mean() - reference[i].mean() for i in own])
        assert block["excess"]["samples"]["value"][0] == pytest.approx(mean)
    assert Run.open(run).manifest.probe == ""


def test_the_worst_case_is_the_most_leaking_of_the_jth_samples(run):
    results = json.loads((run / "results.json").read_text())
    rows = [scores(run), scores(run / "probes" / "few-shot-shots=2"), scores(run / "probes" / "prefix")]
    stacked = [np.max([one[next(i for i in one if i.split("/")[0] == p.id)] for one in rows], axis=0) for p in PROMPTS]
    curve = lk.leak_at_k(np.array(stacked), [1, 2, 4])
    found = results["worst"]["scorers"]["rouge-l"]
    assert found["curves"]["samples"]["value"] == pytest.approx(curve.value.tolist())
    assert found["curves"]["samples"]["value"][-1] == pytest.approx(np.mean(np.max(stacked, axis=1)))
    assert found["excess"]["samples"]["k"] == [1, 2, 4]


def test_again_is_a_no_op_and_another_probe_keeps_the_samples(models, tmp_path):
    first = audit(models[0], PROMPTS, out=tmp_path / "run", **SHORT)
    assert "probes" not in first
    assert "worst" not in first
    held = (tmp_path / "run" / "generations.parquet").read_bytes()
    one = audit(models[0], PROMPTS, out=tmp_path / "run", probes=["trigger"], **SHORT)
    files = {path: path.stat().st_mtime_ns for path in (tmp_path / "run").rglob("generations.parquet")}
    again = audit(models[0], PROMPTS, out=tmp_path / "run", probes=["trigger"], **SHORT)
    assert without_times(again) == without_times(one)
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "run").rglob("generations.parquet")} == files
    assert (tmp_path / "run" / "generations.parquet").read_bytes() == held
    assert one["scorers"] == first["scorers"]
    more = audit(models[0], PROMPTS, out=tmp_path / "run", probes=["typos", "trigger"], **{**SHORT, "n": 8})
    assert list(more["probes"]) == ["typos", "trigger"]
    assert Run.open(tmp_path / "run" / "probes" / "trigger").n == 8


def probed_audit(model, out):
    import torch

    torch.set_num_threads(1)
    return audit(model, PROMPTS, out=out, probes=["few-shot:shots=2", "prefix"], **{**SHORT, "n": 16})


def test_killed_it_ends_with_the_same_numbers(spawn, models, tmp_path):  # noqa: F811
    timed(spawn, probed_audit, models[0], tmp_path / "first")
    length = timed(spawn, probed_audit, models[0], tmp_path / "whole")
    wanted = without_times(json.loads((tmp_path / "whole" / "results.json").read_text()))
    kills = sum(killed(spawn(probed_audit, models[0], tmp_path / f"run-{i}"), length * (i + 1) / 4) for i in range(3))
    for i in range(3):
        assert without_times(probed_audit(models[0], tmp_path / f"run-{i}")) == wanted
    assert kills >= 1


def test_a_run_as_the_reference_must_have_been_asked_so(models, run, tmp_path):
    with pytest.raises(
        lk.LeakAtKError, match="was not asked with probe role; audit the retrained model with --probe role"
    ):
        audit(models[0], PROMPTS, out=tmp_path / "a", probes=["role"], reference=run, **SHORT)
    other = {**SHORT, "retain": KEPT[::-1]}
    with pytest.raises(lk.LeakAtKError, match=r"asks 'p0/few-shot:shots=2' otherwise"):
        audit(models[0], PROMPTS, out=tmp_path / "a", probes=["few-shot:shots=2"], reference=run, **other)
    assert not (tmp_path / "a").exists(), "refused before anything is sampled"
    found = audit(models[0], PROMPTS, out=tmp_path / "a", probes=["prefix"], reference=run, **SHORT)
    assert found["probes"]["prefix"]["scorers"]["fact"]["excess"]["samples"]["value"] == [0.0] * 3
    assert found["worst"]["scorers"]["fact"]["excess"]["samples"]["value"] == [0.0] * 3


def test_variants_of_one_prompt_are_one_cluster(models, tmp_path):
    """Two wordings of each prompt are no more prompts: the interval over prompts does not shrink."""
    twice = [lk.Prompt(p.id, p.question, p.answer, ("Tell me, who?", "Tell me, who?")) for p in PROMPTS]
    found = audit(
        models[0], twice, out=tmp_path / "run", probes=["paraphrase"], scorers=["rouge-l"], **{**SHORT, "n": 16}
    )
    block = found["probes"]["paraphrase"]["scorers"]["rouge-l"]
    assert block["prompt_ids"] == [f"{p.id}/paraphrase/{i}" for p in PROMPTS for i in (1, 2)]
    rows = np.array(list(scores(tmp_path / "run" / "probes" / "paraphrase").values()))
    owners = [p.id for p in PROMPTS for _ in (1, 2)]
    clustered = lk.leak_at_k(rows, [1], over="prompts", clusters=owners)
    assert block["curves"]["prompts"]["low"][0] == pytest.approx(clustered.low[0])
    assert block["curves"]["prompts"]["high"][0] == pytest.approx(clustered.high[0])
    apart = lk.leak_at_k(rows, [1], over="prompts")
    assert clustered.high[0] - clustered.low[0] > apart.high[0] - apart.low[0]


def test_the_report_shows_every_way_and_the_worst(run):
    audits = read_audits([run])
    table = probes_table(audits, over="samples")
    assert table is not None
    assert [row[1] for row in table.rows] == [
        "as it stands",
        "few-shot:shots=2",
        "prefix",
        "context *",
        "worst of 3 ways",
    ]
    assert table.columns[-1] == "excess@4"
    assert "does not compare" in table.caption
    assert "* gives the answer away" in table.caption
    assert str(table) in map(str, content_of(audits).tables)  # as text: in Python 3.13 a table with NaN equals no other
    assert "asked in 3 ways, 4 samples each" in headline(audits[0].results)
    [alone] = read_audits([run / "probes" / "prefix"])
    assert alone.label.endswith(", prefix")
    assert probes_table([alone], over="samples") is None
    assert content_of([alone]).prompts[0].question == "Q: Where was Ada born?\nA: Ada was born ..."


@pytest.fixture
def files(tmp_path):
    save_prompts(PROMPTS, tmp_path / "forget.jsonl")
    save_prompts(KEPT, tmp_path / "retain.jsonl")
    return "--forget", tmp_path / "forget.jsonl", "--retain", tmp_path / "retain.jsonl"


QUICK = ("--n", "4", "--max-new-tokens", "4", "--quiet")


def test_on_the_command_line(leakatk, models, files, tmp_path):
    command = (
        "audit",
        models[0],
        *files,
        *QUICK,
        "--out",
        tmp_path / "run",
        "--probe",
        "few-shot:shots=2",
        "--probe",
        "prefix",
    )
    code, out, err = leakatk(*command, "--dry-run")
    assert code == 0, err
    assert "6 prompts x 4 = 24 under 2 probes" in out
    assert "9 greedy answers" in out
    assert not (tmp_path / "run").exists()
    code, out, err = leakatk(*command, "--dry-run", "--json")
    assert json.loads(out)["answers"] == 9 * (4 + 1) + 3
    code, out, err = leakatk(*command)
    assert code == 0, err
    assert "By the way of asking" in out
    assert "worst of 3 ways" in out
    assert "By the way of asking" in (tmp_path / "run" / "report.html").read_text()
    code, out, err = leakatk(*command, "--json")
    assert code == 0, err
    assert set(json.loads(out)["probes"]) == {"few-shot:shots=2", "prefix"}
    code, out, err = leakatk("audit", "--config", tmp_path / "run" / "config.toml", "--quiet")
    assert code == 0, err
    assert "worst of 3 ways" in out
    code, out, err = leakatk("report", tmp_path / "run" / "probes" / "prefix", "--json")
    assert code == 0, err


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (("--probe", "few-shoot"), "did you mean few-shot?"),
        (("--probe", "few-shot:shots=4"), "needs as many retain prompts as shots"),
        (("--probe", "paraphrase"), "needs prompts with paraphrases, and none of the 3 prompts"),
        (("--probe", "role", "--probe", "role:seed=0"), "Probe role is given twice"),
        (("--probe", "prefix,words=2"), "Unknown probe"),
    ],
)
def test_what_cannot_be_asked_is_said(leakatk, models, files, tmp_path, given, message):
    code, _, err = leakatk("audit", models[0], *files, *QUICK, "--out", tmp_path / "run", *given)
    assert code == 2
    assert message in err
    assert "Traceback" not in err
    assert not (tmp_path / "run").exists()
