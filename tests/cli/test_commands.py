"""The commands, as a user gives them, on a tiny model."""

import json
import shlex
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from leakatk.prompts import Prompt, load_prompts, save_prompts
from leakatk.runs.store import Run
from tests.tiny import PROMPTS

SHORT = ("--n", "8", "--max-new-tokens", "6", "--quiet")


def test_audit_report_score_plan(leakatk, model, forget, tmp_path):
    common = ("--forget", forget, "--retain", forget, *SHORT)
    code, _, err = leakatk("audit", model, "--out", tmp_path / "reference", "--label", "yardstick", *common)
    assert code == 0, err
    code, out, err = leakatk(
        "audit", model, "--out", tmp_path / "run", "--seed", "1", "--reference", tmp_path / "reference", *common
    )
    assert code == 0, err
    assert "leaks 0% of 3 forget prompts within 8 samples" in out
    assert "the retrained model 0% (" in out
    assert "of the answers cut at 6 tokens; asked in one wording only." in out
    results = json.loads((tmp_path / "run" / "results.json").read_text())
    assert results["scorers"]["fact"]["excess"]["samples"]["value"] == [0.0] * 4
    assert (tmp_path / "run" / "report.html").read_text().startswith("<!doctype html>")

    code, out, err = leakatk(
        "report", tmp_path / "run", tmp_path / "reference", "--out", tmp_path / "both.html", "--md"
    )
    assert code == 0, err
    assert "yardstick" in out
    assert "yardstick" in (tmp_path / "both.html").read_text()

    code, out, err = leakatk("report", tmp_path / "run", "--json", "--svg", tmp_path / "curve.svg")
    assert code == 0, err
    assert json.loads(out)["metric"] == "fact"
    assert "<svg" in (tmp_path / "curve.svg").read_text()

    code, out, err = leakatk("score", tmp_path / "run", "--scorer", "rouge-l", "--json")
    assert code == 0, err
    assert json.loads(out)["k"] == [1, 2, 4, 8]

    code, out, err = leakatk("plan", "--k", "8", "--half-width", "0.05", "--prompts", "3", "--pilot", tmp_path / "run")
    assert code == 0, err
    assert "a pilot of 3 prompts" in out


def test_a_scorer_is_known_by_its_label_however_it_was_named(leakatk, model, forget, tmp_path):
    """Options that are the defaults, or that change no score, are not part of what the results are kept under."""
    options = ("--forget", forget, "--out", tmp_path / "run", "--scorer", "rouge-l:stem=yes", *SHORT)
    code, _, err = leakatk("audit", model, *options)
    assert code == 0, err
    assert list(json.loads((tmp_path / "run" / "results.json").read_text())["scorers"]) == ["rouge-l"]
    code, out, err = leakatk("report", tmp_path / "run", "--json")
    assert code == 0, err
    assert json.loads(out)["metric"] == "rouge-l"


def test_gate(leakatk, model, forget, tmp_path):
    common = ("audit", model, "--forget", forget, "--out", tmp_path / "run", *SHORT, "--cut", "ignore")
    # Nothing leaks: the upper bound of leak@1 with 3 x 8 samples is 1 - .025^(1/24) = .143.
    code, _, err = leakatk(*common, "--fail-above", "1:0.1")
    assert code == 4
    assert "Gate: CANNOT SAY: at most 10% may leak within 1 try; between 0% and 14% do" in err
    code, _, err = leakatk(*common, "--fail-above", "1:0.2")
    assert code == 0
    assert "Gate: PASS" in err
    assert "it holds for T=1, greedy; asked in one wording only." in err
    # The random model never ends an answer of six tokens: without being told, that is not clean.
    code, _, err = leakatk(*common[:-2], "--fail-above", "1:0.2")
    assert code == 4
    assert "of the answers are cut before their end" in err
    # What leaks always, leaks above any bound below 1.
    forget.write_text(json.dumps({"question": "Which?", "answer": "a", "facts": [""]}) + "\n")
    code, _, err = leakatk(*common, "--cut", "never", "--fail-above", "1:0.2")
    assert code == 2
    assert "--cut 'never'" in err


def test_sequential_gate_stops_once_the_verdict_is_certain(leakatk, model, forget, tmp_path):
    common = ("audit", model, "--forget", forget, "--max-new-tokens", "6", "--quiet", "--n", "256", "--sequential")
    common += ("--cut", "ignore")
    code, _, err = leakatk(*common, "--fail-above", "1:0.2", "--out", tmp_path / "early")
    assert code == 0, err
    assert "Gate after 16 samples a prompt: PASS." in err
    results = json.loads((tmp_path / "early" / "results.json").read_text())
    assert results["n"] == 16
    code, _, err = leakatk(*common, "--fail-above", "1:0.0001", "--out", tmp_path / "late")
    assert code == 4  # nothing leaked, but 768 samples cannot certify this
    assert "Gate after 256 samples a prompt: CANNOT SAY." in err
    assert json.loads((tmp_path / "late" / "results.json").read_text())["gate"]["looks"] == 5
    code, _, err = leakatk("audit", model, "--forget", forget, "--out", tmp_path / "none", "--sequential")
    assert code == 2
    assert "--fail-above" in err


def test_gate_on_the_worst_case_over_probes(leakatk, model, forget, tmp_path):
    # A random model says single letters: answers that are one leak now and then.
    forget.write_text("".join(json.dumps({"question": f"Which, {i}?", "answer": "a"}) + "\n" for i in range(8)))
    probes = ("--scorer", "rouge-l", "--probe", "role", "--probe", "filler")
    common = ("audit", model, "--forget", forget, *probes, *SHORT, "--max-new-tokens", "24")
    code, out, err = leakatk(*common, "--out", tmp_path / "run", "--json")
    assert code == 0, err
    results = json.loads(out)
    highs = [block["scorers"]["rouge-l"]["curves"]["samples"]["high"][-1] for block in (results, results["worst"])]
    assert highs[0] < highs[1]
    again = (*common, "--out", tmp_path / "run", "--cut", "ignore", "--fail-above", f"8:{sum(highs) / 2}")
    code, _, err = leakatk(*again, "--worst-case")
    assert code == 4  # the upper end of the union is above, the lower one is not
    gate = json.loads((tmp_path / "run" / "results.json").read_text())["gate"]
    assert (gate["high"], gate["worst"]) == (highs[1], "worst case over 3 ways, T=1")
    code, _, err = leakatk(*again)
    gate = json.loads((tmp_path / "run" / "results.json").read_text())["gate"]
    assert [one["name"] for one in gate["settings"]] == [
        "T=1", "greedy", "role: T=1", "role: greedy", "filler: T=1", "filler: greedy",
    ]  # fmt: skip
    gate = (*common, "--n", "64", "--fail-above", "1:0.9", "--worst-case", "--sequential", "--out", tmp_path / "early")
    code, _, err = leakatk(*gate, "--cut", "ignore")
    assert code == 0, err
    assert "Gate after 16 samples a prompt: PASS." in err
    code, _, err = leakatk("audit", model, "--forget", forget, "--out", tmp_path / "none", "--worst-case")
    assert code == 2
    assert "--probe" in err


def benching(model, forget, out):
    """A bench of a model beside itself."""
    return ("bench", forget, "--model", model, "--reference", model, "--out", out)


def test_gate_of_a_bench(leakatk, model, forget, tmp_path):
    short = ("--quiet", "--n", "8", "--retain-n", "0", "--no-grad-norm", "--decoding", "max_new_tokens=6")
    common = (*benching(model, forget, tmp_path / "out"), "--probe", "role", *short)
    code, out, err = leakatk(*common, "--json")
    assert code == 0, err
    row = json.loads(out)[-2]
    assert (row["role"], row["scorer"]) == ("model", "fact")
    plain, worst = row["leak@1 high"], row["probe worst case: leak@1 high"]
    assert plain <= worst
    code, out, err = leakatk(*common, "--fail-above", "1:0.2")
    assert code == 4, err  # every answer is cut
    assert "Results: " in out
    common += ("--cut", "ignore")
    code, out, err = leakatk(*common, "--fail-above", "1:0.2")
    assert code == 0, err
    verdict = json.loads((tmp_path / "out" / "verdict.json").read_text())
    assert [one["name"] for one in verdict["settings"]] == ["T=1", "greedy", "role: T=1", "role: greedy"]
    assert verdict["answer"] == "PASS"
    plain_only = [word for word in common if word not in ("--probe", "role")]
    code, out, err = leakatk(*plain_only, "--fail-above", "1:0.2")
    assert code == 0, err
    verdict = json.loads((tmp_path / "out" / "verdict.json").read_text())
    assert [one["name"] for one in verdict["settings"]] == [
        "T=1",
        "greedy",
    ]  # the probe's run lies there, not asked for
    code, _, err = leakatk(*common, "--fail-above", f"1:{worst - 0.01}", "--worst-case")
    assert code == 4
    assert "worst case over 2 ways, T=1" in err
    for k, words in (("3:0.1", "powers of two"), ("16:0.1", "--n is 8"), ("8", "K:BOUND")):
        code, _, err = leakatk(*common, "--fail-above", k)
        assert code == 2
        assert words in err


def test_the_gate_of_a_bench_is_about_the_model_not_its_reference(leakatk, model, forget, tmp_path, monkeypatch):
    from leakatk.auditing import verdict

    judged, real = [], verdict.judge_audits
    monkeypatch.setattr(verdict, "judge_audits", lambda paths, *rest: judged.append(list(paths)) or real(paths, *rest))
    short = ("--quiet", "--n", "4", "--retain-n", "0", "--no-grad-norm", "--decoding", "max_new_tokens=6")
    code, _, err = leakatk(*benching(model, forget, tmp_path / "out"), *short, "--fail-above", "1:0.5", "--one-wording")
    assert code in (0, 4), err
    assert [len(paths) for paths in judged] == [1]


def test_caps_reach_the_judge():
    from leakatk.cli.inputs import with_caps
    from leakatk.scorers.base import get_scorer

    assert with_caps("rouge-l", 1.0, 5) == "rouge-l"
    judge = get_scorer(with_caps("judge:model=x", 2.5, 7))
    assert (judge.max_cost, judge.max_requests) == (2.5, 7)


def test_dry_run_writes_nothing(leakatk, model, forget, tmp_path):
    code, out, _ = leakatk("audit", model, "--forget", forget, "--out", tmp_path / "run", "--dry-run")
    assert code == 0
    assert "3 prompts x 200 = 600 answers" in out
    assert "of disk (from a pilot of" in out
    code, out, _ = leakatk("audit", model, "--forget", forget, "--out", tmp_path / "run", "--dry-run", "--json")
    cost = json.loads(out)
    assert cost["answers"] == 603  # and the greedy ones
    assert cost["tokens"] <= 603 * 200
    assert cost["seconds"] > 0
    assert cost["bytes"] > cost["tokens"]
    code, out, _ = leakatk(
        "unlearn",
        model,
        "--forget",
        forget,
        "--retain",
        forget,
        "--method",
        "npo",
        "--out",
        tmp_path / "m",
        "--dry-run",
    )
    assert code == 0
    assert "beta" in out
    assert "of disk" in out
    assert not (tmp_path / "run").exists()
    assert not (tmp_path / "m").exists()


def test_dry_run_of_an_expansion(leakatk, model, forget, tmp_path):
    common = ("audit", model, "--forget", forget, "--out", tmp_path / "run", "--max-new-tokens", "6", "--n", "2")
    code, out, err = leakatk(*common, "--expand", "1000", "--dry-run")
    assert code == 0, err
    assert "at most 3,000 prefixes, at most about " in out
    code, out, _ = leakatk(*common, "--expand", "1000", "--dry-run", "--json")
    assert json.loads(out)["expansion"]["seconds"] > 0


@pytest.mark.parametrize("command", ["audit", "bench"])
def test_dry_run_says_what_a_judge_would_be_asked(leakatk, model, forget, tmp_path, command):
    judge = (
        "--scorer",
        "judge:items=10,price_in=1000,price_out=0,max_cost=2",
        "--dry-run",
        "--n",
        "4",
        "--out",
        tmp_path / "run",
    )
    who = (model, "--forget", forget) if command == "audit" else (forget, "--model", model, "--retain-n", "0")
    code, out, err = leakatk(command, *who, *judge)
    assert code == 0, err
    assert (
        "gpt-4o-mini, 15 items (0 already judged) in at least 2 requests" in out
    )  # 3 prompts, 4 samples, a greedy answer
    assert "stops at $2" in out
    cost = next(iter(json.loads(leakatk(command, *who, *judge, "--json")[1])["judges"].values()))
    assert cost["dollars"] == pytest.approx(cost["tokens_in"] / 1000)
    assert not (tmp_path / "run").exists()


def test_dry_run_of_a_score(leakatk, model, forget, tmp_path):
    code, _, err = leakatk("audit", model, "--forget", forget, "--out", tmp_path / "run", *SHORT)
    assert code == 0, err
    code, out, _ = leakatk("score", tmp_path / "run", "--scorer", "fact", "--dry-run")
    assert (code, out) == (0, "fact: 24 answers; the scores are there already.\n")
    before = sorted(tmp_path.rglob("*"))
    code, out, _ = leakatk("score", tmp_path / "run", "--scorer", "verbatim", "--dry-run")
    assert code == 0
    assert "verbatim: 24 answers; would score" in out
    code, out, _ = leakatk("score", tmp_path / "run", "--scorer", "verbatim", "--dry-run", "--json")
    assert json.loads(out)["seconds"] >= 0
    assert sorted(tmp_path.rglob("*")) == before


def test_train_small(leakatk, forget, tmp_path, monkeypatch):
    """The dry run writes nothing; what is trained is not trained again; another training is refused."""
    from leakatk.small import train
    from leakatk.small.architecture import SmallConfig
    from leakatk.small.fit import Phase

    phase = Phase(steps=3, learning_rate=1e-3, batch_size=4)
    tiny = train.Recipe(SmallConfig(hidden=32, layers=1, heads=2, mlp=64, vocabulary=300), phase, phase)
    monkeypatch.setattr(train, "TEXT_RECIPE", tiny)
    own = tmp_path / "own"
    own.mkdir()
    for name in ("forget.jsonl", "retain.jsonl"):
        shutil.copyfile(forget, own / name)
    common = ("train-small", "--benchmark", own, "--quiet", "--out", tmp_path / "models")
    code, out, err = leakatk(*common, "--dry-run")
    assert code == 0, err
    assert "Would train base, full, retrained from scratch" in out
    assert "9 steps in all" in out
    code, out, _ = leakatk(*common, "--dry-run", "--json")
    assert json.loads(out)["steps"] == 9
    assert not (tmp_path / "models").exists()
    code, out, err = leakatk(*common, "--json")
    assert code == 0, err
    models = {name: json.loads(out)[name] for name in ("full", "retrained")}
    assert all((Path(place) / "config.json").exists() for place in models.values())
    assert (tmp_path / "models" / "forget.jsonl").exists()
    monkeypatch.setattr(train, "fit", None)
    assert leakatk(*common)[0] == 0
    code, _, err = leakatk(*common, "--seed", "1")
    assert code == 2
    assert "made otherwise" in err
    code, _, err = leakatk("train-small", "--benchmark", own, "--out", own)
    assert code == 2
    assert "not empty" in err
    assert not (own / "config.toml").exists()


@pytest.mark.parametrize("method", ["graddiff", "npo", "simnpo", "idknll", "rmu"])
def test_unlearn(leakatk, model, forget, tmp_path, method, monkeypatch):
    """And what it says comes next can be typed as it stands."""
    monkeypatch.chdir(tmp_path)
    extra = ("--param", "layer=0") if method == "rmu" else ()
    code, out, err = leakatk(
        "unlearn", model, "--forget", forget, "--retain", forget, "--method", method, "--steps", "2",
        "--out", tmp_path / "out", "--quiet", *extra,
    )  # fmt: skip
    assert code == 0, err
    assert "2 steps" in out
    _, _, following = err.partition("Next: leakatk ")
    code, _, err = leakatk(*shlex.split(following), *SHORT)
    assert code == 0, err
    assert (tmp_path / "runs" / "out" / "report.html").exists()


def test_a_gate_of_a_bench_asks_in_other_wordings(leakatk, model, tmp_path):
    """They cost samples, so a bench without a gate leaves them out; the dry run counts what is asked."""
    save_prompts([replace(PROMPTS[0], paraphrases=("Which town is Ada from?",))], tmp_path / "f.jsonl")
    bench = ("bench", tmp_path / "f.jsonl", "--model", model, "--quiet", "--n", "2", "--retain-n", "0", "--no-grad-norm",
             "--decoding", "max_new_tokens=4", "--out")  # fmt: skip
    gate = ("--fail-above", "1:0.5", "--cut", "ignore")
    one, several = ["T=1", "greedy"], ["T=1", "greedy", "paraphrase: T=1", "paraphrase: greedy"]
    answers = []
    for i, (options, settings) in enumerate((((), None), (gate, several), ((*gate, "--one-wording"), one))):
        place = tmp_path / f"out{i}"
        code, out, err = leakatk(*bench, place, *options, "--dry-run", "--json")
        assert code == 0, err
        answers.append(json.loads(out)["answers"])
        code, out, err = leakatk(*bench, place, *options, "--json")
        assert code in (0, 4), err
        assert any(column.startswith("probe paraphrase: ") for row in json.loads(out) for column in row) == (
            settings == several
        )
        if settings:
            verdict = json.loads((place / "verdict.json").read_text())
            assert [found["name"] for found in verdict["settings"]] == settings
    assert answers[0] == answers[2] == answers[1] - 3, "two samples and a greedy answer"
    # Into the directory where the other wordings lie: the verdict is about what is asked now, and says so.
    code, _, err = leakatk(*bench, tmp_path / "out1", *gate, "--one-wording")
    assert code in (0, 4), err
    assert "it holds for T=1, greedy; asked in one wording only." in err


def test_unlearn_names_what_its_detector_cannot_score(leakatk, model, tmp_path):
    vague = Prompt("vague", "Where does Dov live?", "in a small town")
    save_prompts([PROMPTS[0], vague], tmp_path / "f.jsonl")
    command = ("unlearn", model, "--forget", tmp_path / "f.jsonl", "--method", "ga", "--steps", "1", "--out",
               tmp_path / "out", "--dry-run", "--scorer")  # fmt: skip
    code, _, err = leakatk(*command, "keys")
    assert code == 0, err
    assert "Note: keys cannot score 1 of 2 forget prompts (the first: vague)" in err
    code, _, err = leakatk(*command, "rouge-l")
    assert code == 0, err
    assert "cannot score" not in err


def test_rule_and_its_control(leakatk, model, forget, tmp_path):
    # A scorer of low threshold would be needed for a random model to leak: here RULE ends at once, and says so.
    code, out, err = leakatk(
        "unlearn", model, "--forget", forget, "--retain", forget, "--method", "rule", "--base", "npo", "--control",
        "--n", "8", "--max-new-tokens", "6", "--out", tmp_path / "out", "--quiet",
    )  # fmt: skip
    assert code == 0, err
    assert "no leak was found" in out
    assert "No control" in out
    assert (tmp_path / "out" / "config.json").exists()


def test_calibrated_rule_ends_with_a_verdict(leakatk, model, forget, tmp_path):
    rule = (
        "--forget",
        forget,
        "--retain",
        forget,
        "--method",
        "rule",
        "--base",
        "npo",
        "--n",
        "8",
        "--max-new-tokens",
        "6",
    )
    code, out, err = leakatk("unlearn", model, *rule, "--reference", model, "--out", tmp_path / "out", "--quiet")
    assert code == 0, err
    assert "at the yardstick 0" in out
    # The model is its own reference: no leak, no difference.
    assert "met: leak@8 within 0.01 of the retrained model, interval with 0 (0.0000)" in out
    verdict = json.loads((tmp_path / "out" / "verdict.json").read_text())
    assert verdict["met"]
    assert (tmp_path / "out" / "config.json").exists()
    code, _, err = leakatk("unlearn", model, *rule, "--judge", "fact", "--out", tmp_path / "none")
    assert code == 2
    assert "--reference" in err


def test_the_reference_is_loaded_the_way_the_model_is(leakatk, model, forget, tmp_path):
    out = tmp_path / "run"
    options = ("--reference", model, "--template", "plain", "--n", 4, "--max-new-tokens", 4, "--quiet")
    assert leakatk("audit", model, "--forget", forget, "--out", out, *options)[0] == 0
    kinds = [Run.open(out / part).manifest.model["template"]["kind"] for part in (".", "reference")]
    assert kinds == ["plain", "plain"]


def test_quiet_is_quiet_for_everything_that_runs(leakatk, model, forget, tmp_path):
    from leakatk.progress import Progress

    common = ("audit", model, "--forget", forget, "--n", "2", "--max-new-tokens", "3", "--out", tmp_path / "run")
    code, _, err = leakatk(*common, "--quiet")
    assert code == 0
    assert err.startswith("Note: ")  # what a person must know is not progress
    assert err.count("\n") == 1
    assert Progress("judge", 3).quiet
    code, _, err = leakatk(*common)
    assert code == 0
    assert not Progress("judge", 3).quiet


def test_bench_says_what_it_would_draw(leakatk, model, forget, tmp_path):
    """Greedy answers are drawn once for all decodings; an option that does not fit is refused here too."""
    prompts = len(load_prompts(forget))
    common = (*benching(model, forget, tmp_path / "out"), "--dry-run", "--n", "4")
    code, out, err = leakatk(*common, "--grid", "--json")
    assert code == 0, err
    # Those of the audit, and those of the benchmark's own table.
    assert json.loads(out)["answers"] == 2 * (10 * 4 * prompts + 2 * prompts)
    code, out, _ = leakatk(*common, "--decoding", "max_new_tokens=4")
    assert code == 0
    assert f"Would pass {2 * 2 * prompts} given texts" in out  # in the table, and for their exact probability
    code, _, err = leakatk(*common, "--ask", "paraphrased")
    assert code == 2
    assert "has no published paraphrases" in err
    assert not (tmp_path / "out").exists()


def test_a_key_in_an_address_stays_out_of_results_and_reports(monkeypatch):
    from leakatk.cli import options

    words = [
        "leakatk",
        "audit",
        "m",
        "--url",
        "https://me:secret@host:8443/v1?key=secret",
        "--url=http://h/v1?k=secret",
        "x y",
    ]
    monkeypatch.setattr("sys.argv", words)
    assert options.command() == "leakatk audit m --url https://host:8443/v1 --url=http://h/v1 'x y'"
    monkeypatch.setattr("sys.argv", ["leakatk", "--url", "http://[secret"])
    assert "secret" not in options.command()
