"""A guarded engine is an engine: what is not flagged is answered as before, what is exact is exact of the guarded model."""

import math
from collections import Counter
from dataclasses import dataclass, replace

import pytest
import torch

from leakatk.auditing.audit import audit
from leakatk.auditing.sample import sample
from leakatk.errors import InputError, RunError, UnknownNameError
from leakatk.guards import get_guard
from leakatk.guards.actions import Corrupt, Refuse
from leakatk.guards.base import GUARDS, Action
from leakatk.guards.sampler import guarded
from leakatk.models.load import load_model
from leakatk.prompts import Query
from leakatk.sampling.answer_tree import expand, expansions_of
from leakatk.sampling.native import NativeSampler
from leakatk.sampling.teacher_forcing import self_check, true_answers, truths_of
from tests.guards.conftest import ALL, DECODING, ENGINES, FORGET, RETAIN, Named, acting_on_forget, drawn, leaks


def test_the_model_knows_what_it_was_taught(plain):
    """Or nothing below would show anything."""
    assert leaks(plain, FORGET) > 0.8
    assert leaks(plain, RETAIN) > 0.8


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("spec", ["eco", "curate", "icul"])
def test_what_is_not_flagged_is_answered_as_without_the_guard(loaded, known, engine, spec, plain):
    sampler = guarded(ENGINES[engine](loaded), known, spec)
    assert sampler.flags(ALL).tolist() == [True] * 3 + [False] * 4
    found = drawn(sampler, ALL)
    for key, one in found.items():
        if key[0].startswith("r"):
            assert (one.text, one.token_ids, one.finish_reason) == (
                plain[key].text,
                plain[key].token_ids,
                plain[key].finish_reason,
            )
            assert one.logprob == pytest.approx(plain[key].logprob, abs=1e-4)
    # Afterwards the model is its own again, bit for bit.
    if engine == "native":
        assert drawn(NativeSampler(loaded), ALL) == plain


@pytest.mark.parametrize("spec", ["eco", "eco:how=zero,dims=0", "curate", "ucd", "dd", "dd-rank:top=5"])
def test_a_guard_lowers_the_leak_and_keeps_the_rest(loaded, known, plain, spec):
    found = drawn(guarded(NativeSampler(loaded), known, spec), ALL)
    assert leaks(found, FORGET) < leaks(plain, FORGET) - 0.3
    assert leaks(found, RETAIN) > leaks(plain, RETAIN) - 0.3


@pytest.mark.parametrize("engine", ENGINES)
def test_the_model_minus_itself_plus_the_clean_one_is_the_clean_one(loaded, known, made, plain, engine):
    """Combined logits whose model is known: samples, true answers and expansions are the clean model's own."""
    clean = load_model(made.clean, device="cpu")
    sampler = guarded(ENGINES[engine](loaded), known, "ucd:alpha=1")
    found, wanted = drawn(sampler, ALL), drawn(NativeSampler(clean), ALL)
    # Logits that differ in their last digit let a draw at a boundary fall on the other side.
    same = [key for key, one in found.items() if one.token_ids == wanted[key].token_ids]
    assert set(found) == set(wanted)
    assert len(same) >= 0.95 * len(found)
    assert sum(plain[key].token_ids == wanted[key].token_ids for key in found) < 0.8 * len(found)
    for key in same:
        assert found[key].logprob == pytest.approx(wanted[key].logprob, abs=1e-3)
    truths, theirs = truths_of(sampler, ALL, DECODING), true_answers(clean, ALL, DECODING)
    assert truths == {id_: (ids, pytest.approx(logprob, abs=1e-3)) for id_, (ids, logprob) in theirs.items()}
    assert truths["f0"][1] < true_answers(loaded, FORGET, DECODING)["f0"][1] - 3
    for mine, its in zip(
        expansions_of(sampler, ALL, DECODING, 20), expand(clean, ALL, DECODING, budget=20), strict=True
    ):
        assert mine.mass == pytest.approx(its.mass, abs=1e-4)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("spec", ["ucd:alpha=0", "dd:alpha=0,pin=yes", "offset:alpha=0"])
def test_alpha_zero_is_the_plain_model(loaded, made, known, plain, engine, spec):
    known = replace(known, auxiliary={**known.auxiliary, "tuned": str(made.clean), "before": str(made.dirty)})
    found = drawn(guarded(ENGINES[engine](loaded), known, spec), ALL, n=5)
    assert {key: one.token_ids for key, one in found.items()} == {key: plain[key].token_ids for key in found}


def test_what_a_small_model_has_unlearned_is_taken_from_a_large_one(loaded, made, known, plain):
    """z + (z_tuned - z_before), tuned a small model that never learned what the one before it did."""
    known = replace(known, auxiliary={"tuned": str(made.clean), "before": str(made.dirty)})
    found = drawn(guarded(NativeSampler(loaded), known, "offset"), ALL)
    assert leaks(found, FORGET) < leaks(plain, FORGET) - 0.3
    assert leaks(found, RETAIN) > leaks(plain, RETAIN) - 0.3


def test_pinned_special_tokens_in_a_model(loaded, known):
    """The end of an answer keeps its own logit; the manifest tells the two apart."""
    free, pinned = (guarded(NativeSampler(loaded), known, spec) for spec in ("dd", "dd:pin=yes"))
    assert free.describe()["fingerprint"] != pinned.describe()["fingerprint"]
    ids = torch.tensor([loaded.template.prompt_ids(loaded.tokenizer, FORGET[0].query)])
    with torch.inference_mode():
        own, moved = (one.loaded.model(input_ids=ids).logits[0, -1] for one in (NativeSampler(loaded), pinned.plain))
    special = sorted({*loaded.tokenizer.all_special_ids, *loaded.end_ids})
    torch.testing.assert_close(moved[special], own[special])
    assert not torch.allclose(moved, own)


def test_combined_logits_act_where_the_detector_says(loaded, known, plain):
    guard = replace(get_guard("ucd"), detector=Named(("f0", "f1")))
    sampler = guarded(NativeSampler(loaded), known, guard)
    found, whole = drawn(sampler, ALL), drawn(guarded(NativeSampler(loaded), known, "ucd"), ALL)
    for key, one in found.items():
        assert one.token_ids == (whole if key[0] in ("f0", "f1") else plain)[key].token_ids


@pytest.mark.parametrize("engine", ENGINES)
def test_a_sample_depends_on_nothing_but_itself(loaded, known, engine):
    """Other prompts beside it, another order, only some of the samples: the same draws."""
    sampler = guarded(ENGINES[engine](loaded), known, "eco")
    whole = drawn(sampler, ALL)
    for some in ([FORGET[1]], list(reversed(ALL))):
        found = drawn(sampler, some, n=7)
        assert {key: one.text for key, one in found.items()} == {key: whole[key].text for key in found}


def test_a_batch_that_is_not_fetched_leaves_the_model_alone(loaded, known, plain):
    """Between two batches the caller may use the model, or never come back."""
    from leakatk.sampling.base import Request

    sampler = guarded(NativeSampler(loaded, max_rows=4), known, acting_on_forget(Corrupt(how="zero", dims=0)))
    batches = sampler.sample([Request(prompt, range(60)) for prompt in FORGET], DECODING, seed=0)
    next(batches)
    assert drawn(NativeSampler(loaded), ALL) == plain
    batches.close()
    assert drawn(NativeSampler(loaded), ALL) == plain


# -- the four places -----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Ask(Action):
    """Another question is put."""

    text: str = "When does the market open?"

    def query(self, prompt):
        return replace(prompt, asked=Query(self.text))


@dataclass(frozen=True)
class Redact(Action):
    """The answer without what must not be said."""

    word: str = "Zorvik"

    def answer(self, prompt, text):
        return text.replace(self.word, "...")


def test_a_changed_query_is_asked_everywhere(loaded, known):
    sampler = guarded(NativeSampler(loaded), known, acting_on_forget(Ask()))
    put = [replace(prompt, asked=Query(Ask().text)) for prompt in FORGET]
    assert drawn(sampler, FORGET) == drawn(NativeSampler(loaded), put)
    assert truths_of(sampler, FORGET, DECODING) == true_answers(loaded, put, DECODING)
    found, wanted = expansions_of(sampler, FORGET, DECODING, 20), expand(loaded, put, DECODING, budget=20)
    assert [tree.answers for tree in found] == [tree.answers for tree in wanted]


def test_a_query_may_not_become_another_prompt(loaded, known):
    @dataclass(frozen=True)
    class Other(Action):
        def query(self, prompt):
            return RETAIN[0]

    with pytest.raises(InputError, match="changed more of prompt 'f0'"):
        drawn(guarded(NativeSampler(loaded), known, acting_on_forget(Other())), FORGET)


def test_an_edited_answer_has_no_probability_and_an_edited_expansion(loaded, known, plain):
    sampler = guarded(NativeSampler(loaded), known, acting_on_forget(Redact()))
    found = drawn(sampler, ALL)
    for key, one in found.items():
        before = plain[key]
        if key[0].startswith("f") and "Zorvik" in before.text:
            assert (one.text, one.token_ids) == (before.text.replace("Zorvik", "..."), ())
            assert math.isnan(one.logprob)
        else:
            assert (one.text, one.token_ids) == (before.text, before.token_ids)
            assert one.logprob == pytest.approx(before.logprob, abs=1e-4)
    assert truths_of(sampler, ALL, DECODING) == {}
    assert any("edits answers" in note for note in sampler.notes)
    trees = {tree.prompt_id: tree for tree in expansions_of(sampler, ALL, DECODING, 40)}
    ours = {tree.prompt_id: tree for tree in expand(loaded, ALL, DECODING, budget=40)}
    for id_, tree in trees.items():
        assert not any("Zorvik" in answer.text for answer in tree.answers)
        assert tree.mass == pytest.approx(ours[id_].mass, abs=1e-6)
        assert [a.token_ids for a in tree.answers] == [a.token_ids for a in ours[id_].answers]
    assert any("Zorvik" in answer.text for answer in ours["f0"].answers)


def test_a_refusal_is_exact(loaded, known):
    sampler = guarded(NativeSampler(loaded), known, acting_on_forget(Refuse("No."), ids=("f0", "f2")))
    found = drawn(sampler, FORGET)
    assert Counter(one.text for one in found.values())["No."] == 40
    truths, plain = truths_of(sampler, FORGET, DECODING), true_answers(loaded, FORGET, DECODING)
    assert truths == {**{id_: (plain[id_][0], -math.inf) for id_ in ("f0", "f2")}, "f1": plain["f1"]}
    checked = self_check(sampler, FORGET, list(found.values()), truths, DECODING)
    assert checked is None or checked.sentence == ""
    [refused, tree, _] = expansions_of(sampler, FORGET, DECODING, 20)
    assert [(a.text, a.logprob) for a in refused.answers] == [("No.", 0.0)]
    assert (refused.mass, refused.prefixes) == (1.0, 0)
    assert tree.answers == expand(loaded, FORGET[1:2], DECODING, budget=20)[0].answers


def test_a_refusal_that_is_the_true_answer_has_probability_one(loaded, known):
    prompt = replace(FORGET[0], answer="No.")
    sampler = guarded(NativeSampler(loaded), known, acting_on_forget(Refuse("No.")))
    assert truths_of(sampler, [prompt], DECODING)["f0"][1] == 0.0


def test_a_model_without_an_end_has_no_true_answers_behind_a_guard(loaded, known, monkeypatch):
    sampler = guarded(NativeSampler(loaded), known, acting_on_forget(Refuse("No.")))
    monkeypatch.setattr(type(loaded), "end_ids", frozenset())
    assert truths_of(sampler, FORGET, DECODING) == {}
    assert any("no end token" in note for note in sampler.notes)


def test_no_ability_of_the_bare_model_shows_through(loaded, known):
    for action in (Redact(), Ask(), Refuse(), Corrupt()):
        assert not hasattr(guarded(NativeSampler(loaded), known, acting_on_forget(action)), "loaded")


def test_an_engine_that_cannot_expand_still_cannot(known):
    class Words:
        name = "words"

        def describe(self):
            return {"model": "words", "fingerprint": "w"}

        def sample(self, requests, decoding, *, seed):
            return iter(())

    sampler = guarded(Words(), known, "curate")
    assert not hasattr(sampler, "expand")
    assert truths_of(sampler, ALL, DECODING) == {}
    with pytest.raises(InputError, match="Guard eco changes the inside of the model, which engine words does not show"):
        guarded(Words(), known, "eco")
    with pytest.raises(InputError, match="Guard ucd combines logits, which engine words does not show"):
        guarded(Words(), known, "ucd")


# -- what it needs, and what it says -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("spec", "lacks", "says"),
    [
        ("eco", "retain", "Guard eco needs retain prompts"),
        ("eco", "forget", "Guard eco needs the forget prompts"),
        ("curate", "forget", "Guard curate needs the forget prompts"),
        ("icul", "retain", "Guard icul needs retain prompts"),
        ("ucd", "auxiliary", "Guard ucd needs an auxiliary model named 'clean'"),
        ("dd-rank", "auxiliary", "Guard dd-rank needs an auxiliary model named 'clean'"),
    ],
)
def test_what_is_lacking_is_said_before_anything_is_computed(known, spec, lacks, says):
    class Untouched:
        name = "native"

    with pytest.raises(InputError, match=says):
        guarded(Untouched(), replace(known, **{lacks: type(getattr(known, lacks))()}), spec)


def test_names_and_options():
    assert get_guard("eco:sigma=5,keep=0.9").options()["sigma"] == 5.0
    assert GUARDS["eco"].options()["sigma"] != 5.0
    with pytest.raises(UnknownNameError, match="did you mean curate"):
        get_guard("curat")
    with pytest.raises(InputError, match="Guard 'ucd' has no option 'sigma'; its options: pin, alpha, plausible"):
        get_guard("ucd:sigma=3")
    with pytest.raises(InputError, match=r"must be a number like 10\.0"):
        get_guard("eco:sigma=much")
    with pytest.raises(UnknownNameError, match="Unknown corruption 'nois': did you mean noise"):
        get_guard("eco:how=nois")


def test_the_manifest_holds_what_changes_a_number(loaded, made):
    def told(spec, known=None):
        return guarded(NativeSampler(loaded), known or made.known(), spec).describe()

    one = told("eco")
    assert one == told("eco")
    assert one["model"] == f"{loaded.name} with guard eco"
    specs = ["eco:sigma=5", "eco:threshold=0.4", "eco:noise_seed=1", "curate", "ucd", "ucd:alpha=2", "dd-rank"]
    marks = [one["fingerprint"], loaded.fingerprint, *(told(spec)["fingerprint"] for spec in specs)]
    fewer = replace(made.known(), retain=RETAIN[:2])
    swapped = replace(made.known(), auxiliary={"clean": str(made.clean), "dirty": str(made.dirty)})
    marks += [told("eco", fewer)["fingerprint"], told("ucd", swapped)["fingerprint"]]
    assert len(set(marks)) == len(marks)


def test_a_run_goes_on_under_the_same_guard_alone(loaded, known, tmp_path):
    def run(spec, n):
        sampler = guarded(NativeSampler(loaded), known, spec) if spec else NativeSampler(loaded)
        return sample(sampler, FORGET, n=n, decoding=DECODING, out=tmp_path / "run", quiet=True)

    run("eco", 4)
    grown = run("eco", 8)
    whole = drawn(guarded(NativeSampler(loaded), known, "eco"), FORGET, n=8)
    assert {(g.prompt_id, g.sample): g.text for g in grown.generations()} == {k: g.text for k, g in whole.items()}
    for other in ("eco:sigma=5", "curate", ""):
        with pytest.raises(RunError, match="guard"):
            run(other, 8)


def test_an_audit_of_a_guarded_model(loaded, known, made, tmp_path):
    """Leak, exact bounds and the self-check are of the guarded model; the notes say on what the guard acted."""
    shared = {"decoding": DECODING, "n": 16, "scorers": ["fact"], "retain": RETAIN, "expand": 60, "quiet": True}
    bare = audit(loaded, FORGET, out=tmp_path / "bare", **shared)
    for spec in ("curate", "ucd", "eco"):
        found = audit(
            guarded(NativeSampler(loaded), known, spec),
            FORGET,
            out=tmp_path / spec,
            reference=str(made.clean),
            **shared,
        )
        assert found["label"] == f"full with guard {spec.partition(':')[0]}"
        mine, before = (results["scorers"]["fact"]["curves"]["samples"] for results in (found, bare))
        assert mine["value"][-1] < before["value"][-1]
        [note] = [note for note in found["notes"] if "acted on" in note]
        everything = spec.startswith("ucd")
        assert "3 of 3 forget prompts" in note
        assert f"{4 if everything else 0} of 4 retain prompts" in note
        assert not any("does not agree" in note for note in found["notes"])


def test_flags_are_of_the_text_that_is_put(loaded, known):
    """A probe's wording is looked at, not the question behind it."""
    sampler = guarded(NativeSampler(loaded), known, "curate")
    other = replace(FORGET[0], asked=Query("When does the market open?"))
    assert sampler.flags([FORGET[0], other]).tolist() == [True, False]


def test_greedy_answers_are_guarded_too(loaded, known):
    greedy = DECODING.as_greedy()
    found = drawn(guarded(NativeSampler(loaded), known, "curate"), ALL, n=3, decoding=greedy)
    assert leaks(found, FORGET) == 0
    assert leaks(found, RETAIN) == 1


def test_guards_stack(loaded, known):
    """An outer guard that asks or refuses may stand around any other."""
    inner = guarded(NativeSampler(loaded), known, acting_on_forget(Corrupt(how="zero", dims=0), ids=("f0",)))
    outer = guarded(inner, known, acting_on_forget(Refuse("No."), ids=("f1",)))
    found = drawn(outer, FORGET)
    assert {found["f1", j].text for j in range(20)} == {"No."}
    assert leaks({k: v for k, v in found.items() if k[0] == "f0"}, FORGET[:1]) < 0.5
    assert outer.describe()["guard"]["over"] == inner.describe()["guard"]
    assert truths_of(outer, FORGET, DECODING)["f0"] == truths_of(inner, FORGET, DECODING)["f0"]


def test_one_that_is_closed_is_taken_up_again(loaded, known):
    sampler = guarded(NativeSampler(loaded), known, "ucd")
    sampler.close()
    assert drawn(sampler, FORGET[:1], n=2)
