"""What earlier versions wrote opens in this one, says the same numbers, and is gone on with.

`runs_9daaaed` was made by `make_runs.py` with the code of that commit. Expected values are read here with pyarrow and
json alone, so that a reader that errs is seen.
"""

import json
import math
import shutil
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from safetensors.torch import load_file

from leakatk.bench.results import read_rows
from leakatk.estimate.leak import leak_at_k
from leakatk.runs.store import Run
from leakatk.scorers.base import get_scorer
from leakatk.unlearning.trainer import Trainer
from tests.golden import make_runs
from tests.tiny import PROMPTS

HERE = Path(__file__).parent
OLD = ("runs_9daaaed",)
RUNS = [path.parent.relative_to(HERE) for old in OLD for path in sorted((HERE / old).rglob("manifest.json"))]
AUDITS = [path.parent.relative_to(HERE) for old in OLD for path in sorted((HERE / old).rglob("results.json"))]


@pytest.fixture(params=OLD)
def place(request, tmp_path, monkeypatch):
    """A copy of everything, and the current directory, as it was when the paths in it were written."""
    copy = tmp_path / request.param
    shutil.copytree(HERE / request.param, copy)
    monkeypatch.chdir(copy)
    return copy


def no_work(monkeypatch):
    """Whoever samples or trains is caught."""

    def caught(*arguments, **options):
        raise AssertionError("what was finished was computed again")

    monkeypatch.setattr("leakatk.sampling.native.NativeSampler.sample", caught)
    monkeypatch.setattr("leakatk.sampling.answer_tree.forward", caught)
    monkeypatch.setattr(Trainer, "step", caught)


def rows_of(path):
    """{(prompt id, sample): row}, by pyarrow and json."""
    rows = pq.read_table(path / "generations.parquet").to_pylist() if (path / "generations.parquet").exists() else []
    for shard in sorted((path / "generations").glob("*.jsonl")):
        rows += [json.loads(line) for line in shard.read_text().splitlines() if line.endswith('"}')]
    return {(row["prompt_id"], row["sample"]): row for row in rows}


def files(path):
    return {file.relative_to(path): file.read_bytes() for file in sorted(path.rglob("*")) if file.is_file()}


def curves(results):
    """{(scorer, over): curve} of one way of asking."""
    return {
        (name, over): curve
        for name, block in results["scorers"].items()
        for over, curve in block["curves"].items()
        if over in ("samples", "prompts")
    }


def same(found, wanted):
    """Numbers of another processor: the last digits are free, what is missing is not."""
    assert found["k"] == wanted["k"]
    for name in ("value", "low", "high"):
        np.testing.assert_allclose(
            np.array(found[name], dtype=float), np.array(wanted[name], dtype=float), rtol=1e-7, atol=1e-9
        )


def test_they_are_small_and_name_no_machine():
    for old in OLD:
        held = files(HERE / old)
        assert sum(map(len, held.values())) < 1_000_000
        for name, content in held.items():
            if name.suffix in (".json", ".jsonl", ".toml", ".jinja", ".lock"):
                for word in (b"/tmp", b"/home", b"/root", b"/work", b"/Users", b"\\\\"):
                    assert word not in content.replace(rb"\u", b"").replace(rb"\"", b"").replace(rb"\n", b""), (
                        name,
                        word,
                    )


@pytest.mark.parametrize("name", RUNS, ids=str)
def test_a_run_opens_and_holds_what_was_stored(name):
    stored = rows_of(HERE / name)
    manifest = json.loads((HERE / name / "manifest.json").read_text())
    run = Run.open(HERE / name)
    assert [prompt.id for prompt in run.prompts] == list(run.prompt_ids)
    if "unfinished" in name.parts:
        assert run.n < manifest["n"]
        assert len(list(run.generations())) == len(stored) == manifest["n"] * len(run.prompts) - 1
        assert any("1 half-written or damaged line" in note for note in run.notes)
        return
    assert run.n == manifest["n"]
    assert len(stored) == run.n * len(run.prompts)
    seen = {(generation.prompt_id, generation.sample): generation for generation in run.generations()}
    assert seen.keys() == stored.keys()
    for key, row in stored.items():
        one = seen[key]
        assert (one.text, one.finish_reason, list(one.token_ids), one.reasoning) == (
            row["text"], row["finish"], row["token_ids"], row.get("reasoning") or "",
        )  # fmt: skip
        assert repr(one.logprob) == repr(math.nan if row["logprob"] is None else row["logprob"])
    ordered = [[stored[id, j] for j in range(run.n)] for id in run.prompt_ids]
    assert run.texts() == [[row["text"] for row in line] for line in ordered]
    assert run.finishes() == [[row["finish"] for row in line] for line in ordered]
    assert run.reasonings() == [["" for _ in line] for line in ordered]
    assert {row["finish"] for line in ordered for row in line} <= {"stop", "length"}


@pytest.mark.parametrize("name", [name for name in RUNS if (HERE / name / "scores").is_dir()], ids=str)
def test_scores_are_current_and_are_what_the_texts_score_today(name):
    run = Run.open(HERE / name)
    assert run.score_names()
    for scorer in run.score_names():
        assert run.has_scores(scorer)
        kept = run.scores(scorer)
        table = pq.read_table(next((HERE / name / "scores").glob(f"{scorer}*")) / "scores.parquet").to_pylist()
        row = {id: i for i, id in enumerate(run.prompt_ids)}
        assert all(kept[row[one["prompt_id"]], one["sample"]] == one["score"] for one in table)
        assert len(table) == kept.size
        flat = [(prompt, text) for prompt, texts in zip(run.prompts, run.texts(), strict=True) for text in texts]
        again = get_scorer(scorer).score([prompt for prompt, _ in flat], [text for _, text in flat])
        np.testing.assert_allclose(np.asarray(again).reshape(kept.shape), kept, atol=1e-12)


@pytest.mark.parametrize("name", AUDITS, ids=str)
def test_leak_at_k_is_what_was_stored(name):
    run = Run.open(HERE / name)
    results = run.results()
    assert results == json.loads((HERE / name / "results.json").read_text())
    for (scorer, over), curve in curves(results).items():
        found = leak_at_k(run.scores(scorer), curve["k"], over=over, level=results["level"])
        same({"k": curve["k"], "value": found.value, "low": found.low, "high": found.high}, curve)


def test_some_of_them_leak_and_some_do_not():
    """Else the numbers above would be easy to get right."""
    headlines = [Run.open(HERE / name).results() for name in AUDITS]
    values = {results["scorers"]["fact"]["curves"]["samples"]["value"][0] for results in headlines}
    assert len(values) > 2
    assert all(0 < value < 1 for value in values)


@pytest.mark.parametrize("what", ["audit", "expansion", "endpoint", "bench"])
def test_the_report_is_made_again(what, place, leakatk):
    code, out, err = leakatk("report", what)
    assert (code, err.count("Traceback")) == (0, 0), err
    page = (place / what / "report.html").read_text()
    assert "leak@" in page
    assert "fact" in page
    code, out, _ = leakatk("report", what, "--json")
    assert code == 0
    assert json.loads(out)


@pytest.mark.parametrize("what", ["audit", "expansion", "bench"])
def test_a_finished_run_is_resumed_without_sampling(what, place, leakatk, monkeypatch):
    wanted = {path: json.loads(path.read_text()) for path in sorted((place / what).rglob("results.json"))}
    assert wanted
    no_work(monkeypatch)
    before = {path: content for path, content in files(place / what).items() if path.name == "generations.parquet"}
    code, _, err = leakatk("bench" if what == "bench" else "audit", "--config", f"{what}/config.toml", "--quiet")
    assert code == 0, err
    after = files(place / what)
    assert all(after[path] == content for path, content in before.items())
    for path, old in wanted.items():
        new = json.loads(path.read_text())
        assert (new["m"], new["n"]) == (old["m"], old["n"])
        for key, curve in curves(old).items():
            same(curves(new)[key], curve)


def test_a_finished_endpoint_run_is_resumed_from_disk(place, leakatk, monkeypatch):
    """The same server, as far as its address says; a few questions to know it again are allowed, samples are not."""
    monkeypatch.setenv("OPENAI_API_KEY", "none")
    server = make_runs.Server()
    try:
        was = json.loads((place / "endpoint" / "manifest.json").read_text())["model"]["fingerprint"].split(" at ")[1]
        for file in [*(place / "endpoint").rglob("manifest.json"), place / "endpoint" / "config.toml"]:
            file.write_text(file.read_text().replace(was, server.url.removeprefix("http://")))
        old = json.loads((place / "endpoint" / "results.json").read_text())
        texts = Run.open("endpoint").texts()
        code, _, err = leakatk("audit", "--config", "endpoint/config.toml", "--quiet")
        assert code == 0, err
        assert server.requests < sum(map(len, texts))
    finally:
        server.close()
    assert Run.open("endpoint").texts() == texts
    new = Run.open("endpoint").results()
    for key, curve in curves(old).items():
        same(curves(new)[key], curve)


def test_a_sampled_run_is_scored(place, leakatk):
    code, out, err = leakatk("score", "sampled", "--scorer", "rouge-l", "--json", "--quiet")
    assert code == 0, err
    assert json.loads(out)
    run = Run.open("sampled")
    flat = [(prompt, text) for prompt, texts in zip(run.prompts, run.texts(), strict=True) for text in texts]
    scored = get_scorer("rouge-l").score([prompt for prompt, _ in flat], [text for _, text in flat])
    np.testing.assert_allclose(run.scores("rouge-l").ravel(), scored)
    assert 0 < run.scores("rouge-l").mean() < 1


def test_an_unfinished_run_goes_on_with_what_is_missing(place, monkeypatch):
    from leakatk.auditing.sample import sample
    from leakatk.sampling.native import NativeSampler

    kept = rows_of(place / "unfinished")
    asked = []
    draw = NativeSampler.sample

    def seen(self, requests, decoding, *, seed):
        asked.extend((request.prompt.id, j) for request in requests for j in request.samples)
        return draw(self, requests, decoding, seed=seed)

    monkeypatch.setattr(NativeSampler, "sample", seen)
    run = sample("model", PROMPTS, n=4, seed=5, out="unfinished", quiet=True)
    everything = {(prompt.id, j) for prompt in PROMPTS for j in range(4)}
    assert set(asked) == everything - kept.keys()
    assert len(asked) == 1
    held = {(one.prompt_id, one.sample): one for one in Run.open("unfinished").generations()}
    assert held.keys() == everything
    assert all(held[key].text == row["text"] for key, row in kept.items())
    assert run.missing_count == 0


def test_a_bench_table_is_read(place, leakatk):
    rows = read_rows("bench")
    stored = pq.read_table("bench/results.parquet").to_pylist()
    assert [repr(sorted(row.items())) for row in rows] == [repr(sorted(row.items())) for row in stored]  # NaN too
    for row in rows:
        results = Run.open(row["run"]).results()
        curve = results["scorers"][row["scorer"]]["curves"]["samples"]
        for k, value in zip(curve["k"], curve["value"], strict=True):
            assert row[f"leak@{k}"] == pytest.approx(value, abs=1e-12)
    code, out, err = leakatk("table", "bench", "--layout", "leak", "--style", "csv")
    assert code == 0, err
    assert all(str(row["leak@1"])[:8] in out for row in rows)


def test_a_finished_model_is_loaded_without_a_step(place, monkeypatch):
    no_work(monkeypatch)
    stored = load_file("unlearned/model.safetensors")
    record = json.loads((place / "unlearned" / "unlearning.json").read_text())
    done = make_runs.unlearning("unlearned")
    assert done.steps == record["steps"] == 6
    assert [row["forget"] for row in done.log] == [row["forget"] for row in record["log"]]
    assert same_bits(load_file("unlearned/model.safetensors"), stored)
    assert not same_bits(load_file("model/model.safetensors"), stored)


def test_a_checkpoint_is_read_bit_for_bit_and_ends_where_the_whole_run_ended(place, tmp_path, monkeypatch):
    folder = place / "interrupted" / "checkpoints" / "step-00000004"
    weights, moments = load_file(folder / "weights.safetensors"), load_file(folder / "optimizer.safetensors")
    progress = json.loads((folder / "progress.json").read_text())
    stored = load_file("unlearned/model.safetensors")
    steps, given, held = [], {}, {}
    step = Trainer.step

    def seen(self, number):
        if not steps:
            given.update({name: value.detach().clone() for name, value in self.parameters().items()})
            for index, values in self.optimizer.state_dict()["state"].items():
                held.update({f"{index}.{name}": value.clone() for name, value in values.items()})
        steps.append(number)
        return step(self, number)

    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "step", seen)
        done = make_runs.unlearning("interrupted")
    resumed = load_file("interrupted/model.safetensors")
    assert same_bits(given, weights)
    assert same_bits(held, moments)
    assert steps == [4, 5]
    assert done.steps == 6
    assert list(done.log)[:4] == progress["log"]
    for name, value in stored.items():
        torch.testing.assert_close(resumed[name], value, atol=1e-5, rtol=1e-4)
    make_runs.unlearning(str(tmp_path / "whole"))
    if same_bits(
        load_file(tmp_path / "whole" / "model.safetensors"), stored
    ):  # this processor rounds as the one that made them
        assert same_bits(resumed, stored)


def test_rule_is_finished_without_a_sample_or_a_step(place, leakatk, monkeypatch):
    no_work(monkeypatch)
    stored = {name: load_file(f"{name}/model.safetensors") for name in ("rule", "rule/control")}
    old = json.loads((place / "rule" / "rounds" / "rounds.json").read_text())
    code, out, err = leakatk("unlearn", "--config", "rule/config.toml", "--quiet", "--json")
    assert code == 0, err
    found = json.loads(out)
    assert [(one["round"], one["leak"], one["high"], one["added"], one["steps"]) for one in found["rounds"]] == [
        (one["round"], one["leak"], one["high"], one["added"], one["steps"]) for one in old["rounds"]
    ]
    assert (found["chosen"], found["verdict"]) == (old["chosen"], old["verdict"])
    for name, weights in stored.items():
        assert same_bits(load_file(f"{name}/model.safetensors"), weights)
    assert not same_bits(stored["rule"], stored["rule/control"])


def same_bits(found, wanted):
    return found.keys() == wanted.keys() and all(
        found[name].dtype == wanted[name].dtype and torch.equal(found[name], wanted[name]) for name in wanted
    )
