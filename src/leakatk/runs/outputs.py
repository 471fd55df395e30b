"""Outputs of other tools, row by row: what a model said to which prompt.

Leak@k's generations, samples of lm-eval, logs of Inspect, output of an OpenAI batch (vLLM's run-batch and Azure write the same),
vLLM's RequestOutput, rows of one answer, chats that a model or an agent went through, and plain strings.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from leakatk.errors import InputError
from leakatk.files.forms import text_of, turns_of

ANSWERS = (
    "response",
    "generation",
    "completion",
    "prediction",
    "output",
    "text",
)  # columns of one answer, the first that is there


@dataclass(frozen=True, slots=True)
class Said:
    """What a row of a file holds.

    place: for messages.  form: of the file, in words.  texts: the answers.  id: the prompt's, where the row names it;
    sure: it was chosen by whoever asked, and is not a number that the tool gave.  question: as it was asked.  row: where question and
    true answer may stand.  left_out: what of the row is no answer, one reason each.
    """

    place: str
    form: str
    texts: Sequence[str]
    id: str | None = None
    sure: bool = True
    question: str = ""
    row: Mapping[str, Any] = field(default_factory=dict)
    left_out: Sequence[str] = ()


def said_in(value: Any, place: str) -> Iterator[Said]:
    """What one row of a file says; of a log of Inspect, each of its samples. InputError, which begins with the place, for what is none."""
    if isinstance(value, str):
        yield Said(place, "one text a line", [value])
    elif isinstance(value, list):
        yield Said(place, "the texts of one prompt a line", _samples(value, place))
    elif not isinstance(value, Mapping):
        raise InputError(f"{place}: expected a text, a list of texts or an object, found {value!r:.40}.")
    elif "responses" in value:
        yield _leak_at_k(value, place)
    elif "resps" in value and "doc_id" in value:
        yield _lm_eval(value, place)
    elif "custom_id" in value and ("response" in value or "error" in value):
        yield _batch(value, place)
    elif "outputs" in value and ("prompt" in value or "request_id" in value):
        yield _vllm(value, place)
    elif any(name in value for name in ("messages", "conversations", "trajectory")):
        yield _trajectory(value, place)
    else:
        yield _flat(value, place)


def _samples(items: Any, place: str) -> list[str]:
    """A text for each item: a string, an object with a `response`, or a list of turns, which is one sample."""
    if not isinstance(items, list) or not items:
        raise InputError(
            f"{place}: responses must be a non-empty list of texts, of objects with a response text, or of lists of turns."
        )
    if all(isinstance(item, Mapping) and ("role" in item or "from" in item) for item in items):
        return [_spoken(items, place)]
    texts = []
    for index, item in enumerate(items):
        where = f"{place}: responses[{index}]"
        if isinstance(item, str):
            texts.append(item)
        elif isinstance(item, list):
            texts.append(
                "\n\n".join(item) if item and all(isinstance(turn, str) for turn in item) else _spoken(item, where)
            )
        elif isinstance(item, Mapping) and isinstance(item.get("response"), str):
            texts.append(item["response"])
        else:
            raise InputError(
                f"{where} must be a text, an object with a response text, or a list of turns, got {item!r:.60}."
            )
    return texts


def _spoken(messages: Any, place: str) -> str:
    """All that the assistant says in a list of turns. Results of tools and turns of others are not the model's words."""
    return "\n\n".join(text for role, text in turns_of(messages, place) if role == "assistant")


def _leak_at_k(row: Mapping[str, Any], place: str) -> Said:
    identity = row.get("id")
    question = next((row[name] for name in ("question", "prompt") if isinstance(row.get(name), str)), "")
    return Said(
        place, "the Leak@k authors' format", _samples(row["responses"], place),
        id=None if identity is None else str(identity), question=question, row=row,
    )  # fmt: skip


def _lm_eval(row: Mapping[str, Any], place: str) -> Said:
    doc = row["doc"] if isinstance(row.get("doc"), Mapping) else {}
    asked = row.get("arguments")
    asked = asked.get("gen_args_0") if isinstance(asked, Mapping) else None
    asked = asked.get("arg_0") if isinstance(asked, Mapping) else None
    own = {"question": asked, "answer": row.get("target")}  # where the document does not say it in our columns
    texts, others = [], 0
    for request in row["resps"] if isinstance(row["resps"], list) else []:
        for text in request if isinstance(request, list) else [request]:
            if isinstance(text, str):
                texts.append(text)
            else:
                others += 1
    reason = "log-likelihoods of given answers, no generations" if others else "without an answer" if not texts else ""
    question = doc.get("question") if isinstance(doc.get("question"), str) else asked
    return Said(
        place, "samples of lm-eval", texts, id=str(row["doc_id"]), sure=False, question=question or "",
        row={"id": str(row["doc_id"]), **own, **doc}, left_out=[reason] * (others or (not texts)),
    )  # fmt: skip


def _batch(row: Mapping[str, Any], place: str) -> Said:
    form, name = "the output of an OpenAI batch", str(row["custom_id"])
    response, error = row.get("response") or {}, row.get("error")
    status, body = response.get("status_code", 200), response.get("body")
    body = body if isinstance(body, Mapping) else {}
    if error or status != 200 or body.get("error"):
        code = error.get("code") if isinstance(error, Mapping) else None
        return Said(place, form, [], id=name, left_out=[f"failed ({code or f'status {status}'})"])
    texts: list[str] = []
    empty = 0
    for choice in body.get("choices") or []:
        message = choice.get("message")
        content = message.get("content") if isinstance(message, Mapping) else choice.get("text")
        if content is None:
            empty += 1
        else:
            texts.append(text_of(content, place))
    parts = [
        text_of(item.get("content"), place)
        for item in body.get("output") or []
        if item.get("type", "message") == "message"
    ]  # of the Responses API, whose messages are one answer
    texts += ["\n\n".join(parts)] if parts else []
    return Said(place, form, texts, id=name, left_out=["without an answer"] * (empty or (not texts)))


def _vllm(row: Mapping[str, Any], place: str) -> Said:
    outputs = row["outputs"] if isinstance(row["outputs"], list) else []
    texts = [one["text"] if isinstance(one, Mapping) else one for one in outputs if isinstance(one, Mapping | str)]
    if not all(isinstance(text, str) for text in texts):
        raise InputError(f"{place}: each of the outputs must have a text.")
    question = row.get("prompt") if isinstance(row.get("prompt"), str) else ""
    return Said(
        place,
        "outputs of vLLM",
        texts,
        question=question or "",
        row=row,
        left_out=[] if texts else ["without an answer"],
    )


def _trajectory(row: Mapping[str, Any], place: str) -> Said:
    """A chat that was had: all the assistant's turns are one sample, to the first question of the user."""
    messages = next(row[name] for name in ("messages", "conversations", "trajectory") if name in row)
    turns = turns_of(messages, place)
    text = "\n\n".join(text for role, text in turns if role == "assistant")
    first = next((text for role, text in turns if role == "user"), "")
    identity, own = row.get("id"), row.get("question")
    return Said(
        place, "chats, each one sample", [text] if text else [], id=None if identity is None else str(identity),
        question=own if isinstance(own, str) else first, row={"question": first, **row}, left_out=[] if text else ["without an answer"],
    )  # fmt: skip


def _flat(row: Mapping[str, Any], place: str) -> Said:
    name = next((name for name in ANSWERS if row.get(name) is not None), None)
    if name is None:
        named = [column for column in ANSWERS if column in row]
        if not named:
            raise InputError(
                f"{place}: no generations; expected responses, a list, or a column named {', '.join(ANSWERS)}, "
                f"found {', '.join(map(str, row)) or 'none'}."
            )
    value = row[name] if name else None
    texts = [] if value is None else [value] if isinstance(value, str) else _samples(value, place)
    identity = next((row[key] for key in ("id", "prompt_id") if row.get(key) is not None), None)
    asked = next((row[key] for key in ("question", "prompt", "instruction") if isinstance(row.get(key), str)), "")
    return Said(
        place, "rows of one answer", texts, id=None if identity is None else str(identity), question=asked,
        row={key: cell for key, cell in row.items() if key != name}, left_out=[] if texts else ["without an answer"],
    )  # fmt: skip
