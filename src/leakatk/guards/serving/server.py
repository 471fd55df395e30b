"""Guarded server: HTTP in front of a backend, in OpenAI's protocol.

Whatever goes wrong is a status with a sentence of ours. No text of a request, of the model or of what is stored is written to a
log: an error is logged by its kind alone.
"""

from __future__ import annotations

import json
import socket
import sys
from typing import Any

from leakatk.errors import InputError, ModelError
from leakatk.guards.serving.backends import Answer, Backend
from leakatk.guards.serving.protocol import RefusedError, parse

MOST_BYTES = 4 << 20  # of a request


def _libraries() -> tuple[Any, Any]:
    """(fastapi, uvicorn). ModelError where the extra is not installed."""
    try:
        import fastapi
        import uvicorn
    except ImportError:
        raise ModelError("A guarded server needs fastapi and uvicorn: pip install 'leak-at-k[serve]'.") from None
    return fastapi, uvicorn


def application(backend: Backend) -> Any:
    """The FastAPI application: /v1/chat/completions, /v1/completions, /v1/models and /health."""
    fastapi, _ = _libraries()
    from fastapi.concurrency import run_in_threadpool
    from fastapi.responses import JSONResponse, Response, StreamingResponse
    from starlette.exceptions import HTTPException

    def refused(error: RefusedError) -> Any:
        return JSONResponse(error.body(), status_code=error.status)

    async def http(request: Any, error: Any) -> Any:
        what = {404: "There is no such address.", 405: "This address takes another method."}
        return refused(RefusedError(error.status_code, what.get(error.status_code, "This request cannot be answered.")))

    async def answer(request: Any, *, chat: bool) -> Any:
        try:
            body = await _body(request)
            found = await run_in_threadpool(_answered, backend, body, chat=chat)
        except RefusedError as error:
            backend.counts.add(refused=1)
            return refused(error)
        except Exception as error:
            backend.counts.add(failed=1)
            sys.stderr.write(f"serve: a request failed ({type(error).__name__}).\n")
            return refused(RefusedError(500, "The server failed."))
        if found.parts is not None:
            return StreamingResponse(found.parts, media_type="text/event-stream")
        if isinstance(found.body, bytes):
            return Response(found.body, status_code=found.status, media_type="application/json")
        return JSONResponse(found.body, status_code=found.status)

    async def chat(request: Any) -> Any:
        return await answer(request, chat=True)

    async def completion(request: Any) -> Any:
        return await answer(request, chat=False)

    async def models(request: Any) -> Any:
        one = {"id": backend.model, "object": "model", "created": 0, "owned_by": "leakatk"}
        return JSONResponse({"object": "list", "data": [one]})

    async def health(request: Any) -> Any:
        return JSONResponse({"status": "ok"})

    app = fastapi.FastAPI(openapi_url=None, docs_url=None, redoc_url=None, exception_handlers={HTTPException: http})
    # As routes of Starlette: fastapi's own reading of bodies quotes what it refuses.
    app.add_route("/v1/chat/completions", chat, methods=["POST"])
    app.add_route("/v1/completions", completion, methods=["POST"])
    app.add_route("/v1/models", models, methods=["GET"])
    app.add_route("/health", health, methods=["GET"])
    return app


async def _body(request: Any) -> Any:
    parts, size = [], 0
    async for part in request.stream():
        size += len(part)
        if size > MOST_BYTES:
            raise RefusedError(413, f"The request is larger than {MOST_BYTES >> 20} MB.")
        parts.append(part)
    try:
        return json.loads(b"".join(parts), parse_constant=_no_number)
    except (ValueError, RecursionError):  # of a file that is no text, too
        raise RefusedError(400, "The body is not valid JSON.") from None


def _no_number(name: str) -> None:
    raise ValueError(name)


def _answered(backend: Backend, body: Any, *, chat: bool) -> Answer:
    asked = parse(body, chat=chat, passes_on=backend.passes_on)
    if asked.model not in ("", backend.model):
        raise RefusedError(404, f"This server has one model: {backend.model}.", "model")
    return backend.answer(asked)


def bound(host: str, port: int) -> socket.socket:
    """A socket that listens there; port 0 takes any that is free. InputError where that cannot be."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    made = socket.socket(family, socket.SOCK_STREAM)
    try:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        made.bind((host, port))
        made.listen(1024)  # what comes before the model is loaded waits
    except (OSError, OverflowError) as error:
        made.close()
        raise InputError(
            f"Cannot serve at {host}:{port}: {getattr(error, 'strerror', None) or error}; choose another --port or --host."
        ) from None
    return made


def server_of(backend: Backend) -> Any:
    """A uvicorn server; `run(sockets=[bound(...)])` serves until it is stopped."""
    _, uvicorn = _libraries()
    # Its own log would quote exceptions, and with them what they hold.
    return uvicorn.Server(
        uvicorn.Config(
            application(backend), log_config=None, access_log=False, lifespan="off", timeout_graceful_shutdown=5
        )
    )
