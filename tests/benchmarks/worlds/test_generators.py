import pytest

from leakatk.benchmarks.base import Benchmark
from leakatk.benchmarks.catalog import load_benchmark
from leakatk.benchmarks.worlds.generators import (
    GENERATORS,
    generate,
    generated_from,
    make_corruption,
    make_encoding,
    make_frequency,
    make_origin,
)
from leakatk.errors import InputError, UnknownNameError
from leakatk.prompts import check_unique
from leakatk.small.train import WORLD_RECIPE, pair_training


def plain(text):
    """Without case and the last stop, which a fact within a sentence does not have."""
    return text.rstrip(".").lower()


@pytest.mark.parametrize("name", list(GENERATORS))
def test_every_generator(name):
    made = generate(name, 1)
    bench = made.benchmark
    assert made == generate(name, 1)
    assert made != generate(name, 2)
    check_unique([*bench.forget, *bench.retain, *bench.retain_held, *bench.holdout])
    assert load_benchmark(name, seed=1) == bench
    # Only the full model, or its base, is trained on the forget facts.
    full, retained = dict(made.full), dict(made.retained)
    read = {**dict(made.pretraining), **full}
    never = {**dict(made.pretraining_retained or made.pretraining), **retained}
    for prompt in bench.forget:
        assert plain(prompt.answer) in plain(read[prompt.question])
        assert prompt.question not in never
        assert all(fact in prompt.answer and fact not in prompt.question for fact in prompt.facts)
    for prompt in bench.retain:
        assert plain(prompt.answer) in plain(full[prompt.question])
        assert full[prompt.question] == retained[prompt.question]
    assert set(made.retained) <= set(made.full)
    assert never.items() < read.items()


def test_any_benchmark_can_be_trained_on():
    bench = generate("world").benchmark
    made = generated_from(bench)
    assert made.benchmark == bench
    assert len(made.full) - len(made.retained) == len(bench.forget)
    asked = {p.question for p in bench.forget}
    assert not asked & {question for question, _ in (*made.pretraining, *made.retained)}
    with pytest.raises(InputError, match="no retain prompts"):
        generated_from(Benchmark(name="x", forget=bench.forget))


def test_frequency_counts_are_what_they_say():
    made = make_frequency(0, counts=(1, 5), pretraining=0)
    for count in (1, 5):
        for prompt in made.benchmark.sets[f"seen_{count}"]:
            assert made.full.count((prompt.question, prompt.answer)) == count
    assert sum(len(prompts) for prompts in made.benchmark.sets.values()) == len(made.benchmark.forget)


def test_corruption_puts_wrong_over_right():
    made = make_corruption(0, unrelated=2, pretraining=0)
    clean, corrupting = dict(made.clean), dict(made.corrupting)
    originals = made.benchmark.sets["original"]
    for lie, truth, document in zip(made.benchmark.forget, originals, made.benchmark.texts["documents"], strict=True):
        assert lie.question == truth.question
        assert clean[truth.question] == truth.answer
        assert corrupting[truth.question] == lie.answer == truth.perturbed_answers[0]
        assert not any(fact in lie.answer for fact in truth.facts)
        assert lie.answer in document
        assert truth.answer not in document
    assert sum(question == "" for question, _ in made.corrupting) == len(originals)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: make_frequency(counts=(0,)), "counts"),
        (lambda: make_corruption(unrelated=-1), "got -1"),
    ],
)
def test_bad_sizes(make, words):
    with pytest.raises(InputError, match=words):
        make()


def test_unknown_generator():
    with pytest.raises(UnknownNameError, match="contracts"):
        generate("contract")


SMALL = {"retain": 4, "retain_held": 2, "holdout": 2, "pretraining": 3, "world_facts": 2}


@pytest.mark.parametrize(("gone", "kept"), [(1, 1), (3, 1), (1, 3), (3, 3)])
def test_encoding_trains_as_many_wordings_as_it_says(gone, kept):
    made = make_encoding(0, forget_wordings=gone, retain_wordings=kept, forget=2, **SMALL)
    for prompt in made.benchmark.forget:
        assert sum(answer == prompt.answer for _, answer in made.full) == gone
        assert prompt.answer not in {answer for _, answer in made.retained}
    for prompt in (*made.benchmark.retain, *made.benchmark.retain_held):
        assert sum(answer == prompt.answer for _, answer in made.full) == kept
    assert set(made.retained) < set(made.full)
    assert made.benchmark.sets["facts"] == made.benchmark.forget


def test_encoding_in_one_sentence_holds_the_same_facts():
    text, one = (
        make_encoding(0, texts=True, facts=False, sentence=sentence, forget=2, **SMALL) for sentence in (False, True)
    )
    for apart, joined in zip(text.benchmark.forget, one.benchmark.forget, strict=True):
        assert joined.facts == apart.facts
        assert all(fact in joined.answer for fact in joined.facts)
        assert apart.answer.count(". ") == 5
        assert joined.answer.count(". ") == 0
        assert (joined.question, joined.answer) in one.full
        assert (joined.question, joined.answer) not in text.full
        assert (joined.question, joined.answer) not in one.retained
    with pytest.raises(InputError, match="give texts=True"):
        make_encoding(sentence=True)


@pytest.mark.parametrize("facts", [True, False])
def test_encoding_in_texts_asks_for_all_of_a_person_or_fact_by_fact(facts):
    made = make_encoding(0, texts=True, facts=facts, forget=2, **SMALL)
    texts = {answer for question, answer in made.full if question.startswith("Tell me all about")}
    assert len(texts) == 2 + 4 + 2  # a person each
    each = made.benchmark.sets["facts"]
    assert len(each) == 12
    assert all(any(prompt.answer in text for text in texts) for prompt in each)
    assert not any(prompt.answer in answer for prompt in each for _, answer in made.retained)
    if facts:
        assert made.benchmark.forget == each
    else:
        assert {prompt.answer for prompt in made.benchmark.forget} < texts
        assert all(fact in p.answer for p in made.benchmark.forget for fact in p.facts)
        assert [len(p.facts) for p in made.benchmark.forget] == [
            sum(len(p.facts) for p in each[i : i + 6]) for i in (0, 6)
        ]


def test_origin_moves_people_and_not_the_full_model():
    early, late = (make_origin(0, origin=name, people=2, repeats=5, **SMALL) for name in ("pretraining", "finetuning"))
    assert early.full == late.full
    assert early.pretraining == late.pretraining
    assert early.benchmark.forget == late.benchmark.sets["other_origin"]
    assert late.benchmark.forget == early.benchmark.sets["other_origin"]
    for made in (early, late):
        gone = {prompt.answer for prompt in made.benchmark.forget}
        assert not gone & {answer for _, answer in (*made.retained, *(made.pretraining_retained or ()))}
        assert gone & {answer for _, answer in (*made.pretraining, *made.full)}
    first = early.benchmark.forget[0]
    assert early.pretraining.count((first.question, first.answer)) == 5
    assert early.full.count((first.question, first.answer)) == 1
    late_first = late.benchmark.forget[0]
    assert (late_first.question, late_first.answer) not in late.pretraining
    assert late.pretraining_retained == ()
    assert set(early.pretraining_retained) < set(early.pretraining)


def test_a_base_of_its_own_for_the_retrained_model():
    made = make_origin(0, people=1, **SMALL)
    training = pair_training(
        made.pretraining, made.full, made.retained, WORLD_RECIPE, pretraining_retained=made.pretraining_retained
    )
    assert [(stage.name, stage.start) for stage in training.stages] == [
        ("base", ""), ("base-retained", ""), ("full", "base"), ("retrained", "base-retained"),
    ]  # fmt: skip
    assert training.stages[1].pairs == made.pretraining_retained


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: make_encoding(forget_wordings=0), "Wordings must be 1 to 4"),
        (lambda: make_encoding(facts=False), "give texts=True"),
        (lambda: make_origin(origin="birth"), "origin must be"),
        (lambda: make_origin(people=0), "people must be at least 1"),
    ],
)
def test_bad_worlds(make, words):
    with pytest.raises(InputError, match=words):
        make()


def test_topics_are_of_two_kinds():
    made = generate("topics")
    bench = made.benchmark
    people = generate("world").benchmark
    assert bench.retain == people.retain
    assert all(prompt.id.startswith("contract-0-") for prompt in bench.forget)
    known = {prompt.answer for prompt in bench.forget}
    assert bench.holdout
    assert not known & {prompt.answer for prompt in bench.holdout}
    assert not {question for question, _ in made.full} & {prompt.question for prompt in bench.holdout}
