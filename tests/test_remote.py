"""memgan.remote: downloads from, and uploads to, an imitation of the Hugging Face hub on the loopback device."""

import dataclasses
import http.server
import json
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from tiny_weights import CONFIG, write

from memgan import checkpoint, hub, remote
from memgan.errors import ChecksumError, WeightsError, WeightsNotFoundError

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture
def weight_file(tmp_path: Path) -> Path:
    return write(tmp_path)


@dataclasses.dataclass
class Server:
    """An imitation of the hub that has one repository, ``owner/tiny``, of one commit, also called ``main``."""

    url: str
    requests: list[str]
    content: bytes
    status: int = 200


@pytest.fixture
def server(weight_file: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            self.answer(with_body=False)

        def do_GET(self) -> None:
            self.answer(with_body=True)

        def answer(self, with_body: bool) -> None:
            hub_server.requests.append(f"{self.command} {self.path}")
            good = [f"/owner/tiny/resolve/{revision}/model.safetensors" for revision in (COMMIT, "main")]
            status, code = hub_server.status, ""
            if status == 200 and self.path not in good:
                status = 404
                code = "RepoNotFound"
                if self.path.startswith("/owner/tiny/"):
                    code = "EntryNotFound" if self.path.split("/")[4] in (COMMIT, "main") else "RevisionNotFound"
            self.send_response(status)
            self.send_header("X-Repo-Commit", COMMIT)
            self.send_header("ETag", f'"{hash(hub_server.content) & 0xFFFFFFFF:x}"')
            self.send_header("Content-Length", str(len(hub_server.content) if status == 200 else 0))
            if code:
                self.send_header("X-Error-Code", code)
            self.end_headers()
            if with_body and status == 200:
                self.wfile.write(hub_server.content)

        def log_message(self, *args: object) -> None:
            """Keep the test's output clean."""

    http_server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    hub_server = Server(f"http://127.0.0.1:{http_server.server_port}", [], weight_file.read_bytes())
    thread = threading.Thread(target=http_server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    monkeypatch.setenv("HF_ENDPOINT", hub_server.url)
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    monkeypatch.setattr("urllib.request.getproxies", dict)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    yield hub_server
    http_server.shutdown()
    http_server.server_close()
    thread.join()


class TestHub:
    def test_download_then_cache(self, server: Server, tmp_path: Path) -> None:
        cache = tmp_path / "cache"
        path = hub.resolve(f"hf-hub:owner/tiny@{COMMIT}", cache_dir=cache)
        assert path.is_relative_to(cache) and path.read_bytes() == server.content
        assert any(request.startswith("GET") for request in server.requests)
        server.requests.clear()
        assert hub.load("hf-hub:owner/tiny", revision=COMMIT, cache_dir=cache).config == CONFIG
        assert server.requests == []  # a commit that is cached needs no request at all

    def test_default_branch_is_asked_for_and_cached(
        self, server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        assert hub.load("hf-hub:owner/tiny", cache_dir=tmp_path / "cache").config == CONFIG
        monkeypatch.setenv("HF_HUB_OFFLINE", "1")
        server.requests.clear()
        assert hub.load("hf-hub:owner/tiny", cache_dir=tmp_path / "cache").config == CONFIG
        assert server.requests == []

    def test_registered_weights_are_downloaded_at_their_pin(
        self, server: Server, tmp_path: Path, weight_file: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        spec = hub.WeightSpec(
            "remote", "model.safetensors", hub.sha256_of(weight_file), "none", repo_id="owner/tiny", revision=COMMIT
        )
        monkeypatch.setitem(hub.REGISTRY, "remote", spec)
        assert hub.load("remote", cache_dir=tmp_path / "cache").config == CONFIG
        assert all(f"/resolve/{COMMIT}/" in request for request in server.requests)
        monkeypatch.setitem(hub.REGISTRY, "remote", dataclasses.replace(spec, sha256="0" * 64))
        with pytest.raises(ChecksumError, match="registered is 0000"):
            hub.load("remote", cache_dir=tmp_path / "cache")
        assert hub.load("remote", cache_dir=tmp_path / "cache", revision="main").config == CONFIG

    @pytest.mark.parametrize(
        ("name", "message"),
        [
            ("hf-hub:owner/none", "has no repository 'owner/none'"),
            ("hf-hub:owner/tiny@v9", "has no revision 'v9'"),
            ("hf-hub:too/many/parts", "no repository name"),
            ("hf-hub:", "no repository name"),
        ],
    )
    def test_what_is_not_there(self, server: Server, tmp_path: Path, name: str, message: str) -> None:
        with pytest.raises(WeightsNotFoundError, match=message):
            hub.load(name, cache_dir=tmp_path / "cache")

    def test_repository_without_weights(self, server: Server, tmp_path: Path) -> None:
        with pytest.raises(WeightsNotFoundError, match=r"no file 'other\.safetensors'"):
            remote.download("owner/tiny", "other.safetensors", None, tmp_path / "cache", None)

    def test_failing_server(self, server: Server, tmp_path: Path) -> None:
        server.status = 403
        with pytest.raises(WeightsError) as caught:
            hub.load("hf-hub:owner/tiny", cache_dir=tmp_path / "cache")
        assert server.url in str(caught.value)

    @pytest.mark.parametrize("how", ["argument", "variable", "no network"])
    @pytest.mark.parametrize("revision", [None, COMMIT])
    def test_offline_miss_is_quick(
        self, how: str, revision: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        import huggingface_hub  # noqa: F401 (its import takes a while, and is not what is measured)

        monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")  # nothing listens there
        monkeypatch.setattr("urllib.request.getproxies", dict)
        monkeypatch.setenv("HF_HUB_OFFLINE", "1" if how == "variable" else "0")
        started = time.monotonic()
        with pytest.raises(WeightsNotFoundError, match="give its path"):
            hub.load(
                "hf-hub:owner/tiny",
                revision=revision,
                cache_dir=tmp_path / "cache",
                offline=True if how == "argument" else None,
            )
        assert time.monotonic() - started < 1

    def test_offline_never_connects(self, server: Server, tmp_path: Path) -> None:
        with pytest.raises(WeightsNotFoundError):
            hub.load("hf-hub:owner/tiny", cache_dir=tmp_path / "cache", offline=True)
        assert server.requests == []


class FakeApi:
    """Stands for ``huggingface_hub.HfApi`` and remembers what it is told."""

    calls: list[tuple] = []  # noqa: RUF012 (shared on purpose; reset by the tests)
    failure: Exception | None = None

    def __init__(self, **options: object) -> None:
        self.calls.append(("api", options))

    def create_repo(self, repo_id: str, **options: object) -> None:
        if self.failure is not None:
            raise self.failure
        self.calls.append(("create", repo_id, options))

    def upload_folder(self, *, repo_id: str, folder_path: str, commit_message: str) -> object:
        files = {file.name: file.read_bytes() for file in Path(folder_path).iterdir()}
        self.calls.append(("upload", repo_id, files, commit_message))
        return type("CommitInfo", (), {"oid": COMMIT})()


class TestPush:
    @pytest.fixture(autouse=True)
    def api(self, monkeypatch: pytest.MonkeyPatch) -> None:
        FakeApi.calls.clear()
        monkeypatch.setattr(FakeApi, "failure", None)
        monkeypatch.setattr("huggingface_hub.HfApi", FakeApi)
        monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")

    def test_uploads_what_load_reads(self, weight_file: Path, tmp_path: Path) -> None:
        loaded = hub.load(weight_file)
        assert hub.push_to_hub("owner/tiny", loaded, card="# Tiny", private=True, token="t") == COMMIT
        made, created, uploaded = FakeApi.calls
        assert made == ("api", {"endpoint": "http://127.0.0.1:9", "token": "t"})
        assert created == ("create", "owner/tiny", {"private": True, "exist_ok": True})
        files = uploaded[2]
        assert files["README.md"] == b"# Tiny" and json.loads(files["config.json"])["name"] == "tiny"
        (tmp_path / "back.safetensors").write_bytes(files["model.safetensors"])
        assert checkpoint.read(tmp_path / "back.safetensors").metadata == loaded.metadata

    def test_refusal_says_what_to_do(self, weight_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(FakeApi, "failure", OSError("401 Unauthorized"))
        with pytest.raises(WeightsError, match=r"401 Unauthorized.*HF_TOKEN"):
            hub.push_to_hub("owner/tiny", hub.load(weight_file))
