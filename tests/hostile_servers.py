"""Servers that send what no server should: raw bytes over a socket, as slowly as asked."""

from __future__ import annotations

import gzip
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

GOOD: dict[str, Any] = {
    "id": "1", "object": "chat.completion", "created": 0, "model": "toy",
    "choices": [{"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "In Zorvik."}}],
    "usage": {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15},
}  # fmt: skip


def answer(
    body: bytes | str | Any,
    *,
    status: str = "200 OK",
    kind: str = "application/json",
    length: bool = True,
    **headers: str,
) -> bytes:
    """One HTTP response."""
    content = body if isinstance(body, bytes) else body.encode() if isinstance(body, str) else json.dumps(body).encode()
    lines = [f"HTTP/1.1 {status}", f"content-type: {kind}", "connection: close"]
    lines += [f"content-length: {len(content)}"] if length else []
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + content


def packed(megabytes: int) -> bytes:
    """So much JSON text that gzip makes next to nothing of it."""
    return gzip.compress(b'{"choices": "' + b"a" * (megabytes << 20) + b'"}', 9)


def choice(message: Any, **fields: Any) -> dict[str, Any]:
    return {**GOOD, "choices": [{"index": 0, "finish_reason": "stop", "message": message, **fields}]}


class RawServer:
    """Sends `send(request text)`, bytes or pieces of them with a pause between; `heard` holds every request."""

    def __init__(self, send: Callable[[str], bytes | Iterator[bytes]], pause: float = 0.0) -> None:
        self.send, self.pause, self.heard = send, pause, list[str]()
        self.socket = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self.socket.getsockname()[1]}/v1"
        self.open = True
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while self.open:
            try:
                connection, _ = self.socket.accept()
            except OSError:
                return
            threading.Thread(target=self._one, args=(connection,), daemon=True).start()

    def _one(self, connection: socket.socket) -> None:
        with connection:
            try:
                asked = b""
                while b"\r\n\r\n" not in asked:
                    asked += connection.recv(65536)
                head, _, rest = asked.partition(b"\r\n\r\n")
                length = int(
                    next(line for line in head.lower().split(b"\r\n") if b"content-length" in line).split(b":")[1]
                )
                while len(rest) < length:
                    rest += connection.recv(65536)
                text = (head + b"\r\n\r\n" + rest).decode()
                self.heard.append(text)
                sent = self.send(text)
                for piece in [sent] if isinstance(sent, bytes) else sent:
                    if not self.open:
                        return
                    connection.sendall(piece)
                    time.sleep(self.pause)
            except OSError:
                pass  # the client has gone

    def close(self) -> None:
        self.open = False
        self.socket.close()


@contextmanager
def raw(send: bytes | Callable[[str], bytes | Iterator[bytes]], pause: float = 0.0) -> Iterator[RawServer]:
    server = RawServer(send if callable(send) else lambda _: send, pause)
    try:
        yield server
    finally:
        server.close()


def drip(content: bytes, *, after: bytes = b"\r\n\r\n") -> Callable[[str], Iterator[bytes]]:
    """All up to `after` at once, the rest a byte at a time."""

    def send(_: str) -> Iterator[bytes]:
        head, mark, rest = content.partition(after) if after else (b"", b"", content)
        if head:
            yield head + mark
        for i in range(len(rest)):
            yield rest[i : i + 1]

    return send


# What a server may send, and what the sentence about it must name.
SHAPES: dict[str, tuple[bytes, str]] = {
    "web page": (answer("<!DOCTYPE html><html><body>nginx</body></html>", kind="text/html"), "a web page instead of an answer"),
    "web page called JSON": (answer("\n <html></html>"), "a web page"),
    "stream of events": (answer('data: {"choices": []}\n\ndata: [DONE]\n\n', kind="text/event-stream"), "a stream of events"),
    "stream called JSON": (answer('data: {"choices": []}\n\n'), "a stream of events"),
    "error with 200": (answer({"error": {"message": "out of\x1b[31m memory", "code": "oom"}}), "an error: out of"),
    "error text with 200": (answer({"error": "model not loaded"}), "an error: model not loaded"),
    "choices an object": (answer({**GOOD, "choices": {}}), "choices are an object"),
    "choices null": (answer({**GOOD, "choices": None}), "choices are nothing"),
    "no choices": (answer({**GOOD, "choices": []}), "without choices"),
    "choices of texts": (answer({**GOOD, "choices": ["a"]}), "without choices"),
    "no message": (answer({**GOOD, "choices": [{"index": 0}]}), "message is nothing"),
    "message a list": (answer(choice([])), "message is a list"),
    "content a number": (answer(choice({"content": 7})), "content that is a number"),
    "content true": (answer(choice({"content": [True]})), "content that is true or false"),
    "negative usage": (answer({**GOOD, "usage": {"prompt_tokens": -5, "completion_tokens": 5}}), "usage .prompt_tokens = '-5'"),
    "huge usage": (answer({**GOOD, "usage": {"prompt_tokens": 5, "completion_tokens": 10**30}}), "usage .completion_tokens"),
    "infinite usage": (answer('{"choices": [{"message": {"content": "a"}}], "usage": {"prompt_tokens": 1e999}}'), "usage"),
    "usage of texts": (answer({**GOOD, "usage": {"prompt_tokens": "many"}}), "usage"),
    "usage a list": (answer({**GOOD, "usage": [1, 2]}), "usage that is a list"),
    "a list": (answer([GOOD]), "a list instead of"),
    "a number": (answer("7"), "a number instead of"),
    "null": (answer("null"), "nothing instead of"),
    "empty": (answer(""), "an empty answer"),
    "half": (answer(json.dumps(GOOD)[:60]), "no whole JSON"),
    "not text": (answer(b"\xff\xfe\x00\x01"), "no whole JSON"),
    "deep": (answer("[" * 100_000), "nested too deeply|no whole JSON"),
    "a number of 5,000 digits": (answer('{"choices": ' + "9" * 5000 + "}"), "no whole JSON"),
    "not HTTP": (b"SSH-2.0-OpenSSH_9.6\r\n", "RemoteProtocolError|illegal|APIConnectionError"),
    "nothing": (b"", "APIConnectionError"),
    "bomb": (answer(packed(64), content_encoding="gzip"), "more than 16 MB once it is unpacked"),
    "bomb of zlib": (answer(__import__("zlib").compress(b" " * (64 << 20), 9), content_encoding="deflate"), "once it is unpacked"),
    "large": (answer(b" " * (17 << 20)), "more than 16 MB"),
    "damaged gzip": (answer(b"\x1f\x8b\x08nothing", content_encoding="gzip"), "damaged way"),
}  # fmt: skip
