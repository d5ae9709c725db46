"""Makes studios of the page for tests: small real networks, detectors whose answers are known, visitors in a folder."""

import contextlib
import dataclasses
import threading
import time
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fakes import face_at
from tiny import register_small

from memgan import MemGANRestorer
from memgan.apps.cli import main as cli
from memgan.apps.files.restore_options import PartOptions
from memgan.apps.web.job import Job
from memgan.apps.web.studio import Studio
from memgan.apps.web.visitors import Visitors
from memgan.faces.align import Face

PATIENCE = 30.0  # seconds that a test waits for what must come, before it fails
SMALL = PartOptions(weights="small")


class Detector:
    """Finds two faces in every picture, or as many as it is told; waits before that while ``gate`` is closed."""

    def __init__(self) -> None:
        self.count, self.calls = 2, 0
        self.error: BaseException | None = None
        self.gate = threading.Event()
        self.gate.set()
        self.is_waiting = threading.Event()

    def detect(self, image: np.ndarray) -> list[Face]:
        """See :class:`memgan.faces.FaceDetector`."""
        self.calls += 1
        if not self.gate.is_set():
            self.is_waiting.set()
            assert self.gate.wait(PATIENCE), "nobody opened the gate"
        if self.error is not None:
            raise self.error
        return [face_at(50, 50), face_at(110, 60, 40), face_at(90, 45, 50)][: self.count]


@dataclasses.dataclass
class Workshop:
    """A studio with everything around it."""

    studio: Studio
    visitors: Visitors
    detector: Detector
    folder: Path
    """Where files of the test lie."""

    def visitor(self, name: str = "anna") -> Any:
        """One of several visitors."""
        return self.visitors.with_secret(name * 8)

    def sent(self, name: str, data: bytes, visitor: str = "anna") -> Path:
        """A file as an upload puts it."""
        path = self.visitors.new_folder(self.visitor(visitor)) / name
        path.write_bytes(data)
        return path

    def done(self, job: Any) -> Any:
        """A job that has run, in the studio's own thread."""
        self.studio.start(job)
        assert job.wait(PATIENCE), job.progress
        return job

    def command(self, *words: object) -> Path:
        """The folder of results of ``memgan restore`` with these words, by the same restorer."""
        output = self.folder / f"out{time.monotonic_ns()}"
        given = list(map(str, words))
        if "-o" in given:
            place = given.index("-o")
            del given[place : place + 2]
        assert cli.main(["restore", *given, "-o", str(output), "-q"]) == 0
        return output


@contextlib.contextmanager
def workshop(folder: Path, patch: pytest.MonkeyPatch, parts: PartOptions = SMALL, **limits: Any) -> Iterator[Workshop]:
    """A studio whose restorer is a small one, which ``memgan restore`` gets too while ``patch`` lasts."""
    (folder / "cache").mkdir()
    register_small(folder / "cache", patch)
    detector = Detector()
    made = MemGANRestorer("small", detector=detector, device="cpu")

    def make(*_: object) -> MemGANRestorer:
        return made

    patch.setattr("memgan.apps.web.studio.make_restorer", make)
    patch.setattr("memgan.apps.cli.restore.make_restorer", make)
    with Visitors(folder) as visitors:
        yield Workshop(Studio(parts, visitors, **limits), visitors, detector, folder)


def runs(work: Callable[[], Any], count: int = 2) -> list[Any]:
    """Results of the same work in several threads at the same time; an exception of one is raised here."""
    results: list[Any] = []
    errors: list[BaseException] = []
    start = threading.Barrier(count)

    def run() -> None:
        try:
            start.wait(PATIENCE)
            results.append(work())
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=run, daemon=True) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)
        assert not thread.is_alive(), "it hangs"
    if errors:
        raise errors[0]
    return results


def wait_until(holds: Callable[[], object]) -> None:
    """Wait until something is so."""
    end = time.monotonic() + PATIENCE
    while not holds():
        assert time.monotonic() < end, "it does not come"
        time.sleep(0.005)


def files_below(folder: Path) -> dict[str, bytes]:
    """All results of a folder but the record, which names times and places, and its lock."""
    paths = [path for path in folder.rglob("*") if path.is_file() and "records.jsonl" not in path.name]
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in paths}


def files_in(archive: Path | None) -> dict[str, bytes]:
    """The same of a zip file."""
    assert archive is not None
    with zipfile.ZipFile(archive) as file:
        return {name: file.read(name) for name in file.namelist() if name != "records.jsonl"}


def failed(job: Job) -> str:
    """What a job says that failed."""
    assert job.progress.status == "failed", job.progress
    return job.progress.text
