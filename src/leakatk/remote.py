"""Asking an OpenAI-compatible server: one client, one count of what is sent and spent, one reading of what goes wrong.

Shared by the judge (a scorer) and the endpoint engine. Retries are the caller's: every request is counted here first.
"""

from __future__ import annotations

import math
import os
import random
import threading
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from typing import Any, TypeVar

from leakatk.errors import InputError, ModelError

T = TypeVar("T")

# US dollars per million tokens, in and out: OpenAI's list prices when this was written.
PRICES = {"gpt-4o-mini": (0.15, 0.60)}
LONGEST_WAIT = 60.0


@dataclass
class Limits:
    """Counts what is sent and spent, and says no before a limit is passed. Safe to share between threads."""

    max_requests: int = 0
    max_cost: float = 0.0
    price_in: float = math.nan
    price_out: float = math.nan
    requests: int = 0
    spent: float = 0.0
    reached: str = ""
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

    def price_and_caps(self, cost: float) -> str:
        """For an announcement: the price expected, and where it would stop."""
        price = "price unknown (give price_in, price_out)" if math.isnan(cost) else f"about ${cost:.2f}"
        caps = [f"{self.max_requests:,} requests"] if self.max_requests else []
        caps += [f"${self.max_cost:g}"] if self.max_cost else []
        return price + (f"; stops at {' or '.join(caps)}" if caps else "")


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a request brought nothing. status: of HTTP, 0 if none came.  code, param: as the server names them.
    retry_after: seconds the server asks to wait, NaN if it says nothing."""

    what: str
    status: int = 0
    code: str = ""
    param: str = ""
    retry_after: float = math.nan

    def refuses(self, names: Collection[str]) -> set[str]:
        """Which of these parameters the server does not take: named in `param`, or in words by servers that only talk."""
        if self.status not in (400, 422):
            return set()
        return {self.param} & set(names) or {
            name for name in names if f"'{name}'" in self.what or f" {name}" in self.what
        }


def connect(base_url: str, *, key_env: str, timeout: float, who: str, extra: str, option: str) -> Any:
    """An openai client. who, extra, option: words for the errors (the judge; judge; judge:base_url=URL)."""
    try:
        import openai
    except ImportError:
        raise ModelError(f"{who} needs the openai client: pip install 'leak-at-k[{extra}]'.") from None
    key = os.environ.get(key_env)
    if not key and not (base_url or os.environ.get("OPENAI_BASE_URL")):
        raise ModelError(f"{who} needs {key_env}, or {option} for your own server.")
    # A local server takes any key. Retries are ours, so that the limits count every request.
    return openai.OpenAI(api_key=key or "none", base_url=base_url or None, timeout=timeout, max_retries=0)


def ask(send: Callable[[], Any], read: Callable[[Any], T], limits: Limits, most: float, *, check: str) -> T | Failure:
    """One request: send it, read the completion, settle its cost. The caller has reserved `most` dollars with `take`.

    Any reply that `read` cannot make sense of is a Failure. ModelError when the key, the model or the address is
    refused; `check` says what to look at.
    """
    import openai

    try:
        completion = send()
        found, usage = read(completion), completion.usage
        cost = most if usage is None else limits.cost(usage.prompt_tokens, usage.completion_tokens)
    except (openai.AuthenticationError, openai.PermissionDeniedError, openai.NotFoundError) as error:
        raise ModelError(f"The endpoint refused ({error.status_code}): check {check}.") from error
    except openai.APIStatusError as error:
        limits.settle(most, 0.0)
        return Failure(
            # Servers that follow OpenAI's errors loosely say what is wrong in a body of their own.
            what=f"HTTP {error.status_code}: {printable(error.message if error.param or error.code else _body(error))}",
            status=error.status_code,
            code=str(error.code or ""),
            param=str(error.param or ""),
            retry_after=_seconds(error.response.headers.get("retry-after")),
        )
    except (openai.APIError, ValueError, TypeError, IndexError, AttributeError) as error:
        # No connection, time-out, a body cut short or of another shape. It may have been paid for: keep the reservation.
        return Failure(type(error).__name__)
    limits.settle(most, cost)
    return found


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


def _seconds(retry_after: str | None) -> float:
    try:
        return float(retry_after or "")
    except ValueError:
        return math.nan
