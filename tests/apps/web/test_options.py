"""Options of ``memgan app``: what is refused with which remedy, and what happens before anything heavy is loaded."""

import dataclasses
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from memgan.apps.cli import main as cli
from memgan.apps.web.options import DEFAULT_PORT, AppOptions
from memgan.errors import ConfigError

ROOT = Path(__file__).parents[3]


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "127.0.0.2", "127.255.255.254", "::1", "[::1]", "0:0:0:0:0:0:0:1", "localhost", "LOCALHOST"]
)
def test_addresses_of_this_machine_alone(host: str) -> None:
    assert AppOptions(host=host).is_loopback


@pytest.mark.parametrize(
    "host", ["0.0.0.0", "::", "[::]", "192.168.0.7", "10.0.0.1", "my-machine", "localhost.example", "127.1", "", "*"]
)
def test_other_addresses_want_accounts(host: str) -> None:
    with pytest.raises(ConfigError, match=r"with --auth; or leave --host out.*ssh -L") as caught:
        AppOptions(host=host)
    assert f"--host is {host}" in str(caught.value) and "--hash-password" in str(caught.value)
    assert not AppOptions(host=host, auth=Path("accounts")).is_loopback
    assert not AppOptions(host=host, public=True).is_loopback


@pytest.mark.parametrize(
    ("field", "value", "problem"),
    [
        ("port", 65536, "--port is 65536; allowed are whole numbers from 0 to 65535"),
        ("port", -1, "port"),
        ("port", 80.5, "port"),
        ("root_path", "restore", "--root-path is 'restore'; it begins with a slash, such as /restore"),
        ("max_megapixels", 0, "max_megapixels"),
        ("max_megapixels", float("nan"), "max_megapixels"),
        ("queue", 0, "queue"),
        ("open", "yes", "open"),
    ],
)
def test_what_is_refused(field: str, value: object, problem: str) -> None:
    with pytest.raises(ConfigError, match=problem):
        AppOptions(**{field: value})  # type: ignore[arg-type]


def test_defaults() -> None:
    assert dataclasses.asdict(AppOptions()) == {
        "host": "127.0.0.1",
        "port": DEFAULT_PORT,
        "auth": None,
        "root_path": "",
        "max_megapixels": 64.0,
        "queue": 20,
        "open": False,
        "public": False,
        "embeddable": False,
    }


def test_help_names_all_options_and_no_others(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        cli.main(["app", "--help"])
    said = capsys.readouterr().out
    assert ended.value.code == 0 and "Nothing leaves this machine" in said
    for word in ("--host", "--port", "--auth", "--root-path", "--max-megapixels", "--queue", "--open", "--weights"):
        assert word in said
    assert "--public" not in said and "--embeddable" not in said, "these are for programs that start the page"


def test_without_gradio_the_extra_is_named_before_anything_heavy_is_loaded() -> None:
    code = (
        "import sys; sys.modules['gradio'] = None\n"
        "from memgan.apps.cli.main import main\n"
        "status = main(['app'])\n"
        "print(status, sorted({'torch', 'cv2', 'numpy', 'uvicorn', 'fastapi'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.stdout == "2 []\n", done.stderr
    assert done.stderr == "memgan: error: The page needs gradio 6 or later: pip install 'memgan[app]'\n"


def app(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    """What is wrong with this command line."""
    assert cli.main(["app", *words]) == 2
    return capsys.readouterr().err


def test_a_port_that_is_taken(capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("gradio")
    with socket.create_server(("127.0.0.1", 0)) as other:
        said = app(capsys, "--port", str(other.getsockname()[1]))
    assert f"port {other.getsockname()[1] if other.fileno() >= 0 else ''}" in said
    assert "Address already in use" in said and "choose another --port (0: any that is free)" in said


@pytest.mark.parametrize("host", ["127.0.0.1.", "a" * 70, "x y"])
def test_a_host_that_is_none(host: str, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    from memgan.apps.web.server import _listen

    with pytest.raises(ConfigError, match="the page cannot be at"), pytest.MonkeyPatch.context() as patch:

        def unknown(*_: object, **__: object) -> None:
            raise (UnicodeError("label too long") if len(host) > 60 else socket.gaierror(-2, "Name not known"))

        patch.setattr(socket, "getaddrinfo", unknown)
        _listen(AppOptions(host=host, public=True))


def test_a_file_of_accounts_that_is_missing(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    pytest.importorskip("gradio")
    said = app(capsys, "--auth", str(tmp_path / "none"), "--host", "0.0.0.0")
    assert str(tmp_path / "none") in said and said.count("\n") == 1


class Page:
    """``memgan app`` in a process of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.process = subprocess.Popen(
            [sys.executable, "-m", "memgan", "app", "--port", "0"],
            cwd=ROOT,
            env={**os.environ, "TMPDIR": str(folder), "PYTHONDONTWRITEBYTECODE": "1"},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    @property
    def files(self) -> list[Path]:
        """What it has in the folder of temporary files."""
        return list(self.folder.glob("memgan-app-*"))

    def address(self) -> str:
        """Where it is, once it can be reached."""
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line.startswith("memgan: the page is at http://127.0.0.1:") and "Ctrl-C" in line
        return line.split()[5]


@pytest.fixture
def page(tmp_path: Path) -> Iterator[Page]:
    pytest.importorskip("gradio")
    made = Page(tmp_path)
    yield made
    made.process.kill()
    made.process.communicate()


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM", "SIGHUP"])
@pytest.mark.skipif(sys.platform == "win32", reason="there are no such signals")
@pytest.mark.slow  # loads torch, gradio and the weights
def test_signals_end_it_in_good_order(page: Page, name: str) -> None:
    address = page.address()
    assert len(page.files) == 2, "the folder and its lock"
    stream = urllib.request.urlopen(f"{address}gradio_api/heartbeat/abc", timeout=30)  # stays open
    assert urllib.request.urlopen(f"{address}health", timeout=30).status == 200
    page.process.send_signal(signal.Signals[name])
    _, complaints = page.process.communicate(timeout=60)
    stream.close()
    assert page.process.returncode == 0 and "Traceback" not in complaints, complaints
    assert page.files == []


@pytest.mark.skipif(sys.platform == "win32", reason="there are no such signals")
@pytest.mark.slow  # as above
def test_signals_end_it_while_it_loads(page: Page) -> None:
    end = time.monotonic() + 60
    while not page.files:
        assert time.monotonic() < end
        time.sleep(0.01)
    page.process.send_signal(signal.SIGTERM)
    output, complaints = page.process.communicate(timeout=60)
    assert (page.process.returncode, output) == (0, ""), complaints
    assert page.files == []
