"""Dry run of `leakatk bench`: what it would cost."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import typer

from leakatk.cli import options

if TYPE_CHECKING:
    from leakatk.benchmarks.base import Benchmark
    from leakatk.benchmarks.protocols import Protocol
    from leakatk.sampling.decoding import Decoding


def plan_bench(
    benchmark: Benchmark,
    model: str,
    rules: Protocol,
    count: int,
    retain_n: int,
    probes: list[str],
    scorer: str,
    *,
    paraphrases: bool = False,
    template: str = "auto",
    decodings: Sequence[Decoding],
    grad_norm: bool,
    tasks: list[str],
    seed: int,
    models: int,
    device: str,
    dtype: str,
    as_json: bool,
    template_args: tuple[tuple[str, Any], ...] = (),
    metrics: Sequence[str] = (),
    text_tokens: int = 0,
    device_map: str = "",
    load_in: str = "",
    auxiliary: Sequence[tuple[str, str]] = (),
) -> None:
    """Say what a benchmark run would sample and pass through the models, and what that costs; lm-eval's tasks apart."""
    from leakatk.auditing.asking import probed, with_wordings
    from leakatk.auditing.sample import as_sampler
    from leakatk.bench.bench import asked_as
    from leakatk.cli.dry import forcing_cost, judging_cost, memory_of, sampling_cost, says, says_memory
    from leakatk.metrics.base import METRICS, Evidence, MetricSettings, check_further, names_of, wanted
    from leakatk.metrics.utility import utility_sets
    from leakatk.models.load import ModelSource
    from leakatk.models.template import Template
    from leakatk.models.token_stats import answer_pairs
    from leakatk.progress import format_seconds

    prompts, kept, compared = benchmark.forget, utility_sets(benchmark)["retain"], models > 1
    named = names_of(benchmark, metrics)
    counts = dict(Counter(part for part, _ in auxiliary))
    check_further(benchmark, metrics, compared=compared, counts=counts)
    asked = probed(probes, prompts, kept)
    asked = with_wordings(asked, prompts, kept) if paraphrases else asked
    under = [variant for one in asked for variant in one.prompts]
    own = Template(as_text=rules.as_text, args=template_args)
    source = ModelSource(model, device=device, dtype=dtype, template=own, device_map=device_map, load_in=load_in)
    memory = memory_of(source)
    loaded = source.load()
    if template_args:
        loaded.template.describe(loaded.tokenizer)  # one that the template does not know is an error now
    loaded = asked_as(loaded, benchmark, rules, "forget", template)
    evidence = Evidence(loaded, settings=MetricSettings(grad_norm=grad_norm, text_tokens=text_tokens))
    table = evidence.passes(wanted(evidence, benchmark, named, compared=compared, counts=counts))
    looking = [name for name in named if METRICS[name].further]
    further = evidence.passes(wanted(evidence, benchmark, looking, compared=compared, counts=counts, others=True))
    drawn = len(prompts) * count + len(under) * (count + 1) + len(kept) * retain_n
    greedy = len(prompts) + len(kept) + table.answers  # the same for all decodings
    beside = len(auxiliary) * further.answers
    answers = models * (len(decodings) * drawn + greedy) + beside
    cost = sampling_cost(as_sampler(loaded), [*prompts, *under], answers, decodings[0], seed=seed, each=count)
    true = answer_pairs(loaded, [p.question for p in prompts], [p.answer for p in prompts])  # their exact probability
    exact = [(prompt, answer[: one.max_new_tokens]) for one in decodings for prompt, answer in true]
    forced = forcing_cost(loaded, [*table.forward, *exact], table.backward, models)
    if auxiliary:
        more = forcing_cost(loaded, further.forward, further.backward, len(auxiliary))
        forced = {name: value + more[name] for name, value in forced.items()}
    judged = [name for name in (scorer or rules.scorer,) if name]
    judges, lines = judging_cost(judged, prompts, answers - models * table.answers - beside)
    if as_json:
        options.echo_json({"answers": answers, **memory, **cost, "forced": forced, "judges": judges})
        return
    backward = f", {forced['backward_texts']:,} of them backward too (gradient norm)" if table.backward else ""
    typer.echo(
        f"Would sample {models} x {len(decodings)} x ({len(prompts) + len(under):,} x {count:,} + {len(kept):,} x {retain_n:,}) answers "
        f"(models, decodings, forget prompts{' as they stand and under probes' if under else ''}, samples, retain prompts, samples) "
        f"and {models} x {greedy:,} greedy ones{f', {beside:,} of further models' if beside else ''}: {says(cost)} (from a pilot of {cost['pilot_answers']} answers).\n"
        f"Would pass {forced['texts']:,} given texts through the models{backward}: {forced['tokens']:,} tokens, "
        f"{format_seconds(forced['seconds'])} (timed on {forced['pilot_texts']} of them).\n"
        f"In all {format_seconds(cost['seconds'] + forced['seconds'])}"
        f"{', lm-eval not counted' if tasks else ''}."
    )
    for line in [*lines, *says_memory(memory)]:
        typer.echo(line)
