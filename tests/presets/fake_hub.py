"""A small server that speaks the hub's API on loopback, and fails on demand."""

from __future__ import annotations

import hashlib
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

REPOSITORY = "someone/small"
_LFS = (".safetensors", ".gguf", ".bin", ".pth", "tokenizer.model")


def commit_of(number: int) -> str:
    """The number-th commit of a repository."""
    return hashlib.sha1(str(number).encode()).hexdigest()


class FakeHub:
    """One repository with one list of files a commit, and the faults to show."""

    def __init__(self) -> None:
        self.url = ""
        self.commits: list[dict[str, bytes]] = []
        self.gated_for: str | None = None  # the token that may read; None: everybody
        self.private = False
        self.cuts: dict[str, int] = {}  # by path: transfers that break off in the middle
        self.errors = 0  # answers of 503
        self.damaged: set[str] = set()  # paths whose content differs from what is promised
        self.requests: list[tuple[str, str, str | None]] = []  # method, path, Range
        self.after_listing: Any = None  # called once the list of files was sent
        self.lock = threading.Lock()

    def add_commit(self, files: dict[str, bytes]) -> str:
        self.commits.append(files)
        return commit_of(len(self.commits))

    def commit(self, revision: str) -> tuple[str, dict[str, bytes]] | None:
        if revision == "main":
            return commit_of(len(self.commits)), self.commits[-1]
        for number, files in enumerate(self.commits, 1):
            if commit_of(number) == revision:
                return revision, files
        return None

    def fetched(self, path: str) -> list[str | None]:
        """The Range of each GET of a file."""
        end = f"/{path}"
        return [part for method, at, part in self.requests if method == "GET" and at.endswith(end)]


@contextmanager
def serve(hub: FakeHub) -> Iterator[FakeHub]:
    """Run it while the block runs."""
    handler = type("Handler", (_Handler,), {"hub": hub})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    hub.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class _Handler(BaseHTTPRequestHandler):
    hub: FakeHub
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing: the tests read `requests`."""

    def do_HEAD(self) -> None:
        self.answer(body=False)

    def do_GET(self) -> None:
        self.answer(body=True)

    def answer(self, *, body: bool) -> None:
        path = self.path.partition("?")[0]
        self.hub.requests.append((self.command, path, self.headers.get("Range")))
        with self.hub.lock:
            if self.hub.errors:
                self.hub.errors -= 1
                return self.fail(503, None)
        listed = re.fullmatch(rf"/api/models/{REPOSITORY}(?:/revision/(.+))?", path)
        file = re.fullmatch(rf"/{REPOSITORY}/resolve/([^/]+)/(.+)", path)
        if (listed is None and file is None) or self.hub.private:
            return self.fail(404, "RepoNotFound")
        found = self.hub.commit((listed[1] if listed else file[1] if file else None) or "main")
        if found is None:
            return self.fail(404, "RevisionNotFound")
        allowed = self.headers.get("Authorization") == f"Bearer {self.hub.gated_for}"
        if file is None:
            return self.list(*found)
        if self.hub.gated_for is not None and not allowed:
            return self.fail(401, "GatedRepo")
        if file[2] not in found[1]:
            return self.fail(404, "EntryNotFound")
        return self.send_file(found[0], file[2], found[1][file[2]], body=body)

    def list(self, commit: str, files: dict[str, bytes]) -> None:
        siblings = []
        for path, content in files.items():
            entry: dict[str, Any] = {
                "rfilename": path,
                "size": len(content),
                "blobId": git(content),
            }
            if path.endswith(_LFS):
                digest = hashlib.sha256(content).hexdigest()
                entry["lfs"] = {"sha256": digest, "size": len(content), "pointerSize": 100}
            siblings.append(entry)
        facts = {"id": REPOSITORY, "modelId": REPOSITORY, "sha": commit, "siblings": siblings}
        data = json.dumps(facts | {"private": False, "tags": [], "downloads": 0}).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)
        if self.hub.after_listing is not None:
            self.hub.after_listing()

    def send_file(self, commit: str, path: str, content: bytes, *, body: bool) -> None:
        large = path.endswith(_LFS)
        etag = hashlib.sha256(content).hexdigest() if large else git(content)
        if path in self.hub.damaged:
            content = bytes(len(content))
        start = 0
        if wanted := re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range") or ""):
            start = int(wanted[1])
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        self.send_header("Content-Length", str(len(content) - start))
        self.send_header("Accept-Ranges", "bytes")
        self.send_header("ETag", f'"{etag}"')
        self.send_header("X-Repo-Commit", commit)
        self.end_headers()
        if not body:
            return
        with self.hub.lock:
            left = self.hub.cuts.get(path, 0)
            cut = left > 0
            self.hub.cuts[path] = left - cut
        part = content[start:]
        self.wfile.write(part[: len(part) // 2] if cut else part)
        if cut:
            self.wfile.flush()
            self.close_connection = True

    def fail(self, status: int, code: str | None) -> None:
        self.send_response(status)
        if code is not None:
            self.send_header("X-Error-Code", code)
            self.send_header("X-Error-Message", "no")
        self.send_header("Content-Length", "0")
        self.end_headers()


def git(content: bytes) -> str:
    """What git calls a blob."""
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()
