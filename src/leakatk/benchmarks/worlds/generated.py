"""A benchmark with what its models are trained on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from leakatk.benchmarks.base import Benchmark
from leakatk.benchmarks.worlds.people import Pair
from leakatk.errors import InputError
from leakatk.prompts import Prompt


@dataclass(frozen=True, slots=True)
class Generated:
    """A benchmark, and the (question, answer) pairs of its base, of the full model and of the retrained one.

    pretraining_retained: those of the retrained model's own base, where the full model's has read what is to be forgotten.
    stages, stages_retained: the same pairs as `full` and `retained` in the stages that a model learns them in; () is all at once.
    """

    benchmark: Benchmark
    pretraining: tuple[Pair, ...]
    full: tuple[Pair, ...]
    retained: tuple[Pair, ...]
    pretraining_retained: tuple[Pair, ...] = ()
    stages: tuple[tuple[Pair, ...], ...] = ()
    stages_retained: tuple[tuple[Pair, ...], ...] = ()


def generated_from(benchmark: Benchmark) -> Generated:
    """Any benchmark of questions and answers, such as MUSE's or your own, ready for small models from scratch.

    The base learns the language of what is to be kept; the full model everything, the retrained one all but `forget`.
    InputError when there is nothing to keep.
    """
    kept = [(p.question, p.answer) for p in (*benchmark.retain, *benchmark.retain_held)]
    if not kept:
        raise InputError(
            f"Benchmark {benchmark.name} has no retain prompts: there is nothing to train a retrained model on."
        )
    forget = [(p.question, p.answer) for p in benchmark.forget]
    return Generated(benchmark, tuple(kept), (*forget, *kept), tuple(kept))


def wordings(prompts: Sequence[Prompt]) -> tuple[Pair, ...]:
    """Every wording of every prompt, with its answer."""
    return tuple((question, p.answer) for p in prompts for question in (p.question, *p.paraphrases))
