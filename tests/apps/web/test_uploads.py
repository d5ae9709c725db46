"""Uploads: where files go, how they are named, and that nothing stays of what was refused or broke off."""

import asyncio
import concurrent.futures
import contextlib
import http.client
import json
import socket
import threading
import time
import unicodedata
from pathlib import Path

import pytest

pytest.importorskip("gradio")
import uvicorn
from starlette.applications import Starlette
from starlette.routing import Route
from starlette.testclient import TestClient

from memgan.apps.web import uploads as module
from memgan.apps.web.gate import VisitorGate
from memgan.apps.web.uploads import Uploads, safe_name
from memgan.apps.web.visitors import Visitors
from memgan.errors import ConfigError

PATIENCE = 20  # seconds that a test waits for what must come, before it fails
ADDRESS = "/gradio_api/upload?upload_id=abc"
ANNA, BEN = ({"cookie": f"memgan_visitor={letter * 20}"} for letter in "ab")
KIND = {"content-type": "multipart/form-data; boundary=limit"}


@pytest.fixture
def visitors(tmp_path):
    with Visitors(tmp_path, max_visitor_bytes=6_000_000, max_bytes=8_000_000) as made:
        yield made


def app_of(visitors, **options):
    route = Route("/gradio_api/upload", Uploads(visitors, max_bytes=3_000_000, **options), methods=["POST", "GET"])
    return VisitorGate(Starlette(routes=[route]), visitors, policy="default-src 'self'")


@pytest.fixture
def client(visitors):
    return TestClient(app_of(visitors))


def form(*files, field="files", end="--limit--\r\n"):
    parts = [
        f'--limit\r\nContent-Disposition: form-data; name="{field}"; filename="{name}"\r\n'
        "Content-Type: image/png\r\n\r\n".encode()
        + data
        + b"\r\n"
        for name, data in files
    ]
    return b"".join(parts) + end.encode()


def send(client, *files, headers=ANNA):
    return client.post(ADDRESS, files=[("files", file) for file in files], headers=headers)


def files_in(visitors):
    return sorted(path for path in visitors.root.rglob("*") if path.is_file())


def bytes_left(visitors, headers=ANNA):
    """How much the visitor may still send."""
    visitor = visitors.with_secret(headers["cookie"].partition("=")[2])
    with visitors.room(visitor):
        record = visitors._records[visitor.key]
        return visitors.max_visitor_bytes - record.num_bytes - record.reserved


# -- where they go ---------------------------------------------------------------------------------------------------


def test_files_lie_in_folders_of_their_visitor(client, visitors):
    data = [bytes([number]) * size for number, size in enumerate((0, 1, 1000, 1_000_000))]
    answer = send(client, *((f"{number}.png", item) for number, item in enumerate(data)))
    assert answer.status_code == 200 and answer.headers["content-type"] == "application/json"
    assert answer.headers["cache-control"] == "private, no-store"
    paths = [Path(text) for text in answer.json()]
    assert [path.name for path in paths] == ["0.png", "1.png", "2.png", "3.png"]
    assert [path.read_bytes() for path in paths] == data
    anna, ben = (visitors.with_secret(letter * 20) for letter in "ab")
    assert all(visitors.owns(anna, path) and not visitors.owns(ben, path) for path in paths)
    assert len({path.parent for path in paths}) == 4


def test_equal_files_at_once_stay_apart(client, visitors):
    data = bytes(200_000)
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda headers: send(client, ("a.png", data), headers=headers), [ANNA, BEN] * 4))
    paths = [Path(answer.json()[0]) for answer in answers]
    assert len(set(paths)) == 8 and all(path.read_bytes() == data for path in paths)
    owners = [visitors.with_secret(letter * 20) for letter in "ab"] * 4
    assert all(visitors.owns(owner, path) for owner, path in zip(owners, paths))
    paths[0].unlink()
    assert all(path.exists() for path in paths[1:])


def test_other_fields_and_empty_choices_are_left_out(client, visitors):
    body = form(("a.png", b"1"), field="other", end="") + form(("", b""), end="")
    body += b'--limit\r\nContent-Disposition: form-data; name="files"\r\n\r\ntext\r\n'
    body += b"--limit\r\n\r\nnothing\r\n" + form(("b.png", b"2"))
    answer = client.post(ADDRESS, content=body, headers={**ANNA, **KIND})
    assert [Path(text).name for text in answer.json()] == ["b.png"]
    assert [path.read_bytes() for path in files_in(visitors)] == [b"2"]


@pytest.mark.parametrize("size", [1, 2, 7, 64])
def test_a_form_in_small_pieces(visitors, size):
    data = bytes(range(256)) + b"\r\n--limi\r\n--"
    body = form(("Zoë.png", data), ("b.png", b""))
    pieces = [body[start : start + size] for start in range(0, len(body), size)]
    answer = TestClient(app_of(visitors)).post(ADDRESS, content=iter(pieces), headers={**ANNA, **KIND})
    paths = [Path(text) for text in answer.json()]
    assert [path.name for path in paths] == ["Zoë.png", "b.png"] and paths[0].read_bytes() == data


def test_a_file_is_written_as_it_comes(visitors):
    """And never whole in memory: each piece is on the disk before the next one is asked for."""
    app, sizes = app_of(visitors), []
    head = form(("a.bin", b""), end="")[:-2]

    async def receive():
        sizes.append([path.stat().st_size for path in files_in(visitors)])
        body = bytes(300_000) if len(sizes) > 1 else head
        if len(sizes) == 5:
            return {"type": "http.request", "body": b"\r\n--limit--\r\n", "more_body": False}
        return {"type": "http.request", "body": body, "more_body": True}

    async def no_send(message):
        assert message.get("status", 200) == 200

    asyncio.run(app(scope_of(), receive, no_send))
    assert sizes[:2] == [[], [0]] and sizes[4][0] > 800_000  # all but what the file's own buffer holds
    assert [path.stat().st_size for path in files_in(visitors)] == [900_000]


def scope_of(**headers):
    pairs = {**ANNA, **KIND, **headers}
    raw = [(name.encode(), value.encode()) for name, value in pairs.items()]
    return {"type": "http", "method": "POST", "path": "/gradio_api/upload", "query_string": b"", "headers": raw}


# -- names -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("photo.jpg", "photo.jpg"),
        ("Oma & Opa, 1. Mai (2) [3] + 4.JPG", "Oma & Opa, 1. Mai (2) [3] + 4.JPG"),
        ("家族写真.png", "家族写真.png"),
        (unicodedata.normalize("NFD", "Zoë.png"), "Zoë.png"),
        ("👩‍👧.png", "👩‍👧.png"),
        ("a\u00a0b\u2003c.png", "a b c.png"),
        ("/etc/passwd", "passwd"),
        ("../../x.png", "x.png"),
        ("C:\\photos\\x.png", "x.png"),
        ("..\\x.png", "x.png"),
        ("..", "file"),
        ("...", "file"),
        (".", "file"),
        ("", "file"),
        ("/", "file"),
        ("a/", "file"),
        (".htaccess", "htaccess"),
        (". .x.png", "x.png"),
        ("a\0b\n\r\t\x1b[2J.png", "ab[2J.png"),
        ("gpj.\u202egnp.exe", "gpj.gnp.exe"),
        ("a\u200b\ufeffb.png", "ab.png"),
        ('<a>:"b"|?*.png', "_a___b____.png"),
        ("100%41#1?.png", "100_41_1_.png"),
        ("CON", "_CON"),
        ("con.png", "_con.png"),
        ("Lpt1.tar.gz", "_Lpt1.tar.gz"),
        ("CON .png", "_CON.png"),
        ("a.png. ", "a.png"),
        ("a .png", "a.png"),
        ("photo.jpg:stream", "photo.jpg_stream"),
        ("a.png ", "a.png"),
    ],
)
def test_names_of_files(given, expected):
    assert safe_name(given) == expected


@pytest.mark.parametrize("letter", ["a", "ä", "家", "👩", "."])
def test_long_names_are_cut_and_keep_their_suffix(letter):
    name = safe_name("x" + letter * 1000 + ".jpeg")
    stem = name.removesuffix(".jpeg")
    assert name.endswith(".jpeg") and len(stem.encode()) <= 120
    assert letter == "." or len(stem.encode()) > 116
    assert len(safe_name("x." + letter * 1000).encode()) <= 120


def test_names_come_from_the_form(client):
    body = form(("..\\..\\Zoë %22x%22.png", b"1"), ("a/../b\u202e.png", b"2"))
    answer = client.post(ADDRESS, content=body, headers={**ANNA, **KIND})
    assert [Path(text).name for text in answer.json()] == ["Zoë _x_.png", "b.png"]
    latin = form(("Zoë.png", b"1")).replace("ë".encode(), "ë".encode("latin-1"))
    answer = client.post(ADDRESS, content=latin, headers={**ANNA, **KIND})
    assert [Path(text).name for text in answer.json()] == ["Zoë.png"]


# -- refused ---------------------------------------------------------------------------------------------------------


def test_too_many_bytes_at_once(client, visitors):
    for files in ([("a.bin", bytes(3_000_001))], [("a.bin", bytes(2_000_000)), ("b.bin", bytes(1_000_001))]):
        answer = send(client, *files)
        assert answer.status_code == 413 and answer.text.startswith("These files have more than 3 MB together")
        assert answer.headers["content-type"].startswith("text/plain") and files_in(visitors) == []
    assert bytes_left(visitors) == 6_000_000
    assert send(client, ("a.bin", bytes(3_000_000))).status_code == 200


@pytest.mark.parametrize("is_told", [True, False])
def test_no_room(client, visitors, is_told):
    """Whether the request says how long it is, or does not."""

    def post(num_bytes, headers):
        body = form(("a.bin", bytes(num_bytes)))
        content = body if is_told else iter([body[:1000], body[1000:]])
        return client.post(ADDRESS, content=content, headers={**headers, **KIND})

    assert [post(2_900_000, ANNA).status_code for _ in range(2)] == [200, 200]
    answer = post(2_900_000, ANNA)
    assert answer.status_code == 507 and "all that one visitor gets" in answer.text
    answer = post(2_900_000, BEN)
    assert answer.status_code == 507 and "others are using it" in answer.text
    assert post(1_000_000, BEN).status_code == 200
    assert len(files_in(visitors)) == 3


def test_a_full_disk(client, visitors, monkeypatch):
    class Full:
        def write(self, data):
            raise OSError(28, "No space left on device")

        def close(self):
            raise OSError(28, "No space left on device")

    monkeypatch.setattr(module, "open", lambda *_: Full(), raising=False)
    answer = send(client, ("a.bin", b"1"))
    assert answer.status_code == 507 and "disk" in answer.text and files_in(visitors) == []
    assert bytes_left(visitors) == 6_000_000


@pytest.mark.parametrize(
    ("body", "headers", "status"),
    [
        (form(("a.png", b"1" * 100))[:-20], KIND, 400),
        (form(("a.png", b"1"), end=""), KIND, 400),
        (b"", KIND, 400),
        (b"nonsense", KIND, 400),
        (b"--limit\r\nno header\r\n\r\n1\r\n--limit--\r\n", KIND, 400),
        (form(("x" * 10_000 + ".png", b"1")), KIND, 400),
        (form(("a.png", b"1")), {"content-type": "application/json"}, 400),
        (form(("a.png", b"1")), {"content-type": "multipart/form-data"}, 400),
        (form(("a.png", b"1")), {"content-type": f"multipart/form-data; boundary={'x' * 71}"}, 400),
        (form(("a.png", b"1")), {}, 400),
        (form(("a.png", b"1"), ("b.png", b"1" * 1_100_000), field="other"), KIND, 413),
        (form(("a.png", b"1"), end="") + form(("b.png", b"1" * 1_100_000), field="other"), KIND, 413),
    ],
)
def test_what_is_no_such_form_leaves_nothing(client, visitors, body, headers, status):
    answer = client.post(ADDRESS, content=body, headers={**ANNA, **headers})
    assert answer.status_code == status and answer.text.endswith((".", "'."))
    assert files_in(visitors) == [] and bytes_left(visitors) == 6_000_000


def test_too_many_files(client, visitors, monkeypatch):
    monkeypatch.setattr(module, "_MOST_FILES", 20)
    assert len(send(client, *[("a.png", b"")] * 20).json()) == 20
    assert len(files_in(visitors)) == 20
    answer = send(client, *[("a.png", b"")] * 21, headers=BEN)
    assert answer.status_code == 413 and "more than 20 files" in answer.text and len(files_in(visitors)) == 20


def test_another_method(client):
    assert client.get(ADDRESS, headers=ANNA).status_code == 405


def test_limits_that_are_none(visitors):
    with pytest.raises(ConfigError, match="max_bytes is 0"):
        Uploads(visitors, max_bytes=0)
    with pytest.raises(ConfigError, match="patience_s is -1"):
        Uploads(visitors, patience_s=-1)


# -- broken off ------------------------------------------------------------------------------------------------------


def drive(app, messages, scope):
    """The messages of the answer to these; then nothing comes any more."""
    sent, left = [], list(messages)

    async def receive():
        if not left:
            await asyncio.sleep(PATIENCE)
        return left.pop(0)

    async def collect(message):
        sent.append(message)

    asyncio.run(app(scope, receive, collect))
    return sent


def begun(num_bytes=1000):
    body = form(("a.bin", bytes(num_bytes)), ("b.bin", bytes(num_bytes)))[:-100]
    return {"type": "http.request", "body": body, "more_body": True}


def test_a_client_that_goes_away_leaves_nothing(visitors):
    assert drive(app_of(visitors), [begun(), {"type": "http.disconnect"}], scope_of()) == []
    assert files_in(visitors) == [] and bytes_left(visitors) == 6_000_000


def test_a_client_that_falls_silent_is_given_up(visitors):
    sent = drive(app_of(visitors, patience_s=0.05), [begun()], scope_of())
    assert sent[0]["status"] == 408 and b"half-way" in sent[1]["body"]
    assert (b"connection", b"close") in sent[0]["headers"]
    assert files_in(visitors) == [] and bytes_left(visitors) == 6_000_000


def test_a_client_that_asks_first_is_answered_at_once(visitors):
    """As curl does: it would send a large file only if it may."""
    sent = drive(app_of(visitors), [], scope_of(**{"content-length": str(10**9), "expect": "100-continue"}))
    assert sent[0]["status"] == 413


@pytest.mark.parametrize("length", ["-1", "1e3", "", "9" * 30])
def test_a_length_that_is_none(visitors, length):
    end = {"type": "http.request", "body": b"", "more_body": False}
    assert drive(app_of(visitors), [end], scope_of(**{"content-length": length}))[0]["status"] == 400


def test_a_server_that_stops_leaves_nothing(visitors):
    async def stop():
        asked = asyncio.Event()
        messages = [begun(500_000)]

        async def receive():
            if messages:
                return messages.pop()
            asked.set()
            await asyncio.sleep(PATIENCE)

        task = asyncio.ensure_future(app_of(visitors)(scope_of(), receive, None))
        await asyncio.wait_for(asked.wait(), PATIENCE)
        assert len(files_in(visitors)) == 2
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(stop())
    assert files_in(visitors) == [] and bytes_left(visitors) == 6_000_000


# -- a real server ---------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def served(app):
    with socket.create_server(("127.0.0.1", 0)) as listening:
        server = uvicorn.Server(uvicorn.Config(app, lifespan="off", log_level="error"))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
        thread.start()
        try:
            yield listening.getsockname()[1]
        finally:
            server.should_exit = True
            thread.join(PATIENCE)


def until(condition):
    end = time.monotonic() + PATIENCE
    while not condition() and time.monotonic() < end:
        time.sleep(0.01)
    return condition()


def test_over_a_real_connection(visitors):
    body = form(("a.bin", bytes(1_000_000)))
    headers = {**ANNA, **KIND}
    with served(app_of(visitors)) as port:
        one = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE)
        one.request("POST", ADDRESS, body, headers)
        (path,) = json.loads(one.getresponse().read())
        assert Path(path).stat().st_size == 1_000_000

        # Who sends far too much gets the sentence, not a broken connection.
        other = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE)
        other.request("POST", ADDRESS, form(("a.bin", bytes(20_000_000))), headers)
        answer = other.getresponse()
        assert answer.status == 413 and b"3 MB" in answer.read()

        # Someone sends a part, stays, and goes away.
        half = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE)
        half.putrequest("POST", ADDRESS)
        for name, value in {**headers, "content-length": str(len(body))}.items():
            half.putheader(name, value)
        half.endheaders()
        half.send(body[:600_000])
        assert until(lambda: len(files_in(visitors)) == 2)
        visitors._clock = lambda: time.monotonic() + 10_000
        visitors.sweep()
        assert len(files_in(visitors)) == 2  # it is a contact
        half.close()
        assert until(lambda: files_in(visitors) == [Path(path)])
        one.close()
        other.close()
    assert not any(record.busy or record.reserved for record in visitors._records.values())
