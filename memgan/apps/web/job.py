"""What a visitor has asked for, on its way: in line, at work, done; runs in a thread of its own."""

import threading
import time
from pathlib import Path
from typing import NamedTuple, Protocol

import torch

from memgan.apps.web.lane import Stopped
from memgan.apps.web.visitors import Visitor, Visitors
from memgan.errors import MemGANError

EXPECTED = (MemGANError, MemoryError, OSError, torch.cuda.OutOfMemoryError)
"""Exceptions for which :meth:`Host.explain` has words; others are mistakes of memgan."""
WAITING, RUNNING, DONE, FAILED, STOPPED = "waiting", "running", "done", "failed", "stopped"


class Progress(NamedTuple):
    """How far a job is."""

    status: str
    """One of :data:`WAITING`, :data:`RUNNING`, :data:`DONE`, :data:`FAILED`, :data:`STOPPED`."""
    text: str = ""
    """What it does, or what went wrong, for people."""
    done: int = 0
    total: int = 0
    """Of pictures or frames; 0: unknown."""
    seconds_left: float | None = None

    @property
    def is_over(self) -> bool:
        """Whether nothing more will happen."""
        return self.status in (DONE, FAILED, STOPPED)


class Host(Protocol):
    """What a job needs of who runs it."""

    visitors: Visitors

    def explain(self, error: BaseException) -> str:
        """What went wrong, for people."""


class Job:
    """Something that a visitor has asked for. Its files lie in a folder of the visitor's."""

    def __init__(self, host: Host, visitor: Visitor) -> None:
        self.host, self.visitor = host, visitor
        self.folder = host.visitors.new_folder(visitor)
        self.progress = Progress(WAITING, "In line")
        self._stop = threading.Event()
        self._over = threading.Event()
        self._begin = time.monotonic()

    @property
    def token(self) -> str:
        """The job's name, which nobody can guess."""
        return self.folder.name

    @property
    def is_there(self) -> bool:
        """Whether its files were not removed since."""
        return self.folder.is_dir()

    @property
    def result_name(self) -> str:
        """How the main result is called where a visitor saves it."""
        return self.token

    def file(self, what: str) -> Path | None:
        """A file that can be downloaded; ``None``: there is none of this name."""
        raise NotImplementedError

    def stop(self) -> None:
        """Ask it to end; what is done is kept."""
        self._stop.set()

    def stops(self) -> bool:
        """Whether it is to end."""
        return self._stop.is_set() or not self.is_there

    def wait(self, seconds: float | None = None) -> bool:
        """Wait for its end; whether it has come."""
        return self._over.wait(seconds)

    def begin(self) -> None:
        """Say that it is in line; before :meth:`run`, which another thread may only come to later."""
        self._over.clear()
        self._tell(WAITING, "In line")

    def run(self) -> None:
        """Do it. Whatever goes wrong becomes the job's progress: nobody waits here for an exception."""
        self._begin_anew()
        try:
            with self.host.visitors.room(self.visitor) as ask:
                ask(0)  # results need room too: who has filled theirs gets no more
                self._work()
            self._tell(DONE)
        except Stopped:
            self._tell(STOPPED, "Stopped")
        except EXPECTED as error:
            self._tell(FAILED, self.host.explain(error))
        except BaseException:
            self._tell(FAILED, "Something went wrong inside memgan. The terminal in which it was started says what.")
            raise
        finally:
            self._over.set()

    def _work(self) -> None:
        raise NotImplementedError

    def _begin_anew(self) -> None:
        """From here on counts how long the rest will take."""
        self._begin = time.monotonic()

    def _tell(self, status: str, text: str = "", done: int = 0, total: int = 0) -> None:
        left = None
        if status == RUNNING and 0 < done < total:
            left = (time.monotonic() - self._begin) / done * (total - done)
        self.progress = Progress(status, text, done, total, left)

    def _in_line(self, ahead: int) -> None:
        self._tell(WAITING, "In line: one is before you" if ahead == 1 else f"In line: {ahead} are before you")
