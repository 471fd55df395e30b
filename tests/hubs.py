"""A stand-in for the Hugging Face hub: what its own client asks when it makes a repository and commits files to it."""

from __future__ import annotations

import base64
import hashlib
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlparse


class StandInHub:
    """Keeps what was committed. refuses: status answered to whatever asks to write.

    repositories: name -> {"private": ..., "files": path -> bytes}.  requests: of each request, its method and path.
    """

    def __init__(self):
        self.repositories, self.requests, self.refuses, self.blobs = {}, [], 0, {}
        self.pull_requests, self.tokens = [], set()
        self.http = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self.url = f"http://127.0.0.1:{self.http.server_port}"
        self.thread = threading.Thread(target=self.http.serve_forever, kwargs={"poll_interval": 0.01})
        self.thread.start()

    def close(self):
        self.http.shutdown()
        self.thread.join()
        self.http.server_close()

    def answer(self, path, query, body):
        """(status, what to answer) to a POST."""
        if path == "/api/validate-yaml":
            return 200, {"errors": [], "warnings": []}
        if self.refuses:
            return self.refuses, {"error": "refused here"}
        if path == "/api/repos/create":
            asked = json.loads(body)
            name = f"{asked['organization']}/{asked['name']}"
            if name in self.repositories:
                return 409, {"error": "You already created this model repo", "url": f"{self.url}/{name}"}
            self.repositories[name] = {
                "private": asked.get("visibility") == "private" or asked.get("private"),
                "files": {},
            }
            return 200, {"url": f"{self.url}/{name}"}
        if "/preupload/" in path:
            files = json.loads(body)["files"]
            modes = {True: "lfs", False: "regular"}
            return 200, {
                "files": [
                    {"path": f["path"], "uploadMode": modes[f["path"].endswith(".safetensors")], "shouldIgnore": False}
                    for f in files
                ]
            }
        if path.endswith("/info/lfs/objects/batch"):
            objects = [
                {**one, "actions": {"upload": {"href": f"{self.url}/blobs/{one['oid']}"}}}
                for one in json.loads(body)["objects"]
            ]
            return 200, {"transfer": "basic", "objects": objects}
        if "/commit/" in path:
            return self.commit(path.removeprefix("/api/models/").partition("/commit/")[0], query, body)
        return 404, {"error": f"nothing at {path}"}

    def commit(self, name, query, body):
        files = {}
        for line in body.decode().splitlines():
            row = json.loads(line)
            if row["key"] == "file":
                files[row["value"]["path"]] = base64.b64decode(row["value"]["content"])
            elif row["key"] == "lfsFile":
                files[row["value"]["path"]] = self.blobs[row["value"]["oid"]]
        if "create_pr=1" in query:
            self.pull_requests.append((name, files))
        else:
            self.repositories[name]["files"].update(files)
        about = {"commitUrl": f"{self.url}/{name}/commit/abc", "commitOid": "abc"}
        return 200, about | {"pullRequestUrl": f"{self.url}/{name}/discussions/1"}

    def _handler(self):
        hub = self

        class Handler(BaseHTTPRequestHandler):
            def _body(self):
                if "chunked" not in self.headers.get("transfer-encoding", ""):
                    return self.rfile.read(int(self.headers.get("content-length", 0)))
                parts = []
                while size := int(self.rfile.readline(), 16):
                    parts.append(self.rfile.read(size))
                    self.rfile.readline()
                self.rfile.readline()
                return b"".join(parts)

            def _send(self, status, content):
                body = json.dumps(content).encode()
                self.send_response(status)
                self.send_header("content-type", "application/json")
                self.send_header("content-length", str(len(body)))
                if status >= 400:
                    self.send_header("x-error-message", content["error"])
                self.end_headers()
                self.wfile.write(body)

            def do_POST(self):
                asked, body = urlparse(self.path), self._body()
                hub.requests.append(("POST", asked.path))
                hub.tokens.add(self.headers.get("authorization", ""))
                self._send(*hub.answer(asked.path, asked.query, body))

            def do_PUT(self):
                body = self._body()
                hub.requests.append(("PUT", self.path))
                hub.blobs[hashlib.sha256(body).hexdigest()] = body
                self._send(200, {})

            def do_GET(self):
                hub.requests.append(("GET", self.path))
                self._send(404, {"error": "not found"})

            def log_message(self, *arguments):
                pass

        return Handler
