"""The gate before the page: every way to another visitor's files that is known, and what other sites may not do."""

import asyncio
import threading
import urllib.parse

import pytest

pytest.importorskip("gradio")
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Mount, Route, WebSocketRoute
from starlette.testclient import TestClient
from starlette.websockets import WebSocketDisconnect

from memgan.apps.web.gate import LOOPBACK_HOSTS, VisitorGate
from memgan.apps.web.visitors import Visitors

POLICY = "default-src 'self'"
PAGE = {"accept": "text/html,application/xhtml+xml,*/*;q=0.8"}
PATIENCE = 20  # seconds that a test waits for what must come, before it fails


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
    with Visitors(tmp_path, clock=clock) as made:
        yield made


async def serve(request: Request) -> Response:
    """Like gradio: whatever path is asked for, without asking who asks."""
    path = request.path_params["path"]
    try:
        with open(path, "rb") as file:
            return Response(file.read(), headers={"cache-control": "public, max-age=999"})
    except (OSError, ValueError):
        return PlainTextResponse("none", 404)


async def page(request: Request) -> Response:
    response = PlainTextResponse(request.scope["memgan.visitor"].key, headers={"x-frame-options": "ALLOWALL"})
    response.headers["access-control-allow-origin"] = "*"
    response.set_cookie("theme", "dark")
    return response


async def state(request: Request) -> Response:
    return PlainTextResponse(request.state.memgan_visitor.key)


async def talk(socket):
    await socket.accept()
    await socket.send_text("hello")
    await socket.close()


METHODS = ["GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS"]
ROUTES = [
    Route("/", page, methods=METHODS),
    Route("/state", state),
    Route("/gradio_api/file={path:path}", serve),
    Route("/gradio_api/file/{path:path}", serve),
    Route("/file={path:path}", serve),
    WebSocketRoute("/talk", talk),
]


@pytest.fixture
def open_page(visitors):
    def open_page(*, base_url="http://testserver", client=("192.0.2.1", 50000), app_root_path="", **options):
        app = VisitorGate(Starlette(routes=ROUTES), visitors, policy=POLICY, **options)
        return TestClient(app, base_url=base_url, client=client, root_path=app_root_path)

    return open_page


@pytest.fixture
def photo(visitors):
    def photo(client, name="photo.jpg"):
        path = visitors.new_folder(visitors.with_secret(client.cookies["memgan_visitor"])) / name
        path.write_bytes(b"private")
        return path

    return photo


@pytest.fixture
def anna(open_page):
    client = open_page()
    client.get("/", headers=PAGE)
    return client


@pytest.fixture
def ben(open_page):
    client = open_page()  # from the same address
    client.get("/", headers=PAGE)
    return client


# -- who it is -------------------------------------------------------------------------------------------------------


def test_a_browser_gets_a_secret_once(open_page, visitors):
    client = open_page()
    first = client.get("/", headers=PAGE)
    cookies = first.headers.get_list("set-cookie")
    (given,) = (cookie for cookie in cookies if cookie.startswith("memgan_visitor="))
    assert given.split("; ")[1:] == ["Path=/", "HttpOnly", "SameSite=Lax"]
    assert any(cookie.startswith("theme=") for cookie in cookies)
    assert first.headers["cache-control"] == "private, no-store"
    second = client.get("/", headers=PAGE)
    assert not any("memgan_visitor" in cookie for cookie in second.headers.get_list("set-cookie"))
    assert first.text == second.text == visitors.with_secret(client.cookies["memgan_visitor"]).key
    assert client.get("/state").text == first.text


def test_an_invalid_secret_is_replaced(open_page):
    response = open_page().get("/", headers={**PAGE, "cookie": "memgan_visitor=short"})
    assert any("memgan_visitor" in cookie for cookie in response.headers.get_list("set-cookie"))


def test_programs_get_no_secret_and_are_known_by_their_address(open_page, visitors):
    client = open_page()
    response = client.get("/", headers={"accept": "*/*"})
    assert "memgan_visitor" not in response.headers["set-cookie"]
    assert response.text == visitors.at_address("192.0.2.1").key == client.post("/", headers=PAGE).text
    assert open_page(client=("192.0.2.2", 1)).get("/").text != response.text


@pytest.mark.parametrize(
    ("options", "headers", "expected"),
    [
        ({"base_url": "https://testserver"}, {}, ["Path=/", "HttpOnly", "SameSite=Lax", "Secure"]),
        ({}, {"x-forwarded-proto": "https"}, ["Path=/", "HttpOnly", "SameSite=Lax", "Secure"]),
        ({"root_path": "/restore/"}, {}, ["Path=/restore", "HttpOnly", "SameSite=Lax"]),
        ({"embeddable": True}, {}, ["Path=/", "HttpOnly", "SameSite=Lax"]),
        (
            {"embeddable": True, "base_url": "https://testserver"},
            {},
            ["Path=/", "HttpOnly", "SameSite=None", "Secure", "Partitioned"],
        ),
    ],
)
def test_the_cookie_fits_how_the_page_is_shown(open_page, options, headers, expected):
    cookies = open_page(**options).get("/", headers={**PAGE, **headers}).headers.get_list("set-cookie")
    (given,) = (cookie for cookie in cookies if cookie.startswith("memgan_visitor="))
    assert given.split("; ")[1:] == expected


# -- files -----------------------------------------------------------------------------------------------------------

FILE_ROUTES = ["/gradio_api/file={}", "/file={}", "/gradio_api/file/{}"]


@pytest.mark.parametrize("route", FILE_ROUTES)
@pytest.mark.parametrize("name", ["photo.jpg", "Zoë am 1. Mai + (2) & mehr.jpg"])
def test_a_file_goes_to_its_visitor_only(anna, ben, photo, route, name):
    address = route.format(urllib.parse.quote(str(photo(anna, name))))
    mine = anna.get(address)
    assert (mine.status_code, mine.content) == (200, b"private")
    assert mine.headers.get_list("cache-control") == ["private, no-store"]
    assert anna.head(address).status_code == 200
    for method in ("GET", "HEAD"):
        answer = ben.request(method, address)
        assert answer.status_code == 403 and b"private" not in answer.content
        assert answer.headers["cache-control"] == "private, no-store"
        assert answer.headers["content-security-policy"] == POLICY
    assert "not yours" in ben.get(address).text


def test_a_program_at_the_same_address_gets_nothing_of_a_browsers(open_page, anna, photo):
    assert open_page().get(f"/gradio_api/file={photo(anna)}").status_code == 403


def ways_to(path, own):
    """Paths of requests (as a server decodes them once) that might be taken for that of a file."""
    quoted = urllib.parse.quote(path, safe="")
    twice = urllib.parse.quote(quoted, safe="")
    back = path.replace("/", "\\")
    name = path.rpartition("/")[2]
    again_and_again = "file="
    for _ in range(8):
        again_and_again = again_and_again.replace("%", "%25").replace("=", "%3D")
    return [
        f"/gradio_api/{again_and_again}{path}",
        f"/gradio_api/file={quoted}",
        f"/gradio_api/file={twice}",
        f"/gradio_api/file={urllib.parse.quote(twice, safe='')}",
        f"/gradio_api/fil%65={path}",
        f"/gradio_api/file%3D{path}",
        f"/gradio_api/file%253D{quoted}",
        f"/gradio_api%2Ffile={path}",
        f"//gradio_api//file={path}",
        f"/gradio_api//file/{path}",
        f"/gradio_api/file=/{path}",
        f"/gradio_api/file=//{path}",
        f"/gradio_api/./file={path}",
        f"/gradio_api/x/../file={path}",
        f"/gradio_api\\file={path}",
        f"/gradio_api/file\\{path}",
        f"/gradio_api%5Cfile={back}",
        f"/gradio_api/file={back}",
        f"/gradio_api/FILE={path}",
        f"/gradio_api/file={own}/../../..{path}",
        f"/gradio_api/file={own}/%2e%2e/%2e%2e/%2e%2e{quoted}",
        f"/gradio_api/file={own}/..%2F..%2F{path.split('/')[-3]}%2F{path.split('/')[-2]}%2F{name}",
        f"/gradio_api/file={own}%5C..%5C..%5C{path.split('/')[-3]}%5C{path.split('/')[-2]}%5C{name}",
        f"/gradio_api/file={own}/%252e%252e/%252e%252e/{path.split('/')[-3]}/{path.split('/')[-2]}/{name}",
        f"/gradio_api/file={path}%00",
        f"/gradio_api/file=file://{path}",
        f"/gradio_api/file=http://example.com{path}",
        f"/gradio_api/file=%20{path}",
        f"/gradio_api/file={path}/",
        f"/gradio_api/file={path}?x={own}",
        f"/gradio_api/file=x/file={path}",
        f"/restore/gradio_api/file={path}",
        f"/restore/file={path}",
        "/gradio_api/file=",
        "/gradio_api/file=/etc/passwd",
        f"/gradio_api/file={'%25' * 10}2Fetc",
    ]


@pytest.mark.parametrize("root_path", ["", "/restore"])
def test_every_way_to_anothers_file_is_closed(visitors, anna, photo, root_path):
    path = str(photo(anna))
    ben = visitors.with_secret("b" * 20)
    own = str(visitors.new_folder(ben))
    reached = []

    async def app(scope, receive, send):
        reached.append(scope["path"])

    gate = VisitorGate(app, visitors, policy=POLICY, root_path=root_path)
    for way in ways_to(path, own):
        raw, _, query = way.partition("?")
        statuses = []
        scope = {
            "type": "http",
            "method": "GET",
            "path": urllib.parse.unquote(raw),
            "query_string": query.encode(),
            "headers": [(b"cookie", b"memgan_visitor=" + b"b" * 20)],
            "client": ("192.0.2.1", 1),
        }

        async def send(message, statuses=statuses):
            statuses.append(message.get("status"))

        asyncio.run(gate(scope, None, send))
        assert (reached, statuses[:1]) == ([], [403]), way


def test_other_addresses_may_have_any_signs(anna):
    # The test client decodes twice.
    for address in ("/a%25252520b", "/100%252525", "/profile=x", "/files/x", "/x.file=x", "/file"):
        assert anna.get(address).status_code == 404


def test_a_root_path_with_a_part_named_file_is_none(open_page, photo, visitors):
    client = open_page(root_path="/file/restore", app_root_path="/file/restore")
    client.get("/file/restore/", headers=PAGE)
    assert client.get("/file/restore/state").status_code == 200
    secret = client.cookies["memgan_visitor"]
    client.cookies.clear()
    cookie = {"cookie": f"memgan_visitor={secret}"}
    path = visitors.new_folder(visitors.with_secret(secret)) / "photo.jpg"
    path.write_bytes(b"private")
    assert client.get(f"/file/restore/gradio_api/file={path}", headers=cookie).content == b"private"
    assert client.get(f"/file/restore/gradio_api/file={path}").status_code == 403


def test_a_page_mounted_below_is_guarded_too(visitors, tmp_path):
    inner = Starlette(routes=[Mount("/restore", Starlette(routes=ROUTES))])
    client = TestClient(VisitorGate(inner, visitors, policy=POLICY))
    (tmp_path / "secret").write_bytes(b"private")
    assert client.get(f"/restore/gradio_api/file={tmp_path / 'secret'}").status_code == 403


# -- how long files stay ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("direction", ["slow to send", "slow to receive"])
def test_a_slow_client_and_an_open_stream_are_still_there(visitors, clock, direction):
    """The request stays open for hours, on one side or the other."""
    visitor = visitors.with_secret("a" * 20)
    path = visitors.new_folder(visitor) / "photo.jpg"
    path.write_bytes(b"private")
    scope = {"type": "http", "method": "GET", "path": "/gradio_api/queue/data", "client": None}
    scope["headers"] = [(b"cookie", b"memgan_visitor=" + b"a" * 20)]

    async def check():
        waiting, go_on = asyncio.Event(), asyncio.Event()

        async def wait(*_):
            waiting.set()
            await go_on.wait()
            return {"type": "http.request"}

        async def app(scope, receive, send):
            if direction == "slow to send":
                await receive()
            await send({"type": "http.response.start", "status": 200, "headers": []})

        async def at_once(message):
            return None

        gate = VisitorGate(app, visitors, policy=POLICY)
        send = at_once if direction == "slow to send" else wait
        task = asyncio.ensure_future(gate(scope, wait, send))
        await asyncio.wait_for(waiting.wait(), PATIENCE)
        clock.now += 10_000
        visitors.sweep()
        assert path.exists()
        go_on.set()
        await asyncio.wait_for(task, PATIENCE)

    asyncio.run(check())
    clock.now += 539
    visitors.sweep()
    assert path.exists()
    clock.now += 1
    visitors.sweep()
    assert not path.exists()


def test_a_request_that_breaks_off_or_fails_ends_the_contact(visitors, clock):
    visitor = visitors.with_secret("a" * 20)
    path = visitors.new_folder(visitor) / "photo.jpg"
    scope = {"type": "http", "method": "GET", "path": "/", "client": None}
    scope["headers"] = [(b"cookie", b"memgan_visitor=" + b"a" * 20)]

    async def fails(scope, receive, send):
        raise KeyError

    async def waits(scope, receive, send):
        await asyncio.sleep(PATIENCE)

    async def cancel():
        task = asyncio.ensure_future(VisitorGate(waits, visitors, policy=POLICY)(dict(scope), None, None))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    with pytest.raises(KeyError):
        asyncio.run(VisitorGate(fails, visitors, policy=POLICY)(dict(scope), None, None))
    asyncio.run(cancel())
    clock.now += 540
    visitors.sweep()
    assert not path.parent.exists()


# -- headers and other sites -----------------------------------------------------------------------------------------


def test_every_answer_has_the_headers_of_a_private_page(anna, open_page):
    for answer in (anna.get("/"), anna.get("/nothing"), anna.post("/", headers={"origin": "http://evil.example"})):
        assert answer.headers["content-security-policy"] == POLICY
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["referrer-policy"] == "no-referrer"
        assert answer.headers.get_list("x-frame-options") == ["SAMEORIGIN"]
        permissions = answer.headers["permissions-policy"].split(", ")
        allowed = [item for item in permissions if not item.endswith("=()")]
        assert allowed == ["clipboard-read=(self)", "clipboard-write=(self)", "fullscreen=(self)"]
        assert "camera=()" in permissions
        assert "access-control-allow-origin" not in answer.headers
    assert open_page(embeddable=True).get("/").headers["x-frame-options"] == "ALLOWALL"  # what the page itself says


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost:7860", "LOCALHOST", "[::1]:7860", "[::1]", "localhost."])
def test_names_of_this_machine(open_page, host):
    assert open_page(hosts=LOOPBACK_HOSTS).get("/", headers={"host": host}).status_code == 200


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "evil.example:7860",
        "127.0.0.1.evil.example",
        "localhost.evil.example",
        "x@localhost",
        "",
        "::1",
        "localhost:80:80",
        "[::1].evil.example",
        "127.0.0.2",
        "0.0.0.0",
    ],
)
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_a_name_that_another_site_gave_this_machine(open_page, host, method):
    answer = open_page(hosts=LOOPBACK_HOSTS).request(method, "/", headers={**PAGE, "host": host})
    assert answer.status_code == 403 and "127.0.0.1, [::1], localhost only" in answer.text
    assert "set-cookie" not in answer.headers


def test_two_names_at_once_and_none(visitors):
    statuses = []

    async def send(message):
        statuses.append(message.get("status"))

    gate = VisitorGate(Starlette(routes=ROUTES), visitors, policy=POLICY, hosts=LOOPBACK_HOSTS)
    for hosts in ([b"localhost", b"evil.example"], []):
        scope = {"type": "http", "method": "GET", "path": "/", "headers": [(b"host", host) for host in hosts]}
        asyncio.run(gate(scope, None, send))
    assert statuses[::2] == [403, 403]


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 200),
        ({"origin": "http://testserver"}, 200),
        ({"origin": "https://testserver"}, 200),  # a proxy ends https
        ({"origin": "https://faces.example", "x-forwarded-host": "faces.example"}, 200),
        ({"origin": "null", "sec-fetch-site": "same-origin"}, 200),  # a form, with Referrer-Policy: no-referrer
        ({"origin": "https://faces.example", "sec-fetch-site": "same-origin"}, 200),
        ({"origin": "http://evil.example"}, 403),
        ({"origin": "http://testserver.evil.example"}, 403),
        ({"origin": "http://testserver:81"}, 403),
        ({"origin": "http://evil.example", "x-forwarded-host": "faces.example"}, 403),
        ({"origin": "null"}, 403),
        ({"origin": "null", "host": ""}, 403),
        ({"origin": "http://["}, 403),
        ({"origin": "http://testserver", "sec-fetch-site": "cross-site"}, 403),
        ({"sec-fetch-site": "cross-site"}, 403),
        ({"sec-fetch-site": "same-site"}, 403),
    ],
)
@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS"])
def test_other_sites_send_nothing(open_page, headers, status, method):
    answer = open_page().request(method, "/", headers=headers)
    assert answer.status_code == status
    assert ("Another site" in answer.text) == (status == 403)


def test_a_link_from_another_site_opens_the_page(open_page):
    headers = {**PAGE, "sec-fetch-site": "cross-site", "origin": "http://evil.example"}
    assert open_page().get("/", headers=headers).status_code == 200


def test_web_sockets_are_guarded_too(open_page):
    client = open_page(hosts=["testserver"])
    with client.websocket_connect("/talk") as socket:
        assert socket.receive_text() == "hello"
    for headers in ({"origin": "http://evil.example"}, {"host": "evil.example"}):
        with pytest.raises(WebSocketDisconnect), client.websocket_connect("/talk", headers=headers):
            pass


def test_the_start_and_end_of_the_server_pass(visitors):
    seen = threading.Event()

    async def app(scope, receive, send):
        assert scope["type"] == "lifespan"
        seen.set()

    asyncio.run(VisitorGate(app, visitors, policy=POLICY)({"type": "lifespan"}, None, None))
    assert seen.is_set()
