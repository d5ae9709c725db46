"""A page of gradio with one function, memgan's gates to put before it, and a server on this machine."""

import contextlib
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from memgan.apps.web.asgi import App
from memgan.apps.web.gate import VisitorGate
from memgan.apps.web.uploads import Uploads
from memgan.apps.web.visitors import Visitors

POLICY = "default-src 'self'"


def small_page(visitors: Visitors) -> App:
    """A page whose functions say name and size of a file and a picture; uploads go to ``visitors``.

    ``measure`` is called through gradio's queue, ``measure_now`` and ``look_now`` at once.
    """
    import gradio
    from fastapi import FastAPI

    def measure(file: str | None) -> str:
        return "nothing" if file is None else f"{Path(file).name} {Path(file).stat().st_size}"

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GRADIO_TEMP_DIR", str(visitors.root))  # read when components and application are made
        with gradio.Blocks(analytics_enabled=False) as blocks:
            file, picture, text = gradio.File(), gradio.Image(type="filepath"), gradio.Textbox()
            gradio.Button().click(measure, file, text, api_name="measure")
            gradio.Button().click(measure, file, text, api_name="measure_now", queue=False)
            gradio.Button().click(measure, picture, text, api_name="look_now", queue=False)
        inner = gradio.mount_gradio_app(FastAPI(), blocks, path="/", run_history=False, mcp_server=False)
    uploads = Uploads(visitors)

    async def route(scope: Any, receive: Any, send: Any) -> None:
        is_upload = scope["type"] == "http" and scope["path"] == "/gradio_api/upload"
        await (uploads if is_upload else inner)(scope, receive, send)

    return route


def gated(app: App, visitors: Visitors, **settings: Any) -> VisitorGate:
    """An application behind the gate that tells visitors apart."""
    return VisitorGate(app, visitors, policy=POLICY, **settings)


@contextlib.contextmanager
def served(app: App) -> Iterator[str]:
    """Serve an application in a thread, on a free port; the address, without a slash at the end."""
    import uvicorn

    config = uvicorn.Config(app, log_level="error", lifespan="on", timeout_graceful_shutdown=1)  # type: ignore[arg-type]
    server = uvicorn.Server(config)
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
        thread.start()
        while not server.started:
            assert thread.is_alive(), "the server did not start"
            time.sleep(0.01)
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        server.should_exit = True
        thread.join()
