"""Backends of a guarded server: a model in this process, or another server that it stands before.

A backend answers a checked request. What the guard does not flag is answered as without it: by the engine, or by the other
server, whose answer goes back as it came.
"""

from __future__ import annotations

import copy
import hashlib
import queue
import secrets
import threading
from collections.abc import Iterator
from concurrent.futures import Future
from dataclasses import dataclass, field, replace
from typing import Any, Protocol
from urllib.parse import urlsplit

from leakatk.errors import InputError, LeakAtKError, ModelError
from leakatk.guards.base import Guard, place_of
from leakatk.guards.sampler import GuardedSampler
from leakatk.guards.serving.protocol import DRAWING, MOST_TOKENS, Asked, RefusedError, Said, chunks, question_of, reply
from leakatk.models.template import Template
from leakatk.prompts import Generation, Prompt, Query
from leakatk.sampling.base import Request

MOST_TOGETHER = 64  # requests in one batch
_KEPT = 10_000  # prompts whose flags are remembered


@dataclass(frozen=True)
class Answer:
    """What goes back: a whole answer (`body`), or pieces of one (`parts`, server-sent events)."""

    status: int = 200
    body: Any = None
    parts: Iterator[str | bytes] | None = None


class Backend(Protocol):
    """model: its name.  passes_on: fields that are not known here go on.  template: of completions."""

    model: str
    passes_on: bool
    template: Template
    counts: Counts

    def answer(self, asked: Asked) -> Answer: ...

    def close(self) -> None: ...


@dataclass
class Counts:
    """Of a session: requests answered, those that the guard acted on, and those refused."""

    answered: int = 0
    flagged: int = 0
    refused: int = 0
    failed: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def add(self, **more: int) -> None:
        with self.lock:
            for name, value in more.items():
                setattr(self, name, getattr(self, name) + value)


def prompt_of(asked: Asked, id_: str, template: Template) -> Prompt:
    """As a guard sees it: the last message, or the question in a completion of the template's form."""
    if asked.chat:
        return Prompt(id_, asked.query.text, "", asked=asked.query)
    return Prompt(id_, question_of(asked.query.text, template), "")


class Local:
    """A guarded engine in this process. Requests that wait together, and ask for the same decoding, are drawn together.

    A request's samples depend on the model, the decoding, its seed and its messages alone, as everywhere in the library.
    """

    passes_on = False

    def __init__(self, sampler: GuardedSampler, model: str) -> None:
        self.sampler, self.model, self.counts = sampler, model, Counts()
        self.loaded = sampler.plain.loaded
        self.template = Template("plain", plain=self.loaded.template.plain)
        # A completion is put as it stands; the template's form is kept apart where it is one, so that a guard sees the question.
        self._plain = {
            form: under(sampler, Template("plain", plain=form)) for form in ("{question}", self.template.plain)
        }
        config = self.loaded.model.config.get_text_config()
        self.context = int(getattr(config, "max_position_embeddings", None) or MOST_TOKENS)
        self._tokenizing = threading.Lock()
        self._waiting: queue.Queue[Job | None] = queue.Queue()
        self._thread = threading.Thread(target=self._work, name="leakatk-serve", daemon=True)
        self._thread.start()

    def answer(self, asked: Asked) -> Answer:
        asked, tokens = self._fitting(asked)
        job = Job(asked)
        self._waiting.put(job)
        said = job.done.result()
        if asked.stream:
            return Answer(parts=chunks(asked, said, model=self.model))
        return Answer(body=reply(asked, said, model=self.model, prompt_tokens=tokens))

    def _fitting(self, asked: Asked) -> tuple[Asked, int]:
        """(the request with an answer that fits the model, tokens of its prompt). RefusedError (400) for one that does not fit."""
        template = self.loaded.template if asked.chat else self._plain["{question}"].plain.loaded.template
        with self._tokenizing:
            tokens = len(template.prompt_ids(self.loaded.tokenizer, asked.query))
        room, most = self.context - tokens, asked.decoding.max_new_tokens
        if room < 1 or (asked.limited and most > room):
            raise RefusedError(
                400, f"Prompt and answer have {tokens + most} tokens, and this model has room for {self.context}."
            )
        return replace(asked, decoding=replace(asked.decoding, max_new_tokens=min(most, room))), tokens

    def close(self) -> None:
        self._waiting.put(None)
        self._thread.join()

    # -- the thread that draws -------------------------------------------------------------------------------------

    def _work(self) -> None:
        while True:
            jobs = [self._waiting.get()]
            while len(jobs) < MOST_TOGETHER and not self._waiting.empty():
                jobs.append(self._waiting.get())
            groups: dict[Any, list[Job]] = {}
            for job in jobs:
                if job is not None:
                    groups.setdefault((self._form(job.asked), job.asked.decoding), []).append(job)
            for some in groups.values():
                self._draw(some)
            if None in jobs:
                return

    def _draw(self, jobs: list[Job]) -> None:
        try:
            found = self._drawn(jobs)
        except Exception as error:
            if len(jobs) > 1:  # one of them cannot be asked: the others can
                for job in jobs:
                    self._draw([job])
                return
            known = isinstance(error, LeakAtKError) and not isinstance(error, ModelError)
            jobs[0].done.set_exception(
                RefusedError(400, "The model cannot be asked this: it is too long, or not as the model takes it.")
                if known
                else error
            )
            return
        for job, said in zip(jobs, found, strict=True):
            job.done.set_result(said)

    def _drawn(self, jobs: list[Job]) -> list[list[Said]]:
        asked = jobs[0].asked
        engine = self._engine(asked)
        prompts = [self._prompt(job) for job in jobs]
        distinct = {prompt.id: prompt for prompt in prompts}
        most = {prompt.id: 0 for prompt in prompts}
        for prompt, job in zip(prompts, jobs, strict=True):
            most[prompt.id] = max(most[prompt.id], job.asked.n)
        flags = dict(zip(distinct, engine.flags(list(distinct.values())), strict=True))
        drawn: dict[tuple[str, int], Generation] = {}
        requests = [Request(prompt, range(most[id_])) for id_, prompt in distinct.items()]
        for batch in engine.sample(requests, asked.decoding, seed=0):
            drawn |= {(one.prompt_id, one.sample): one for one in batch}
        engine.forget_met(beyond=_KEPT)
        self.counts.add(answered=len(jobs), flagged=sum(bool(flags[prompt.id]) for prompt in prompts))
        return [
            [said_of(drawn[prompt.id, j], flagged=bool(flags[prompt.id])) for j in range(job.asked.n)]
            for prompt, job in zip(prompts, jobs, strict=True)
        ]

    def _prompt(self, job: Job) -> Prompt:
        """Its id carries the seed, so that requests with seeds of their own are drawn in one batch."""
        asked = job.asked
        mark = hashlib.sha256(repr((asked.chat, asked.query)).encode()).hexdigest()
        id_ = f"{job.seed} {mark}"
        if asked.chat:
            return Prompt(id_, asked.query.text, "", asked=asked.query)
        text = asked.query.text
        return Prompt(id_, text if self._form(asked) == "{question}" else question_of(text, self.template), "")

    def _form(self, asked: Asked) -> str:
        """The plain form in which a completion is put; "" for a chat."""
        if asked.chat:
            return ""
        text = asked.query.text
        whole = self.template.plain_text(Query(question_of(text, self.template)))
        return self.template.plain if whole == text.rstrip() else "{question}"

    def _engine(self, asked: Asked) -> GuardedSampler:
        form = self._form(asked)
        return self._plain[form] if form else self.sampler


@dataclass(eq=False)
class Job:
    asked: Asked
    done: Future[list[Said]] = field(default_factory=Future)
    seed: int = 0

    def __post_init__(self) -> None:
        self.seed = secrets.randbits(62) if self.asked.seed is None else self.asked.seed


def said_of(one: Generation, *, flagged: bool) -> Said:
    """What a model thought about a flagged prompt is not shown: a guard edits answers alone."""
    return Said(one.text, one.finish_reason, "" if flagged else one.reasoning, len(one.token_ids))


def under(sampler: GuardedSampler, template: Template) -> GuardedSampler:
    """The same guard over the same model, asked by another template."""
    changed = copy.copy(sampler)
    others = []
    for engine in (sampler.plain, sampler.acting):
        other = copy.copy(engine)
        other.loaded = replace(engine.loaded, template=template)
        others.append(other)
    changed.plain, changed.acting = others
    if sampler.acting is sampler.plain:
        changed.acting = changed.plain
    changed.start_over()
    return changed


class Upstream:
    """Another OpenAI-compatible server, with a guard that needs no weights before it.

    client: of `client_of`.  model, named: its name for clients, and on that server.  A request that is not flagged goes on as it came, and so does its answer.
    One that is goes on in the form that the guard gives it with `DRAWING` alone, and of the answer only its text comes back: echoes,
    log-probabilities and errors could quote what the guard has put there.
    """

    passes_on = True

    def __init__(
        self, client: Any, guard: Guard, model: str, template: Template | None = None, named: str = ""
    ) -> None:
        self.client, self.guard, self.model, self.counts = client, guard, model, Counts()
        self.named = named or model
        self.template = template or Template("plain")
        self.place = place_of(guard.action)
        self._lock = threading.Lock()

    def close(self) -> None:
        self.client.close()

    def answer(self, asked: Asked) -> Answer:
        prompt = prompt_of(asked, "served", self.template)
        with self._lock:
            flagged = bool(self.guard.detector.flags([prompt])[0])
        found = self._flagged(asked, prompt) if flagged else self._passed_on(asked)
        self.counts.add(answered=1, flagged=int(flagged))
        return found

    def _passed_on(self, asked: Asked) -> Answer:
        body = {**asked.body, "model": self.named}
        if not asked.stream:
            response = self._post(asked, body)
            return Answer(response.status_code, body=response.content)
        import httpx2

        request = self.client.build_request("POST", _path(asked), json={**body, "stream": True})
        try:
            response = self.client.send(request, stream=True)
        except httpx2.HTTPError:
            raise RefusedError(502, "The model's server does not answer.") from None
        if response.status_code != 200:
            content = response.read()
            response.close()
            return Answer(response.status_code, body=content)
        return Answer(parts=_streamed(response))

    def _post(self, asked: Asked, body: dict[str, Any]) -> Any:
        import httpx2

        try:
            response = self.client.post(_path(asked), json=body)
        except httpx2.HTTPError:
            raise RefusedError(502, "The model's server does not answer.") from None
        if 300 <= response.status_code < 400:
            raise RefusedError(502, "The model's server sends requests elsewhere.")
        return response

    def _flagged(self, asked: Asked, prompt: Prompt) -> Answer:
        action: Any = self.guard.action
        if self.place == "answer" and not action.asks:
            said, model = [Said(str(action.answer(prompt, "")))] * asked.n, self.model
        else:
            body: dict[str, Any] = {k: v for k, v in asked.body.items() if k in DRAWING}
            body["model"] = self.named
            with self._lock:
                put: Prompt = action.query(prompt) if self.place == "query" else prompt
            if asked.chat:
                shown = put.query if self.place == "query" else asked.query
                body["messages"] = Template("chat").messages(shown)
            else:
                body["prompt"] = self.template.plain_text(put.query) if self.place == "query" else asked.query.text
            response = self._post(asked, body)
            if response.status_code != 200:
                raise hidden(response)
            said, model = _texts(response, asked), self.model
            if self.place == "answer":
                said = [replace(one, text=str(action.answer(prompt, one.text))) for one in said]
        if asked.stream:
            return Answer(parts=chunks(asked, said, model=model))
        return Answer(body=reply(asked, said, model=model))


def client_of(url: str, key: str, timeout: float) -> Any:
    """An HTTP client of the server at this address. ModelError where its library is not installed."""
    try:
        import httpx2
    except ImportError:
        raise ModelError("A server behind a guard is asked with httpx2: pip install 'leak-at-k[serve]'.") from None
    try:
        if not urlsplit(url).hostname:
            raise ValueError(url)
        return httpx2.Client(
            base_url=url.rstrip("/") + "/",
            headers={"authorization": f"Bearer {key}"} if key else {},
            timeout=httpx2.Timeout(timeout, connect=min(timeout, 5.0)),
        )
    except (httpx2.InvalidURL, UnicodeError, ValueError):
        raise InputError("--upstream is no address that can be asked, or the key holds what no header can.") from None


def _path(asked: Asked) -> str:
    return "chat/completions" if asked.chat else "completions"


def _streamed(response: Any) -> Iterator[bytes]:
    try:
        yield from response.iter_raw()
    finally:
        response.close()


def hidden(response: Any) -> RefusedError:
    """What the server behind refuses, without its words: they may quote what the guard has put."""
    try:
        error = response.json()["error"]
        text, param = str(error.get("message", "")), str(error.get("param") or "")
    except (ValueError, KeyError, TypeError, AttributeError):
        text = param = ""
    named = sorted(name for name in DRAWING if name == param or f"'{name}'" in text)
    status = response.status_code
    if status >= 500 or status not in (400, 413, 422, 429):
        return RefusedError(502 if status >= 500 else status, f"The model's server answered {status}.")
    what = f" It does not take '{named[0]}'." if named else ""
    return RefusedError(status, f"The model's server answered {status}.{what}", named[0] if named else "")


def _texts(response: Any, asked: Asked) -> list[Said]:
    try:
        found = []
        for choice in response.json()["choices"]:
            text = choice["message"]["content"] if asked.chat else choice["text"]
            found.append(Said(str(text or ""), "length" if choice.get("finish_reason") == "length" else "stop"))
    except (ValueError, KeyError, TypeError, AttributeError):
        raise RefusedError(502, "The model's server answers in a form that is not understood.") from None
    return found
