"""An imitation of the Hugging Face hub, and of a server of plain files, on the loopback device."""

import base64
import contextlib
import dataclasses
import hashlib
import http.server
import json
import re
import threading
import time
import types
from collections.abc import Iterator
from typing import Any

import pytest

FIRST = "0123456789abcdef0123456789abcdef01234567"
SECOND = "89abcdef0123456789abcdef0123456789abcdef"


@dataclasses.dataclass
class Request:
    """What a client asked for."""

    method: str
    path: str
    range: str | None
    token: str | None


@dataclasses.dataclass
class FakeHub:
    """The server's content, its moods, and what it was asked.

    Files that end in ``.safetensors`` are served as the hub serves large ones: by redirection to another address
    (``/cdn/SHA-256``) which knows ranges.
    """

    url: str = ""
    commits: dict[str, dict[str, dict[str, bytes]]] = dataclasses.field(default_factory=dict)
    """Repository to commit to files; the last commit is also called ``main``."""
    renamed: dict[str, str] = dataclasses.field(default_factory=dict)
    private: dict[str, str] = dataclasses.field(default_factory=dict)
    """Repository to the token that opens it."""
    gated: set[str] = dataclasses.field(default_factory=set)
    files: dict[str, bytes] = dataclasses.field(default_factory=dict)
    """Plain files, at ``/files/NAME``."""
    cuts: list[int] = dataclasses.field(default_factory=list)
    """One entry for each of the next bodies: cut the connection after so many bytes."""
    statuses: list[int] = dataclasses.field(default_factory=list)
    """Answers to the next requests for bodies, instead of the file."""
    head_status: int = 0
    """Answer to every question about a file (HEAD), if not 0."""
    head_seconds: float = 0.0
    """Pause before each answer to such a question."""
    knows_ranges: bool = True
    length_error: int = 0
    """Added to the announced length of bodies."""
    length: str | None = ""
    """Announced instead of it, if not empty; ``None``: nothing is."""
    wrong_bodies: int = 0
    """So many of the next bodies have their last byte changed."""
    seconds: float = 0.0
    """Pause before each body."""
    requests: list[Request] = dataclasses.field(default_factory=list)

    def put(self, repo_id: str, files: dict[str, bytes], commit: str = FIRST) -> None:
        """Add a commit."""
        self.commits.setdefault(repo_id, {})[commit] = dict(files)

    def bodies(self, path: str = "") -> list[Request]:
        """Requests for bodies so far of addresses that contain ``path``."""
        return [request for request in self.requests if request.method == "GET" and path in request.path]


@contextlib.contextmanager
def serving() -> Iterator[FakeHub]:
    """Run a server in a thread."""
    hub = FakeHub()
    handler = type("Handler", (_Handler,), {"hub": hub, "lock": threading.Lock()})
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    hub.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def use(fake: FakeHub, monkeypatch: pytest.MonkeyPatch) -> None:
    """Make ``fake`` the hub of this process, whatever the environment and the login of this machine say."""
    monkeypatch.setenv("HF_ENDPOINT", fake.url)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1,localhost")
    for variable in ("HF_HUB_OFFLINE", "HF_TOKEN", "MEMGAN_HOME", "MEMGAN_MIRRORS"):
        monkeypatch.delenv(variable, raising=False)
    # The client reads some variables once, when it is imported.
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_DISABLE_PROGRESS_BARS", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_TOKEN_PATH", "/nowhere")
    # It waits a second before it goes on with a cut download.
    impatient = types.SimpleNamespace(**{**vars(time), "sleep": lambda seconds: None})
    monkeypatch.setattr("huggingface_hub.file_download.time", impatient)


class _Handler(http.server.BaseHTTPRequestHandler):
    hub: FakeHub
    lock: threading.Lock

    def do_HEAD(self) -> None:
        self._answer()

    def do_GET(self) -> None:
        self._answer()

    def do_POST(self) -> None:
        length = int(self.headers.get("Content-Length", 0))
        body = self.rfile.read(length)
        self._record()
        if self.path == "/api/repos/create":
            about = json.loads(body)
            name = f"{about['organization']}/{about['name']}" if about.get("organization") else about["name"]
            self.hub.commits.setdefault(name, {})
            self._json({"url": f"{self.hub.url}/{name}", "name": name})
        elif self.path == "/api/validate-yaml":
            self._json({"errors": [], "warnings": []})
        elif match := re.fullmatch(r"/api/models/(.+)/preupload/main", self.path):
            files = [
                {"path": file["path"], "uploadMode": "regular", "shouldIgnore": False, "oid": None}
                for file in json.loads(body)["files"]
            ]
            self._json({"files": files})
        elif match := re.fullmatch(r"/api/models/(.+)/commit/main", self.path):
            if self.headers.get("Authorization") != "Bearer writer":
                self._error(401, "", "Invalid username or password.")
                return
            lines = [json.loads(line) for line in body.splitlines()]
            files = {
                line["value"]["path"]: base64.b64decode(line["value"]["content"])
                for line in lines
                if line["key"] == "file"
            }
            self.hub.put(match[1], files, SECOND)
            self._json({"commitOid": SECOND, "commitUrl": f"{self.hub.url}/{match[1]}/commit/{SECOND}"})
        else:
            self._error(404, "", "no such address")

    def _record(self) -> None:
        token = self.headers.get("Authorization")
        token = token.removeprefix("Bearer ") if token else None
        self.hub.requests.append(Request(self.command, self.path, self.headers.get("Range"), token))

    def _answer(self) -> None:
        self._record()
        hub = self.hub
        if self.command == "HEAD":
            time.sleep(hub.head_seconds)
        if self.command == "HEAD" and hub.head_status:
            self._error(hub.head_status, "", "out of order")
        elif match := re.fullmatch(r"/cdn/([0-9a-f]{64})", self.path):
            every = [data for commits in hub.commits.values() for files in commits.values() for data in files.values()]
            self._body(next(data for data in every if hashlib.sha256(data).hexdigest() == match[1]), match[1], {})
        elif self.path.startswith("/files/"):
            name = self.path.removeprefix("/files/")
            if name in hub.files:
                self._body(hub.files[name], "plain", {})
            else:
                self._error(404, "", "no such file")
        elif re.match(r"/api/models/.+/revision/main", self.path):
            self._json({"id": "x", "xetEnabled": False})
        elif match := re.fullmatch(r"/([^/]+/[^/]+)/resolve/([^/]+)/(.+)", self.path):
            self._resolve(*match.groups())
        else:
            self._error(404, "", "no such address")

    def _resolve(self, repo_id: str, revision: str, filename: str) -> None:
        hub = self.hub
        if repo_id in hub.renamed:
            self.send_response(307)
            self.send_header("Location", self.path.replace(repo_id, hub.renamed[repo_id], 1))
            self.end_headers()
            return
        token = (self.headers.get("Authorization") or "").removeprefix("Bearer ")
        if repo_id not in hub.commits or (repo_id in hub.private and token != hub.private[repo_id]):
            # As the hub does: whether a private repository exists is nobody's business.
            self._error(404 if token else 401, "RepoNotFound", "Repository not found")
            return
        if repo_id in hub.gated:
            self._error(403, "GatedRepo", "Access to this model is restricted")
            return
        commit = list(hub.commits[repo_id])[-1] if revision == "main" else revision
        if commit not in hub.commits[repo_id]:
            self._error(404, "RevisionNotFound", "Invalid rev id")
            return
        files = hub.commits[repo_id][commit]
        if filename not in files:
            self._error(404, "EntryNotFound", "Entry not found", {"X-Repo-Commit": commit})
            return
        data = files[filename]
        digest = hashlib.sha256(data).hexdigest()
        if filename.endswith(".safetensors"):
            self.send_response(302)
            self.send_header("X-Repo-Commit", commit)
            self.send_header("X-Linked-Etag", f'"{digest}"')
            self.send_header("X-Linked-Size", str(len(data)))
            # Another host, as on the real hub: the client follows redirections within one host by itself.
            self.send_header("Location", f"{hub.url.replace('127.0.0.1', 'localhost')}/cdn/{digest}")
            self.end_headers()
        else:
            self._body(data, digest[:40], {"X-Repo-Commit": commit})

    def _body(self, data: bytes, etag: str, headers: dict[str, str]) -> None:
        hub = self.hub
        start, cut = 0, None
        if self.command == "GET":
            time.sleep(hub.seconds)
            with self.lock:
                status = hub.statuses.pop(0) if hub.statuses else 0
                cut = hub.cuts.pop(0) if hub.cuts and not status else None
                if hub.wrong_bodies and not status:
                    hub.wrong_bodies -= 1
                    data = data[:-1] + bytes([data[-1] ^ 1])
            if status:
                self._error(status, "", "not now")
                return
            if (asked := self.headers.get("Range")) and hub.knows_ranges:
                start = int(asked.removeprefix("bytes=").split("-")[0])
                if start >= len(data):
                    self._error(416, "", "nothing there", {"Content-Range": f"bytes */{len(data)}"})
                    return
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(data) - 1}/{len(data)}")
        self.send_header("ETag", f'"{etag}"')
        if hub.length is not None:
            self.send_header("Content-Length", hub.length or str(len(data) - start + hub.length_error))
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command == "GET":
            with contextlib.suppress(ConnectionError):  # a client may have enough
                self.wfile.write(data[start:] if cut is None else data[start : start + cut])

    def _json(self, content: Any) -> None:
        data = json.dumps(content).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def _error(self, status: int, code: str, text: str, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        if code:
            self.send_header("X-Error-Code", code)
        self.send_header("X-Error-Message", text)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *args: object) -> None:
        """Keep the test's output clean."""
