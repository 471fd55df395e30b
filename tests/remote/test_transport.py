"""Servers that send anything, slowly, elsewhere or without end: one sentence, in time, and nothing sent on."""

from __future__ import annotations

import gzip
import json
import math
import time
from pathlib import Path
from typing import Any

import pytest

from leakatk.errors import InputError, ModelError
from leakatk.models.load import ModelSource
from leakatk.prompts import Prompt, save_prompts
from leakatk.remote.client import MASK, Failure, Limits, ask, connect, shown
from leakatk.sampling.base import Request
from leakatk.sampling.decoding import Decoding
from leakatk.sampling.endpoint import EndpointSampler
from leakatk.scorers import get_scorer
from tests.hostile_servers import GOOD, SHAPES, RawServer, answer, choice, drip, packed, raw

KEY = "sk-very-secret-0123456789"
BODY = {"model": "toy", "messages": [{"role": "user", "content": "Where was Ada born?"}], "max_tokens": 8}


@pytest.fixture(autouse=True)
def _key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    monkeypatch.delenv("OPENAI_BASE_URL", raising=False)


def asked(server: RawServer, *, timeout: float = 60.0, url: str = "") -> Any:
    made = connect(
        url or server.url,
        key_env="OPENAI_API_KEY",
        timeout=timeout,
        who="It",
        extra="endpoint",
        option="--url URL",
        model="toy",
    )
    try:
        return ask(made, BODY, Limits(), math.nan)
    finally:
        made.close()


def draw(url: str, **options: Any) -> list[Any]:
    options = {"backoff": 0.001, "timeout": 60.0, "tries": 3, **options}
    sampler = EndpointSampler(ModelSource("toy"), url=url, **options)
    requests = [Request(Prompt("p", "Where was Ada born?", "Zorvik"), [0])]
    return [one for batch in sampler.sample(requests, Decoding(max_new_tokens=8), seed=0) for one in batch]


def test_the_good_answer_is_read() -> None:
    with raw(answer(GOOD)) as server:
        assert asked(server).text == "In Zorvik."
        assert [one.text for one in draw(server.url)] == ["In Zorvik."]


@pytest.mark.parametrize("shape", SHAPES)
def test_one_sentence_names_the_thing_and_the_address(shape: str) -> None:
    sent, named = SHAPES[shape]
    with raw(sent) as server:
        with pytest.raises(ModelError, match=named) as caught:
            draw(server.url)
        assert server.url in str(caught.value)
        assert "\n" not in str(caught.value)
        assert "\x1b" not in str(caught.value)
        assert len(server.heard) == 2, "before there was any answer, two are enough"


@pytest.mark.parametrize("shape", ["web page", "stream of events", "choices an object", "huge usage", "a list", "bomb"])
def test_the_judge_says_it_too(shape: str) -> None:
    sent, named = SHAPES[shape]
    with raw(sent) as server:
        judge = get_scorer("judge", model="toy", base_url=server.url, backoff=0.001, timeout=60.0)
        with pytest.raises(ModelError, match=named) as caught:
            judge.score([Prompt("p", "Where?", "Zorvik")], ["In Zorvik"])
        assert server.url in str(caught.value)
        assert len(server.heard) == 2


def test_a_command_ends_with_that_sentence(leakatk: Any, tmp_path: Path) -> None:
    save_prompts([Prompt("p", "Where?", "Zorvik")], tmp_path / "f.jsonl")
    for sent, named in (SHAPES["choices an object"], SHAPES["web page"]):
        with raw(sent) as server:
            code, _, err = leakatk(
                "audit",
                "toy",
                "--url",
                server.url,
                "--forget",
                tmp_path / "f.jsonl",
                "--out",
                tmp_path / "run",
                "--n",
                2,
            )
        assert code == 2
        assert server.url in err
        assert named in err
        assert "Traceback" not in err
        assert not (tmp_path / "run").exists()


def test_a_packed_answer_is_read() -> None:
    for packing, content in (
        ("gzip", gzip.compress(json.dumps(GOOD).encode())),
        ("identity", json.dumps(GOOD).encode()),
    ):
        with raw(answer(content, content_encoding=packing)) as server:
            assert asked(server).text == "In Zorvik."
    with raw(answer(b"x", content_encoding="br")) as server, pytest.raises(ModelError, match="packs its answer as br"):
        draw(server.url)


def test_a_bomb_is_not_unpacked() -> None:
    import tracemalloc

    with raw(answer(packed(512), content_encoding="gzip")) as server:
        tracemalloc.start()
        found = asked(server)
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    assert isinstance(found, Failure)
    assert peak < 100 << 20


@pytest.mark.parametrize(
    ("name", "after"), [("body", b"\r\n\r\n"), ("headers", b"\r\n"), ("everything", b"")], ids=lambda v: str(v)[:10]
)
def test_a_request_has_a_time_in_all(name: str, after: bytes) -> None:
    with raw(drip(answer(GOOD), after=after), pause=0.6) as server:  # minutes in all
        start = time.monotonic()
        found = asked(server, timeout=1.0)
        assert time.monotonic() - start < 60
    assert isinstance(found, Failure)
    assert "Timeout" in found.what


def endless(_: str) -> Any:
    yield answer(b"", length=False, transfer_encoding="chunked")
    while True:
        yield b"100000\r\n" + b" " * (1 << 20) + b"\r\n"


def test_an_endless_answer_ends() -> None:
    with raw(endless) as server:
        found = asked(server)
    assert isinstance(found, Failure)
    assert "more than 16 MB" in found.what


@pytest.mark.parametrize("status", ["301 Moved", "302 Found", "303 See Other", "307 Temporary", "308 Permanent"])
def test_no_redirect_to_another_origin(status: str) -> None:
    with raw(answer(GOOD)) as other:
        for target in (
            f"{other.url}/chat/completions",
            other.url.replace("http:", "") + "/x",
            other.url.replace("127.0.0.1", "localhost"),
        ):
            with raw(answer("", status=status, location=target)) as server:
                with pytest.raises(
                    ModelError, match=r"redirects to http://(127.0.0.1|localhost):\d+ \(30\d\)"
                ) as caught:
                    draw(server.url)
                assert server.url in str(caught.value)
                assert len(server.heard) == 1
        assert other.heard == [], "neither prompt nor key was carried along"


@pytest.mark.parametrize(
    "location", ["http://[::1", "//", "http://a:b:c/", "\u00fc\u00fc", f"http://user:{KEY}@elsewhere/{KEY}"]
)
def test_no_redirect_to_nowhere(location: str) -> None:
    content = answer("", status="307 Temporary", location="X").replace(b"X", location.encode())
    with raw(content) as server, pytest.raises(ModelError) as caught:
        draw(server.url)
    assert KEY not in str(caught.value)


def test_a_redirect_within_the_server_is_followed_a_few_times() -> None:
    def send(text: str) -> bytes:
        if text.startswith("POST /v1/chat/completions "):
            return answer("", status="307 Temporary", location="/v2/chat/completions")
        return answer(GOOD)

    with raw(send) as server:
        assert [one.text for one in draw(server.url)] == ["In Zorvik."]
        assert "Where was Ada born?" in server.heard[1]
    with raw(answer("", status="308 Permanent", location="/v1/chat/completions")) as server:
        with pytest.raises(ModelError, match="redirects more than 3 times"):
            draw(server.url)
        assert len(server.heard) == 3


@pytest.mark.parametrize("status", ["400 Bad", "401 No", "403 No", "422 No", "500 Broken", "200 OK"])
@pytest.mark.parametrize("where", ["message", "param", "body", "escaped"])
def test_the_key_is_masked_in_errors(status: str, where: str) -> None:
    def send(text: str) -> bytes:
        assert KEY in text, "it is sent"
        said: Any = {"error": {"message": f"bad Bearer {KEY}"}}
        if where == "param":
            said = {"error": {"message": "bad", "param": KEY, "code": KEY}}
        if where == "body":
            said = f"<html>Bearer {KEY}</html>"
        if where == "escaped":
            said = json.dumps({"error": {"message": "X"}}).replace("X", "".join(f"\\u{ord(c):04x}" for c in KEY))
        return answer(said, status=status)

    with raw(send) as server, pytest.raises(ModelError) as caught:
        draw(server.url)
    assert KEY not in str(caught.value)
    assert KEY[:12] not in str(caught.value)


def test_the_key_is_masked_in_what_is_kept(leakatk: Any, tmp_path: Path) -> None:
    """Answers, names, fingerprints and headers of a server that echoes it, in every file and on the terminal."""

    def send(text: str) -> bytes:
        said = {
            **choice({"content": f"It is {KEY}", "reasoning": f"the key {KEY}"}),
            "model": KEY,
            "system_fingerprint": KEY,
        }
        return answer(said, server=KEY)

    save_prompts([Prompt("p", "Where?", "Zorvik"), Prompt("q", "Who?", "Ada")], tmp_path / "f.jsonl")
    with raw(send) as server:
        url = server.url.replace("http://", "http://user:pass-word-99@") + "?token=hidden-token-77"
        code, out, err = leakatk(
            "audit",
            "toy",
            "--url",
            url,
            "--forget",
            tmp_path / "f.jsonl",
            "--out",
            tmp_path / "run",
            "--n",
            2,
            "--one-wording",
        )
    assert code == 0, err
    assert MASK in (tmp_path / "run" / "server.json").read_text()
    for path in tmp_path.rglob("*"):
        # What was typed stands in config.toml, and in results.json as the command.
        for secret in (
            (KEY,)
            if path.name in ("config.toml", "results.json", "report.html")
            else (KEY, "pass-word-99", "hidden-token-77")
        ):
            assert path.is_dir() or secret.encode() not in path.read_bytes(), path
    for secret in (KEY, "pass-word-99", "hidden-token-77"):
        assert secret not in out + err


@pytest.mark.parametrize("key", [f"{KEY}\n", f"{KEY}\n{KEY[::-1]}", f"\t{KEY}\x00", f"{KEY}\u00fc"])
def test_a_key_that_no_header_can_hold(key: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.environ", {**__import__("os").environ, "OPENAI_API_KEY": key})
    with raw(answer(GOOD)) as server:
        if key.strip() == KEY:  # only space around it is taken off
            assert [one.text for one in draw(server.url)] == ["In Zorvik."]
            return
        with pytest.raises(InputError, match="OPENAI_API_KEY holds a space, a line break or another") as caught:
            draw(server.url)
        assert KEY not in str(caught.value)
        assert server.heard == []


def test_a_word_that_stands_in_for_a_key_is_not_masked(monkeypatch: pytest.MonkeyPatch) -> None:
    for word in ("none", "test", "EMPTY", ""):
        monkeypatch.setenv("OPENAI_API_KEY", word)
        with raw(answer(choice({"content": "The test is EMPTY, none passed."}))) as server:
            assert asked(server).text == "The test is EMPTY, none passed."


@pytest.mark.parametrize("url", ["http://127.0.0.1:9/v1", "http://[::1]:9/v1"])
def test_a_dead_server_is_told_in_seconds(url: str, leakatk: Any, tmp_path: Path) -> None:
    save_prompts([Prompt("p", "Where?", "Zorvik")], tmp_path / "f.jsonl")
    start = time.monotonic()
    code, _, err = leakatk("audit", "toy", "--url", url, "--forget", tmp_path / "f.jsonl", "--out", tmp_path / "run")
    assert code == 2
    assert f"No usable answer from {url}" in err
    assert time.monotonic() - start < 60, "with all tries it would be minutes"
    judge = get_scorer("judge", model="toy", base_url=url)
    with pytest.raises(ModelError, match=r"The judge at http") as caught:
        judge.score([Prompt("p", "Where?", "Zorvik")], ["In Zorvik"])
    assert url in str(caught.value)
    assert time.monotonic() - start < 120


def test_a_server_that_has_answered_is_waited_for() -> None:
    """One that fails later is asked as often as told: it may be starting again."""
    sent = iter([answer(GOOD), *[b""] * 3, answer(GOOD)])
    with raw(lambda _: next(sent)) as server:
        sampler = EndpointSampler(ModelSource("toy"), url=server.url, backoff=0.001, tries=5, concurrency=1)
        requests = [Request(Prompt("p", "Where?", "Zorvik"), [0, 1])]
        assert sum(len(batch) for batch in sampler.sample(requests, Decoding(max_new_tokens=8), seed=0)) == 2
        assert len(server.heard) == 5


def test_what_of_an_address_is_shown() -> None:
    assert shown("https://user:pw@host:8443/v1?key=k#f") == "https://host:8443/v1"
    assert shown("http://[::1]:8000/v1") == "http://[::1]:8000/v1"
    assert shown("") == "https://api.openai.com/v1"
