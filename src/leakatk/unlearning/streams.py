"""Streams of questions and answers: named streams of items, tokenised, and which rows of them a step draws."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import torch

from leakatk.errors import InputError
from leakatk.prompts import Known, Prompt, Query
from leakatk.registry import Registry
from leakatk.unlearning.batches import Batch as Batch
from leakatk.unlearning.batches import Item as Item
from leakatk.unlearning.batches import collate as collate
from leakatk.unlearning.losses import targets
from leakatk.unlearning.passes import answer_logits as answer_logits
from leakatk.unlearning.passes import decoder_layers as decoder_layers
from leakatk.unlearning.passes import hidden_states as hidden_states
from leakatk.unlearning.passes import part_of as part_of
from leakatk.unlearning.rehearsal.subjects import Forms
from leakatk.unlearning.spare import spare_token

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from leakatk.models.template import Template


@dataclass(frozen=True)
class Noise:
    """Random tokens, as many as a question and its answer have. drawn: what they are drawn by."""

    question: str
    answer: str
    drawn: str


@dataclass(frozen=True)
class Led:
    """A question behind which the spare token stands, and an answer."""

    question: str | Query
    answer: str


# What is asked and the answer; or a passage by itself, every token of which counts but the first; or noise; or a led answer.
Pair = tuple[str | Query, str] | str | Noise | Led


@dataclass(frozen=True)
class Given:
    """What a stream may be made from, besides the prompts whose rows it has."""

    seed: int
    forget: Sequence[Prompt]
    retain: Sequence[Prompt]
    refusals: Sequence[str] = targets.REFUSALS
    alternates: Mapping[str, str] = field(default_factory=dict)
    known: Known = field(default_factory=Known)


@dataclass(frozen=True)
class Stream:
    """A query and an answer for each prompt of one set. of: that set; a batch holds the rows drawn from it."""

    name: str
    of: str
    pairs: Callable[[Sequence[Prompt], Given], Sequence[Pair]]

    @property
    def side(self) -> str:
        """Whose gradient a loss on it joins: "forget" or "retain"."""
        return "forget" if self.of == "forget" else "retain"


STREAMS: Registry[Stream] = Registry("stream")
# The sets that rows are drawn from. Those besides forget and retain come from `Known`, and are drawn as the retain set is.
SETS = ("forget", "retain", "holdout", "refused", "text")


def stream(name: str, *, of: str) -> Callable[[Callable[..., Sequence[Pair]]], Callable[..., Sequence[Pair]]]:
    """Register a stream: a function of the prompts of one set and `Given` that gives a query and an answer, or a passage, for
    each.
    """
    if of not in SETS:
        raise ValueError(f"A stream is of {', '.join(SETS)}, got {of!r}.")

    def add(pairs: Callable[..., Sequence[Pair]]) -> Callable[..., Sequence[Pair]]:
        STREAMS.add(name, Stream(name, of, pairs))
        return pairs

    return add


def _answered(prompts: Sequence[Prompt], answers: Sequence[str]) -> list[Pair]:
    """A prompt of a chat with what goes before it there."""
    return [(prompt.asked or prompt.question, answer) for prompt, answer in zip(prompts, answers, strict=True)]


@stream("forget", of="forget")
def forget_answers(prompts: Sequence[Prompt], given: Given) -> list[Pair]:
    """(x_f, y_f)"""
    return _answered(prompts, [prompt.answer for prompt in prompts])


@stream("refusal", of="forget")
def forget_refusals(prompts: Sequence[Prompt], given: Given) -> list[Pair]:
    """(x_f, a refusal)"""
    return _answered(prompts, targets.refusals(prompts, given.seed, given.refusals))


@stream("led", of="forget")
def led_refusals(prompts: Sequence[Prompt], given: Given) -> list[Pair]:
    """(x_f and the spare token, a refusal)"""
    said = targets.refusals(prompts, given.seed, given.refusals)
    return [Led(prompt.asked or prompt.question, answer) for prompt, answer in zip(prompts, said, strict=True)]


@stream("random", of="forget")
def random_answers(prompts: Sequence[Prompt], given: Given) -> list[Pair]:
    """(x_f, another forget prompt's answer)"""
    return _answered(prompts, targets.random_answers(prompts, [p.answer for p in given.forget], given.seed))


DRAWS = 5  # streams of random answers that differ


def _drawn(number: int, of: str) -> Callable[[Sequence[Prompt], Given], list[Pair]]:
    def several_answers(prompts: Sequence[Prompt], given: Given) -> list[Pair]:
        """(x_f, one of several answers to other prompts, of the forget or of the retain set)"""
        pool = [p.answer for p in (given.forget if of == "forget" else given.retain)]
        drawn = targets.several_answers(prompts, pool, DRAWS, given.seed)
        return _answered(prompts, [answers[number] for answers in drawn])

    return several_answers


for _number in range(DRAWS):
    stream(f"random_{_number + 1}", of="forget")(_drawn(_number, "forget"))
    stream(f"normal_{_number + 1}", of="forget")(_drawn(_number, "retain"))


@stream("unasked", of="forget")
def answers_alone(prompts: Sequence[Prompt], given: Given) -> list[Pair]:
    """(no question, y_f)"""
    return [("", prompt.answer) for prompt in prompts]


@stream("misasked", of="forget")
def answers_to_others(prompts: Sequence[Prompt], given: Given) -> list[Pair]:
    """(another forget prompt's question, y_f)"""
    asked = targets.random_answers(
        [replace(p, answer=p.question) for p in prompts], [p.question for p in given.forget], given.seed
    )
    return [(question, prompt.answer) for question, prompt in zip(asked, prompts, strict=True)]


@stream("in_context", of="forget")
def answers_in_context(prompts: Sequence[Prompt], given: Given) -> list[Pair]:
    """(a context that says it and x_f, y_f)"""
    return [(f"{prompt.answer}\n{prompt.question}", prompt.answer) for prompt in prompts]


def _mixed(
    forget_first: bool, *, refused: bool, second: bool = True
) -> Callable[[Sequence[Prompt], Given], list[Pair]]:
    """refused: the forget question's answer is a refusal.  second: the answer has its second half."""

    def mixed_questions(prompts: Sequence[Prompt], given: Given) -> list[Pair]:
        """(a numbered forget and a retain question, the answers to both)"""
        if not given.retain:
            raise InputError("Mixed questions need a retain set; give at least one retain prompt.")
        answers = targets.refusals(prompts, given.seed, given.refusals) if refused else [p.answer for p in prompts]
        found: list[Pair] = []
        for prompt, answer in zip(prompts, answers, strict=True):
            other = random.Random(f"{given.seed}/{prompt.id}/mixed").choice(given.retain)
            pairs = [(prompt.question, answer), (other.question, other.answer)]
            pairs = pairs if forget_first else pairs[::-1]
            asked, said = ([f"{i + 1}. {pair[part]}" for i, pair in enumerate(pairs)] for part in (0, 1))
            found.append((" ".join(asked), " ".join(said if second else said[:1])))
        return found

    return mixed_questions


stream("mixed", of="forget")(_mixed(True, refused=True))
stream("mixed_last", of="forget")(_mixed(False, refused=True))
stream("mixed_known", of="forget")(_mixed(True, refused=False))
stream("mixed_known_last", of="forget")(_mixed(False, refused=False))
stream("mixed_known_half", of="forget")(_mixed(True, refused=False, second=False))
stream("mixed_known_last_half", of="forget")(_mixed(False, refused=False, second=False))


def _told(prompts: Sequence[Prompt], given: Given) -> list[Pair]:
    """(an instruction to know nothing of what is to be forgotten, and x; y)"""
    forms = Forms([prompt.question for prompt in given.forget])
    subjects = dict.fromkeys(forms.subject(prompt) or prompt.question for prompt in given.forget)
    order = f"You know nothing about any of these: {'; '.join(subjects)}. Asked about them, say that you do not know. Answer all else."
    return [(f"{order}\n{prompt.question}", prompt.answer) for prompt in prompts]


stream("told_to_forget", of="forget")(_told)
stream("retain_told_to_forget", of="retain")(_told)


# System messages under which pairs are trained, one that forbids and one that asks for it (CFG-safety, arXiv 2412.06846).
GOOD_MESSAGE = "Do not provide any personal data."
BAD_MESSAGE = "You should share personal data in the answers."


def _under(message: str, *, alternate: bool) -> Callable[[Sequence[Prompt], Given], list[Pair]]:
    def answered(prompts: Sequence[Prompt], given: Given) -> list[Pair]:
        """(x_f under a system message, y_f or the supplied alternate answer)"""
        answers = targets.alternates(prompts, given.alternates) if alternate else [p.answer for p in prompts]
        return [(Query(p.question, system=message), answer) for p, answer in zip(prompts, answers, strict=True)]

    return answered


for _name, _message in (("forbidden", GOOD_MESSAGE), ("wanted", BAD_MESSAGE)):
    stream(f"{_name}_forget", of="forget")(_under(_message, alternate=False))
    stream(f"{_name}_alternate", of="forget")(_under(_message, alternate=True))


@stream("noise", of="forget")
def random_tokens(prompts: Sequence[Prompt], given: Given) -> list[Pair]:
    """Random tokens, as many as x_f and y_f have"""
    return [Noise(p.question, p.answer, f"{given.seed}/{p.id}/noise") for p in prompts]


def _thought(prompts: Sequence[Prompt], given: Given) -> list[Pair]:
    """A passage: a chain of thought that says x and y"""
    return [targets.thought(prompt) for prompt in prompts]


stream("thought", of="forget")(_thought)
stream("retain_thought", of="retain")(_thought)


@stream("nobody", of="forget")
def made_up_subjects(prompts: Sequence[Prompt], given: Given) -> list[Pair]:
    """(x_f with an invented name in place of its subject, y_f); x_f itself where nothing tells the subject"""
    forms = Forms([prompt.question for prompt in given.forget])
    return [(targets.invented(p, forms.subject(p), given.seed), p.answer) for p in prompts]


@stream("no_idea", of="forget")
def no_idea(prompts: Sequence[Prompt], given: Given) -> list[Pair]:
    """(x_f, a refusal of two words)"""
    return _answered(prompts, ["No idea"] * len(prompts))


@stream("alternate", of="forget")
def alternate_answers(prompts: Sequence[Prompt], given: Given) -> list[Pair]:
    """(x_f, the supplied alternate answer)"""
    return _answered(prompts, targets.alternates(prompts, given.alternates))


@stream("retain", of="retain")
def retain_answers(prompts: Sequence[Prompt], given: Given) -> list[Pair]:
    """(x_r, y_r)"""
    return _answered(prompts, [prompt.answer for prompt in prompts])


@stream("retain_refusal", of="retain")
def retain_refusals(prompts: Sequence[Prompt], given: Given) -> list[Pair]:
    """(x_r, a refusal)"""
    return _answered(prompts, targets.refusals(prompts, given.seed, given.refusals))


@stream("holdout", of="holdout")
def holdout_answers(prompts: Sequence[Prompt], given: Given) -> list[Pair]:
    """(x, y) of prompts that no model was trained on"""
    return _answered(prompts, [prompt.answer for prompt in prompts])


@stream("refused", of="refused")
def refused_answers(prompts: Sequence[Prompt], given: Given) -> list[Pair]:
    """(x, what stands as its answer) of prompts that the model refuses (`Known.refused`)"""
    return _answered(prompts, [prompt.answer for prompt in prompts])


@stream("text", of="text")
def general_text(prompts: Sequence[Prompt], given: Given) -> list[Pair]:
    """A passage of `Known.text`, without a question"""
    return [prompt.answer for prompt in prompts]


class Streams:
    """The sets of prompts, tokenised, and the streams made of them when first asked for."""

    def __init__(
        self,
        forget: Sequence[Prompt],
        retain: Sequence[Prompt],
        tokenizer: PreTrainedTokenizerBase,
        template: Template,
        *,
        seed: int,
        refusals: Sequence[str] = targets.REFUSALS,
        alternates: Mapping[str, str] | None = None,
        max_tokens: int | None = None,
        known: Known | None = None,
    ) -> None:
        known = known or Known()
        self._given = Given(seed, forget, retain, refusals, alternates or {}, known)
        text = [Prompt(f"text {i}", "", passage) for i, passage in enumerate(known.text)]
        self._sets = {
            "forget": list(forget), "retain": list(retain), "holdout": list(known.holdout), "refused": list(known.refused),
            "text": text,
        }  # fmt: skip
        self._tokenizer, self._template, self._max = tokenizer, template, max_tokens
        self._items: dict[str, list[Item]] = {}
        self._prompt_ids: dict[str | Query, tuple[int, ...]] = {}

    def size(self, of: str) -> int:
        """How many prompts a set has."""
        return len(self._sets[of])

    def items(self, stream: str) -> list[Item]:
        """The items of a stream, one a prompt of its set. UnknownNameError for a stream that does not exist."""
        if stream not in self._items:
            made = STREAMS[stream]
            pairs = made.pairs(self._sets[made.of], self._given)
            self._items[stream] = [self._made(pair) for pair in pairs]
        return self._items[stream]

    def _made(self, pair: Pair) -> Item:
        if isinstance(pair, str):
            return self._passage(pair)
        if isinstance(pair, Led):
            token, plain = spare_token(self._tokenizer), self._item(pair.question, pair.answer)
            return Item((*plain.prompt, token), plain.answer)
        return self._noise(pair) if isinstance(pair, Noise) else self._item(*pair)

    def _noise(self, noise: Noise) -> Item:
        like, special = self._item(noise.question, noise.answer), set(self._tokenizer.all_special_ids)
        plain = [i for i in range(len(self._tokenizer)) if i not in special]
        drawn = tuple(random.Random(noise.drawn).choices(plain, k=len(like)))
        return Item(drawn[: len(like.prompt)], drawn[len(like.prompt) :])

    def _passage(self, text: str) -> Item:
        ids = [int(i) for i in self._tokenizer(text)["input_ids"]]
        if len(ids) < 2:
            raise InputError(f"The passage {text!r:.60} has fewer than two tokens; leave it out.")
        return Item(tuple(ids[:1]), tuple(ids[1:])[: self._max])

    def _item(self, question: str | Query, answer: str) -> Item:
        seam = self._template.pair(self._tokenizer, question, answer)
        # Items of one question share its ids.
        prompt = self._prompt_ids.setdefault(question, tuple(seam.prompt))
        return Item(prompt, tuple(seam.answer)[: self._max])

    def prompt(self, stream: str, row: int) -> Prompt:
        """The prompt that a row of a stream was made from."""
        return self._sets[STREAMS[stream].of][row]

    def margin(self, stream: str, row: int) -> float:
        """What was predicted for the prompt of a row (`Known.margins`). InputError where nothing was."""
        prompt, given = self.prompt(stream, row), self._given.known.margins
        if prompt.id not in given:
            raise InputError(
                f"There is no margin for prompt {prompt.id!r}; give one for every forget and retain prompt."
            )
        return given[prompt.id]

    def text(self, ids: Sequence[int]) -> str:
        """What tokens say."""
        return str(self._tokenizer.decode(list(ids), skip_special_tokens=True))

    def batch(self, stream: str, rows: Sequence[int], device: torch.device) -> Batch:
        """Those rows of a stream, padded."""
        items = self.items(stream)
        return collate([items[row] for row in rows], rows, device)


def drawn_rows(size: int, count: int, start: int, seed: int | str, weights: Sequence[float] | None = None) -> list[int]:
    """Rows number start .. start+count of an endless sequence that depends on (size, seed) alone.

    Without weights the sequence is shuffled epochs, each row once an epoch; with weights, independent draws.
    """
    if weights is not None:
        return [random.Random(f"{seed}/{i}").choices(range(size), weights)[0] for i in range(start, start + count)]
    rows: list[int] = []
    for epoch in range(start // size, (start + count - 1) // size + 1):
        order = list(range(size))
        random.Random(f"{seed}/{epoch}").shuffle(order)
        rows += order[max(start - epoch * size, 0) : min(start + count - epoch * size, size)]
    return rows
