"""What every metric promises, checked for each that is registered. Its formula is tested beside, by name."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import replace

import pytest

from leakatk.benchmarks.base import Benchmark
from leakatk.benchmarks.catalog import load_benchmark
from leakatk.benchmarks.wmdp import choice_form
from leakatk.benchmarks.worlds.people import make_world
from leakatk.errors import InputError, UnknownNameError
from leakatk.metrics.base import METRICS as REGISTRY
from leakatk.metrics.base import Evidence, MetricSettings, check_further, evaluate, lacking, names_of, wanted
from leakatk.models.load import load_model
from leakatk.papers.kinds import KINDS
from tests.tiny import save_tiny_model

METRICS = KINDS["metrics"].load()
WORLD = make_world(0, forget=1, retain=2, retain_held=1, holdout=1, world_facts=2, pretraining=10)
QA = "Question: {question}\nAnswer:"
# A benchmark with everything that a metric may need, all of it small.
WHOLE = Benchmark(
    name="whole",
    forget=WORLD.forget[:2],
    retain=WORLD.retain[:2],
    retain_held=WORLD.retain_held[:1],
    holdout=WORLD.holdout[:2],
    sets={
        "original": WORLD.forget[3:5],
        "real_authors": WORLD.retain[2:4], "world_facts": WORLD.world_facts[:2], "verbmem": WORLD.forget[:1],
        "further": WORLD.retain[4:5],
    },
    texts={"privleak_forget": tuple(p.answer for p in WORLD.forget[:2]), "privleak_holdout": tuple(p.answer for p in WORLD.holdout[:2])},
    templates={"forget": QA, "retain": QA},
    refusals=WORLD.refusals,
)  # fmt: skip
# Metrics that are for another form of the questions.
BENCHMARKS = {"choices": replace(WHOLE, forget=choice_form(WHOLE.forget))}
FURTHER = ("original", "earlier", "alike", "retrained")
# Metrics with numbers that random models do not have, and why.
UNDEFINED = {
    "forget_efficacy": "no encoder, no entailment model",
    "forgetting_degree": "the retrained model prefers no right answer",
    "restored_share": "the clean and the corrupted model answer alike",
    "norm_auc": "ROUGE is 0 before unlearning",
    "superficial": "no questions through another fact, and none that share an answer",
    "token_entropy": "answers are empty",
    "prompt_suppression": "the likeliest answers are refusals",
}
NEEDS = [(name, need) for name in METRICS for need in METRICS[name].needs if need != "forget"]


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    place = tmp_path_factory.mktemp("contract")
    return [load_model(save_tiny_model(place / str(seed), seed=seed), device="cpu") for seed in (0, 1)]


def benchmark_for(name):
    return BENCHMARKS.get(name, WHOLE)


class Heard(Evidence):
    """Notes what it is asked for."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.heard = {}

    def get(self, pieces):
        pieces = list(pieces)
        self.heard |= dict.fromkeys(pieces)
        return super().get(pieces)


def evidence_of(models, kind=Evidence, *, compared=True, further=FURTHER, **settings):
    chosen = MetricSettings(**{"ngram": 2, "draws": 2, **settings})
    other = kind(models[1], settings=chosen) if compared else None
    beside = {part: [kind(models[1], settings=chosen)] for part in further}
    return kind(models[0], settings=chosen, retrained=other, beside=beside)


@pytest.fixture(scope="module")
def numbers(models):
    """A function: the numbers of a metric on its benchmark, computed once."""
    made = {}

    def of(name):
        if name not in made:
            made[name] = evaluate(evidence_of(models), benchmark_for(name), metrics=[name])
        return made[name]

    return of


@pytest.mark.parametrize("name", METRICS)
def test_it_gives_what_it_says(numbers, name):
    found = numbers(name)
    assert found
    if METRICS[name].values:
        assert tuple(found) == METRICS[name].values
    assert all(type(value) is float for value in found.values())
    if name not in UNDEFINED:
        assert not any(math.isnan(value) for key, value in found.items() if not key.endswith("_grad-norm"))
    assert not all(math.isnan(value) for value in found.values())


@pytest.fixture(scope="module")
def kept(models, tmp_path_factory):
    """A function: evidence of both models from disk, where all that all metrics want was kept, computed once."""
    place = tmp_path_factory.mktemp("kept")
    for name, model in zip(("mine", "theirs"), models, strict=True):
        evidence = Evidence(model, settings=MetricSettings(ngram=2, draws=2, grad_norm=True), keep=place / name)
        counts = dict.fromkeys(FURTHER, 1)
        evidence.get(
            one
            for name in METRICS
            for one in wanted(evidence, benchmark_for(name), [name], compared=True, counts=counts)
        )

    def of(kind, grad_norm=False):
        settings = MetricSettings(ngram=2, draws=2, grad_norm=grad_norm)
        theirs = kind(models[1], settings=settings, keep=place / "theirs")
        beside = {part: [kind(models[1], settings=settings, keep=place / "theirs")] for part in FURTHER}
        return kind(models[0], settings=settings, keep=place / "mine", retrained=theirs, beside=beside)

    return of


@pytest.mark.parametrize(("name", "need"), NEEDS)
def test_what_it_lacks_makes_it_nan_and_never_zero(models, name, need):
    bare, compared, further = benchmark_for(name), True, FURTHER
    for one in need.split("|"):
        part, _, key = one.partition(".")
        if one == "retrained":
            compared = False
        elif one.startswith("auxiliary "):
            further = tuple(other for other in FURTHER if other != one.removeprefix("auxiliary "))
        elif key:
            bare = replace(bare, **{part: {k: value for k, value in getattr(bare, part).items() if k != key}})
        elif hasattr(bare, part):
            bare = replace(bare, **{part: type(getattr(bare, part))()})
        else:
            empty = type(getattr(bare.forget[0], one))()
            bare = replace(bare, forget=(*bare.forget[1:], dataclasses.replace(bare.forget[0], **{one: empty})))
    counts = dict.fromkeys(further, 1)
    assert lacking(METRICS[name], bare, compared=compared, counts=counts) == need
    evidence = evidence_of(models, compared=compared, further=further)
    found = evaluate(evidence, bare, metrics=[name])
    assert tuple(found) == METRICS[name].values
    assert all(math.isnan(value) for value in found.values())
    assert not wanted(evidence, bare, [name]), "what comes to nothing costs nothing"
    with pytest.raises(InputError, match=f"Metric {name} needs .*; (give|take)"):
        check_further(
            bare, [name], compared=compared, counts={part: 1 for part in METRICS[name].further if part in further}
        )


@pytest.mark.parametrize("name", METRICS)
@pytest.mark.parametrize("grad_norm", [False, True])
def test_what_is_rehearsed_is_what_is_asked(models, kept, name, grad_norm):
    """Neither less nor more, of this model and of the retrained one."""
    plan = set(wanted(evidence_of(models, grad_norm=grad_norm), benchmark_for(name), [name]))
    heard = kept(Heard, grad_norm)
    METRICS[name].compute(heard, benchmark_for(name))
    asked = [heard, heard.retrained, *(one for models in heard.beside.values() for one in models)]
    assert {piece for one in asked for piece in one.heard} == plan
    cost = heard.passes(list(plan))
    assert len(cost.forward) + len(cost.backward) + cost.answers >= 1


@pytest.mark.parametrize("name", METRICS)
def test_it_is_the_same_beside_others_and_from_disk(kept, numbers, name):
    """All of it is found out beforehand: the models may go."""
    evidence = kept(Evidence)
    evidence.close()
    evidence.retrained.close()
    found = METRICS[name].compute(evidence, benchmark_for(name))
    assert found == pytest.approx(numbers(name), nan_ok=True, abs=1e-5)


@pytest.mark.parametrize("name", METRICS)
def test_nothing_to_forget_and_a_typo_are_answered(models, name):
    with pytest.raises(InputError, match="no forget prompts"):
        evaluate(evidence_of(models), Benchmark(name="none", forget=()), metrics=[name])
    with pytest.raises(UnknownNameError, match="did you mean"):
        names_of(WHOLE, [f"{name}x"])


def test_no_two_metrics_of_a_benchmark_give_a_number_the_same_name():
    assert REGISTRY is METRICS
    for bench in (WHOLE,):
        values = [value for name in bench.metrics for value in METRICS[name].values]
        assert len(values) == len(set(values))


@pytest.mark.parametrize("name", METRICS)
def test_its_example_has_what_it_needs(name):
    example = KINDS["metrics"].command(METRICS[name])
    assert f"--metric {name} " in example
    bench = example.split()[2]
    given = {part: 1 for part in FURTHER if f"--auxiliary {part}=" in example}
    if bench in ("world", "corruption"):
        check_further(load_benchmark(bench), [name], compared="--retrained" in example, counts=given)
    if name in BENCHMARKS:
        assert bench == "wmdp/bio"
    if bench != "world":
        assert name in BENCHMARKS or lacking(METRICS[name], load_benchmark("world"), compared=True, counts=given)
