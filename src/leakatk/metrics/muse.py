"""MUSE's table: verbatim memorisation, knowledge memorisation, PrivLeak, utility preservation (Shi et al., 2024)."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Sequence

import numpy as np

from leakatk.benchmarks.base import Benchmark
from leakatk.benchmarks.muse import KNOWMEM_TOKENS, VERBMEM_TOKENS
from leakatk.errors import InputError
from leakatk.metrics.attacks import Side, attack_scores, attack_values
from leakatk.metrics.base import Evaluation, Pairs, Passes, against
from leakatk.metrics.greedy import native_greedy
from leakatk.metrics.privacy import broken_share
from leakatk.models.checks import position_limit
from leakatk.models.loaded import LoadedModel
from leakatk.models.template import Template
from leakatk.models.token_stats import text_pairs, token_stats
from leakatk.prompts import Prompt
from leakatk.scorers.base import get_scorer

_ATTACKED = ("privleak_forget", "privleak_holdout")
_NEXT_QUESTION = re.compile(r"\n\n|\nQuestion|Question:")


def evaluate_muse(
    loaded: LoadedModel,
    benchmark: Benchmark,
    *,
    retrained: Evaluation | None = None,
    max_tokens: int = 0,
    grad_norm: bool = False,
) -> Evaluation:
    """verbmem, knowmem_forget, knowmem_retain (ROUGE-L F1 without stemmer, greedy), the attacks and PrivLeak (Min-40%).

    retrained: the evaluation of the model trained without the forget texts.  max_tokens: texts of the membership attack
    are cut there; 0, as published, is nowhere. The true continuation of verbmem is cut to as many tokens as are generated. All but PrivLeak (percent) lie between 0 and 1; MUSE prints them times 100. forget_broken is the share
    of knowledge answers that are no text.
    """
    missing = [name for name in _ATTACKED if not benchmark.texts.get(name)]
    if missing or not benchmark.sets.get("verbmem"):
        raise InputError(f"Benchmark {benchmark.name} is not in MUSE format: no {', '.join(missing) or 'verbmem set'}.")
    verbatim = benchmark.templates.get("verbmem", "{question}")
    said = {
        "verbmem": (
            [_cut(loaded, prompt, VERBMEM_TOKENS) for prompt in benchmark.sets["verbmem"]],
            answers(loaded, benchmark.sets["verbmem"], verbatim, VERBMEM_TOKENS),
        ),
        "knowmem_forget": (
            benchmark.forget,
            answers(loaded, benchmark.forget, benchmark.templates["forget"], KNOWMEM_TOKENS),
        ),
        "knowmem_retain": (
            benchmark.retain,
            answers(loaded, benchmark.retain, benchmark.templates["retain"], KNOWMEM_TOKENS),
        ),
    }
    scorer = get_scorer("rouge-l:part=f1,stem=no")
    values = {name: float(np.mean(scorer.score(prompts, texts))) for name, (prompts, texts) in said.items()}
    values["forget_broken"] = broken_share(said["knowmem_forget"][1])
    sides = [_side(loaded, benchmark.texts[name], max_tokens) for name in _ATTACKED]
    scores = attack_scores(loaded, sides[0], sides[1], ends=False, grad_norm=grad_norm)
    return against(Evaluation({**values, **attack_values(scores)}, scores=scores), retrained)


def muse_passes(loaded: LoadedModel, benchmark: Benchmark, *, max_tokens: int = 0, grad_norm: bool = False) -> Passes:
    """What `evaluate_muse` computes."""
    pairs = [pair for name in _ATTACKED for pair in text_pairs(loaded, benchmark.texts[name], max_tokens)]
    asked = len(benchmark.sets["verbmem"]) + len(benchmark.forget) + len(benchmark.retain)
    return Passes(pairs, pairs if grad_norm else (), asked)


def answers(loaded: LoadedModel, prompts: Sequence[Prompt], template: str, tokens: int) -> list[str]:
    """Greedy answers of at most `tokens` tokens, asked in a plain template.

    Questions go to a chat model in its own template; passages to continue are always plain. After a few-shot template
    the answer ends where the model goes on with the next question, as in the published code.
    """
    question = "Question:" in template
    if not (question and loaded.template.is_chat(loaded.tokenizer)):
        loaded = dataclasses.replace(loaded, template=Template(kind="plain", plain=template))
    texts = native_greedy(loaded, prompts, tokens)
    return [_NEXT_QUESTION.split(text, maxsplit=1)[0] for text in texts] if question else texts


def _cut(loaded: LoadedModel, prompt: Prompt, tokens: int) -> Prompt:
    """The prompt with its answer's first tokens alone, as the published code compares with: a start token is one of them."""
    ids = loaded.tokenizer(prompt.answer)["input_ids"][:tokens]
    return dataclasses.replace(prompt, answer=str(loaded.tokenizer.decode(ids, skip_special_tokens=True)))


def _side(loaded: LoadedModel, texts: Sequence[str], max_tokens: int) -> Side:
    """The token ids of each text up to `max_tokens` (0: all), and the text they stand for."""
    pairs: Pairs = text_pairs(loaded, texts, max_tokens)
    longest, limit = max(len(first) + len(rest) for first, rest in pairs), position_limit(loaded.model)
    if limit is not None and longest > limit:
        raise InputError(
            f"A text of the membership attack has {longest} tokens and the model has {limit} positions; cut the texts with "
            f"--text-tokens {limit}."
        )
    short = [not max_tokens or len(first) + len(rest) < max_tokens for first, rest in pairs]
    shown = [
        text if whole else str(loaded.tokenizer.decode([*first, *rest], skip_special_tokens=True))
        for text, whole, (first, rest) in zip(texts, short, pairs, strict=True)
    ]
    return Side(pairs, token_stats(loaded, pairs), shown)
