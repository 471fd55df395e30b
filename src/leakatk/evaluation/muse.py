"""MUSE's table: verbatim memorisation, knowledge memorisation, PrivLeak, utility preservation (Shi et al., 2024)."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Sequence

import numpy as np

from leakatk import privacy
from leakatk.benchmarks.base import Benchmark
from leakatk.benchmarks.muse import KNOWMEM_TOKENS, VERBMEM_TOKENS
from leakatk.data import Prompt
from leakatk.errors import InputError
from leakatk.evaluation.greedy import native_greedy
from leakatk.forcing import text_pairs, token_stats
from leakatk.models import LoadedModel, Template
from leakatk.scorers.base import get_scorer

_NEXT_QUESTION = re.compile(r"\n\n|\nQuestion|Question:")


def evaluate_muse(
    loaded: LoadedModel, benchmark: Benchmark, *, retrained_auc: float = 0.5, max_tokens: int = 2048
) -> dict[str, float]:
    """verbmem, knowmem_forget, knowmem_retain (ROUGE-L F1 without stemmer, greedy), auc and privleak (Min-40%).

    retrained_auc: the `auc` of the model trained without the forget texts.  max_tokens: texts of the membership attack
    are cut there. All but auc and privleak (percent) lie between 0 and 1; MUSE prints them times 100.
    """
    need = ("privleak_forget", "privleak_holdout")
    missing = [name for name in need if not benchmark.texts.get(name)]
    if missing or not benchmark.sets.get("verbmem"):
        raise InputError(f"Benchmark {benchmark.name} is not in MUSE format: no {', '.join(missing) or 'verbmem set'}.")
    values = {
        "verbmem": rouge(
            loaded, benchmark.sets["verbmem"], benchmark.templates.get("verbmem", "{question}"), VERBMEM_TOKENS
        ),
        "knowmem_forget": rouge(loaded, benchmark.forget, benchmark.templates["forget"], KNOWMEM_TOKENS),
        "knowmem_retain": rouge(loaded, benchmark.retain, benchmark.templates["retain"], KNOWMEM_TOKENS),
    }
    scores = []
    for name in need:
        stats = token_stats(loaded, text_pairs(loaded, benchmark.texts[name], max_tokens))
        scores.append(privacy.min_k_scores([s.logprob for s in stats]))
    values["auc"] = privacy.auc(scores[0], scores[1])
    values["privleak"] = privacy.privleak(values["auc"], retrained_auc)
    return values


def rouge(loaded: LoadedModel, prompts: Sequence[Prompt], template: str, tokens: int) -> float:
    """Mean ROUGE-L F1, without stemmer, of greedy answers asked in a plain template.

    Questions go to a chat model in its own template; passages to continue are always plain. After a few-shot template the answer ends where the model goes on with the next question, as in the published code.
    """
    question = "Question:" in template
    if not (question and loaded.template.is_chat(loaded.tokenizer)):
        loaded = dataclasses.replace(loaded, template=Template(kind="plain", plain=template))
    texts = native_greedy(loaded, prompts, tokens)
    if question:
        texts = [_NEXT_QUESTION.split(text, maxsplit=1)[0] for text in texts]
    return float(np.mean(get_scorer("rouge-l:part=f1,stem=no").score(prompts, texts)))
