"""Client of OpenAI-compatible servers: one client, one count of what is sent and spent, one reading of what goes wrong.

Shared by the judge (a scorer) and the endpoint engine. Retries are the caller's: every request is counted here first.
The key and whatever else in the address is secret are masked in all that a server says before anything else sees it.
"""

from __future__ import annotations

import math
import os
import random
import threading
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from leakatk.errors import InputError, ModelError, first_line
from leakatk.remote.replies import Said, parse, said
from leakatk.remote.transport import BadReplyError, bounded_client

# US dollars per million tokens, in and out: OpenAI's list prices when this was written.
PRICES = {"gpt-4o-mini": (0.15, 0.60)}
LONGEST_WAIT = 60.0
OPENAI = "https://api.openai.com/v1"
MASK = "[key]"
_SHORTEST_SECRET = 6  # a word like "none" or "test" stands in for a key of servers that take any
PATIENCE = 2  # times that a request may fail as at a wrong address or a dead server, before there was any answer


@dataclass
class Limits:
    """Counts what is sent and spent, and says no before a limit is passed. Safe to share between threads."""

    max_requests: int = 0
    """Most requests that are sent; 0 is no limit."""
    max_cost: float = 0.0
    """Most US dollars that are spent; 0 is no limit."""
    price_in: float = math.nan
    """US dollars per million tokens asked; NaN where unknown."""
    price_out: float = math.nan
    """US dollars per million tokens answered; NaN where unknown."""
    requests: int = 0
    """Requests sent so far."""
    spent: float = 0.0
    """US dollars reserved or spent so far."""
    tokens_in: float = 0.0
    """Tokens asked so far, as servers counted them."""
    tokens_out: float = 0.0
    """Tokens answered so far, as servers counted them."""
    uncounted: int = 0
    """Answers whose tokens no server counted."""
    reached: str = ""
    """The limit that was reached, in words; "" while none was."""
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def priced_for(self, model: str) -> Limits:
        """Fill in the model's price where it is known; a cost limit without a price is an InputError."""
        known = PRICES.get(model, (math.nan, math.nan))
        self.price_in = known[0] if math.isnan(self.price_in) else self.price_in
        self.price_out = known[1] if math.isnan(self.price_out) else self.price_out
        if self.max_cost and math.isnan(self.price_in + self.price_out):
            raise InputError(
                f"max_cost needs the price of {model!r}: give price_in and price_out in US dollars per million tokens."
            )
        return self

    def cost(self, tokens_in: float, tokens_out: float) -> float:
        """US dollars; NaN when the price is not known."""
        return (tokens_in * self.price_in + tokens_out * self.price_out) / 1e6

    def take(self, cost: float) -> bool:
        """Reserve one request of at most this cost; False when that would pass a limit."""
        with self._lock:
            if self.max_requests and self.requests >= self.max_requests:
                self.reached = f"the limit of {self.max_requests} requests"
            elif self.max_cost and self.spent + cost > self.max_cost:
                self.reached = f"the limit of ${self.max_cost:g}"
            else:
                self.requests += 1
                self.spent += 0.0 if math.isnan(cost) else cost
                return True
            return False

    def settle(self, reserved: float, actual: float) -> None:
        """Replace a reservation by what the request did cost."""
        with self._lock:
            self.spent += 0.0 if math.isnan(reserved) else actual - reserved

    def give_back(self, cost: float) -> None:
        """Take back a reservation of a request that was not sent."""
        with self._lock:
            self.requests -= 1
            self.spent -= 0.0 if math.isnan(cost) else cost

    def count(self, reserved: float, tokens_in: float, tokens_out: float) -> None:
        """Settle an answer by the tokens that the server counted; NaN where it did not: the reservation then stays."""
        known = not math.isnan(tokens_in + tokens_out)
        with self._lock:
            self.tokens_in += tokens_in if known else 0.0
            self.tokens_out += tokens_out if known else 0.0
            self.uncounted += not known
        self.settle(reserved, self.cost(tokens_in, tokens_out) if known else reserved)

    def said(self) -> str:
        """What it took, afterwards: "1,200 requests, 24,000 tokens in and 9,100 out, $0.01"."""
        tokens = f"{self.tokens_in:,.0f} tokens in and {self.tokens_out:,.0f} out"
        tokens += f" (the server did not count those of {self.uncounted:,} answers)" if self.uncounted else ""
        price = math.isnan(self.price_in + self.price_out)
        cost = "price unknown" if price else f"{'at most ' if self.uncounted else ''}{dollars(self.spent)}"
        return f"{self.requests:,} requests, {tokens}, {cost}"

    def price_and_caps(self, cost: float) -> str:
        """For an announcement: the price expected, and where it would stop."""
        price = "price unknown (give price_in, price_out)" if math.isnan(cost) else f"about {dollars(cost)}"
        caps = [f"{self.max_requests:,} requests"] if self.max_requests else []
        caps += [f"${self.max_cost:g}"] if self.max_cost else []
        return price + (f"; stops at {' or '.join(caps)}" if caps else "")


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a request brought nothing. what: the end of a sentence.  status: of HTTP, 0 if none came.  code, param: as the
    server names them.  retry_after: seconds the server asks to wait, NaN if it says nothing.  foreign: as a dead server, or
    one that does not speak this protocol, would fail."""

    what: str
    status: int = 0
    code: str = ""
    param: str = ""
    retry_after: float = math.nan
    foreign: bool = False

    def refuses(self, names: Collection[str]) -> set[str]:
        """Which of these parameters the server does not take: named in `param`, or in words by servers that only talk."""
        if self.status not in (400, 422):
            return set()
        return {self.param} & set(names) or {
            name for name in names if f"'{name}'" in self.what or f" {name}" in self.what
        }


@dataclass
class Server:
    """An address, and the openai client that asks there. url: as it may be shown.  secrets: masked in all it says.
    headers: of its last answer, in lower case.  check: for errors, what to look at when it refuses.  api: whose protocol it
    speaks (`leakatk.remote.providers`)."""

    client: Any
    url: str
    secrets: tuple[str, ...]
    check: str
    headers: dict[str, str] = field(default_factory=dict)
    answered: bool = False  # at least once, as it should
    api: str = "openai"

    def mask(self, value: Any) -> Any:
        """A value as the server gave it, the secrets hidden."""
        if isinstance(value, str):
            for secret in self.secrets:
                value = value.replace(secret, MASK)
            return value
        if isinstance(value, dict):
            return {self.mask(name): self.mask(item) for name, item in value.items()}
        return [self.mask(item) for item in value] if isinstance(value, list) else value

    def hopeless(self, failure: Failure, tries: int) -> bool:
        """Whether to give up on a request that has failed `tries` times: nothing was ever answered, and this is how a dead
        server, or one of another kind, fails."""
        return not self.answered and failure.foreign and tries >= PATIENCE

    def close(self) -> None:
        self.client.close()


def dollars(amount: float) -> str:
    """$1.23; below ten cents with four decimals, $0.0012."""
    return f"${amount:.{2 if amount >= 0.1 else 4}f}"


def shown(url: str) -> str:
    """An address without user, password and query, which may hold a key."""
    parts = urlsplit(url or OPENAI)
    host = f"[{parts.hostname}]" if ":" in (parts.hostname or "") else parts.hostname
    return f"{parts.scheme}://{host}{f':{parts.port}' if parts.port else ''}{parts.path}"


def hidden_in(url: str, *others: str) -> tuple[str, ...]:
    """What must not be told: the secret parts of an address, and the others, longest first."""
    parts = urlsplit(url)
    found = {*others, parts.password or "", *(value for _, value in parse_qsl(parts.query))}
    return tuple(sorted({text for text in found if len(text) >= _SHORTEST_SECRET}, key=len, reverse=True))


def connect(
    base_url: str, *, key_env: str, timeout: float, who: str, extra: str, option: str, model: str,
    headers: Mapping[str, str] | None = None, azure: str = "",
) -> Server:  # fmt: skip
    """A server to ask. who, extra, option: words for the errors (the judge; judge; judge:base_url=URL).

    headers: further ones of each request.  azure: the version of Azure's API, "" for OpenAI's protocol.
    """
    try:
        import openai
    except ImportError:
        raise ModelError(f"{who} needs the openai client: pip install 'leak-at-k[{extra}]'.") from None
    key, base_url = os.environ.get(key_env, "").strip(), base_url or os.environ.get("OPENAI_BASE_URL", "")
    if any(not "!" <= character <= "~" for character in key):  # no header can hold it; its error would quote the key
        raise InputError(f"{key_env} holds a space, a line break or another character that no key has; set it again.")
    if not key and not base_url:
        raise ModelError(f"{who} needs {key_env}, or {option} for your own server.")
    try:
        secrets = hidden_in(base_url or OPENAI, key, *(headers or {}).values())
        url = shown(base_url)
    except ValueError as error:
        raise InputError(f"{option}: not an address that can be asked ({first_line(error)}).") from None
    # A local server takes any key. Retries are ours, so that the limits count every request.
    shared = {"api_key": key or "none", "max_retries": 0, "http_client": bounded_client(openai, timeout)}
    shared |= {"default_headers": dict(headers)} if headers else {}
    if azure:
        client = openai.AzureOpenAI(azure_endpoint=base_url, api_version=azure, **shared)
    else:
        client = openai.OpenAI(base_url=base_url or None, **shared)
    return Server(client, url, secrets, f"{key_env}, the model name {model!r} and {option.replace('URL', url)}")


def ask(server: Server, body: Mapping[str, Any], limits: Limits, most: float, *, chat: bool = True) -> Said | Failure:
    """One request: send it, read the completion, settle its cost. The caller has reserved `most` dollars with `take`.

    A reply that makes no sense is a Failure. ModelError when the key, the model or the address is refused, or the server
    sends the prompt elsewhere.
    """
    import openai

    of = server.client.chat.completions if chat else server.client.completions
    try:
        raw = of.with_raw_response.create(**body)
        server.headers = {str(name).lower(): server.mask(str(value)) for name, value in raw.headers.items()}
        found = server.mask(parse(raw.content.decode("utf-8", "replace"), server.headers.get("content-type", "")))
        if found.get("error"):
            limits.settle(most, 0.0)
            return _told(found["error"])
        answer = said(found, chat=chat)
    except (openai.AuthenticationError, openai.PermissionDeniedError, openai.NotFoundError) as error:
        raise ModelError(f"The endpoint refused ({error.status_code}): check {server.check}.") from None
    except openai.APIStatusError as error:
        limits.settle(most, 0.0)
        return Failure(
            # Servers that follow OpenAI's errors loosely say what is wrong in a body of their own.
            what=f"HTTP {error.status_code}: {printable(server.mask(str(error.message) if error.param or error.code else _body(error)))}",
            status=error.status_code,
            code=server.mask(str(error.code or "")),
            param=server.mask(str(error.param or "")),
            retry_after=seconds_of(error.response.headers.get("retry-after")),
        )
    except (openai.APIError, BadReplyError, ValueError) as error:
        # No connection, time-out, a body cut short or of another shape. It may have been paid for: keep the reservation.
        cause = error if isinstance(error, BadReplyError) else error.__cause__ or error
        if isinstance(cause, BadReplyError):
            what = f"it {printable(server.mask(str(cause)))}"
            if cause.final:
                raise ModelError(f"The server at {server.url} cannot be used: {what}.") from None
        else:
            what = f"{type(error).__name__} ({printable(server.mask(first_line(cause)))})"
        return Failure(what, foreign=True)
    server.answered = True
    limits.count(most, *answer.tokens)
    return answer


def _told(error: Any) -> Failure:
    """An error that came with status 200: {"error": {"message", "code"}}, or a text."""
    error = error if isinstance(error, dict) else {"message": error}
    code = error.get("code")
    status = int(code) if str(code).isdecimal() and len(str(code)) == 3 else 0
    what = f"it answers with an error: {printable(error.get('message') or error)}"
    return Failure(what, status, str(code or ""), str(error.get("param") or ""), foreign=status < 500 and status != 429)


def _body(error: Any) -> str:
    try:
        return f"{error.message} {error.response.text}"
    except (RuntimeError, ValueError):  # a body that was cut short, or is no text
        return str(error.message)


def pause(tries: int, failure: Failure, first: float) -> float:
    """Seconds to wait after failure number `tries` (from 0): what the server asks for if it says, else `first` doubled
    each time, with jitter, so that threads do not return together."""
    seconds = failure.retry_after
    if math.isnan(seconds):
        seconds = first * 2**tries * (0.5 + random.random() / 2)
    return min(max(seconds, 0.0), LONGEST_WAIT)


def printable(text: object, most: int = 200) -> str:
    """A server's own words, fit for a terminal."""
    return "".join(c if c.isprintable() else " " for c in str(text))[:most]


def seconds_of(retry_after: str | None) -> float:
    """Of a header; NaN where it is none, or says a date."""
    try:
        return float(retry_after or "")
    except ValueError:
        return math.nan
