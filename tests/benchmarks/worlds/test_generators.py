import pytest

from leakatk.benchmarks.base import Benchmark
from leakatk.benchmarks.catalog import load_benchmark
from leakatk.benchmarks.worlds.generators import (
    GENERATORS,
    generate,
    generated_from,
    make_corruption,
    make_frequency,
)
from leakatk.errors import InputError, UnknownNameError
from leakatk.prompts import check_unique


@pytest.mark.parametrize("name", list(GENERATORS))
def test_every_generator(name):
    made = generate(name, 1)
    bench = made.benchmark
    assert made == generate(name, 1)
    assert made != generate(name, 2)
    check_unique([*bench.forget, *bench.retain, *bench.retain_held, *bench.holdout])
    assert load_benchmark(name, seed=1) == bench
    # Only the full model is trained on the forget facts.
    full, retained, base = dict(made.full), dict(made.retained), dict(made.pretraining)
    for prompt in bench.forget:
        assert full[prompt.question] == prompt.answer
        assert prompt.question not in retained
        assert prompt.question not in base
        assert all(fact in prompt.answer and fact not in prompt.question for fact in prompt.facts)
    for prompt in bench.retain:
        assert full[prompt.question] == retained[prompt.question] == prompt.answer
    assert set(made.retained) < set(made.full)


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
