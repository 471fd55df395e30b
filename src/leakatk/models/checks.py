"""Checks at load: is this the model, and is this the prompt? They are made once, before it is asked anything."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from leakatk.errors import InputError, ModelError
from leakatk.models.seams import encoded

if TYPE_CHECKING:
    from leakatk.models.loaded import LoadedModel

_SHOWN = 4  # keys of each kind in a message
# Buffers that older versions stored with the weights; they are computed.
_COMPUTED = re.compile(
    r"(rotary_emb\.(inv_freq|cos_cached|sin_cached)|\.attn\.(masked_)?bias|\.attention\.(masked_)?bias|position_ids)$"
)
_QUESTIONS = ("Which colour has the sea at noon?", "Who counted the twelve stones, and when?")


def check_keys(name: str, missing: Iterable[str], unexpected: Iterable[str], mismatched: Iterable[Any]) -> None:
    """ModelError, with the first names of each kind, unless the stored weights are the model's own, all of them.

    Tied heads and computed buffers are no weights of their own: transformers leaves the first out, `_COMPUTED` the second.
    """
    lacks = sorted(key for key in missing if not _COMPUTED.search(key))
    extra = sorted(key for key in unexpected if not _COMPUTED.search(key))
    shapes = sorted(str(key[0] if isinstance(key, tuple) else key) for key in mismatched)
    if not (lacks or extra or shapes):
        return
    found = [
        f"{len(keys)} {what} ({', '.join(keys[:_SHOWN])}{', ...' if len(keys) > _SHOWN else ''})"
        for keys, what in ((lacks, "missing"), (extra, "not the model's"), (shapes, "of another shape"))
        if keys
    ]
    raise ModelError(f"The weights in {name} are not those of its config: {'; '.join(found)}. {_remedy(lacks, extra)}")


def _remedy(missing: list[str], unexpected: list[str]) -> str:
    if unexpected and all("_orig_mod." in key for key in unexpected):
        return "They were saved from a compiled model; save model._orig_mod instead."
    if unexpected and all(key.startswith("module.") for key in unexpected):
        return "They were saved from a DataParallel wrapper; save model.module instead."
    if any("head" in key for key in missing) and not unexpected:
        return "They were saved without the head; save the whole causal model."
    return "Save the whole model again with save_pretrained, under its own names."


def check_loaded(loaded: LoadedModel) -> None:
    """ModelError for a model that cannot be asked; what it can be asked with, but a person must know, becomes a note."""
    _check_vocabulary(loaded)
    ids = _check_prompt(loaded)
    _check_ends(loaded)
    _check_finite(loaded, ids)


def embedding_rows(model: Any) -> int:
    """Token ids that the model knows: 0 up to this."""
    return int(model.get_input_embeddings().weight.shape[0])


def _check_vocabulary(loaded: LoadedModel) -> None:
    """A tokenizer larger than the embedding. Not meant: tokens that its class adds in transformers and no file names."""
    rows = embedding_rows(loaded.model)
    beyond = {token: i for token, i in loaded.tokenizer.get_vocab().items() if i >= rows}
    named = _tokens_of_file(Path(str(loaded.tokenizer.name_or_path)) / "tokenizer.json") if beyond else None
    meant = sorted((i, token) for token, i in beyond.items() if named is None or token in named)
    if meant:
        raise ModelError(
            f"The tokenizer of {loaded.name} has {len(meant)} tokens more than the model's embedding has rows ({rows}), such as "
            f"{meant[0][1]!r}, id {meant[0][0]}: this is not its tokenizer, or the embedding was not resized."
        )


def _tokens_of_file(file: Path) -> set[str] | None:
    """The tokens that a tokenizer's file names; None where there is no such file."""
    if not file.is_file():
        return None
    content = json.loads(file.read_bytes())
    words = content.get("model", {}).get("vocab", {})
    # Of a unigram model it is a list of pairs.
    known = set(words) if isinstance(words, dict) else {pair[0] for pair in words}
    return known | {token["content"] for token in content.get("added_tokens") or ()}


def _check_prompt(loaded: LoadedModel) -> list[int]:
    """The ids of a sample prompt. That the question is in its text is checked by `Template.shape`."""
    template, tokenizer = loaded.template, loaded.tokenizer
    first, second = (template.prompt_ids(tokenizer, question) for question in _QUESTIONS)
    for question in _QUESTIONS:
        check_ids(loaded, [*loaded.template.pair(tokenizer, question, "It was never counted.")[:2]], "A sample prompt")
    if first == second:
        raise ModelError(f"Two different questions become the same prompt for {loaded.name}; is this its tokenizer?")
    begin = tokenizer.bos_token_id
    expects = begin is not None and begin != tokenizer.eos_token_id and template.is_chat(tokenizer)
    if expects and begin not in first and encoded(tokenizer, _QUESTIONS[0], special=True)[:1] == [begin]:
        loaded.note(
            f"The chat template writes no start token ({tokenizer.bos_token}), which the tokenizer puts before plain text; "
            "the prompts have none, as in transformers."
        )
    return first


def _check_ends(loaded: LoadedModel) -> None:
    rows = embedding_rows(loaded.model)
    ends = sorted(loaded.end_ids)
    if beyond := [i for i in ends if not 0 <= i < rows]:
        raise ModelError(
            f"The end token {beyond[0]} of {loaded.name} is no row of its embedding ({rows}); mend its configs."
        )
    if not ends:
        loaded.note("The model has no end token: every answer runs on to max-new-tokens.")
    end = loaded.template.end_id(loaded.tokenizer)
    if end is not None and end not in loaded.own_end_ids:
        token = loaded.tokenizer.convert_ids_to_tokens(end)
        loaded.note(
            f"The chat template ends an answer with {token}, which the model's configs do not name: sampling stops there too."
        )


def _check_finite(loaded: LoadedModel, ids: list[int]) -> None:
    """The weights, and the logits of one prompt."""
    for name, parameter in loaded.model.named_parameters():
        if parameter.is_meta:  # on disk or in main memory until it is used; the logits below tell of it
            continue
        if parameter.is_floating_point() and not torch.isfinite(parameter.detach()).all():
            raise ModelError(f"{loaded.name} has NaN or infinite weights ({name}); nothing can be sampled from it.")
    with torch.inference_mode():
        at = torch.tensor([ids or [0]], device=loaded.device)
        limit = position_limit(loaded.model)
        logits = loaded.model(input_ids=at[:, :limit] if limit else at, use_cache=False).logits
    check_finite(logits, loaded.name)


def check_finite(logits: torch.Tensor, name: str = "The model") -> None:
    """ModelError where a row's largest logit is NaN or infinite: no distribution can be made of it."""
    if not torch.isfinite(logits.amax(dim=-1)).all():
        raise ModelError(
            f"{name} gives NaN or infinite logits: nothing can be sampled from it. Was it trained too far? In fp16, try --dtype "
            "fp32 or bf16."
        )


def position_limit(model: Any) -> int | None:
    """Positions after which the model cannot be run: learned embeddings end there, rotary ones only a trained length."""
    config = model.config
    limit = getattr(config, "max_position_embeddings", None)
    rotary = any(hasattr(config, name) for name in ("rope_parameters", "rope_theta", "rope_scaling"))
    return int(limit) if limit and not rotary else None


def check_ids(loaded: LoadedModel, ids: Iterable[Sequence[int]], what: str) -> None:
    """ModelError for token ids that the model's embedding does not have; `what` names the text."""
    rows = embedding_rows(loaded.model)
    largest = max((max(row) for row in ids if row), default=0)
    if largest >= rows:
        token = loaded.tokenizer.convert_ids_to_tokens(largest)
        raise ModelError(
            f"{what} holds token {token!r}, id {largest}, and the embedding of {loaded.name} has {rows} rows: this is not its "
            "tokenizer, or the embedding was not resized."
        )


def check_positions(model: Any, length: int, what: str) -> None:
    """InputError for a text of `length` tokens that the model has no positions for; `what` names it."""
    limit = position_limit(model)
    if limit is not None and length > limit:
        raise InputError(f"{what} has {length} tokens and the model has {limit} positions; shorten it.")
