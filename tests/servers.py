"""Real HTTP servers in the OpenAI protocol: one that misbehaves on demand, and transformers' own with a real model."""

from __future__ import annotations

import json
import math
import os
import random
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest


class FaultyServer:
    """Answers POST requests with what `reply` makes of them.

    faults: what to do with the first requests, in order of arrival: a status such as "429", "drop", "time-out",
    "truncated JSON", "no choices"; "" answers properly, and what is not known here is left to `reply`.
    refuses: parameters answered with 400, as newer models do.  retry_after: of a status answered; None says nothing.
    """

    def __init__(self) -> None:
        self.faults: list[str] = []
        self.refuses: set[str] = set()
        self.retry_after: str | None = "0"
        self.requests = 0
        self.lock = threading.Lock()
        self.http = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self.url = f"http://127.0.0.1:{self.http.server_port}/v1"
        self.thread = threading.Thread(target=self.http.serve_forever, kwargs={"poll_interval": 0.01})
        self.thread.start()

    def close(self) -> None:
        self.http.shutdown()
        self.thread.join()
        self.http.server_close()

    def reply(self, path: str, asked: dict[str, Any], fault: str) -> dict[str, Any]:
        """The body of a good answer. Called by many threads."""
        raise NotImplementedError

    def seen(self, asked: dict[str, Any]) -> None:
        """Called once for every request, also for those that go wrong; the lock is held."""

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        server = self

        class Handler(BaseHTTPRequestHandler):
            def version_string(self) -> str:
                return str(getattr(server, "header", "fake/1"))

            def do_POST(self) -> None:
                asked = json.loads(self.rfile.read(int(self.headers["content-length"])))
                with server.lock:
                    fault = server.faults.pop(0) if server.faults else ""
                    if refused := sorted(server.refuses & set(asked)):
                        fault = f"refuses {refused[0]}"
                    server.requests += 1
                    server.seen(asked)
                server._respond(self, asked, fault)

            def log_message(self, *args: object) -> None:
                pass

        return Handler

    def _respond(self, http: BaseHTTPRequestHandler, asked: dict[str, Any], fault: str) -> None:
        if fault == "drop":
            http.close_connection = True
            http.connection.close()
            return
        if fault == "time-out":
            time.sleep(3.0)
        if fault.isdigit() or fault.startswith("refuses"):
            error = {"message": f"it\x1b[31m {fault}", "param": fault.removeprefix("refuses ")}
            status, content = int(fault) if fault.isdigit() else 400, {"error": error}
        elif fault == "content filter":
            status, content = 400, {"error": {"message": "filtered", "param": "prompt", "code": "content_filter"}}
        else:
            status, content = 200, {"choices": []} if fault == "no choices" else self.reply(http.path, asked, fault)
        body = json.dumps(content).encode()
        body = body[: len(body) // 2] if fault == "truncated JSON" else body
        try:
            http.send_response(status)
            if status != 200 and self.retry_after is not None:
                http.send_header("retry-after", self.retry_after)
            http.send_header("content-type", "application/json")
            http.send_header("content-length", str(len(body)))
            http.end_headers()
            http.wfile.write(body)
        except OSError:
            pass  # The client of a time-out has gone.


class WordServer(FaultyServer):
    """A language model of 40 words over HTTP: logits that depend on the question, the place and the model's name.

    knows: the fields it obeys, all others are dropped without a word.  own: values it applies unless it knows the field and
    is told another.  caches: it answers a question once and for all.  greedy: it never samples.  model, fingerprint, header:
    what it answers with.  spread: of its logits; large: a very sure model.
    """

    def __init__(self, *knows: str, own: dict[str, Any] | None = None, **how: Any) -> None:
        self.knows, self.own = set(knows), own or {}
        self.caches, self.greedy = how.get("caches", False), how.get("greedy", False)
        self.model, self.fingerprint = how.get("model", "words-1"), how.get("fingerprint")
        self.spread = how.get("spread", 2.0)
        self.header = how.get("header", "words/1")
        self.asked: list[dict[str, Any]] = []
        self.kept: dict[str, str] = {}
        super().__init__()

    def seen(self, asked: dict[str, Any]) -> None:
        self.asked.append(asked)

    def said(self, asked: dict[str, Any]) -> str:
        question = asked["messages"][-1]["content"] if "messages" in asked else asked["prompt"]
        if self.caches and question in self.kept:
            return self.kept[question]
        plain: dict[str, Any] = {"temperature": 1.0, "top_k": 0, "top_p": 1.0, "min_p": 0.0, "penalty": 1.0}
        told = {name: value for name, value in asked.items() if name in self.knows}
        for name in ("repetition_penalty", "repeat_penalty"):
            if name in told:
                told["penalty"] = told.pop(name)
        values = {**plain, **self.own, **told}
        draw = random.Random(told.get("seed"))
        words = [f"w{i}" for i in range(40)]
        out: list[int] = []
        for place in range(min(8, asked["max_tokens"])):
            rank = random.Random(f"{self.model} {question} {place // 4}")  # the same words come back
            logits = [rank.gauss(0, self.spread) + 5 for _ in words]
            logits = [x / values["penalty"] if i in out else x for i, x in enumerate(logits)]
            best = max(logits)
            if self.greedy or values["temperature"] == 0:
                out.append(logits.index(best))
                continue
            weights = [math.exp((x - best) / values["temperature"]) for x in logits]
            order = sorted(range(len(words)), key=lambda i: -weights[i])
            allowed = order[: values["top_k"] or len(order)]
            allowed = [i for i in allowed if weights[i] >= values["min_p"]]
            mass, total, kept = 0.0, sum(weights), []
            for i in allowed:
                if mass < values["top_p"] * total:
                    kept.append(i)
                mass += weights[i]
            out.append(draw.choices(kept, [weights[i] for i in kept])[0])
        text = " ".join(words[i] for i in out)
        self.kept[question] = text
        return text

    def reply(self, path: str, asked: dict[str, Any], fault: str) -> dict[str, Any]:
        with self.lock:
            text = self.said(asked)
        chat = {"message": {"role": "assistant", "content": text}}
        return {
            "id": "1", "object": "x", "created": 0, "model": self.model,
            **({"system_fingerprint": self.fingerprint} if self.fingerprint else {}),
            "choices": [{"index": 0, "finish_reason": "stop", **(chat if "messages" in asked else {"text": text})}],
            "usage": {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15},
        }  # fmt: skip


@contextmanager
def transformers_serve(model: Path) -> Iterator[str]:
    """Base URL of `transformers serve` with this model; skips the test where its web server is not installed."""
    pytest.importorskip("fastapi")
    pytest.importorskip("uvicorn")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    program = str(Path(sys.executable).with_name("transformers"))
    log = model.parent / "log"
    with log.open("wb") as output:
        server = subprocess.Popen(
            [program, "serve", str(model), "--port", str(port), "--device", "cpu"],
            stdout=output, stderr=output, env={**os.environ, "HF_HUB_OFFLINE": "1"},
        )  # fmt: skip
        try:
            for _ in range(200):
                try:
                    urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=5).close()
                    break
                except OSError:
                    assert server.poll() is None, log.read_text()
                    time.sleep(0.5)
            yield f"http://127.0.0.1:{port}/v1"
        finally:
            server.terminate()
            server.wait()
