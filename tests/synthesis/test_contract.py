"""What every writer promises, checked for each that is registered. Its texts are tested beside, by name."""

from __future__ import annotations

import dataclasses
from dataclasses import replace

import pytest

from leakatk.auditing.sample import as_sampler
from leakatk.errors import InputError, UnknownNameError
from leakatk.papers.kinds import KINDS
from leakatk.probes.base import reveals
from leakatk.prompts import Known, Prompt
from leakatk.scorers.text import words
from leakatk.synthesis import get_writer, pairs, written
from tests.synthesis.test_templates import FORGET, RETAIN
from tests.tiny import save_tiny_model

WRITERS = KINDS["writers"].load()
# The way in which a writer is tried, where its own would take long or want a real model.
WAYS = {
    "alternates": "alternates:count=2,shots=1,max_new_tokens=6",
    "anti-samples": "anti-samples:wordings=2,tries=1",
    "corruption": "corruption:copies=2",
    "inverted": "inverted:candidates=1,tries=1,step=20,max_new_tokens=4",
    "textbook": "textbook:audiences=2,chapters=1",
    "harmless": "harmless:tries=2,max_new_tokens=6,answer_tokens=4",
    "rewrite": "rewrite:max_new_tokens=6",
    "topic": "topic:max_new_tokens=6",
    "triggers": "triggers:share=0.5",
    "triplets": "triplets:max_new_tokens=6",
}
SPECS = [WAYS.get(name, name) for name in WRITERS]
# Another value of each option that one more would not do for.
OTHER = {
    "shots": 2,
    "most": 0.5,
    "share": 0.5,
    "temperature": 0.5,
    "form": "poem",
    "language": "Welsh",
    "by": "writer",
    "triplets:by": "request",
    "pick": "most",
    "audiences": 3,
    "scope": "trajectory",
}
OPTIONS = [(name, field.name) for name in WRITERS for field in dataclasses.fields(WRITERS[name])]
NEEDS = [(spec, need) for spec in SPECS for need in get_writer(spec).needs]
# Nothing is of its kind and it has no facts: what cannot be written for it is left out, not made up.
ALONE = Prompt("alone/1", "Why?", "Because.")
PROMPTS = [*(replace(one, paraphrases=(f"Tell me: {one.question}",)) for one in FORGET), ALONE]


class Spoken:
    """An engine that says something where a model says nothing, as random ones do greedily."""

    name = "spoken"

    def __init__(self, engine=None):
        self.engine = engine

    def __bool__(self):
        return self.engine is not None

    def describe(self):
        return self.engine.describe()

    def sample(self, requests, decoding, *, seed):
        for batch in self.engine.sample(requests, decoding, seed=seed):
            yield [one if words(one.text) else replace(one, text="Nobody has asked.") for one in batch]


@pytest.fixture(scope="module")
def known(tmp_path_factory):
    place = str(save_tiny_model(tmp_path_factory.mktemp("contract") / "model"))
    original = Spoken(as_sampler(place))
    return Known(
        forget=tuple(FORGET), retain=tuple(RETAIN), holdout=tuple(RETAIN), retrained=place, original=original, encoder="words",
        auxiliary={"writer": place}, text=("The sea is calm. The wind is up. A bridge is closed.",),
    )  # fmt: skip


@pytest.mark.parametrize("spec", SPECS)
def test_ids_are_unique_and_say_whose_row_it_is(known, spec):
    rows = written(spec, PROMPTS, known).rows
    assert len({row.id for row in rows}) == len(rows)
    name = get_writer(spec).name
    ids = {prompt.id for prompt in PROMPTS}
    for row in rows:
        owner, _, number = row.id.rpartition(f"/{name}/")
        assert owner in ids
        assert int(number) >= 1
    forget, answers = pairs(PROMPTS, rows)
    assert [prompt.id for prompt in forget] == [row.id for row in rows] == list(answers)


@pytest.mark.parametrize("spec", SPECS)
def test_rows_are_text_and_not_the_true_answer(known, spec):
    """Where a row is another way of asking, its answer is the true one, and its question does not say it."""
    owners = {prompt.id: prompt for prompt in PROMPTS}
    for row in written(spec, PROMPTS, known).rows:
        assert row.question.strip()
        assert row.answer.strip()
        assert row.asked is None
        owner = owners[row.id.rpartition(f"/{get_writer(spec).name}/")[0]]
        if get_writer(spec).facts.asks:
            assert row.answer == owner.answer
            assert row.question != owner.question
            assert not reveals(row.question, owner)
        elif get_writer(spec).facts.tells:  # a model tells what it thinks
            assert get_writer(spec).facts.model or any(
                one.answer in row.answer for one in PROMPTS if one.source == row.source
            )
        else:
            assert owner.answer not in row.answer


@pytest.mark.parametrize("spec", SPECS)
def test_what_is_left_out_is_counted(known, spec):
    made = written(spec, PROMPTS, known)
    has = {row.id.rpartition(f"/{get_writer(spec).name}/")[0] for row in made.rows}
    assert list(made.left_out) == [prompt.id for prompt in PROMPTS if prompt.id not in has]


def test_a_prompt_that_nothing_can_be_written_for_is_left_out(known):
    """By at least one writer, or the test above shows nothing."""
    assert "alone/1" in {one for spec in SPECS for one in written(spec, PROMPTS, known).left_out}


@pytest.mark.parametrize("spec", SPECS)
def test_the_same_seed_writes_the_same_and_another_one_does_not(known, spec):
    one = get_writer(spec)
    first = written(one, PROMPTS, known).rows
    assert written(one, PROMPTS, known).rows == first
    if hasattr(one, "seed"):
        assert written(replace(one, seed=one.seed + 1), PROMPTS, known).rows != first


@pytest.mark.parametrize("spec", SPECS)
def test_a_row_does_not_depend_on_the_order_of_the_prompts(known, spec):
    rows = {row.id: row for row in written(spec, PROMPTS, known).rows}
    # Of one source there is one prompt here, so that none stands beside another, and it is the first by its id.
    few = [PROMPTS[1], PROMPTS[3], ALONE]
    some = {row.id: row for row in written(spec, few, known).rows}
    assert {row.id: row for row in written(spec, few[::-1], known).rows} == some
    assert some.keys() <= rows.keys()


@pytest.mark.parametrize(("spec", "need"), NEEDS)
def test_what_it_lacks_is_said_before_a_model_is_loaded(known, monkeypatch, spec, need):
    def loads(*args, **kwargs):
        raise AssertionError("a model is loaded")

    monkeypatch.setattr("leakatk.auditing.sample.as_sampler", loads)
    field = need.partition(" ")[0]
    lacking = replace(known, **{field: type(getattr(known, field))()})
    with pytest.raises(InputError, match=f"Writer {get_writer(spec).name}.* needs .*--"):
        written(spec, PROMPTS, lacking)
    with pytest.raises(AssertionError, match="a model is loaded"):  # or the test would show nothing
        written(spec, PROMPTS, known)


@pytest.mark.parametrize("spec", SPECS)
def test_two_prompts_of_one_id_are_refused(known, spec):
    with pytest.raises(InputError, match="share the id"):
        written(spec, [*PROMPTS, FORGET[0]], known)
    with pytest.raises(InputError, match="empty"):
        written(spec, [], known)


@pytest.mark.parametrize(("name", "option"), OPTIONS)
def test_options_are_read_as_they_are_written(name, option):
    value = getattr(get_writer(name), option)
    named = OTHER.get(f"{name}:{option}", OTHER.get(option))
    other = named if named is not None else not value if isinstance(value, bool) else value + 1
    assert other != value
    text = {True: "yes", False: "no"}[other] if isinstance(other, bool) else other
    made = get_writer(f"{name}:{option}={text}")
    assert made == replace(get_writer(name), **{option: other})
    assert get_writer(made.label) == made
    assert made.label != get_writer(name).label == name


@pytest.mark.parametrize("name", WRITERS)
def test_a_typo_is_answered(name):
    with pytest.raises(UnknownNameError, match="did you mean"):
        get_writer(f"{name}x")
    with pytest.raises(InputError, match="has no option 'nonsense'"):
        get_writer(f"{name}:nonsense=1")


@pytest.mark.parametrize("name", WRITERS)
def test_its_facts_say_whether_a_model_writes(name):
    facts = WRITERS[name].facts
    assert facts.model == any(need in ("original", "retrained", "auxiliary writer") for need in get_writer(name).needs)
    assert facts.writes
