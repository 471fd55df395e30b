"""A run as a log of Inspect: read back by the library itself, and by `leakatk score`."""

import json

import numpy as np
import pytest

from leakatk.errors import InputError
from leakatk.prompts import Prompt, Query
from leakatk.report.inspect_log import messages_of, save_inspect
from leakatk.runs.external import read_outputs
from tests.report.audits import made

pytest.importorskip("inspect_ai", reason="the extra inspect is not installed")
pytestmark = pytest.mark.filterwarnings("ignore")  # other people's packages


@pytest.fixture(scope="module")
def audited(tmp_path_factory):
    return made(tmp_path_factory.mktemp("runs") / "run", n=4, ks=[1, 4])


@pytest.mark.parametrize("ending", ["eval", "json"])
def test_the_library_reads_what_the_run_holds(audited, tmp_path, ending):
    from inspect_ai.log import read_eval_log

    path = tmp_path / "logs" / f"run.{ending}"
    run, block = audited.run, audited.results.scorers["fact"]
    assert save_inspect(audited, path) == len(run.prompts) * 4
    log = read_eval_log(str(path))
    assert (log.status, log.eval.model, log.eval.config.epochs) == ("success", audited.label, 4)
    assert log.eval.dataset.sample_ids == [prompt.id for prompt in run.prompts]
    texts, scores = run.texts(), run.scores("fact")
    by = {(sample.id, sample.epoch): sample for sample in log.samples}
    for i, prompt in enumerate(run.prompts):
        for j in range(4):
            sample = by[prompt.id, j + 1]
            assert (sample.input, sample.target, sample.output.completion) == (
                prompt.question,
                prompt.answer,
                texts[i][j],
            )
            if np.isnan(scores[i, j]):
                assert "fact" not in sample.scores
            else:
                assert sample.scores["fact"].value == scores[i, j]
    [score] = [one for one in log.results.scores if one.name == "fact"]
    curve = block.curves["samples"]
    for k, value, low, high in zip(curve.k, curve.value, curve.low, curve.high, strict=True):
        named = [score.metrics[f"leak@{k}{part}"].value for part in ("", " low", " high")]
        assert named == pytest.approx([value, low, high])
    assert score.scored_samples == int((~np.isnan(scores)).sum())
    assert score.scored_samples + score.unscored_samples == scores.size


def test_score_reads_it_back_with_the_same_leak(audited, tmp_path, leakatk):
    path = tmp_path / "run.eval"
    code, _, err = leakatk("report", audited.run.path, "--inspect", path, "--out", tmp_path / "r.html")
    assert code == 0, err
    assert f"Inspect: {path}, {len(audited.run.prompts) * 4} samples as asked" in err
    found = read_outputs(path)
    assert [list(row) for row in found.texts] == audited.run.texts()
    assert [(p.id, p.question, p.answer, p.facts) for p in found.prompts] == [
        (p.id, p.question, p.answer, p.facts) for p in audited.run.prompts
    ]
    code, out, err = leakatk("score", path, "--scorer", "fact", "--k", "1,4", "--json")
    assert code == 0, err
    assert json.loads(out)["value"] == pytest.approx(list(audited.results.scorers["fact"].curves["samples"].value))


def test_what_goes_before_a_question_is_said_before_it():
    prompt = Prompt("a", "When?", "x", asked=Query("And when?", (("Where?", "Here."),), system="Be brief."))
    assert [(m.role, m.content) for m in messages_of(prompt)] == [
        ("system", "Be brief."), ("user", "Where?"), ("assistant", "Here."), ("user", "And when?")
    ]  # fmt: skip


def test_one_run_and_a_known_ending(audited, tmp_path, leakatk, monkeypatch):
    place = audited.run.path
    how = ("--out", tmp_path / "r.html")
    code, _, err = leakatk("report", place, "--inspect", tmp_path / "x.txt", *how)
    assert (code, "must end in .eval or .json" in err) == (2, True)
    code, _, err = leakatk("report", place, place, "--inspect", tmp_path / "x.eval", *how)
    assert (code, "--inspect saves one run, and there are 2" in err) == (2, True)
    monkeypatch.setattr("leakatk.runs.inspect_logs.find_spec", lambda name: None)
    with pytest.raises(InputError, match="A log of Inspect needs inspect_ai"):
        save_inspect(audited, tmp_path / "x.eval")
