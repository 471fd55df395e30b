"""leakatk bench as it is typed: its gate, and the options that act on it."""

import json
from dataclasses import replace

from leakatk.prompts import save_prompts
from tests.tiny import PROMPTS


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
    junit = tmp_path / "gate.xml"
    code, out, err = leakatk(*common, "--fail-above", "1:0.2", "--junit", junit)
    assert code == 0, err
    assert 'tests="5" failures="0" errors="0"' in junit.read_text()
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
