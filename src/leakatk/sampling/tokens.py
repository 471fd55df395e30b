"""Tokens of questions and answers: to ids and back to text, the same for every engine that holds the model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from transformers import PreTrainedTokenizerBase

from leakatk.arrays import Bools
from leakatk.errors import InputError
from leakatk.models.checks import check_ids, position_limit
from leakatk.models.loaded import LoadedModel
from leakatk.models.reasoning import mark_ids, marked_text, marks_of, opened_by, split
from leakatk.models.template import Template
from leakatk.prompts import Prompt
from leakatk.sampling.base import Request, draws
from leakatk.sampling.decoding import Decoding

_TAIL = 32  # tokens at the end of a prompt in which a thought may be opened


@dataclass(frozen=True, slots=True)
class Row:
    """One sample to draw; for greedy decoding, all samples of its prompt, which are the same."""

    prompt_id: str
    ids: list[int]
    samples: tuple[int, ...]


def rows_of(requests: Sequence[Request], ids: Sequence[list[int]], decoding: Decoding) -> list[Row]:
    """The rows of each request, whose prompt has these token ids."""
    return [
        Row(request.prompt.id, prompt, part)
        for request, prompt in zip(requests, ids, strict=True)
        for part in draws(request, decoding)
    ]


def prompt_tokens(loaded: LoadedModel, requests: Sequence[Request], decoding: Decoding) -> list[list[int]]:
    """Token ids of each request's prompt. InputError for one without tokens, or too long for learned positions."""
    found = [prompt_ids(loaded.template, loaded.tokenizer, request.prompt) for request in requests]
    check_ids(loaded, found, "A prompt")
    _check_length(loaded, requests, found, decoding)
    return found


def prompt_ids(template: Template, tokenizer: PreTrainedTokenizerBase, prompt: Prompt) -> list[int]:
    ids = template.prompt_ids(tokenizer, prompt.query)
    if not ids:
        raise InputError(f"Prompt {prompt.id!r} has no tokens; give a question or a template with text.")
    return ids


def _check_length(
    loaded: LoadedModel, requests: Sequence[Request], ids: Sequence[Sequence[int]], decoding: Decoding
) -> None:
    """Learned position embeddings have a hard end; rotary ones only a trained length, beyond which a note says so."""
    limit = getattr(loaded.model.config, "max_position_embeddings", None)
    if not ids or not limit:
        return
    longest = max(range(len(ids)), key=lambda i: len(ids[i]))
    if len(ids[longest]) + decoding.max_new_tokens > limit:
        if position_limit(loaded.model) is None:
            loaded.note(
                f"The longest prompt has {len(ids[longest])} tokens; with max_new_tokens {decoding.max_new_tokens} it goes "
                f"beyond the {limit} positions that the model was trained on."
            )
            return
        raise InputError(
            f"Prompt {requests[longest].prompt.id!r} has {len(ids[longest])} tokens; with max_new_tokens "
            f"{decoding.max_new_tokens} it exceeds the model's {limit} positions; lower max_new_tokens."
        )


def answer_texts(
    tokenizer: PreTrainedTokenizerBase, answers: Sequence[Sequence[int]], stop: Sequence[str]
) -> list[str]:
    """Texts without special tokens, cut before the first stop string."""
    texts: list[str] = tokenizer.batch_decode(
        [list(ids) for ids in answers], skip_special_tokens=True, clean_up_tokenization_spaces=False
    )
    for end in stop:
        texts = [text.split(end, 1)[0] for text in texts]
    return texts


class Reader:
    """What a model's answers to these prompts say: the thought, and the answer after it.

    ids: of each request's prompt.  A model that knows no think marks is read as `answer_texts` reads it.
    """

    def __init__(
        self,
        tokenizer: PreTrainedTokenizerBase,
        requests: Sequence[Request],
        ids: Sequence[Sequence[int]],
        stop: Sequence[str],
    ) -> None:
        self.tokenizer, self.stop, self.marks = tokenizer, stop, marks_of(tokenizer)
        self.names = mark_ids(tokenizer, self.marks)
        self.opened: set[str] = set()  # prompts that end inside a thought
        for request, prompt in zip(requests, ids, strict=True) if self.marks else ():
            begin = request.prompt.query.begin.strip()
            end = tokenizer.decode(list(prompt)[-(_TAIL + len(begin)) :], clean_up_tokenization_spaces=False)
            if opened_by(end.rstrip().removesuffix(begin), self.marks):
                self.opened.add(request.prompt.id)

    def read(self, prompt_ids: Sequence[str], answers: Sequence[Sequence[int]]) -> list[tuple[str, str]]:
        """(thought, answer) of each answer, given as token ids without the end token, to the prompt of that id."""
        if not self.marks:
            return [("", text) for text in answer_texts(self.tokenizer, answers, self.stop)]
        texts = [marked_text(self.tokenizer, ids, self.names) for ids in answers]
        for end in self.stop:
            texts = [text.split(end, 1)[0] for text in texts]
        return [
            split(text, self.marks, opened=prompt in self.opened)
            for prompt, text in zip(prompt_ids, texts, strict=True)
        ]


def holds_stop(tokenizer: PreTrainedTokenizerBase, answers: Sequence[Sequence[int]], stop: Sequence[str]) -> Bools:
    """Which answers, each one token longer than when last asked, now contain a stop string.

    The tail is looked at first, the whole answer to be sure.
    """
    # A character is at most four tokens (its UTF-8 bytes).
    tail = 4 * max(map(len, stop)) + 4
    options = {"skip_special_tokens": True, "clean_up_tokenization_spaces": False}
    hit = np.zeros(len(answers), dtype=np.bool_)
    for i, text in enumerate(tokenizer.batch_decode([list(ids[-tail:]) for ids in answers], **options)):
        if any(end in text for end in stop):
            whole = tokenizer.decode(list(answers[i]), **options)
            hit[i] = any(end in whole for end in stop)
    return hit
