"""The headline: one sentence, its numbers, and every condition that they hold for."""

import math
from dataclasses import replace

import pytest

from leakatk.auditing.settings import Gate
from leakatk.report.assemble import content_of
from leakatk.report.audited import read_audits
from leakatk.report.headline import (
    comparison,
    conditions,
    gate_line,
    headline,
    headline_k,
    held_for,
    holds,
    most_leaking,
    scored_of,
    typed,
)
from leakatk.runs.results import CurvesOnly, ProbeResult, ReasoningResult
from leakatk.sampling.decoding import Decoding
from tests.auditing.scripted import CLEAN, LEAK, PROMPTS, audited
from tests.report.audits import changed, curve, made


def test_some_prompts_in_one_wording(tmp_path):
    prompts = [replace(p, paraphrases=("Which town?",)) if p.id < "p3" else p for p in PROMPTS]
    found = audited(lambda *_: CLEAN, tmp_path, prompts=prompts)
    assert found["wordings"] == {"one": 7, "several": 3}
    assert headline(found).endswith("7 prompts asked in one wording only.")


def test_the_decoding_that_leaks_most_is_in_the_headline(tmp_path):
    cool = Decoding(temperature=0.5, max_new_tokens=40)
    audited(lambda p, j, greedy: CLEAN if greedy else LEAK, tmp_path, name="cool", decoding=cool)
    audited(lambda *_: CLEAN, tmp_path)
    verdict = content_of(read_audits([tmp_path / "run", tmp_path / "cool"])).verdict
    assert "leaks 0% of 10 forget prompts within 16 samples" in verdict
    assert "most at T=0.5: 100%" in verdict


def test_a_reference_with_fewer_samples_is_told_at_its_own_k(tmp_path):
    audited(lambda *_: CLEAN, tmp_path, name="retrained", n=8, ks=[1, 8], gate=Gate(8, 0.9))
    found = audited(lambda *_: LEAK, tmp_path, ks=[1, 8, 16], reference=tmp_path / "retrained")
    said = headline(found)
    assert "at k = 8, the largest that the retrained model has samples for, 100% against its 0%" in said
    content = content_of(read_audits([tmp_path / "run"]))
    table = content.tables[0]
    assert "excess@8" in table.columns
    assert "leak@16" in table.columns
    assert "The excess is at k = 8" in table.caption
    assert "The retrained model's run has 8 samples a prompt, so the excess ends at k = 8." in found["notes"]
    none = audited(lambda *_: LEAK, tmp_path, ks=[16], reference=tmp_path / "retrained", name="none")
    assert "The retrained model's run has 8 samples a prompt, so there is no excess at these k." in none["notes"]
    assert "reference" not in none["scorers"]["fact"]


def test_more_than_four_models_are_all_told(tmp_path):
    for i in range(6):
        audited(lambda *_: CLEAN, tmp_path, name=f"model{i}", label=f"model{i}")
    verdict = content_of(read_audits([tmp_path / f"model{i}" for i in range(6)])).verdict
    assert all(f"model{i}" in verdict for i in range(6))


@pytest.fixture(scope="module")
def one(tmp_path_factory):
    return made(tmp_path_factory.mktemp("headline") / "run", label="forgot", paraphrases=False)


def told(one, *values, **fields):
    """The results with these numbers at k = 1, 4 and 16, nothing else said."""
    block = {"curves": {"samples": curve(*values)}, "greedy": math.nan} | fields.pop("block", {})
    return changed(one, block=block, **{"wordings": None, "answers": None} | fields).results


def test_the_sentence_holds_the_number_its_interval_and_its_conditions(one):
    assert headline(told(one, 0.2, 0.3, 0.45)) == (
        "forgot leaks 45% of 10 forget prompts within 16 samples "
        "(95% interval 35% to 55%, T=1, 16 samples each, scorer fact)."
    )
    assert "leaks 20% of 10 forget prompts within 1 sample (95% interval 10% to 30%" in headline(
        told(one, 0.2, 0.3, 0.4), k=1
    )


def test_prompts_without_a_score_are_in_no_number(one):
    said = headline(told(one, 0.2, 0.3, 0.45, block={"m": 7}))
    assert "leaks 45% of the 7 of 10 forget prompts that fact scores within" in said
    former = told(one, 0.2, 0.3, 0.45, block={"m": None, "undefined": ["p1", "p2"]})
    assert scored_of(former, former.scorers["fact"]) == 8
    assert "the 8 of 10 forget prompts" in headline(former)


def test_several_scorers_of_one_name_are_counted(one):
    assert "scorer fact: 6 by keys, 4 by meaning)" in headline(
        told(one, 0, 0, 0.4, block={"parts": {"keys": 6, "meaning": 4}})
    )
    assert "scorer fact)" in headline(told(one, 0, 0, 0.4, block={"parts": {"keys": 10}}))


def test_what_greedy_shows_is_said_and_what_leaks_more_elsewhere(one):
    hot = replace(told(one, 0.5, 0.7, 0.9), decoding="T=2")
    plain = told(one, 0.2, 0.3, 0.45, block={"greedy": 0.1})
    assert headline(plain).endswith("; greedy shows 10%.")
    assert headline(plain, decodings=[hot]).endswith("; greedy shows 10%; most at T=2: 90%.")
    above = told(one, 0.2, 0.3, 0.45, block={"greedy": 0.95})
    assert "most at" not in headline(above, decodings=[hot]), "greedy leaks more than that"


def test_the_most_leaking_is_looked_for_everywhere_but_where_the_answer_is_given_away(one):
    plain = told(one, 0.2, 0.3, 0.45)

    def block(*values, greedy=math.nan):
        return {"fact": replace(plain.scorers["fact"], curves={"samples": curve(*values)}, greedy=greedy)}

    def probe(name, *values, greedy=math.nan):
        return ProbeResult(m=10, left_out=(), gives_answer=name == "context", scorers=block(*values, greedy=greedy))

    assert most_leaking(plain, 16) is None
    probes = {"role": probe("role", 0, 0, 0.5), "context": probe("context", 1, 1, 1.0)}
    assert most_leaking(replace(plain, probes=probes), 16) == ("under probe role", 0.5)
    probes["trigger"] = probe("trigger", 0, 0, 0.1, greedy=0.6)
    assert most_leaking(replace(plain, probes=probes), 16) == ("under probe trigger, greedy", 0.6)
    thinks = replace(plain, probes=probes, reasoning=ReasoningResult(scorers=block(0, 0, 0.8)))
    assert most_leaking(thinks, 16) == ("in the reasoning", 0.8)
    other = replace(plain, decoding="T=2", scorers=block(0, 0.9, 0.7))
    assert most_leaking(thinks, 4, [other]) == ("at T=2", 0.9)
    assert most_leaking(thinks, 16, [replace(other, scorers={"keys": plain.scorers["fact"]})]) == (
        "in the reasoning",
        0.8,
    )
    assert most_leaking(thinks, 8, [other]) == ("under probe trigger, greedy", 0.6), "no curve has this k"


def test_the_retrained_model_is_told_at_the_same_k_or_at_the_largest_it_has(one):
    same = told(one, 0.2, 0.3, 0.45, block={"retrained": CurvesOnly(curves={"samples": curve(0, 0.1, 0.2)})})
    assert headline(same).endswith("; the retrained model 20% (10% to 30%).")
    less = told(one, 0.2, 0.3, 0.45, block={"retrained": CurvesOnly(curves={"samples": curve(0.1, 0.15, ks=[1, 4])})})
    assert (
        "; at k = 4, the largest that the retrained model has samples for, 30% against its 15% (5.0% to 25%)"
        in headline(less)
    )


@pytest.mark.parametrize(
    ("wordings", "said"),
    [
        (None, ""),
        ({"one": 10, "several": 0}, "asked in one wording only"),
        ({"one": 0, "several": 10}, ""),
        ({"one": 4, "several": 6}, "4 prompts asked in one wording only"),
    ],
)
def test_the_wordings_that_a_number_holds_for(one, wordings, said):
    results = told(one, 0, 0, 0.4, wordings=wordings)
    assert held_for(results) == said
    assert headline(results).endswith(f"; {said}." if said else "scorer fact).")
    assert holds(results) == "it holds for " + (f"; {said}" if said else "")


def test_all_numbers_are_told_at_the_gates_k_else_at_the_largest_that_all_runs_have(one, tmp_path):
    short = changed(one, block={"curves": {"samples": curve(0.1, 0.2, ks=[1, 4])}})
    assert headline_k([one]) == 16
    assert headline_k([one, short]) == 4
    gated = made(tmp_path / "gated", gate=Gate(1, 0.9))
    assert headline_k([one, gated]) == 1
    beyond = changed(gated, block={"curves": {"samples": curve(0.1, 0.2, ks=[4, 16])}})
    assert headline_k([beyond]) == 16, "the gate's k has no number"


def test_a_gate_says_why_and_what_for(one, tmp_path):
    assert gate_line(one.results) == ""
    gated = made(tmp_path / "gated", gate=Gate(1, 0.9), paraphrases=False).results
    assert gate_line(gated) == f"{gated.gate.reason}; it holds for T=1, greedy; asked in one wording only."
    assert gate_line(gated.as_dict()) == gate_line(gated), "what `audit` returned is read too"
    assert typed(gated) is gated


def test_a_few_models_have_their_intervals_and_many_have_their_numbers(one):
    def model(i):
        return changed(one, label=f"m{i}", block={"curves": {"samples": curve(0, 0, i / 10 + 0.2)}, "greedy": i / 10})

    said = comparison([model(0), model(1)], "samples", 16)
    assert said.startswith(
        "m0 leaks 20% of the forget prompts within 16 samples (95% interval 10% to 30%, greedy 0%); m1 30% (20% to 40%, greedy 10%). "
    )
    assert said.endswith(conditions([model(0), model(1)], "fact", "samples"))
    many = comparison([model(i) for i in range(5)], "samples", 16)
    assert many.startswith("m0 leaks 20% of the forget prompts within 16 samples; m1 30%; m2 40%; m3 50%; m4 60%. ")


def test_the_conditions_are_those_of_every_run(one):
    assert conditions([one], "fact", "samples").startswith(
        "Scorer fact; 10 prompts x 16 samples; T=1; 95% intervals over samples."
    )
    other = changed(one, label="other", n=2000, decoding="T=2", block={"m": 8, "missing": 3})
    both = conditions([one, other], "fact", "prompts")
    assert both.startswith(
        "Scorer fact; 8 to 10 prompts x 16 to 2,000 samples; T=1 or T=2; 95% intervals over prompts."
    )
    assert " 2 further prompts have no score from fact and are in no number here." in both
    assert " 3 answers have no score and are left out." in both
    counts = {"answers": 200, "cut": 20, "unfinished_reasoning": 0, "empty": 0}
    cut = changed(one, answers=counts)
    assert conditions([cut], "fact", "samples").endswith(" 10% of the answers cut at 40 tokens.")
    assert conditions([cut, other], "fact", "samples").endswith(" forgot: 10% of the answers cut at 40 tokens.")
