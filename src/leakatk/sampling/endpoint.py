"""A deployed model behind an OpenAI-compatible server: a black-box audit, from what the server answers alone.

One request a sample, with a seed of its own where the server takes one. No log-probabilities (the servers' are not those
of the decoding distribution), so bounds and forecasts rest on counts. Every field of the decoding is sent, also the ones
that are off: a server's own defaults (top_k 50 ...) would change the distribution unseen. A field that the server does
not take is left out if it is off, and an error otherwise. Whether the server heeds what it takes is tried before sampling
(`served.py`), and whether it is still the same when a run goes on.

Failures are asked again with growing waits; a rate limit holds all requests back; a server that never answered is given up
after two of its failures. Nothing that was answered is asked twice: a run resumes at (prompt, sample).
"""

from __future__ import annotations

import math
import os
import random
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from leakatk.data import Asked, Generation, Prompt
from leakatk.errors import InputError, LeakAtKError, ModelError, RunError
from leakatk.models import ModelSource
from leakatk.remote import OPENAI, Failure, Limits, Server, ask, connect, pause, shown
from leakatk.replies import Said
from leakatk.sampling import served
from leakatk.sampling.base import Request, draws
from leakatk.sampling.decoding import Decoding
from leakatk.sampling.streams import sample_seed
from leakatk.scorers.text import well_formed

if TYPE_CHECKING:
    from leakatk.runs.store import Run

# The value of each field that changes nothing: a server that refuses the field may do without it.
OFF: dict[str, Any] = {
    "temperature": 1.0,
    "top_p": 1.0,
    "top_k": 0,
    "min_p": 0.0,
    **dict.fromkeys(served.SPELLINGS, 1.0),
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

    server: Server
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
    answer, in all.  trial: before sampling, try which fields the server obeys, and whether it is the one that the samples so
    far come from.  accept_ignored_fields, accept_changed_server: go on where it does not obey, or is another.  max_requests, max_cost (US dollars): nothing is sent beyond them in one go; 0 is no limit.  price_in,
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
        trial: bool = True,
        accept_ignored_fields: bool = False,
        accept_changed_server: bool = False,
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
        self.trial, self.accept_ignored, self.accept_changed = trial, accept_ignored_fields, accept_changed_server
        self.record: served.Record | None = None  # the server as it is in this session, once it was asked
        self._counts = served.Counts()
        self._notes: dict[str, None] = {}
        self._keep: Callable[[], None] = lambda: None  # the record of the run that is being sampled

    def describe(self) -> dict[str, Any]:
        place = urlsplit(self.url or OPENAI)
        template = self.source.template
        return {
            "engine": self.name,
            "model": self.source.path,
            # Without a key or password that may stand in the URL.
            "fingerprint": f"{self.source.path} at {place.hostname}{f':{place.port}' if place.port else ''}{place.path}",
            "template": {
                "kind": "chat" if self.chat else "plain",
                "system": template.system,
                "plain": template.plain,
                **({"args": dict(template.args)} if template.args else {}),
            },
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
        expected = self.estimate([item.prompt for item in todo], len(todo), decoding, trial=False)
        sys.stderr.write(f"endpoint: {self.source.path}, {len(todo):,} requests. {self.says(expected)}\n")
        call = _Call(self._connect())
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
                    running.add(pool.submit(self._answer_or_stop, call, item, decoding, seed))
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
            call.server.close()
            pool.shutdown(wait=True, cancel_futures=True)
            self._keep()
        if trouble is not None:
            raise trouble
        several = [answers for answers in said.values() if answers.total() >= _SEVERAL]
        if several and not decoding.greedy and all(len(answers) == 1 for answers in several):
            self._tell(
                f"each of {len(several)} prompts got one and the same answer in all its samples. Unless the model is that "
                "sure, the server does not sample (it ignores the temperature, or repeats stored replies), and what it would "
                "leak to its users is not measured."
            )
        if len(self.served) > 1:
            self._tell(f"answers came from {', '.join(sorted(self.served))}: the model changed meanwhile.")

    def check(self, prompts: Sequence[Prompt]) -> None:
        begun = next((prompt.id for prompt in prompts if prompt.question.begin), None)
        if self.chat and begun is not None:
            raise InputError(
                f"Prompt {begun!r} gives the words its answer is to begin with, and a chat endpoint cannot be made to go on "
                "from them; leave that probe out, or use --template plain where the server completes text."
            )

    def estimate(
        self, prompts: Sequence[Prompt], answers: int, decoding: Decoding, *, trial: bool = True
    ) -> dict[str, float]:
        """Before anything is sent: tokens and US dollars (NaN: no price known) of `answers` answers to these prompts.

        Four characters a token, which suits English; every answer as long as the decoding allows. trial: with the requests
        that try the server.
        """
        fixed = self.source.template.system if self.chat else self.source.template.plain
        characters = sum(prompt.question.characters + len(fixed) for prompt in prompts) / max(1, len(prompts))
        trials = served.most_requests(decoding) if trial and self.trial else 0
        tokens_in = answers * characters / 4 + trials * (characters + len(fixed)) / 4
        tokens_out = float(answers * decoding.max_new_tokens + trials * served.TOKENS)
        dollars = self.limits.cost(tokens_in, tokens_out)
        return {"tokens_in": tokens_in, "most_tokens_out": tokens_out, "most_dollars": dollars, "most_trials": trials}

    def says(self, expected: Mapping[str, float]) -> str:
        """About 1,200 tokens in and at most 5,000 out, at most about $0.01; stops at $5."""
        price = self.limits.price_and_caps(expected["most_dollars"])
        trials = (
            f"With at most {expected['most_trials']:.0f} short requests before, that try which fields the server obeys: about"
            if expected["most_trials"]
            else "About"
        )
        return (
            f"{trials} {expected['tokens_in']:,.0f} tokens in and at most {expected['most_tokens_out']:,.0f} out, "
            f"at most: {price}."
        )

    # -- before sampling -------------------------------------------------------------------------------------------

    @property
    def notes(self) -> list[str]:
        """What a person should know: samples that were there before, what the server does not obey, how it changed."""
        return [*self._counts.says(), *self._notes]

    def _say(self, note: str) -> None:
        self._notes[note] = None

    def _tell(self, note: str) -> None:
        """Say it at once, and keep it."""
        sys.stderr.write(f"endpoint: {note}\n")
        self._say(note[0].upper() + note[1:])

    def prepare(self, run: Run, decoding: Decoding, *, n: int) -> None:
        """Before samples are drawn into a run: does the server obey, and is it the one that those there come from?

        InputError when it ignores a filter or a penalty that is asked for, RunError when it is another one. In a run that is
        whole already the server is asked only whether it is the same; one that does not answer is noted.
        """
        self.check(run.prompts)
        lacking = sum(len(samples) for _, samples in run.missing(n))
        here = n * len(run.prompts) - lacking
        self._counts.add(run.path, here, lacking, run.manifest.created)
        before = served.read(run.path)
        if self.trial and (lacking or before):
            try:
                self._look(run, before, decoding)
            except (ModelError, RunError) as error:
                if lacking:
                    raise
                self._say(f"Whether the server is still the one that the samples come from cannot be said: {error}")
        if here and before is None:
            self._say(
                f"The samples in {run.path} were drawn when nothing was kept of the server; it may have changed since."
            )
        if before and self.record and (changed := before.changes(self.record)):
            told = f"The server at {shown(self.url)} is not as it was when the samples in {run.path} were drawn: {'; '.join(changed)}."
            if not self.accept_changed:
                raise RunError(
                    f"{told} --fresh asks anew and keeps the old samples beside; --accept-changed-server takes both as one."
                )
            self._say(told)
        if lacking and self.record:
            self._obeys(self.record, decoding)
            if before:
                self.record.merge(before)
            self.record.write(run.path)
            kept, path = self.record, run.path
            self._keep = lambda: kept.write(path)
        else:
            self._keep = lambda: None

    def _look(self, run: Run, before: served.Record | None, decoding: Decoding) -> None:
        """Ask the server, once in a session, what `record` holds."""
        filters = decoding.filters()["top_p"] < 1
        known = self.record.fields if self.record else before.fields if before else {}
        if self.record and "seed" in known and (not filters or "top_p" in known):
            return
        with self._trying() as (call, record):

            def attempt(question: str, values: Mapping[str, Any]) -> Said | None:
                return self._try(call, record, question, values)

            if before is not None and not self.record:
                record.fields, record.spelling = dict(before.fields), before.spelling
                served.ask_canary(attempt, record, before)
            elif not self.record:
                record.question = run.prompts[0].text
                served.ask_canary(attempt, record)
            self.record = record
            if "seed" not in record.fields:
                served.try_fields(attempt, record, decoding)
            elif filters and "top_p" not in record.fields:
                served.try_top_p(attempt, record)
            self._say(f"The server at {shown(self.url)} {record.says()} (tried by extremes before sampling).")

    @contextmanager
    def _trying(self) -> Iterator[tuple[_Call, served.Record]]:
        call = _Call(self._connect())
        try:
            yield call, self.record or served.Record()
        finally:
            call.server.close()

    def _try(self, call: _Call, record: served.Record, question: str, values: Mapping[str, Any]) -> Said | None:
        """The answer to one short request; None where the server refuses what is tried."""
        plain = {"temperature": 1.0, "top_p": 1.0, "top_k": 0, "min_p": 0.0, "stop": [], "seed": served.SEEDS[0]}

        def body() -> dict[str, Any]:
            return self._body(Asked(question), {**plain, served.SPELLINGS[0]: 1.0, **values}, served.TOKENS)

        found = self._reach(call, body, served.TOKENS, "a trial question", tried=values.keys() - {"seed"})
        if found is not None:
            record.meet(found, call.server)
        return found

    def _obeys(self, record: served.Record, decoding: Decoding) -> None:
        ignored, unknown, own = served.unheeded(record, decoding)
        if ignored:
            told = f"The server ignores {', '.join(ignored)}, tried by extremes, and {decoding.label} is asked for"
            if not self.accept_ignored:
                raise InputError(
                    f"{told}; leave that out, serve the model otherwise, or use --accept-ignored-fields: the samples are then "
                    "drawn in the server's own way."
                )
            self._say(f"{told}: the samples are drawn in the server's own way.")
        if unknown:
            self._say(
                f"Whether the server obeys {', '.join(unknown)} cannot be said, and {decoding.label} is asked for."
            )
        if own:
            self._say(
                f"The server ignores {', '.join(own)}: a value of its own (top-k 40, a penalty of 1.1) may be in force, and the "
                f"samples are then not those of {decoding.label}."
            )
        if record.fields.get("seed") == served.UNKNOWN:
            self._say(
                "One question got one answer under several seeds at a high temperature: the server keeps its answers, does not "
                "sample, or the model is very sure; what it obeys cannot be told."
            )
        elif record.fields.get("seed") == served.IGNORED:
            self._say("The server does not keep to a seed: the same command would draw other samples.")

    # -- asking ----------------------------------------------------------------------------------------------------

    def _connect(self) -> Server:
        return connect(
            self.url, key_env=self.key_env, timeout=self.timeout,
            who="The endpoint engine", extra="endpoint", option="--url URL", model=self.source.path,
        )  # fmt: skip

    def _answer_or_stop(self, call: _Call, item: _Ask, decoding: Decoding, seed: int) -> list[Generation]:
        """The generations of one request."""
        values = {
            **decoding.filters(), served.SPELLINGS[0]: decoding.repetition_penalty, "stop": list(decoding.stop),
            "seed": sample_seed(seed, item.prompt.id, item.samples[0]),
        }  # fmt: skip
        try:
            said = self._reach(
                call, lambda: self._body(item.prompt.question, values, decoding.max_new_tokens), decoding.max_new_tokens,
                f"prompt {item.prompt.id!r}",
            )  # fmt: skip
        except Exception:
            call.stopping.set()  # before another thread sends its next request
            raise
        return [] if said is None else self._generations(item, said, decoding.stop)

    def _reach(
        self, call: _Call, body_of: Callable[[], dict[str, Any]], most_out: int, what: str, tried: Collection[str] = ()
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
            answer = ask(call.server, body, self.limits, most, chat=self.chat)
            if not isinstance(answer, Failure):
                call.held = 0
                if answer.model:
                    self.served.add(answer.model)
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
            if call.server.hopeless(answer):
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

    def _body(self, question: Asked, values: Mapping[str, Any], most_out: int) -> dict[str, Any]:
        """The request as the openai client takes it; what is no field of OpenAI's goes into extra_body."""
        template = self.source.template
        own = {name: values[name] for name in ("temperature", "top_p", "stop", "seed")}
        extra = {name: value for name, value in values.items() if name not in own}
        penalty = self.record.spelling if self.record else served.SPELLINGS[0]
        if penalty != served.SPELLINGS[0] and penalty not in extra:
            extra[penalty] = extra.pop(served.SPELLINGS[0])
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

    def _generations(self, item: _Ask, said: Said, stop: Sequence[str]) -> list[Generation]:
        text = said.text
        for end in stop:
            text = text.split(end, 1)[0]
        return [
            Generation(item.prompt.id, sample, text, (), math.nan, said.finish, said.reasoning)
            for sample in item.samples
        ]

    def _leave_out(self, failure: Failure, body: Mapping[str, Any], call: _Call, tried: Collection[str]) -> bool:
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
