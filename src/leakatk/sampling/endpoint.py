"""Endpoint engine, a deployed model behind an OpenAI-compatible server: a black-box audit, from what the server answers alone.

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
import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from leakatk.errors import InputError, LeakAtKError, ModelError, RunError
from leakatk.models.load import ModelSource
from leakatk.prompts import Generation, Prompt, Query
from leakatk.remote.client import Limits, shown
from leakatk.remote.providers import Service, headers_from
from leakatk.remote.replies import Said
from leakatk.sampling import served
from leakatk.sampling.asking import Asker, Call
from leakatk.sampling.base import Request, draws
from leakatk.sampling.decoding import Decoding
from leakatk.sampling.history import History
from leakatk.sampling.random_streams import sample_seed

if TYPE_CHECKING:
    from leakatk.runs.store import Run

_SEVERAL = 4  # samples of a prompt that should not all be the same answer


@dataclass(frozen=True, slots=True)
class _Ask:
    """One request: a prompt, and the samples its answer is for (all of them when greedy, else one)."""

    prompt: Prompt
    samples: tuple[int, ...]


class EndpointSampler:
    """Samples a model that is deployed elsewhere; the model is its name on the server.

    url: base URL, such as http://localhost:8000/v1; "" means the variable of the api, such as OPENAI_BASE_URL, else its own
    address.  api: openai (and all that speak its protocol), azure (with api_version), anthropic or bedrock (with region).
    headers: further ones, "NAME=VALUE;NAME=env:VARIABLE".  key_env: environment variable with the key; "" is that of the api.  chat template "auto" or "chat": chat completions (the server applies its template); "plain":
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
        key_env: str = "",
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
        api: str = "openai",
        api_version: str = "",
        region: str = "",
        headers: str | Mapping[str, str] = "",
    ) -> None:
        for option, value in (("concurrency", concurrency), ("tries", tries), ("timeout", timeout)):
            if not value > 0:
                raise InputError(f"Engine option endpoint:{option} must be above 0, got {value}.")
        limits = Limits(max_requests, max_cost, price_in, price_out).priced_for(source.path)
        self.service = Service(api, url, key_env, api_version, region, headers_from(headers))
        url = self.service.address
        self.asker = Asker(source, self.service, concurrency, tries, timeout, backoff, limits)
        if self.service.provider.chats and not self.asker.chat:
            raise InputError(f"The API of {api} takes chats alone; leave out --template plain.")
        self.source, self.url, self.concurrency, self.chat = source, url, concurrency, self.asker.chat
        self.limits, self.refused = limits, self.asker.refused
        self.served: set[str] = set()  # what the server called the model that answered
        self.trial, self.accept_ignored, self.accept_changed = trial, accept_ignored_fields, accept_changed_server
        self.record: served.Record | None = None  # the server as it is in this session, once it was asked
        self._history = History()
        self._notes: dict[str, None] = {}
        self._kept: tuple[served.Record, Path] | None = (
            None  # the record of the run that is being sampled, and its place
        )

    def describe(self) -> dict[str, Any]:
        place = urlsplit(self.url)
        where = (
            f"{place.hostname}{f':{place.port}' if place.port else ''}{place.path}" if self.url else self.service.region
        )
        by = {"api": self.service.api} if self.service.api != "openai" else {}
        template = self.source.template
        return {
            "engine": self.name,
            "model": self.source.path,
            # Without a key or password that may stand in the URL.
            "fingerprint": f"{self.source.path} at {where}",
            **by,
            "weights_sha256": "unknown",
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
        call = Call(self.asker.connect())
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
            sys.stderr.write(f"endpoint: {self.source.path}, so far in this session: {self.limits.said()}.\n")
            if self._kept:
                self._kept[0].write(self._kept[1])
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
        begun = next((prompt.id for prompt in prompts if prompt.query.begin), None)
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
        characters = sum(prompt.query.characters + len(fixed) for prompt in prompts) / max(1, len(prompts))
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
        return [*self._history.says(), *self._notes]

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
        self._history.add(run, n, lacking)
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
        if before and self.record and not (self.record.models or self.record.greedy or self.record.seeded):
            self._say(
                "Whether the server is still the one that the samples come from cannot be said: it takes no such request."
            )
        changed = before.changes(self.record) if before and self.record else []
        if changed and not self.accept_changed:
            raise RunError(
                f"The server at {shown(self.url)} is not as it was when the samples in {run.path} were drawn: "
                f"{'; '.join(changed)}. --fresh asks anew and keeps the old samples beside; --accept-changed-server takes "
                "both as one."
            )
        if before and (all_changes := [*before.changed, *changed]):
            self._say(f"The server at {shown(self.url)} changed while {run.path} was drawn: {'; '.join(all_changes)}.")
        self._kept = None
        if lacking and self.record:
            self._obeys(self.record, decoding)
            record = self.record.beside(before or served.Record(), changed)
            record.write(run.path)
            self._kept = record, run.path

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
                record.question = run.prompts[0].question
                served.ask_canary(attempt, record)
            if "seed" not in record.fields:
                served.try_fields(attempt, record, decoding)
            elif filters and "top_p" not in record.fields:
                served.try_top_p(attempt, record)
            # Only now: the canary must be asked in the same way each time.
            self.record, self.asker.spelling = record, record.spelling
            self._say(f"The server at {shown(self.url)} {record.says()} (tried by extremes before sampling).")

    @contextmanager
    def _trying(self) -> Iterator[tuple[Call, served.Record]]:
        call = Call(self.asker.connect())
        try:
            yield call, self.record or served.Record()
        finally:
            call.server.close()

    def _try(self, call: Call, record: served.Record, question: str, values: Mapping[str, Any]) -> Said | None:
        """The answer to one short request; None where the server refuses what is tried."""
        plain = {
            "temperature": 1.0, "top_p": 1.0, "top_k": 0, "min_p": 0.0, served.SPELLINGS[0]: 1.0, "stop": [],
            "seed": served.SEEDS[0],
        }  # fmt: skip

        def body() -> dict[str, Any]:
            return self.asker.body(Query(question), {**plain, **values}, served.TOKENS)

        found = self.asker.reach(call, body, served.TOKENS, "a trial question", tried=values.keys() - {"seed"})
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

    def _answer_or_stop(self, call: Call, item: _Ask, decoding: Decoding, seed: int) -> list[Generation]:
        """The generations of one request."""
        values = {
            **decoding.filters(), served.SPELLINGS[0]: decoding.repetition_penalty, "stop": list(decoding.stop),
            "seed": sample_seed(seed, item.prompt.id, item.samples[0]),
        }  # fmt: skip
        most, what = decoding.max_new_tokens, f"prompt {item.prompt.id!r}"
        try:
            said = self.asker.reach(call, lambda: self.asker.body(item.prompt.query, values, most), most, what)
        except Exception:
            call.stopping.set()  # before another thread sends its next request
            raise
        if said is None:
            return []
        if said.model:
            self.served.add(said.model)
        if self._kept:
            self._kept[0].meet(said, call.server)
        return self._generations(item, said, decoding.stop)

    def _generations(self, item: _Ask, said: Said, stop: Sequence[str]) -> list[Generation]:
        text = said.text
        for end in stop:
            text = text.split(end, 1)[0]
        return [
            Generation(item.prompt.id, sample, text, (), math.nan, said.finish, said.reasoning)
            for sample in item.samples
        ]
