"""The test suite's own rules (conftest.py): what a plain ``pytest`` runs, and that it cannot reach the network."""

import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest

CONFTEST = Path(__file__).with_name("conftest.py")
SAMPLE = """
import pytest

def test_plain(): pass

@pytest.mark.slow
def test_slow(): pass

@pytest.mark.network
def test_network(): pass
"""


@pytest.mark.parametrize(
    ("options", "outcome"),
    [
        ((), "1 passed, 2 deselected"),
        (("--runslow",), "2 passed, 1 deselected"),
        (("--runslow", "-m", "slow"), "1 passed, 2 deselected"),
        (("-m", "network"), "1 passed, 2 deselected"),
    ],
)
def test_which_tests_run(options: tuple[str, ...], outcome: str, tmp_path: Path) -> None:
    (tmp_path / "tests").mkdir()
    shutil.copy(CONFTEST, tmp_path / "tests")
    (tmp_path / "tests" / "test_sample.py").write_text(SAMPLE)
    command = [sys.executable, "-m", "pytest", "--strict-markers", "-p", "no:cacheprovider", *options]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0 and outcome in done.stdout, done.stdout + done.stderr


@pytest.mark.parametrize("address", ["192.0.2.1", "pypi.org", "huggingface.co"])
def test_the_network_is_out_of_reach(address: str) -> None:
    with pytest.raises(RuntimeError, match=f"tried to reach '{address}'"):
        socket.create_connection((address, 443), timeout=1)
    with socket.socket() as client, pytest.raises(RuntimeError, match="tried to reach"):
        client.connect((address, 443))


def test_loopback_works() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        client = socket.create_connection(("localhost", server.getsockname()[1]), timeout=5)
        assert client.getpeername()[0] == "127.0.0.1"
        client.close()
