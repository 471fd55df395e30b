"""Requests and answers in the OpenAI protocol: what a guarded server takes, refuses and says.

A refusal quotes nothing but names of fields: neither the request nor what is stored can come back in it.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from leakatk.errors import InputError
from leakatk.files.strict_json import strict_json
from leakatk.models.template import Template
from leakatk.prompts import Query
from leakatk.sampling.decoding import Decoding

MOST_ANSWERS, MOST_TOKENS, MOST_MESSAGES = 128, 32_768, 1_000
_DEFAULT_TOKENS = 512
_MOST_NUMBER = 1_000_000
# Fields that say how an answer is drawn; a flagged request to a server behind has these alone.
DRAWING = frozenset(
    ("max_tokens", "max_completion_tokens", "temperature", "top_p", "top_k", "min_p", "repetition_penalty", "repeat_penalty",
     "seed", "stop", "n", "frequency_penalty", "presence_penalty", "chat_template_kwargs")
)  # fmt: skip
# What is taken although nothing is done with it, and the values under which it asks for nothing.
IDLE: Mapping[str, tuple[Any, ...]] = {
    "user": (), "metadata": (), "stream_options": (), "store": (None, False),
    "logprobs": (None, False, 0), "top_logprobs": (None, 0), "logit_bias": (None, {}), "frequency_penalty": (None, 0),
    "presence_penalty": (None, 0), "tools": (None, []), "response_format": (None, {"type": "text"}), "chat_template_kwargs": (None, {}),
    "repeat_penalty": (None, 1), "echo": (None, False), "suffix": (None, ""), "best_of": (None, 1),
}  # fmt: skip
_OWN = frozenset(
    ("model", "messages", "prompt", "max_tokens", "max_completion_tokens", "temperature", "top_p", "top_k", "min_p",
     "repetition_penalty", "seed", "stop", "n", "stream")
)  # fmt: skip
_UNSEEN = ("echo", "suffix", "best_of", "prompt_logprobs")  # they give a prompt back, or change it after it was read


class RefusedError(Exception):
    """A request that is answered with a status of its own. message: for the client; it quotes nothing."""

    def __init__(self, status: int, message: str, param: str = "") -> None:
        super().__init__(message)
        self.status, self.message, self.param = status, message, param

    def body(self) -> dict[str, Any]:
        """As OpenAI's servers say it."""
        kind = "invalid_request_error" if self.status < 500 else "server_error"
        return {"error": {"message": self.message, "type": kind, "param": self.param or None, "code": None}}


@dataclass(frozen=True)
class Asked:
    """One request. limited: whether it says how long an answer may be.  body: as it came, without what asks for a stream."""

    chat: bool
    query: Query
    model: str
    n: int
    seed: int | None
    stream: bool
    decoding: Decoding
    limited: bool
    body: Mapping[str, Any]


@dataclass(frozen=True)
class Said:
    """One answer. finish: "stop" or "length".  tokens: how many were generated; 0 where nobody counted."""

    text: str
    finish: str = "stop"
    reasoning: str = ""
    tokens: int = 0


def parse(body: Any, *, chat: bool, passes_on: bool) -> Asked:
    """A request as it came, checked. RefusedError (400) for what is malformed or not supported.

    passes_on: fields that are not known here go on to another server; else each is refused that would change the answer.
    """
    if not isinstance(body, dict):
        raise RefusedError(400, "The body must be a JSON object.")
    for name in _UNSEEN:
        if body.get(name) not in IDLE.get(name, (None,)):
            raise RefusedError(400, f"'{name}' is not supported by this server.", name)
    if not passes_on:
        for name, value in body.items():
            if name not in _OWN and not (name in IDLE and (not IDLE[name] or value in IDLE[name])):
                shown = name if name in IDLE or name in DRAWING else ""
                raise RefusedError(
                    400,
                    f"The field '{shown}' is not supported." if shown else "There is a field that is not supported.",
                    shown,
                )
    model = body.get("model", "")
    if not isinstance(model, str):
        raise RefusedError(400, "'model' must be a string.", "model")
    seed = body.get("seed")
    if seed is not None and (type(seed) is not int or not 0 <= seed < 2**63):
        raise RefusedError(400, "'seed' must be a whole number from 0 to 2^63 - 1.", "seed")
    n = 1 if body.get("n") is None else body["n"]
    if type(n) is not int or not 1 <= n <= MOST_ANSWERS:
        raise RefusedError(400, f"'n' must be a whole number from 1 to {MOST_ANSWERS}.", "n")
    stream = body.get("stream") or False
    if not isinstance(stream, bool):
        raise RefusedError(400, "'stream' must be true or false.", "stream")
    query = _conversation(body) if chat else _completion(body)
    kept = {name: value for name, value in body.items() if name not in ("stream", "stream_options")}
    limited = any(body.get(name) is not None for name in ("max_tokens", "max_completion_tokens"))
    return Asked(chat, query, model, n, seed, stream, _decoding(body), limited, kept)


def _decoding(body: Mapping[str, Any]) -> Decoding:
    def number(name: str, default: float, *, whole: bool = False) -> Any:
        value = default if body.get(name) is None else body[name]
        if isinstance(value, bool) or not isinstance(value, int if whole else int | float):
            raise RefusedError(400, f"'{name}' must be a {'whole ' if whole else ''}number.", name)
        if not abs(value) < _MOST_NUMBER:
            raise RefusedError(400, f"'{name}' is out of its range.", name)
        return value

    limit = "max_completion_tokens" if body.get("max_completion_tokens") is not None else "max_tokens"
    most = number(limit, _DEFAULT_TOKENS, whole=True)
    if not 1 <= most <= MOST_TOKENS:
        raise RefusedError(400, f"'{limit}' must be from 1 to {MOST_TOKENS}.", limit)
    stop = body.get("stop") or []
    stop = [stop] if isinstance(stop, str) else stop
    if not isinstance(stop, list) or len(stop) > 16 or not all(isinstance(one, str) and one for one in stop):
        raise RefusedError(400, "'stop' must be a string or a list of at most 16 strings, none of them empty.", "stop")
    values = {
        "temperature": number("temperature", 1.0), "top_p": number("top_p", 1.0), "min_p": number("min_p", 0.0),
        "top_k": max(0, number("top_k", 0, whole=True)),  # -1 is off for some servers
        "repetition_penalty": number("repetition_penalty", 1.0),
    }  # fmt: skip
    for name, value in values.items():  # one at a time, so that the field can be named
        try:
            Decoding(**{name: value})
        except InputError:
            raise RefusedError(400, f"'{name}' is out of its range.", name) from None
    return Decoding(**values, max_new_tokens=most, stop=tuple(_text(one, "stop") for one in stop))


def _text(value: Any, name: str) -> str:
    """A string, or a list of text parts, as one string."""
    if isinstance(value, list):
        if not all(isinstance(part, dict) and part.get("type") == "text" for part in value):
            raise RefusedError(400, f"'{name}' may hold text alone.", name)
        value = "".join(_text(part.get("text"), name) for part in value)
    if not isinstance(value, str):
        raise RefusedError(400, f"'{name}' must hold text.", name)
    try:
        value.encode()
    except UnicodeEncodeError:
        raise RefusedError(400, f"'{name}' holds half of a character (a lone surrogate).", name) from None
    return value


def _conversation(body: Mapping[str, Any]) -> Query:
    """The last message, with the turns and the system message before it."""
    messages = body.get("messages")
    if not isinstance(messages, list) or not messages or len(messages) > MOST_MESSAGES:
        raise RefusedError(400, f"'messages' must be a list of 1 to {MOST_MESSAGES} messages.", "messages")
    said: list[tuple[str, str]] = []
    for message in messages:
        role = message.get("role") if isinstance(message, dict) else None
        if role not in ("system", "developer", "user", "assistant"):
            raise RefusedError(400, "Each message needs a role: system, user or assistant.", "messages")
        if message.get("tool_calls"):
            raise RefusedError(400, "Calls of tools are not supported.", "messages")
        said.append((role, _text(message.get("content"), "messages")))
    system = said.pop(0)[1] if said[0][0] in ("system", "developer") else ""
    if [role for role, _ in said] != ["user", "assistant"] * (len(said) // 2) + ["user"]:
        raise RefusedError(
            400,
            "After one system message at most, user and assistant must take turns, and the user speaks last.",
            "messages",
        )
    turns = tuple((said[i][1], said[i + 1][1]) for i in range(0, len(said) - 1, 2))
    if not said[-1][1].strip():
        raise RefusedError(400, "The last message is empty.", "messages")
    return Query(said[-1][1], turns=turns, system=system)


def _completion(body: Mapping[str, Any]) -> Query:
    prompt = body.get("prompt")
    if isinstance(prompt, list) and len(prompt) == 1:
        prompt = prompt[0]
    if not isinstance(prompt, str) or not prompt.strip():
        raise RefusedError(400, "'prompt' must be one string that is not empty.", "prompt")
    return Query(_text(prompt, "prompt"))


def question_of(text: str, template: Template) -> str:
    """The last question in a prompt of the template's form, as the guard reads it; any other text is the question itself."""
    before, _, after = template.plain.partition("{question}")
    text = text.rstrip()
    if after.strip() and not text.endswith(after.rstrip()):
        return text
    inner = text[: len(text) - len(after.rstrip())] if after.strip() else text
    if before and before not in inner:
        return text
    return inner.rpartition(before)[2] if before else inner


def reply(asked: Asked, said: Sequence[Said], *, model: str, prompt_tokens: int = 0) -> dict[str, Any]:
    """A whole answer."""
    choices = []
    for index, one in enumerate(said):
        found: dict[str, Any] = {"index": index, "finish_reason": one.finish, "logprobs": None}
        if asked.chat:
            thought = {"reasoning_content": one.reasoning} if one.reasoning else {}
            found["message"] = {"role": "assistant", "content": one.text, **thought}
        else:
            found["text"] = one.text
        choices.append(found)
    drawn = sum(one.tokens for one in said)
    usage = {"prompt_tokens": prompt_tokens, "completion_tokens": drawn, "total_tokens": prompt_tokens + drawn}
    return {**_head(asked, model, ""), "choices": choices, "usage": usage}


def chunks(asked: Asked, said: Sequence[Said], *, model: str) -> Iterator[str]:
    """A whole answer as server-sent events: each choice in one piece, since a guard may have to see all of it first."""
    head = _head(asked, model, ".chunk")
    for index, one in enumerate(said):
        pieces: list[dict[str, Any]] = [{"role": "assistant", "content": one.text}, {}] if asked.chat else [{}, {}]
        for last, piece in enumerate(pieces):
            choice: dict[str, Any] = {"index": index, "finish_reason": one.finish if last else None}
            choice |= {"delta": piece} if asked.chat else {"text": "" if last else one.text}
            yield f"data: {strict_json({**head, 'choices': [choice]})}\n\n"
    yield "data: [DONE]\n\n"


def _head(asked: Asked, model: str, tail: str) -> dict[str, Any]:
    kind = f"chat.completion{tail}" if asked.chat else "text_completion"
    return {
        "id": f"{'chatcmpl' if asked.chat else 'cmpl'}-{uuid.uuid4().hex}", "object": kind,
        "created": int(time.time()), "model": model,
    }  # fmt: skip
