"""Forks of a process that has restored pictures with two threads; run as a script by its test.

Prints, as JSON, what became of each child: ``same``: it made the same picture and ended; or what went wrong.
"""

import json
import os
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from fakes import scene

from memgan import MemGANRestorer
from memgan.errors import ConfigError

PATIENCE = 60  # seconds
CASES = ("child", "child of a thread", "thread of a child", "new restorer", "at work")


def busy(_: np.ndarray) -> np.ndarray:
    """An identity network that needs all threads of torch."""
    return torch.ones(1 << 21).add_(1).mul_(2)[:4].numpy()


def outcome(make: Callable[[], np.ndarray], expected: np.ndarray) -> str:
    try:
        return "same" if np.array_equal(make(), expected) else "another picture"
    except ConfigError as error:
        return str(error)


def picture_of(restorer: MemGANRestorer) -> Any:
    """What a restorer makes of a scene; here, so that processes of any start method can import it."""
    return restorer.enhance(scene())[2]


def forked(work: Callable[[], str], report: Path) -> str:
    """What a forked child writes, once it has ended."""
    report.unlink(missing_ok=True)
    pid = os.fork()
    if pid == 0:
        report.write_text(work())
        raise SystemExit(0)  # as servers end: all objects are destroyed
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        if os.waitpid(pid, os.WNOHANG)[0]:
            return report.read_text()
        time.sleep(0.02)
    os.kill(pid, 9)
    os.waitpid(pid, 0)
    return f"hangs, after {report.read_text() if report.is_file() else 'nothing'}"


def in_thread(work: Callable[[], str]) -> str:
    results: list[str] = []
    thread = threading.Thread(target=lambda: results.append(work()))
    thread.start()
    thread.join()
    return results[0]


def main(weights: Path, folder: Path) -> dict[str, Any]:
    photo = cv2.imread(str(Path(__file__).parents[1] / "examples" / "photos" / "video_call.jpg"))
    picture = cv2.resize(photo, None, fx=0.3, fy=0.3, interpolation=cv2.INTER_AREA)

    def make() -> MemGANRestorer:
        return MemGANRestorer(weights, device="cpu", upscale=1, identity=busy, dtype="float32")

    restorer = make()
    expected = restorer.restore(picture)
    assert expected.faces and torch.get_num_threads() == 2
    report = folder / "report.txt"

    def restored() -> str:
        return outcome(lambda: restorer.restore(picture).image, expected.image)

    found = {"child": forked(restored, report)}
    found["child of a thread"] = in_thread(lambda: _in_fork_of_thread(restored, report))
    found["thread of a child"] = forked(lambda: in_thread(restored), report)
    found["new restorer"] = forked(lambda: outcome(lambda: make().restore(picture).image, expected.image), report)
    at_work, may_end = threading.Event(), threading.Event()

    def wait(_: np.ndarray) -> np.ndarray:
        at_work.set()
        may_end.wait()
        return np.ones(1)

    slow = MemGANRestorer(weights, device="cpu", identity=wait, dtype="float32")
    thread = threading.Thread(target=lambda: slow.restore(scene(), faces=[(50, 40, 90, 90)]))
    thread.start()
    at_work.wait()
    found["at work"] = forked(restored, report)
    may_end.set()
    thread.join()
    return found


def _in_fork_of_thread(work: Callable[[], str], report: Path) -> str:
    try:
        return forked(work, report)
    except SystemExit:  # the child, whose only thread this is
        os._exit(0)


if __name__ == "__main__":
    found = main(Path(sys.argv[1]), Path(sys.argv[2]))
    print(json.dumps(found))
