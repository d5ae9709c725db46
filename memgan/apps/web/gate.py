"""Stands before the page: tells visitors apart, keeps their files from each other and other sites away.

Plain ASGI, since a wrapper that waits for whole responses would break the page's event streams.
"""

import re
import urllib.parse
from collections.abc import Iterable, MutableMapping

from memgan.apps.web.asgi import (
    App,
    Message,
    Receive,
    Scope,
    Send,
    accepts_page,
    normal_root_path,
    own_path,
    respond,
    set_cookie,
    values,
)
from memgan.apps.web.visitors import COOKIE, SCOPE_KEY, Visitors, new_secret, secret_in

LOOPBACK_HOSTS = ("127.0.0.1", "localhost", "[::1]")
"""By which a page is called that only its own machine can open."""
_FILE_ROUTE = re.compile(r"[/\\]file[=/\\](.*)", re.DOTALL | re.IGNORECASE)
_MOST_DECODINGS = 4
_OFF = (
    "accelerometer",
    "autoplay",
    "browsing-topics",
    "camera",
    "display-capture",
    "encrypted-media",
    "gamepad",
    "geolocation",
    "gyroscope",
    "hid",
    "idle-detection",
    "local-fonts",
    "magnetometer",
    "microphone",
    "midi",
    "payment",
    "picture-in-picture",
    "publickey-credentials-get",
    "screen-wake-lock",
    "serial",
    "storage-access",
    "usb",
    "xr-spatial-tracking",
)
_ON = ("clipboard-read", "clipboard-write", "fullscreen")
_PERMISSIONS = ", ".join([f"{name}=()" for name in _OFF] + [f"{name}=(self)" for name in _ON])


class VisitorGate:
    """An ASGI application around another one; what it refuses, it answers with 403 and a sentence.

    - A browser that asks for a page gets a secret as a cookie. ``scope["memgan.visitor"]`` and
      ``scope["state"]["memgan_visitor"]`` say who it is, and their files stay as long as the request is open.
    - A file (``/file=PATH`` and ``/file/PATH``, wherever the path of a request has it) goes to its owner only.
    - Other sites, by a link that a browser follows, cannot send anything, nor read an answer.
    - Every answer has the headers of a private page.
    """

    def __init__(
        self,
        app: App,
        visitors: Visitors,
        *,
        policy: str,
        hosts: Iterable[str] | None = None,
        root_path: str = "",
        embeddable: bool = False,
    ) -> None:
        """Set what is let through.

        Args:
            app: gets what is not refused.
            visitors: who has which files.
            policy: the header Content-Security-Policy.
            hosts: names by which the page may be called, IPv6 addresses in brackets, on any port; others are refused,
                since a site may give its own name this machine's address. ``None``: any.
            root_path: where a proxy shows the page, as ``/restore``; empty: at the top.
            embeddable: whether pages of other sites may show it in a frame. Its cookie then is one that browsers send
                from within a frame, which they do over https only.
        """
        self._app = app
        self._visitors = visitors
        self._hosts = None if hosts is None else frozenset(host.lower() for host in hosts)
        self._root_path = normal_root_path(root_path)
        self._embeddable = embeddable
        self._headers = {
            b"content-security-policy": policy.encode("latin-1"),
            b"x-content-type-options": b"nosniff",
            b"referrer-policy": b"no-referrer",
            b"permissions-policy": _PERMISSIONS.encode("ascii"),
        }
        if not embeddable:
            self._headers[b"x-frame-options"] = b"SAMEORIGIN"

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, as ASGI has it."""
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        problem = self._problem(scope)
        if problem is not None:
            await self._refuse(scope, send, problem)
            return
        secret = new_secret() if _wants_page(scope) and secret_in(scope) is None else None
        visitor = self._visitors.of(scope) if secret is None else self._visitors.with_secret(secret)
        scope[SCOPE_KEY] = visitor
        scope.setdefault("state", {})["memgan_visitor"] = visitor
        headers = dict(self._headers)
        paths = _file_paths(own_path(scope, self._root_path))
        if paths:
            if not all(self._visitors.owns(visitor, path) for path in paths):
                await self._refuse(scope, send, "This file is not yours, or is deleted already. Restore it again.")
                return
            headers[b"cache-control"] = b"private, no-store"
        if secret is not None:
            name, value = set_cookie(scope, COOKIE, secret, root_path=self._root_path, embeddable=self._embeddable)
            headers[name] = value
            headers[b"cache-control"] = b"private, no-store"

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                message = {**message, "headers": _with(message.get("headers", ()), headers)}
            await send(message)

        with self._visitors.request(visitor):
            await self._app(scope, receive, send_with_headers)

    def _problem(self, scope: Scope) -> str | None:
        """Why nothing of this request is let through."""
        if self._hosts is not None:
            hosts = values(scope, b"host")
            if len(hosts) != 1 or _without_port(hosts[0]) not in self._hosts:
                return f"This page is open under {', '.join(sorted(self._hosts))} only. Type one of them."
        if scope["type"] == "websocket" or scope["method"] not in ("GET", "HEAD"):
            return "Another site sent this. Open the page itself, and try again." if _is_foreign(scope) else None
        return None

    async def _refuse(self, scope: Scope, send: Send, text: str) -> None:
        if scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008, "reason": text})
            return
        await respond(scope, send, 403, text, headers=self._headers.items())


def _wants_page(scope: Scope) -> bool:
    return scope["type"] == "http" and scope["method"] == "GET" and accepts_page(scope)


def _is_foreign(scope: Scope) -> bool:
    """Whether a page of another origin made a browser send this; programs do not say where they come from."""
    # Browsers add it themselves, and no page can change it; before that, they compare with the address that the user
    # sees, which a proxy may have changed for this application.
    sites = values(scope, b"sec-fetch-site")
    if sites:
        return any(site not in ("same-origin", "none") for site in sites)
    # A page cannot add X-Forwarded-Host to a request to another origin without asking, which is refused as well.
    own = {host.strip().lower() for name in (b"host", b"x-forwarded-host") for host in values(scope, name)} - {""}
    return any(origin.partition("://")[2].lower() not in own for origin in values(scope, b"origin"))


def _without_port(host: str) -> str:
    found = re.fullmatch(r"(\[[^\]]*\]|[^:]*)(:\d*)?", host.strip().lower())
    return found[1].removesuffix(".") if found else ""


def _file_paths(path: str) -> set[str]:
    """What a request's path may mean as the path of a file: all readings, since who serves it may choose another."""
    found = set()
    for _ in range(_MOST_DECODINGS):
        match = _FILE_ROUTE.search(path)
        if match:
            found |= {match[1], match[1].replace("\\", "/")}
        decoded = urllib.parse.unquote(path)
        if decoded == path:
            return found
        path = decoded
    return found | {""}  # encoded again and again: nobody's


def _with(headers: Iterable[tuple[bytes, bytes]], own: MutableMapping[bytes, bytes]) -> list[tuple[bytes, bytes]]:
    """Headers of a response, our own in place of others of their names, without those that let other sites read it."""
    kept = [
        (name, value)
        for name, value in headers
        if (name.lower() not in own or name.lower() == b"set-cookie")
        and not name.lower().startswith(b"access-control-")
    ]
    return kept + list(own.items())
