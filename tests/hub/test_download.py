"""memgan.hub.download: plain files arrive whole or not at all, whatever the server, the disk or other processes do."""

import concurrent.futures
import hashlib
import multiprocessing
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import disks
import filelock
import pytest
from hub_server import FakeHub, serving

from memgan.errors import ChecksumError, OutputError, WeightsNotFoundError
from memgan.hub import download as module
from memgan.hub.download import fetch, locked, quarantine, sha256_of

DATA = bytes(range(256)) * 4096  # one MiB
SHA256 = hashlib.sha256(DATA).hexdigest()


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeHub]:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setattr(module, "_PAUSE_S", 0.0)
    monkeypatch.setattr(module, "_BLOCK_BYTES", 4096)
    with serving() as fake:
        fake.files["w.bin"] = DATA
        yield fake


@pytest.fixture
def place(tmp_path: Path) -> Path:
    return tmp_path / "new" / "folder" / "w.bin"


def get(server: FakeHub, place: Path, **options: object) -> Path:
    return fetch([f"{server.url}/files/w.bin"], place, **{"sha256": SHA256, "size": len(DATA), **options})


def files_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.rglob("*") if path.is_file() and path.suffix != ".lock")


def test_a_file_arrives_and_stays(server: FakeHub, place: Path) -> None:
    assert get(server, place) == place and place.read_bytes() == DATA
    assert files_in(place.parent) == ["w.bin"]
    get(server, place)
    assert len(server.bodies()) == 1


def test_a_cut_download_is_gone_on_with(server: FakeHub, place: Path) -> None:
    server.cuts = [300_000, 0, 400_000]
    assert get(server, place).read_bytes() == DATA
    ranges = [request.range for request in server.bodies()]
    assert ranges == [None, "bytes=300000-", "bytes=300000-", "bytes=700000-"]


def test_what_another_run_left_is_gone_on_with(server: FakeHub, place: Path) -> None:
    server.cuts = [100_000] + [0] * 20
    with pytest.raises(WeightsNotFoundError, match="breaks off again and again, 8 times"):
        get(server, place)
    assert files_in(place.parent) == [".w.bin.part"]
    server.cuts.clear()
    server.requests.clear()
    assert get(server, place).read_bytes() == DATA
    assert [request.range for request in server.bodies()] == ["bytes=100000-"]
    assert files_in(place.parent) == ["w.bin"]


@pytest.mark.parametrize("size", [None, len(DATA)])
@pytest.mark.parametrize("left", [b"of another file", DATA[:500] + b"!", DATA + b"more", DATA])
def test_left_overs_of_something_else_do_no_harm(server: FakeHub, place: Path, left: bytes, size: int | None) -> None:
    place.parent.mkdir(parents=True)
    place.with_name(".w.bin.part").write_bytes(left)
    assert get(server, place, size=size).read_bytes() == DATA
    assert files_in(place.parent) == ["w.bin"]


def test_a_server_that_knows_no_ranges(server: FakeHub, place: Path) -> None:
    server.knows_ranges, server.cuts = False, [1000, 2000]
    assert get(server, place).read_bytes() == DATA


@pytest.mark.parametrize("status", [429, 500, 503])
def test_a_server_that_is_busy_is_asked_again(server: FakeHub, place: Path, status: int) -> None:
    server.statuses = [status, status]
    assert get(server, place).read_bytes() == DATA
    server.statuses = [status] * 20
    with pytest.raises(WeightsNotFoundError, match=f"answers {status} .*8 times"):
        get(server, place.with_name("other.bin"))


@pytest.mark.parametrize("status", [401, 404])
def test_a_server_that_refuses_is_asked_once(server: FakeHub, place: Path, status: int) -> None:
    server.statuses = [status]
    with pytest.raises(WeightsNotFoundError, match=f"answers {status}"):
        get(server, place)
    assert len(server.bodies()) == 1


@pytest.mark.parametrize("size", [None, len(DATA)])
@pytest.mark.parametrize("error", [-7, 7])
def test_a_wrong_length_leaves_nothing_under_the_name(
    server: FakeHub, place: Path, error: int, size: int | None
) -> None:
    server.length_error = error
    with pytest.raises((WeightsNotFoundError, ChecksumError)):
        get(server, place, size=size)
    assert not place.exists()


@pytest.mark.parametrize("length", [None, "9" * 5000, "-1", "x"])
def test_a_server_that_never_ends_does_not_fill_the_disk(
    server: FakeHub, place: Path, length: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.length, server.files["w.bin"] = length, DATA + bytes(10**6)
    received = []
    monkeypatch.setattr(module.ProgressBar, "advance", lambda self, count: received.append(count))
    with pytest.raises(WeightsNotFoundError, match=f"sends more than {len(DATA)} bytes"):
        get(server, place)
    assert sum(received) <= len(DATA) and files_in(place.parent) == []
    monkeypatch.setattr(module, "_MAX_BYTES", 500_000)  # of a file whose size nobody knows
    received.clear()
    with pytest.raises(WeightsNotFoundError, match="sends more than 500000 bytes"):
        get(server, place, size=None)
    assert sum(received) <= 500_000 and files_in(place.parent) == []
    server.files["w.bin"] = DATA
    assert get(server, place).read_bytes() == DATA  # a length that is not stated is no fault


def test_an_offer_of_more_than_is_allowed_is_refused(
    server: FakeHub, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_MAX_BYTES", 500_000)
    with pytest.raises(WeightsNotFoundError, match=f"offers {len(DATA)} bytes; allowed are 500000"):
        get(server, place, size=None)
    assert get(server, place).read_bytes() == DATA  # its own size counts


def test_a_wrong_file_is_refused(server: FakeHub, place: Path) -> None:
    server.wrong_bodies = 1
    with pytest.raises(ChecksumError, match=rf"SHA-256 {SHA256}.*gives another file"):
        get(server, place)
    assert files_in(place.parent) == []
    assert get(server, place).read_bytes() == DATA


def test_a_damaged_file_is_put_aside_and_replaced(server: FakeHub, place: Path) -> None:
    place.parent.mkdir(parents=True)
    place.write_bytes(DATA[:-1])
    assert get(server, place).read_bytes() == DATA
    assert place.with_name("w.bin.damaged").read_bytes() == DATA[:-1]


def test_addresses_are_tried_in_order(server: FakeHub, place: Path, tmp_path: Path) -> None:
    (tmp_path / "share.bin").write_bytes(DATA)
    urls = ["http://127.0.0.1:9/w.bin", f"{server.url}/files/none", (tmp_path / "share.bin").as_uri()]
    assert fetch(urls, place, sha256=SHA256).read_bytes() == DATA
    started = time.monotonic()
    with pytest.raises(WeightsNotFoundError) as caught:
        fetch([*urls[:2], (tmp_path / "no.bin").as_uri()], place.with_name("x.bin"), sha256=SHA256)
    assert time.monotonic() - started < 1
    for words in ("x.bin", SHA256, "127.0.0.1:9/w.bin: cannot be reached", "files/none: answers 404", "no.bin"):
        assert words in str(caught.value)


def test_a_silent_server_is_left(server: FakeHub, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_TIMEOUT_S", 0.05)
    monkeypatch.setattr(module, "_MAX_CUTS", 2)
    server.seconds = 1.0
    with pytest.raises(WeightsNotFoundError, match=r"is silent for 0\.05 s.*2 times"):
        get(server, place)


def fetch_elsewhere(url: str, place: str, ready: "multiprocessing.synchronize.Barrier") -> None:
    """Body of a process that wants the same file as others at the same moment."""
    ready.wait()
    fetch([url], Path(place), sha256=SHA256)


def test_one_of_several_processes_downloads(server: FakeHub, place: Path) -> None:
    server.seconds = 0.3
    context = multiprocessing.get_context("fork")
    ready = context.Barrier(3)
    arguments = (f"{server.url}/files/w.bin", str(place), ready)
    processes = [context.Process(target=fetch_elsewhere, args=arguments) for _ in range(3)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(30)
    assert [process.exitcode for process in processes] == [0, 0, 0]
    assert len(server.bodies()) == 1 and place.read_bytes() == DATA


def test_one_of_several_threads_downloads(server: FakeHub, place: Path) -> None:
    server.seconds = 0.1
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        assert list(pool.map(lambda _: get(server, place), range(4))) == [place] * 4
    assert len(server.bodies()) == 1


def test_a_killed_process_leaves_no_lock_and_no_file(server: FakeHub, place: Path) -> None:
    server.seconds = 30.0
    code = "import sys, pathlib, memgan.hub.download as f; f.fetch(sys.argv[1:2], pathlib.Path(sys.argv[2]), sha256='')"
    process = subprocess.Popen([sys.executable, "-c", code, f"{server.url}/files/w.bin", str(place)])
    deadline = time.monotonic() + 20
    while not server.bodies() and time.monotonic() < deadline:
        time.sleep(0.02)
    process.kill()
    process.wait()
    assert server.bodies() and not place.exists()
    server.seconds = 0.0
    assert get(server, place).read_bytes() == DATA


def test_the_bar_is_for_terminals(
    server: FakeHub, place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    get(server, place)
    assert capsys.readouterr().err == ""
    place.unlink()
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "120")
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    get(server, place)
    err = capsys.readouterr().err
    assert "w.bin" in err and "1.0/1.0 MB" in err


class TestDisks:
    def test_too_little_room_is_seen_before(
        self, server: FakeHub, place: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(module.shutil, "disk_usage", lambda folder: shutil._ntuple_diskusage(10**9, 10**9, 1000))
        with pytest.raises(OutputError, match=r"No space left: 1\.0 MB are needed, 0\.0 MB are free.*MEMGAN_HOME"):
            get(server, place)
        assert files_in(place.parent) == []

    def test_full_disk(self, server: FakeHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(module, "_check_room", lambda *_: None)  # others may fill it while the download runs
        with disks.small(tmp_path / "disk") as disk:
            with pytest.raises(OutputError, match=r"\(No space left on device\); free some space"):
                get(server, disk / "w.bin")
            assert files_in(disk) == []  # the room is given back

    def test_disk_full_while_writing(self, server: FakeHub, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """The same where no file system can be mounted."""

        class Full:
            def __init__(self, file: object) -> None:
                self.file, self.room = file, 500_000

            def write(self, block: bytes) -> None:
                self.room -= len(block)
                if self.room < 0:
                    raise OSError(28, "No space left on device")
                self.file.write(block)

            def __getattr__(self, name: str) -> object:
                return getattr(self.file, name)

            def __enter__(self) -> "Full":
                return self

            def __exit__(self, *error: object) -> None:
                self.file.close()

        def opened(path: Path, mode: str) -> object:
            file = open(path, mode)  # noqa: SIM115 (closed by who asked for it)
            return Full(file) if "w" in mode else file

        monkeypatch.setattr(module, "open", opened, raising=False)
        with pytest.raises(OutputError, match="No space left on device"):
            get(server, place)
        assert files_in(place.parent) == []

    def test_read_only_folder(self, server: FakeHub, tmp_path: Path) -> None:
        (tmp_path / "w.bin").write_bytes(b"damaged")
        with disks.read_only(tmp_path):
            for name in ("w.bin", "new.bin"):
                with pytest.raises(OutputError, match=r"cannot take the download.*MEMGAN_HOME"):
                    get(server, tmp_path / name)
            with pytest.raises(OutputError, match="cannot be replaced"):
                quarantine(tmp_path / "w.bin")

    def test_a_file_in_the_way_of_the_folder(self, server: FakeHub, tmp_path: Path) -> None:
        (tmp_path / "file").write_text("in the way")
        with pytest.raises(OutputError, match="cannot take the download"):
            get(server, tmp_path / "file" / "w.bin")


def test_sha256_of_what_cannot_be_read(tmp_path: Path) -> None:
    from memgan.errors import WeightsError

    with pytest.raises(WeightsError, match="cannot be read"):
        sha256_of(tmp_path)


def test_a_file_system_without_locks_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def acquire(lock: object) -> None:
        raise NotImplementedError  # as filelock before 3.30

    monkeypatch.setattr(filelock.FileLock, "acquire", acquire)
    with pytest.raises(OutputError, match=r"no locks.*MEMGAN_HOME"), locked(tmp_path / "file"):
        pass
