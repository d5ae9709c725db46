"""Looks into what visitors send to gradio: only their own files may be named in it, and no web address."""

import asyncio
import json
import re
import urllib.parse
from collections.abc import Collection
from typing import Any

from memgan.apps.web.asgi import (
    App,
    GoneError,
    Message,
    Receive,
    RefusedError,
    Scope,
    Send,
    normal_root_path,
    own_path,
    read_body,
    respond_json,
    values,
)
from memgan.apps.web.visitors import Visitor, Visitors

NEEDLESS_ROUTES = (
    "component_server",  # calls functions of components, among them one that lists folders
    "custom_component/",  # reads files of installed packages
    "deep_link",  # keeps the state of a visit in a file that whoever has its name can open
    "dev/",  # for who writes a page: reloads it
    "docs",  # FastAPI's own pages load scripts of other hosts
    "mcp",  # tools for language models, which take addresses
    "monitoring",  # shows who used what, to everybody
    "openapi.json",  # like docs; programs read /info
    "process_recording",  # writes a film that a visitor sends, and runs ffmpeg on it
    "profiling/",  # shows and clears how long calls of all visitors took
    "proxy=",  # fetches addresses
    "pwa_icon",  # scales the icon to any size that is asked for, however much memory that takes
    "queue/status",  # shows how much others have to do
    "redoc",  # like docs
    "run-history/",  # reads and writes repositories of the hub
    "runs",  # the page of that history
    "stream/",  # for components that play while they are made: takes data of whatever call, and gives it
    "token",  # shows secrets of gradio's own login
    "undo-vibe-edit",  # as the next
    "vibe-",  # lets a language model change the code of the page, and shows it
)
"""Routes of gradio and FastAPI that this page does not need, with what they do; they are answered with 404."""
_NEEDLESS = re.compile(rf"(?:.*/gradio_api)?/(?:{'|'.join(map(re.escape, NEEDLESS_ROUTES))})", re.DOTALL)
_CALL = re.compile(r"(?:.*/gradio_api|/(?:queue|call|run|api))/", re.DOTALL)
_FILE = re.compile(r"/file[=/]")
_UPLOAD = "/gradio_api/upload"
_OWN_FILE = "gradio_api/file="
_ADDRESS = re.compile(r"\s*(?:[A-Za-z][A-Za-z0-9+.-]+:|[/\\]{2})")  # a single letter is a drive of Windows
_MOST_BYTES = 1 << 20


class RequestGuard:
    """An ASGI application around gradio's, to which nothing gets that names another visitor's file or an address.

    gradio itself takes every file that lies where uploads do, whosever it is, and fetches files from addresses. Calls
    therefore are read before, up to 1 MiB of JSON, and refused with 403 if a file in them is not the visitor's, with
    400 or 413 if they are no such JSON. ``NEEDLESS_ROUTES`` are not there. Answers have the sentence under ``detail``.
    """

    def __init__(self, app: App, visitors: Visitors, *, root_path: str = "") -> None:
        """Set whose files are whose.

        Args:
            app: gets what is not refused.
            visitors: who has which files.
            root_path: where a proxy shows the page, as ``/restore``; empty: at the top.
        """
        self._app = app
        self._visitors = visitors
        self._root_path = normal_root_path(root_path)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, as ASGI has it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        path = own_path(scope, self._root_path)
        if _NEEDLESS.match(_FILE.split(path, maxsplit=1)[0]):
            await respond_json(scope, send, 404, {"detail": "This page has nothing here."})
        elif _is_call(scope["method"], path):
            await self._let_call_through(scope, receive, send)
        else:
            await self._app(scope, receive, send)

    async def _let_call_through(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            body = await read_body(receive, _MOST_BYTES)
            # In a thread: large ones take a while, and whose a file is, the file system has to say.
            await asyncio.to_thread(self._check, body, self._visitors.of(scope), _own_hosts(scope))
        except GoneError:
            return
        except RefusedError as error:
            await respond_json(scope, send, error.status, {"detail": str(error)})
            return
        is_given = False

        async def receive_again() -> Message:
            nonlocal is_given
            if is_given:
                return await receive()
            is_given = True
            return {"type": "http.request", "body": body, "more_body": False}

        await self._app(scope, receive_again, send)

    def _check(self, body: bytes, visitor: Visitor, hosts: Collection[str]) -> None:
        """Raises :class:`RefusedError` unless every file in a call is the visitor's."""
        waiting = [_parse(body)]
        while waiting:
            value = waiting.pop()
            if isinstance(value, dict):
                path, url = value.get("path"), value.get("url")
                if isinstance(path, str):
                    self._check_path(path, visitor)
                # Also without a path, which pictures may do: then their address may hold the data itself.
                if isinstance(url, str) and url:
                    self._check_url(url, visitor, hosts)
                waiting.extend(value.values())
            elif isinstance(value, list):
                waiting.extend(value)

    def _check_path(self, path: str, visitor: Visitor) -> None:
        if self._visitors.owns(visitor, path):
            return
        if _ADDRESS.match(path):
            raise _no_address()
        raise RefusedError(403, "This file is not yours, or is deleted already. Send it again.")

    def _check_url(self, url: str, visitor: Visitor, hosts: Collection[str]) -> None:
        """Of a file that the page showed: its address on this page, and nothing else."""
        try:
            parts = urllib.parse.urlsplit(url)
        except ValueError as error:
            raise _no_address() from error
        front, is_file, path = parts.path.partition(_OWN_FILE)
        is_own = parts.netloc.lower() in hosts if parts.scheme in ("http", "https") else not parts.scheme + parts.netloc
        if not (is_own and is_file) or "\\" in front:
            raise _no_address()
        for reading in {path, urllib.parse.unquote(path)}:
            self._check_path(reading, visitor)


def _is_call(method: str, path: str) -> bool:
    return (
        method not in ("GET", "HEAD", "OPTIONS")
        and _CALL.match(path) is not None
        and not (method == "POST" and path.removesuffix("/") == _UPLOAD)  # a form, which is looked at elsewhere
    )


def _parse(body: bytes) -> Any:
    try:
        return json.loads(body, object_pairs_hook=_object)
    except (ValueError, RecursionError) as error:
        raise RefusedError(400, "This is no JSON that the page sends. Load the page anew, and try again.") from error


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Raises ``ValueError`` if a key is there twice: another parser may take the other value."""
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a key is there twice")
    return found


def _own_hosts(scope: Scope) -> set[str]:
    """What the page may be called, as far as a request says it; nothing is fetched from there."""
    origins = {origin.partition("://")[2] for origin in values(scope, b"origin")}
    hosts = {*values(scope, b"host"), *values(scope, b"x-forwarded-host"), *origins}
    return {host.strip().lower() for host in hosts} - {""}


def _no_address() -> RefusedError:
    return RefusedError(403, "This page fetches nothing from addresses. Save the file, and send it from your device.")
