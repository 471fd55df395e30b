"""Token ids of a text, and of its continuation after ids that stay as they are: where a prompt meets its answer."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from transformers import PreTrainedTokenizerBase

# Encoded before a continuation and cut off again, so that it is not taken for the beginning of a text, where
# SentencePiece-like tokenizers put a space.
_ANCHORS = ("\n", ".", ":", "a", "0", "\u3002")


class Seam(NamedTuple):
    """Ids of a prompt and of the answer after it.

    straddles: as one text, a token holds the end of the prompt and the beginning of the answer; the answer is then
    encoded as a continuation.  checked: the whole decodes to the text.
    """

    prompt: list[int]
    answer: list[int]
    straddles: bool = False
    checked: bool = True


def encoded(tokenizer: PreTrainedTokenizerBase, text: str, *, special: bool) -> list[int]:
    """Ids of a text. special: with the tokens that the tokenizer puts before a text, once; never those after it, since
    the model is to go on. A text that begins with its own start token twice keeps one."""
    ids = [int(i) for i in tokenizer(text, add_special_tokens=special)["input_ids"]]
    if special:
        ids = ids[: len(ids) - _after(tokenizer, text, ids)]
    first = tokenizer.bos_token_id
    while first is not None and ids[:2] == [first, first]:
        ids = ids[1:]
    return ids


def continued(tokenizer: PreTrainedTokenizerBase, ids: list[int], before: str, whole: str, *, special: bool) -> Seam:
    """The ids of `whole`, whose beginning is `before` with these ids, after them."""
    full = encoded(tokenizer, whole, special=special)
    if full[: len(ids)] == ids:
        return Seam(ids, full[len(ids) :])
    rest = whole[len(before) :]
    wanted = _decoded(tokenizer, full)
    for found in _continuations(tokenizer, rest):
        if _decoded(tokenizer, [*ids, *found]) == wanted:
            return Seam(ids, found, straddles=True)
    return Seam(ids, encoded(tokenizer, rest, special=False), straddles=True, checked=False)


def _continuations(tokenizer: PreTrainedTokenizerBase, text: str) -> Iterator[list[int]]:
    """Ways to write a text in the middle of another, the likeliest first."""
    for anchor in _ANCHORS:
        alone = encoded(tokenizer, anchor, special=False)
        both = encoded(tokenizer, anchor + text, special=False)
        if both[: len(alone)] == alone:
            yield both[len(alone) :]
    yield encoded(tokenizer, text, special=False)


def _after(tokenizer: PreTrainedTokenizerBase, text: str, ids: list[int]) -> int:
    """How many special tokens the tokenizer has put after the text."""
    bare = [int(i) for i in tokenizer(text, add_special_tokens=False)["input_ids"]]
    extra = len(ids) - len(bare)
    for before in range(extra + 1):
        if ids[before : before + len(bare)] == bare:
            return extra - before if set(ids[before + len(bare) :]) <= set(tokenizer.all_special_ids) else 0
    return 0


def _decoded(tokenizer: PreTrainedTokenizerBase, ids: list[int]) -> str:
    return str(tokenizer.decode(ids, skip_special_tokens=False, clean_up_tokenization_spaces=False))
