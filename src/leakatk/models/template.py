"""Template: how a question becomes a prompt, and what stands between it, the answer and its end."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal, NamedTuple
from weakref import WeakKeyDictionary

from transformers import PreTrainedTokenizerBase

from leakatk.errors import InputError, ModelError, first_line
from leakatk.models.rendering import MOST_CHARACTERS, EndlessTemplateError, check_ends, pinned
from leakatk.models.seams import Seam, continued, encoded
from leakatk.prompts import Query

PINNED_DATE = "10 Apr 2025"  # Llama's chat template inserts today's date unless told otherwise.

# What every template is tried with, once: both questions must stand in their own prompt.
_TRIED = ("Which colour has the sea at noon?", "Who counted the twelve stones?")
_ANSWERED = "It was never counted."

Message = dict[str, Any]


class Shape(NamedTuple):
    """How one tokenizer's chat template wants its messages, and what it puts around an answer.

    parts: content is a list of parts ({"type": "text", "text": ...}), not a string.  merged: the system message stands
    before the first question.  gap: text between prompt and answer.  between: text between the answer and its end
    token.  end: that token; "" where the template has none.  trims: it strips the answer (on the left, on the right).
    notes: what a person must know of it.
    """

    parts: bool = False
    merged: bool = False
    gap: str = ""
    between: str = ""
    end: str = ""
    trims: tuple[bool, bool] = (False, False)
    notes: tuple[str, ...] = ()


_MOST_SHAPES = 256
_SHAPES: WeakKeyDictionary[PreTrainedTokenizerBase, dict[Any, Shape]] = WeakKeyDictionary()


@dataclass(frozen=True, slots=True)
class Template:
    """How a question becomes a prompt.

    >>> Template(kind="plain").kind
    'plain'
    """

    kind: Literal["auto", "chat", "plain"] = "auto"
    """"chat": the tokenizer's chat template; "plain": the text in `plain`; "auto": chat where the tokenizer has one."""
    system: str = ""
    """The system message; "" is none."""
    plain: str = "Question: {question}\nAnswer:"
    """The prompt of a model without chat template, with {question} in it."""
    date: str = PINNED_DATE
    """Fills a template's `date_string`, and its clock, so that the same checkpoint scores the same next week."""
    as_text: bool = False
    """Decode the chat prompt without special tokens and tokenise it again: role headers become plain text. The published
    Leak@k code did that; only the `paper` protocol asks for it."""
    args: tuple[tuple[str, Any], ...] = ()
    """Further (name, value) arguments of the chat template, such as ("enable_thinking", False)."""

    def __repr__(self) -> str:
        # Without arguments as before there were any: places of cells are hashes of it.
        fields = {name: value for name, value in asdict(self).items() if name != "args" or value}
        return f"Template({', '.join(f'{name}={value!r}' for name, value in fields.items())})"

    def __post_init__(self) -> None:
        if self.kind not in ("auto", "chat", "plain"):
            raise InputError(f"Template.kind must be auto, chat or plain, got {self.kind!r}.")
        if "{question}" not in self.plain:
            raise InputError(f"Template.plain must contain {{question}}, got {self.plain!r}.")

    def is_chat(self, tokenizer: PreTrainedTokenizerBase) -> bool:
        has = bool(getattr(tokenizer, "chat_template", None))
        if self.kind == "chat" and not has:
            raise ModelError("The tokenizer has no chat template; use the plain template (--template plain).")
        return self.kind == "chat" or (self.kind == "auto" and has)

    def messages(self, question: Query, shape: Shape | None = None) -> list[Message]:
        """The conversation of a chat: system message, earlier turns, question."""
        if question.system:
            whole, question = self._with_system(question)
            return whole.messages(question, shape)
        shape = shape or Shape()
        said = [("system", self.system)] if self.system and not shape.merged else []
        for asked, answer in question.turns:
            said += [("user", asked), ("assistant", answer)]
        said.append(("user", question.text))
        if self.system and shape.merged:
            said[0] = ("user", f"{self.system}\n\n{said[0][1]}")
        return [
            {"role": role, "content": [{"type": "text", "text": text}] if shape.parts else text} for role, text in said
        ]

    def plain_text(self, question: Query) -> str:
        """The prompt of a model without chat template; earlier turns stand before it in the same form."""
        if question.system:
            return f"{question.system}\n\n{self.plain_text(replace(question, system=''))}"
        asked = [self.plain.replace("{question}", text) for text, _ in question.turns]
        turns = [f"{text}{_space(text)}{answer}\n\n" for text, (_, answer) in zip(asked, question.turns, strict=True)]
        return "".join([*turns, self.plain.replace("{question}", question.text)])

    def prompt_ids(self, tokenizer: PreTrainedTokenizerBase, question: str | Query) -> list[int]:
        """Token ids of the whole prompt, special tokens and the words the answer is made to begin with included."""
        return self._begun(tokenizer, question)[1]

    def answer_ids(
        self,
        tokenizer: PreTrainedTokenizerBase,
        answer: str,
        *,
        end: bool = True,
        begin: str = "",
        question: str | Query = _TRIED[0],
    ) -> list[int]:
        """Token ids of an answer that follows `prompt_ids`, with the end token the model should stop at; see `pair`.

        begin: the words before it (`Query.begin`) where `question` is only a text.
        """
        asked = Query(question, begin=begin) if isinstance(question, str) else question
        return self.pair(tokenizer, asked, answer, end=end).answer

    def pair(self, tokenizer: PreTrainedTokenizerBase, question: str | Query, answer: str, *, end: bool = True) -> Seam:
        """Token ids of prompt and answer, as the model that was trained on both as one text says them.

        The answer's are those of prompt and answer as one text, after the prompt's; these never change, since they are
        what is sampled from. Where one token would hold the end of the prompt and the beginning of the answer
        (`straddles`), the answer is encoded as a continuation. end: with what the template puts after an answer, up to
        its end token; a plain one ends with the tokenizer's own.
        """
        question = Query(question) if isinstance(question, str) else question
        before, prompt = self._begun(tokenizer, question)
        space = _space(before) if question.begin else self._gap(tokenizer, before)
        chat = self._chat(tokenizer)
        shape = self.shape(tokenizer)
        answer = answer.lstrip() if shape.trims[0] and not question.begin else answer
        answer = answer.rstrip() if shape.trims[1] else answer
        text = f"{before}{space}{answer}{shape.between if end else ''}"
        last = self.end_id(tokenizer) if end else None
        if chat and end and shape.end:
            found = continued(tokenizer, prompt, before, text + shape.end, special=False)
            if found.answer[-1:] == [last]:
                return found
        found = continued(tokenizer, prompt, before, text, special=not chat)
        return found if last is None else found._replace(answer=[*found.answer, last])

    def end_id(self, tokenizer: PreTrainedTokenizerBase) -> int | None:
        """The token that ends an answer: the one that the chat template puts after it, else the tokenizer's own."""
        end = self.shape(tokenizer).end
        found = tokenizer.convert_tokens_to_ids(end) if end else tokenizer.eos_token_id
        return None if found is None else int(found)

    def shape(self, tokenizer: PreTrainedTokenizerBase) -> Shape:
        """How the tokenizer's chat template is to be used, tried once. ModelError for one that cannot be."""
        if not self.is_chat(tokenizer):
            return Shape()
        known = _SHAPES.setdefault(tokenizer, {})
        key = (repr(self), str(tokenizer.chat_template), str(tokenizer.special_tokens_map))
        if key not in known:
            if len(known) >= _MOST_SHAPES:  # a server meets new system messages for ever
                known.clear()
            known[key] = self._surroundings(tokenizer, self._tried(tokenizer))
        return known[key]

    def describe(self, tokenizer: PreTrainedTokenizerBase) -> dict[str, Any]:
        """For the manifest: the fields, and the exact text a sample question becomes."""
        example = tokenizer.decode(self.prompt_ids(tokenizer, "<question>"))
        fields = {**asdict(self), "kind": "chat" if self.is_chat(tokenizer) else "plain", "example": example}
        fields["args"] = dict(self.args)
        text = str(getattr(tokenizer, "chat_template", None) or "")
        if strange := [name for name, _ in self.args if name not in text]:
            raise InputError(
                f"The chat template knows no argument {', '.join(strange)}; --template-arg sets what the model's own template reads."
            )
        return fields if self.args else {name: value for name, value in fields.items() if name != "args"}

    # -- texts -----------------------------------------------------------------------------------------------------

    def text(self, tokenizer: PreTrainedTokenizerBase, question: str | Query) -> str:
        """The prompt's text, special tokens of a chat template included; without `Query.begin`."""
        question = Query(question) if isinstance(question, str) else question
        if not self.is_chat(tokenizer):
            return self.plain_text(question)
        if question.system:  # whether the chat template takes a system message is tried for it, too
            whole, question = self._with_system(question)
            return whole.text(tokenizer, question)
        return self._render(tokenizer, self.messages(question, self.shape(tokenizer)))

    def _with_system(self, question: Query) -> tuple[Template, Query]:
        """The question's own system message as the template's."""
        system = "\n\n".join(filter(None, (self.system, question.system)))
        return replace(self, system=system), replace(question, system="")

    def _chat(self, tokenizer: PreTrainedTokenizerBase) -> bool:
        """The text holds its own special tokens."""
        return self.is_chat(tokenizer) and not self.as_text

    def _gap(self, tokenizer: PreTrainedTokenizerBase, before: str) -> str:
        return self.shape(tokenizer).gap if self.is_chat(tokenizer) else _space(before)

    def _begun(self, tokenizer: PreTrainedTokenizerBase, question: str | Query) -> tuple[str, list[int]]:
        """Text and ids of all that stands before the answer."""
        question = Query(question) if isinstance(question, str) else question
        chat, text = self._chat(tokenizer), self.text(tokenizer, question)
        if self.as_text and self.is_chat(tokenizer):
            text = tokenizer.decode(encoded(tokenizer, text, special=False), skip_special_tokens=True)
        ids = encoded(tokenizer, text, special=not chat)
        if not question.begin:
            return text, ids
        begun = f"{text}{self._gap(tokenizer, text)}{question.begin}"
        return begun, [*ids, *continued(tokenizer, ids, text, begun, special=not chat).answer]

    def _render(self, tokenizer: PreTrainedTokenizerBase, messages: Sequence[Message], *, prompt: bool = True) -> str:
        """What the chat template makes of a conversation. ModelError for one that fails."""
        template = pinned(tokenizer.get_chat_template(), self.date)
        try:
            text = tokenizer.apply_chat_template(
                messages,
                chat_template=template,
                add_generation_prompt=prompt,
                tokenize=False,
                **{"date_string": self.date, **dict(self.args)},
            )
        except Exception as error:  # whatever a stranger's program raises
            raise ModelError(
                f"The chat template fails: {first_line(error)}. Mend it, or use the plain template (--template plain)."
            ) from error
        if len(text) > MOST_CHARACTERS + sum(len(str(message)) for message in messages):
            raise ModelError(f"The chat template writes {len(text):,} characters; mend it, or use --template plain.")
        return str(text)

    # -- trying it once --------------------------------------------------------------------------------------------

    def _tried(self, tokenizer: PreTrainedTokenizerBase) -> Shape:
        """The form of messages in which the system message and each question reach the prompt."""
        template = pinned(tokenizer.get_chat_template(), self.date)
        about = {**tokenizer.special_tokens_map, "date_string": self.date, **dict(self.args)}
        failure: ModelError | None = None
        left_out = False
        for merged in (False, True) if self.system else (False,):
            for parts in (False, True):
                shape = Shape(parts=parts, merged=merged)
                try:
                    check_ends(template, self.messages(Query(_TRIED[0]), shape), about)
                    texts = [self._render(tokenizer, self.messages(Query(tried), shape)) for tried in _TRIED]
                except EndlessTemplateError:
                    raise
                except ModelError as error:
                    failure = failure or error
                    continue
                held = all(tried in text for tried, text in zip(_TRIED, texts, strict=True))
                if not held or (parts and "'type': 'text'" in texts[0]):  # a list written out is no question
                    left_out = True
                    continue
                if self.system.strip() in texts[0]:
                    note = "The chat template takes no system message: its text was put before the first question."
                    return shape._replace(notes=(note,) if merged else ())
        if failure is not None and not left_out:
            raise failure
        raise ModelError(
            "The chat template leaves the question out of the prompt, so every question would be the same; mend it, or use "
            "the plain template (--template plain)."
        )

    def _surroundings(self, tokenizer: PreTrainedTokenizerBase, shape: Shape) -> Shape:
        """What stands around an answer: rendered with one, with and without spaces at its ends."""
        asked = self.messages(Query(_TRIED[0]), shape)
        prompt = self._render(tokenizer, asked)

        def around(answer: str) -> tuple[str, str]:
            content = [{"type": "text", "text": answer}] if shape.parts else answer
            whole = self._render(tokenizer, [*asked, {"role": "assistant", "content": content}], prompt=False)
            before, found, after = whole.rpartition(_ANSWERED)
            if not found:
                raise ModelError("The chat template leaves answers out.")
            return before, after

        try:
            (before, after), (spaced, spaced_after) = around(_ANSWERED), around(f" {_ANSWERED} ")
        except ModelError:  # a template that renders questions alone
            return shape
        follows = before.startswith(prompt)
        gap = before[len(prompt) :] if follows else ""
        places = {token: after.find(token) for token in _specials(tokenizer) if token in after}
        end = min(places, key=lambda token: (places[token], -len(token)), default="")
        between = after[: places[end]] if end else ""
        trims = (spaced == before, spaced_after == after)
        last = [token for token in _ends(tokenizer, end) if prompt.rstrip().endswith(token)]
        if last and not follows:
            raise ModelError(
                f"The chat template ends the prompt with the end token {last[0]}: the model would be asked after its answer's end. "
                "Mend the template, or use the plain one (--template plain)."
            )
        notes = shape.notes
        if last:
            notes = (*notes, f"The chat template ends a prompt with the end token {last[0]}.")
        return shape._replace(notes=notes, gap=gap, between=between, end=end, trims=trims)


def _space(before: str) -> str:
    """Between a plain prompt and its answer."""
    return "" if before[-1:].isspace() else " "


def _specials(tokenizer: PreTrainedTokenizerBase) -> list[str]:
    """Tokens that stand for no text of their own; not the one that begins a text, unless it ends one as well."""
    added = [str(token) for token in getattr(tokenizer, "added_tokens_decoder", {}).values()]
    known = dict.fromkeys((*added, *tokenizer.all_special_tokens))
    begins = tokenizer.bos_token if tokenizer.bos_token != tokenizer.eos_token else None
    return [token for token in known if token.strip() and token != begins]


def _ends(tokenizer: PreTrainedTokenizerBase, end: str) -> list[str]:
    return [token for token in dict.fromkeys((end, tokenizer.eos_token)) if token]
