"""Shared by all tests: which of them run, and no way out to the network.

``pytest`` runs everything but the slow tests, ``pytest --runslow`` those too. Tests marked ``browser`` or ``network``
run only when asked for (``pytest --runbrowser``, ``pytest -m network``), those marked ``gpu`` only where there is one.
Fuzzers try a fixed number of inputs; ``--fuzz-seconds N`` lets each of them try new ones for that long.

Whole folders are tested by one process per core. Each runs on one thread, so that they do not fight for the cores and
sums are rounded alike on every machine.
"""

import ipaddress
import os
import socket
from collections.abc import Iterator
from typing import Any

import pytest

# Before torch, onnxruntime and OpenCV are loaded. Processes that tests start inherit them; the environment wins.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OPENCV_FOR_THREADS_NUM", "1")

MARKERS = {
    "slow": "takes longer than about ten seconds; run with --runslow (or -m slow)",
    "browser": "drives Chromium, or a page in a process of its own; run with --runbrowser (or -m browser)",
    "gpu": "needs a CUDA device",
    "network": "needs the Internet; run with -m network",
}


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--runslow", action="store_true", help="run the slow tests too")
    parser.addoption("--runbrowser", action="store_true", help="run the tests of the page in a browser too")
    parser.addoption("--fuzz-seconds", type=float, metavar="N", help="let each fuzzer try new inputs for N seconds")


def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    """One process per core, at most eight, for folders; none besides this one for single files, which take seconds.

    Nor for tests in a browser alone, which leave the cores to it and to the page.
    """
    if any(".py" in argument for argument in config.args) or config.getoption("markexpr") == "browser":
        return 0
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(cores, 8)


def pytest_configure(config: pytest.Config) -> None:
    for name, meaning in MARKERS.items():
        config.addinivalue_line("markers", f"{name}: {meaning}")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    expression = config.getoption("markexpr") or ""
    left_out = set()
    if not config.getoption("runslow") and "slow" not in expression:
        left_out.add("slow")
    if not config.getoption("runbrowser") and "browser" not in expression:
        left_out.add("browser")
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


@pytest.fixture(scope="session", autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Nothing is kept in the cache of whoever runs the tests, and nothing of it is believed."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MEMGAN_HOME", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(autouse=True)
def _chosen_is_float32(monkeypatch: pytest.MonkeyPatch) -> None:
    """``dtype="auto"`` is float32 on every machine, unless a test says what its processor computes in."""
    import torch

    for question in ("_is_avx512_bf16_supported", "_is_amx_tile_supported"):
        monkeypatch.setattr(torch.cpu, question, lambda: False, raising=False)


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
