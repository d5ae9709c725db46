"""Shows how far a loop is: a bar on a terminal, a plain line now and then in a log file."""

import os
import sys
import threading
import time
from collections.abc import Iterable, Iterator, Sized
from types import TracebackType
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

T = TypeVar("T")

# Lines of a log file are at least so far apart; a run of a day has no more than one a minute.
_SECONDS, _SHARE, _LONG_SECONDS = 10.0, 0.05, 60.0

# Held by the bar that is on the terminal: two at a time would overwrite each other.
_terminal = threading.Lock()
_on_terminal: "Progress | None" = None


class ProgressBar:
    """Progress of one task, written to standard error while the ``with`` block runs.

    On a terminal it is a bar; a second one that starts while the first runs stays hidden. Elsewhere a plain line is
    written at most every 10 seconds, when a twentieth of the task or a minute has passed. Use by one thread.
    """

    def __init__(
        self, total: int | None = None, *, unit: str = "items", title: str = "", start: int = 0, hidden: bool = False
    ) -> None:
        """Write nothing yet.

        Args:
            total: items in all; ``None``: unknown.
            unit: what is counted, in the plural; ``"B"``: bytes, shown as MB.
            title: what the bar is about, before it.
            start: items that an earlier run has done.
            hidden: write nothing at all.
        """
        self._total, self._unit, self._title, self._start = total, unit, title, start
        self._hidden = hidden or sys.stderr is None
        self._done = start
        self._note = ""
        self._bar: tuple[Progress, TaskID] | None = None
        self._began = self._written = time.monotonic()
        self._done_written = start

    def __enter__(self) -> "ProgressBar":
        self._began = self._written = time.monotonic()
        if not self._hidden and _is_terminal():
            self._open_bar()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        global _on_terminal
        if self._bar is not None:
            self._bar[0].stop()
            self._bar, _on_terminal = None, None
            _terminal.release()
        elif self._done_written > self._start and self._done > self._done_written and not self._hidden:
            self._write_line(time.monotonic())  # what has lines gets a last one

    def advance(self, count: int = 1, note: str | None = None) -> None:
        """Count ``count`` items more; ``note`` replaces the words at the end of the line."""
        self._done += count
        self._note = self._note if note is None else note
        if self._hidden:
            return
        if self._bar is not None:
            bar, task = self._bar
            bar.update(task, completed=self._done, status=self._status(time.monotonic()))
            return
        now = time.monotonic()
        waited, done = now - self._written, self._done - self._done_written
        share_done = self._total is None or done >= _SHARE * self._total
        if waited >= _SECONDS and (share_done or waited >= _LONG_SECONDS):
            self._write_line(now)

    def _open_bar(self) -> None:
        global _on_terminal
        if not _terminal.acquire(blocking=False):
            self._hidden = True
            return
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

        bar = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            TextColumn("{task.fields[status]}", markup=False),
            TimeElapsedColumn(),
            console=Console(stderr=True),
            redirect_stdout=sys.stdout is not None and sys.stdout.isatty(),  # a pipe gets what is printed
        )
        task = bar.add_task(self._title, total=self._total, completed=self._done, status=self._status(self._began))
        bar.start()
        self._bar, _on_terminal = (bar, task), bar

    def _write_line(self, now: float) -> None:
        title = f"{self._title}: " if self._title else ""
        elapsed = _clock(now - self._began)
        print(f"{title}{self._status(now)}, {elapsed} elapsed", file=sys.stderr, flush=True)
        self._written, self._done_written = now, self._done

    def _status(self, now: float) -> str:
        """Such as ``12/200 pictures, 3.4/s, 0:55 left``."""
        count = self._amount(self._done)
        if self._total is not None:
            count = f"{count}/{self._amount(self._total)}"
        words = [f"{count} {'MB' if self._unit == 'B' else self._unit}"]
        fresh, elapsed = self._done - self._start, now - self._began
        if fresh > 0 and elapsed > 0:
            rate = fresh / elapsed
            if self._unit == "B":
                words.append(f"{rate / 1e6:.1f} MB/s")
            else:
                words.append(f"{rate:.1f}/s" if rate >= 1 else f"{1 / rate:.1f} s each")
            if self._total is not None:
                words.append(f"{_clock(max(self._total - self._done, 0) / rate)} left")
        return ", ".join([*words, self._note] if self._note else words)

    def _amount(self, count: int) -> str:
        return f"{count / 1e6:.1f}" if self._unit == "B" else str(count)


def progress(
    items: Iterable[T], *, total: int | None = None, unit: str = "items", title: str = "", hidden: bool = False
) -> Iterator[T]:
    """The same items, and a :class:`ProgressBar` that counts them.

    Args:
        items: anything to loop over.
        total: how many there are; ``None``: ``len(items)`` where it has a length.
        unit: what is counted, in the plural.
        title: what the bar is about.
        hidden: write nothing at all.
    """
    if total is None and isinstance(items, Sized):
        total = len(items)
    with ProgressBar(total, unit=unit, title=title, hidden=hidden) as bar:
        for item in items:
            yield item
            bar.advance()


def print_line(text: str) -> None:
    """Write a line to standard error, above the bar if there is one."""
    bar = _on_terminal
    if bar is not None:
        bar.console.print(text, markup=False, highlight=False, emoji=False, soft_wrap=True)
    elif sys.stderr is not None:
        print(text, file=sys.stderr, flush=True)


def _is_terminal() -> bool:
    return sys.stderr.isatty() and os.environ.get("TERM") != "dumb"


def _clock(seconds: float) -> str:
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{seconds:02d}" if hours else f"{minutes}:{seconds:02d}"
