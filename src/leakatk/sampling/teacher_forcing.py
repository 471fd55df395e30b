"""Teacher forcing for exact probabilities: log p(answer | prompt) under the effective decoding distribution.

A sample equals the answer with probability p = exp(log p), so verbatim leak@k is exactly 1 - (1 - p)^k for any k: one
forward pass instead of k samples. It is also the sampler's oracle: the log-probability stored with a sample is this one.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import torch

from leakatk.arrays import Floats
from leakatk.errors import InputError
from leakatk.estimate.selfcheck import SelfCheck, check_verbatim
from leakatk.models.checks import check_positions
from leakatk.models.loaded import LoadedModel
from leakatk.models.placement import rounds_activations
from leakatk.models.token_stats import answer_pairs, seams_of
from leakatk.prompts import Generation, Prompt
from leakatk.sampling.base import Sampler, TrueAnswers, loaded_of
from leakatk.sampling.base import Truth as Truth
from leakatk.sampling.decoding import Decoding
from leakatk.sampling.kv_cache import Pairs, cache_keyword, common_beginning, expanded, prefill
from leakatk.sampling.shared_prefix import recognised
from leakatk.sampling.warp import effective, log_probs

_CHECKED = 5  # samples
_ROUNDING = 0.03  # nats a token in fp32: far above rounding, far below what a wrong position or state does
# Nats by which an answer's log-probability differs between a batch of prompts and the same model's sampling.
_FULL, _HALF = 1e-3, 0.1
# The same where activations are rounded to 8 bits, and a last digit decides between two codes: on SmolLM2-135M answers of twelve
# tokens differed by up to 0.34 nats a token, most by less than 0.06.
_ROUNDING_8BIT, _8BIT = 0.6, 1.0
_BATCH_TOKENS = 4096
_SHARED_TOKENS = 8  # the least common beginning of all prompts that is computed once
_BATCH_LOGITS = 1 << 25  # float32 logits held at once


def true_answers(loaded: LoadedModel, prompts: Sequence[Prompt], decoding: Decoding) -> dict[str, Truth]:
    """Prompt id -> token ids of the true answer, and its log-probability under the decoding (-inf where cut off)."""
    seams = seams_of(loaded, [prompt.query for prompt in prompts], [prompt.answer for prompt in prompts])
    if straddling := [prompt.id for prompt, seam in zip(prompts, seams, strict=True) if seam.straddles]:
        unsure = sum(not seam.checked for seam in seams)
        loaded.note(
            f"On {len(straddling)} of {len(prompts)} prompts (such as {straddling[0]}) one token would hold the end of the prompt and "
            "the beginning of the answer: exact probabilities there are those of the answer as a continuation."
            + (f" On {unsure} of them the tokenizer cannot write it as one." if unsure else "")
        )
    steps = token_logprobs(loaded, [(seam.prompt, seam.answer) for seam in seams], decoding, any_end=True)
    return {
        prompt.id: (tuple(seam.answer), float(values.sum()))
        for prompt, seam, values in zip(prompts, seams, steps, strict=True)
    }


def straddling(loaded: LoadedModel, prompts: Sequence[Prompt]) -> list[str]:
    """Ids of the prompts on which one token would hold the end of the prompt and the beginning of the true answer."""
    seams = seams_of(loaded, [prompt.query for prompt in prompts], [prompt.answer for prompt in prompts])
    return [prompt.id for prompt, seam in zip(prompts, seams, strict=True) if seam.straddles]


def self_check(
    sampler: Sampler,
    prompts: Sequence[Prompt],
    generations: Iterable[Generation],
    truths: Mapping[str, Truth],
    decoding: Decoding,
) -> SelfCheck | None:
    """Whether as many samples are the true answer as its exact probability says; None where the two are no measure of each other.

    That is: without truths, with stop strings (an answer is a whole token sequence), and for greedy answers, which ties
    decide. Samples are compared by their token ids, whichever end token they end with; those that say the same in other
    tokens are counted apart. generations: those of the run, any number a prompt.
    """
    if not truths or decoding.stop or decoding.greedy:
        return None
    loaded = loaded_of(sampler)
    endless = loaded is not None and not loaded.end_ids
    about = sampler.describe()
    half = str(about.get("dtype", "float32")) not in ("float32", "float64")
    rounding = _8BIT if about.get("load_in") == "8bit" else _HALF if half else _FULL
    answers = {prompt.id: prompt.answer.strip() for prompt in prompts if prompt.id in truths}
    samples, same, text = (dict.fromkeys(answers, 0) for _ in range(3))
    for one in generations:
        if one.prompt_id not in answers:
            continue
        samples[one.prompt_id] += 1
        ids = truths[one.prompt_id][0]
        if endless:
            said = one.token_ids[: len(ids)] == ids
        else:
            said = one.finish_reason == "stop" and one.token_ids[:-1] == ids[:-1]
        same[one.prompt_id] += said
        bare = one.finish_reason == "stop" and not one.reasoning  # after a thought it is another sequence of tokens
        text[one.prompt_id] += said or (bare and one.text.strip() == answers[one.prompt_id])
    ids_in_order = list(answers)
    return check_verbatim(
        [same[i] for i in ids_in_order],
        [samples[i] for i in ids_in_order],
        [truths[i][1] for i in ids_in_order],
        said=[text[i] for i in ids_in_order],
        rounding=rounding,
    )


def truths_of(sampler: Sampler, prompts: Sequence[Prompt], decoding: Decoding) -> dict[str, Truth]:
    """`true_answers`, from where the sampler's model is; empty for an engine that cannot tell probabilities."""
    if isinstance(sampler, TrueAnswers):
        return sampler.true_answers(prompts, decoding)
    loaded = loaded_of(sampler)
    return {} if loaded is None else true_answers(loaded, prompts, decoding)


def answer_logprob(
    loaded: LoadedModel, prompts: Sequence[Prompt], decoding: Decoding, answers: Sequence[str] | None = None
) -> Floats:
    """(m,) log p(answer and an end token, any at which sampling stops | prompt). answers: by default the prompts' true ones.

    -inf where the decoding cannot produce the answer: a token outside top-k / top-p / min-p, not the greedy one, or
    more tokens than max_new_tokens. Stop strings are not considered: an answer is a whole token sequence.
    """
    return np.array([float(steps.sum()) for steps in answer_logprob_steps(loaded, prompts, decoding, answers)])


def answer_logprob_steps(
    loaded: LoadedModel, prompts: Sequence[Prompt], decoding: Decoding, answers: Sequence[str] | None = None
) -> list[Floats]:
    """As `answer_logprob`, one array per prompt with the log-probability of each token, that of ending last."""
    texts = [prompt.answer for prompt in prompts] if answers is None else list(answers)
    if len(texts) != len(prompts):
        raise InputError(f"{len(prompts)} prompts but {len(texts)} answers; give one answer for each prompt.")
    pairs = answer_pairs(loaded, [prompt.query for prompt in prompts], texts)
    return token_logprobs(loaded, pairs, decoding, any_end=True)


def wrongness(
    loaded: LoadedModel, ids: Mapping[str, Sequence[int]], drawn: Sequence[Generation], decoding: Decoding
) -> float:
    """How far the samples' log-probabilities are from plain forward passes, in nats a token: an engine's check of itself.

    ids: prompt id -> token ids.  0 where a few samples, spread over `drawn`, agree within what rounding explains; else the
    median. Greedy answers have probability 1 whatever the model says: always 0.
    """
    if decoding.greedy or not drawn:
        return 0.0
    some = [drawn[i] for i in range(0, len(drawn), -(-len(drawn) // _CHECKED))]
    # One by one, so that nothing is padded.
    forced = [token_logprobs(loaded, [(ids[one.prompt_id], one.token_ids)], decoding)[0].sum() for one in some]
    off = np.median([abs(f - one.logprob) / len(one.token_ids) for f, one in zip(forced, some, strict=True)])
    exact = next(loaded.model.parameters()).dtype == torch.float32
    rounding = _ROUNDING_8BIT if rounds_activations(loaded.model) else _ROUNDING if exact else 10 * _ROUNDING
    return 0.0 if off < rounding else float(off)


@torch.inference_mode()
def token_logprobs(
    loaded: LoadedModel,
    pairs: Sequence[tuple[Sequence[int], Sequence[int]]],
    decoding: Decoding,
    *,
    any_end: bool = False,
) -> list[Floats]:
    """Teacher forcing of (prompt ids, continuation ids): one array per pair, one log-probability per continuation token.

    Batched by length. Tokens beyond max_new_tokens get -inf and are not computed. The prompt needs at least one token.
    any_end: a last token that ends an answer stands for all that do, whose probabilities are summed.
    InputError for what is longer than the model's positions.
    """
    lengths = [len(answer) for _, answer in pairs]
    pairs = [(prompt, answer[: decoding.max_new_tokens]) for prompt, answer in pairs]
    ends = sorted(loaded.end_ids) if any_end else []
    results: list[Floats] = [np.zeros(0)] * len(pairs)
    order = sorted(range(len(pairs)), key=lambda i: -len(pairs[i][0]) - len(pairs[i][1]))
    vocabulary = int(loaded.model.config.get_text_config().vocab_size)
    begun = _begun(loaded, [list(prompt) for prompt, _ in pairs])
    at = 0
    while at < len(order):
        width = sum(len(ids) for ids in pairs[order[at]])
        rows = max(1, min(_BATCH_TOKENS // max(1, width), _BATCH_LOGITS // max(1, vocabulary * width)))
        part = order[at : at + rows]
        at += rows
        for index, steps in zip(part, _batch(loaded, [pairs[i] for i in part], decoding, ends, begun), strict=True):
            results[index] = np.append(steps, np.full(lengths[index] - len(steps), -np.inf))
    return results


def _begun(loaded: LoadedModel, prompts: Sequence[list[int]]) -> Pairs | None:
    """Keys and values of the beginning that all prompts share, such as a chat template's, which is then computed once. None
    where it is short, or the model's cache is not known to be one that several rows can begin with."""
    if len(prompts) < 2 or recognised(loaded.model) is None:
        return None
    common = common_beginning(prompts)
    return prefill(loaded.model, [common]) if len(common) >= _SHARED_TOKENS else None


def _batch(
    loaded: LoadedModel,
    pairs: Sequence[tuple[Sequence[int], Sequence[int]]],
    decoding: Decoding,
    ends: Sequence[int],
    begun: Pairs | None,
) -> list[Floats]:
    device = loaded.device
    width = max(len(prompt) + len(answer) for prompt, answer in pairs)
    check_positions(loaded.model, width, "A prompt with its answer")
    ids = torch.zeros((len(pairs), width), dtype=torch.long)
    mask = torch.zeros_like(ids)
    for row, (prompt, answer) in enumerate(pairs):
        if len(prompt) == 0:
            raise InputError("A prompt has no tokens; give a question or a template with text.")
        tokens = torch.tensor([*prompt, *answer])
        ids[row, : len(tokens)] = tokens
        mask[row, : len(tokens)] = 1
    # Right padding: a causal model never looks at what follows. The positions that predict an answer token are kept.
    keep = width - min(len(prompt) for prompt, _ in pairs) + 1
    given: dict[str, Any] = {"use_cache": False}
    done = 0
    if begun is not None:
        done = begun[0][0].shape[2]
        given = {"use_cache": True, cache_keyword(loaded.model): expanded(begun, len(pairs))}
    logits = loaded.model(
        input_ids=ids[:, done:].to(device), attention_mask=mask.to(device), logits_to_keep=keep, **given
    )
    offset = width - logits.logits.shape[1]
    results = []
    for row, (prompt, answer) in enumerate(pairs):
        count = len(answer)
        steps = np.zeros(count)
        if count:
            first = len(prompt) - 1 - offset
            history = _histories(prompt, answer, count, device) if decoding.repetition_penalty != 1 else None
            scaled = effective(logits.logits[row, first : first + count], decoding, history)
            wanted = torch.tensor(list(answer[:count]), device=device)[:, None]
            logp = log_probs(scaled)
            steps[:] = logp.gather(1, wanted)[:, 0].cpu().numpy()
            if answer[-1] in ends:
                steps[-1] = float(logp[-1, list(ends)].logsumexp(0))
        results.append(steps)
    return results


def _histories(prompt: Sequence[int], answer: Sequence[int], count: int, device: torch.device) -> torch.Tensor:
    """(count, L): what has been said before each answer token; what has not yet been said repeats the first token."""
    said = torch.tensor([*prompt, *answer[: count - 1]], device=device).repeat(count, 1)
    place = torch.arange(said.shape[1], device=device)[None, :]
    return torch.where(place < len(prompt) + torch.arange(count, device=device)[:, None], said, said[:, :1])
