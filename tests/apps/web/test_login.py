"""Who gets to the page: the login page and its form, sessions and their end, and gradio's own client."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from small_page import gated, served, small_page

pytest.importorskip("gradio")

from gradio_client import Client, handle_file
from gradio_client.exceptions import AuthenticationError
from starlette.testclient import TestClient
from starlette.websockets import WebSocketDisconnect

from memgan.apps.web import login
from memgan.apps.web.accounts import Accounts, hash_password
from memgan.apps.web.guard import RequestGuard
from memgan.apps.web.login import SESSION_COOKIE, LoginGate
from memgan.apps.web.visitors import COOKIE, Visitors
from memgan.errors import ConfigError

PASSWORD = "correct horse 馬"
PAGE = {"accept": "text/html,application/xhtml+xml"}
RIGHT = {"username": "ada", "password": PASSWORD}
WRONG = {"username": "ada", "password": "wrong"}
PART = b"--x\r\nContent-Disposition: form-data%b\r\n\r\nada\r\n--x--\r\n"


@pytest.fixture(scope="module")
def account_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("accounts") / "accounts"
    hashed = hash_password(PASSWORD)
    path.write_text(f"ada:{hashed}\nbob:{hashed}\n")
    path.chmod(0o600)
    return path


@pytest.fixture
def accounts(account_file: Path) -> Accounts:
    return Accounts.read(account_file)


@pytest.fixture
def visitors(tmp_path: Path) -> Iterator[Visitors]:
    with Visitors(tmp_path) as found:
        yield found


async def inside(scope: Any, receive: Any, send: Any) -> None:
    """Says what it is asked for, and whose files the visitor gets."""
    if scope["type"] == "websocket":
        await receive()
        await send({"type": "websocket.accept"})
        await send({"type": "websocket.send", "text": "inside"})
        return
    body = f"inside {scope['path']} {scope['memgan.visitor'].key}".encode()
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": body})


class Clock:
    """Time that passes when a test says so."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def client_of(
    accounts: Accounts | None, visitors: Visitors, *, address: str = "http://testserver", **settings: Any
) -> TestClient:
    """A browser before the page."""
    gate_settings = {key: settings[key] for key in ("root_path", "embeddable") if key in settings}
    app = gated(LoginGate(inside, accounts, visitors, **settings), visitors, **gate_settings)
    return TestClient(app, base_url=address, follow_redirects=False)


def set_cookies(answer: Any) -> dict[str, str]:
    """Name to the whole header."""
    return {header.partition("=")[0]: header for header in answer.headers.get_list("set-cookie")}


def value(header: str) -> str:
    return header.partition("=")[2].partition(";")[0]


def test_without_accounts_everything_gets_through(visitors: Visitors) -> None:
    client = client_of(None, visitors)
    for path in ("/", "/login", "/health", "/gradio_api/info"):
        assert client.get(path, headers=PAGE).text.startswith(f"inside {path} ")
    with client.websocket_connect("/") as socket:
        assert socket.receive_text() == "inside"


def test_without_a_session_only_health_gets_through(accounts: Accounts, visitors: Visitors) -> None:
    client = client_of(accounts, visitors)
    assert client.get("/health").text.startswith("inside /health ")
    refused = [
        client.get("/"),
        client.get("/config"),
        client.get("/health/"),
        client.get("/health/x"),
        client.get("/login"),
        client.head("/", headers=PAGE),
        client.post("/health"),
        client.post("/gradio_api/queue/join", json={}),
        client.post("/login/", data=RIGHT),
        client.get("/", headers={"cookie": f"{SESSION_COOKIE}=guess"}),
    ]
    for answer in refused:
        assert answer.status_code == 401 and "inside" not in answer.text
    assert "Log in first" in refused[0].text
    with pytest.raises(WebSocketDisconnect) as raised, client.websocket_connect("/"):
        pass
    assert (raised.value.code, raised.value.reason) == (1008, "Log in first.")


@pytest.mark.parametrize(
    ("path", "to"), [("/", "login"), ("/?a=b", "login"), ("/one/two", "../login"), ("/one/", "../login")]
)
def test_a_browser_is_led_to_the_login_page(path: str, to: str, accounts: Accounts, visitors: Visitors) -> None:
    answer = client_of(accounts, visitors).get(path, headers=PAGE)
    assert (answer.status_code, answer.headers["location"], answer.text) == (303, to, "")


def test_the_login_page(accounts: Accounts, visitors: Visitors) -> None:
    answer = client_of(accounts, visitors).get("/login", headers=PAGE)
    text = answer.text
    assert answer.status_code == 200 and answer.headers["content-type"] == "text/html; charset=utf-8"
    assert answer.headers["cache-control"] == "private, no-store"
    assert "<title>Log in to memgan</title>" in text and '<html lang="en">' in text
    assert "Restores faces in old photographs. Nothing leaves this machine." in text
    for name, complete in (("username", "username"), ("password", "current-password")):
        assert f'<label for="{name}">' in text
        assert re.search(rf'<input id="{name}" name="{name}"[^>]* autocomplete="{complete}"', text, re.DOTALL)
    assert "prefers-color-scheme: dark" in text and "width=device-width" in text
    assert "<script" not in text and 'alert">' not in text and "$" not in text
    assert not re.search(r"(https?:|src=|href=|url\(|@import)", text)  # it asks for nothing more


@pytest.mark.parametrize("form", [{"data": RIGHT}, {"files": {name: (None, text) for name, text in RIGHT.items()}}])
def test_a_right_password_opens_the_page(form: dict[str, Any], accounts: Accounts, visitors: Visitors) -> None:
    client = client_of(accounts, visitors)
    client.get("/login", headers=PAGE)
    answer = client.post("/login", headers=PAGE, **form)
    assert (answer.status_code, answer.headers["location"]) == (303, "./")
    assert client.get("/", headers=PAGE).text.startswith("inside / ")
    assert client.post("/gradio_api/queue/join").text.startswith("inside /gradio_api/queue/join ")
    with client.websocket_connect("/") as socket:
        assert socket.receive_text() == "inside"
    again = client.get("/login", headers=PAGE)
    assert (again.status_code, again.headers["location"]) == (303, "./")


def test_a_program_gets_json(accounts: Accounts, visitors: Visitors) -> None:
    client = client_of(accounts, visitors)
    answer = client.post("/login", data=WRONG)
    assert answer.status_code == 401 and answer.json() == {"detail": "Name or password is wrong. Check both."}
    answer = client.post("/login", data=RIGHT)
    assert answer.status_code == 200 and answer.json() == {"success": True}
    assert client.get("/config").text.startswith("inside /config ")
    answer = client.post("/logout")
    assert answer.status_code == 200 and answer.json() == {"success": True}
    assert client.get("/config").status_code == 401


@pytest.mark.parametrize("name", ["ada", "nobody", '"><script>alert(1)</script>'])
def test_a_wrong_password(name: str, accounts: Accounts, visitors: Visitors) -> None:
    client = client_of(accounts, visitors)
    answer = client.post("/login", data={"username": name, "password": "wrong"}, headers=PAGE)
    assert answer.status_code == 401 and set_cookies(answer) == {}
    assert '<p class="alert" role="alert">Name or password is wrong. Check both.</p>' in answer.text
    assert 'wrong"' not in answer.text and "<script" not in answer.text
    assert 'value="&quot;&gt;&lt;script' in answer.text if "<" in name else f'value="{name}"' in answer.text
    assert client.get("/config").status_code == 401


def test_who_guesses_is_told_how_long_to_wait(
    account_file: Path, visitors: Visitors, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Clock()
    accounts = Accounts.read(account_file)
    monkeypatch.setattr(accounts, "_clock", clock)
    client = client_of(accounts, visitors)
    for _ in range(4):
        assert "Check both" in client.post("/login", data=WRONG).text
    answer = client.post("/login", data=WRONG, headers=PAGE)
    text = "Too many wrong passwords. Wait 1 second, and try again."
    assert answer.status_code == 401 and f'role="alert">{text}</p>' in answer.text
    assert answer.headers["retry-after"] == "1"
    assert client.post("/login", data=RIGHT).json() == {"detail": text}  # right or not: guesses would show it
    clock.now += 1.1
    client.post("/login", data=WRONG)
    assert "Wait 2 seconds" in client.post("/login", data=RIGHT).text
    clock.now += 2.1
    assert client.post("/login", data=RIGHT).status_code == 200


@pytest.mark.parametrize(
    ("content", "kind", "status"),
    [
        (b"", "application/x-www-form-urlencoded", 400),
        (b"username=ada", "application/x-www-form-urlencoded", 400),
        (b"username=%20&password=x", "application/x-www-form-urlencoded", 400),
        (b"username=ada&password=" + b"x" * (64 << 10), "application/x-www-form-urlencoded", 413),
        (b'{"username": "ada", "password": "x"}', "application/json", 400),
        (b"username=ada&password=x", "multipart/form-data", 400),
        (b"nothing of the kind", "multipart/form-data; boundary=x", 400),
        (PART % b'; name="username"; filename="a"', "multipart/form-data; boundary=x", 400),
        (PART % b"", "multipart/form-data; boundary=x", 400),
    ],
)
def test_forms_that_are_refused(
    content: bytes, kind: str, status: int, accounts: Accounts, visitors: Visitors, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(accounts, "check", lambda *_: pytest.fail("a password was checked"))
    answer = client_of(accounts, visitors).post("/login", content=content, headers={"content-type": kind})
    assert answer.status_code == status and answer.json()["detail"]
    assert set_cookies(answer) == {}


@pytest.mark.parametrize(
    ("address", "settings", "rest"),
    [
        ("http://testserver", {}, "Path=/; HttpOnly; SameSite=Lax"),
        ("https://testserver", {"root_path": "/restore/"}, "Path=/restore; HttpOnly; SameSite=Lax; Secure"),
        ("https://testserver", {"embeddable": True}, "Path=/; HttpOnly; SameSite=None; Secure; Partitioned"),
        ("http://testserver", {"embeddable": True}, "Path=/; HttpOnly; SameSite=Lax"),
    ],
)
def test_the_cookies(address: str, settings: dict[str, Any], rest: str, accounts: Accounts, visitors: Visitors) -> None:
    client = client_of(accounts, visitors, address=address, **settings)
    theirs = client.get("/login", headers=PAGE)
    ours = set_cookies(client.post("/login", data=RIGHT))
    assert set_cookies(theirs)[COOKIE].partition("; ")[2] == rest  # as the gate makes it
    assert {name: header.partition("; ")[2] for name, header in ours.items()} == {SESSION_COOKIE: rest, COOKIE: rest}
    assert len(value(ours[SESSION_COOKIE])) == 43  # 256 bits
    assert value(ours[COOKIE]) not in (value(set_cookies(theirs)[COOKIE]), value(ours[SESSION_COOKIE]))


def test_https_that_a_proxy_ends(accounts: Accounts, visitors: Visitors) -> None:
    answer = client_of(accounts, visitors).post("/login", data=RIGHT, headers={"x-forwarded-proto": "https"})
    assert all(header.endswith("; Secure") for header in set_cookies(answer).values())


@pytest.mark.parametrize("front", ["", "/restore"])
def test_below_a_root_path(front: str, accounts: Accounts, visitors: Visitors) -> None:
    """Whether a proxy takes the root path away or not."""
    client = client_of(accounts, visitors, address="http://testserver", root_path="/restore")
    assert client.get(f"{front}/health").text.startswith("inside ")
    assert client.get(f"{front}/x/y", headers=PAGE).headers["location"] == "../login"
    assert client.get("/restore", headers=PAGE).headers["location"] == "restore/login"
    assert client.get(f"{front}/login", headers=PAGE).status_code == 200
    cookies = set_cookies(client.post(f"{front}/login", data=RIGHT))
    sent = "; ".join(header.partition(";")[0] for header in cookies.values())
    assert client.get(f"{front}/config", headers={"cookie": sent}).text.startswith("inside ")


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_logging_out(method: str, accounts: Accounts, visitors: Visitors) -> None:
    client = client_of(accounts, visitors)
    client.post("/login", data=RIGHT)
    old = dict(client.cookies)
    answer = client.request(method, "/logout", headers=PAGE)
    assert (answer.status_code, answer.headers["location"]) == (303, "login")
    assert "Max-Age=0" in set_cookies(answer)[SESSION_COOKIE]
    assert SESSION_COOKIE not in client.cookies and client.cookies[COOKIE] != old[COOKIE]
    assert client.get("/config").status_code == 401
    sent = "; ".join(f"{name}={text}" for name, text in old.items())
    assert client.get("/config", headers={"cookie": sent}).status_code == 401  # a copy does not help


def test_two_users_of_one_browser_get_different_files(accounts: Accounts, visitors: Visitors) -> None:
    client = client_of(accounts, visitors)
    keys = [client.get("/health", headers=PAGE).text.split()[2]]
    for user in ("ada", "bob"):  # the second logs in although the first forgot to log out
        client.post("/login", data={"username": user, "password": PASSWORD}, headers=PAGE)
        keys.append(client.get("/").text.split()[2])
    client.get("/logout", headers=PAGE)
    keys.append(client.get("/health").text.split()[2])
    assert len(set(keys)) == 4


def test_a_session_counts_with_its_visitor_only(accounts: Accounts, visitors: Visitors) -> None:
    """Else programs of two users behind one address, which keep no other cookie, would have one folder."""
    client = client_of(accounts, visitors)
    cookies = {name: value(header) for name, header in set_cookies(client.post("/login", data=RIGHT)).items()}
    client.cookies.clear()

    def status(**sent: str) -> int:
        header = "; ".join(f"{name}={text}" for name, text in sent.items())
        return client.get("/config", headers={"cookie": header}).status_code

    assert status(**cookies) == 200
    assert status(memgan_session=cookies[SESSION_COOKIE]) == 401
    assert status(memgan_session=cookies[SESSION_COOKIE], memgan_visitor="another_visitors_secret") == 401


def test_a_session_ends_in_time(accounts: Accounts, visitors: Visitors) -> None:
    clock = Clock()
    client = client_of(accounts, visitors, seconds=60, clock=clock)
    client.post("/login", data=RIGHT)
    clock.now += 59
    assert client.get("/").status_code == 200
    clock.now += 1
    assert client.get("/").status_code == 401


def test_the_number_of_sessions_is_bounded(
    accounts: Accounts, visitors: Visitors, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(login, "_MOST_SESSIONS", 2)
    clock = Clock()
    gate = LoginGate(inside, accounts, visitors, seconds=60, clock=clock)
    app = gated(gate, visitors)
    clients = [TestClient(app) for _ in range(4)]
    for client, user in zip(clients, ("bob", "ada", "ada", "ada"), strict=True):
        client.post("/login", data={"username": user, "password": PASSWORD})
    assert [client.get("/").status_code for client in clients] == [200, 401, 200, 200]
    clients[3].post("/login", data=RIGHT)  # in place of the session that this browser had
    assert [client.get("/").status_code for client in clients] == [200, 401, 200, 200]
    clock.now += 60
    clients[0].post("/login", data=RIGHT)
    assert len(gate._sessions) == 1


def test_secrets_are_not_kept(accounts: Accounts, visitors: Visitors) -> None:
    gate = LoginGate(inside, accounts, visitors)
    client = TestClient(gated(gate, visitors))
    client.post("/login", data=RIGHT)
    kept = repr(gate._sessions)
    assert "ada" in kept
    assert not any(secret in kept for secret in (*client.cookies.values(), PASSWORD))


def test_a_flood_of_passwords_is_refused(
    accounts: Accounts, visitors: Visitors, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(login, "_MOST_WAITING", 0)
    answer = client_of(accounts, visitors).post("/login", data=RIGHT)
    assert answer.status_code == 503 and "Try again" in answer.json()["detail"]


def test_a_form_of_another_site_is_refused(accounts: Accounts, visitors: Visitors) -> None:
    client = client_of(accounts, visitors)
    assert client.post("/login", data=RIGHT, headers={"sec-fetch-site": "cross-site"}).status_code == 403
    assert client.post("/login", data=RIGHT, headers={"origin": "http://elsewhere.example"}).status_code == 403


def test_seconds_have_to_be_positive(visitors: Visitors) -> None:
    with pytest.raises(ConfigError, match="seconds is 0; give a number above 0"):
        LoginGate(inside, None, visitors, seconds=0)


@pytest.mark.slow
def test_gradios_client_logs_in(accounts: Accounts, visitors: Visitors, tmp_path: Path) -> None:
    """Takes some seconds: a server with gradio starts, and its client is what has to get on with it."""
    photograph = tmp_path / "photograph of ada.png"
    photograph.write_bytes(b"x" * 1234)
    page = small_page(visitors)
    settings: dict[str, Any] = {"verbose": False, "analytics_enabled": False}
    with served(gated(LoginGate(RequestGuard(page, visitors), accounts, visitors), visitors)) as address:
        with pytest.raises(AuthenticationError, match="credentials were not provided"):
            Client(address, **settings)
        with pytest.raises(AuthenticationError, match="Invalid credentials"):
            Client(address, auth=("ada", "wrong"), **settings)
        client = Client(address, auth=("ada", PASSWORD), **settings)
        try:
            assert client.predict(handle_file(photograph), api_name="/measure") == "photograph of ada.png 1234"
        finally:
            client.close()
