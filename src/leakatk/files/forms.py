"""Forms of data sets for chats and instructions, as rows of a question and an answer.

`messages` (OpenAI, TRL), `conversations` (ShareGPT), prompt and completion (TRL), instruction, input and output (Alpaca), and
instruction, context and response (Dolly).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from leakatk.errors import InputError
from leakatk.files.reading import Row

CHATS = ("messages", "conversations", "conversation")
COLUMNS = frozenset({"prompt", "completion", "instruction", "input", "output", "context", "response"})
_OWN = ("answer", "ground_truth", "gt")  # a row with a true answer of its own is no data set of another form

_ROLES = {
    "system": "system", "developer": "system",
    "user": "user", "human": "user", "prompter": "user",
    "assistant": "assistant", "gpt": "assistant", "chatgpt": "assistant", "model": "assistant", "bot": "assistant",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Exchange:
    """A row with a question and an answer, and what goes before them in their chat.

    turns: earlier (question, answer) pairs.  system: the system message.
    """

    row: Row
    turns: tuple[tuple[str, str], ...] = ()
    system: str = ""


def exchanges(row: Row, place: str, named: Mapping[str, str], *, strict: bool = True) -> list[Exchange]:
    """The questions with answers in one row of a file: the row itself where it has no known form, one for each answer of a chat.

    named: field -> column (`leakatk.prompts.columns_from`): "messages" is the chat's, and where a question or an answer is named,
    the row is taken as it stands.  strict: what is named must be there. InputError, which begins with the place, for a chat
    that cannot be asked.
    """
    if "question" in named or "answer" in named:
        return [Exchange(row)]
    chat = named.get("messages")
    if chat is not None and (strict or chat in row):
        if chat not in row:
            raise InputError(
                f"{place}: no column {chat}, which --column messages={chat} names; found {', '.join(map(str, row))}."
            )
        return _of_chat(row, row[chat], place)
    if any(row.get(name) is not None for name in _OWN):
        return [Exchange(row)]
    for name in CHATS:
        if row.get(name) is not None:
            return _of_chat(row, row[name], place)
    if row.get("completion") is not None and row.get("prompt") is not None:
        asked, answered = row["prompt"], row["completion"]
        if isinstance(asked, list) and isinstance(answered, list):
            return _of_chat(row, [*asked, *answered], place)[-1:]
        return [Exchange({**row, "question": asked, "answer": answered})]
    answered = row["output"] if row.get("output") is not None else row.get("response")
    if row.get("instruction") is not None and answered is not None:
        more = row.get("input") or row.get("context") or ""
        question = f"{row['instruction']}\n\n{more}" if more else row["instruction"]
        return [Exchange({**row, "question": question, "answer": answered})]
    return [Exchange(row)]


def _of_chat(row: Row, messages: Any, place: str) -> list[Exchange]:
    """One for each answer of a chat. Messages of one side that follow one another are one."""
    system, turns, found = "", list[tuple[str, str]](), list[Exchange]()
    question, answer = "", ""

    def close() -> None:
        nonlocal question, answer
        found.append(Exchange({**row, "question": question, "answer": answer}, tuple(turns), system))
        turns.append((question, answer))
        question = answer = ""

    for number, (role, text) in enumerate(turns_of(messages, place), start=1):
        if role == "system":
            system = f"{system}\n\n{text}" if system else text
        elif role == "user":
            if answer:
                close()
            question = f"{question}\n\n{text}" if question else text
        elif role == "assistant":
            if not question:
                raise InputError(
                    f"{place}, message {number}: an answer that no question goes before; begin the chat with the user."
                )
            answer = f"{answer}\n\n{text}" if answer else text
        else:
            raise InputError(
                f"{place}, message {number}: of a tool ({role}), which no prompt can hold; leave this chat out, or "
                "write its question and its answer as columns named question and answer."
            )
    if answer:
        close()
    if not found:
        raise InputError(f"{place}: a chat without an answer of the assistant; add the true one, or leave it out.")
    return found


def turns_of(messages: Any, place: str) -> list[tuple[str, str]]:
    """(role, text) of the messages of a chat, in OpenAI's keys or ShareGPT's. Roles: system, user, assistant, or a tool's as it is.

    Texts are what is said for people: the text parts of a content of several parts. Messages that say nothing, such as calls
    of tools, are left out. InputError for anything else.
    """
    if not isinstance(messages, list) or not messages:
        raise InputError(f"{place}: a chat must be a list of messages with role and content, found {messages!r:.60}.")
    found = []
    for number, message in enumerate(messages, start=1):
        where = f"{place}, message {number}"
        if not isinstance(message, Mapping):
            raise InputError(f"{where}: must be an object with role and content, found {message!r:.60}.")
        role = message["role"] if message.get("role") is not None else message.get("from")
        content = message["content"] if message.get("content") is not None else message.get("value")
        if not isinstance(role, str):
            raise InputError(f"{where}: has no role (or from), found {', '.join(map(str, message)) or 'nothing'}.")
        text = text_of(content, where)
        if text.strip():
            found.append((_ROLES.get(role.lower(), role), text))
    return found


def text_of(content: Any, where: str) -> str:
    """The text of a message's content: a string, or a list of parts. InputError for parts that are no text, such as images."""
    if content is None:
        return ""
    if isinstance(content, str):
        return content
    if not isinstance(content, list):
        raise InputError(f"{where}: the content must be a string or a list of parts, found {content!r:.60}.")
    texts = []
    for part in content:
        kind = part.get("type", "text") if isinstance(part, Mapping) else "text"
        text = part.get("text") if isinstance(part, Mapping) else part
        if kind in ("reasoning", "thinking", "tool_use", "tool_result"):
            continue
        if kind not in ("text", "input_text", "output_text") or not isinstance(text, str):
            raise InputError(f"{where}: holds a part of type {kind!r}, and only text is asked or scored; leave it out.")
        texts.append(text)
    return "".join(texts)
