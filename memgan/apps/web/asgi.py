"""What the gates before the page have in common: what a request says, its body, cookies and answers."""

import asyncio
import json
from collections.abc import Awaitable, Callable, Iterable, Mapping, MutableMapping
from typing import Any

from memgan.errors import MemGANError

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

_PATIENCE_S = 60.0
_DRAINED = 16
"""Times the limit of a body, which is taken before it is refused: programs read an answer when they have sent all."""


class RefusedError(MemGANError):
    """A request that is not let through, with the status of the answer; the message is for who visits."""

    def __init__(self, status: int, text: str) -> None:
        """Keep the status, as HTTP has it."""
        super().__init__(text)
        self.status = status


class GoneError(MemGANError):
    """Who sent the request is not there any more: there is nobody to answer."""


def values(scope: Mapping[str, Any], name: bytes) -> list[str]:
    """All headers of a name, which is given in lower case."""
    return [value.decode("latin-1") for key, value in scope.get("headers", ()) if key.lower() == name]


def cookies(scope: Mapping[str, Any], name: str) -> list[str]:
    """All cookies of a name: browsers send several if they were set for several paths."""
    pairs = (pair.strip().partition("=") for value in values(scope, b"cookie") for pair in value.split(";"))
    return [value for key, _, value in pairs if key == name]


def accepts_page(scope: Scope) -> bool:
    """Whether a person with a browser waits for the answer; programs do not ask for text/html."""
    return any("text/html" in value.lower() for value in values(scope, b"accept"))


def normal_root_path(root_path: str) -> str:
    """With a slash before it and none behind; empty at the top."""
    return "/" + root_path.strip("/") if root_path.strip("/") else ""


def own_path(scope: Scope, root_path: str) -> str:
    """The path of a request below the root path, whether a proxy has taken that away or not."""
    path = str(scope["path"])
    for root in (normal_root_path(str(scope.get("root_path") or "")), root_path):
        if root and (path + "/").startswith(root + "/"):
            return path[len(root) :]
    return path


def set_cookie(
    scope: Scope, name: str, value: str, *, root_path: str, embeddable: bool, ends: bool = False
) -> tuple[bytes, bytes]:
    """A header that gives a browser a cookie until it is closed, which scripts and other sites cannot use.

    Args:
        scope: of the request; over https the cookie is sent back over https only.
        name: letters, digits and ``_``.
        value: of characters that cookies may have.
        root_path: below which it is sent back; empty: everywhere.
        embeddable: whether pages of other sites may show this one in a frame, from within which it is sent as well.
        ends: take it away instead.
    """
    parts = [f"{name}={value}", f"Path={root_path or '/'}", "HttpOnly", *(["Max-Age=0"] if ends else [])]
    forwarded = values(scope, b"x-forwarded-proto")
    secure = scope.get("scheme") == "https" or any(each.split(",")[0].strip() == "https" for each in forwarded)
    if embeddable and secure:
        parts += ["SameSite=None", "Secure", "Partitioned"]
    else:
        parts += ["SameSite=Lax", *(["Secure"] if secure else [])]
    return b"set-cookie", "; ".join(parts).encode("ascii")


async def respond(
    scope: Scope,
    send: Send,
    status: int,
    text: str,
    *,
    content_type: str = "text/plain; charset=utf-8",
    headers: Iterable[tuple[bytes, bytes]] = (),
) -> None:
    """Send a whole response that is not to be kept; a name among ``headers`` may be there several times."""
    body = text.encode("utf-8")
    own = [
        (b"content-type", content_type.encode("latin-1")),
        (b"content-length", str(len(body)).encode("ascii")),
        (b"cache-control", b"private, no-store"),
        *headers,
    ]
    await send({"type": "http.response.start", "status": status, "headers": own})
    await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else body})


async def respond_json(
    scope: Scope, send: Send, status: int, content: Any, *, headers: Iterable[tuple[bytes, bytes]] = ()
) -> None:
    """As :func:`respond`, for programs."""
    await respond(scope, send, status, json.dumps(content), content_type="application/json", headers=headers)


async def read_body(receive: Receive, max_bytes: int, *, patience_s: float = _PATIENCE_S) -> bytes:
    """The whole body of a request.

    Raises:
        RefusedError: with 413 if it has more than ``max_bytes``, with 408 if nothing comes for ``patience_s`` seconds.
        GoneError: if the connection breaks off.
    """
    pieces, num_bytes = [], 0
    while num_bytes <= max_bytes * _DRAINED:
        try:
            message = await asyncio.wait_for(receive(), patience_s)
        except (TimeoutError, asyncio.TimeoutError) as error:  # two classes before Python 3.11
            raise RefusedError(408, "The request stopped half-way. Check the connection, and try again.") from error
        if message["type"] == "http.disconnect":
            raise GoneError("The request broke off.")
        piece = bytes(message.get("body", b""))
        num_bytes += len(piece)
        if num_bytes <= max_bytes:
            pieces.append(piece)
        if not message.get("more_body", False):
            break
    if num_bytes > max_bytes:
        raise RefusedError(413, f"The request has more than {max_bytes >> 10} KiB. Send less at once.")
    return b"".join(pieces)
