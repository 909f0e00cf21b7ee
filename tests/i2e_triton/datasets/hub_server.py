"""A server on 127.0.0.1 that speaks the part of the Hugging Face hub's protocol that downloads and uploads need."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote, urlsplit

COMMIT = "0123456789abcdef0123456789abcdef01234567"
#: A request that the server does not answer waits for this time at most.
_PATIENCE = 5


@dataclass
class Hub:
    """The repositories of a server, the requests that it got, and the faults that it shall show."""

    repositories: dict[str, dict[str, bytes]] = field(default_factory=dict)  #: name -> path -> content
    log: list[str] = field(default_factory=list)  #: method, path and range of every request
    uploads: dict[str, bytes] = field(default_factory=dict)  #: SHA-256 -> content, of uploads before the commit
    created: list[dict[str, Any]] = field(default_factory=list)  #: bodies of the requests that create a repository
    status: int | None = None  #: answer every request with this status
    token: str | None = None  #: answer 401 to requests of the API without this token
    cut_after: int | None = None  #: close the connection of the first transfer after this number of bytes
    resize: int = 0  #: number of bytes by which transfers differ from the size that the listing states
    silent_on: str | None = None  #: do not answer requests whose path contains this
    drop_once: str | None = None  #: close the connection of the first request whose path contains this
    url: str = ""

    def listing(self, name: str) -> list[dict[str, Any]]:
        """Return the entries of the API for all files of a repository."""
        return [
            {
                "type": "file",
                "path": path,
                "rfilename": path,
                "size": len(content),
                "oid": hashlib.sha1(content).hexdigest(),
                "blobId": hashlib.sha1(content).hexdigest(),
                "lfs": {"oid": _sha256(content), "sha256": _sha256(content), "size": len(content), "pointerSize": 100},
            }
            for path, content in self.repositories[name].items()
        ]


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    hub: Hub

    def log_message(self, *_: object) -> None:
        """Print nothing."""

    def do_HEAD(self) -> None:
        self._route()

    def do_GET(self) -> None:
        self._route()

    def do_POST(self) -> None:
        self._route()

    def do_PUT(self) -> None:
        self._route()

    def _route(self) -> None:
        self.body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        path = unquote(urlsplit(self.path).path)
        requested = self.headers.get("Range")
        self.hub.log.append(f"{self.command} {path}" + (f" {requested}" if requested else ""))
        if self.hub.drop_once and self.hub.drop_once in path:
            self.hub.drop_once, self.close_connection = None, True
            return
        if self.hub.silent_on and self.hub.silent_on in path:
            threading.Event().wait(_PATIENCE)  # tests replace time.sleep
            self.close_connection = True
            return
        expected = None if path.startswith("/cdn/") else self.hub.token and f"Bearer {self.hub.token}"
        if self.headers.get("Authorization") != expected:  # a token must not be sent to another host
            self._send({"error": "Invalid credentials"}, 401)
        elif self.hub.status is not None:
            self._send({"error": "fault"}, self.hub.status)
        else:
            self._answer(path)

    def _answer(self, path: str) -> None:
        routes: dict[str, Callable[..., None]] = {
            r"GET /api/datasets/([^/]+/[^/]+)(?:/revision/[^/]+)?": self._info,
            r"GET /api/datasets/([^/]+/[^/]+)/tree/[^/]+": self._tree,
            r"(?:HEAD|GET) /datasets/([^/]+/[^/]+)/resolve/[^/]+/(.+)": self._resolve,
            r"GET /cdn/([^/]+/[^/]+)/(.+)": self._content,
            r"POST /api/repos/create": self._create,
            r"POST /api/validate-yaml": self._validate,
            r"POST /api/datasets/([^/]+/[^/]+)/preupload/[^/]+": self._preupload,
            r"POST /datasets/([^/]+/[^/]+)\.git/info/lfs/objects/batch": self._batch,
            r"PUT /upload/([0-9a-f]+)": self._upload,
            r"POST /api/datasets/([^/]+/[^/]+)/commit/[^/]+": self._commit,
        }
        for pattern, answer in routes.items():
            if found := re.fullmatch(pattern, f"{self.command} {path}"):
                if found.groups() and "/" in found[1] and found[1] not in self.hub.repositories:
                    self._send({"error": "Repository not found"}, 404, {"X-Error-Code": "RepoNotFound"})
                else:
                    answer(*found.groups())
                return
        self._send({"error": f"unknown request {self.command} {path}"}, 404)

    def _send(self, content: object, status: int = 200, headers: dict[str, str] | None = None) -> None:
        data = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.send_response(status)
        for name, value in {"Content-Length": str(len(data)), **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    def _info(self, name: str) -> None:
        siblings = self.hub.listing(name)
        self._send({"id": name, "sha": COMMIT, "private": False, "tags": [], "downloads": 0, "siblings": siblings})

    def _tree(self, name: str) -> None:
        self._send(self.hub.listing(name))

    def _resolve(self, name: str, path: str) -> None:
        content = self.hub.repositories[name].get(path)
        if content is None:
            self._send({"error": "Entry not found"}, 404, {"X-Error-Code": "EntryNotFound", "X-Repo-Commit": COMMIT})
            return
        linked = {"X-Linked-Size": str(len(content)), "X-Linked-Etag": f'"{_sha256(content)}"'}
        # Another host name, as on the real hub: huggingface_hub follows redirects to the same host by itself.
        location = f"{self.hub.url.replace('127.0.0.1', 'localhost')}/cdn/{name}/{path}"
        self._send(b"", 302, {"X-Repo-Commit": COMMIT, "Location": location, **linked})

    def _content(self, name: str, path: str) -> None:
        content = self.hub.repositories[name][path]
        content = content[: len(content) + self.hub.resize] + bytes(max(0, self.hub.resize))
        start = int((self.headers.get("Range") or "bytes=0-").removeprefix("bytes=").split("-")[0])
        headers = {"ETag": f'"{_sha256(content)}"', "Content-Length": str(len(content) - start)}
        if start:
            headers["Content-Range"] = f"bytes {start}-{len(content) - 1}/{len(content)}"
        cut, self.hub.cut_after = self.hub.cut_after, None
        if cut is None:
            self._send(content[start:], 206 if start else 200, headers)
        else:
            self.close_connection = True
            self._send(content[start : start + cut], 206 if start else 200, headers)

    def _create(self) -> None:
        request = json.loads(self.body)
        name = f"{request['organization']}/{request['name']}"
        self.hub.created.append(request)
        if name in self.hub.repositories:
            self._send({"error": "exists", "url": f"{self.hub.url}/datasets/{name}"}, 409)
            return
        self.hub.repositories[name] = {}
        self._send({"url": f"{self.hub.url}/datasets/{name}", "id": name})

    def _validate(self) -> None:
        self._send({"warnings": [], "errors": []})

    def _preupload(self, name: str) -> None:
        files = json.loads(self.body)["files"]
        modes = [
            {
                "path": file["path"],
                "uploadMode": "lfs" if file["path"].endswith((".parquet", ".tar")) else "regular",
                "shouldIgnore": False,
                "oid": None,
            }
            for file in files
        ]
        self._send({"files": modes})

    def _batch(self, name: str) -> None:
        objects = [
            {**wanted, "actions": {"upload": {"href": f"{self.hub.url}/upload/{wanted['oid']}"}}}
            for wanted in json.loads(self.body)["objects"]
        ]
        self._send({"transfer": "basic", "objects": objects})

    def _upload(self, sha256: str) -> None:
        assert _sha256(self.body) == sha256
        self.hub.uploads[sha256] = self.body
        self._send(b"")

    def _commit(self, name: str) -> None:
        for line in self.body.splitlines():
            entry = json.loads(line)
            value = entry["value"]
            if entry["key"] == "lfsFile":
                self.hub.repositories[name][value["path"]] = self.hub.uploads[value["oid"]]
            elif entry["key"] == "deletedFile":
                del self.hub.repositories[name][value["path"]]
            elif entry["key"] == "file":
                self.hub.repositories[name][value["path"]] = base64.b64decode(value["content"])
        url = f"{self.hub.url}/datasets/{name}/commit/{COMMIT}"
        self._send({"success": True, "commitOid": COMMIT, "commitUrl": url})


def start(hub: Hub) -> ThreadingHTTPServer:
    """Start a server for ``hub`` in a thread and set its address. Call ``shutdown`` and ``server_close`` at the end."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"hub": hub}))
    server.daemon_threads = True
    hub.url = f"http://127.0.0.1:{server.server_port}"
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
    return server


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
