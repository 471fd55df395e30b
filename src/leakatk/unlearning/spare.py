"""Spare token, one that no text has: its embedding is free for a use of a method's own."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from leakatk.errors import InputError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

_RESERVED = re.compile(r"reserved|unused", re.IGNORECASE)
_NEVER = (0xC0, 0xC1, *range(0xF5, 0x100))  # bytes that no UTF-8 text has


def spare_token(tokenizer: PreTrainedTokenizerBase) -> int:
    """The id of a token that no text has: the first that is reserved by name, else a byte that UTF-8 never has.

    InputError for a tokenizer without one.
    """
    special = set(tokenizer.all_special_tokens)
    named = {**tokenizer.get_added_vocab(), **{token: tokenizer.convert_tokens_to_ids(token) for token in special}}
    reserved = sorted(number for token, number in named.items() if _RESERVED.search(token))
    if reserved:
        return int(reserved[0])
    vocabulary = tokenizer.get_vocab()
    for byte in _NEVER:
        for form in (chr(byte), f"<0x{byte:02X}>"):  # as byte-level BPE and as sentencepiece write it
            if form in vocabulary and tokenizer.decode([vocabulary[form]]) == "\ufffd":
                return int(vocabulary[form])
    raise InputError(
        "The tokenizer has no spare token: none is called reserved or unused, and it has no single bytes. Take another method than "
        "unierase, or a model with a token to spare."
    )
