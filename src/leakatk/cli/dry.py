"""Dry runs: what a command would cost, from a pilot on this machine. `--dry-run` measures instead of guessing."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from leakatk.progress import format_bytes, format_seconds

if TYPE_CHECKING:
    from leakatk.metrics.base import Pairs
    from leakatk.models.load import ModelSource
    from leakatk.models.loaded import LoadedModel
    from leakatk.models.memory import Trained
    from leakatk.prompts import Generation, Prompt
    from leakatk.sampling.base import Sampler
    from leakatk.sampling.decoding import Decoding
    from leakatk.scorers.base import Scorer
    from leakatk.small.train import Training
    from leakatk.unlearning.methods import Method
    from leakatk.unlearning.rule.settings import RuleSettings
    from leakatk.unlearning.settings import TrainSettings

PILOT_SECONDS = 2.0  # a pilot grows until one of its passes takes this long
PILOT_LENGTHS = 8  # prompts whose answers are drawn to their ends
PILOT_STEPS = 8
PILOT_PAIRS = 500
PILOT_TEXTS = 32
PILOT_PROMPTS, PILOT_PREFIXES = 8, 32
LEAST_TOKENS = 8  # of an answer that is cut to time a slow model
BATCH = 1024  # answers in flight at once where an engine does not say


def sampling_cost(
    sampler: Sampler, prompts: Sequence[Prompt], answers: int, decoding: Decoding, *, seed: int, each: int = 0
) -> dict[str, float]:
    """Tokens, seconds and bytes of `answers` answers, `each` to a prompt (0: evenly), from a pilot kept in memory.

    After a first call, which pays for what later ones find ready, a few answers are drawn to their ends: they say how long
    answers are. Then passes of the run's own shape, samples of one prompt and after them of more prompts, grow four times at
    a step, cut short where the model is slow. Their times are split into what a step costs whatever it holds, what each row
    in it adds and what a prompt does (least squares, none negative), and put together again for the run's own batches.
    """
    from dataclasses import replace

    from leakatk.runs.shards import encode_line
    from leakatk.sampling.base import Request

    each = each or max(1, math.ceil(answers / len(prompts)))
    begun = 0
    passes: list[_Pass] = []

    def timed(count: int, samples: int, tokens: int) -> list[Generation]:
        """So many samples of so many prompts, spread evenly; none is drawn twice."""
        nonlocal begun
        items = [prompts[i * len(prompts) // count] for i in range(count)]
        requests = [Request(prompt, tuple(range(begun, begun + samples))) for prompt in items]
        begun += samples
        cut = replace(decoding, max_new_tokens=min(tokens, decoding.max_new_tokens))
        start = time.perf_counter()
        found = [one for batch in sampler.sample(requests, cut, seed=seed) for one in batch]
        passes.append(_Pass.of(sampler, found, count, time.perf_counter() - start))
        return found

    timed(1, 1, LEAST_TOKENS)
    cold = passes.pop().seconds  # the run pays it once, too
    whole = timed(min(PILOT_LENGTHS, len(prompts)), 1, decoding.max_new_tokens)
    mean, longest = passes[0].tokens / len(whole), passes[0].longest
    # A pass of one answer alone takes half the time at most.
    tokens = max(LEAST_TOKENS, int(PILOT_SECONDS / 2 / max(passes[0].seconds / max(1, longest), 1e-9)))
    many, samples = 1, 1
    while True:
        timed(many, samples, tokens)
        last = passes[-1]
        if last.answers >= min(BATCH, answers) or last.seconds > 5 * PILOT_SECONDS:
            break
        # Two sizes alone would tell the noise of a busy machine from what an answer adds.
        if len(passes) > 3 and last.seconds > PILOT_SECONDS and last.seconds > 1.5 * passes[1].seconds:
            break
        if samples < each:
            samples = min(4 * samples, each)
        elif many < len(prompts):
            many = min(4 * many, len(prompts))
        else:
            break
    if any(one.finish_reason == "length" for one in whole):
        longest = decoding.max_new_tokens
    elif tokens < decoding.max_new_tokens:  # a batch ends with its longest answer, and these were few
        longest = min(decoding.max_new_tokens, int(1.5 * longest))
    else:
        longest = max(one.longest for one in passes)
    batch = _batch(sampler)
    step, row, prompt = _costs(passes, batch)
    seconds = step * math.ceil(answers / batch) * longest + row * answers * mean * last.share
    seconds += prompt * max(answers / each, 1) + cold
    return {
        "pilot_answers": sum(one.answers for one in passes),
        "tokens": mean * answers,
        "tokens_per_second": mean * answers / seconds,
        "seconds": seconds,
        "bytes": sum(len(encode_line(one)) for one in whole) / len(whole) * answers,
    }


@dataclass(frozen=True, slots=True)
class _Pass:
    """What a pass of a pilot held and how long it took. share: rows computed a token, below 1 where prefixes are shared."""

    answers: int
    prompts: int
    tokens: int
    longest: int
    share: float
    seconds: float

    @classmethod
    def of(cls, sampler: Sampler, found: Sequence[Generation], prompts: int, seconds: float) -> _Pass:
        sizes = [len(one.token_ids) for one in found]
        computed, drawn = _work(sampler)
        return cls(
            len(found), prompts, sum(sizes), max(sizes), computed / drawn if computed and drawn else 1.0, seconds
        )


def _costs(passes: Sequence[_Pass], batch: float) -> list[float]:
    """Seconds of a step, of a row in it, and of a prompt: what fits the passes best, later ones more, relative to their times."""
    import numpy as np
    from scipy.optimize import nnls

    times = np.maximum([one.seconds for one in passes], 1e-6)
    parts = [(math.ceil(one.answers / batch) * one.longest, one.tokens * one.share, one.prompts) for one in passes]
    weights = np.linspace(1, 3, len(passes)) / times
    found, _ = nnls(np.array(parts, dtype=np.float64) * weights[:, None], times * weights)
    return [float(value) for value in found]


def _batch(sampler: Sampler) -> float:
    """Answers in flight at once: the engine's rows, over the rows that one answer took when prefixes were shared."""
    from leakatk.sampling.base import Batches

    rows = sampler.max_rows if isinstance(sampler, Batches) and isinstance(sampler.max_rows, int) else BATCH
    computed, drawn = _work(sampler)
    return rows * max(1.0, drawn / computed) if computed else rows


def _work(sampler: Sampler) -> tuple[int, int]:
    """Rows computed and tokens drawn in the last call; 0 where the engine does not count them."""
    from leakatk.sampling.base import CountsRows

    return (sampler.rows_computed, sampler.tokens_drawn) if isinstance(sampler, CountsRows) else (0, 0)


def expansion_cost(sampler: Sampler, prompts: Sequence[Prompt], decoding: Decoding, budget: int) -> dict[str, float]:
    """The most prefixes that exact expansion computes, and the seconds they take, scaled from a pilot with a small budget.

    NaN seconds where the model is not in this process. InputError for an engine or a memory that cannot.
    """
    from leakatk.sampling.answer_tree import check_memory, expand
    from leakatk.sampling.base import check_expands, loaded_of

    check_expands(sampler)
    loaded, most = loaded_of(sampler), budget * len(prompts)
    if loaded is None:
        return {"prefixes": most, "seconds": math.nan}
    check_memory(loaded, budget)
    some = prompts[:PILOT_PROMPTS]
    for _ in expand(loaded, some[:1], decoding, budget=1, unknown=0.0):
        pass  # the first pass pays for what later ones find ready
    start = time.perf_counter()
    done = sum(
        tree.prefixes for tree in expand(loaded, some, decoding, budget=min(budget, PILOT_PREFIXES), unknown=0.0)
    )
    return {"prefixes": most, "seconds": (time.perf_counter() - start) * most / done}


def scoring_cost(scorer: Scorer, prompts: Sequence[Prompt], texts: Sequence[str]) -> float:
    """Seconds of scoring these pairs, scaled from a pilot on some of them, evenly spread."""
    step = max(1, len(texts) // PILOT_PAIRS)
    pilot = range(0, len(texts), step)
    scorer.score([prompts[0]], [texts[0]])  # the first pair pays for what later ones find ready
    start = time.perf_counter()
    scorer.score([prompts[i] for i in pilot], [texts[i] for i in pilot])
    return (time.perf_counter() - start) * len(texts) / len(pilot)


def judging_cost(
    scorers: Sequence[str], prompts: Sequence[Prompt], answers: int
) -> tuple[dict[str, dict[str, float]], list[str]]:
    """What each scorer that costs money would be sent about so many answers if no two are equal, as values and in words.

    The true answers stand for the length of an answer.
    """
    from leakatk.scorers.base import Priced, get_scorer

    costs, lines = {}, []
    for name in scorers:
        judge = get_scorer(name)
        if isinstance(judge, Priced):
            one = judge.expected(prompts, [prompt.answer for prompt in prompts])
            scale = answers / max(1, one["items"])
            costs[name] = {key: one[key] * scale for key in ("tokens_in", "tokens_out", "dollars")} | {
                "items": answers, "judged": 0, "requests": judge.requests_for(answers)
            }  # fmt: skip
            lines.append(f"Would ask, if no two answers are equal: {judge.says(costs[name])}.")
    return costs, lines


def forcing_cost(loaded: LoadedModel, forward: Pairs, backward: Pairs, models: int) -> dict[str, float]:
    """Texts, tokens and seconds of forward passes over given texts and of gradients of some, for so many models.

    Scaled from a few texts, evenly spread: twice as many until they are enough to time. A text that also gets a gradient
    counts its tokens twice.
    """
    from leakatk.models.token_stats import gradient_norms, token_stats

    def tokens(pairs: Pairs) -> int:
        return sum(len(prompt) + len(ids) for prompt, ids in pairs)

    seconds, pilot_texts = 0.0, 0
    for pairs, compute in ((forward, token_stats), (backward, gradient_norms)):
        most, count = min(PILOT_TEXTS, len(pairs)), 1
        if pairs:
            compute(loaded, pairs[:1])  # the first pass pays for what later ones find ready
        while pairs:
            some = pairs[:: len(pairs) // count][:count]
            start = time.perf_counter()
            compute(loaded, some)
            spent = time.perf_counter() - start
            if spent > PILOT_SECONDS or count == most:
                seconds += spent * tokens(pairs) / tokens(some)
                pilot_texts += count
                break
            count = min(2 * count, most)
    return {
        "texts": models * len(forward),
        "backward_texts": models * len(backward),
        "tokens": models * (tokens(forward) + tokens(backward)),
        "seconds": models * seconds,
        "pilot_texts": pilot_texts,
    }


def training_cost(
    loaded: LoadedModel, forget: Sequence[Prompt], retain: Sequence[Prompt], method: Method, settings: TrainSettings
) -> dict[str, float]:
    """Tokens and seconds of a training run from one timed forward pass, and the bytes it writes.

    A step is taken as three forward passes over its answers (forward and backward), four where the method asks a
    reference model, as many times as its optimiser asks for gradients.
    """
    from leakatk.models.token_stats import answer_pairs, token_stats
    from leakatk.unlearning.closure import passes
    from leakatk.unlearning.stages import Keep, flat

    pairs = {
        name: answer_pairs(loaded, [p.question for p in items[:32]], [p.answer for p in items[:32]])
        for name, items in (("forget", forget), ("retain", retain)) if items
    }  # fmt: skip
    length = {name: sum(len(q) + len(a) for q, a in some) / len(some) for name, some in pairs.items()}
    steps, tokens = 0, 0.0
    for stage in method.trains:  # the rounds of a repeated stage are not known; one counts
        chosen = settings.changed(stage.settings)
        side = "forget" if "forget" in stage.sides else "retain"
        count = chosen.total_steps(len(forget if side == "forget" else retain), side=side)
        sizes = {"forget": chosen.forget_batch, "retain": chosen.retain_batch}
        steps += count
        each = sum(sizes[used] * length.get(used, 0.0) for used in sorted(stage.sides))
        tokens += count * each * passes(stage, method.params, chosen)
    sample = pairs.get("forget") or pairs["retain"]
    token_stats(loaded, sample[:2])  # the first pass pays for what later ones find ready
    start = time.perf_counter()
    token_stats(loaded, sample)
    rate = sum(len(q) + len(a) for q, a in sample) / (time.perf_counter() - start)
    size = sum(p.numel() for p in loaded.model.parameters()) * 4
    checkpoints = settings.checkpoint_every and steps > settings.checkpoint_every
    copies = 4 if checkpoints and settings.tuning == "full" else 1
    if len(method.stages) > 1:  # the start, what is kept, and where at most two later stages began
        kept = sum(isinstance(stage, Keep) for stage in flat(method.stages))
        copies += 1 + kept + min(2, len(method.trains) - 1)
    return {
        "steps": steps,
        "tokens": tokens,
        "seconds": 3.5 * tokens / rate,
        "bytes": float(size * copies),
    }


def detection_cost(
    loaded: LoadedModel, forget: Sequence[Prompt], options: RuleSettings, *, seed: int
) -> dict[str, float]:
    """Answers, tokens and seconds of one detection of RULE: every wording and decoding, whole; scoring is not in it."""
    from leakatk.sampling.native import NativeSampler
    from leakatk.unlearning.rule.detect import wordings

    asked = [wording for prompt in forget for wording in wordings(prompt, options.wordings)]
    parts = []
    for decoding in options.decodings:
        each = 1 if decoding.greedy else options.n
        parts.append(
            sampling_cost(NativeSampler(loaded), asked, each * len(asked), decoding, seed=seed, each=each)
            | {"answers": each * len(asked)}
        )
    total = {name: sum(part[name] for part in parts) for name in ("answers", "tokens", "seconds")}
    return {"questions": len(asked), **total, "tokens_per_second": total["tokens"] / total["seconds"]}


def asking_cost(
    loaded: LoadedModel, retain: Sequence[Prompt], tokens: float, own: int, rate: float, longest: int
) -> dict[str, float]:
    """What asking the original costs at most: the bound in tokens, the questions that it is enough for, the seconds.

    retain: as long as its questions.  own: questions of its own that it is asked at most.  rate: tokens a second when
    sampling, which is slower than reading.  longest: tokens of an answer.
    """
    some = retain[:: max(1, len(retain) // 64)]
    lengths = [len(loaded.template.prompt_ids(loaded.tokenizer, prompt.query)) for prompt in some]
    mean = sum(lengths) / max(1, len(lengths))
    return {"tokens": tokens, "questions": tokens // (2 * (mean + longest + 1)), "own": own, "seconds": tokens / rate}


def small_training_cost(training: Training, *, seed: int) -> dict[str, Any]:
    """Steps, tokens, seconds and bytes of models trained from scratch; each stage scaled from a few steps of it.

    The tokenizer is made to count tokens, and counts as time. Stages that are trained at the same time are added up.
    """
    from dataclasses import replace

    from leakatk.small.architecture import new_model
    from leakatk.small.fit import encode, fit

    start = time.perf_counter()
    tokenizer = training.tokenizer()
    seconds, tokens = time.perf_counter() - start, 0.0
    for stage in training.stages:
        model = new_model(tokenizer, training.config, seed=seed)
        examples = encode(tokenizer, stage.pairs)
        mean = sum(len(ids) for ids, _ in examples) / max(1, len(examples))
        tokens += stage.phase.steps * min(stage.phase.batch_size, len(examples)) * mean
        fit(model, tokenizer, stage.pairs, replace(stage.phase, steps=2), seed=seed)  # the first ones are slow
        begin = time.perf_counter()
        fit(model, tokenizer, stage.pairs, replace(stage.phase, steps=PILOT_STEPS), seed=seed)
        seconds += (time.perf_counter() - begin) * stage.phase.steps / PILOT_STEPS
    size = sum(parameter.numel() for parameter in model.parameters())
    return {
        "parameters": size,
        "steps": sum(stage.phase.steps for stage in training.stages),
        "tokens": tokens,
        "seconds": seconds,
        "bytes": 4.0 * size * len(training.stages),
    }


def memory_of(source: ModelSource, training: Trained | None = None) -> dict[str, Any]:
    """What a model needs and what there is, before it is loaded; ModelError where it does not fit, None where nobody can tell."""
    from leakatk.models.load import pick_device
    from leakatk.models.memory import free_memory

    source.check()
    need = source.check_memory(training)
    if need is None:
        return {"memory": None}
    free = free_memory(pick_device(source.device), source.device_map)
    return {"memory": {**need.as_dict(), "free": free, "says": need.says()}}


def says_memory(cost: dict[str, Any]) -> list[str]:
    """The same as a line."""
    if "memory" not in cost:  # of a model elsewhere
        return []
    if cost["memory"] is None:
        return ["Memory: not known, because the headers of the model's files cannot be read before it is downloaded."]
    free = " and ".join(f"{format_bytes(value)} in {place}" for place, value in cost["memory"]["free"].items())
    return [f"Memory: {cost['memory']['says']}; there is {free}."]


def says(cost: dict[str, Any]) -> str:
    """About 12,000 tokens, 3m20s, 42 MB of disk."""
    tokens = float(f"{cost['tokens']:.2g}")  # a pilot knows no more
    return f"about {tokens:,.0f} tokens, {format_seconds(cost['seconds'])}, {format_bytes(cost['bytes'])} of disk"
