"""What a visitor has asked for, on its way: in line, at work, done; runs in a thread of its own."""

import threading
import time
from typing import TYPE_CHECKING, NamedTuple

from memgan.apps.web.lane import Stopped
from memgan.apps.web.visitors import Visitor
from memgan.errors import MemGANError

if TYPE_CHECKING:
    from memgan.apps.web.studio import Studio

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


class Job:
    """Something that a visitor has asked for. Its files lie in a folder of the visitor's."""

    def __init__(self, studio: "Studio", visitor: Visitor) -> None:
        self.studio, self.visitor = studio, visitor
        self.folder = studio.visitors.new_folder(visitor)
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

    def stop(self) -> None:
        """Ask it to end; what is done is kept."""
        self._stop.set()

    def stops(self) -> bool:
        """Whether it is to end."""
        return self._stop.is_set() or not self.is_there

    def wait(self, seconds: float | None = None) -> bool:
        """Wait for its end; whether it has come."""
        return self._over.wait(seconds)

    def run(self) -> None:
        """Do it. Whatever goes wrong becomes the job's progress: nobody waits here for an exception."""
        self._over.clear()
        self._begin_anew()
        try:
            with self.studio.visitors.in_use(self.visitor):
                self._work()
            self._tell(DONE)
        except Stopped:
            self._tell(STOPPED, "Stopped")
        except (MemGANError, MemoryError, OSError) as error:
            self._tell(FAILED, self.studio.explain(error, self.folder))
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
