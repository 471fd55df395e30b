"""Thoughts of a model before it answers: where the thought ends and the answer begins.

Models mark their thoughts, each family in its own way: `<think> ... </think>` (DeepSeek, Qwen, Phi), `[THINK]` (Mistral),
`<|START_THINKING|>` (Cohere), channels (gpt-oss). Some templates open the thought in the prompt, so that the model's own
text holds the closing mark alone. Some marks are special tokens, which decoding drops: they are put back before the text
is split (`marked_text`).

A model that knows none of the marks thinks in no such way, and its answers are left as they are.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Marks:
    """The pairs (opening, closing) that a model knows.  channels: it names the channel it speaks on, as gpt-oss does."""

    pairs: tuple[tuple[str, str], ...] = ()
    channels: bool = False

    def __bool__(self) -> bool:
        return bool(self.pairs) or self.channels

    @property
    def tokens(self) -> tuple[str, ...]:
        """Every mark, as it may stand in a vocabulary."""
        return tuple(dict.fromkeys([*(mark for pair in self.pairs for mark in pair), *(_CHANNEL * self.channels)]))


PAIRS = (
    ("<think>", "</think>"),
    ("<thinking>", "</thinking>"),
    ("<thought>", "</thought>"),
    ("<reasoning>", "</reasoning>"),
    ("[THINK]", "[/THINK]"),
    ("<|START_THINKING|>", "<|END_THINKING|>"),
    ("<|begin_of_thought|>", "<|end_of_thought|>"),
    ("<seed:think>", "</seed:think>"),
    ("<longcat_think>", "</longcat_think>"),
    ("<|inner_prefix|>", "<|inner_suffix|>"),
    ("◁think▷", "◁/think▷"),
)
_CHANNEL = ("<|channel|>", "<|message|>", "<|start|>", "<|end|>", "<|return|>", "<|call|>")
EVERY = Marks(PAIRS, channels=True)  # for a server, whose tokenizer cannot be looked at

# What some families put around the answer that follows a thought.
_AROUND = (
    ("<|START_RESPONSE|>", "<|END_RESPONSE|>"),
    ("<|begin_of_solution|>", "<|end_of_solution|>"),
    ("<answer>", "</answer>"),
    ("<response>", "</response>"),
)
_MESSAGE = re.compile(
    r"<\|channel\|>(?P<channel>.*?)(?:<\|message\|>(?P<said>.*?))?"
    r"(?=<\|end\|>|<\|return\|>|<\|call\|>|<\|start\|>|<\|channel\|>|\Z)",
    re.DOTALL,
)
_BARE_CHANNELS = re.compile(r"analysis(?P<thought>.*?)assistant\s*final(?P<answer>.*)", re.DOTALL)


def marks_of(tokenizer: Any) -> Marks:
    """The marks that are tokens of this tokenizer, or stand in its chat template."""
    template = str(getattr(tokenizer, "chat_template", None) or "")

    def knows(mark: str) -> bool:
        return mark in template or _token_id(tokenizer, mark) is not None

    return Marks(tuple(pair for pair in PAIRS if all(map(knows, pair))), all(map(knows, _CHANNEL[:2])))


def _token_id(tokenizer: Any, mark: str) -> int | None:
    """The id of a mark that is one token; None where it is several."""
    found = tokenizer.convert_tokens_to_ids(mark)
    return None if found is None or found == tokenizer.unk_token_id else int(found)


def mark_ids(tokenizer: Any, marks: Marks) -> dict[int, str]:
    """Token id -> mark, of the marks that are one token."""
    ids = {_token_id(tokenizer, mark): mark for mark in marks.tokens}
    return {token: mark for token, mark in ids.items() if token is not None}


def marked_text(tokenizer: Any, ids: Sequence[int], names: Mapping[int, str]) -> str:
    """The text of an answer without special tokens, but for the marks (`mark_ids`) among them."""
    parts: list[str] = []
    run: list[int] = []
    options = {"skip_special_tokens": True, "clean_up_tokenization_spaces": False}
    for token in ids:
        if token in names:
            parts += [tokenizer.decode(run, **options), names[token]]
            run = []
        else:
            run.append(token)
    return "".join([*parts, tokenizer.decode(run, **options)])


def opened_by(prompt: str, marks: Marks) -> bool:
    """Whether the prompt, special tokens included, ends with an opening mark: the answer begins inside a thought."""
    end = prompt.rstrip()
    return any(end.endswith(opening) for opening, _ in marks.pairs) or (
        marks.channels and end.endswith("<|channel|>analysis<|message|>")
    )


def split(text: str, marks: Marks = EVERY, *, opened: bool = False) -> tuple[str, str]:
    """(thought, answer) of a generated text; ("", text), unchanged, where it holds no mark and the prompt opened no thought.

    Several thoughts are joined by an empty line. A closing mark alone ends a thought that began in the prompt. A thought
    that is not closed takes all the rest: the answer is "".

    >>> split("<think>Ada? Zorvik.</think> In Zorvik.")
    ('Ada? Zorvik.', 'In Zorvik.')
    """
    if marks.channels:
        if _CHANNEL[0] in text or (opened and _CHANNEL[1] not in text and _CHANNEL[3] in text):
            return _by_channel(text, opened=opened)
        if bare := _BARE_CHANNELS.fullmatch(text):  # the marks were dropped on the way
            return bare["thought"].strip(), bare["answer"].strip()
    marks_in = re.compile("|".join(re.escape(mark) for pair in marks.pairs for mark in pair) or r"(?!)")
    opening = dict(marks.pairs)
    thoughts: list[str] = []
    said: list[str] = []
    inside, closing, at = opened, "", 0  # closing: the mark that ends this thought; "": any, the prompt opened it
    for found in marks_in.finditer(text):
        mark, before = found.group(), text[at : found.start()]
        if mark in opening:
            if inside:
                if not closing and not before.strip():  # the model repeats the mark that the prompt ends with
                    closing, at = opening[mark], found.end()
                continue
            said.append(before)
            inside, closing = True, opening[mark]
        elif inside:
            if closing and mark != closing:
                continue
            thoughts.append(before)
            inside = False
        elif not thoughts:  # closed, never opened here: all before it was thought
            thoughts.append("".join([*said, before]))
            said = []
        else:
            said.append(before)
        at = found.end()
    (thoughts if inside else said).append(text[at:])
    if not thoughts:
        return "", text
    return "\n\n".join(filter(None, map(str.strip, thoughts))), _bare(" ".join(filter(None, map(str.strip, said))))


def _by_channel(text: str, *, opened: bool) -> tuple[str, str]:
    """What is said on the channel "final" is the answer; what is said on the others is thought."""
    thoughts: list[str]
    said: list[str]
    first = text.find(_CHANNEL[0])
    head = text[: first if first >= 0 else len(text)]
    before = re.split(r"<\|(?:end|start|return|call)\|>", head)[0]  # ahead of any channel
    thoughts, said = ([before], []) if opened else ([], [before])
    for message in _MESSAGE.finditer(text):
        (said if message["channel"].strip().startswith("final") else thoughts).append(message["said"] or "")
    return "\n\n".join(filter(None, map(str.strip, thoughts))), "\n\n".join(filter(None, map(str.strip, said)))


def _bare(answer: str) -> str:
    """An answer that follows a thought, without the space and the marks around it."""
    answer = answer.strip()
    for opening, closing in _AROUND:
        if answer.startswith(opening):
            return answer.removeprefix(opening).removesuffix(closing).strip()
    return answer
