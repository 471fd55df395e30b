"""Ask an OpenAI-compatible endpoint about many items: batched, concurrent, retried, capped, every reply kept."""

from __future__ import annotations

import json
import math
import os
import random
import sys
import threading
import time
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from leakatk.errors import InputError, ModelError
from leakatk.progress import Progress
from leakatk.scorers.text import well_formed

# US dollars per million tokens, in and out: OpenAI's list prices when this was written.
PRICES = {"gpt-4o-mini": (0.15, 0.60)}
LONGEST_WAIT = 60.0


@dataclass(frozen=True, slots=True)
class Ask:
    """One item to be judged; `key` identifies it in the store."""

    key: str
    prompt_id: str
    question: str
    reference: str
    candidate: str


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Which model, where, how it is told what to do, the score of each valid label, tokens allowed per item.

    refused: parameters that the server does not take (newer models refuse a temperature); filled as it says so.
    """

    model: str
    base_url: str
    timeout: float
    instructions: str
    labels: Mapping[int, float]
    reply_tokens: int = 24
    refused: set[str] = field(default_factory=set)

    def parameters(self, most_out: int) -> dict[str, Any]:
        limit = "max_completion_tokens" if "max_tokens" in self.refused else "max_tokens"
        return {limit: most_out, **({} if "temperature" in self.refused else {"temperature": 0})}


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


class Store:
    """Replies in a JSONL file: one line a reply, written through to the disk at once. A damaged line is skipped."""

    def __init__(self, path: Path | None) -> None:
        self.path = path
        self._lock = threading.Lock()

    def labels(self) -> dict[str, float]:
        """Item key -> score of every label kept so far."""
        found: dict[str, float] = {}
        if self.path is None or not self.path.exists():
            return found
        for line in self.path.read_bytes().split(b"\n"):
            try:
                found.update(json.loads(line)["scores"])
            except (ValueError, KeyError, TypeError):
                continue
        return found

    def add(self, record: Mapping[str, Any]) -> None:
        if self.path is None:
            return
        with self._lock:
            try:
                self.path.parent.mkdir(parents=True, exist_ok=True)
                with self.path.open("ab+") as file:
                    if file.tell():  # A line that a crash cut short must not swallow this one.
                        file.seek(-1, os.SEEK_END)
                        file.write(b"" if file.read(1) == b"\n" else b"\n")
                    file.write(json.dumps(record).encode() + b"\n")
                    file.flush()
                    os.fsync(file.fileno())
            except OSError as error:
                raise InputError(
                    f"Cannot keep the judge's replies in {self.path}: {error.strerror}; free some space or choose another place."
                ) from error


def judge_all(
    asks: Sequence[Ask],
    endpoint: Endpoint,
    limits: Limits,
    *,
    store: Path | None,
    items: int,
    concurrency: int,
    tries: int,
    backoff: float,
) -> dict[str, float]:
    """Item key -> score, for the items that have a valid label after at most `tries` rounds; the rest is missing.

    ModelError when the endpoint refuses the key or the model, or when no reply came at all and none was stored.
    """
    kept = Store(store)
    labels = kept.labels()
    todo = [ask for ask in asks if ask.key not in labels]
    if not todo:
        return labels
    limits.priced_for(endpoint.model)
    _say(_announcement(todo, len(asks) - len(todo), endpoint, limits, items))
    client = _connect(endpoint)
    failures: list[str] = []

    def one(batch: Sequence[Ask], wait: float) -> dict[str, float]:
        found, failure = _request(client, batch, endpoint, limits, kept, wait)
        if failure:
            failures.append(failure)
        return found

    with Progress("judge", len(todo), unit="items", quiet=len(todo) < 200) as progress:
        for round_ in range(tries):
            batches = [todo[start : start + items] for start in range(0, len(todo), items)]
            wait = min(LONGEST_WAIT, backoff * 2**round_)
            pool = ThreadPoolExecutor(max_workers=concurrency)
            try:
                for found in pool.map(one, batches, [wait] * len(batches)):
                    labels.update(found)
                    progress.advance(len(found))
            finally:
                pool.shutdown(wait=True, cancel_futures=True)
            todo = [ask for ask in todo if ask.key not in labels]
            if not todo or limits.reached:
                break
    client.close()
    if todo:
        if len(todo) == len(asks) and not limits.reached:
            raise ModelError(f"The judge gave no usable reply to {len(todo)} items; the last problem: {failures[-1]}.")
        reason = limits.reached or (failures[-1] if failures else "no label in the reply")
        _say(f"judge: {len(todo)} of {len(asks)} items stay missing ({reason}); score again to ask for these alone.")
    return labels


def _say(line: str) -> None:
    sys.stderr.write(line + "\n")


def _announcement(todo: Sequence[Ask], stored: int, endpoint: Endpoint, limits: Limits, items: int) -> str:
    """What is about to be sent and what it should cost: four characters a token, which suits English."""
    requests = math.ceil(len(todo) / items)
    tokens_in = sum(len(payload([ask])) for ask in todo) / 4 + requests * len(endpoint.instructions) / 4
    cost = limits.cost(tokens_in, len(todo) * 12)
    price = "price unknown (give price_in, price_out)" if math.isnan(cost) else f"about ${cost:.2f}"
    caps = [f"{limits.max_requests} requests"] if limits.max_requests else []
    caps += [f"${limits.max_cost:g}"] if limits.max_cost else []
    return (
        f"judge: {endpoint.model}, {len(todo):,} items ({stored:,} already judged) in at least {requests:,} requests, "
        f"about {tokens_in:,.0f} tokens in and {len(todo) * 12:,} out, {price}"
        + (f"; stops at {' or '.join(caps)}" if caps else "")
    )


def _connect(endpoint: Endpoint) -> Any:
    try:
        import openai
    except ImportError:
        raise ModelError("The judge needs the openai client: pip install 'leak-at-k[judge]'.") from None
    key = os.environ.get("OPENAI_API_KEY")
    if not key and not (endpoint.base_url or os.environ.get("OPENAI_BASE_URL")):
        raise ModelError("The judge needs OPENAI_API_KEY, or judge:base_url=URL for your own server.")
    # A local server takes any key. Retries are ours, so that the limits count every request.
    return openai.OpenAI(
        api_key=key or "none", base_url=endpoint.base_url or None, timeout=endpoint.timeout, max_retries=0
    )


def payload(batch: Sequence[Ask]) -> str:
    """What is sent about the items: a JSON list, numbered from 1."""
    rows = [
        {"id": str(i), "question": ask.question, "reference": ask.reference, "candidate": ask.candidate}
        for i, ask in enumerate(batch, start=1)
    ]
    return well_formed(json.dumps(rows, ensure_ascii=False))


def _request(
    client: Any, batch: Sequence[Ask], endpoint: Endpoint, limits: Limits, store: Store, wait: float
) -> tuple[dict[str, float], str]:
    """({item key: score}, what went wrong or ""). One request; after a failure, sleeps before it returns."""
    import openai

    text, most_out = payload(batch), 64 + endpoint.reply_tokens * len(batch)
    # A token is at least one byte, so this reservation cannot be exceeded.
    reserved = limits.cost(len((text + endpoint.instructions).encode()) + 100, most_out)
    if not limits.take(reserved):
        return {}, ""
    try:
        completion = client.chat.completions.create(
            model=endpoint.model,
            messages=[{"role": "system", "content": endpoint.instructions}, {"role": "user", "content": text}],
            **endpoint.parameters(most_out),
        )
        reply = completion.choices[0].message.content or ""
    except (openai.AuthenticationError, openai.PermissionDeniedError, openai.NotFoundError) as error:
        raise ModelError(
            f"The judge endpoint refused ({error.status_code}): check OPENAI_API_KEY, the model name {endpoint.model!r} and "
            "judge:base_url."
        ) from error
    except openai.APIStatusError as error:
        limits.settle(reserved, 0.0)
        if error.param in {"temperature", "max_tokens"} - endpoint.refused:
            endpoint.refused.add(error.param)
        else:
            _sleep(wait, error.response.headers.get("retry-after"))
        said = "".join(c if c.isprintable() else " " for c in str(error.message))
        return {}, f"HTTP {error.status_code}: {said[:200]}"
    except (openai.APIError, ValueError, TypeError, IndexError, AttributeError) as error:
        # No connection, time-out, a body cut short or of another shape. It may have been paid for: keep the reservation.
        _sleep(wait, None)
        return {}, type(error).__name__
    usage = completion.usage
    if usage is not None:
        limits.settle(reserved, limits.cost(usage.prompt_tokens, usage.completion_tokens))
    found = {batch[i].key: score for i, score in read_labels(reply, len(batch), endpoint.labels).items()}
    store.add(
        {
            "model": endpoint.model,
            "items": [{"key": ask.key, "prompt_id": ask.prompt_id} for ask in batch],
            "reply": reply,
            "scores": found,
            "tokens": [usage.prompt_tokens, usage.completion_tokens] if usage is not None else None,
        }
    )
    return found, "" if len(found) == len(batch) else f"{len(batch) - len(found)} of {len(batch)} labels missing"


def _sleep(wait: float, retry_after: str | None) -> None:
    """Back off: the server's wish if it has one, else `wait` with jitter, so that threads do not return together."""
    try:
        seconds = float(retry_after or "")
    except ValueError:
        seconds = wait * (0.5 + random.random() / 2)
    time.sleep(min(max(seconds, 0.0), LONGEST_WAIT))


def read_labels(reply: str, count: int, labels: Mapping[int, float]) -> dict[int, float]:
    """Index of the item (from 0) -> score, from a reply that names items 1..count. Anything doubtful is left out.

    Entries may come in any order, as [{"id": "1", "label": 1}, ...] or {"1": 1, ...}. An unknown id, a label that is not
    allowed and an item labelled twice differently do not count; a reply that is no whole JSON counts for nothing.
    """
    found: dict[int, set[float]] = {}
    for name, label in _entries(reply):
        try:
            index, value = int(str(name)) - 1, int(str(label))
        except ValueError:
            continue
        if 0 <= index < count and value in labels:
            found.setdefault(index, set()).add(labels[value])
    return {index: values.pop() for index, values in found.items() if len(values) == 1}


def _entries(reply: str) -> Iterable[tuple[Any, Any]]:
    """(id, label) pairs of the first JSON list or object in the reply; judges like to wrap it in prose or fences."""
    starts = [at for at in (reply.find("["), reply.find("{")) if at >= 0]
    if not starts:
        return []
    try:
        value, _ = json.JSONDecoder().raw_decode(reply[min(starts) :])
    except (ValueError, RecursionError):
        return []
    if isinstance(value, dict):
        lists = [part for part in value.values() if isinstance(part, list)]
        if not lists:
            return list(value.items()) if "label" not in value else [(value.get("id"), value["label"])]
        value = lists[0]
    return [(row.get("id"), row.get("label")) for row in value if isinstance(row, dict)]
