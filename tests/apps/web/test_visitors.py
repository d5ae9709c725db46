"""Visitors' folders: whose they are, how long they stay, and that nothing in use is ever removed."""

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from memgan.apps.web import visitors as module
from memgan.apps.web.visitors import Visitors, new_secret
from memgan.errors import ConfigError, OutputError

PATIENCE = 20  # seconds that a test waits for what must come, before it fails
ROOT = Path(__file__).parents[3]


class Clock:
    def __init__(self):
        self.now = 1000.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def visitors(tmp_path, clock):
    with Visitors(tmp_path, keep_seconds=540, clock=clock) as made:
        yield made


@pytest.fixture
def anna(visitors):
    return visitors.with_secret("a" * 16)


@pytest.fixture
def ben(visitors):
    return visitors.with_secret("b" * 16)


def put(visitors, visitor, num_bytes=10):
    path = visitors.new_folder(visitor) / "photo.jpg"
    path.write_bytes(bytes(num_bytes))
    return path


def scope_of(*cookies, client=("192.0.2.1", 5000)):
    return {"type": "http", "headers": [(b"cookie", cookie.encode()) for cookie in cookies], "client": client}


# -- who it is -------------------------------------------------------------------------------------------------------


def test_a_cookie_is_one_visitor_wherever_it_comes_from(visitors):
    secret = "s3cret-s3cret-s3cret"
    one = visitors.of(scope_of(f"memgan_visitor={secret}"))
    assert one == visitors.of(scope_of(f"theme=dark; memgan_visitor={secret}; more=1", client=("192.0.2.9", 1)))
    assert one == visitors.of(scope_of("theme=dark", f"memgan_visitor={secret}", client=None))
    assert one == visitors.with_secret(secret)
    assert one != visitors.of(scope_of(f"memgan_visitor={secret}x"))


def test_who_sends_no_cookie_is_known_by_the_address(visitors):
    one = visitors.of(scope_of())
    assert one == visitors.of(scope_of(client=("192.0.2.1", 6000))) == visitors.at_address("192.0.2.1")
    assert one != visitors.of(scope_of(client=("192.0.2.2", 5000)))
    assert visitors.of(scope_of(client=None)) == visitors.at_address("")
    for invalid in ("short", "x" * 15, "x" * 201, ""):
        assert visitors.of(scope_of(f"memgan_visitor={invalid}")) == one
    assert visitors.of(scope_of(f"memgan_visitor={'x' * 200}")) != one
    assert visitors.with_secret("192.0.2.1") != one  # nobody becomes an address by a cookie


def test_a_folder_does_not_show_the_secret_and_differs_in_each_process(tmp_path, visitors, anna):
    with Visitors(tmp_path) as other:
        assert other.with_secret("a" * 16) != anna
    assert "a" * 16 not in str(visitors.folder_of(anna)) and len(anna.key) == 32
    assert len({new_secret() for _ in range(100)}) == 100 and len(new_secret()) == 43


# -- their files -----------------------------------------------------------------------------------------------------


@pytest.mark.skipif(os.name != "posix", reason="files have no modes")
def test_only_this_user_may_enter(visitors, anna):
    folder = visitors.new_folder(anna)
    assert folder.parent == visitors.folder_of(anna) and folder.parent.parent == visitors.root
    assert [path.stat().st_mode & 0o777 for path in (folder, folder.parent, visitors.root)] == [0o700] * 3


def test_new_folders_are_all_different(visitors, anna):
    folders = {visitors.new_folder(anna) for _ in range(100)}
    assert len(folders) == 100 and all(len(folder.name) == 32 for folder in folders)


def test_a_file_is_its_visitors_and_nobody_elses(visitors, anna, ben):
    path = put(visitors, anna)
    assert visitors.owns(anna, path) and visitors.owns(anna, str(path)) and visitors.owns(anna, path.parent / "new.png")
    assert not visitors.owns(ben, path)


def test_no_way_out_of_a_folder(visitors, anna, ben, tmp_path):
    path, hers = put(visitors, ben), visitors.new_folder(anna)
    up = os.path.join(str(hers), "..", "..")
    outside = [
        str(path),
        f"{up}/{ben.key}/{path.parent.name}/photo.jpg",
        f"{hers}/nothing/../../../{ben.key}/x",
        up,
        str(visitors.root),
        str(visitors.folder_of(anna)),  # the folder is no file in it
        f"{visitors.folder_of(anna)}x/file",
        "",
        ".",
        "/",
        "/etc/passwd",
        f"{hers}/a\0b",
        "\0",
        "http://example.com/x",
    ]
    assert [text for text in outside if visitors.owns(anna, text)] == []
    assert visitors.owns(anna, f"{hers}/../{hers.name}/a.png")


def test_a_symbolic_link_does_not_lead_out(visitors, anna, ben, tmp_path):
    path, hers = put(visitors, ben), visitors.new_folder(anna)
    try:
        (hers / "file").symlink_to(path)
        (hers / "folder").symlink_to(path.parent, target_is_directory=True)
        (hers / "own").symlink_to(hers / "new.png")
    except OSError:
        pytest.skip("this system gives no symbolic links to its users")
    assert not visitors.owns(anna, hers / "file")
    assert not visitors.owns(anna, hers / "folder" / "photo.jpg")
    assert visitors.owns(anna, hers / "own")


def test_a_place_below_a_symbolic_link(tmp_path):
    (tmp_path / "real").mkdir()
    try:
        (tmp_path / "link").symlink_to(tmp_path / "real", target_is_directory=True)
    except OSError:
        pytest.skip("this system gives no symbolic links to its users")
    with Visitors(tmp_path / "link") as visitors:
        anna = visitors.with_secret("a" * 16)
        path = put(visitors, anna)
        assert visitors.owns(anna, path)
        assert visitors.owns(anna, tmp_path / "link" / path.relative_to(tmp_path / "real"))


# -- how long they stay ----------------------------------------------------------------------------------------------


def test_files_go_after_the_last_contact(visitors, anna, ben, clock):
    hers, his = put(visitors, anna), put(visitors, ben)
    clock.now += 400
    visitors.touch(anna)
    clock.now += 139
    visitors.sweep()
    assert hers.exists() and his.exists()
    clock.now += 1
    visitors.sweep()
    assert hers.exists() and not his.exists() and not visitors.owns(ben, hers)
    clock.now += 400
    visitors.sweep()
    assert not hers.exists()
    assert list(visitors.root.iterdir()) == [] and not visitors._records


@pytest.mark.parametrize("kind", ["in_use", "request", "room"])
def test_what_is_in_use_stays_for_as_long_as_it_is(visitors, anna, clock, kind):
    path = put(visitors, anna)
    with getattr(visitors, kind)(anna):
        with visitors.request(anna):
            clock.now += 10_000
            visitors.sweep()
        clock.now += 10_000
        visitors.sweep()
        assert path.exists()
    clock.now += 539
    visitors.sweep()
    assert path.exists()
    clock.now += 1
    visitors.sweep()
    assert not path.exists()


def test_work_that_fails_ends_the_use(visitors, anna, clock):
    path = put(visitors, anna)
    with pytest.raises(KeyError), visitors.in_use(anna):
        raise KeyError
    clock.now += 540
    visitors.sweep()
    assert not path.exists()


def test_who_returns_while_the_folder_is_removed_gets_a_new_one(visitors, anna, clock, monkeypatch):
    old = put(visitors, anna)
    clock.now += 540
    removing, go_on = threading.Event(), threading.Event()
    remove = module.shutil.rmtree

    def slow(folder, **options):
        removing.set()
        assert go_on.wait(PATIENCE)
        remove(folder, **options)

    monkeypatch.setattr(module.shutil, "rmtree", slow)
    sweeper = threading.Thread(target=visitors.sweep)
    sweeper.start()
    assert removing.wait(PATIENCE)
    new = put(visitors, anna)
    assert not old.exists() and new.exists()
    go_on.set()
    sweeper.join(PATIENCE)
    visitors.sweep()
    assert new.exists() and [path.name for path in visitors.root.iterdir()] == [anna.key]


def test_visitors_come_and_go_while_it_is_swept(tmp_path):
    """With nothing kept for longer than a moment, what is in use is there whenever it is looked at."""
    with Visitors(tmp_path, keep_seconds=1e-9) as visitors:
        lost, stop = [], threading.Event()

        def visit(number):
            visitor = visitors.with_secret(f"visitor-number-{number}")
            for _ in range(200):
                if stop.is_set():
                    return
                with visitors.request(visitor):
                    path = put(visitors, visitor)
                    if not path.exists():
                        lost.append(path)

        threads = [threading.Thread(target=visit, args=(number % 3,)) for number in range(6)]
        for thread in threads:
            thread.start()
        for _ in range(20):
            visitors.sweep()
            time.sleep(0.002)
        stop.set()
        for thread in threads:
            thread.join(PATIENCE)
        assert not lost
        visitors.sweep()
        assert list(visitors.root.iterdir()) == []


def test_a_thread_sweeps(tmp_path, clock):
    with Visitors(tmp_path, clock=clock, sweep_every_s=0.01) as visitors:
        path = put(visitors, visitors.with_secret("a" * 16))
        clock.now += 541
        end = time.monotonic() + PATIENCE
        while path.exists() and time.monotonic() < end:
            time.sleep(0.01)
        assert not path.exists()


def test_a_folder_that_cannot_be_moved_stays_until_it_can(visitors, anna, clock, monkeypatch):
    path = put(visitors, anna)
    clock.now += 540

    def refuse(*_):
        raise PermissionError("open in another program")

    with monkeypatch.context() as patch:
        patch.setattr(module.os, "replace", refuse)
        visitors.sweep()
        assert path.exists()
    visitors.sweep()
    assert not path.exists()


# -- bounds ----------------------------------------------------------------------------------------------------------


def test_no_more_folders_than_allowed(tmp_path, clock):
    with Visitors(tmp_path, clock=clock, max_visitors=3) as visitors:
        paths = {}
        first = visitors.with_secret("first-visitor-of-all")
        with visitors.request(first):
            for number in range(6):
                clock.now += 1
                visitor = visitors.with_secret(f"visitor-number-{number}") if number else first
                paths[number] = put(visitors, visitor)
        assert [number for number, path in paths.items() if path.exists()] == [0, 4, 5]  # the first is in use
        visitors.sweep()
        assert len(list(visitors.root.iterdir())) == 3


def test_who_brings_nothing_is_not_remembered(visitors, anna):
    hers = put(visitors, anna)
    for number in range(2000):
        visitor = visitors.with_secret(f"visitor-number-{number}")
        with visitors.request(visitor):
            visitors.touch(visitor)
    assert hers.exists() and list(visitors._records) == [anna.key]


def test_room_for_one_visitor(tmp_path):
    with Visitors(tmp_path, max_visitor_bytes=1_000_000, max_bytes=10_000_000) as visitors:
        anna, ben = visitors.with_secret("a" * 16), visitors.with_secret("b" * 16)
        put(visitors, anna, 600_000)
        with visitors.room(anna) as ask:
            ask(400_000)
            with pytest.raises(OutputError, match="more than 1 MB, which is all that one visitor gets"):
                ask(1)
            with visitors.room(anna) as another, pytest.raises(OutputError, match="one visitor"):
                another(1)
            with visitors.room(ben) as his:
                his(1_000_000)
        with visitors.room(anna) as ask:  # nothing was written of what was asked for
            ask(400_000)
        with visitors.in_use(anna):
            put(visitors, anna, 400_000)
        with visitors.room(anna) as ask, pytest.raises(OutputError, match="one visitor"):
            ask(1)


def test_room_for_all_visitors(tmp_path):
    with Visitors(tmp_path, max_visitor_bytes=1_000_000, max_bytes=1_500_000) as visitors:
        anna, ben = visitors.with_secret("a" * 16), visitors.with_secret("b" * 16)
        with visitors.room(anna) as ask:
            ask(1_000_000)
            put(visitors, anna, 1_000_000)
        with visitors.room(ben) as ask:
            with pytest.raises(OutputError, match="no room for your files now"):
                ask(500_001)
            ask(500_000)


def test_the_disk_is_not_filled(visitors, anna, monkeypatch):
    monkeypatch.setattr(module.shutil, "disk_usage", lambda _: type("Usage", (), {"free": (256 << 20) + 1000})())
    with visitors.room(anna) as ask:
        ask(1000)
        with pytest.raises(OutputError, match="no room"):
            ask(1)


@pytest.mark.parametrize("name", ["keep_seconds", "max_visitor_bytes", "max_bytes", "max_visitors", "sweep_every_s"])
def test_numbers_that_are_none(tmp_path, name):
    for value in (0, -1, float("nan")):
        with pytest.raises(ConfigError, match=f"{name} is {value}"):
            Visitors(tmp_path, **{name: value})
    assert list(tmp_path.iterdir()) == []


# -- the end ---------------------------------------------------------------------------------------------------------


def test_nothing_stays_at_the_end(tmp_path):
    with Visitors(tmp_path) as visitors:
        anna = visitors.with_secret("a" * 16)
        put(visitors, anna)
        assert visitors.root.parent == tmp_path and visitors.root.name.startswith("memgan-app-")
    visitors.close()
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(OutputError, match="cannot be made"):
        visitors.folder_of(anna)


def test_a_place_that_is_none(tmp_path):
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(OutputError, match="TMPDIR"):
        Visitors(tmp_path / "file")


PROCESS = """
import sys, time
from memgan.apps.web.visitors import Visitors
visitors = Visitors(sys.argv[1])
(visitors.new_folder(visitors.with_secret("a" * 16)) / "photo.jpg").write_bytes(b"photo")
print(visitors.root, flush=True)
time.sleep(600)
"""


def test_what_a_killed_process_left_is_removed_and_nothing_in_use(tmp_path):
    processes = [
        subprocess.Popen([sys.executable, "-c", PROCESS, str(tmp_path)], cwd=ROOT, stdout=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    try:
        roots = [Path(process.stdout.readline().strip()) for process in processes]
        own = Visitors(tmp_path)  # both live: they keep theirs
        assert all(list(root.rglob("photo.jpg")) for root in roots)
        os.kill(processes[0].pid, getattr(signal, "SIGKILL", signal.SIGTERM))
        processes[0].wait(PATIENCE)
        with Visitors(tmp_path):
            assert not roots[0].exists()
            assert list(roots[1].rglob("photo.jpg")) and own.root.exists()
        own.close()
        left = sorted(path.name for path in tmp_path.iterdir() if not path.name.endswith(".lock"))
        assert left == [roots[1].name]
    finally:
        for process in processes:
            process.kill()
            process.wait(PATIENCE)
            process.stdout.close()


def test_what_is_not_ours_stays(tmp_path, monkeypatch):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "photo.jpg").write_bytes(b"photo")
    (tmp_path / "memgan-app-file").write_bytes(b"a file")
    try:
        (tmp_path / "memgan-app-link").symlink_to(tmp_path / "elsewhere", target_is_directory=True)
    except OSError:
        pytest.skip("this system gives no symbolic links to its users")
    (tmp_path / "memgan-app-left").mkdir()
    (tmp_path / "memgan-other").mkdir()
    with Visitors(tmp_path):
        pass
    left = sorted(path.name for path in tmp_path.iterdir())
    assert left == ["elsewhere", "memgan-app-file", "memgan-app-link", "memgan-other"]
    assert (tmp_path / "elsewhere" / "photo.jpg").exists()
    if hasattr(os, "getuid"):
        (tmp_path / "memgan-app-left").mkdir()
        monkeypatch.setattr(module.os, "getuid", lambda: (tmp_path / "memgan-other").stat().st_uid + 1)
        with Visitors(tmp_path):
            assert (tmp_path / "memgan-app-left").exists()  # of another user


def test_files_of_a_long_visit_do_not_look_old(visitors):
    paths = [visitors.root, visitors.root.with_name(f"{visitors.root.name}.lock")]
    for path in paths:
        os.utime(path, (1, 1))
    visitors.sweep()
    assert all(path.stat().st_mtime > 1e9 for path in paths)
