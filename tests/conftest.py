"""Shared by all tests: which of them run, and no way out to the network.

``pytest`` runs everything but the slow tests, ``pytest --runslow`` everything. Tests marked ``network`` run only when
asked for (``pytest -m network``), those marked ``gpu`` only where there is one. Fuzzers try a fixed number of inputs;
``--fuzz-seconds N`` lets each of them try new ones for that long.
"""

import ipaddress
import socket
from collections.abc import Iterator
from typing import Any

import pytest

MARKERS = {
    "slow": "takes longer than about ten seconds; run with --runslow (or -m slow)",
    "gpu": "needs a CUDA device",
    "network": "needs the Internet; run with -m network",
}


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--runslow", action="store_true", help="run the slow tests too")
    parser.addoption("--fuzz-seconds", type=float, metavar="N", help="let each fuzzer try new inputs for N seconds")


def pytest_configure(config: pytest.Config) -> None:
    for name, meaning in MARKERS.items():
        config.addinivalue_line("markers", f"{name}: {meaning}")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    expression = config.getoption("markexpr") or ""
    left_out = set()
    if not config.getoption("runslow") and "slow" not in expression:
        left_out.add("slow")
    if "network" not in expression:
        left_out.add("network")
    kept = [item for item in items if not any(item.get_closest_marker(name) for name in left_out)]
    if len(kept) < len(items):
        config.hook.pytest_deselected(items=[item for item in items if item not in kept])
        items[:] = kept
    gpu_items = [item for item in items if item.get_closest_marker("gpu")]
    if gpu_items:
        import torch

        if not torch.cuda.is_available():
            for item in gpu_items:
                item.add_marker(pytest.mark.skip(reason="no CUDA device"))


@pytest.fixture
def fuzz_seconds(request: pytest.FixtureRequest) -> float | None:
    """How long a fuzzer tries new inputs; ``None``: a fixed number of inputs, the same in every run."""
    seconds: float | None = request.config.getoption("fuzz_seconds")
    return seconds


class NetworkBlockedError(RuntimeError):
    """A test wanted to leave this machine. No ``OSError``, which code under test might take for a missing network."""


def _is_local(host: Any) -> bool:
    if isinstance(host, bytes):
        host = host.decode("ascii", "replace")
    if host in (None, "", "localhost", socket.gethostname()):  # gloo looks up this machine's own name
        return True
    try:
        return ipaddress.ip_address(str(host).partition("%")[0]).is_loopback
    except ValueError:
        return False


@pytest.fixture(autouse=True)
def _no_network(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Refuse every connection and look-up beyond the loopback device."""
    if request.node.get_closest_marker("network"):
        yield
        return
    connect, connect_ex, look_up = socket.socket.connect, socket.socket.connect_ex, socket.getaddrinfo

    def check(host: Any) -> None:
        if not _is_local(host):
            raise NetworkBlockedError(f"A test tried to reach {host!r}; mark it `network` or use a local stand-in.")

    def guarded(original: Any) -> Any:
        def call(self: socket.socket, address: Any) -> Any:
            if self.family in (socket.AF_INET, socket.AF_INET6):
                check(address[0])
            return original(self, address)

        return call

    def guarded_look_up(host: Any, *args: Any, **kwargs: Any) -> Any:
        check(host)
        return look_up(host, *args, **kwargs)

    monkeypatch.setattr(socket.socket, "connect", guarded(connect))
    monkeypatch.setattr(socket.socket, "connect_ex", guarded(connect_ex))
    monkeypatch.setattr(socket, "getaddrinfo", guarded_look_up)
    yield
