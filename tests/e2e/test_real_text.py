"""The whole path on real TOFU text, through the command line. Minutes long: `make test-slow`."""

import json

import pytest

pytestmark = [pytest.mark.slow, pytest.mark.data, pytest.mark.timeout(3600)]


def test_tofu(leakatk, data_dir, tmp_path):
    models, runs = tmp_path / "models", tmp_path / "runs"

    def ok(*arguments):
        code, out, err = leakatk(*arguments)
        assert code == 0, err
        return out

    ok("train-small", "--benchmark", "tofu", "--data", data_dir / "tofu", "--authors", "20", "--out", models, "--quiet")
    prompts = ("--forget", models / "forget.jsonl", "--retain", models / "retain.jsonl")
    ok("unlearn", models / "full", *prompts, "--method", "idknll", "--lr", "2e-4", "--param", "forget_weight=0.3",
       "--stop-greedy", "--max-new-tokens", "144", "--out", models / "idknll", "--quiet")  # fmt: skip
    results = {}
    for name in ("retrained", "full", "idknll"):
        reference = () if name == "retrained" else ("--reference", runs / "retrained")
        ok("audit", models / name, "--forget", models / "forget.jsonl", "--retain", models / "retain_held.jsonl",
           "--n", "64", "--max-new-tokens", "144", "--out", runs / name, "--quiet", *reference)  # fmt: skip
        results[name] = json.loads((runs / name / "results.json").read_text())
    greedy = {name: result["scorers"]["rouge-l"]["greedy"] for name, result in results.items()}
    assert greedy["full"] > 0.9
    assert greedy["retrained"] < 0.3
    keys = results["idknll"]["scorers"]["keys"]
    assert keys["greedy"] == 0
    assert keys["curves"]["samples"]["value"][-1] > 0.05  # greedy shows nothing, sampling does
    assert results["full"]["exact"]["value"][0] > 0.5
