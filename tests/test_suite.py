"""The test suite's own rules (conftest.py): what a plain ``pytest`` runs, and that it cannot reach the network."""

import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path

import fuzzing
import pytest

from memgan.errors import WeightsError

CONFTEST = Path(__file__).with_name("conftest.py")
SAMPLE = """
import pytest

def test_plain(): pass

@pytest.mark.slow
def test_slow(): pass

@pytest.mark.browser
def test_browser(): pass

@pytest.mark.network
def test_network(): pass
"""


@pytest.mark.parametrize(
    ("options", "outcome"),
    [
        ((), "1 passed, 3 deselected"),
        (("--runslow",), "2 passed, 2 deselected"),
        (("--runslow", "-m", "slow"), "1 passed, 3 deselected"),
        (("--runslow", "--runbrowser"), "3 passed, 1 deselected"),
        (("--runbrowser", "-m", "browser"), "1 passed, 3 deselected"),
        (("-m", "network"), "1 passed, 3 deselected"),
    ],
)
@pytest.mark.slow
def test_which_tests_run(options: tuple[str, ...], outcome: str, tmp_path: Path) -> None:
    (tmp_path / "tests").mkdir()
    shutil.copy(CONFTEST, tmp_path / "tests")
    (tmp_path / "tests" / "test_sample.py").write_text(SAMPLE)
    command = [sys.executable, "-m", "pytest", "--strict-markers", "-p", "no:cacheprovider", *options]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0 and outcome in done.stdout, done.stdout + done.stderr


@pytest.mark.parametrize(("options", "expected"), [((), "None"), (("--fuzz-seconds", "2.5"), "2.5")])
@pytest.mark.slow
def test_how_long_fuzzers_run(options: tuple[str, ...], expected: str, tmp_path: Path) -> None:
    shutil.copy(CONFTEST, tmp_path)
    (tmp_path / "test_sample.py").write_text(f"def test_it(fuzz_seconds): assert fuzz_seconds == {expected}")
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", *options]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_what_a_fuzzer_takes_for_a_failure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fuzzing, "CORPUS", tmp_path)
    monkeypatch.setattr(fuzzing, "HANG_S", 0.5)

    def fails(data: bytes) -> None:
        match data:
            case b"error":
                raise WeightsError("This is what users are to see.")
            case b"foreign":
                raise KeyError("name")
            case b"slow":
                end = time.process_time() + 0.6
                while time.process_time() < end:
                    pass

    assert fuzzing.fuzz("errors", lambda _: b"error", fails, None, cases=3) == 3
    for data, problem in ((b"foreign", "KeyError: 'name'"), (b"slow", r"takes \d\.\d s")):
        name = data.decode()
        with pytest.raises(AssertionError, match=problem):
            fuzzing.fuzz(name, lambda _, data=data: data, fails, None, cases=1)  # type: ignore[misc]
        assert [file.read_bytes() for file in (tmp_path / name).iterdir()] == [data]
        with pytest.raises(AssertionError, match=problem):  # from now on without drawing it
            fuzzing.fuzz(name, lambda _: b"error", fails, None, cases=0)


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
