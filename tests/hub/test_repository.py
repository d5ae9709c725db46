"""memgan.hub.repository, against an imitation of the Hugging Face hub on the loopback device."""

import dataclasses
import hashlib
import json
import multiprocessing
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import disks
import pytest
import torch
from hub_server import FIRST, SECOND, FakeHub, serving, use
from tiny import FILE_CONFIG as CONFIG
from tiny import tiny_state
from tiny import write_tiny_file as write

from memgan import hub
from memgan.errors import ChecksumError, OutputError, WeightsError, WeightsNotFoundError
from memgan.hub.repository import Repository, upload

NAME = "hf-hub:owner/tiny"


@pytest.fixture
def content(tmp_path: Path) -> bytes:
    return write(tmp_path).read_bytes()


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "cache"


@pytest.fixture
def server(content: bytes, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeHub]:
    """A hub with ``owner/tiny``, which the client is told to use."""
    with serving() as fake:
        fake.put("owner/tiny", {"config.json": CONFIG.to_json().encode(), "model.safetensors": content})
        use(fake, monkeypatch)
        yield fake


def registered(monkeypatch: pytest.MonkeyPatch, content: bytes, **changes: object) -> hub.WeightSpec:
    """``remote``: the file of ``owner/tiny`` at its pinned commit."""
    sha256 = hashlib.sha256(content).hexdigest()
    spec = hub.WeightSpec("remote", "tiny-1.safetensors", sha256, "none", repo_id="owner/tiny", revision=FIRST)
    spec = dataclasses.replace(spec, **changes)
    monkeypatch.setitem(hub.REGISTRY, "remote", spec)
    return spec


def nothing_half_written(folder: Path) -> None:
    """No file under a final name that is not whole."""
    for path in folder.rglob("*.safetensors"):
        hub.load(path)


class TestDownload:
    def test_download_then_cache(self, server: FakeHub, content: bytes, cache: Path) -> None:
        path = hub.resolve(f"{NAME}@{FIRST}", cache_dir=cache)
        assert path.is_relative_to(cache) and path.read_bytes() == content
        assert (path.parent / "config.json").is_file()
        server.requests.clear()
        assert hub.load(NAME, revision=FIRST, cache_dir=cache).config == CONFIG
        assert server.requests == []  # a commit that is cached needs no request at all

    def test_without_prefix(self, server: FakeHub, cache: Path) -> None:
        assert hub.load("owner/tiny", cache_dir=cache).config == CONFIG
        assert hub.load(f"owner/tiny@{FIRST}", cache_dir=cache, offline=True).config == CONFIG

    def test_the_default_branch_is_asked_for_and_serves_offline(
        self, server: FakeHub, cache: Path, content: bytes, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        old = hub.resolve(NAME, cache_dir=cache)
        server.put("owner/tiny", {"model.safetensors": content}, SECOND)
        new = hub.resolve(NAME, cache_dir=cache)
        assert (old.parent.name, new.parent.name) == (FIRST, SECOND)
        monkeypatch.setenv("HF_HUB_OFFLINE", "1")
        server.requests.clear()
        assert hub.resolve(NAME, cache_dir=cache) == new and server.requests == []

    def test_a_pinned_revision_stays(self, server: FakeHub, cache: Path) -> None:
        server.put("owner/tiny", {"model.safetensors": b"something else"}, SECOND)
        assert hub.load(f"{NAME}@{FIRST}", cache_dir=cache).config == CONFIG
        assert not any(SECOND in request.path or "main" in request.path for request in server.requests)

    def test_configuration_beside_a_bare_model(self, server: FakeHub, cache: Path) -> None:
        from safetensors.torch import save

        files = {"config.json": CONFIG.to_json().encode(), "model.safetensors": save({"a": torch.zeros(2)})}
        server.put("owner/bare", files)
        assert hub.load("owner/bare", cache_dir=cache).config == CONFIG

    def test_model_in_several_files(self, server: FakeHub, cache: Path) -> None:
        from safetensors.torch import save

        state = tiny_state()
        names = sorted(state)
        places = {name: f"model-0000{1 + names.index(name) // 2}-of-00002.safetensors" for name in names}
        files = {"config.json": CONFIG.to_json().encode()}
        for place in sorted(set(places.values())):
            files[place] = save({name: state[name] for name in names if places[name] == place})
        files["model.safetensors.index.json"] = json.dumps({"weight_map": places}).encode()
        server.put("owner/large", files)
        for offline in (False, True):
            loaded = hub.load("owner/large", cache_dir=cache, offline=offline)
            assert loaded.config == CONFIG and all(torch.equal(loaded.state[name], state[name]) for name in names)
        assert len(names) == 3 and len(set(places.values())) == 2
        files["model.safetensors.index.json"] = json.dumps({"weight_map": {**places, "b": places[names[0]]}}).encode()
        server.put("owner/large", files, SECOND)
        with pytest.raises(WeightsError, match=r"tensors that its files lack: \['b'\]"):
            hub.load("owner/large", cache_dir=cache)
        server.put("owner/large", {"model.safetensors.index.json": b"[]"}, "c" * 40)
        with pytest.raises(WeightsError, match="no index of safetensors"):
            hub.load("owner/large", cache_dir=cache)

    def test_registered_weights_come_at_their_pin(
        self, server: FakeHub, cache: Path, content: bytes, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        registered(monkeypatch, content)
        assert hub.where(hub.REGISTRY["remote"], cache) == ("remote", None)
        with pytest.raises(WeightsNotFoundError) as caught:
            hub.load("remote", cache_dir=cache, offline=True)
        for words in (f"/owner/tiny/resolve/{FIRST}/model.safetensors", f"put it at {cache / 'tiny-1.safetensors'}"):
            assert words in str(caught.value)
        assert hub.load("remote", cache_dir=cache).config == CONFIG
        assert all(f"/resolve/{FIRST}/" in r.path or "/cdn/" in r.path for r in server.requests)
        assert hub.where(hub.REGISTRY["remote"], cache)[0] == "cached"

    def test_folders_by_environment(
        self, server: FakeHub, tmp_path: Path, content: bytes, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.delenv("HF_HUB_CACHE", raising=False)
        monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
        assert hub.resolve(NAME).is_relative_to(tmp_path / "hf" / "hub")
        monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "own"))
        assert hub.resolve(NAME).is_relative_to(tmp_path / "own")
        monkeypatch.setenv("MEMGAN_HOME", str(tmp_path / "home"))
        assert hub.resolve(NAME).is_relative_to(tmp_path / "home")

    def test_a_renamed_repository_is_followed(self, server: FakeHub, cache: Path) -> None:
        server.renamed["old/name"] = "owner/tiny"
        assert hub.load("hf-hub:old/name", cache_dir=cache).config == CONFIG
        assert hub.load(f"hf-hub:old/name@{FIRST}", cache_dir=cache, offline=True).config == CONFIG


class TestTokens:
    def test_private(self, server: FakeHub, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        server.private["owner/tiny"] = "secret"
        with pytest.raises(WeightsNotFoundError, match="HF_TOKEN"):
            hub.load(NAME, cache_dir=cache)
        with pytest.raises(WeightsNotFoundError, match="HF_TOKEN"):
            hub.load(NAME, cache_dir=cache, token="wrong")
        assert hub.load(NAME, cache_dir=cache / "a", token="secret").config == CONFIG
        assert {request.token for request in server.bodies("/cdn/")} == {None}  # other hosts must not see it
        monkeypatch.setenv("HF_TOKEN", "secret")
        assert hub.load(NAME, cache_dir=cache / "b").config == CONFIG

    def test_gated(self, server: FakeHub, cache: Path) -> None:
        server.gated.add("owner/tiny")
        with pytest.raises(WeightsNotFoundError, match=rf"gated: ask for access at {server.url}/owner/tiny.*HF_TOKEN"):
            hub.load(NAME, cache_dir=cache)

    @pytest.mark.parametrize("status", [401, 403])
    def test_refused(self, server: FakeHub, cache: Path, status: int) -> None:
        server.head_status = status
        with pytest.raises(WeightsError, match=rf"refuses 'config\.json' of 'owner/tiny' \({status}\); log in"):
            hub.load(NAME, cache_dir=cache)

    def test_a_token_is_not_shown(self) -> None:
        assert "secret" not in repr(Repository("a/b", token="secret"))


class TestMissing:
    @pytest.mark.parametrize(
        ("name", "message"),
        [
            ("hf-hub:owner/none", "has no repository 'owner/none'"),
            ("owner/none", "no folder 'owner/none' here, and on the hub: .* has no repository"),
            ("hf-hub:owner/tiny@v9", "has no revision 'v9'"),
            ("hf-hub:too/many/parts", "no repository name"),
            ("hf-hub:", "no repository name"),
        ],
    )
    def test_what_is_not_there(self, server: FakeHub, cache: Path, name: str, message: str) -> None:
        with pytest.raises(WeightsNotFoundError, match=message):
            hub.load(name, cache_dir=cache)

    def test_repository_of_something_else(self, server: FakeHub, cache: Path) -> None:
        server.put("owner/pickle", {"pytorch_model.bin": b"\x80\x02"})
        with pytest.raises(WeightsNotFoundError, match=r"no file 'model\.safetensors'.*Pickled files are never read"):
            hub.load("owner/pickle", cache_dir=cache)
        assert not server.bodies()

    def test_single_file(self, server: FakeHub, cache: Path) -> None:
        with pytest.raises(WeightsNotFoundError, match=r"no file 'other\.safetensors'"):
            Repository("owner/tiny", cache_dir=cache).file("other.safetensors")


class TestOffline:
    @pytest.mark.parametrize("how", ["argument", "variable", "no network"])
    @pytest.mark.parametrize("revision", [None, FIRST])
    def test_a_miss_is_quick_and_says_what_to_put_where(
        self, how: str, revision: str | None, cache: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        import huggingface_hub  # noqa: F401 (its import takes a while, and is not what is measured)

        monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")  # nothing listens there
        monkeypatch.setenv("HF_HUB_OFFLINE", "1" if how == "variable" else "0")
        started = time.monotonic()
        with pytest.raises(WeightsNotFoundError) as caught:
            hub.load(NAME, revision=revision, cache_dir=cache, offline=True if how == "argument" else None)
        assert time.monotonic() - started < 1
        source, folder = f"/owner/tiny/resolve/{revision or 'main'}/", str(cache / "models--owner--tiny")
        assert all(words in str(caught.value) for words in (source, "give its path", folder))

    def test_the_client_was_told_otherwise(self, server: FakeHub, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """HF_HUB_OFFLINE was set when the process began; the client never looks at it again."""
        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
        with pytest.raises(WeightsNotFoundError, match="offline mode"):
            hub.load(NAME, cache_dir=cache, offline=False)

    def test_offline_never_connects(self, server: FakeHub, cache: Path) -> None:
        with pytest.raises(WeightsNotFoundError):
            hub.load(NAME, cache_dir=cache, offline=True)
        assert server.requests == []

    @pytest.mark.parametrize("status", [500, 503])
    def test_a_hub_out_of_order_is_quick_too(self, server: FakeHub, cache: Path, status: int) -> None:
        server.head_status = status
        started = time.monotonic()
        with pytest.raises(WeightsError, match=server.url):
            hub.load(NAME, cache_dir=cache)
        assert time.monotonic() - started < 1
        server.head_status = 0
        path = hub.resolve(NAME, cache_dir=cache)
        server.head_status = status
        assert hub.resolve(NAME, cache_dir=cache) == path  # what is cached serves meanwhile

    def test_a_slow_hub_is_not_waited_for(self, server: FakeHub, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        path = hub.resolve(NAME, cache_dir=cache)
        server.head_seconds = 3.0
        monkeypatch.setattr("memgan.hub.repository._ANSWER_S", 0.1)
        started = time.monotonic()
        assert hub.resolve(NAME, cache_dir=cache) == path
        with pytest.raises(WeightsError, match=r"Fetching 'config\.json' of 'owner/other'.* failed"):
            hub.resolve("hf-hub:owner/other", cache_dir=cache)
        assert time.monotonic() - started < 1

    def test_a_server_of_something_else(self, cache: Path, monkeypatch: pytest.MonkeyPatch, server: FakeHub) -> None:
        server.files["x/resolve/main/config.json"] = b"<html>Log in to the hotel's network</html>"
        monkeypatch.setenv("HF_ENDPOINT", f"{server.url}/files")
        with pytest.raises(WeightsError, match=r"is not reachable .*set HF_ENDPOINT to a mirror"):
            Repository("x", cache_dir=cache).file("config.json")


class TestDamage:
    def test_a_cut_download_is_gone_on_with(
        self, server: FakeHub, cache: Path, content: bytes, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("huggingface_hub.constants.DOWNLOAD_CHUNK_SIZE", 1)  # goes on after the last whole chunk
        half = len(content) // 2
        server.cuts = [half, 10]
        path = Repository("owner/tiny", FIRST, cache).file("model.safetensors")
        assert path.read_bytes() == content
        assert [request.range for request in server.bodies("/cdn/")] == [
            None,
            f"bytes={half}-",
            f"bytes={half + 10}-",
        ]

    def test_a_server_that_knows_no_ranges(self, server: FakeHub, cache: Path, content: bytes) -> None:
        server.cuts, server.knows_ranges = [100], False
        assert Repository("owner/tiny", FIRST, cache).file("model.safetensors").read_bytes() == content

    @pytest.mark.parametrize("error", [-5, 5])
    def test_a_wrong_length_leaves_nothing(self, server: FakeHub, cache: Path, error: int) -> None:
        server.length_error = error
        with pytest.raises(WeightsError, match=r"Fetching 'model\.safetensors' of 'owner/tiny'.*failed"):
            Repository("owner/tiny", FIRST, cache).file("model.safetensors")
        nothing_half_written(cache)

    def test_a_wrong_body_is_fetched_again(self, server: FakeHub, cache: Path, content: bytes) -> None:
        server.wrong_bodies = 1
        path = Repository("owner/tiny", FIRST, cache).file("model.safetensors")
        assert path.read_bytes() == content and len(server.bodies("/cdn/")) == 2
        assert len(list(cache.rglob("*.damaged"))) == 1

    def test_a_wrong_body_twice_is_an_error(self, server: FakeHub, cache: Path) -> None:
        server.wrong_bodies = 9
        with pytest.raises(WeightsError, match="arrives damaged twice"):
            Repository("owner/tiny", FIRST, cache).file("model.safetensors")
        assert len(server.bodies("/cdn/")) == 2

    @pytest.mark.parametrize("damage", ["truncated", "changed", "empty"])
    def test_a_damaged_cache_is_repaired_once(self, server: FakeHub, cache: Path, content: bytes, damage: str) -> None:
        path = hub.resolve(f"{NAME}@{FIRST}", cache_dir=cache)
        bad = {"truncated": content[:-9], "changed": content[:-1] + b"\xff", "empty": b""}[damage]
        path.resolve().write_bytes(bad)
        with pytest.raises(WeightsError, match="is damaged"):
            hub.resolve(f"{NAME}@{FIRST}", cache_dir=cache, offline=True)
        server.requests.clear()
        assert hub.resolve(f"{NAME}@{FIRST}", cache_dir=cache).read_bytes() == content
        assert len(server.bodies("/cdn/")) == 1
        (put_aside,) = cache.rglob("*.damaged")
        assert put_aside.read_bytes() == bad

    def test_another_file_than_registered(
        self, server: FakeHub, cache: Path, content: bytes, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        registered(monkeypatch, content, sha256="0" * 64)
        with pytest.raises(ChecksumError, match="registered is 0000"):
            hub.load("remote", cache_dir=cache)
        assert len(server.bodies("/cdn/")) == 2  # fetched again once, for it could have been damage
        assert hub.load("remote", cache_dir=cache, revision="main").config == CONFIG

    def test_a_plain_mirror_stands_in(
        self, server: FakeHub, cache: Path, content: bytes, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        registered(monkeypatch, content, repo_id="owner/none")
        with pytest.raises(WeightsNotFoundError, match="has no repository"):
            hub.load("remote", cache_dir=cache)
        server.files["tiny-1.safetensors"] = content
        monkeypatch.setenv("MEMGAN_MIRRORS", f"{server.url}/nothing {server.url}/files/")
        assert hub.load("remote", cache_dir=cache).config == CONFIG
        assert hub.load("remote", cache_dir=cache, offline=True).config == CONFIG
        assert (cache / "tiny-1.safetensors").is_file()

    def test_read_only_cache(self, server: FakeHub, cache: Path, content: bytes) -> None:
        path = hub.resolve(NAME, cache_dir=cache)
        server.put("owner/other", {"model.safetensors": content})
        with disks.read_only(cache):
            for name in (NAME, f"{NAME}@{FIRST}"):  # what is there is used
                assert hub.resolve(name, cache_dir=cache) == path
                assert hub.resolve(name, cache_dir=cache, offline=True) == path
            with pytest.raises(OutputError, match=r"cannot take 'model\.safetensors' of 'owner/other'.*MEMGAN_HOME"):
                hub.resolve("owner/other", cache_dir=cache)

    @pytest.mark.filterwarnings("ignore:Not enough free disk space")
    def test_full_disk(self, server: FakeHub, cache: Path) -> None:
        from safetensors.torch import save

        server.put("owner/large", {"model.safetensors": save({"a": torch.zeros(200_000)})})
        with disks.small(cache, "256k"):
            with pytest.raises(OutputError, match=r"cannot take 'model\.safetensors'.*No space left.*HF_HOME"):
                Repository("owner/large", FIRST, cache).file("model.safetensors")
            nothing_half_written(cache)

    def test_disk_full_while_writing(self, server: FakeHub, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """The same where no file system can be mounted."""

        def full(*args: object, **kwargs: object) -> None:
            raise OSError(28, "No space left on device")

        monkeypatch.setattr("huggingface_hub.file_download.http_get", full)
        with pytest.raises(OutputError, match=r"cannot take 'model\.safetensors'.*No space left.*HF_HOME"):
            Repository("owner/tiny", FIRST, cache).file("model.safetensors")
        nothing_half_written(cache)


def resolve_elsewhere(cache: str, ready: Any, results: Any) -> None:
    """Body of a process that wants the same file as others at the same moment."""
    os.environ["HF_HUB_DISABLE_PROGRESS_BARS"] = "1"
    ready.wait()
    results.put(Path(hub.resolve(f"{NAME}@{FIRST}", cache_dir=cache)).read_bytes())


@pytest.mark.parametrize("is_damaged", [False, True])
def test_several_processes_at_once(server: FakeHub, cache: Path, content: bytes, is_damaged: bool) -> None:
    if is_damaged:
        hub.resolve(f"{NAME}@{FIRST}", cache_dir=cache).resolve().write_bytes(b"damaged")
        server.requests.clear()
    server.seconds = 0.3
    context = multiprocessing.get_context("fork")
    ready, results = context.Barrier(3), context.Queue()
    processes = [context.Process(target=resolve_elsewhere, args=(str(cache), ready, results)) for _ in range(3)]
    for process in processes:
        process.start()
    found = [results.get(timeout=30) for _ in processes]
    for process in processes:
        process.join()
    assert found == [content] * 3
    assert len(server.bodies("/cdn/")) == 1  # one downloads, the others wait for it
    nothing_half_written(cache)


def test_another_process_puts_a_damaged_file_aside(
    server: FakeHub, cache: Path, content: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = hub.resolve(f"{NAME}@{FIRST}", cache_dir=cache)
    seen: list[Path] = []

    def too_late(file: Path) -> str:
        seen.append(file)
        if len(seen) == 1:
            file.rename(file.with_name("elsewhere"))
        return hub.sha256_of(file)

    monkeypatch.setattr("memgan.hub.repository.sha256_of", too_late)
    assert hub.resolve(f"{NAME}@{FIRST}", cache_dir=cache) == path and path.read_bytes() == content
    assert len(seen) > 1


class TestPush:
    def test_what_is_pushed_is_what_loads(self, server: FakeHub, content: bytes, tmp_path: Path, cache: Path) -> None:
        (tmp_path / "x.safetensors").write_bytes(content)
        loaded = hub.load(tmp_path / "x.safetensors")
        folder = hub.save_pretrained(tmp_path / "new", loaded)
        commit = upload(folder, "owner/new", private=True, token="writer", message="new")
        assert commit == SECOND and sorted(server.commits["owner/new"][SECOND]) == ["config.json", "model.safetensors"]
        again = hub.load("owner/new", revision=commit, cache_dir=cache)
        assert again.config == loaded.config and again.metadata == loaded.metadata
        assert all(torch.equal(again.state[name], tensor) for name, tensor in loaded.state.items())

    def test_refusal_says_what_to_do(self, server: FakeHub, content: bytes, tmp_path: Path) -> None:
        (tmp_path / "model.safetensors").write_bytes(content)
        with pytest.raises(WeightsError, match=r"(?s)Uploading to 'owner/new' failed.*401.*HF_TOKEN"):
            upload(tmp_path, "owner/new", private=True, token="reader", message="new")
