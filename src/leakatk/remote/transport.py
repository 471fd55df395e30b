"""HTTP client that servers are asked with: what a server may make it do is bounded.

A request has a time in all, from the first byte sent to the last received: a server that drips its headers or its body a
byte at a time does not hold a run. An answer has a size, as it comes and as it unpacks. A redirect to another origin is
never followed: it would carry the prompts and the key along.

The `openai` package takes such a client (`http_client`); proxies and certificates are read from the environment as usual.
"""

from __future__ import annotations

import importlib
import queue
import threading
import time
import zlib
from typing import Any
from urllib.parse import urlsplit

MAX_BODY = 16 << 20  # bytes of an answer; a hundred times what 32,000 tokens take
MAX_CONNECT = 5.0  # seconds
_HOPS = 3  # redirects within one origin
_PACKED = {"gzip", "x-gzip", "deflate"}


class BadReplyError(Exception):
    """What came back cannot be used; the message ends the sentence "The server ...". final: it would be the same again."""

    def __init__(self, what: str, *, final: bool = False) -> None:
        super().__init__(what)
        self.final = final


def bounded_client(openai: Any, timeout: float) -> Any:
    """A client for `openai.OpenAI(http_client=...)`. timeout: seconds that a request may take in all."""
    # The package has changed the library that it stands on from httpx to httpx2.
    bases = (kind.__module__.partition(".")[0] for kind in openai.DefaultHttpxClient.__mro__)
    httpx = importlib.import_module(next(name for name in bases if name.startswith("httpx")))

    class Client(openai.DefaultHttpxClient):  # type: ignore[misc]
        def send(self, request: Any, **options: Any) -> Any:
            # In a thread of its own: nothing else ends a wait for headers that come a byte at a time.
            found: queue.SimpleQueue[Any] = queue.SimpleQueue()
            deadline = time.monotonic() + timeout

            def work() -> None:
                try:
                    found.put(self._exchange(request, deadline, options))
                except BaseException as error:
                    found.put(error)

            threading.Thread(target=work, daemon=True).start()
            try:
                outcome = found.get(timeout=timeout)
            except queue.Empty:
                outcome = httpx.ReadTimeout(f"no whole answer within {timeout:g} seconds", request=request)
            if isinstance(outcome, BaseException):
                raise outcome
            return outcome

        def _exchange(self, request: Any, deadline: float, options: dict[str, Any]) -> Any:
            options = {**options, "stream": True, "follow_redirects": False}
            for _ in range(_HOPS):
                request.headers["accept-encoding"] = "identity"
                response = super().send(request, **options)
                try:
                    target = response.headers.get("location") if 300 <= response.status_code < 400 else None
                    if target is None:
                        content = _whole(response, httpx, request, deadline)
                        headers = [
                            (name, value)
                            for name, value in response.headers.multi_items()
                            if name.lower() not in ("content-encoding", "content-length", "transfer-encoding")
                        ]
                        return httpx.Response(
                            response.status_code, headers=headers, content=content, request=request,
                            extensions={k: v for k, v in response.extensions.items() if k != "network_stream"},
                        )  # fmt: skip
                finally:
                    response.close()
                try:
                    url = request.url.join(target)
                    origin = _origin(str(url))
                except (httpx.InvalidURL, ValueError):
                    raise BadReplyError("redirects to what is no address", final=True) from None
                if origin != _origin(str(request.url)) or response.status_code not in (307, 308):
                    raise BadReplyError(
                        f"redirects to {origin} ({response.status_code}), where nothing is sent; give that address if you trust it",
                        final=True,
                    )
                request = self.build_request(request.method, url, headers=request.headers, content=request.content)
            raise BadReplyError(f"redirects more than {_HOPS} times", final=True)

    return Client(timeout=httpx.Timeout(timeout, connect=min(timeout, MAX_CONNECT)))


def _whole(response: Any, httpx: Any, request: Any, deadline: float) -> bytes:
    """The body, unpacked."""
    packing = [
        name for name in response.headers.get("content-encoding", "").lower().replace(" ", "").split(",") if name
    ]
    packing = [name for name in packing if name != "identity"]
    if len(packing) > 1 or not _PACKED.issuperset(packing):
        raise BadReplyError(f"packs its answer as {', '.join(packing)[:60]}, which was not asked for", final=True)
    # Windows of gzip and zlib, told apart by their heads.
    unpack = zlib.decompressobj(zlib.MAX_WBITS | 32) if packing else None
    parts: list[bytes] = []
    came = size = 0
    for chunk in response.iter_raw():
        if time.monotonic() > deadline:
            raise httpx.ReadTimeout("no whole answer within the time", request=request)
        came += len(chunk)
        try:
            part = chunk if unpack is None else unpack.decompress(chunk, MAX_BODY + 1 - size)
        except zlib.error:
            raise BadReplyError("packs its answer in a damaged way") from None
        size += len(part)
        parts.append(part)
        if came > MAX_BODY or size > MAX_BODY:
            unpacked = "" if came > MAX_BODY else " once it is unpacked"
            raise BadReplyError(f"sends an answer of more than {MAX_BODY >> 20} MB{unpacked}")
    return b"".join(parts)


def _origin(url: str) -> str:
    """scheme://host:port, in one spelling, without user or password."""
    parts = urlsplit(url)
    port = parts.port or {"http": 80, "https": 443}.get(parts.scheme)
    return f"{parts.scheme}://{parts.hostname}:{port}"
