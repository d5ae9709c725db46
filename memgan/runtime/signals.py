"""Lets work in hand end before a signal ends the process."""

import signal
import threading
from types import FrameType
from typing import Any

_NAMES = ("SIGINT", "SIGTERM", "SIGHUP")  # Ctrl-C, `kill` and `docker stop`, a terminal that is closed


class StopSignals:
    """Notes the first signal that asks this process to end, within a ``with`` block; a second one ends it at once.

    Signals that the process ignores, as under ``nohup``, stay ignored. Outside the main thread it notes none.
    """

    number: int | None = None
    """Of the first signal; ``None``: there was none yet."""

    def __init__(self) -> None:
        self.lets_finish = False
        """Whether the block looks at ``number`` by itself; if not, the first signal is a KeyboardInterrupt."""
        self._before: dict[int, Any] = {}

    def __enter__(self) -> "StopSignals":
        if threading.current_thread() is threading.main_thread():
            for number in (getattr(signal, name) for name in _NAMES if hasattr(signal, name)):
                handler = signal.getsignal(number)
                if handler is not signal.SIG_IGN and handler is not None:
                    self._before[number] = signal.signal(number, self._handle)
        return self

    def __exit__(self, *error: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    @property
    def name(self) -> str:
        """Of the first signal."""
        return "" if self.number is None else signal.Signals(self.number).name

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self.number is not None:
            signal.signal(number, signal.SIG_DFL)
            signal.raise_signal(number)
        self.number = number
        if not self.lets_finish:
            raise KeyboardInterrupt
