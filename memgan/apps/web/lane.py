"""Lets one piece of heavy work run at a time, in the order in which it came, single pictures before long work."""

import contextlib
import heapq
import itertools
import threading
from collections.abc import Callable, Iterator

from memgan.errors import MemGANError

_SECONDS = 0.5  # after which one who waits asks whether it still has to


class Stopped(MemGANError):
    """Work was given up before its turn came."""

    def __init__(self) -> None:
        super().__init__("This was stopped, or its files are deleted already. Please add it again.")


class Lane:
    """Turns at the network. Any number of threads may wait; who is urgent goes before those who are not."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._numbers = itertools.count()
        self._waiting: list[tuple[bool, int]] = []
        self._is_busy = False

    @contextlib.contextmanager
    def turn(
        self, *, urgent: bool, stops: Callable[[], bool], tell: Callable[[int], object] = lambda _: None
    ) -> Iterator[None]:
        """Wait until it is this thread's turn; the next one comes when the block ends.

        Args:
            urgent: somebody looks at the page and waits for this one picture.
            stops: whether to give up; asked while waiting.
            tell: is told how many are before this one, at first and whenever that changes.

        Raises:
            Stopped: if ``stops`` says so.
        """
        self._enter((not urgent, next(self._numbers)), stops, tell)
        try:
            yield
        finally:
            self._exit()

    def give_way(self, *, stops: Callable[[], bool], tell: Callable[[int], object] = lambda _: None) -> None:
        """Inside of a turn of long work: let those have theirs who are urgent, and nobody else.

        Raises:
            Stopped: if ``stops`` says so meanwhile; the turn is still this thread's then.
        """
        with self._changed:
            if not any(not later for later, _ in self._waiting):
                return
        self._exit()
        try:
            self._enter((True, -1), stops, tell)  # before all other long work: its turn was only lent
        except BaseException:
            self._enter((False, -1), lambda: False, lambda _: None)
            raise

    def _enter(self, mine: tuple[bool, int], stops: Callable[[], bool], tell: Callable[[int], object]) -> None:
        with self._changed:
            heapq.heappush(self._waiting, mine)
            told: int | None = None
            try:
                while self._is_busy or self._waiting[0] != mine:
                    ahead = sum(other < mine for other in self._waiting) + self._is_busy
                    if ahead != told:
                        told = ahead
                        tell(ahead)
                    self._changed.wait(_SECONDS)
                    if stops():
                        raise Stopped
            except BaseException:
                self._leave(mine)
                raise
            self._leave(mine)
            self._is_busy = True

    def _exit(self) -> None:
        with self._changed:
            self._is_busy = False
            self._changed.notify_all()

    def _leave(self, mine: tuple[bool, int]) -> None:
        self._waiting.remove(mine)
        heapq.heapify(self._waiting)
        self._changed.notify_all()
