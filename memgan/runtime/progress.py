"""Shows how far a loop is: a bar on a terminal, a plain line now and then in a log file."""

import os
import sys
import time
from typing import IO, TYPE_CHECKING, cast

from memgan.runtime.streams import LenientStream, one_line

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

# The least time between lines of a log file; a run of a day has no more than one a minute.
_SECONDS, _SHARE, _LONG_SECONDS = 10.0, 0.05, 60.0
_shown: "Progress | None" = None  # the bar on the terminal: two at a time would overwrite each other


class ProgressBar:
    """Progress of one task, written to standard error while the ``with`` block runs.

    On a terminal it is a bar; a second one that starts while the first runs stays hidden, or is shown below it if it
    is a part of it. Elsewhere a plain line is written at most every 10 seconds, when a twentieth of the task or a
    minute has passed. Use by one thread.
    """

    def __init__(
        self,
        total: int | None = None,
        *,
        unit: str = "items",
        title: str = "",
        start: int = 0,
        seconds: float | None = None,
        is_part: bool = False,
        is_even: bool = True,
        hidden: bool = False,
    ) -> None:
        """Begin to count.

        Args:
            total: items in all; ``None``: unknown.
            unit: what is counted, in the plural; ``"B"``: bytes, shown as MB.
            start: items that an earlier run has done.
            seconds: time from now on after which the task ends even if items are left; the total that is shown is what
                the time will suffice for.
            is_part: whether this is the progress of one item of the bar that is shown already.
            is_even: whether the items take about the same time; if not, neither a rate nor the time left is shown.
        """
        self._total, self._unit, self._title, self._start, self._note = total, unit, title, start, ""
        self._seconds, self._is_part, self._is_even = seconds, is_part, is_even
        self._hidden, self._stream = hidden or sys.stderr is None, LenientStream(sys.stderr)
        self._done = self._done_written = start
        self._began = self._written = time.monotonic()
        self._bar: tuple[Progress, TaskID] | None = None

    def __enter__(self) -> "ProgressBar":
        global _shown
        self._is_part = self._is_part and _shown is not None
        # While a bar is shown, rich stands before the terminal, and older versions of it do not say that it is one.
        is_terminal = self._is_part or (self._stream.isatty() and os.environ.get("TERM") != "dumb")
        if self._hidden or not is_terminal:
            return self
        self._hidden = _shown is not None and not self._is_part
        if not self._hidden:
            if _shown is None:
                _shown = self._new_bar()
                _shown.start()
            title = one_line(self._title)
            task = _shown.add_task(title, total=self._total, completed=self._done, status=self._status())
            self._bar = _shown, task
        return self

    def _new_bar(self) -> "Progress":
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

        title, status = (TextColumn(text, markup=False) for text in ("{task.description}", "{task.fields[status]}"))
        to_terminal = LenientStream(sys.stdout).isatty()  # a pipe gets what is printed
        columns = (title, BarColumn(), status, TimeElapsedColumn())
        return Progress(*columns, console=Console(file=cast(IO[str], self._stream)), redirect_stdout=to_terminal)

    def __exit__(self, *error: object) -> None:
        global _shown
        if self._bar is not None:
            bar, task = self._bar
            self._bar = None
            if self._is_part:
                bar.remove_task(task)
            else:
                bar.stop()
                _shown = None
        elif self._start < self._done_written < self._done and not self._hidden:
            self._write_line()  # what has lines gets a last one

    def advance(self, count: int = 1, note: str | None = None, *, total: int | None = None) -> None:
        """Count ``count`` items more.

        Args:
            note: replaces the words at the end of the line.
            total: replaces the number of items in all, which was not known, or not right.
        """
        self._done += count
        self._total = self._total if total is None else total
        self._note = self._note if note is None else note
        if self._bar is not None:
            bar, task = self._bar
            bar.update(task, completed=self._done, total=self._expected(), status=self._status())
        elif not self._hidden:
            waited, done = time.monotonic() - self._written, self._done - self._done_written
            total = self._expected()
            share_done = total is None or done >= _SHARE * total
            if waited >= (_SECONDS if share_done else _LONG_SECONDS):
                self._write_line()

    def _write_line(self) -> None:
        title = f"{self._title}: " if self._title else ""
        print_line(f"{title}{self._status()}, {_clock(time.monotonic() - self._began)} elapsed")
        self._written, self._done_written = time.monotonic(), self._done

    def _rate(self) -> float:
        """Items in a second."""
        return (self._done - self._start) / max(time.monotonic() - self._began, 1e-9)

    def _expected(self) -> int | None:
        """Items that there will be in all."""
        if self._seconds is None or self._done == self._start:
            return self._total
        left = max(self._seconds - (time.monotonic() - self._began), 0.0)
        expected = self._done + round(self._rate() * left)
        return expected if self._total is None else min(self._total, expected)

    def _status(self) -> str:
        """Such as ``12/200 pictures, 3.4/s, 0:55 left``."""
        total, rate = self._expected(), self._rate()
        amounts = [self._done] if total is None else [self._done, total]
        in_bytes = self._unit == "B"
        count = "/".join(f"{amount / 1e6:.1f}" if in_bytes else str(amount) for amount in amounts)
        words = [f"{count} {'MB' if in_bytes else self._unit}"]
        if rate > 0 and self._is_even:
            slow = f"{rate:.1f}/s" if rate >= 1 else f"{1 / rate:.1f} s each"
            words.append(f"{rate / 1e6:.1f} MB/s" if in_bytes else slow)
            if total is not None:
                words.append(f"{_clock(max(total - self._done, 0) / rate)} left")
        return ", ".join([*words, self._note] if self._note else words)


def print_line(text: str) -> None:
    """Write a line to standard error, above the bar if there is one; see :func:`memgan.runtime.streams.one_line`."""
    text = one_line(text)
    if _shown is not None:
        _shown.console.print(text, markup=False, highlight=False, emoji=False, soft_wrap=True)
    else:
        print(text, file=LenientStream(sys.stderr), flush=True)


def _clock(seconds: float) -> str:
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{seconds:02d}" if hours else f"{minutes}:{seconds:02d}"
