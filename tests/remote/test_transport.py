"""Servers that send anything, slowly, elsewhere or without end: one sentence, in time, and nothing sent on."""

from __future__ import annotations

import gzip
import json
import time
from pathlib import Path
from typing import Any

import pytest

from leakatk.errors import ModelError
from leakatk.prompts import Prompt, save_prompts
from leakatk.remote.client import Failure
from leakatk.scorers import get_scorer
from tests.hostile_servers import GOOD, SHAPES, answer, drip, packed, raw
from tests.remote.asking import KEY, asked, draw

pytestmark = pytest.mark.usefixtures("with_key")


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
