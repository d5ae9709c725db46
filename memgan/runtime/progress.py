"""Shows how far a loop is: a bar on a terminal, a plain line a minute in a log file."""

import os
import sys

_LOG_SECONDS = 60.0


class ProgressBar:
    """Progress of one task, written to standard error while the ``with`` block runs. Use by one thread."""

    def __init__(
        self, total: int | None = None, *, unit: str = "items", title: str = "", start: int = 0, hidden: bool = False
    ) -> None:
        """Begin to count.

        Args:
            total: items in all; ``None``: unknown.
            unit: what is counted, in the plural; ``"B"``: bytes, shown as kB, MB, ...
            start: items that an earlier run has done.
        """
        from tqdm import tqdm

        on_terminal = sys.stderr is not None and sys.stderr.isatty() and os.environ.get("TERM") != "dumb"
        self._bar = tqdm(
            total=total,
            desc=title or None,
            unit=unit if unit == "B" else f" {unit}",
            unit_scale=unit == "B",
            initial=start,
            disable=hidden or sys.stderr is None,
            dynamic_ncols=on_terminal,
            miniters=1,
            mininterval=0.1 if on_terminal else _LOG_SECONDS,
            delay=0 if on_terminal else _LOG_SECONDS,  # what is done sooner leaves no line
            bar_format=None if on_terminal else "{l_bar}{r_bar}\n",
        )

    def __enter__(self) -> "ProgressBar":
        return self

    def __exit__(self, *error: object) -> None:
        self._bar.close()

    def advance(self, count: int = 1, note: str | None = None) -> None:
        """Count ``count`` items more; ``note`` replaces the words at the end of the line."""
        if note is not None:
            self._bar.set_postfix_str(note, refresh=False)
        self._bar.update(count)


def print_line(text: str) -> None:
    """Write a line to standard error, above the bar if there is one."""
    if sys.stderr is not None:
        from tqdm import tqdm

        tqdm.write(text, file=sys.stderr)
