"""Client of the judge, many items to an OpenAI-compatible endpoint: batched, concurrent, retried, capped, every reply kept."""

from __future__ import annotations

import json
import math
import os
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from leakatk.errors import InputError, ModelError
from leakatk.files.checksums import sealed, unsealed
from leakatk.progress import Progress
from leakatk.remote.client import Failure, Limits, Server, ask, connect, pause
from leakatk.scorers.judge_labels import read_labels
from leakatk.scorers.text import well_formed


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


class Store:
    """Replies in a JSONL file: one line a reply with its checksum, written through to the disk at once.

    A damaged line is skipped, counted in `damaged`, and its items are asked again. An older version wrote lines without
    a checksum: those before the first that has one are taken as they are.
    """

    def __init__(self, path: Path | None) -> None:
        self.path = path
        self.damaged = 0
        self._lock = threading.Lock()

    def labels(self) -> dict[str, float]:
        """Item key -> score of every label kept so far."""
        found: dict[str, float] = {}
        if self.path is None or not self.path.exists():
            return found
        try:
            lines = [line for line in self.path.read_bytes().split(b"\n") if line.strip()]
        except OSError as error:
            raise InputError(
                f"Cannot read the judge's replies in {self.path}: {error.strerror}; check its owner, mode and disk."
            ) from error
        older, self.damaged = True, 0
        for line in lines:
            row = unsealed(line)
            older = older and row is None and b'"crc32"' not in line
            try:
                kept: Any = json.loads(line) if older else row
                found.update(kept["scores"])
            except (ValueError, KeyError, TypeError):
                self.damaged += 1
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
                    file.write(sealed(json.dumps(record).encode()) + b"\n")
                    file.flush()
                    os.fsync(file.fileno())
            except OSError as error:
                raise InputError(
                    f"Cannot keep the judge's replies in {self.path}: {error.strerror}; free some space or choose another place."
                ) from error


def client_of(endpoint: Endpoint) -> Server:
    """The server that the judge is asked on. ModelError without one, or without a key or an address; nothing is sent."""
    return connect(
        endpoint.base_url, key_env="OPENAI_API_KEY", timeout=endpoint.timeout,
        who="The judge", extra="judge", option="judge:base_url=URL", model=endpoint.model,
    )  # fmt: skip


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
    if kept.damaged:
        _say(
            f"judge: {kept.damaged} damaged line(s) of {store} left out; what they said is asked again where it is needed."
        )
    if not todo:
        return labels
    _say(
        f"judge: {announcement(expected(todo, len(asks) - len(todo), endpoint, limits, items), endpoint.model, limits)}"
    )
    server = client_of(endpoint)
    failures: list[str] = []
    lost: list[Failure] = []  # what brought no reply at all

    def one(batch: Sequence[Ask], round_: int) -> dict[str, float]:
        found, failure = _request(server, batch, endpoint, limits, kept, round_, backoff)
        if isinstance(failure, Failure):
            lost.append(failure)
        if failure:
            failures.append(failure.what if isinstance(failure, Failure) else failure)
        return found

    with Progress("judge", len(todo), unit="items", quiet=len(todo) < 200) as progress:
        for round_ in range(tries):
            batches = [todo[start : start + items] for start in range(0, len(todo), items)]
            pool = ThreadPoolExecutor(max_workers=concurrency)
            try:
                for found in pool.map(one, batches, [round_] * len(batches)):
                    labels.update(found)
                    progress.advance(len(found))
            finally:
                pool.shutdown(wait=True, cancel_futures=True)
            todo = [ask for ask in todo if ask.key not in labels]
            if not todo or limits.reached or (lost and all(server.hopeless(one, round_ + 1) for one in lost)):
                break
    server.close()
    if todo:
        if len(todo) == len(asks) and not limits.reached:
            raise ModelError(
                f"The judge at {server.url} gave no usable reply to {len(todo)} items; the last problem: {failures[-1]}."
            )
        reason = limits.reached or (failures[-1] if failures else "no label in the reply")
        _say(f"judge: {len(todo)} of {len(asks)} items stay missing ({reason}); score again to ask for these alone.")
    return labels


def _say(line: str) -> None:
    sys.stderr.write(line + "\n")


def expected(todo: Sequence[Ask], judged: int, endpoint: Endpoint, limits: Limits, items: int) -> dict[str, float]:
    """Before anything is sent: items, those `judged` already, requests if all goes well, tokens, US dollars (NaN: no price known).

    Four characters a token, which suits English.
    """
    limits.priced_for(endpoint.model)
    requests = math.ceil(len(todo) / items)
    tokens_in = (sum(len(payload([ask])) for ask in todo) + requests * len(endpoint.instructions)) / 4
    tokens_out = 12.0 * len(todo)
    return {
        "items": len(todo), "judged": judged, "requests": requests, "tokens_in": tokens_in, "tokens_out": tokens_out,
        "dollars": limits.cost(tokens_in, tokens_out),
    }  # fmt: skip


def announcement(cost: Mapping[str, float], model: str, limits: Limits) -> str:
    """gpt-4o-mini, 120 items (80 already judged) in at least 6 requests, about 9,000 tokens in and 1,440 out, about $0.00."""
    return (
        f"{model}, {cost['items']:,} items ({cost['judged']:,} already judged) in at least {cost['requests']:,} requests, "
        f"about {cost['tokens_in']:,.0f} tokens in and {cost['tokens_out']:,.0f} out, {limits.price_and_caps(cost['dollars'])}"
    )


def payload(batch: Sequence[Ask]) -> str:
    """What is sent about the items: a JSON list, numbered from 1."""
    rows = [
        {"id": str(i), "question": ask.question, "reference": ask.reference, "candidate": ask.candidate}
        for i, ask in enumerate(batch, start=1)
    ]
    return well_formed(json.dumps(rows, ensure_ascii=False))


def _request(
    server: Server,
    batch: Sequence[Ask],
    endpoint: Endpoint,
    limits: Limits,
    store: Store,
    round_: int,
    backoff: float,
) -> tuple[dict[str, float], str | Failure]:
    """({item key: score}, what went wrong or ""). One request; after a failure, sleeps before it returns."""
    text, most_out = payload(batch), 64 + endpoint.reply_tokens * len(batch)
    # A token is at least one byte, so this reservation cannot be exceeded.
    reserved = limits.cost(len((text + endpoint.instructions).encode()) + 100, most_out)
    if not limits.take(reserved):
        return {}, ""
    messages = [{"role": "system", "content": endpoint.instructions}, {"role": "user", "content": text}]
    body = {"model": endpoint.model, "messages": messages, **endpoint.parameters(most_out)}
    answer = ask(server, body, limits, reserved)
    if isinstance(answer, Failure):
        refused = {answer.param} & {"temperature", "max_tokens"} - endpoint.refused
        endpoint.refused.update(refused)
        if not refused:
            time.sleep(pause(round_, answer, backoff))
        return {}, answer
    found = {batch[i].key: score for i, score in read_labels(answer.text, len(batch), endpoint.labels).items()}
    store.add(
        {
            "model": endpoint.model,
            "items": [{"key": ask.key, "prompt_id": ask.prompt_id} for ask in batch],
            "reply": answer.text,
            **({"reasoning": answer.reasoning} if answer.reasoning else {}),
            "scores": found,
            "tokens": None if math.isnan(sum(answer.tokens)) else [int(count) for count in answer.tokens],
        }
    )
    if len(found) == len(batch):
        return found, ""
    cut = "; it was cut at its limit of tokens, raise judge:reply_tokens" if answer.finish == "length" else ""
    return found, f"{len(batch) - len(found)} of {len(batch)} labels missing{cut}"
