"""A hub of our own on localhost: the few answers that huggingface_hub asks for when it downloads a file."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

COMMIT = "0123456789abcdef0123456789abcdef01234567"


class Hub:
    """files: "repository/revision/name" -> content.  refusals: repository -> (status, the hub's error code).

    asked: every path in the order it was asked for.
    """

    def __init__(self, files: Mapping[str, bytes], refusals: Mapping[str, tuple[int, str]]) -> None:
        self.files, self.refusals, self.asked = dict(files), dict(refusals), list[str]()

    def answer(self, path: str) -> tuple[int, str, bytes]:
        """(status, error code, content)"""
        if path.startswith("/api/models/"):
            return self._about_model(path.removeprefix("/api/models/"))
        if not path.startswith("/datasets/"):
            path = f"/datasets{path}"
        if path.count("/") < 6:
            return 404, "EntryNotFound", b""
        owner, name, _, revision, file = path.removeprefix("/datasets/").split("/", 4)
        repository = f"{owner}/{name}"
        if repository in self.refusals:
            status, code = self.refusals[repository]
            return status, code, b""
        known = [key for key in self.files if key.startswith(f"{repository}/")]
        if not known:
            return 404, "RepoNotFound", b""
        if revision not in ("main", COMMIT):
            return 404, "RevisionNotFound", b""
        content = self.files.get(f"{repository}/{file}")
        return (404, "EntryNotFound", b"") if content is None else (200, "", content)

    def _about_model(self, path: str) -> tuple[int, str, bytes]:
        """What is in a model repository, as the hub's API tells it."""
        owner, name, *rest = path.split("/", 2)
        prefix = f"{owner}/{name.partition('?')[0]}/"
        held = [key.removeprefix(prefix) for key in self.files if key.startswith(prefix)]
        if not held:
            return 404, "RepoNotFound", b""
        about = [] if rest else {"id": prefix[:-1], "sha": COMMIT, "siblings": [{"rfilename": file} for file in held]}
        return 200, "", json.dumps(about).encode()


@contextmanager
def serving(hub: Hub) -> Iterator[str]:
    """The address of the hub while it answers."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_HEAD(self) -> None:
            self.do_GET(body=False)

        def do_GET(self, body: bool = True) -> None:
            hub.asked.append(self.path)
            status, code, content = hub.answer(self.path)
            self.send_response(status)
            if code:
                self.send_header("X-Error-Code", code)
                self.send_header("X-Error-Message", f"refused: {code}")
            else:
                self.send_header("X-Repo-Commit", COMMIT)
                self.send_header("ETag", f'"{hashlib.sha1(content).hexdigest()}"')
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            if body:
                self.wfile.write(content)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()


def lines(rows: list[dict[str, object]]) -> bytes:
    return "".join(json.dumps(row) + "\n" for row in rows).encode()
