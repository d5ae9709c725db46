"""Puts the page together and serves it: routes, gates in front of them, start and end."""

import contextlib
import ctypes
import importlib.util
import ipaddress
import logging
import os
import signal
import socket
import sys
import threading
import webbrowser
from typing import TYPE_CHECKING, Any

from memgan.apps.files.restore_options import PartOptions
from memgan.apps.web.accounts import Accounts
from memgan.apps.web.asgi import App, respond
from memgan.apps.web.gate import LOOPBACK_HOSTS, VisitorGate
from memgan.apps.web.guard import RequestGuard
from memgan.apps.web.login import LoginGate
from memgan.apps.web.options import AppOptions
from memgan.apps.web.uploads import Uploads
from memgan.apps.web.visitors import Visitors
from memgan.errors import ConfigError, MissingDependencyError
from memgan.runtime.stop_signals import STOP_SIGNALS
from memgan.version import __version__

if TYPE_CHECKING:
    from memgan.apps.web.studio import Studio

_POLICY = "; ".join(
    (
        "default-src 'self'",
        "script-src 'self' 'unsafe-inline' 'unsafe-eval' blob:",  # gradio's own scripts are written so
        "style-src 'self' 'unsafe-inline'",
        "img-src 'self' data: blob:",
        "font-src 'self' data:",
        "media-src 'self' data: blob:",
        "worker-src 'self' blob:",
        "connect-src 'self'",
        "object-src 'none'",
        "base-uri 'self'",
        "form-action 'self'",
    )
)
"""What a browser may load and ask for the page: nothing of other hosts."""
_SPACES = " https://huggingface.co https://*.hf.space"
"""Whose pages show a Space in a frame."""
_M_ARENA_MAX = -8  # of glibc's mallopt
_NO_PROGRESS = 'data: {"msg": "done"}\n\n'
_MOST_UPLOADED = 4 * 2**30  # bytes of one upload: films are large


def make_app(options: AppOptions, studio: "Studio", accounts: Accounts | None = None) -> App:
    """The ASGI application of a page."""
    from fastapi import FastAPI, Request
    from fastapi.responses import FileResponse, JSONResponse, PlainTextResponse, Response

    from memgan.apps.web.job import EXPECTED
    from memgan.apps.web.page import build_page, mount_page

    inner = FastAPI(title="memgan", version=__version__, docs_url=None, redoc_url=None, openapi_url=None)

    @inner.get("/health")
    async def health() -> JSONResponse:
        return JSONResponse({"status": "ok", "memgan": __version__, "waiting": studio.num_waiting})

    @inner.get("/download/{token}/{what}")
    async def download(token: str, what: str, request: Request) -> Response:
        visitor = studio.visitors.of(request.scope)
        if not studio.is_own(visitor, token):
            return PlainTextResponse("This file is not yours, or is deleted already. Restore it again.", 403)
        try:
            path, name = await studio.aside(studio.download, visitor, token, what)
        except EXPECTED as error:
            return PlainTextResponse(studio.explain(error), 409)
        return FileResponse(path, filename=name, headers={"cache-control": "private, no-store"})

    is_local = options.is_loopback and not options.root_path
    mount_page(inner, build_page(studio, is_local=is_local), root_path=options.root_path)
    uploads = Uploads(studio.visitors, max_bytes=_MOST_UPLOADED)

    async def routed(scope: Any, receive: Any, send: Any) -> None:
        path = str(scope.get("path", ""))
        if scope["type"] == "http" and path.rstrip("/").endswith("/gradio_api/upload"):
            await uploads(scope, receive, send)
        elif scope["type"] == "http" and path.endswith("/gradio_api/upload_progress"):
            # Gradio's own bookkeeping, which knows nothing of these uploads.
            await respond(scope, send, 200, _NO_PROGRESS, content_type="text/event-stream")
        else:
            await inner(scope, receive, send)

    visitors, root_path, embeddable = studio.visitors, options.root_path, options.embeddable
    guarded = RequestGuard(routed, visitors, root_path=root_path)
    login = LoginGate(guarded, accounts, visitors, root_path=root_path, embeddable=embeddable)
    return VisitorGate(
        login,
        visitors,
        policy=f"{_POLICY}; frame-ancestors 'self'{_SPACES if embeddable else ''}",
        # A proxy calls it by the name that it has itself.
        hosts=_own_hosts(options.host) if is_local else None,
        root_path=root_path,
        embeddable=embeddable,
    )


def serve(options: AppOptions, parts: PartOptions) -> int:
    """Serve the page until a signal ends it; 0.

    Raises:
        MissingDependencyError: if gradio is not installed; the message names the extra that brings it.
        ConfigError: if an option is not allowed, or the port is taken.
        WeightsError: if the weights are missing or damaged.
    """
    if importlib.util.find_spec("gradio") is None:
        raise MissingDependencyError("The page needs gradio 6 or later: pip install 'memgan[app]'")
    import uvicorn

    from memgan.apps.web.studio import Studio

    _share_memory_of_threads()
    accounts = None if options.auth is None else Accounts.read(options.auth)
    listener = _listen(options)
    with _Signals() as signals, listener, Visitors() as visitors:
        studio = Studio(parts, visitors, max_megapixels=options.max_megapixels, queue=options.queue)
        app = make_app(options, studio, accounts)
        host, port = listener.getsockname()[:2]
        address = f"http://{f'[{host}]' if ':' in host else host}:{port}{options.root_path}/"
        print(f"memgan: the page is at {address} (Ctrl-C ends it)", flush=True)
        if options.open:
            threading.Timer(1.0, webbrowser.open, [address]).start()
        logging.getLogger("uvicorn.error").setLevel(logging.WARNING)
        config = uvicorn.Config(
            app,
            log_level="warning",
            access_log=False,
            server_header=False,
            timeout_graceful_shutdown=3,
            forwarded_allow_ips=os.environ.get("FORWARDED_ALLOW_IPS", "127.0.0.1,::1"),  # uvicorn's own name for it
        )
        server = signals.server = uvicorn.Server(config)
        # That open pages are cut off in the end is no error.
        logging.getLogger("uvicorn.error").addFilter(lambda _: not server.should_exit)
        server.run(sockets=[listener])
    return 0


def _share_memory_of_threads() -> None:
    """Let all threads take memory from one store: what glibc keeps of each job's own thread adds up."""
    if sys.platform == "linux":
        with contextlib.suppress(AttributeError, OSError):  # other libraries than glibc have no such stores
            ctypes.CDLL(None).mallopt(_M_ARENA_MAX, 1)


def _listen(options: AppOptions) -> socket.socket:
    """A socket that listens, before the work of loading begins."""
    try:
        found = socket.getaddrinfo(options.host.strip("[]"), options.port, type=socket.SOCK_STREAM)[0]
        listener = socket.socket(found[0], found[1])
        with contextlib.ExitStack() as on_failure:
            on_failure.enter_context(listener)
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(found[4])
            listener.listen(128)
            on_failure.pop_all()
    except (OSError, UnicodeError) as error:
        reason = getattr(error, "strerror", None) or error
        raise ConfigError(
            f"the page cannot be at {options.host}, port {options.port} ({reason}); choose another "
            "--port (0: any that is free), or end the program that has it."
        ) from error
    return listener


def _own_hosts(host: str) -> set[str]:
    """Names by which a page is called that only its own machine can open."""
    with contextlib.suppress(ValueError):
        address = ipaddress.ip_address(host.strip("[]"))
        host = f"[{address}]" if address.version == 6 else str(address)
    return {*LOOPBACK_HOSTS, host}


class _End(BaseException):
    """A signal has asked the program to end before it serves anything."""


class _Signals:
    """The first signal that asks to end leaves the ``with`` block in good order; afterwards handlers are as before."""

    def __init__(self) -> None:
        self.server: Any = None
        """Of uvicorn, which is to end by itself; ``None``: it does not run yet."""
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> "_Signals":
        if threading.current_thread() is threading.main_thread():  # only that one may change handlers
            for number in STOP_SIGNALS:
                if signal.getsignal(number) not in (signal.SIG_IGN, None):  # as under nohup, or not Python's
                    self._before[number] = signal.signal(number, self._end)
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> bool:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        return kind is _End

    def _end(self, *_: object) -> None:
        if self.server is not None:
            self.server.should_exit = True
            return
        for number in self._before:  # what is begun is put away undisturbed
            signal.signal(number, signal.SIG_IGN)
        raise _End
