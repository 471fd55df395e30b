"""Hooks that change what modules of a model give, for a while: functions put behind modules whose names match a pattern.

A hook never outlives its block: it is removed when the block is left, whatever ends it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from fnmatch import fnmatchcase
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from leakatk.errors import InputError, ModelError

Change = Callable[[Tensor], Tensor]  # what a module gave -> what it gives instead, of the same shape


@contextmanager
def hooked(model: nn.Module, changes: Mapping[str, Change]) -> Iterator[None]:
    """While inside, every module whose name matches a pattern gives what the pattern's function makes of its output.

    changes: pattern -> function. A pattern is a shell pattern for names in `named_modules`: `*` stands for any text, so
    "*.mlp" is every MLP and "*.layers.3" one block. Of several patterns that match a module, all act, in their order.
    A module that gives a tuple has its first part changed: the hidden states of a block.

    Raises InputError for a pattern that no module matches, before anything is changed.

    >>> import torch
    >>> model = torch.nn.Sequential(torch.nn.Identity(), torch.nn.Identity())
    >>> with hooked(model, {"0": lambda hidden: 2 * hidden}):
    ...     print(model(torch.ones(1)).item())
    2.0
    >>> model(torch.ones(1)).item()
    1.0
    """
    chosen = [(module, change) for pattern, change in changes.items() for module in matching(model, pattern)]
    with ExitStack() as stack:
        for module, change in chosen:
            _while_inside(stack, module.register_forward_hook(_behind(change)))
        yield


def matching(model: nn.Module, pattern: str) -> list[nn.Module]:
    """The modules whose names match. InputError for none, with some names that there are."""
    names = [name for name, _ in model.named_modules() if name]
    found = [module for name, module in model.named_modules() if name and fnmatchcase(name, pattern)]
    if not found:
        last = dict.fromkeys(name.rpartition(".")[2] for name in names)
        some = ", ".join(name for name in last if not name.isdigit())
        raise InputError(f"No module of {type(model).__name__} matches {pattern!r}; names end in: {some or 'numbers'}.")
    return found


def _while_inside(stack: ExitStack, handle: RemovableHandle) -> None:
    stack.callback(handle.remove)


def _behind(change: Change) -> Callable[[nn.Module, Any, Any], Any]:
    def hook(_: nn.Module, __: Any, output: Any) -> Any:
        if isinstance(output, tuple):
            return (change(output[0]), *output[1:])
        return change(output)

    return hook


@contextmanager
def changed_embeddings(model: nn.Module, change: Callable[[Tensor, Tensor], Tensor]) -> Iterator[None]:
    """While inside, the model reads change(embeddings, positions) in place of the embeddings of its tokens.

    change: embeddings (B, T, hidden size) and positions (B, T), from 0 at the first token of each row -> embeddings of the same
    shape. Tokens that stand for padding may have any position; nothing attends to them.

    The positions are those in the row's own text, however it is computed: padded on the left or the right, continued from a
    cache, or one token at a time. The native engine computes such a model through its modules, never around them.
    ModelError for a model whose embeddings or whose decoder cannot be found.
    """
    outer: Any = model
    base = outer.get_base_model() if hasattr(outer, "get_base_model") else outer
    decoder = getattr(base, "base_model", base)  # what reads the tokens, under the head
    try:
        embedding = base.get_input_embeddings()
    except (AttributeError, NotImplementedError):
        embedding = None
    if embedding is None or decoder is base:
        raise ModelError(
            f"Embeddings of {type(base).__name__} cannot be changed: it does not show where its tokens are read; use another guard."
        )
    with _placed(base, decoder) as placed, ExitStack() as stack:
        _while_inside(stack, embedding.register_forward_hook(lambda _, __, output: placed(change)(output)))
        yield


@contextmanager
def changed_states(
    model: nn.Module, changes: Sequence[tuple[nn.Module, Callable[[Tensor, Tensor], Tensor]]]
) -> Iterator[None]:
    """While inside, modules of the model give change(states, positions) in place of their states.

    changes: (module, change). change: states (B, T, d) and positions (B, T) as of `changed_embeddings` -> states of the same shape.
    ModelError for a model whose decoder cannot be found.
    """
    outer: Any = model
    base = outer.get_base_model() if hasattr(outer, "get_base_model") else outer
    decoder = getattr(base, "base_model", base)
    if decoder is base:
        raise ModelError(
            f"States of {type(base).__name__} cannot be changed: its decoder is not known; use another guard."
        )
    with _placed(base, decoder) as placed, ExitStack() as stack:
        for module, change in changes:
            _while_inside(stack, module.register_forward_hook(_behind(placed(change))))
        yield


@contextmanager
def _placed(base: nn.Module, decoder: nn.Module) -> Iterator[Callable[[Callable[[Tensor, Tensor], Tensor]], Change]]:
    """What turns change(states, positions) into change(states): the positions are those of the pass that is under way."""
    now: list[Tensor] = []

    def before(_: nn.Module, args: tuple[Any, ...], given: dict[str, Any]) -> None:
        now[:] = [positions_of(args, given)]

    def after(*_: Any) -> None:
        now.clear()

    def placed(change: Callable[[Tensor, Tensor], Tensor]) -> Change:
        def changed(states: Tensor) -> Tensor:
            if not now:
                raise ModelError(f"States of {type(base).__name__} were read outside its forward pass.")
            return change(states, now[0].to(states.device).expand(states.shape[0], -1))

        return changed

    with ExitStack() as stack:
        _while_inside(stack, decoder.register_forward_pre_hook(before, with_kwargs=True))
        _while_inside(stack, decoder.register_forward_hook(after, always_call=True))
        yield placed


def positions_of(args: tuple[Any, ...], given: Mapping[str, Any]) -> Tensor:
    """(B or 1, T) the position of each token that a forward pass is given, from 0 at the first token of its row.

    args, given: the arguments of the pass. From `position_ids` where they are given; else from a mask of all tokens so far,
    which knows the padding; else from how many tokens the cache holds.
    """
    ids = given.get("input_ids", args[0] if args else None)
    if ids is None:
        raise ModelError("A forward pass without input_ids has no tokens whose embeddings could be changed.")
    width = ids.shape[1]
    places = given.get("position_ids")
    if isinstance(places, Tensor) and places.dim() == 2:
        return places
    mask = given.get("attention_mask")
    if isinstance(mask, Tensor) and mask.dim() == 2:
        return (mask.long().cumsum(dim=-1) - 1).clamp(min=0)[:, -width:]
    cache = next((given[name] for name in ("cache", "past_key_values") if given.get(name) is not None), None)
    begun = int(cache.get_seq_length()) if cache is not None else 0
    return torch.arange(begun, begun + width, device=ids.device)[None]
