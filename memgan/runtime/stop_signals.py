"""Notes the signals that ask a program to stop, so that it can end its work in good order first."""

import contextlib
import os
import signal
import threading
from types import FrameType, TracebackType
from typing import Any

STOP_SIGNALS = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name))
"""Ctrl-C; the request to end, of service managers, containers and batch systems; the terminal is gone."""


class StopSignals:
    """While the ``with`` block runs, the first of :data:`STOP_SIGNALS` is noted, and the second ends the process.

    Afterwards the handlers are as before. Signals that the process ignores, as under ``nohup``, stay ignored. Only the
    main thread may change handlers: in others nothing is noted.

    Args:
        promise: what the program does about the first one, written to standard error at once; ``None``: nothing is.
        interrupts: the first one is a KeyboardInterrupt too, for work that does not look at :attr:`received`.
    """

    def __init__(self, promise: str | None = None, *, interrupts: bool = False) -> None:
        self.received: signal.Signals | None = None
        """The first signal that came."""
        self.interrupts = interrupts
        """As given; may be changed within the block."""
        self._promise = promise
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> "StopSignals":
        if threading.current_thread() is threading.main_thread():
            for number in STOP_SIGNALS:
                # None: a handler that was not set from Python, and could not be put back.
                if signal.getsignal(number) not in (signal.SIG_IGN, None):
                    self._before[number] = signal.signal(number, self._note)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _note(self, number: int, frame: FrameType | None) -> None:
        self.received = signal.Signals(number)
        for each in self._before:
            signal.signal(each, signal.SIG_DFL)
        if self._promise is not None:
            # Not print: the signal may have come in the middle of one.
            text = f"\n{self.received.name}: {self._promise}; a second signal ends at once\n"
            with contextlib.suppress(OSError):  # the terminal is gone, or there was none
                os.write(2, text.encode())
        if self.interrupts:
            raise KeyboardInterrupt


def end_by(number: signal.Signals) -> None:
    """End the program as that signal would have: status 128 plus its number.

    Raises:
        KeyboardInterrupt: for Ctrl-C, as Python does.
        SystemExit: for the others.
    """
    if number == signal.SIGINT:
        raise KeyboardInterrupt
    raise SystemExit(128 + number)
