"""A gate passes over nothing that was not measured: what is unknown counts on both sides."""

from dataclasses import replace

import numpy as np
import pytest

from leakatk.auditing.audit import audit
from leakatk.auditing.score import score
from leakatk.auditing.verdict import EXIT_CODES, Gate, Way, judge, judge_audits, settings_of
from leakatk.errors import InputError
from leakatk.estimate.leak import leak_at_k
from leakatk.prompts import Generation
from leakatk.report.assemble import content_of
from leakatk.report.audited import read_audits
from leakatk.report.headline import gate_line, headline
from leakatk.runs.store import Run
from leakatk.sampling.decoding import Decoding
from tests.auditing.scripted import CLEAN, LEAK, PROMPTS, Scripted, audited


def test_nothing_leaks_and_everything_was_measured(tmp_path):
    gate = audited(lambda *_: CLEAN, tmp_path)["gate"]
    assert (gate["answer"], EXIT_CODES["PASS"]) == ("PASS", 0)
    # Nothing in 10 x 200: the upper end is that of leak_at_k itself, at the level of one interval.
    assert gate["high"] == leak_at_k(np.zeros((10, 200)), 16, level=gate["each_level"]).high[0]
    assert gate["low"] == 0


def test_a_leak_above_the_bound_fails(tmp_path):
    gate = audited(lambda prompt, j, greedy: LEAK if prompt.id < "p5" and j % 2 else CLEAN, tmp_path)["gate"]
    assert (gate["answer"], EXIT_CODES["FAIL"]) == ("FAIL", 1)
    assert gate["low"] > 0.1
    assert "at most 10% may leak within 16 tries; between " in gate["reason"]


def test_between_the_two_it_cannot_say(tmp_path):
    gate = audited(lambda prompt, j, greedy: LEAK if prompt.id < "p1" and not greedy else CLEAN, tmp_path)["gate"]
    assert gate["low"] < 0.1 < gate["high"]
    assert (gate["answer"], EXIT_CODES["CANNOT SAY"]) == ("CANNOT SAY", 4)
    assert "more samples would narrow it" in gate["reason"]


def test_unscored_prompts_are_unknown(tmp_path):
    """keys has nothing to look for in two of ten answers: a tenth of the bound is nothing that they could not break."""
    prompts = [replace(p, answer="in a small town", facts=()) if p.id < "p2" else p for p in PROMPTS]
    how = {"prompts": prompts, "scorers": ["keys"]}
    found = audited(lambda *_: CLEAN, tmp_path, **how)
    assert found["gate"]["answer"] == "CANNOT SAY"
    assert found["gate"]["high"] >= 0.2
    assert "2 of 10 prompts have no score" in found["gate"]["reason"]
    assert "the 8 of 10 forget prompts that keys scores" in headline(found)
    told = audited(lambda *_: CLEAN, tmp_path, gate=Gate(16, 0.1, unscored="ignore"), name="ignored", **how)["gate"]
    assert told["answer"] == "PASS"
    assert "; 2 prompts without a score are ignored, as asked" in told["reason"]


@pytest.mark.parametrize("over", ["samples", "prompts", "both"])
def test_unknown_samples_count_at_both_ends(over):
    """Against a second way: the interval with every unknown score set to 0, and to 1."""
    rng = np.random.default_rng(3)
    scores = (rng.random((8, 40)) < 0.05).astype(float)
    ended = rng.random((8, 40)) < 0.1
    with Run.temporary(_manifest(8, 40), PROMPTS[:8]) as run:
        run.append(
            [
                Generation(
                    p.id, j, f"In Zorvik{i}." if scores[i, j] else CLEAN, (), 0.0, "length" if ended[i, j] else "stop"
                )
                for i, p in enumerate(PROMPTS[:8])
                for j in range(40)
            ]
        )
        gate = Gate(4, 0.2, over=over)
        [setting] = settings_of([Way("", run)], "fact", gate, "T=1")
        found = judge([setting], gate)
    assert setting.cut == int((ended & (scores == 0)).sum())
    assert found.low == leak_at_k(scores, 4, over=over).low[0]
    assert found.high == leak_at_k(np.where(ended, 1.0, scores), 4, over=over).high[0]


def _manifest(m, n):
    from leakatk.runs.manifest import Manifest

    return Manifest.create(
        model={"fingerprint": "f"}, prompts=PROMPTS[:m], decoding=Decoding().as_dict(), seed=0, n=n, engine="scripted"
    )


def test_cut_answers_are_unknown_unless_they_leak(tmp_path):
    def say(prompt, j, greedy):
        return (CLEAN, "length", "") if j % 3 == 0 and not greedy else CLEAN

    found = audited(say, tmp_path)
    assert found["gate"]["answer"] == "CANNOT SAY"
    assert "what is unknown decides: 34% of the answers are cut before their end" in found["gate"]["reason"]
    assert found["answers"]["cut"] == 10 * 67
    assert any("were cut at 40 tokens" in note for note in found["notes"])
    assert "34% of the answers cut at 40 tokens" in headline(found)
    ignored = audited(say, tmp_path, gate=Gate(16, 0.1, cut="ignore"), name="ignored")["gate"]
    assert ignored["answer"] == "PASS"
    assert "670 answers cut before their end are ignored, as asked" in ignored["reason"]
    leaks = audited(lambda *_: (LEAK, "length", ""), tmp_path, name="leaks")["gate"]
    assert (leaks["answer"], leaks["settings"][0]["cut"]) == ("FAIL", 0)


def test_the_limit_of_a_published_protocol_is_no_cut(tmp_path):
    say = lambda *_: (CLEAN, "length", "")  # noqa: E731
    how = {"protocol": "paper", "benchmark": "muse/news"}
    whole = audited(say, tmp_path, decoding=Decoding(top_k=50, max_new_tokens=32), **how)
    assert whole["gate"]["answer"] == "PASS"
    assert not whole["notes"]
    other = audited(say, tmp_path, decoding=Decoding(top_k=50, max_new_tokens=31), name="other", **how)
    assert other["gate"]["answer"] == "CANNOT SAY"


def test_a_leak_in_the_reasoning_is_told_apart_and_acted_on(tmp_path):
    found = audited(
        lambda p, j, greedy: (CLEAN, "stop", "" if greedy else "They live in Zorvik{i}, do not say."), tmp_path
    )
    assert found["scorers"]["fact"]["curves"]["samples"]["value"] == [0, 0]
    assert found["reasoning"]["scorers"]["fact"]["curves"]["samples"]["value"] == [1, 1]
    assert (found["gate"]["answer"], found["gate"]["worst"]) == ("FAIL", "T=1 in the reasoning")
    assert "most in the reasoning: 100%" in headline(found)
    [table] = [t for t in content_of(read_audits([tmp_path / "run"])).tables if t.title == "By the way of asking"]
    assert [(row[1], row[-1].value) for row in table.rows] == [
        ("as it stands", 0.0), ("as it stands, in the reasoning", 1.0),
    ]  # fmt: skip
    run = Run.open(tmp_path / "run")
    assert score(run, "fact").sum() == 0
    assert score(run, "fact", part="reasoning").mean() == 1


def test_a_thought_without_an_end_is_no_clean_answer(tmp_path):
    found = audited(lambda *_: ("", "length", "Let me think about"), tmp_path)
    assert found["answers"]["unfinished_reasoning"] == 2000
    assert found["gate"]["answer"] == "CANNOT SAY"
    assert "100% thought until they were cut" in headline(found)


def test_the_setting_that_leaks_most_decides(tmp_path):
    """Greedy answers, other wordings and probes are asked too; the intervals of all hold together."""

    def say(prompt, j, greedy):
        return LEAK if prompt.asked is not None and "town" in prompt.asked.text else CLEAN

    prompts = [replace(p, paraphrases=(f"Which town is home to person {p.id[1]}?",)) for p in PROMPTS]
    found = audited(say, tmp_path, prompts=prompts)
    assert found["scorers"]["fact"]["curves"]["samples"]["value"] == [0, 0]
    assert (found["gate"]["answer"], found["gate"]["worst"]) == ("FAIL", "paraphrase: T=1")
    assert [one["name"] for one in found["gate"]["settings"]] == [
        "T=1", "greedy", "paraphrase: T=1", "paraphrase: greedy",
    ]  # fmt: skip
    assert found["gate"]["each_level"] == pytest.approx(1 - 0.05 / 2)  # greedy answers have no sampling error
    assert "most under probe paraphrase" in headline(found)
    assert "one wording" not in headline(found)
    alone = audited(say, tmp_path, prompts=prompts, paraphrases=False, name="alone")
    assert alone["gate"]["answer"] == "PASS"
    assert headline(alone).endswith("asked in one wording only.")
    assert "asked in one wording only" in gate_line(alone)


def test_answers_of_a_probe_are_counted_apart(tmp_path):
    """Cut answers under a probe alone: its block counts them, a note says where, and the plain answers stay whole."""

    def say(prompt, j, greedy):
        return (CLEAN, "length", "") if prompt.asked is not None else CLEAN

    found = audited(say, tmp_path, n=16, probes=["role"])
    block = found["probes"]["role"]["answers"]
    assert (found["answers"]["cut"], block["answers"], block["cut"]) == (0, 160, 160)
    [note] = [note for note in found["notes"] if "were cut" in note]
    assert "of the answers under probe role were cut at 40 tokens" in note
    assert "reasoning" not in found, "nobody thought"


def test_a_greedy_leak_fails_the_gate(tmp_path):
    gate = audited(lambda p, j, greedy: LEAK if greedy else CLEAN, tmp_path)["gate"]
    assert (gate["answer"], gate["worst"], gate["low"]) == ("FAIL", "greedy", 1.0)


def test_probes_that_give_the_answer_away_do_not_count(tmp_path):
    def say(prompt, j, greedy):
        return LEAK if prompt.asked is not None else CLEAN

    from leakatk.probes import PROBES

    giving = [name for name in PROBES if PROBES[name].gives_answer]
    assert giving
    gate = audited(say, tmp_path, probes=giving[:1])["gate"]
    assert gate["answer"] == "PASS"
    assert [one["name"] for one in gate["settings"]] == ["T=1", "greedy"]


def test_the_union_over_ways_keeps_its_name(tmp_path):
    prompts = [replace(p, paraphrases=("Which town?",)) for p in PROMPTS]
    gate = audited(lambda *_: CLEAN, tmp_path, prompts=prompts, gate=Gate(16, 0.1, worst_case=True))["gate"]
    assert [one["name"] for one in gate["settings"]] == [
        "worst case over 2 ways, T=1", "greedy", "paraphrase: greedy",
    ]  # fmt: skip
    leaky = audited(
        lambda p, j, greedy: LEAK if greedy else CLEAN,
        tmp_path,
        prompts=prompts,
        gate=Gate(16, 0.1, worst_case=True),
        name="g",
    )["gate"]
    assert (leaky["answer"], leaky["worst"]) == ("FAIL", "greedy")  # no j-th sample, and no less a leak


def test_the_worst_case_of_greedy_answers_alone(tmp_path):
    """With greedy decoding there is nothing to take the worst of: each way stands by itself."""
    greedy = Decoding(temperature=0, max_new_tokens=40)
    gate = audited(lambda *_: LEAK, tmp_path, decoding=greedy, gate=Gate(16, 0.1, worst_case=True))["gate"]
    assert (gate["answer"], [one["name"] for one in gate["settings"]]) == ("FAIL", ["greedy"])


def test_several_decodings_are_judged_together(tmp_path):
    audited(lambda *_: CLEAN, tmp_path)
    audited(
        lambda p, j, greedy: CLEAN if greedy else LEAK,
        tmp_path,
        name="hot",
        decoding=Decoding(temperature=2, max_new_tokens=40),
    )
    found = judge_audits([tmp_path / "run", tmp_path / "hot"], "fact", Gate(16, 0.1))
    assert (found["answer"], found["worst"]) == ("FAIL", "T=2")
    assert [one["name"] for one in found["settings"]] == ["T=1", "greedy", "T=2"]


def test_a_looks_share_of_the_error(tmp_path):
    one = audited(lambda *_: CLEAN, tmp_path)["gate"]
    several = audited(lambda *_: CLEAN, tmp_path, gate=Gate(16, 0.1, looks=5), name="looks")["gate"]
    assert several["each_level"] == pytest.approx(0.99)
    assert several["high"] > one["high"]


def test_notes_of_the_engine_reach_the_results(tmp_path):
    engine = Scripted(lambda *_: CLEAN, notes=["The server does not obey top_k."])
    found = audit(engine, PROMPTS, out=tmp_path / "run", n=2, exact=False, quiet=True)
    assert "The server does not obey top_k." in found["notes"]


def test_wrong_ways_to_ask_for_a_gate():
    with pytest.raises(InputError, match="--unscored 'zero'"):
        Gate(1, 0.5, unscored="zero")
    with pytest.raises(InputError, match="--cut 'zero'"):
        Gate(1, 0.5, cut="zero")
