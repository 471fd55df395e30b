"""A deployed model behind an OpenAI-compatible server: a black-box audit, from what the server answers alone.

One request a sample, with a seed of its own where the server takes one. No log-probabilities (the servers' are not those
of the decoding distribution), so bounds and forecasts rest on counts. Every field of the decoding is sent, also the ones
that are off: a server's own defaults (top_k 50 ...) would change the distribution unseen. A field that the server does
not take is left out if it is off, and an error otherwise. Whether the server heeds what it takes cannot be seen from
outside, nor can changes of the model behind its name.

Failures are asked again with growing waits; a rate limit holds all requests back. Nothing that was answered is asked
twice: a run resumes at (prompt, sample).
"""

from __future__ import annotations

import math
import os
import random
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from leakatk.data import Generation, Prompt
from leakatk.errors import InputError, LeakAtKError, ModelError, RunError
from leakatk.models import ModelSource
from leakatk.remote import Failure, Limits, ask, connect, pause
from leakatk.sampling.base import Request, draws
from leakatk.sampling.decoding import Decoding
from leakatk.sampling.streams import sample_seed
from leakatk.scorers.text import well_formed

# The value of each field that changes nothing: a server that refuses the field may do without it.
OFF: dict[str, Any] = {
    "temperature": 1.0,
    "top_p": 1.0,
    "top_k": 0,
    "min_p": 0.0,
    "repetition_penalty": 1.0,
    "stop": [],
}

_SEVERAL = 4  # samples of a prompt that should not all be the same answer


@dataclass(frozen=True, slots=True)
class _Ask:
    """One request: a prompt, and the samples its answer is for (all of them when greedy, else one)."""

    prompt: Prompt
    samples: tuple[int, ...]


@dataclass(slots=True)
class _Call:
    """What the threads of one `sample` call share."""

    client: Any
    decoding: Decoding
    seed: int
    stopping: threading.Event = field(default_factory=threading.Event)
    resume_at: float = 0.0  # a rate limit holds every thread back until then
    held: int = 0  # rate limits met since the last answer
    lock: threading.Lock = field(default_factory=threading.Lock)

    def hold(self) -> None:
        while (left := self.resume_at - time.monotonic()) > 0 and not self.stopping.is_set():
            self.stopping.wait(left * (1 + random.random() / 4))


class EndpointSampler:
    """Samples a model that is deployed elsewhere; the model is its name on the server.

    url: base URL, such as http://localhost:8000/v1; "" means OPENAI_BASE_URL, else OpenAI.  key_env: environment variable
    with the key.  chat template "auto" or "chat": chat completions (the server applies its template); "plain":
    completions.  concurrency: requests in flight.  tries: requests a sample may take.  timeout: seconds to wait for an
    answer.  max_requests, max_cost (US dollars): nothing is sent beyond them in one go; 0 is no limit.  price_in,
    price_out: US dollars per million tokens; needed for max_cost where the model's price is not known.
    """

    name = "endpoint"
    takes_source = True

    def __init__(
        self,
        source: ModelSource,
        *,
        url: str = "",
        key_env: str = "OPENAI_API_KEY",
        concurrency: int = 8,
        tries: int = 8,
        timeout: float = 120.0,
        backoff: float = 1.0,
        max_requests: int = 0,
        max_cost: float = 0.0,
        price_in: float = math.nan,
        price_out: float = math.nan,
    ) -> None:
        for option, value in (("concurrency", concurrency), ("tries", tries), ("timeout", timeout)):
            if not value > 0:
                raise InputError(f"Engine option endpoint:{option} must be above 0, got {value}.")
        self.source, self.url, self.key_env = source, url or os.environ.get("OPENAI_BASE_URL", ""), key_env
        self.chat = source.template.kind != "plain"
        self.concurrency, self.tries, self.timeout, self.backoff = concurrency, tries, timeout, backoff
        self.limits = Limits(max_requests, max_cost, price_in, price_out).priced_for(source.path)
        self.refused: set[str] = set()  # fields the server does not take; filled as it says so
        self.served: set[str] = set()  # what the server called the model that answered

    def describe(self) -> dict[str, Any]:
        place = urlsplit(self.url or "https://api.openai.com/v1")
        template = self.source.template
        return {
            "engine": self.name,
            "model": self.source.path,
            # Without a key or password that may stand in the URL.
            "fingerprint": f"{self.source.path} at {place.hostname}{f':{place.port}' if place.port else ''}{place.path}",
            "template": {"kind": "chat" if self.chat else "plain", "system": template.system, "plain": template.plain},
            "dtype": "unknown",
            "device": "remote",
        }

    def sample(self, requests: Sequence[Request], decoding: Decoding, *, seed: int) -> Iterator[list[Generation]]:
        """Yield generations as they are answered. RunError when a limit is reached, ModelError when the server fails for
        good; what was answered until then is yielded first."""
        todo = [_Ask(request.prompt, part) for request in requests for part in draws(request, decoding)]
        if not todo:
            return
        self.check([item.prompt for item in todo])
        expected = self.estimate([item.prompt for item in todo], len(todo), decoding)
        sys.stderr.write(f"endpoint: {self.source.path}, {len(todo):,} requests. {self.says(expected)}\n")
        client = connect(
            self.url, key_env=self.key_env, timeout=self.timeout,
            who="The endpoint engine", extra="endpoint", option="--url URL",
        )  # fmt: skip
        call = _Call(client, decoding, seed)
        waiting, running = iter(todo), set[Future[list[Generation]]]()
        said: dict[str, Counter[str]] = {}  # prompt id -> its answers
        trouble: Exception | None = None
        pool = ThreadPoolExecutor(max_workers=self.concurrency)
        try:
            while True:
                while trouble is None and len(running) < 2 * self.concurrency:
                    item = next(waiting, None)
                    if item is None:
                        break
                    running.add(pool.submit(self._answer_or_stop, call, item))
                if not running:
                    break
                done, running = wait(running, return_when=FIRST_COMPLETED)
                finished: list[Generation] = []
                for future in done:
                    try:
                        finished += future.result()
                    except LeakAtKError as error:
                        # What is in flight is paid for: wait for it; what has not started is not sent.
                        trouble = trouble or error
                        running = {other for other in running if not other.cancel()}
                for one in finished:
                    said.setdefault(one.prompt_id, Counter())[one.text] += 1
                if finished:
                    yield finished
        finally:
            call.stopping.set()
            client.close()
            pool.shutdown(wait=True, cancel_futures=True)
        if trouble is not None:
            raise trouble
        several = [answers for answers in said.values() if answers.total() >= _SEVERAL]
        if several and not decoding.greedy and all(len(answers) == 1 for answers in several):
            sys.stderr.write(
                f"endpoint: each of {len(several)} prompts got one and the same answer in all its samples. Unless "
                "the model is that sure, the server does not sample (it ignores the temperature, or repeats stored replies), "
                "and what it would leak to its users is not measured.\n"
            )
        if len(self.served) > 1:
            sys.stderr.write(
                f"endpoint: answers came from {', '.join(sorted(self.served))}: the model changed meanwhile.\n"
            )

    def check(self, prompts: Sequence[Prompt]) -> None:
        begun = next((prompt.id for prompt in prompts if prompt.question.begin), None)
        if self.chat and begun is not None:
            raise InputError(
                f"Prompt {begun!r} gives the words its answer is to begin with, and a chat endpoint cannot be made to go on "
                "from them; leave that probe out, or use --template plain where the server completes text."
            )

    def estimate(self, prompts: Sequence[Prompt], answers: int, decoding: Decoding) -> dict[str, float]:
        """Before anything is sent: tokens and US dollars (NaN: no price known) of `answers` answers to these prompts.

        Four characters a token, which suits English; every answer as long as the decoding allows.
        """
        fixed = self.source.template.system if self.chat else self.source.template.plain
        characters = sum(prompt.question.characters + len(fixed) for prompt in prompts) / max(1, len(prompts))
        tokens_in, tokens_out = answers * characters / 4, float(answers * decoding.max_new_tokens)
        dollars = self.limits.cost(tokens_in, tokens_out)
        return {"tokens_in": tokens_in, "most_tokens_out": tokens_out, "most_dollars": dollars}

    def says(self, expected: Mapping[str, float]) -> str:
        """About 1,200 tokens in and at most 5,000 out, at most about $0.01; stops at $5."""
        price = self.limits.price_and_caps(expected["most_dollars"])
        return (
            f"About {expected['tokens_in']:,.0f} tokens in and at most {expected['most_tokens_out']:,.0f} out, "
            f"at most: {price}."
        )

    def _answer_or_stop(self, call: _Call, item: _Ask) -> list[Generation]:
        try:
            return self._answer(call, item)
        except Exception:
            call.stopping.set()  # before another thread sends its next request
            raise

    def _answer(self, call: _Call, item: _Ask) -> list[Generation]:
        """The generations of one request, asked until it is answered or has failed `tries` times."""
        tries = 0
        while True:
            body = self._body(item, call.decoding, call.seed)
            # A token is at least one byte, so this reservation cannot be exceeded.
            most = self.limits.cost(len(str(body).encode("utf-8", "replace")) + 100, call.decoding.max_new_tokens)
            call.hold()
            if call.stopping.is_set():
                return []
            if not self.limits.take(most):
                raise RunError(
                    f"Stopped at {self.limits.reached}. What was answered is kept: run the same command again, with a "
                    "higher limit or none, to go on."
                )
            answer = self._ask(call, body, most)
            if not isinstance(answer, Failure):
                call.held = 0
                return self._generations(item, *answer, call.decoding.stop)
            if answer.code == "content_filter":
                # The deployment answers this question with nothing: what a user would see.
                return self._generations(item, "", "stop", ())
            if self._leave_out(answer, body, call):
                continue
            if answer.status in (400, 413, 422):
                raise ModelError(f"The endpoint does not take prompt {item.prompt.id!r}: {answer.what}")
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
                    f"The endpoint failed {self.tries} times for prompt {item.prompt.id!r}; the last problem: "
                    f"{answer.what}. What was answered is kept: run the same command again to go on."
                )

    def _ask(self, call: _Call, body: dict[str, Any], most: float) -> tuple[str, str] | Failure:
        create = call.client.chat.completions.create if self.chat else call.client.completions.create
        check = f"{self.key_env}, the model name {self.source.path!r} and --url {self.url or '(OpenAI)'}"
        return ask(lambda: create(**body), self._read, self.limits, most, check=check)

    def _body(self, item: _Ask, decoding: Decoding, seed: int) -> dict[str, Any]:
        """The request as the openai client takes it; what is no field of OpenAI's goes into extra_body."""
        template, question = self.source.template, item.prompt.question
        filters = decoding.filters()
        fields = {
            "temperature": filters["temperature"],
            "top_p": filters["top_p"],
            "stop": list(decoding.stop),
            "seed": sample_seed(seed, item.prompt.id, item.samples[0]),
        }
        extra = {
            "top_k": filters["top_k"],
            "min_p": filters["min_p"],
            "repetition_penalty": decoding.repetition_penalty,
        }
        limit = "max_completion_tokens" if "max_tokens" in self.refused else "max_tokens"
        body: dict[str, Any] = {"model": self.source.path, limit: decoding.max_new_tokens}
        body |= {name: value for name, value in self._taken(fields).items() if value != []}
        body["extra_body"] = self._taken(extra)
        if self.chat:
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

    def _read(self, completion: Any) -> tuple[str, str]:
        """(text, finish) of a completion; an error of any kind when it has another shape."""
        choice = completion.choices[0]
        text = choice.message.content or getattr(choice.message, "refusal", None) if self.chat else choice.text
        if not isinstance(text or "", str):
            raise TypeError("the text is no string")
        self.served.add(str(completion.model))
        return text or "", "length" if choice.finish_reason == "length" else "stop"

    def _generations(self, item: _Ask, text: str, finish: str, stop: Sequence[str]) -> list[Generation]:
        for end in stop:
            text = text.split(end, 1)[0]
        return [Generation(item.prompt.id, sample, text, (), math.nan, finish) for sample in item.samples]

    def _leave_out(self, failure: Failure, body: Mapping[str, Any], call: _Call) -> bool:
        """Whether the server refused fields that can be left out; InputError where that would change the answers."""
        sent = {**body, **body["extra_body"]}
        refused = failure.refuses({"max_tokens", "seed", *OFF} & sent.keys())
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
