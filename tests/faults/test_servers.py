"""Answers of servers, damaged at random: each is read or refused in one sentence, in time, and no key comes through."""

from __future__ import annotations

import json
import os
import random
import time
from typing import Any

import pytest

from leakatk.errors import LeakAtKError
from leakatk.models.load import ModelSource
from leakatk.prompts import Prompt
from leakatk.sampling.base import Request
from leakatk.sampling.decoding import Decoding
from leakatk.sampling.endpoint import EndpointSampler
from leakatk.scorers import get_scorer
from tests.hostile_servers import GOOD, SHAPES, answer, raw

SEED = int(os.environ.get("LEAKATK_FAULTS_SEED", "0"))
COUNT = int(os.environ.get("LEAKATK_FAULTS_COUNT", "2000"))
KEY = "sk-very-secret-0123456789"
ODD: list[Any] = [
    None, True, 0, -1, 1e308, 10**40, "", "length", KEY, "<think>", "\ud800", "\x1b[31m", [], [[]], {}, {"text": {"text": 1}},
    {"type": "thinking"}, [None], [{"type": "text", "text": None}], {"error": {}}, "a" * 5000,
]  # fmt: skip


def spoiled(draw: random.Random, value: Any) -> Any:
    """The value with one part of it, at random, exchanged, left out or doubled."""
    if isinstance(value, dict) and value and draw.random() < 0.85:
        name = draw.choice(list(value))
        way = draw.randrange(4)
        if way == 0:
            return {key: item for key, item in value.items() if key != name}
        if way == 1:
            return {**value, name: draw.choice(ODD)}
        if way == 2:
            names = ("error", "reasoning", "reasoning_content", "refusal", "system_fingerprint", KEY)
            return {**value, draw.choice(names): draw.choice(ODD)}
        return {**value, name: spoiled(draw, value[name])}
    if isinstance(value, list) and value and draw.random() < 0.8:
        return [spoiled(draw, value[0]), *value[1:]] if draw.random() < 0.7 else [*value, draw.choice(ODD)]
    return draw.choice(ODD)


def response(draw: random.Random) -> bytes:
    if draw.random() < 0.1:
        return draw.choice(list(SHAPES.values()))[0]
    body: Any = GOOD
    for _ in range(draw.randint(1, 3)):
        body = spoiled(draw, body)
    statuses = ["200 OK"] * 6 + [
        "400 Bad",
        "401 No",
        "404 None",
        "418 Pot",
        "422 No",
        "429 Slow",
        "500 Bad",
        "599 X",
        "204 None",
    ]
    sent = answer(
        json.dumps(body), status=draw.choice(statuses), kind=draw.choice(["application/json", "text/plain", "a/b;charset=utf-7", ""]),
        **draw.choice([{}, {}, {"retry_after": "0"}, {"retry_after": "soon"}, {"content_encoding": "gzip"}, {"server": KEY}]),
    )  # fmt: skip
    if draw.random() < 0.2:  # bytes lost or changed
        at = draw.randrange(len(sent))
        sent = sent[:at] if draw.random() < 0.5 else sent[:at] + bytes([draw.randrange(256)]) + sent[at + 1 :]
    return sent


def attack(count: int, seed: int) -> list[str]:
    """Failures among so many tries, each with its number."""
    failures: list[str] = []
    sent = b""
    prompt = Prompt("p", "Where was Ada born?", "Zorvik")
    with raw(lambda _: sent) as server:
        for number in range(count):
            sent = response(random.Random(f"{seed} {number}"))
            start = time.monotonic()
            try:
                if number % 4 == 3:
                    judge = get_scorer("judge", model="toy", base_url=server.url, tries=2, backoff=0.0, timeout=30.0)
                    score = judge.score([prompt], ["In Zorvik."])
                    said = str(score)
                else:
                    sampler = EndpointSampler(
                        ModelSource("toy"), url=server.url, tries=2, backoff=0.0, timeout=30.0, concurrency=1
                    )
                    drawn = list(sampler.sample([Request(prompt, [0])], Decoding(max_new_tokens=8), seed=0))
                    [[one]] = drawn
                    assert isinstance(one.text, str)
                    assert isinstance(one.reasoning, str)
                    assert one.finish_reason in ("stop", "length")
                    said = one.text + one.reasoning + "".join(sampler.served)
            except LeakAtKError as error:
                said = str(error)
                if "\n" in said or "\x1b" in said:
                    failures.append(f"{number}: {said!r}")
            except Exception as error:
                failures.append(f"{number}: {type(error).__name__} {error} after {sent[:300]!r}")
                continue
            if KEY in said:
                failures.append(f"{number}: the key in {said!r:.200}")
            if time.monotonic() - start > 60:
                failures.append(f"{number}: took {time.monotonic() - start:.0f} s")
    return failures


def check(count: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    failures = attack(count, SEED)
    with capsys.disabled():
        print(f"\nservers: {count} answers, {len(failures)} failures (seed {SEED})")
    assert failures == []


def test_damaged_answers(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    check(100, monkeypatch, capsys)


@pytest.mark.slow
@pytest.mark.timeout(7200)
def test_many_damaged_answers(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    check(COUNT, monkeypatch, capsys)
