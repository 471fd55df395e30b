"""Replies of an OpenAI-compatible server: from the text of its answer to what the model thought and said.

Servers are loose: content is a string, null, or a list of parts; thoughts stand in `reasoning_content`, in `reasoning`, in
parts of their own, or between think marks in the content. Anything else is named, not guessed.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from leakatk.models.reasoning import split
from leakatk.remote.transport import BadReplyError

MOST_TOKENS = 100_000_000  # of one answer; a server that counts more does not count
_CUT = {"length", "max_tokens", "max_output_tokens", "model_length"}  # names of the limit, in lower case
_THOUGHTS = ("reasoning_content", "reasoning", "thinking", "reasoning_details")


@dataclass(frozen=True, slots=True)
class Said:
    """text: the answer.  reasoning: the thought before it.  finish: "stop" or "length".  model, fingerprint: as the server
    names what answered, "" if it does not.  tokens: (in, out) as it counted them, NaN where it did not."""

    text: str
    reasoning: str
    finish: str
    model: str = ""
    fingerprint: str = ""
    tokens: tuple[float, float] = (math.nan, math.nan)


def parse(text: str, content_type: str = "") -> dict[str, Any]:
    """The JSON object that a server answered with. BadReplyError says what it is instead."""
    start = text.lstrip("\ufeff \t\r\n")
    if "event-stream" in content_type or start.startswith(("data:", "event:", "id:")):
        raise BadReplyError("sends a stream of events, though one answer was asked for")
    if not start:
        raise BadReplyError("sends an empty answer")
    try:
        found = json.loads(start)
    except RecursionError:
        raise BadReplyError("sends JSON that is nested too deeply to read") from None
    except ValueError:
        if start.startswith("<"):
            raise BadReplyError(
                "sends a web page instead of an answer; is the address the API's (often ending in /v1)?"
            ) from None
        raise BadReplyError(f"sends no whole JSON ({shortened(start)})") from None
    if not isinstance(found, dict):
        raise BadReplyError(f"sends {_kind(found)} instead of one answer")
    return found


def said(body: Mapping[str, Any], *, chat: bool) -> Said:
    """The first choice of a completion. BadReplyError where there is none, or of another shape."""
    choices = body.get("choices")
    if not isinstance(choices, list):
        raise BadReplyError(f"sends an answer whose choices are {_kind(choices)}, not a list")
    if not choices or not isinstance(choices[0], dict):
        raise BadReplyError("sends an answer without choices")
    choice = choices[0]
    finish = str(choice.get("finish_reason") or "").lower()
    if finish == "error":
        raise BadReplyError("broke off its answer with an error")
    if chat:
        message = choice.get("message")
        if not isinstance(message, dict):
            raise BadReplyError(f"sends a choice whose message is {_kind(message)}, not an object")
        text, thoughts = _content(message.get("content"))
        named = dict.fromkeys("".join(_content(message.get(name))) for name in _THOUGHTS)  # some servers say it twice
        thoughts = "\n\n".join(filter(None, [*named, thoughts]))
        text = text if text or not isinstance(message.get("refusal"), str) else message["refusal"]
    else:
        text, thoughts = _content(choice.get("text"))
    inside, answer = split(text)
    return Said(
        text=answer,
        reasoning="\n\n".join(filter(None, [thoughts.strip(), inside])),
        finish="length" if finish in _CUT else "stop",
        model=str(body.get("model") or ""),
        fingerprint=str(body.get("system_fingerprint") or ""),
        tokens=_tokens(body.get("usage")),
    )


def _content(value: Any) -> tuple[str, str]:
    """(text, thought) of a content: a string, null, a part, or a list of parts."""
    if value is None:
        return "", ""
    if isinstance(value, str):
        return value, ""
    if isinstance(value, list):
        parts = [_content(part) for part in value]
        return "".join(text for text, _ in parts), "\n\n".join(thought for _, thought in parts if thought)
    if isinstance(value, dict):
        kind = str(value.get("type", ""))
        names = ("text", "content", "refusal", "thinking", "reasoning", "summary")
        inner = next((value[name] for name in names if value.get(name) is not None), None)
        text = "".join(_content(inner))
        return ("", text) if kind.startswith(("thinking", "reasoning")) else (text, "")
    raise BadReplyError(f"sends a content that is {_kind(value)}")


def _tokens(usage: Any) -> tuple[float, float]:
    if usage is None:
        return math.nan, math.nan
    if not isinstance(usage, dict):
        raise BadReplyError(f"sends a usage that is {_kind(usage)}, not an object")
    found = []
    for name in ("prompt_tokens", "completion_tokens"):
        count = usage.get(name)
        if count is None:
            found.append(math.nan)
        elif (
            isinstance(count, int | float)
            and not isinstance(count, bool)
            and 0 <= count <= MOST_TOKENS
            and count == int(count)
        ):
            found.append(float(count))
        else:
            raise BadReplyError(f"sends an impossible usage ({name} = {shortened(repr(count))})")
    return found[0], found[1]


def _kind(value: Any) -> str:
    names = {
        dict: "an object",
        list: "a list",
        str: "a text",
        bool: "true or false",
        int: "a number",
        float: "a number",
    }
    return "nothing" if value is None else names.get(type(value), "something else")


def shortened(text: str, most: int = 60) -> str:
    """The beginning of a text, printable."""
    shown = "".join(c if c.isprintable() else " " for c in text[: most + 1])
    return repr(shown[:most] + "..." if len(text) > most else shown)
