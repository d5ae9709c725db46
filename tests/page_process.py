"""``memgan app`` in a process of its own, as people start it."""

import contextlib
import os
import re
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[1]
START_SECONDS = 120


class PageProcess(NamedTuple):
    """A page that answers."""

    address: str
    """With a slash at the end."""
    pid: int
    output: Path
    """What it has printed."""
    count_file: Path

    @property
    def num_runs(self) -> int:
        """How often networks were run so far."""
        return int.from_bytes(self.count_file.read_bytes(), "little")

    @property
    def resident_bytes(self) -> int:
        """Memory that the process has, without what lies in files alone."""
        status = Path(f"/proc/{self.pid}/status").read_text("utf-8")
        found = re.search(r"^RssAnon:\s+(\d+) kB", status, re.MULTILINE)
        if found is None:
            raise AssertionError(status)
        return int(found[1]) * 1024


def environment() -> dict[str, str]:
    """Of memgan as people have it: on all cores, and as in this checkout."""
    own = {name: value for name, value in os.environ.items() if not name.endswith(("NUM_THREADS", "THREADS_NUM"))}
    return {**own, "PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1", "PYTHONUNBUFFERED": "1"}


def run_memgan(words: list[str], folder: Path) -> str:
    """Runs a command in a folder; what it prints."""
    done = subprocess.run(
        [sys.executable, "-m", "memgan", *words], cwd=folder, env=environment(), capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


@contextlib.contextmanager
def page_process(folder: Path, *options: str) -> Iterator[PageProcess]:
    """The page on a free port, with the weights that are shipped; ends when the block does.

    Args:
        folder: for what it prints, and for its temporary files.
        options: of ``memgan app``, besides the port.
    """
    output, count_file, temporary = folder / "output.txt", folder / "count", folder / "tmp"
    temporary.mkdir()
    command = [sys.executable, str(ROOT / "tests" / "counted_memgan.py"), str(count_file), "app", "--port", "0"]
    with output.open("wb") as file:
        process = subprocess.Popen(
            [*command, *options],
            cwd=folder,
            env={**environment(), "TMPDIR": str(temporary)},
            stdout=file,
            stderr=subprocess.STDOUT,
        )
    try:
        yield PageProcess(_address(process, output), process.pid, output, count_file)
    finally:
        process.terminate()
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _address(process: subprocess.Popen[bytes], output: Path) -> str:
    """Waits until the page answers."""
    end = time.monotonic() + START_SECONDS
    while time.monotonic() < end and process.poll() is None:
        found = re.search(r"http://[^\s/]+:\d+", output.read_text("utf-8"))
        if found:
            with contextlib.suppress(OSError), urllib.request.urlopen(f"{found[0]}/health", timeout=5) as answer:
                if answer.status == 200:
                    return f"{found[0]}/"
        time.sleep(0.1)
    raise AssertionError(f"the page did not start: {output.read_text('utf-8')}")
