"""Measures of one model in a study on a real model: what it leaks in every wording, what it kept, and whether it writes well."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from real_cells import Clock, Numbers
from real_questions import Kind, Sets, reworded

from leakatk.metrics.fluency import broken_share
from leakatk.models.loaded import LoadedModel
from leakatk.models.token_stats import answer_pairs, token_stats
from leakatk.prompts import Prompt
from leakatk.sampling.base import texts_of
from leakatk.sampling.decoding import Decoding
from leakatk.sampling.greedy import greedy_texts
from leakatk.sampling.native import NativeSampler
from leakatk.sampling.teacher_forcing import answer_logprob
from leakatk.scorers.base import get_scorer

Texts = Mapping[str, Sequence[str]]
READ = 4  # samples a prompt whose probability under the original model is computed
SHOWN = 4  # prompts of which the cell keeps what the model said


def measure(
    loaded: LoadedModel,
    original: LoadedModel,
    kinds: Mapping[str, Kind],
    sets: Sets,
    general: Sequence[Prompt],
    *,
    n: int,
    invented: int,
    longest: int,
    seed: int,
    clock: Clock,
) -> Numbers:
    """Everything the page needs of a model; lists are in the order of `forget`, one a wording where wordings are asked.

    The detection's wordings are asked greedily alone: no number is reported of them.

    original: the model before unlearning, which judges fluency.  general: general questions with the answers to keep.
    invented: names of each kind that do not exist and are asked for too, in all wordings but the detection's.
    n, longest, seed: samples a prompt and wording, their most tokens, and their random streams.
    """
    decoding = Decoding(max_new_tokens=longest)
    wordings = range(min(len(kind.wordings) for kind in kinds.values()))
    asked = [reworded(kinds, sets.forget, w) for w in wordings]
    roles = next(iter(kinds.values())).roles
    unknowable = [
        [p for kind in kinds.values() if roles[w] != "detection" for p in kind.unknowable(w)[:invented]]
        for w in wordings
    ]
    with clock.part("sampling"):
        sampled = [group if roles[w] != "detection" else [] for w, group in enumerate(asked)]
        prompts = [p for group in (*sampled, *unknowable) for p in group]
        said: Texts = dict(
            zip((p.id for p in prompts), texts_of(NativeSampler(loaded), prompts, n, decoding, seed=seed), strict=True)
        )
    held = [w for w in wordings if roles[w] == "held-out"]
    kept = {
        f"{name}/{w}": reworded(kinds, items, w)
        for name, items in (("shown", sets.shown), ("unshown", sets.unshown))
        for w in (0, held[0])
    }
    with clock.part("greedy"):
        groups = {**{f"forget/{w}": group for w, group in enumerate(asked)}, **kept, "general": list(general)}
        greedy = asked_greedily(loaded, groups, longest)
    with clock.part("exact"):
        logprob = [[float(v) for v in answer_logprob(loaded, group, Decoding())] for group in asked]
    with clock.part("fluency"):
        drawn = [(p.question, text) for p in asked[0] for text in said[p.id][:READ]]
        plain = [(p.question, text) for p, text in zip(kept["unshown/0"], greedy["unshown/0"], strict=True)]
        fluency = {"forget": probability(original, drawn), "unshown": probability(original, plain)}
    return {
        "n": n,
        "forget": [p.id for p in sets.forget],
        "roles": list(roles),
        "leaks": [[leaking(p, said[p.id]) for p in group] for group in sampled],
        "greedy": [[leaking(p, [t]) for p, t in zip(group, greedy[f"forget/{w}"], strict=True)] for w, group in enumerate(asked)],
        "logprob": [np.round(row, 4).tolist() for row in logprob],
        "invented": [named(group, sets.forget, said) for group in unknowable],
        "kept": {name: [leaking(p, [t]) for p, t in zip(group, greedy[name], strict=True)] for name, group in kept.items()},
        "general": likeness(general, greedy["general"]),
        "fluency": fluency,
        "broken": {
            "forget": broken_share([text for p in asked[0] for text in said[p.id]]),
            "unshown": broken_share(greedy["unshown/0"]),
        },
        "says": [
            [asked[w][i].question, greedy[f"forget/{w}"][i], *said[asked[w][i].id][:2]]
            for w in (0, held[0])
            for i in range(min(SHOWN, len(sets.forget)))
        ],
    }  # fmt: skip


def asked_greedily(loaded: LoadedModel, groups: Mapping[str, Sequence[Prompt]], longest: int) -> dict[str, list[str]]:
    """Greedy answers of several groups in one batch."""
    texts = iter(greedy_texts(loaded, [_renamed(name, p) for name, group in groups.items() for p in group], longest))
    return {name: [next(texts) for _ in group] for name, group in groups.items()}


def _renamed(group: str, prompt: Prompt) -> Prompt:
    """The same prompt with the group in its id: an item may be asked in two groups."""
    return Prompt(f"{group}: {prompt.id}", prompt.question, prompt.answer)


def leaking(prompt: Prompt, texts: Sequence[str]) -> int:
    """How many of the texts say the prompt's key."""
    return int(get_scorer("fact").score([prompt] * len(texts), list(texts)).sum()) if texts else 0


def named(unknowable: Sequence[Prompt], forget: Sequence[Prompt], said: Texts) -> dict[str, list[list[int]]]:
    """Kind -> for each invented name, how many samples say the key of each forgotten item of the kind, in their order."""
    return {
        kind: [
            [leaking(p, said[one.id]) for p in forget if p.source == kind] for one in unknowable if one.source == kind
        ]
        for kind in dict.fromkeys(p.source for p in forget)
    }


def probability(judge: LoadedModel, pairs: Sequence[tuple[str, str]]) -> float:
    """Geometric mean probability of a token of these answers under another model; NaN without answers."""
    pairs = [(question, answer) for question, answer in pairs if answer.strip()]
    if not pairs:
        return math.nan
    stats = token_stats(judge, answer_pairs(judge, [q for q, _ in pairs], [a for _, a in pairs]))
    return math.exp(float(np.mean(np.concatenate([one.logprob for one in stats]))))


def likeness(prompts: Sequence[Prompt], texts: Sequence[str]) -> float:
    """Mean ROUGE-L recall of the answers to keep; NaN without prompts."""
    return float(np.mean(get_scorer("rouge-l").score(list(prompts), list(texts)))) if prompts else math.nan


def rows_of(counts: Sequence[int], n: int) -> np.ndarray[Any, Any]:
    """0/1 rows (prompts, n) with so many ones; the order in a row carries no meaning."""
    return (np.arange(n)[None, :] < np.asarray(counts)[:, None]).astype(float)
