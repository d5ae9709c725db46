"""Asks for name and password before the page is shown, if it has accounts."""

import asyncio
import collections
import functools
import hashlib
import html
import math
import string
import time
import unicodedata
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from memgan.apps.web.accounts import Accounts
from memgan.apps.web.asgi import (
    App,
    GoneError,
    Receive,
    RefusedError,
    Scope,
    Send,
    accepts_page,
    cookies,
    normal_root_path,
    own_path,
    read_body,
    respond,
    respond_json,
    set_cookie,
)
from memgan.apps.web.visitors import COOKIE, Visitor, Visitors, new_secret
from memgan.errors import ConfigError

SESSION_COOKIE = "memgan_session"
"""Whose value is the secret by which a login is known."""
_MOST_FORM_BYTES = 64 << 10
_MOST_SESSIONS = 64
"""Of one account; of more, the first ones end. Who has no account begins none, so this bounds all of them."""
_AT_ONCE, _MOST_WAITING = 2, 32
"""Passwords that are checked in threads at once, and that wait for it; of more, each is told to come back."""


@dataclass(frozen=True)
class _Session:
    user: str
    visitor: Visitor
    """The only one who may use it: whoever logs in gets a new cookie for the files too."""
    ends: float


class LoginGate:
    """An ASGI application around another one, to which only those get who have logged in.

    - ``POST /login`` takes ``username`` and ``password`` from a form, as the login page and gradio's Python client send
      them. The cookie of a session is the answer, and a new one of the visitor, so that nobody gets the files of who
      used the browser before. Both belong together: the session counts with that visitor's cookie only.
    - ``/logout`` ends the session, and makes the visitor anew as well.
    - Browsers are led to the login page; other requests are answered with 401 and a sentence.
    - ``GET /health`` is let through, so that a monitor needs no account.

    What is known of sessions does not give their secrets away, and ends with the process. It stands behind
    :class:`memgan.apps.web.gate.VisitorGate`, which keeps other sites from sending a form here.
    """

    def __init__(
        self,
        app: App,
        accounts: Accounts | None,
        visitors: Visitors,
        *,
        root_path: str = "",
        embeddable: bool = False,
        seconds: float = 12 * 3600,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Set who is let through.

        Args:
            app: gets what is let through.
            accounts: who may log in; ``None``: everything is let through.
            visitors: who has which files.
            root_path: where a proxy shows the page, as ``/restore``; empty: at the top.
            embeddable: whether pages of other sites may show it in a frame; as for the visitor's cookie.
            seconds: after which a session ends, used or not.
            clock: in seconds, never goes back.

        Raises:
            ConfigError: if ``seconds`` is not positive.
        """
        if not seconds > 0:
            raise ConfigError(f"seconds is {seconds}; give a number above 0.")
        self._app = app
        self._accounts = accounts
        self._visitors = visitors
        self._root_path = normal_root_path(root_path)
        self._embeddable = embeddable
        self._seconds = seconds
        self._clock = clock
        self._sessions: collections.OrderedDict[bytes, _Session] = collections.OrderedDict()
        self._turns = asyncio.Semaphore(_AT_ONCE)
        self._num_waiting = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, as ASGI has it."""
        if self._accounts is None or scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
        elif scope["type"] == "websocket":
            if self._is_in(scope):
                await self._app(scope, receive, send)
            else:
                await send({"type": "websocket.close", "code": 1008, "reason": "Log in first."})
        else:
            await self._answer(self._accounts, scope, receive, send)

    async def _answer(self, accounts: Accounts, scope: Scope, receive: Receive, send: Send) -> None:
        request = scope["method"], own_path(scope, self._root_path)
        if request == ("GET", "/health"):
            await self._app(scope, receive, send)
        elif request == ("POST", "/login"):
            await self._log_in(accounts, scope, receive, send)
        elif request in (("GET", "/logout"), ("POST", "/logout")):
            await self._log_out(scope, send)
        elif self._is_in(scope):
            if request == ("GET", "/login"):
                await _redirect(scope, send, "./")
            else:
                await self._app(scope, receive, send)
        elif request[0] == "GET" and accepts_page(scope):
            if request[1] == "/login":
                await _show_form(scope, send)
            else:
                await _redirect(scope, send, self._way_to_login(request[1]))
        else:
            await respond(scope, send, 401, "Log in first: this page is for those who have an account.")

    async def _log_in(self, accounts: Accounts, scope: Scope, receive: Receive, send: Send) -> None:
        user, headers = "", []
        try:
            user, password = await _read_form(scope, receive)
            await self._check(accounts, scope, user, password)
        except GoneError:
            return
        except RefusedError as error:
            pause = accounts.pause(user, _address(scope))
            if pause > 0:
                headers.append((b"retry-after", str(math.ceil(pause)).encode("ascii")))
            if accepts_page(scope):
                await _show_form(scope, send, error.status, str(error), user, headers)
            else:
                await respond_json(scope, send, error.status, {"detail": str(error)}, headers=headers)
            return
        self._end_session(scope)
        secret, visitor_secret = new_secret(), new_secret()
        self._begin_session(secret, user, self._visitors.with_secret(visitor_secret))
        headers = [self._cookie(scope, SESSION_COOKIE, secret), self._cookie(scope, COOKIE, visitor_secret)]
        if accepts_page(scope):
            await _redirect(scope, send, "./", headers)
        else:
            await respond_json(scope, send, 200, {"success": True}, headers=headers)

    async def _check(self, accounts: Accounts, scope: Scope, user: str, password: str) -> None:
        """Raises :class:`RefusedError` unless this is the user's password."""
        address = _address(scope)
        if accounts.pause(user, address) > 0:
            raise RefusedError(401, _wait(accounts.pause(user, address)))
        if self._num_waiting >= _MOST_WAITING:
            raise RefusedError(503, "Too many are logging in at this moment. Try again in a few seconds.")
        self._num_waiting += 1
        try:
            async with self._turns:
                is_right = await asyncio.to_thread(accounts.check, user, password, address)
        finally:
            self._num_waiting -= 1
        if not is_right:
            pause = accounts.pause(user, address)
            raise RefusedError(401, _wait(pause) if pause > 0 else "Name or password is wrong. Check both.")

    async def _log_out(self, scope: Scope, send: Send) -> None:
        self._end_session(scope)
        headers = [self._cookie(scope, SESSION_COOKIE, "", ends=True), self._cookie(scope, COOKIE, new_secret())]
        if accepts_page(scope):
            await _redirect(scope, send, "login", headers)
        else:
            await respond_json(scope, send, 200, {"success": True}, headers=headers)

    # -- sessions ----------------------------------------------------------------------------------------------------

    def _is_in(self, scope: Scope) -> bool:
        visitor = self._visitors.of(scope)
        for secret in cookies(scope, SESSION_COOKIE):
            session = self._sessions.get(_digest(secret))
            if session is not None and session.ends > self._clock() and session.visitor == visitor:
                return True
        return False

    def _begin_session(self, secret: str, user: str, visitor: Visitor) -> None:
        now = self._clock()
        user = unicodedata.normalize("NFC", user)
        for key in [key for key, each in self._sessions.items() if each.ends <= now]:
            del self._sessions[key]
        same = [key for key, each in self._sessions.items() if each.user == user]
        for key in same[: max(0, len(same) + 1 - _MOST_SESSIONS)]:
            del self._sessions[key]
        self._sessions[_digest(secret)] = _Session(user, visitor, now + self._seconds)

    def _end_session(self, scope: Scope) -> None:
        for secret in cookies(scope, SESSION_COOKIE):
            self._sessions.pop(_digest(secret), None)

    def _cookie(self, scope: Scope, name: str, value: str, *, ends: bool = False) -> tuple[bytes, bytes]:
        return set_cookie(scope, name, value, root_path=self._root_path, embeddable=self._embeddable, ends=ends)

    def _way_to_login(self, path: str) -> str:
        """Relative to where a request's path, given below the root path, is seen: proxies may show it elsewhere."""
        if not path:  # the root path without a slash behind it
            return f"{self._root_path.rpartition('/')[2] or '.'}/login"
        return "../" * (path.count("/") - 1) + "login"


async def _read_form(scope: Scope, receive: Receive) -> tuple[str, str]:
    """Name and password."""
    from python_multipart.exceptions import FormParserError
    from starlette.datastructures import FormData
    from starlette.formparsers import MultiPartException
    from starlette.requests import Request

    body = await read_body(receive, _MOST_FORM_BYTES)

    async def whole_body() -> dict[str, object]:
        return {"type": "http.request", "body": body, "more_body": False}

    # Without the application in its scope, a request says by an exception what is wrong with a form.
    request = Request({key: value for key, value in scope.items() if key != "app"}, whole_body)
    try:
        form: FormData = await request.form(max_files=0, max_fields=16)
    except (MultiPartException, FormParserError, KeyError, UnicodeError) as error:  # the second of older versions
        raise RefusedError(400, "This is no form that a browser sends.") from error
    user, password = form.get("username"), form.get("password")
    if not isinstance(user, str) or not isinstance(password, str) or not user.strip() or not password:
        raise RefusedError(400, "Type a name and a password; a form has them as username and password.")
    return user.strip(), password


async def _show_form(
    scope: Scope,
    send: Send,
    status: int = 200,
    problem: str = "",
    user: str = "",
    headers: Iterable[tuple[bytes, bytes]] = (),
) -> None:
    """The login page; after a problem with the name that was typed, ready for another password."""
    text = _template().substitute(
        alert=f'<p class="alert" role="alert">{html.escape(problem)}</p>\n' if problem else "",
        user=html.escape(user),
        focus_user="" if user else " autofocus",
        focus_password=" autofocus" if user else "",
    )
    await respond(scope, send, status, text, content_type="text/html; charset=utf-8", headers=headers)


async def _redirect(scope: Scope, send: Send, to: str, headers: Iterable[tuple[bytes, bytes]] = ()) -> None:
    await respond(scope, send, 303, "", headers=[(b"location", to.encode("ascii")), *headers])


@functools.cache
def _template() -> string.Template:
    return string.Template((Path(__file__).parent / "assets" / "login.html").read_text("utf-8"))


def _wait(pause: float) -> str:
    seconds = math.ceil(pause)
    return f"Too many wrong passwords. Wait {seconds} second{'' if seconds == 1 else 's'}, and try again."


def _address(scope: Scope) -> str:
    client = scope.get("client")
    return str(client[0]) if client else ""


def _digest(secret: str) -> bytes:
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).digest()
