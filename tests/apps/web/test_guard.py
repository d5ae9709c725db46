"""What visitors send to gradio: only their own files may be named, no addresses, and only what the page needs."""

import http.client
import json
import re
import urllib.parse
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest
from small_page import gated, served, small_page

pytest.importorskip("gradio")

import gradio
from gradio import processing_utils
from gradio.data_classes import FileData
from gradio.routes import App
from gradio_client import Client, handle_file
from starlette.testclient import TestClient

from memgan.apps.web.guard import NEEDLESS_ROUTES, RequestGuard
from memgan.apps.web.visitors import COOKIE, Visitors

MINE, THEIRS = "my_secret_of_this_test", "their_secret_of_this_test"
ROUTES = (
    "/gradio_api/queue/join",
    "/gradio_api/queue/join/",
    "/gradio_api/queue/join\n",  # routers take it for the one without
    "/gradio_api/call/measure",
    "/gradio_api/call/v2/measure",
    "/gradio_api/run/measure",
    "/gradio_api/api/measure/",
    "/gradio_api/cancel",
    "/gradio_api/x/gradio_api/upload",
    "/restore/gradio_api/queue/join",
    "/queue/join",
    "/call/measure",
    "/run/measure",
    "/api/predict/",
)
NEEDED_ROUTES = {
    *("", "/assets", "/config", "/favicon.ico", "/login", "/logout", "/manifest.json", "/robots.txt", "/static"),
    *("/svelte", "/theme.css", "/gradio_api/api", "/gradio_api/app_id", "/gradio_api/call", "/gradio_api/call/v2"),
    *("/gradio_api/cancel", "/gradio_api/file", "/gradio_api/file=", "/gradio_api/heartbeat", "/gradio_api/info"),
    *("/gradio_api/login_check", "/gradio_api/queue/data", "/gradio_api/queue/join", "/gradio_api/reset"),
    *("/gradio_api/run", "/gradio_api/startup-events", "/gradio_api/theme.css", "/gradio_api/upload"),
    *("/gradio_api/upload_progress", "/gradio_api/user"),
}
ADDRESSES = (
    "http://127.0.0.1:9/x.png",
    "HTTPS://elsewhere.example/x.png",
    " https://elsewhere.example/x.png",
    "ftp://elsewhere.example/x.png",
    "file:///etc/passwd",
    "//elsewhere.example/x.png",
    "\\\\elsewhere\\x.png",
    "data:image/png;base64,AAAA",
)


@pytest.fixture
def visitors(tmp_path: Path) -> Iterator[Visitors]:
    with Visitors(tmp_path) as found:
        yield found


@pytest.fixture
def mine(visitors: Visitors) -> str:
    return new_file(visitors, MINE)


def new_file(visitors: Visitors, secret: str) -> str:
    path = visitors.new_folder(visitors.with_secret(secret)) / "a photograph 50%41.png"
    path.write_bytes(b"x" * 12)
    return str(path)


def file_data(path: str | None, **more: Any) -> dict[str, Any]:
    return {"path": path, "meta": {"_type": "gradio.FileData"}, **more}


class Inside:
    """An application that keeps what gets to it."""

    def __init__(self) -> None:
        self.bodies: list[bytes] = []

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        body, more = b"", True
        while more:
            message = await receive()
            body, more = body + message.get("body", b""), message.get("more_body", False)
        self.bodies.append(body)
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"inside"})


def client_of(visitors: Visitors, inside: Any, *, root_path: str = "") -> TestClient:
    """Of the visitor whose secret is ``MINE``."""
    app = gated(RequestGuard(inside, visitors, root_path=root_path), visitors, root_path=root_path)
    return TestClient(app, headers={"cookie": f"{COOKIE}={MINE}"}, follow_redirects=False)


@pytest.fixture
def inside() -> Inside:
    return Inside()


@pytest.fixture
def client(visitors: Visitors, inside: Inside) -> TestClient:
    return client_of(visitors, inside)


@pytest.mark.parametrize("route", ROUTES)
def test_every_route_that_takes_calls_is_looked_at(
    route: str, client: TestClient, visitors: Visitors, inside: Inside, mine: str
) -> None:
    route = urllib.parse.quote(route)
    body = json.dumps({"data": [file_data(mine), 1, "text"], "session_hash": "a"}).encode()
    answer = client.post(route, content=body)
    assert answer.status_code == 200 and inside.bodies == [body]
    theirs = client.post(route, json={"data": [file_data(new_file(visitors, THEIRS))]})
    address = client.post(route, json={"data": [file_data(ADDRESSES[0])]})
    for refused, text in ((theirs, "not yours"), (address, "fetches nothing from addresses")):
        assert refused.status_code == 403 and text in refused.json()["detail"]
    assert len(inside.bodies) == 1


@pytest.mark.parametrize(
    "around",
    [
        lambda value: value,
        lambda value: {"data": [value]},
        lambda value: {"data": [[{"image": value, "caption": None}]]},
        lambda value: {"event_data": {"value": {"deep": [[value]]}}, "data": []},
        lambda value: {"path": None, "meta": value},
        lambda value: [[[{"a": {"b": [1, 2, value, 3]}}]]],
    ],
)
def test_files_are_found_wherever_they_are(around: Any, client: TestClient, visitors: Visitors, mine: str) -> None:
    theirs = new_file(visitors, THEIRS)
    for found, status in ((mine, 200), (theirs, 403), ("/etc/passwd", 403), ("relative.png", 403), ("", 403)):
        assert client.post(ROUTES[0], json=around({"path": found})).status_code == status, found


def test_ways_out_of_the_own_folder(client: TestClient, visitors: Visitors, mine: str) -> None:
    theirs = new_file(visitors, THEIRS)
    link = Path(mine).with_name("link.png")
    link.symlink_to(theirs)
    ways = [
        str(link),
        f"{Path(mine).parent}/../../{Path(theirs).relative_to(visitors.root)}",
        str(visitors.root),
        str(visitors.folder_of(visitors.with_secret(MINE))),
        f"{mine}\0.png",
        "\ud800",
    ]
    for path in ways:
        body = json.dumps({"data": [file_data(path)]})
        assert client.post(ROUTES[0], content=body).status_code == 403, path


@pytest.mark.parametrize("address", ADDRESSES)
def test_addresses_are_refused(address: str, client: TestClient, inside: Inside, mine: str) -> None:
    bodies = [file_data(address), file_data(mine, url=address), file_data(None, url=address), {"url": address}]
    for body in bodies:
        answer = client.post(ROUTES[0], json={"data": [body]})
        assert answer.status_code == 403 and "fetches nothing from addresses" in answer.json()["detail"], body
    assert inside.bodies == []


@pytest.mark.parametrize(
    ("front", "headers", "status"),
    [
        ("", {}, 200),
        ("/", {}, 200),
        ("/restore/", {}, 200),
        ("http://testserver/", {}, 200),
        ("http://TESTSERVER/restore/", {}, 200),
        ("https://photos.example/", {"x-forwarded-host": "photos.example"}, 200),
        ("https://photos.example/", {"origin": "https://photos.example", "sec-fetch-site": "same-origin"}, 200),
        ("https://photos.example/", {}, 403),
        ("http://testserver:81/", {}, 403),
        ("http://testserver@photos.example/", {}, 403),
        ("//photos.example/", {}, 403),
        ("/\\photos.example/", {}, 403),
        ("ftp://testserver/", {}, 403),
        ("http://[photos.example/", {}, 403),
    ],
)
def test_addresses_of_this_page(
    front: str, headers: dict[str, str], status: int, client: TestClient, visitors: Visitors, mine: str
) -> None:
    theirs = new_file(visitors, THEIRS)
    for path in (mine, urllib.parse.quote(mine)):
        body = {"data": [file_data(mine, url=f"{front}gradio_api/file={path}")]}
        assert client.post(ROUTES[0], json=body, headers=headers).status_code == status
    for path in (theirs, urllib.parse.quote(theirs, safe=""), f"{mine}/%2e%2e/%2e%2e/%2e%2e/x"):
        body = {"data": [file_data(mine, url=f"{front}gradio_api/file={path}")]}
        assert client.post(ROUTES[0], json=body, headers=headers).status_code == 403
    body = {"data": [file_data(mine, url=f"{front}other")]}
    assert client.post(ROUTES[0], json=body, headers=headers).status_code == 403


@pytest.mark.parametrize("url", [None, "", 5, ["x"]])
def test_no_address_is_no_problem(url: Any, client: TestClient, mine: str) -> None:
    assert client.post(ROUTES[0], json={"data": [file_data(mine, url=url)]}).status_code == 200


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"path=/etc/passwd",
        b"{",
        b"\xff\xfe\xfd",
        b"[" * 100_000,
        b'{"data": ' + b"1" * 5000 + b"}",
        b'{"path": "/etc/passwd", "path": null}',
    ],
)
def test_what_is_no_json_is_refused(content: bytes, client: TestClient, inside: Inside) -> None:
    answer = client.post(ROUTES[0], content=content, headers={"content-type": "application/json"})
    assert answer.status_code == 400 and "no JSON" in answer.json()["detail"]
    assert inside.bodies == []


@pytest.mark.parametrize("content_type", ["text/plain", "multipart/form-data; boundary=x", ""])
def test_other_content_types_do_not_help(content_type: str, client: TestClient) -> None:
    body = json.dumps({"data": [file_data("/etc/passwd")]}).encode()
    assert client.post(ROUTES[0], content=body, headers={"content-type": content_type}).status_code == 403


def test_the_largest_call(client: TestClient, inside: Inside) -> None:
    def body_of(num_bytes: int) -> bytes:
        return json.dumps("x" * (num_bytes - 2)).encode()

    def pieces() -> Iterator[bytes]:  # without a length in the headers
        for _ in range(200):
            yield b" " * 10_000

    assert client.post(ROUTES[0], content=body_of(1 << 20)).status_code == 200
    for content in (body_of((1 << 20) + 1), body_of(20 << 20), pieces()):
        answer = client.post(ROUTES[0], content=content)
        assert answer.status_code == 413 and "more than 1024 KiB" in answer.json()["detail"]
    assert [len(body) for body in inside.bodies] == [1 << 20]


def test_what_is_not_looked_at(client: TestClient, inside: Inside) -> None:
    form = b"no JSON"
    for path in ("/gradio_api/upload", "/gradio_api/upload/", "/gradio_api/upload?upload_id=a", "/own/route"):
        assert client.post(path, content=form).text == "inside"
    for path in ("/", "/config", "/gradio_api/queue/data", "/gradio_api/startup-events", "/gradio_api/info"):
        assert client.get(path).text == "inside"
    assert inside.bodies == [form] * 4 + [b""] * 5


@pytest.mark.parametrize("name", NEEDLESS_ROUTES)
def test_routes_that_the_page_does_not_need(name: str, visitors: Visitors, inside: Inside) -> None:
    client = client_of(visitors, inside, root_path="/restore")
    for front in ("/", "/gradio_api/", "/restore/", "/restore/gradio_api/", "/x/gradio_api/"):
        for method in ("GET", "HEAD", "POST"):
            assert client.request(method, f"{front}{name}").status_code == 404
    assert client.get(f"/gradio_api/{name}x/file=y").status_code in (403, 404)
    assert client.get(f"/gradio_api/{name}x").json() == {"detail": "This page has nothing here."}
    assert inside.bodies == []


@pytest.mark.parametrize("name", NEEDLESS_ROUTES)
def test_own_files_may_have_any_name(name: str, client: TestClient, visitors: Visitors) -> None:
    folder = visitors.folder_of(visitors.with_secret(MINE))
    for front in ("/gradio_api/file=", "/gradio_api/file/", "/file="):
        assert client.get(f"{front}{folder}/gradio_api/{name}").text == "inside"


def test_every_route_of_gradio_is_decided_on() -> None:
    """What a new version of gradio adds shows here: it has to be read, and either let through or listed."""
    with gradio.Blocks(analytics_enabled=False) as blocks:
        gradio.Textbox()
    blocks.run_history = True  # it adds routes
    found = paths_of(App.create_app(blocks, mcp_server=False).routes)
    assert "/gradio_api/queue/join" in found and "/monitoring" in found
    names = "|".join(map(re.escape, NEEDLESS_ROUTES))
    left = {path for path in found if not re.match(rf"(/gradio_api)?/({names})", f"{path}/")}
    assert left - NEEDED_ROUTES == set()


def paths_of(routes: Iterable[Any]) -> set[str]:
    """Up to the first parameter, without a slash at the end."""
    found: set[str] = set()
    for route in routes:
        router = getattr(route, "original_router", None)  # FastAPI keeps those that it includes as they are
        found |= paths_of(router.routes) if router else {route.path.partition("{")[0].rstrip("/")}
    return found


@pytest.fixture
def fetched(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The addresses that gradio wants to fetch; it gets nothing."""
    found: list[str] = []

    async def fetch(url: str, cache_dir: str) -> str:
        found.append(url)
        raise ConnectionError("no way out")

    monkeypatch.setattr(processing_utils, "async_ssrf_protected_download", fetch)
    return found


def test_gradio_alone_would_take_them(visitors: Visitors, mine: str, fetched: list[str]) -> None:
    """With the guard, nothing of another visitor and nothing from an address gets to a function of the page.

    Takes some seconds: only gradio itself shows what it would do, and it starts twice.
    """
    page = small_page(visitors)
    theirs, own_url = new_file(visitors, THEIRS), "http://testserver/gradio_api/file="
    bodies = {
        "mine": file_data(mine, url=f"{own_url}{mine}"),
        "theirs": file_data(theirs),
        "address": file_data(ADDRESSES[0]),
    }
    answers = {}
    for is_guarded in (False, True):
        app = gated(RequestGuard(page, visitors) if is_guarded else page, visitors)
        with TestClient(app, headers={"cookie": f"{COOKIE}={MINE}"}) as client:
            for name, body in bodies.items():
                answer = client.post("/gradio_api/run/measure_now", json={"data": [body]})
                answers[is_guarded, name] = (answer.status_code, answer.json().get("data"))
        assert fetched == ([] if is_guarded else [ADDRESSES[0]])
        fetched.clear()
    measured = (200, [f"{Path(mine).name} 12"])
    assert answers[False, "mine"] == answers[True, "mine"] == answers[False, "theirs"] == measured
    assert answers[True, "theirs"] == answers[True, "address"] == (403, None)


def test_gradios_client(visitors: Visitors, tmp_path: Path, fetched: list[str]) -> None:
    photograph = tmp_path / "photograph.png"
    photograph.write_bytes(b"x" * 123)
    theirs = new_file(visitors, THEIRS)
    with served(gated(RequestGuard(small_page(visitors), visitors), visitors)) as address:
        client = Client(address, verbose=False, analytics_enabled=False)
        try:
            assert client.predict(handle_file(photograph), api_name="/measure") == "photograph.png 123"
            assert client.predict(None, api_name="/measure") == "nothing"
            for refused in (f"{address}/x.png", "https://elsewhere.example/x.png"):
                with pytest.raises(Exception, match="403"):
                    client.predict(FileData(path=refused).model_dump(), api_name="/measure")
        finally:
            client.close()
        assert fetched == []
        connection = http.client.HTTPConnection(address.removeprefix("http://"))
        connection.request("POST", "/gradio_api/call/measure", json.dumps({"data": [file_data(theirs)]}))
        answer = connection.getresponse()
        assert (answer.status, "not yours" in json.load(answer)["detail"]) == (403, True)
        connection.close()
