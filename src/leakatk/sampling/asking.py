"""Requests to a deployed model: what is sent, and what is done when it fails.

Failures are asked again with growing waits; a rate limit holds all requests back; a server that never answered is given up
after two failures of a kind that only a dead server has, or another.
"""

from __future__ import annotations

import random
import sys
import threading
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

from leakatk.errors import InputError, ModelError, RunError
from leakatk.models.load import ModelSource
from leakatk.prompts import Query
from leakatk.remote.client import Failure, Limits, Server, pause
from leakatk.remote.providers import Service, ask_by
from leakatk.remote.replies import Said
from leakatk.sampling.served import SPELLINGS
from leakatk.scorers.text import well_formed

# The value of each field that changes nothing: a server that refuses the field may do without it.
OFF: dict[str, Any] = {
    "temperature": 1.0,
    "top_p": 1.0,
    "top_k": 0,
    "min_p": 0.0,
    **dict.fromkeys(SPELLINGS, 1.0),
    "stop": [],
}


@dataclass(slots=True)
class Call:
    """What the threads that ask together share."""

    server: Server
    stopping: threading.Event = field(default_factory=threading.Event)
    resume_at: float = 0.0  # a rate limit holds every thread back until then
    held: int = 0  # rate limits met since the last answer
    lock: threading.Lock = field(default_factory=threading.Lock)

    def hold(self) -> None:
        while (left := self.resume_at - time.monotonic()) > 0 and not self.stopping.is_set():
            self.stopping.wait(left * (1 + random.random() / 4))


@dataclass
class Asker:
    """One model on one server. The fields are those of `EndpointSampler`.

    refused: fields the server does not take; filled as it says so.  spelling: how it calls the repetition penalty.
    """

    source: ModelSource
    service: Service
    concurrency: int
    tries: int
    timeout: float
    backoff: float
    limits: Limits
    refused: set[str] = field(default_factory=set)
    spelling: str = SPELLINGS[0]

    def __post_init__(self) -> None:
        self.refused |= self.service.provider.lacks

    @property
    def chat(self) -> bool:
        return self.source.template.kind != "plain"

    def connect(self) -> Server:
        return self.service.connect(timeout=self.timeout, model=self.source.path)

    def reach(
        self, call: Call, body_of: Callable[[], dict[str, Any]], most_out: int, what: str, tried: Collection[str] = ()
    ) -> Said | None:
        """What the server says to one request, asked until it is answered or has failed `tries` times.

        None when another thread has failed for good, or the server refuses one of the fields that are tried.
        """
        tries = 0
        while True:
            body = body_of()
            # A token is at least one byte, so this reservation cannot be exceeded.
            most = self.limits.cost(len(str(body).encode("utf-8", "replace")) + 100, most_out)
            call.hold()
            if call.stopping.is_set():
                return None
            if not self.limits.take(most):
                raise RunError(
                    f"Stopped at {self.limits.reached}. What was answered is kept: run the same command again, with a "
                    "higher limit or none, to go on."
                )
            answer = ask_by(call.server, body, self.limits, most, chat=self.chat)
            if not isinstance(answer, Failure):
                call.held = 0
                return answer
            if answer.code == "content_filter":
                # The deployment answers this question with nothing: what a user would see.
                return Said("", "", "stop")
            if self._leave_out(answer, body, call, tried):
                continue
            if answer.status in (400, 413, 422):
                if tried:
                    return None
                raise ModelError(f"The endpoint does not take {what}: {answer.what}")
            if call.server.hopeless(answer, tries + 1):
                raise ModelError(
                    f"No usable answer from {call.server.url}: {answer.what}. Is the server up, and is that its address?"
                )
            if answer.status == 429:
                # Others may have been let through: a sample gives up only when none is for long.
                with call.lock:
                    call.held += 1
                    tries = call.held // self.concurrency
                    call.resume_at = max(call.resume_at, time.monotonic() + pause(tries, answer, self.backoff))
            else:
                call.stopping.wait(pause(tries, answer, self.backoff))
                tries += 1
            if tries >= self.tries:
                raise ModelError(
                    f"The endpoint at {call.server.url} failed {self.tries} times for {what}; the last problem: "
                    f"{answer.what}. What was answered is kept: run the same command again to go on."
                )

    def body(self, question: Query, values: Mapping[str, Any], most_out: int) -> dict[str, Any]:
        """The request as the openai client takes it; what is no field of OpenAI's goes into extra_body."""
        template = self.source.template
        own = {name: values[name] for name in ("temperature", "top_p", "stop", "seed")}
        extra = {name: value for name, value in values.items() if name not in own}
        if self.spelling not in extra:
            extra[self.spelling] = extra.pop(SPELLINGS[0])
        limit = "max_completion_tokens" if "max_tokens" in self.refused else "max_tokens"
        body: dict[str, Any] = {"model": self.source.path, limit: most_out}
        body |= {name: value for name, value in self._taken(own).items() if value != []}
        body["extra_body"] = self._taken(extra)
        if self.chat:
            if template.args:
                body["extra_body"]["chat_template_kwargs"] = dict(template.args)
            body["messages"] = [
                {**message, "content": well_formed(message["content"])} for message in template.messages(question)
            ]
        else:
            begin = f" {question.begin}" if question.begin else ""
            body["prompt"] = well_formed(template.plain_text(question) + begin)
        return body

    def _taken(self, fields: Mapping[str, Any]) -> dict[str, Any]:
        """Without what the server refused; a field that changes the answers is sent, to be refused, never left out."""
        return {k: v for k, v in fields.items() if k not in self.refused or v != OFF.get(k, v)}

    def _leave_out(self, failure: Failure, body: Mapping[str, Any], call: Call, tried: Collection[str]) -> bool:
        """Whether the server refused fields that can be left out; InputError where that would change the answers.

        tried: fields whose refusal is an answer in itself.
        """
        sent = {**body, **body["extra_body"]}
        refused = failure.refuses({"max_tokens", "seed", *OFF} & sent.keys()) - set(tried)
        for name in refused & OFF.keys():
            if sent[name] != OFF[name]:
                without = (
                    "; --no-greedy audits without greedy answers" if name == "temperature" and not sent[name] else ""
                )
                raise InputError(f"The endpoint does not take {name} = {sent[name]}: {failure.what}{without}")
        with call.lock:
            if new := sorted(refused - self.refused):
                sys.stderr.write(f"endpoint: the server takes no {', '.join(new)}; sent without.\n")
            self.refused |= refused
        return bool(refused)
